"""The dialog of a large change: how far it is, how fast, how long it still takes; Esc takes it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual.widget import Widget

from core.text import human_seconds
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.gauges import bar
from tui.widgets.lines import LiveLines

if TYPE_CHECKING:
    from core.dataset.edits import Step

_WIDTH = 48


class Working(Dialog[None]):
    """Closed by who opened it. `stop` is called once, for Esc."""

    def __init__(self, title: str, stop: Callable[[], object]) -> None:
        super().__init__(title, "Esc stops it: all files will be as they were")
        self._stop: Callable[[], object] | None = stop
        self._lines: list[Cells] = [[], []]
        self._first: tuple[float, int] | None = None
        self._is_over = False

    def compose_dialog(self) -> Iterable[Widget]:
        lines = LiveLines(self._lines, on="surface", id="progress")
        lines.styles.height = 2
        yield lines

    def tell(self, step: Step) -> None:
        """How far it is."""
        if self._stop is None:
            return
        now = time.monotonic()
        share = step.done / step.total if step.total else 1.0
        text: Cells = [("writing down what is there, so that u brings it back", "muted")]
        if step.done:
            first, before = self._first = self._first or (now, step.done)
            text = [(f"{step.done:,} of {step.total:,}", "text")]
            if now - first > 0.3 and step.done > before:
                rate = (step.done - before) / (now - first)
                left = human_seconds((step.total - step.done) / rate)
                text += [(f"   {rate:,.0f} a second", "muted"), (f"   {left} left", "text")]
        self._show([bar([(share, "accent")], _WIDTH), text])

    def _show(self, lines: list[Cells]) -> None:
        self._lines = lines
        if self.is_mounted:
            self.query_one(LiveLines).show(lines)

    def on_mount(self) -> None:
        self._show(self._lines)

    def action_cancel(self) -> None:
        if (stop := self._stop) is not None:
            self._stop = None
            self._show([self._lines[0], [("taking back what was changed so far…", "caution")]])
            stop()

    def close(self) -> None:
        """It is over; under another dialog it goes when that one is closed."""
        self._is_over = True
        if self.is_current:
            self.dismiss(None)

    def on_screen_resume(self) -> None:
        if self._is_over:
            self.dismiss(None)
