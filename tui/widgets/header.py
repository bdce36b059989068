"""The header: where we are, the modes with their digits, and the run that is alive; a thin rule below it."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len
from textual import events

from tui.theme import Cells
from tui.widgets.line import cut
from tui.widgets.lines import LiveLines

MODES = (("dataset", "Dataset"), ("tag", "Tag"), ("review", "Review"), ("config", "Config"), ("monitor", "Monitor"))


def short_path(path: Path) -> str:
    """The path with the home folder as `~`."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except ValueError:
        return str(path)


class Header(LiveLines):
    """Drawn from the app's facts; `update` repaints only the cells that changed."""

    DEFAULT_CSS = "Header { dock: top; height: 2; width: 100%; }"

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode
        self._spans: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        self.app.pulse_signal.subscribe(self, lambda _: self.update())
        self.update()

    def on_resize(self) -> None:
        self.update()

    def update(self) -> None:
        """Read the facts again."""
        width = self.size.width or self.app.size.width
        self.show([self._line(width), [("─" * width, "rule")]])

    def _line(self, width: int) -> Cells:
        modes: Cells = []
        for digit, (mode, title) in enumerate(MODES, 1):
            here = mode == self._mode
            wide = width >= 72
            modes.append((f" {digit} " if wide else f" {digit}", "accent" if here else "muted"))
            if wide or here:
                modes.append((f"{title} " if wide else f" {title} ", "text bold" if here else "muted"))
        run = self.app.pulse.cells(brief=width < 110)
        middle, right = _length(modes), _length(run)
        name: Cells = [(" kohya-tui", "accent bold")]
        if self.app.workspace is not None:
            room = width - middle - right - _length(name) - 5
            path = short_path(self.app.workspace.root)
            if room < cell_len(path):
                path = self.app.workspace.root.name
            if room >= cell_len(path):
                name.append((f"  {path}", "muted"))
        if _length(name) + middle + right + 2 > width:
            name = []
        run = cut(run, max(0, width - middle - _length(name) - 2))
        right = _length(run)
        room = width - _length(name) - middle - right - 1
        # The modes stay in the middle of the screen as long as both sides leave them there.
        before = max(1, min(room, (width - middle) // 2 - _length(name)))
        self._spans, at = [], _length(name) + before
        for index, (text, _) in enumerate(modes):
            if text.strip()[:1].isdigit():
                digit = int(text.strip()[0])
                title = (
                    modes[index + 1][0]
                    if index + 1 < len(modes) and not modes[index + 1][0].strip()[:1].isdigit()
                    else ""
                )
                self._spans.append((at, at + cell_len(text + title), MODES[digit - 1][0]))
            at += cell_len(text)
        return [*name, (" " * before, "text"), *modes, (" " * max(0, room - before), "text"), *run]

    async def on_click(self, event: events.Click) -> None:
        for start, end, mode in self._spans:
            if event.y == 0 and start <= event.x < end:
                await self.app.run_action(f"mode('{mode}')")


def _length(cells: Cells) -> int:
    return sum(cell_len(text) for text, _ in cells)
