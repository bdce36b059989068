"""The thread's side of the list of runs: how far each came, what tells it from the others, whether it leads on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tui.screens.monitor_parts import ENDED, is_tagging
from tui.widgets.run_list import arranged

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.workspace import Workspace

_DETAILED = 100
_TAIL = 64 << 10


@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """`progress` (of a queued run why it waits) and `notes` (beside the name) by id, of the runs that were looked into.

    `leads_on`: ids of the ended trainings that have a complete state.
    """

    runs: tuple[Run, ...] = ()
    progress: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    leads_on: frozenset[str] = frozenset()

    def settled(self) -> set[str]:
        """The runs that need not be looked into again."""
        return {run.id for run in self.runs if str(run.state) in ENDED}


def read_list(workspace: Workspace | None, before: Listing, detailed: bool) -> Listing:
    """What waits first, then the newest; an ended run is looked into once. Without `detailed` nothing new is."""
    from core.runs.artifacts import states
    from core.runs.differs import notes
    from core.runs.store import list_runs, runs_dir

    runs = arranged(list_runs(runs_dir(workspace)))
    settled = before.settled()
    progress = {run.id: before.progress[run.id] for run in runs if run.id in settled & before.progress.keys()}
    if any(run.spec.wait is not None and str(run.state) == "queued" for run in runs):
        from core.runs.queue import said

        progress |= {run.id: said(run) for run in runs if str(run.state) == "queued" and run.spec.wait is not None}
    if not detailed:
        return Listing(tuple(runs), progress, before.notes, before.leads_on)
    seen = runs[:_DETAILED]
    for run in seen:
        if run.id not in progress and (run.live or str(run.state) in ENDED):
            progress[run.id] = how_far(run)
    known = {run_id: before.notes[run_id] for run_id in settled & before.notes.keys()}
    leads = {
        run.id
        for run in seen
        if str(run.state) in ENDED and not is_tagging(run) and any(state.complete for state in states(run))
    }
    found = notes(workspace, seen, known) if workspace is not None else {}
    return Listing(tuple(runs), progress, found, frozenset(leads))


def how_far(run: Run) -> str:
    """`1,012/2,140` by the end of the log alone: the events of forty runs would take seconds to read."""
    if is_tagging(run):
        from core.runs.watch import snapshot

        found = snapshot(run)
        return f"{found.step or 0:,}/{found.total_steps:,} img" if found.total_steps else ""
    from core.runs.pace import first_epoch, steps_before, steps_in_all
    from core.runs.progress import ProgressReader

    reader, first = ProgressReader(), first_epoch(run.spec.argv)
    try:
        with run.log_file.open("rb") as stream:
            if first > 1:  # its totals stand at the beginning
                reader.feed(stream.read(_TAIL))
                reader.jump()
            stream.seek(max(0, run.log_file.stat().st_size - _TAIL))
            state = reader.feed(stream.read(_TAIL))
    except OSError:
        return ""
    each = state.steps_per_epoch
    total = steps_in_all(state.total_steps, state.epochs, first, each)
    return f"{steps_before(first, each) + (state.step or 0):,}/{total:,}" if total else ""
