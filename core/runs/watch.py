"""Watching a run: cheap polls of its files, each giving what is new.

Only what was added since the last poll is read. Of a long log the beginning and the end are read, not the middle.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import time
from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.files import read_from
from core.problems import Problem, Severity
from core.runs import store
from core.runs.artifacts import Checkpoint, SampleImage, checkpoints, samples
from core.runs.events import EventFile, find_events
from core.runs.model import LIVE_STATES, Run, RunKind
from core.runs.pace import Pace, step_rate, steps_before
from core.runs.progress import LogLine, LogReader, ProgressReader
from core.tagging.results import ResultsReader, TagResult

LOG_BYTES = 256 * 1024
"""How much of the end of a long log is shown at once."""
MAX_POINTS = 200_000
_LOG_CHUNK = 1 << 20
_EVENT_CHUNK = 4 << 20
_RESCAN_SECONDS = 5.0
_STALE_SECONDS = 60.0
_PER_EPOCH = ("epoch_average", "epoch_divergence")


@dataclass(slots=True)
class Series:
    """The points of one tag in two parallel arrays, which grow in place. Above 200,000 points every second one goes."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    version: int = 0
    """Grows with every change, so that a chart knows without comparing."""

    def add(self, step: int, value: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.version += 1
        if len(self.steps) > MAX_POINTS:
            del self.steps[1::2], self.values[1::2]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self.steps, self.values, strict=True)

    @property
    def last(self) -> float | None:
        return self.values[-1] if self.values else None


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run as it stood at one poll. For a tag run step and total_steps are images, rate is images a second.

    `step` counts the whole training like `total_steps`; of a resumed run `steps_before` of them are not its own, and
    the steps of series, checkpoints and samples count without them. `eta_seconds` allows for pauses, `rate` does not.
    `series` are the watch's own growing arrays: tags of the events file (`loss/current`, `loss/average`, `lr/unet` …;
    those named `…epoch_average` count epochs, not steps). `log_lines_new` are the lines since the poll before.
    """

    run: Run
    phase: str
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    loss_average: float | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    reason: str | None = None
    series: Mapping[str, Series] = field(default_factory=dict)
    log_lines_new: tuple[LogLine, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    samples: tuple[SampleImage, ...] = ()
    problems: tuple[Problem, ...] = ()
    steps_before: int = 0
    sample: tuple[int, int | None] | None = None
    """While pictures are drawn: which one it is, and of how many."""
    results: TagResult | None = None
    """Of a tag run."""

    def as_json(self) -> dict[str, Any]:
        """The document of `runs` and `status`. A loss that is not a number is null."""
        run, status = self.run, self.run.status
        return {
            "id": run.id,
            "kind": run.spec.kind.value,
            "name": run.spec.name,
            "state": run.state.value,
            "phase": self.phase,
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "loss": _finite(self.loss_average if self.loss_average is not None else self.loss),
            "rate": _finite(self.rate),
            "eta_seconds": _finite(self.eta_seconds),
            "gpu": run.gpu,
            "reason": self.reason,
            **_waits(run),
            "group": (run.spec.group or {}).get("id"),
            "resumed_from": run.spec.resumed_from,
            "returncode": status.returncode,
            "supervised": run.supervised,
            "created": run.spec.created,
            "started": status.started,
            "ended": status.ended,
            "path": str(run.dir),
        }


class RunWatch:
    """Follows one run folder; `poll` as often as wanted, from one thread."""

    def __init__(self, run_dir: Path, *, log_bytes: int = LOG_BYTES) -> None:
        self.dir = run_dir
        self.series: dict[str, Series] = {}
        self._log_bytes = log_bytes
        self._log_offset: int | None = None
        self._log = LogReader()
        self._progress = ProgressReader()
        self._charted = 0
        self._skipped_epoch: tuple[int, int] | None = None
        self._events: dict[Path, EventFile] = {}
        self._scanned_events = -math.inf
        self._times: deque[float] = deque(maxlen=64)  # when the newest steps ended
        self._pace = Pace()
        self._prompts: int | None = None
        self._results = ResultsReader(run_dir / "results.jsonl")
        self._checkpoints: tuple[Checkpoint, ...] = ()
        self._samples: tuple[SampleImage, ...] = ()
        self._folders: tuple[int, int] = (-1, -1)
        self._ended = False

    def poll(self) -> RunSnapshot:
        """What is new. Raises UserError when the run's folder is gone or broken."""
        run = store.observe(self.dir)
        lines = self._read_log(run)
        if run.spec.kind is RunKind.TAG:
            return self._tag_snapshot(run, lines)
        self._read_events(run)
        self._find_files(run)
        state = self._progress.state
        current, average = self.series.get("loss/current"), self.series.get("loss/average")
        epoch, epochs = state.epoch, state.epochs
        if self._skipped_epoch is not None and (epoch is None or epoch < self._skipped_epoch[0]):
            epoch, epochs = self._skipped_epoch
        going = run.state in LIVE_STATES
        # The bar's own rate counts the time of samples too, and is nonsense when drawn more seldom than steps end.
        rate = step_rate(self._times) or state.rate
        total = state.total_steps
        before = steps_before(run.spec.argv, total, epochs)
        step = before + state.step if state.step is not None else None
        pace = self._pace.rate(total / epochs) if total and epochs else None
        pace, left = pace or rate, None
        if going and pace and step is not None and total is not None:
            left = max(0.0, total - step) / pace
        return RunSnapshot(
            run=run,
            phase=state.phase,
            step=step,
            total_steps=total,
            epoch=epoch,
            epochs=epochs,
            loss=current.last if current else None,
            loss_average=average.last if average else state.avr_loss,
            rate=rate,
            eta_seconds=left,
            reason=run.status.reason or run.status.warning,
            series=self.series,
            log_lines_new=lines,
            checkpoints=self._checkpoints,
            samples=self._samples,
            problems=_problems(run, current, average),
            steps_before=before,
            sample=self._sample_now(run) if going else None,
        )

    def _sample_now(self, run: Run) -> tuple[int, int | None] | None:
        state = self._progress.state
        if state.phase != "sampling" or not state.sample:
            return None
        if self._prompts is None:
            self._prompts = len(prompts_of(run.dir))
        return state.sample, self._prompts if self._prompts >= state.sample else None

    def _tag_snapshot(self, run: Run, lines: tuple[LogLine, ...]) -> RunSnapshot:
        results = self._results.read()
        going = run.state in LIVE_STATES
        rate = self._results.rate(time.time() if going else run.status.ended)
        left = None if results.total is None else results.total - results.count
        return RunSnapshot(
            run=run,
            phase="done" if results.done else ("tagging" if results.count else "starting"),
            step=results.count,
            total_steps=results.total,
            rate=rate,
            eta_seconds=left / rate if going and rate and left is not None else None,
            reason=run.status.reason or run.status.warning,
            log_lines_new=lines,
            problems=(*_problems(run, None, None), *results.problems()),
            results=results,
        )

    def _read_log(self, run: Run) -> tuple[LogLine, ...]:
        lines: list[LogLine] = []
        if self._log_offset is None:
            self._log_offset = self._open_log(run.log_file)
        while True:
            before = self._log_offset
            data, self._log_offset = read_from(run.log_file, before, _LOG_CHUNK)
            if self._log_offset < before:  # cut off or replaced: from the beginning, in a fresh reader
                self._log, self._progress = LogReader(), ProgressReader()
            if not data:
                break
            self._progress.feed(data)
            lines += self._log.feed(data)
            if len(data) < _LOG_CHUNK:
                break
        return tuple(lines)

    def _open_log(self, path: Path) -> int:
        """Where to begin: 0, or behind the middle of a long log, of which only the beginning is read for its totals."""
        try:
            size = path.stat().st_size
        except OSError:
            return 0
        if size <= 2 * self._log_bytes:
            return 0
        with path.open("rb") as stream:
            self._progress.feed(stream.read(self._log_bytes))
            self._progress.jump()
            begin = size - self._log_bytes
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
                # The epoch is printed once in many thousand steps: look for its last line before what is read.
                found = view.rfind(b"\nepoch ", 0, begin)
                match = re.match(rb"\nepoch (\d+)/(\d+)", view[found : found + 40]) if found >= 0 else None
                if match:
                    self._skipped_epoch = int(match[1]), int(match[2])
                ends = [place for place in (view.find(b"\n", begin), view.find(b"\r", begin)) if place >= 0]
                return min(ends, default=begin - 1) + 1

    def _read_events(self, run: Run) -> None:
        now = time.monotonic()
        if now - self._scanned_events >= (_RESCAN_SECONDS if self._events else 0.0):
            self._scanned_events = now
            for path in find_events(run.logs_dir):
                if path not in self._events:
                    if self._charted:
                        self.series.pop("loss/average", None)
                        self._charted = 0
                    self._events[path] = EventFile(path)
        for file in self._events.values():
            for tag, step, value, wall_time in file.read(_EVENT_CHUNK):
                if tag == "loss/current":
                    self._times.append(wall_time)
                    self._pace.add(step, wall_time)
                series = self.series.get(tag)
                if series is None:
                    series = self.series[tag] = Series()
                series.add(step, value)
        if not self._events:
            self._chart_log()

    def _chart_log(self) -> None:
        """Without an events file: the bar's average loss (three digits). The newest point may still change: it waits.

        Points of the log give way to those of the file when one appears.
        """
        progress = self._progress
        stop = len(progress.steps) - 1
        if self._charted >= stop:
            return
        series = self.series.setdefault("loss/average", Series())
        for index in range(self._charted, stop):
            series.add(progress.steps[index], progress.losses[index])
        self._charted = stop

    def _find_files(self, run: Run) -> None:
        if run.output_dir is None:
            return
        changed = (_mtime(run.output_dir), _mtime(run.output_dir / "sample"))
        growing = not all(item.complete for item in self._checkpoints)
        if changed == self._folders and not growing:
            return
        # A file that appeared just now may be a moment younger than the folder's time: look again at the next poll.
        fresh = time.time_ns() - max(changed) < 2_000_000_000
        self._folders = (-1, -1) if fresh else changed
        self._checkpoints = checkpoints(run, {item.path: item for item in self._checkpoints})
        self._samples = samples(run)


def _waits(run: Run) -> dict[str, Any]:
    """`position` in the queue and why it `waits`, in words; null for a run that does not."""
    if run.spec.wait is None or run.state in LIVE_STATES or run.status.ended is not None:
        return {"position": None, "waits": None}
    from core.runs.queue import said

    return {"position": run.place.position if run.place is not None else None, "waits": said(run)}


def snapshot(run: Run) -> RunSnapshot:
    """One look at a run, for `status` and `runs`."""
    return RunWatch(run.dir).poll()


def prompts_of(run_dir: Path) -> list[str]:
    """The lines of the run's prompts.txt that are prompts; `SampleImage.prompt_index` counts them."""
    try:
        text = (run_dir / "prompts.txt").read_text("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def counts_epochs(tag: str) -> bool:
    """Whether a tag's step is an epoch number (core/help/trainer.md)."""
    return tag.endswith(_PER_EPOCH)


def _problems(run: Run, current: Series | None, average: Series | None) -> tuple[Problem, ...]:
    found = []
    if run.unsupervised:
        found.append(
            Problem(
                Severity.WARNING,
                "KT510",
                run.id,
                "is unsupervised: its supervisor was killed; the training goes on",
                "It can still be stopped; its exit code will be unknown.",
            )
        )
    elif run.live and run.status.heartbeat is not None and time.time() - run.status.heartbeat > _STALE_SECONDS:
        found.append(
            Problem(
                Severity.WARNING,
                "KT514",
                run.id,
                "has written no state for a minute",
                "Is the disk full, or the machine very busy?",
            )
        )
    if any(series is not None and series.last is not None and math.isnan(series.last) for series in (current, average)):
        found.append(
            Problem(
                Severity.ERROR,
                "KT511",
                run.id,
                "the loss is not a number (NaN)",
                "Stop the run: its checkpoints are useless from here on. Then lower learning_rate.",
            )
        )
    return tuple(found)


def _mtime(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - several times a second
    except OSError:
        return 0


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
