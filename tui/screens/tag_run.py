"""The tag run that the Tag screen watches: the newest one. Knows no widget; files are read on threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.watch import RunSnapshot, RunWatch
    from core.tagging.options import TagRequest
    from core.tagging.results import TagResult
    from core.workspace import Workspace

_RECENT = 40
"""Groups of the journal among which the pass of a run is looked for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the files found; worth nothing once another run is watched."""

    turn: int
    watch: RunWatch
    seen: RunSnapshot
    results: TagResult
    undo: str
    """`next`: `u` takes the pass back; `undone`: that was done; `` : neither."""


class WatchedRun:
    """The state of the run as it was last read. `read` is for a thread, one at a time; the rest for the screen's."""

    def __init__(self) -> None:
        self.seen: tuple[RunSnapshot, TagResult] | None = None
        self.last_line = ""
        self.is_live = False
        self.undo = ""
        self._watch: RunWatch | None = None
        self._turn = 0

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of the images that could not be tagged."""
        return tuple(self.seen[1].failed) if self.seen is not None else ()

    @property
    def name(self) -> str:
        """The run's id, once it was read."""
        return self.seen[0].run.id if self.seen is not None and self._watch is not None else "a tag run"

    @property
    def stoppable(self) -> Run | None:
        """The run, as long as it goes on; not yet the one that was just begun, of which nothing was read."""
        return self.seen[0].run if self.seen is not None and self.is_live and self._watch is not None else None

    def look_anew(self) -> None:
        """The newest run may be another one now."""
        self._watch = None
        self._turn += 1

    def begun(self) -> None:
        """A run was started: it is live before anything of it was read."""
        self.look_anew()
        self.last_line, self.is_live, self.undo = "", True, ""

    def read(self, workspace: Workspace | None) -> Reading | None:
        """Look at the files; None when nothing was tagged here yet."""
        from core.runs.model import LIVE_STATES, RunKind
        from core.runs.store import list_runs
        from core.runs.watch import RunWatch
        from core.tagging.results import TagResult

        turn, watch = self._turn, self._watch
        if watch is None:
            newest = next((run for run in list_runs(workspace) if run.spec.kind is RunKind.TAG), None)
            if newest is None:
                return None
            watch = RunWatch(newest.dir)
        seen = watch.poll()
        results = seen.results or TagResult()
        undo = "" if seen.run.status.state in LIVE_STATES else undo_state(workspace, results.group)
        return Reading(turn, watch, seen, results, undo)

    def is_stale(self, reading: Reading) -> bool:
        """Whether `look_anew` came while it was read."""
        return reading.turn != self._turn

    def take(self, reading: Reading) -> bool:
        """Keep what was read; True when the run has ended since the last time."""
        from core.runs.model import LIVE_STATES

        was_live, self.is_live = self.is_live, reading.seen.run.status.state in LIVE_STATES
        said = [line.plain() for line in reading.seen.log_lines_new]
        self.last_line = next((line for line in reversed(said) if line.strip()), self.last_line)
        self.seen, self.undo = (reading.seen, reading.results), reading.undo
        self._watch = reading.watch
        if was_live and not self.is_live:
            self.look_anew()
            return True
        return False


def is_about(run: Run, request: TagRequest) -> bool:
    """Whether a run tagged what `request` names."""
    return request.target in {run.spec.dataset, (run.spec.tag or {}).get("target")}


def undo_state(workspace: Workspace | None, group: str | None) -> str:
    """`next` when `u` would take this group back now, `undone` when it was taken back, else ""."""
    if workspace is None or group is None or not (workspace.own / "journal").is_dir():
        return ""
    from core.dataset.edits import Journal

    is_first = True
    for each in Journal(workspace).history(_RECENT):
        if each.id == group:
            return "undone" if each.state == "undone" else "next" if is_first else ""
        is_first = is_first and each.state == "undone"
    return ""


def start_run(workspace: Workspace | None, request: TagRequest) -> str:
    """Start tagging; returns the run's name. Spawns a process: on a thread. Raises UserError."""
    from core.runs.launch import start, tag_spec
    from core.runs.queue import holding_for_tags
    from core.runs.store import create, runs_dir

    spec, files = tag_spec(workspace, request)
    return start(create(runs_dir(workspace), holding_for_tags(spec), files)).id


def stop_run(run: Run) -> None:
    """End it now. Takes up to 10 s where its supervisor is gone: on a thread."""
    from core.runs.launch import stop

    stop(run, "stop-now")
