"""A curve in braille dots: scales, ticks and the raster.

Colour belongs to a whole cell, so the smoothed curve owns the cells that it passes and the raw one the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tui.widgets.curve import Columns, Curve

_UP = (0x01 | 0x02 | 0x04 | 0x40, 0x08 | 0x10 | 0x20 | 0x80)
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
# _SPANS[side][a][b]: the dots a..b (0 is the top one) of one half of a cell.
_SPANS = tuple(
    tuple(tuple(sum(side[a : b + 1]) if b >= a else 0 for b in range(4)) for a in range(4)) for side in _DOTS
)


def percentile(ordered: list[float], part: float) -> float:
    """The value below which `part` of a sorted, not empty list lies."""
    return ordered[min(len(ordered) - 1, max(0, round(part * (len(ordered) - 1))))]


def value_range(
    curve: Curve, log: bool, span: tuple[float, float] | None = None, *, clip: bool = True, averages: bool = False
) -> tuple[float, float] | None:
    """What the value axis shows: nearly all raw values and the smoothed curve, not outliers that would flatten it.

    `span`: only of the points between two steps. Without `clip` the outliers too. `averages`: smoothed ones only.
    """
    raw, smooth = curve.sample(span=span)
    raw = smooth if averages else raw
    if not clip and raw and not averages:
        begin, end = (0, len(curve)) if span is None else curve.window(*span)
        low, high = curve.extremes(begin, end)
        raw = [low if low > 0 or not log else raw[0], *raw, high]
    if log:  # what is far off is judged as it is seen
        raw = [math.log10(value) for value in raw if value > 0]
        smooth = [math.log10(value) for value in smooth if value > 0]
    if not raw:
        return None
    low, high = percentile(raw, 0.01), percentile(raw, 0.99)
    if not clip:
        low, high = raw[0], raw[-1]
    elif smooth:
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
