"""The thread's side of the Monitor screen: reads one run's files and hands over what is new since the last time."""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import read_from
from tui.widgets.plot import Curve

if TYPE_CHECKING:
    from core.hardware import GpuReading, HostSnapshot
    from core.runs.artifacts import TrainState
    from core.runs.progress import LogLine
    from core.runs.watch import RunSnapshot, RunWatch

NO_GPU_RETRY = 30.0
SLOW_LIST = 2.0
SERIES = ("loss/current", "loss/average")
"""What is charted: the loss of every step, or its average where the trainer writes no events."""
_MANY = 4000


@dataclass(frozen=True, slots=True)
class News:
    """What one poll found. `curve` replaces the chart's when so much came that it was built on the thread."""

    snapshot: RunSnapshot
    points: tuple[tuple[float, float], ...] = ()
    curve: Curve | None = None
    lines: tuple[LogLine, ...] = ()
    states: tuple[TrainState, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    tagged: tuple[str, ...] = ()

    def without_new(self) -> News:
        """The same state, for drawing it once more: points and lines are not appended twice."""
        return replace(self, points=(), curve=None, lines=())


@dataclass(slots=True)
class RunFeed:
    """Follows one run folder; `read` is called from one thread at a time. Raises UserError when the folder is gone."""

    run_dir: Path
    smoothing: float = 0.9
    tag: str | None = None
    """The series that is charted."""
    configs: Path | None = None
    """Where today's configs are: a state counts when the run's config trains on from it."""
    _watch: RunWatch | None = None
    _last_step: int = -1
    _results: int = 0
    _half_line: bytes = b""
    _failed: list[tuple[str, str]] = field(default_factory=list)
    _tagged: deque[str] = field(default_factory=lambda: deque(maxlen=30))
    _states: tuple[TrainState, ...] = ()
    _states_at: float = -SLOW_LIST

    def read(self) -> News:
        """Poll once."""
        if self._watch is None:
            from core.runs.watch import RunWatch

            self._watch = RunWatch(self.run_dir)
        snapshot = self._watch.poll()
        points, curve = self._new_points(snapshot)
        if snapshot.run.spec.kind.value == "tag":
            self._read_results()
        else:
            self._read_states(snapshot)
        return News(
            snapshot,
            points,
            curve,
            tuple(snapshot.log_lines_new),
            self._states,
            tuple(self._failed),
            tuple(self._tagged),
        )

    def _new_points(self, snapshot: RunSnapshot) -> tuple[tuple[tuple[float, float], ...], Curve | None]:
        """Points after the last step taken; or a whole curve at the first look and when another series took over."""
        tag = next((tag for tag in SERIES if tag in snapshot.series), None)
        if tag is None:
            return (), None
        series = snapshot.series[tag]
        if tag == self.tag:
            start = bisect_right(series.steps, self._last_step)
            points = tuple(zip(series.steps[start:], series.values[start:], strict=True))
            if len(points) <= _MANY:
                self._last_step = points[-1][0] if points else self._last_step
                return points, None
        curve = Curve(self.smoothing)
        curve.extend(series)
        self.tag, self._last_step = tag, series.steps[-1] if len(series) else -1
        return (), curve

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


@dataclass(slots=True)
class HardwareFeed:
    """Reads GPUs and host; a machine without a GPU is asked again twice a minute only."""

    _reading: GpuReading | None = None
    _asked: float = 0.0

    def read(self, where: Path, pid: int | None) -> tuple[GpuReading, HostSnapshot, dict[int, int]]:
        """GPUs, host (with the disk of `where`), and GPU index → bytes held by the process group `pid`."""
        from core.hardware import read_gpus, read_host

        now = time.monotonic()
        if self._reading is None or self._reading.gpus or now - self._asked > NO_GPU_RETRY:
            self._reading, self._asked = read_gpus(), now
        own: dict[int, int] = {}
        if pid is not None:
            for gpu in self._reading.gpus:
                held = sum(each.memory or 0 for each in gpu.processes or () if _group(each.pid) == pid)
                if held:
                    own[gpu.index] = held
        return self._reading, read_host(where), own


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
