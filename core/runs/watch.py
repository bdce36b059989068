"""Watching a run: cheap polls of its files, each giving what is new.

Only what was added since the last poll is read. Of a long log the beginning and the end are read, not the middle.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from core.files import read_from
from core.runs import store
from core.runs.artifacts import Checkpoint, SampleImage, checkpoints, samples
from core.runs.model import LIVE_STATES, Run, RunKind
from core.runs.pace import first_epoch, step_rate, steps_before, steps_in_all
from core.runs.peak import peak_of
from core.runs.progress import LogLine, LogReader, ProgressReader
from core.runs.scalars import MAX_POINTS as MAX_POINTS
from core.runs.scalars import Scalars, Series
from core.runs.scalars import counts_epochs as counts_epochs
from core.runs.snapshot import RunSnapshot as RunSnapshot
from core.runs.snapshot import problems_of
from core.tagging.results import ResultsReader

LOG_BYTES = 256 * 1024
"""How much of the end of a long log is shown at once."""
_PEAK_SECONDS = 15.0
_HEAD_BYTES = 128 << 10
"""How much of its beginning: there are the totals."""
_LOG_CHUNK = 1 << 20
_EPOCH_BYTES = 16 << 20
"""How far back the line that names the epoch is looked for; else it is counted from the steps."""


class RunWatch:
    """Follows one run folder; `poll` as often as wanted, from one thread."""

    def __init__(self, run_dir: Path, *, log_bytes: int = LOG_BYTES) -> None:
        self.dir = run_dir
        self._log_bytes = log_bytes
        self._log_offset: int | None = None
        self._log_begin = 0
        self._log = LogReader()
        self._progress = ProgressReader()
        self._charted = 0
        self._skipped_epoch: tuple[int, int] | None = None
        self._scalars = Scalars(run_dir / "logs")
        self._bars: deque[tuple[int, float]] = deque(maxlen=32)  # (step, seconds) of the newest bars
        self._phase: tuple[str, float | None] | None = None
        self._life: tuple[int, int] = (-1, -1)
        self._lived = 0.0
        self._prompts: int | None = None
        self._results = ResultsReader(run_dir / "results.jsonl")
        self._checkpoints: tuple[Checkpoint, ...] = ()
        self._samples: tuple[SampleImage, ...] = ()
        self._folders: tuple[int, int] = (-1, -1)
        self._output_seen = False
        self._peak: int | None = None
        self._peak_at = -math.inf

    @property
    def series(self) -> Mapping[str, Series]:
        """What was read of the events so far, by tag."""
        return self._scalars.series

    def poll(self) -> RunSnapshot:
        """What is new. Raises UserError when the run's folder is gone or broken."""
        run = store.observe(self.dir)
        lines = self._read_log(run)
        if run.spec.kind is RunKind.TAG:
            return self._tag_snapshot(run, lines)
        scalars = self._scalars
        scalars.poll()
        if not scalars.found:
            self._chart_log()
        self._find_files(run)
        state = self._progress.state
        current, average = self.series.get("loss/current"), self.series.get("loss/average")
        epoch, epochs = self._epoch(run)
        going = run.state in LIVE_STATES
        if going and state.step is not None and state.elapsed and (state.step, state.elapsed) not in self._bars:
            self._bars.append((state.step, state.elapsed))
        # The bar's own rate counts the time of samples too, and is nonsense when drawn more seldom than steps end.
        rate = step_rate(scalars.times) or _bar_rate(self._bars) or state.rate
        first = max(first_epoch(run.spec.argv), state.first_epoch or 1)
        each = state.steps_per_epoch
        before = steps_before(first, each)
        total = steps_in_all(state.total_steps, epochs, first, each)
        step = before + state.step if state.step is not None else None
        pace = scalars.pace.rate(each) if each else None
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
            problems=problems_of(run, current, average, scalars.damaged, self._lost_output(run)),
            steps_before=before,
            steps_per_epoch=each,
            first_epoch=first,
            sample=self._sample_now(run) if going else None,
            phase_since=self._phase_since(run) if going else None,
            part=state.part if going else None,
            quiet_seconds=self._quiet(run) if going else None,
            loading=scalars.loading,
            peak_vram=self._peak_vram(),
            log_begin=self._log_begin,
            log_end=self._log_offset or 0,
        )

    def _epoch(self, run: Run) -> tuple[int | None, int | None]:
        """The epoch and how many there are: by the log, or counted where its line lies in what was not read."""
        state = self._progress.state
        epoch, epochs = state.epoch, state.epochs
        if self._skipped_epoch is not None and (epoch is None or epoch < self._skipped_epoch[0]):
            return self._skipped_epoch
        each = state.steps_per_epoch
        if self._log_begin and state.step and epochs and each:
            counted = min(epochs, math.ceil(state.step / each) + first_epoch(run.spec.argv) - 1)
            epoch = max(epoch or 0, counted)
        return epoch, epochs

    def _phase_since(self, run: Run) -> float | None:
        """When the phase began: seen by us, or by the trainer's clock at the first look."""
        state = self._progress.state
        if self._phase is None:
            since = _moment(state.since)
            began = run.status.started
            if since is not None and began is not None and not began - 2 <= since <= time.time() + 2:
                since = None  # the clock was set, or the trainer lives in another time zone
            self._phase = state.phase, since
        elif self._phase[0] != state.phase:
            self._phase = state.phase, time.time()
        return self._phase[1]

    def _quiet(self, run: Run) -> float:
        """Seconds since log or events grew. The files' own times count at the first look only: clocks jump."""
        life = (self._log_offset or 0, self._scalars.points)
        now = time.monotonic()
        if life != self._life:
            first = self._life == (-1, -1)
            self._life, self._lived = life, now
            if first:
                changed = _mtime(run.log_file) / 1e9 if _mtime(run.log_file) > 0 else run.status.started or time.time()
                self._lived = now - max(0.0, time.time() - changed)
        return now - self._lived

    def _peak_vram(self) -> int | None:
        if time.monotonic() - self._peak_at > _PEAK_SECONDS:
            self._peak, self._peak_at = peak_of(self.dir), time.monotonic()
        return self._peak

    def _lost_output(self, run: Run) -> bool:
        """Whether the folder of the checkpoints was there and is gone while the training goes on."""
        if run.output_dir is None or run.state not in LIVE_STATES:
            return False
        there = run.output_dir.is_dir()
        self._output_seen = self._output_seen or there
        return self._output_seen and not there

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
            log_begin=self._log_begin,
            log_end=self._log_offset or 0,
            problems=(*problems_of(run, None, None), *results.problems()),
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
            self._progress.feed(stream.read(min(self._log_bytes, _HEAD_BYTES)))
            self._progress.jump()
            begin = size - self._log_bytes
            # The epoch is printed once in many thousand steps: look for its last line before what is read.
            self._skipped_epoch = _last_epoch(stream, begin)
            stream.seek(begin)
            data = stream.read(self._log_bytes)
        ends = [place for place in (data.find(b"\n"), data.find(b"\r")) if place >= 0]
        self._log_begin = begin + min(ends, default=-1) + 1
        return self._log_begin

    def _chart_log(self) -> None:
        """Without an events file: the bar's average loss (three digits). The newest point may still change: it waits.

        Points of the log give way to those of the file when one appears.
        """
        progress = self._progress
        stop = len(progress.steps) - 1
        if self._charted >= stop:
            return
        series = self._scalars.series.setdefault("loss/average", Series())
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


def snapshot(run: Run) -> RunSnapshot:
    """One look at a run, for `status` and `runs`."""
    return RunWatch(run.dir).poll()


def whole(run: Run) -> RunSnapshot:
    """A run with its whole history, however long it is; a million points take about a second."""
    watch = RunWatch(run.dir)
    seen = watch.poll()
    while seen.loading:
        seen = watch.poll()
    return seen


def prompts_of(run_dir: Path) -> list[str]:
    """The lines of the run's prompts.txt that are prompts; `SampleImage.prompt_index` counts them."""
    try:
        text = (run_dir / "prompts.txt").read_text("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _last_epoch(stream: BinaryIO, before: int) -> tuple[int, int] | None:
    """What the last `epoch N/M` line before a place says; some megabytes are looked through, a piece at a time."""
    end, least = before, max(0, before - _EPOCH_BYTES)
    while end > least:
        begin = max(least, end - _LOG_CHUNK)
        stream.seek(begin)
        data = stream.read(end - begin + 40)  # a line may lie across the border
        found = data.rfind(b"\nepoch ")
        match = re.match(rb"\nepoch (\d+)/(\d+)", data[found : found + 40]) if found >= 0 else None
        if match:
            return int(match[1]), int(match[2])
        end = begin
    return None


def _moment(clock: str | None) -> float | None:
    """Seconds since 1970 of the trainer's `2026-11-22 10:15:28`, taken as local time."""
    if clock is None:
        return None
    try:
        return time.mktime(time.strptime(clock, "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def _bar_rate(bars: Sequence[tuple[int, float]]) -> float | None:
    """Steps a second by the newest bars, whose seconds are whole ones: over ten seconds at least."""
    if len(bars) < 2 or bars[-1][1] - bars[0][1] < 10 or bars[-1][0] <= bars[0][0]:
        return None
    return (bars[-1][0] - bars[0][0]) / (bars[-1][1] - bars[0][1])


def _mtime(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - several times a second
    except OSError:
        return 0
