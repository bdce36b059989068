"""The list of runs: one line each, the newest first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len

from core.text import human_seconds, printable
from tui.theme import Cells, fit
from tui.widgets.line import cut
from tui.widgets.lines import width_of

if TYPE_CHECKING:
    from core.runs.model import Run

LIMIT = 500
NAMES = 50
"""In a list that is narrower than this the names come before the times."""
BRIEF = 72
"""Below so many cells a day has no time."""
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


def begun(run: Run, now: float, width: int) -> str:
    """When it began, or was made: `14:02` today, else `28 Nov 14:02`, in a narrow list `28 Nov`."""
    moment = time.localtime(run.status.started or run.spec.created)
    is_today = moment[:3] == time.localtime(now)[:3]
    form = "%H:%M" if is_today else "%d %b" if width < BRIEF else "%d %b %H:%M"
    return time.strftime(form, moment).removeprefix("0")


def arranged(runs: Sequence[Run]) -> list[Run]:
    """What goes on first, then what waits, in the order of the queue; the others as they are, the newest first."""
    waiting = [run for run in runs if str(run.state) == "queued" and run.spec.wait is not None]
    places = {run.id: run.place.position if run.place is not None else LIMIT for run in waiting}
    waiting.sort(key=lambda run: (places[run.id], run.spec.created))
    others = [run for run in runs if run.id not in places]
    return [*(run for run in others if run.live), *waiting, *(run for run in others if not run.live)]


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


_CELLS = {"state": 13, "begun": 0, "progress": 16, "kind": 7, "took": 10}
"""Columns behind the name by importance, with their cells; `begun` is as wide as it must be."""
_ORDER = ("state", "begun", "kind", "progress", "took")


@dataclass(slots=True)
class RunRows:
    """Rows for an ItemList. `progress` holds what is known of each run's steps, by id; of a queued one why it waits."""

    runs: Sequence[Run] = ()
    progress: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """What tells a run from others of its name, by id."""
    now: float = 0.0
    _brackets: Mapping[str, str] = field(default_factory=dict)
    _name_cells: int = 0
    _begun_cells: int = 0

    def update(
        self, runs: Sequence[Run], progress: Mapping[str, str], notes: Mapping[str, str], width: int
    ) -> list[int] | None:
        """Show these runs (the newest `LIMIT`) from now on.

        Returns the rows that look different at `width`; None when other runs are listed than before.
        """
        old, runs = self.runs, runs[:LIMIT]
        same = [run.id for run in old] == [run.id for run in runs]
        other = [
            index
            for index, run in enumerate(runs if same else ())
            if run.live
            or run != old[index]
            or progress.get(run.id) != self.progress.get(run.id)
            or notes.get(run.id) != self.notes.get(run.id)
        ]
        before, sizes = [self.cells(index, width) for index in other], (self._name_cells, self._begun_cells)
        self.runs, self.progress, self.notes, self.now = runs, progress, notes, time.time()
        self._brackets = _brackets(runs)
        self._name_cells = max((self._length(run) for run in runs), default=0)
        self._begun_cells = max((len(begun(run, self.now, width)) for run in runs), default=0) + 2
        if not same or sizes != (self._name_cells, self._begun_cells):
            return None
        return [index for index, cells in zip(other, before, strict=True) if cells != self.cells(index, width)]

    def __len__(self) -> int:
        return len(self.runs)

    def _length(self, run: Run) -> int:
        note = self.notes.get(run.id, "")
        tie = 2 if run.id in self._brackets else 0
        return tie + cell_len(printable(run.spec.name)) + (cell_len(printable(note)) + 2 if note else 0)

    def _name(self, run: Run, room: int) -> Cells:
        """The name, and behind it what differs, in `room` cells and a blank."""
        name, note = printable(run.spec.name), printable(self.notes.get(run.id, ""))
        cells = cut([(name, "text"), *([(f"  {note}", "muted")] if note else [])], room)
        return [*cells, (" " * (room + 1 - width_of(cells)), "text")]

    def _shown(self, room: int) -> set[str]:
        """The columns that there is room for; none is cut."""
        shown = set()
        for name, cells in (_CELLS | {"begun": self._begun_cells}).items():
            if cells > room:
                break
            shown.add(name)
            room -= cells
        return shown

    def cells(self, index: int, width: int) -> Cells:
        run = self.runs[index]
        state, word, said = str(run.state), state_word(run), self.progress.get(run.id, "")
        glyph, role = GLYPHS.get(state, ("·", "muted"))
        seconds = lasted(run, self.now)
        took = human_seconds(seconds) if seconds is not None else ""
        columns: dict[str, Cells] = {
            "state": [(fit(word, 13), role if state in {"failed", "lost"} or run.is_abandoned else "muted")],
            "begun": [(f"{begun(run, self.now, width):>{self._begun_cells - 2}}  ", "muted")],
            "kind": [(f"{run.spec.kind.value:<7}", "muted")],
            "progress": [(f"{said:>15} ", "text")],
            "took": [(f"{took:>9} ", "muted")],
        }
        line: Cells = [(f" {glyph} ", role)]
        tie = self._brackets.get(run.id)
        line += [(f"{tie} ", "muted")] if tie else []
        beside = 18 if width < NAMES else 36 + self._begun_cells
        room = max(12, min(width // 2 + 4, width - beside, self._name_cells + 2))
        line += self._name(run, room - (2 if tie else 0))
        shown = self._shown(width - room - 4)
        text, text_role = run.status.reason or "", role if state == "failed" else "muted"
        if state == "queued":
            shown -= {"kind", "progress", "took"}
            text = "" if word.startswith(said) else said  # held, says the state
        for name in _ORDER:
            line += columns[name] if name in shown else []
        left = width - width_of(line) - 2
        if text and left > 5:
            line.append(("" if state == "queued" else " ", "text"))
            line.append((fit(printable(text), left).rstrip(), text_role))
        return line
