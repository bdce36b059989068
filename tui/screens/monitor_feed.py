"""The thread's side of the Monitor screen: reads one run's files and hands over what is new since the last time."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import read_from
from tui.screens.monitor_curves import ChartNews, CurveFeed

if TYPE_CHECKING:
    from core.runs.artifacts import TrainState
    from core.runs.lineage import Part
    from core.runs.model import Run
    from core.runs.progress import LogLine
    from core.runs.watch import RunSnapshot, RunWatch

SLOW_LIST = 2.0
NO_NEWS = ChartNews()


@dataclass(frozen=True, slots=True, repr=False)
class News:
    """What one poll found."""

    snapshot: RunSnapshot
    chart: ChartNews = NO_NEWS
    parts: tuple[Part, ...] = ()
    """The runs that this one goes on from."""
    lines: tuple[LogLine, ...] = ()
    states: tuple[TrainState, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    tagged: tuple[str, ...] = ()
    waits: str = ""
    """Of a queued run: what it waits for."""

    def without_new(self) -> News:
        """The same state, for drawing it once more: points and lines are not appended twice."""
        return replace(self, chart=ChartNews(self.chart.view, self.chart.views), lines=())


@dataclass(slots=True, repr=False)
class RunFeed:
    """Follows one run folder; `read` is called from one thread at a time. Raises UserError when the folder is gone."""

    run_dir: Path
    curves: CurveFeed = field(default_factory=CurveFeed)
    configs: Path | None = None
    """Where today's configs are: a state counts when the run's config trains on from it."""
    _parts: tuple[Part, ...] | None = None
    _polls: int = 0
    _watch: RunWatch | None = None
    _results: int = 0
    _half_line: bytes = b""
    _failed: list[tuple[str, str]] = field(default_factory=list)
    _tagged: deque[str] = field(default_factory=lambda: deque(maxlen=30))
    _states: tuple[TrainState, ...] = ()
    _states_at: float = -SLOW_LIST
    _log: tuple[Path, int] | None = None
    goes_on: bool = True
    """Whether more may come: the run had not ended when it was read."""

    @property
    def has_new_line(self) -> bool:
        """Whether the log got a line since it was read; a bar that only goes on is none."""
        return self._log is not None and b"\n" in read_from(*self._log)[0]

    def read(self) -> News:
        """Poll once."""
        from core.runs.model import ENDED_STATES

        if self._watch is None:
            from core.runs.watch import RunWatch

            self._watch = RunWatch(self.run_dir)
        snapshot = self._watch.poll()
        self._log = snapshot.run.log_file, snapshot.log_end
        self.goes_on = snapshot.run.state not in ENDED_STATES
        parts = self._parts_before(snapshot)
        if snapshot.run.spec.kind.value == "tag":
            self._read_results()
        else:
            self._read_states(snapshot)
        return News(
            snapshot,
            self.curves.read(snapshot, parts),
            parts,
            tuple(snapshot.log_lines_new),
            self._states,
            tuple(self._failed),
            tuple(self._tagged),
            _waits(snapshot.run),
        )

    def _parts_before(self, snapshot: RunSnapshot) -> tuple[Part, ...]:
        """The histories of the runs before, read once, when it is known with which step this one began."""
        if snapshot.run.spec.resumed_from is None or self._parts is not None or not snapshot.steps_before:
            return self._parts or ()
        self._polls += 1
        if self._polls > 1 and not snapshot.loading:  # the run's own newest part is shown first
            from core.runs.lineage import parts_before

            self._parts = tuple(parts_before(snapshot.run, snapshot.steps_before, snapshot.first_epoch))
        return self._parts or ()

    def _read_states(self, snapshot: RunSnapshot) -> None:
        """Of an ended run: at once when it has ended, then now and again, as its config may change."""
        from core.runs.model import ENDED_STATES

        run, now = snapshot.run, time.monotonic()
        if run.state not in ENDED_STATES:
            self._states, self._states_at = (), -SLOW_LIST
        elif self.configs is not None and run.spec.config is not None and now - self._states_at >= SLOW_LIST:
            from core.runs.artifacts import states
            from core.runs.resume import leads_on

            self._states_at = now
            config = self.configs / run.spec.config
            self._states = tuple(state for state in states(run) if state.complete and leads_on(state.path, config))

    def _read_results(self) -> None:
        data, self._results = read_from(self.run_dir / "results.jsonl", self._results)
        *whole, self._half_line = (self._half_line + data).split(b"\n")
        for raw in whole:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if not isinstance(line, dict) or "path" not in line:
                continue
            path = str(line["path"])
            if "error" in line:
                self._failed.append((path, str(line["error"])))
            else:
                self._tagged.append(f"{Path(path).name}  {line.get('tags', '?')} tags")


def _waits(run: Run) -> str:
    from core.runs.model import RunState
    from core.runs.queue import said

    return said(run) if run.state is RunState.QUEUED else ""
