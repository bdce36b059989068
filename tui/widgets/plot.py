"""A series of points and its drawing in braille dots: no numpy, a new point costs O(1).

Colour belongs to a whole cell, so the smoothed curve owns the cells that it passes and the raw one the rest.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

LEVELS = (16, 256)
NAN = math.nan
_UP = (0x01 | 0x02 | 0x04 | 0x40, 0x08 | 0x10 | 0x20 | 0x80)
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
# _SPANS[side][a][b]: the dots a..b (0 is the top one) of one half of a cell.
_SPANS = tuple(
    tuple(tuple(sum(side[a : b + 1]) if b >= a else 0 for b in range(4)) for a in range(4)) for side in _DOTS
)


@dataclass(slots=True)
class Columns:
    """What each dot column shows: extremes and last smoothed value of its points (NaN: none), and where NaN was met."""

    first: float
    last: float
    low: list[float]
    high: list[float]
    smooth: list[float]
    broken: set[int] = field(default_factory=set)

    def at(self, step: float) -> int:
        """The column of a step; may lie outside."""
        count = len(self.low)
        return int((step - self.first) * count / (self.last - self.first)) if self.last > self.first else 0

    def put(self, step: float, low: float, high: float, smooth: float, broken: bool) -> None:
        """Take one point, or one block of points, into its column."""
        index = self.at(step)
        if index == len(self.low) and step <= self.last:
            index -= 1
        if not 0 <= index < len(self.low):
            return
        if broken:
            self.broken.add(index)
        if low == low:
            if not self.low[index] <= low:
                self.low[index] = low
            if not self.high[index] >= high:
                self.high[index] = high
            self.smooth[index] = smooth


class Curve:
    """Points in the order of their steps, with an exponential moving average.

    The average is corrected for its start as in Adam (`m / (1 - beta ** n)`), so that it does not begin at zero; NaN
    and infinite values are kept as gaps and leave it alone. Blocks of 16 and 256 points keep their extremes, so that
    200,000 points are drawn from a few thousand blocks.
    """

    def __init__(self, smoothing: float = 0.9) -> None:
        self.steps = array("d")
        self.values = array("d")
        self.smooth = array("d")
        self._smoothing = smoothing
        self._mean = 0.0
        self._weight = 0.0  # 1 - beta ** n
        self._blocks = [(array("d"), array("d"), array("d"), bytearray()) for _ in LEVELS]  # low, high, smooth, broken
        self._columns: Columns | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def smoothing(self) -> float:
        """The weight of the past: 0 shows the raw values, 0.99 looks back about a hundred points."""
        return self._smoothing

    @smoothing.setter
    def smoothing(self, value: float) -> None:
        if value == self._smoothing:
            return
        self._smoothing = beta = value
        mean = weight = 0.0
        smooth = self.smooth = array("d")
        for point in self.values:
            if point - point == 0:  # finite
                mean = beta * mean + (1 - beta) * point
                weight = beta * weight + (1 - beta)
            smooth.append(mean / weight if weight else NAN)
        self._mean, self._weight = mean, weight
        for size, (_, _, ends, _) in zip(LEVELS, self._blocks, strict=True):
            ends[:] = smooth[size - 1 :: size]
        self._columns = None

    def extend(self, points: Iterable[tuple[float, float]]) -> None:
        """Append points; one whose step is not after the last is left out (a step is logged once)."""
        for step, value in points:
            self.append(step, value)

    def append(self, step: float, value: float) -> None:
        """Append one point."""
        if self.steps and step <= self.steps[-1]:
            return
        finite = math.isfinite(value)
        if finite:
            beta = self._smoothing
            self._mean = beta * self._mean + (1 - beta) * value
            self._weight = beta * self._weight + (1 - beta)
        smooth = self._mean / self._weight if self._weight else NAN
        self.steps.append(step)
        self.values.append(value)
        self.smooth.append(smooth)
        low = value if finite else NAN
        if self._columns is not None:
            self._columns.put(step, low, low, smooth, not finite)
        if len(self.steps) % LEVELS[0] == 0:
            self._fill_blocks()

    def _fill_blocks(self) -> None:
        count = len(self.steps)
        part = [value for value in self.values[count - LEVELS[0] :] if math.isfinite(value)]
        self._add_block(0, min(part, default=NAN), max(part, default=NAN), self.smooth[-1], len(part) < LEVELS[0])
        if count % LEVELS[1] == 0:
            lows, highs, _, broken = self._blocks[0]
            size = LEVELS[1] // LEVELS[0]
            low = min((value for value in lows[-size:] if value == value), default=NAN)
            high = max((value for value in highs[-size:] if value == value), default=NAN)
            self._add_block(1, low, high, self.smooth[-1], any(broken[-size:]))

    def _add_block(self, level: int, low: float, high: float, smooth: float, broken: bool) -> None:
        lows, highs, smooths, breaks = self._blocks[level]
        lows.append(low)
        highs.append(high)
        smooths.append(smooth)
        breaks.append(broken)

    def columns(self, first: float, last: float, count: int) -> Columns:
        """The points between two steps in `count` columns; free for the same range, which `append` keeps up to date."""
        known = self._columns
        if known is not None and (known.first, known.last, len(known.low)) == (first, last, count):
            return known
        columns = Columns(first, last, [NAN] * count, [NAN] * count, [NAN] * count)
        position = 0
        for level in (1, 0):
            if len(self.steps) >= 2 * LEVELS[level] * count:
                position = self._put_blocks(columns, level)
                break
        for index in range(position, len(self.steps)):
            value = self.values[index]
            finite = math.isfinite(value)
            low = value if finite else NAN
            columns.put(self.steps[index], low, low, self.smooth[index], not finite)
        self._columns = columns
        return columns

    def _put_blocks(self, columns: Columns, level: int) -> int:
        size = LEVELS[level]
        steps, put, at = self.steps, columns.put, columns.at
        lows, highs, smooths, breaks = self._blocks[level]
        for block, (low, high, smooth, broken) in enumerate(zip(lows, highs, smooths, breaks, strict=True)):
            start, end = block * size, (block + 1) * size
            if at(steps[end - 1]) - at(steps[start]) > 1 or broken:  # sparse here, or a gap to be put exactly
                for index in range(start, end):
                    value = self.values[index]
                    finite = math.isfinite(value)
                    put(
                        steps[index], value if finite else NAN, value if finite else NAN, self.smooth[index], not finite
                    )
            else:
                put(steps[end - 1], low, high, smooth, False)
        return len(lows) * size

    def sample(self, limit: int = 1000) -> tuple[list[float], list[float]]:
        """At most `limit` finite values and smoothed values, sorted: enough for percentiles."""
        stride = max(1, len(self.values) // limit)
        raw = sorted(value for value in self.values[::stride] if math.isfinite(value))
        smooth = sorted(value for value in self.smooth[::stride] if value == value)
        return raw, smooth


def percentile(ordered: list[float], part: float) -> float:
    """The value below which `part` of a sorted, not empty list lies."""
    return ordered[min(len(ordered) - 1, max(0, round(part * (len(ordered) - 1))))]


def value_range(curve: Curve, log: bool) -> tuple[float, float] | None:
    """What the value axis shows: nearly all raw values and the smoothed curve, not outliers that would flatten it."""
    raw, smooth = curve.sample()
    if log:  # what is far off is judged as it is seen
        raw = [math.log10(value) for value in raw if value > 0]
        smooth = [math.log10(value) for value in smooth if value > 0]
    if not raw:
        return None
    low, high = percentile(raw, 0.01), percentile(raw, 0.99)
    if smooth:
        low, high = min(low, percentile(smooth, 0.01)), max(high, percentile(smooth, 0.99))
    room = 0.5 * (high - low)
    if raw[0] >= low - room:
        low = min(low, raw[0])
    if raw[-1] <= high + room:
        high = max(high, raw[-1])
    if high <= low:
        spread = 0.1 if log else abs(high) * 0.1 or 1.0
        low, high = low - spread, high + spread
    return (10**low, 10**high) if log else (low, high)


def nice_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5):
        if rough <= factor * power * 1.0001:
            return factor * power
    return 10 * power


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values inside a range."""
    step = nice_step((high - low) / max(1, count))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_label(value: float, step: float) -> str:
    """`0.14`, `120`, `2.5e-5`: as many digits as tell two ticks apart."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        mantissa, exponent = f"{value:.{min(digits, 2)}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside a range that is drawn on a logarithmic scale."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [value for power in powers for factor in (1, 2, 5) if low <= (value := factor * 10.0**power) <= high]


def thinned(found: list[float], count: int) -> list[float]:
    """Only the powers of ten when all of `log_ticks` are too many."""
    return found if len(found) <= 2 * count else [value for value in found if f"{value:e}".startswith("1.0")]


class Dots:
    """A grid of braille cells; dot (0, 0) is the top left one."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.cells = bytearray(width * height)

    def column(self, x: int, top: int, bottom: int) -> None:
        """Set the dots top..bottom of dot column x, cut at the edges."""
        top, bottom = max(0, min(top, bottom)), min(4 * self.height - 1, max(top, bottom))
        if bottom < top:
            return
        spans = _SPANS[x & 1]
        cell, cells, width = x >> 1, self.cells, self.width
        first, last = top >> 2, bottom >> 2
        if first == last:
            cells[first * width + cell] |= spans[top & 3][bottom & 3]
            return
        cells[first * width + cell] |= spans[top & 3][3]
        for row in range(first + 1, last):
            cells[row * width + cell] |= _UP[x & 1]
        cells[last * width + cell] |= spans[0][bottom & 3]

    def line(self, x0: int, y0: int, x1: int, y1: int) -> None:
        """A line without holes from one dot to another to its right."""
        if x1 <= x0:
            self.column(x1, y0, y1)
            return
        before = y0
        for x in range(x0 + 1, x1 + 1):
            y = y0 + round((y1 - y0) * (x - x0) / (x1 - x0))
            middle = (before + y) // 2
            self.column(x - 1, before, middle)
            self.column(x, middle, y)
            before = y


@dataclass(slots=True)
class Picture:
    """The drawn curve: raw and smoothed dots, and the columns (in cells) with outliers above, below, and NaN gaps."""

    raw: Dots
    smooth: Dots
    above: set[int]
    below: set[int]
    broken: set[int]
    other: Dots | None = None


class Scale:
    """From values to dot rows."""

    def __init__(self, low: float, high: float, rows: int, log: bool) -> None:
        self.log = log
        self.rows = rows
        self._low = math.log10(low) if log else low
        self._span = ((math.log10(high) if log else high) - self._low) or 1.0

    def row(self, value: float) -> int:
        """Dot row from the top; below or above the grid for values out of range."""
        if self.log:
            value = math.log10(value) if value > 0 else self._low - self._span
        part = (value - self._low) / self._span
        return round((self.rows - 1) * (1 - max(-1.0, min(2.0, part))))


def draw(columns: Columns, scale: Scale, width: int, height: int) -> Picture:
    """Raster the columns (two a cell) into `width` x `height` cells."""
    raw, smooth = Dots(width, height), Dots(width, height)
    above: set[int] = set()
    below: set[int] = set()
    bottom_row = scale.rows - 1
    gaps: set[int] = set()
    gap: int | None = None  # where the present stretch of NaN was last met
    before: tuple[int, int, int] | None = None  # column, top, bottom
    smooth_before: tuple[int, int] | None = None
    for x, low in enumerate(columns.low):
        if x in columns.broken:
            before = smooth_before = None
            gaps.update(range((x if gap is None else gap) >> 1, (x >> 1) + 1))
            gap = x
        if low != low:
            continue
        gap = None
        top, bottom = scale.row(columns.high[x]), scale.row(low)
        if top < 0:
            above.add(x >> 1)
        if bottom > bottom_row:
            below.add(x >> 1)
        if before is not None:
            distance = x - before[0]
            if distance > 1:
                raw.line(before[0], (before[1] + before[2]) // 2, x, (top + bottom) // 2)
            elif top > before[2]:
                raw.column(x, before[2], top)
            elif bottom < before[1]:
                raw.column(x, bottom, before[1])
        raw.column(x, top, bottom)
        before = (x, top, bottom)
        y = min(bottom_row, max(0, scale.row(columns.smooth[x])))
        if smooth_before is not None:
            smooth.line(smooth_before[0], smooth_before[1], x, y)
        else:
            smooth.column(x, y, y)
        smooth_before = (x, y)
    return Picture(raw, smooth, above, below, gaps)
