"""The scalars of a run as growing arrays: read on at each poll, of a long file the newest part first."""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.runs.events import EventFile, find_events
from core.runs.pace import Pace

if TYPE_CHECKING:
    from core.runs.events import Points

MAX_POINTS = 4_000_000
_CHUNK = 1 << 20
_LONG = 8 << 20
"""An events file of more bytes (150,000 scalars) is shown by its end first."""
_TAIL = 256 << 10
_BUDGET = 0.25
"""Seconds of reading at one poll; the rest comes with the next one, which should follow at once."""
_RESCAN_SECONDS = 5.0
_LAST_STEP = (1 << 31) - 1
_PER_EPOCH = ("epoch_average", "epoch_divergence")


def counts_epochs(tag: str) -> bool:
    """Whether a tag's step is an epoch number (core/help/trainer.md)."""
    return tag.endswith(_PER_EPOCH)


@dataclass(slots=True, repr=False)
class Series:
    """The points of one tag in two parallel arrays, which grow in place. Above 4,000,000 every second one goes.

    No repr: that of a million points takes a second, and Textual takes the repr of whatever a worker is given.
    Values of an events file are kept in its own four bytes (`f`), others in eight (`d`).
    """

    steps: array[int] = field(default_factory=lambda: array("i"))
    values: array[float] = field(default_factory=lambda: array("d"))
    version: int = 0
    """Grows with every change, so that a chart knows without comparing."""

    def add(self, step: int, value: float) -> None:
        self.steps.append(min(step, _LAST_STEP))
        self.values.append(value)
        self._changed()

    def extend(self, steps: array[int], values: array[float]) -> None:
        """Many points, in arrays of the same kinds."""
        self.steps.extend(steps)
        self.values.extend(values)
        self._changed()

    def _changed(self) -> None:
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


class Scalars:
    """Everything below one folder of events; `poll` reads what is new."""

    def __init__(self, logs_dir: Path) -> None:
        self.series: dict[str, Series] = {}
        self.times: deque[float] = deque(maxlen=64)
        """When the newest steps ended."""
        self.pace = Pace()
        self.loading = False
        """A long file is on its way: `series` holds its end only."""
        self._dir = logs_dir
        self._files: dict[Path, EventFile] = {}
        self._scanned = -math.inf
        self._whole: dict[str, Series] | None = None
        self._read = 0

    @property
    def found(self) -> bool:
        """Whether the trainer writes events at all."""
        return bool(self._files)

    @property
    def damaged(self) -> int:
        """Bytes in the files that were no events."""
        return sum(file.damaged for file in self._files.values())

    @property
    def points(self) -> int:
        """How many scalars were read so far; grows with every sign of life."""
        return self._read

    def poll(self) -> None:
        """Read on, a quarter of a second at most."""
        fresh = self._look_for_files()
        if fresh and not self.series and sum(file.unread for file in self._files.values()) > _LONG:
            self._show_end()
            return
        target = self.series if self._whole is None else self._whole
        end = time.monotonic() + _BUDGET
        for file in self._files.values():
            while (points := file.read_points(_CHUNK)) or file.unread >= _CHUNK:
                self._take(points, target)
                if time.monotonic() > end and file.unread:
                    return
        if self._whole is not None:
            self.series, self._whole, self.loading = self._whole, None, False

    def _look_for_files(self) -> bool:
        now = time.monotonic()
        if now - self._scanned < (_RESCAN_SECONDS if self._files else 0.0):
            return False
        self._scanned = now
        new = [path for path in find_events(self._dir) if path not in self._files]
        if new and not self._files:
            self.series.clear()  # what somebody put there from the log, with three digits, gives way
        for path in new:
            self._files[path] = EventFile(path)
        return bool(new)

    def _show_end(self) -> None:
        for points in EventFile(list(self._files)[-1]).end(_TAIL):
            self.series.setdefault(points.tag, Series(values=array("f"))).extend(points.steps, points.values)
            if points.tag == "loss/current":
                self.times.extend(points.times[-64:])
        self._whole, self.loading = {}, True

    def _take(self, found: Sequence[Points], target: dict[str, Series]) -> None:
        for points in found:
            self._read += len(points.steps)
            if points.tag == "loss/current":
                self.times.extend(points.times[-64:])
                self.pace.add_many(points.steps, points.times)
            series = target.get(points.tag)
            if series is None:
                series = target[points.tag] = Series(values=array("f"))
            series.extend(points.steps, points.values)
