"""The list of runs: one line each, the newest first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.text import human_age, human_seconds, printable
from tui.theme import Cells, fit

if TYPE_CHECKING:
    from core.runs.model import Run

LIMIT = 500
GLYPHS = {
    "queued": ("◌", "caution"),
    "prepared": ("◌", "caution"),
    "running": ("▶", "good"),
    "stopping": ("■", "caution"),
    "finished": ("✓", "good"),
    "failed": ("✗", "bad"),
    "stopped": ("■", "muted"),
    "lost": ("?", "caution"),
}
"""State → its glyph and role; the word stands beside it."""


def lasted(run: Run, now: float) -> float | None:
    """Seconds that the run took or has taken."""
    started, ended = run.status.started, run.status.ended
    if started is None:
        return None
    if ended is None:
        ended = now if run.live else run.status.heartbeat
    return None if ended is None else max(0.0, ended - started)


_WIDTHS = {"state": 13, "age": 10, "progress": 16, "kind": 6, "took": 10}
"""Columns behind the name by importance, with their cells."""


def _fitting(room: int) -> set[str]:
    """The columns that there is room for; none is cut."""
    shown = set()
    for name, width in _WIDTHS.items():
        if width > room:
            break
        shown.add(name)
        room -= width
    return shown


@dataclass(slots=True)
class RunRows:
    """Rows for an ItemList. `progress` holds what is known of each run's steps, by id."""

    runs: Sequence[Run] = ()
    progress: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0

    def update(self, runs: Sequence[Run], progress: Mapping[str, str], width: int) -> list[int] | None:
        """Show these runs (the newest `LIMIT`) from now on.

        Returns the rows that look different at `width`; None when other runs are listed than before.
        """
        before = [self.cells(index, width) for index in range(len(self))]
        known = [run.id for run in self.runs]
        self.runs, self.progress, self.now = runs[:LIMIT], progress, time.time()
        if known != [run.id for run in self.runs]:
            return None
        return [index for index, old in enumerate(before) if old != self.cells(index, width)]

    def __len__(self) -> int:
        return len(self.runs)

    def cells(self, index: int, width: int) -> Cells:
        run = self.runs[index]
        state = str(run.state)
        glyph, role = GLYPHS.get(state, ("·", "muted"))
        seconds = lasted(run, self.now)
        age = human_age(max(0.0, self.now - (run.status.started or run.spec.created)))
        took = human_seconds(seconds) if seconds is not None else ""
        word = "unsupervised" if run.unsupervised else state
        room = max(12, min(36, width - 62, max(len(each.spec.name) for each in self.runs) + 2))
        columns: dict[str, Cells] = {
            "state": [(fit(word, 13), role if state in {"failed", "lost"} else "muted")],
            "kind": [(f"{run.spec.kind.value:<6}", "muted")],
            "progress": [(f"{self.progress.get(run.id, ''):>15} ", "text")],
            "took": [(f"{took:>9} ", "muted")],
            "age": [(f"{age:>10}", "muted")],
        }
        line: Cells = [(f" {glyph} ", role), (fit(printable(run.spec.name), room), "text"), (" ", "text")]
        shown = _fitting(width - room - 4)
        for name, cells in columns.items():
            line += cells if name in shown else []
        reason = run.status.reason
        used = sum(len(text) for text, _ in line)
        if reason and width - used > 16:
            line.append(
                ("   " + fit(printable(reason), width - used - 4).rstrip(), role if state == "failed" else "muted")
            )
        return line
