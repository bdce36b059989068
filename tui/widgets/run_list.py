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


def arranged(runs: Sequence[Run]) -> list[Run]:
    """What waits first, in the order of the queue; then the others as they are, the newest first."""
    waiting = [run for run in runs if str(run.state) == "queued" and run.spec.wait is not None]
    places = {run.id: run.place.position if run.place is not None else LIMIT for run in waiting}
    waiting.sort(key=lambda run: (places[run.id], run.spec.created))
    return [*waiting, *(run for run in runs if run.id not in places)]


def state_word(run: Run) -> str:
    """`queued #2`, `held #3`, `unsupervised`, or the state."""
    if run.unsupervised:
        return "unsupervised"
    if run.is_abandoned:
        return "waits in vain"
    if str(run.state) == "queued" and run.place is not None:
        return f"{'held' if run.place.held else 'queued'} #{run.place.position}"
    return str(run.state)


def _brackets(runs: Sequence[Run]) -> dict[str, str]:
    """Run id → the line that ties the runs of a sweep together."""
    groups = [str(run.spec.group.get("id")) if run.spec.group is not None else "" for run in runs]
    found = {}
    for index, group in enumerate(groups):
        above = index > 0 and groups[index - 1] == group
        below = index + 1 < len(groups) and groups[index + 1] == group
        if group and (above or below):
            found[runs[index].id] = "│" if above and below else "└" if above else "┌"
    return found


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
    """Rows for an ItemList. `progress` holds what is known of each run's steps, by id; of a queued one why it waits."""

    runs: Sequence[Run] = ()
    brackets: Mapping[str, str] = field(default_factory=dict)
    progress: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0

    def update(self, runs: Sequence[Run], progress: Mapping[str, str], width: int) -> list[int] | None:
        """Show these runs (the newest `LIMIT`) from now on.

        Returns the rows that look different at `width`; None when other runs are listed than before.
        """
        before = [self.cells(index, width) for index in range(len(self))]
        known = [run.id for run in self.runs]
        self.runs, self.progress, self.now = runs[:LIMIT], progress, time.time()
        self.brackets = _brackets(self.runs)
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
        word, waits = state_word(run), self.progress.get(run.id, "") if state == "queued" else ""
        longest = max(len(each.spec.name) + (2 if each.id in self.brackets else 0) for each in self.runs)
        room = max(12, min(36, width - 46, longest + 2))
        columns: dict[str, Cells] = {
            "state": [(fit(word, 13), role if state in {"failed", "lost"} or run.is_abandoned else "muted")],
            "kind": [(f"{run.spec.kind.value:<6}", "muted")],
            "progress": [(f"{self.progress.get(run.id, ''):>15} ", "text")],
            "took": [(f"{took:>9} ", "muted")],
            "age": [(f"{age:>10}", "muted")],
        }
        line: Cells = [(f" {glyph} ", role)]
        tie = self.brackets.get(run.id)
        line.append((f"{tie} ", "muted") if tie else ("", "text"))
        line += [(fit(printable(run.spec.name), room - (2 if tie else 0)), "text"), (" ", "text")]
        if waits:
            used = sum(len(text) for text, _ in line) + 13
            line += [*columns["state"], (fit(printable(waits), max(0, width - used - 11)), "muted"), *columns["age"]]
            return line
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
