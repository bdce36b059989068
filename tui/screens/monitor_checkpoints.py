"""The checkpoints of a run: a list with the pictures that were drawn beside each, and the path to take along."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, getters, on
from textual.binding import Binding
from textual.widget import Widget

from core.text import human_age, human_bytes, printable
from tui.screens.dialogs import Dialog
from tui.screens.monitor_actions import show_samples
from tui.screens.sample_boards import drawn_with
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.lines import LiveLines
from tui.widgets.tiles import Tile, TileGrid

if TYPE_CHECKING:
    from core.runs.artifacts import Checkpoint, SampleImage
    from core.runs.watch import RunSnapshot


def row_of(item: Checkpoint, width: int, now: float, longest: int = 0) -> Cells:
    """Epoch, size and age; the step, and the name where the `longest` one fits (the path is told anyway)."""
    epoch = f"epoch {item.epoch}" if item.epoch is not None else "last" if item.final else ""
    step = f"step {item.step:,}" if item.step is not None else ""
    size = human_bytes(item.bytes) if item.complete else "incomplete"
    line: Cells = [(" ◆ ", "second") if item.complete else (" ◇ ", "caution"), (f"{epoch:<10}", "text")]
    if width >= 48:
        line.append((f"{step:<13}", "muted"))
    line.append((f"{size:>10}", "text" if item.complete else "caution"))
    if width >= 37:
        line.append((f"{human_age(max(0.0, now - item.mtime)):>11}", "muted"))
    if width >= 50 + longest:
        line.append((f"   {printable(item.name)}", "muted"))
    return line


def folded_path(path: Path, width: int) -> list[str]:
    """The whole path in lines of `width` cells; a path has no blanks to break at."""
    from rich.cells import chop_cells

    return chop_cells(printable(str(path)), max(8, width))


class CheckpointsDialog(Dialog[Path]):
    """Newest first. `y` copies the path, Enter shows the pictures of that epoch large. The result: train it further."""

    HELP = (
        "Rows are checkpoints, the newest first. y copies the path of the file, Enter shows its pictures large, "
        "R starts a new training that begins with it."
    )
    BINDINGS = [
        Binding("y", "copy", "copy the path", show=False, id="list.copy"),
        Binding("R", "train_further", "train it further", show=False, id="run.start"),
    ]

    rows = getters.query_one("#options", ItemList)
    path = getters.query_one("#path", LiveLines)
    drawn = getters.query_one("#drawn", LiveLines)
    tiles = getters.query_one("#tiles", TileGrid)

    def __init__(self, snapshot: RunSnapshot) -> None:
        super().__init__(
            f"Checkpoints of {snapshot.run.spec.name}", "y copies the path   ⏎ pictures   R train it further   Esc back"
        )
        self._snapshot = snapshot
        self._items = list(reversed(snapshot.checkpoints))
        self._lines = 1

    def compose_dialog(self) -> Iterable[Widget]:
        yield ItemList(id="options", on="surface")
        yield LiveLines(id="path", on="surface")
        yield LiveLines(id="drawn", on="surface")
        yield TileGrid(id="tiles", on="surface")

    def on_mount(self) -> None:
        self.query_one("#dialog").styles.width = 100
        self._fit()
        self.rows.focus()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    @property
    def _width(self) -> int:
        """Cells inside the dialog."""
        width = self.app.size.width
        return max(16, min(100, width * 96 // 100 if width >= 100 else width) - 4)

    def _fit(self) -> None:
        """Rows and pictures share the height: a list that scrolls, and tiles as large as there is room for."""
        now, height, width, items = time.time(), self.app.size.height, self._width, self._items
        small = height < 18
        self._lines = min(2 if small else 4, max(len(folded_path(item.path, width)) for item in items))
        inside = height * 92 // 100 - 7 - self._lines  # without padding, title, keys and the path
        tall = max(0, min(12, inside - 3 - min(len(items), max(3, inside * 2 // 5))))
        tall = 0 if tall < 3 else tall
        rest = 0 if small else 2 + (tall + 1 if tall else 0)
        longest = max(len(printable(item.name)) for item in items)
        self.rows.styles.height = max(1, min(len(items), inside - rest))
        self.rows.set_rows(Texts([row_of(item, width, now, longest) for item in items]))
        self.path.styles.height = self._lines
        self.drawn.display, self.tiles.display = not small, bool(tall)
        self.tiles.tile_size = (2 * max(1, tall), max(1, tall))
        self.tiles.styles.height = tall + 1
        self._tell()

    @property
    def current(self) -> Checkpoint | None:
        """The checkpoint under the cursor."""
        index = self.rows.cursor
        return self._items[index] if 0 <= index < len(self._items) else None

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        self._tell()

    def _drawn_with(self, item: Checkpoint) -> list[SampleImage]:
        return drawn_with(item, self._snapshot.samples, self._snapshot.epochs)

    def _tell(self) -> None:
        item = self.current
        if item is None:
            return
        path = folded_path(item.path, self._width)
        self.path.show([[(part, "text")] for part in path[-self._lines :]])
        found = self._drawn_with(item)
        note = "its pictures" if len(found) > 1 else "its picture" if found else "no picture was drawn with this one"
        self.drawn.show([[(note, "muted")]])
        prompts = [f"prompt {sample.prompt_index + 1}" for sample in found]
        self.tiles.set_tiles(prompts, [[Tile(sample.path, sample.mtime) for sample in found]])

    def action_copy(self) -> None:
        if self.current is not None:
            self.app.copy_to_clipboard(str(self.current.path))
            self.notify("The path was copied.", timeout=2)

    def action_train_further(self) -> None:
        if self.current is not None and self.current.complete:
            self.dismiss(self.current.path)

    @on(ItemList.Opened)
    def _pictures(self, event: ItemList.Opened) -> None:
        item = self.current
        found = self._drawn_with(item) if item is not None else []
        if found:
            show_samples(self.app, self._snapshot, at=found[0])
