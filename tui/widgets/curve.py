"""A series of points and its moving average: a new point costs O(1), a million are drawn from a pyramid of extremes.

Blocks of 16, 256 and 4,096 points keep their extremes, so that any window of any width is drawn exactly from a few
thousand numbers. numpy is used for long histories only, and on a thread.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

NAN = math.nan
INF = math.inf
BULK = 20_000
"""From so many points on numpy smooths and builds the pyramid."""
_RATIO = 16
_LEVELS = 3
_SEGMENT = 1 << 16


@dataclass(slots=True)
class Columns:
    """What each dot column shows: extremes and last smoothed value of its points (NaN: none), and where NaN was met."""

    first: float
    last: float
    low: list[float]
    high: list[float]
    smooth: list[float]
    broken: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Smoothed:
    """A moving average that was computed elsewhere, for `Curve.take`."""

    smoothing: float
    values: array[float]
    mean: float
    weight: float


class Curve:
    """Points in the order of their steps, with an exponential moving average.

    The average is corrected for its start as in Adam (`m / (1 - beta ** n)`), so that it does not begin at zero; NaN
    and infinite values are kept as gaps and leave it alone.
    """

    def __init__(self, smoothing: float = 0.9) -> None:
        self.steps = array("i")
        self.values = array("d")
        self.smooth = array("f")
        self.gaps = array("i")
        """Indices of the values that are no numbers."""
        self._smoothing = smoothing
        self._mean = 0.0
        self._weight = 0.0  # 1 - beta ** n
        self._lows = [array("d") for _ in range(_LEVELS)]
        self._highs = [array("d") for _ in range(_LEVELS)]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def smoothing(self) -> float:
        """The weight of the past: 0 shows the raw values, 0.99 looks back about a hundred points."""
        return self._smoothing

    @smoothing.setter
    def smoothing(self, value: float) -> None:
        if value != self._smoothing:
            self.take(self.smoothed(value))

    def smoothed(self, beta: float) -> Smoothed:
        """The average with another weight; a million points take 0.1 s, so long curves do it on a thread."""
        if len(self.values) >= BULK:
            return _smoothed_fast(self.values[:], beta)
        mean = weight = 0.0
        smooth = array("f")
        for point in self.values:
            if point - point == 0:  # finite
                mean = beta * mean + (1 - beta) * point
                weight = beta * weight + (1 - beta)
            smooth.append(mean / weight if weight else NAN)
        return Smoothed(beta, smooth, mean, weight)

    def take(self, found: Smoothed) -> None:
        """Use this average; points that came since it was computed are taken in now."""
        self._smoothing, self.smooth = found.smoothing, found.values
        self._mean, self._weight = found.mean, found.weight
        for value in self.values[len(self.smooth) :]:
            self.smooth.append(self._average(value))

    def _average(self, value: float) -> float:
        if value - value == 0:  # finite
            beta = self._smoothing
            self._mean = beta * self._mean + (1 - beta) * value
            self._weight = beta * self._weight + (1 - beta)
        return self._mean / self._weight if self._weight else NAN

    def extend(self, points: Iterable[tuple[float, float]]) -> None:
        """Append points; one whose step is not after the last is left out (a step is logged once)."""
        for step, value in points:
            self.append(step, value)

    def append(self, step: float, value: float) -> None:
        """Append one point."""
        if self.steps and step <= self.steps[-1]:
            return
        self.steps.append(int(step))
        self.values.append(value)
        if value - value != 0:
            self.gaps.append(len(self.values) - 1)
        self.smooth.append(self._average(value))
        count = len(self.steps)
        size = _RATIO
        for level in range(_LEVELS):
            if count % size:
                break
            low, high = self._block(level, count // size - 1)
            self._lows[level].append(low)
            self._highs[level].append(high)
            size *= _RATIO

    def fill(self, steps: array[int], values: array[float], offset: int = 0) -> None:
        """Append many points, `offset` added to their steps; long ones at once."""
        if len(steps) < BULK:
            for step, value in zip(steps, values, strict=True):
                self.append(step + offset, value)
            return
        import numpy as np

        for begin in range(0, len(steps), _SEGMENT):  # in pieces: what is needed meanwhile stays small
            more = np.frombuffer(steps[begin : begin + _SEGMENT], dtype="i4") + np.int32(offset)
            fresh = np.frombuffer(values[begin : begin + _SEGMENT], dtype=f"f{values.itemsize}").astype("f8")
            last = self.steps[-1] if self.steps else -1
            after = more > np.concatenate(([last], np.maximum.accumulate(more)[:-1])).clip(min=last)
            if not after.all():
                more, fresh = more[after], fresh[after]
            self.steps.frombytes(more.tobytes())
            self.values.frombytes(fresh.tobytes())
        self._rebuild()

    def _rebuild(self) -> None:
        """Gaps, average and pyramid of everything, by numpy."""
        import numpy as np

        values = np.frombuffer(self.values, dtype="f8")
        finite = np.isfinite(values)
        self.gaps = array("i", np.flatnonzero(~finite).astype("i4").tobytes())
        low = high = values
        for level in range(_LEVELS):
            blocks = len(low) // _RATIO
            size = blocks * _RATIO
            if level == 0 and self.gaps:
                low = np.where(finite, values, INF)[:size].reshape(blocks, _RATIO).min(axis=1)
                high = np.where(finite, values, -INF)[:size].reshape(blocks, _RATIO).max(axis=1)
            else:
                low = low[:size].reshape(blocks, _RATIO).min(axis=1)
                high = high[:size].reshape(blocks, _RATIO).max(axis=1)
            self._lows[level] = array("d", low.tobytes())
            self._highs[level] = array("d", high.tobytes())
        del values, finite, low, high  # they hold the array's buffer, which could not grow
        self.take(_smoothed_fast(self.values, self._smoothing))

    def _block(self, level: int, index: int) -> tuple[float, float]:
        """Extremes of a block whose points are all there."""
        begin, end = index * _RATIO, (index + 1) * _RATIO
        if level:
            return min(self._lows[level - 1][begin:end]), max(self._highs[level - 1][begin:end])
        return self._raw(begin, end)

    def _raw(self, begin: int, end: int) -> tuple[float, float]:
        part = self.values[begin:end]
        if self.gaps and bisect_left(self.gaps, begin) < bisect_left(self.gaps, end):
            finite = [value for value in part if value - value == 0]
            return min(finite, default=INF), max(finite, default=-INF)
        return (min(part), max(part)) if part else (INF, -INF)

    def extremes(self, begin: int, end: int) -> tuple[float, float]:
        """Lowest and highest finite value of the points begin..end; (inf, -inf) where there is none."""
        low, high = INF, -INF
        for level in range(-1, _LEVELS):
            if end - begin <= 0:
                break
            inner, outer = -(-begin // _RATIO), end // _RATIO
            last = level == _LEVELS - 1 or outer <= inner
            spans = ((begin, end),) if last else ((begin, inner * _RATIO), (outer * _RATIO, end))
            for start, stop in spans:
                if stop > start:
                    if level < 0:
                        least, most = self._raw(start, stop)
                    else:
                        least, most = min(self._lows[level][start:stop]), max(self._highs[level][start:stop])
                    low, high = min(low, least), max(high, most)
            if last:
                break
            begin, end = inner, outer
        return low, high

    def columns(self, first: float, last: float, count: int) -> Columns:
        """The points between two steps in `count` columns."""
        columns = Columns(first, last, [NAN] * count, [NAN] * count, [NAN] * count)
        steps, smooth = self.steps, self.smooth
        each = (last - first) / count if count else 0.0
        begin = bisect_left(steps, first)
        for index in range(count):
            if begin >= len(steps):
                break
            edge = first + (index + 1) * each
            if steps[begin] >= edge and index < count - 1:
                continue
            end = bisect_right(steps, last, begin) if index == count - 1 else bisect_left(steps, edge, begin)
            if end > begin:
                low, high = self.extremes(begin, end)
                if low <= high:
                    columns.low[index], columns.high[index], columns.smooth[index] = low, high, smooth[end - 1]
                if self.gaps and bisect_left(self.gaps, begin) < bisect_left(self.gaps, end):
                    columns.broken.add(index)
                begin = end
        return columns

    def window(self, first: float, last: float) -> tuple[int, int]:
        """The indices begin..end of the points between two steps, both counted in."""
        return bisect_left(self.steps, first), bisect_right(self.steps, last)

    def at(self, step: float) -> float | None:
        """The smoothed value at a step (the last one before it)."""
        index = bisect_right(self.steps, step) - 1
        return self.smooth[index] if index >= 0 else None

    def sample(self, limit: int = 1000, span: tuple[float, float] | None = None) -> tuple[list[float], list[float]]:
        """At most `limit` finite values and smoothed values, sorted: enough for percentiles."""
        begin, end = (0, len(self.steps)) if span is None else self.window(*span)
        stride = max(1, (end - begin) // limit)
        raw = sorted(value for value in self.values[begin:end:stride] if math.isfinite(value))
        smooth = sorted(value for value in self.smooth[begin:end:stride] if value == value)
        return raw, smooth


def _smoothed_fast(values: array[float], beta: float) -> Smoothed:
    """The same average in blocks: within one it is a running sum of values that are weighted backwards."""
    import numpy as np

    if not beta:
        last = next((value for value in reversed(values) if value - value == 0), 0.0)
        return Smoothed(beta, array("f", np.frombuffer(values, "f8").astype("f4").tobytes()), last, 1.0)
    # Within a block beta ** -n must neither overflow nor outgrow a double's digits.
    block = max(8, min(1024, int(math.log(1e-9) / math.log(beta))))
    powers = beta ** np.arange(block)
    mean, count, last_shown = 0.0, 0, NAN
    smooth = array("f", bytes(4 * len(values)))
    out, whole = np.frombuffer(smooth, "f4"), np.frombuffer(values, "f8")
    for begin in range(0, len(whole), _SEGMENT):
        part = whole[begin : begin + _SEGMENT]
        finite = np.isfinite(part)
        points = part[finite]
        size = len(points)
        rows = -(-size // block) if size else 0
        grid: Any = np.zeros(rows * block)
        grid[:size] = points
        grid = grid.reshape(rows, block)
        inner = (1 - beta) * np.cumsum(grid / powers, axis=1) * powers
        for row in range(rows):
            inner[row] += mean * beta * powers
            mean = float(inner[row, (size - 1) % block if row == rows - 1 else block - 1])
        means = inner.reshape(-1)[:size]
        weights = 1 - beta ** (count + np.arange(1, size + 1))
        count += size
        shown = np.concatenate(([last_shown], means / weights))[np.cumsum(finite)]
        last_shown = float(shown[-1])
        out[begin : begin + len(shown)] = shown
    del out, whole
    return Smoothed(beta, smooth, mean, 1 - beta**count if count else 0.0)
