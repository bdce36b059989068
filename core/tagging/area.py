"""The area resize of OpenCV (INTER_AREA) in numpy alone, to the same bytes, for shrinking a picture onto a
square of one colour (white, as sd-scripts).

Every output pixel is the average of the source pixels that it covers, weighted by coverage. The weights of one axis
form a banded matrix, so the work is small matrix products: first down the rows, strip by strip, then across, with each
weight three times on a diagonal, so that red, green and blue stay side by side and nothing is turned. A product adds in
another order than OpenCV does, which shows where a sum lies within float32's error of a half: those few pixels are
added up again, one by one, in OpenCV's order. The products are tiny: run with OPENBLAS_NUM_THREADS=1, threads belong to
the decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 4
"""Output rows or columns per matrix product: more multiply more zeros, fewer cost more calls."""
STRIP = 112
"""Output rows that go down and across together: what lies between stays in the cache, 3 MB instead of 11."""
TIE = 3e-4
"""Distance from a half below which the order of additions may decide: 255 times float32's rounding, a few additions
long.
"""
TIE_PIXELS = 2_000_000
"""Source pixels looked at together when ties are settled."""


class Band(NamedTuple):
    """Output rows [out_start, out_stop) need the source rows [start, stop), with these weights, a row for each; across,
    the same of values (three a pixel), with a column for each.
    """

    out_start: int
    out_stop: int
    start: int
    stop: int
    weights: NDArray[np.float32]


@lru_cache(maxsize=64)
def _bands(length: int, padded: int, offset: int, out: int) -> tuple[tuple[Band, ...], NDArray[np.float64]]:
    """The banded weights of one axis, and the share of the padding in each output row.

    `length` source rows stand at `offset` inside `padded` rows, which become `out` rows.
    """
    scale = padded / out
    edges = np.arange(out + 1) * scale - offset
    low, high = np.clip(edges[:-1], 0, length), np.clip(edges[1:], 0, length)
    # All bands at once, in arrays as wide as the widest: one by one they cost 2 ms for every new size of picture.
    places = np.minimum(np.arange(-(-out // BLOCK) * BLOCK), out - 1).reshape(-1, BLOCK)
    starts = np.floor(low[places[:, 0]]).astype(int)
    stops = np.maximum(np.ceil(high[places[:, -1]]).astype(int), starts)
    rows = starts[:, None] + np.arange(max(1, int((stops - starts).max())))
    covered = np.minimum(high[places][:, :, None], rows[:, None] + 1) - np.maximum(
        low[places][:, :, None], rows[:, None]
    )
    weights = (np.clip(covered, 0, None) / scale).astype(np.float32)
    bands = [
        Band(at, min(at + BLOCK, out), start, stop, weight[: min(BLOCK, out - at), : stop - start])
        for at, start, stop, weight in zip(range(0, out, BLOCK), starts.tolist(), stops.tolist(), weights, strict=True)
    ]
    return tuple(bands), 1 - (high - low) / scale


@lru_cache(maxsize=64)  # 0.4 MB each
def _bands_across(length: int, padded: int, offset: int, out: int) -> tuple[tuple[Band, ...], NDArray[np.float64]]:
    """As `_bands`, for three values a pixel."""
    bands, padding = _bands(length, padded, offset, out)
    widest = max(weights.shape[1] for *_, weights in bands)
    spread = np.zeros((len(bands), widest, 3, BLOCK, 3), np.float32)
    for place, (*_, weights) in zip(spread, bands, strict=True):
        count, taps = weights.shape
        for colour in range(3):
            place[:taps, colour, :count, colour] = weights.T
    tables = spread.reshape(len(bands), widest * 3, BLOCK * 3)
    return tuple(
        Band(3 * low, 3 * high, 3 * start, 3 * stop, table[: 3 * (stop - start), : 3 * (high - low)])
        for table, (low, high, start, stop, _) in zip(tables, bands, strict=True)
    ), padding


def _shrunk(
    rows: Callable[[int, int], NDArray[np.uint8]],
    height: int,
    width: int,
    side: int,
    size: int,
    pad: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The square before it is rounded, float32 [size, size * 3]."""
    down, above = _bands(height, side, (side - height) // 2, size)
    across, beside = _bands_across(width, side, (side - width) // 2, size)
    result = np.empty((size, size * 3), np.float32)
    strip = np.empty((min(STRIP, size), width * 3), np.float32)
    is_grey = bool((pad == pad[0]).all())
    for first in range(0, size, STRIP):
        some = down[first // BLOCK : (first + STRIP) // BLOCK]
        last = some[-1].out_stop
        part = strip[: last - first]
        for low, high, start, stop, weights in some:
            if stop > start:
                values = rows(start, stop).reshape(stop - start, width * 3).astype(np.float32)
                np.matmul(weights, values, out=strip[low - first : high - first])
            else:
                strip[low - first : high - first] = 0
        if above[first:last].any():
            # One number a row for a grey is three times as fast as three.
            shade = (above[first:last, None] * (pad[:1] if is_grey else pad)).astype(np.float32)
            part += shade if is_grey else np.tile(shade, width)
        for low, high, start, stop, weights in across:
            if stop > start:
                np.matmul(part[:, start:stop], weights, out=result[first:last, low:high])
            else:
                result[first:last, low:high] = 0
    if beside.any():
        result += (beside[:, None] * pad).astype(np.float32).ravel()
    return result


def shrink_to_square(
    rows: Callable[[int, int], NDArray[np.uint8]],
    height: int,
    width: int,
    size: int,
    pad: tuple[int, int, int] = (255, 255, 255),
) -> NDArray[np.uint8]:
    """A picture centred on a square of the colour `pad` (left and top get the smaller half), as uint8 [size, size, 3].

    `rows(start, stop)` gives uint8 [stop - start, width, 3]; it is asked from top to bottom, a few dozen rows at a
    time, so that a huge picture need not lie in memory twice. The longer side must be at least `size`; the padding is
    never built. The channel order stays.
    """
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    if side == size:
        square = np.empty((size, size, 3), np.uint8)
        square[...] = pad
        square[top : top + height, left : left + width] = rows(0, height)
        return square

    colour = np.array(pad, np.float64)
    shrunk = _shrunk(rows, height, width, side, size, colour)
    # OpenCV's path for an exact half rounds half up, all others half to even.
    if side == 2 * size:
        rounded = np.floor(shrunk + 0.5)
    else:
        rounded = np.rint(shrunk)
        if side % size:  # whole factors are sums of integers there, too
            _settle_ties(shrunk, rounded, rows, (height, width), side, colour.astype(np.float32))
    square = np.empty((size, size, 3), np.uint8)
    np.clip(rounded.reshape(size, size, 3), 0, 255, out=square, casting="unsafe")
    return square


@lru_cache(maxsize=256)
def _taps(padded: int, out: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Source places and weights [out, M] of every output place, as OpenCV's computeResizeAreaTab lists them."""
    scale = padded / out
    low = (np.arange(out) * scale)[:, None]
    high = low + scale
    places = np.floor(low).astype(np.intp) + np.arange(int(np.ceil(scale)) + 1)
    covered = np.minimum(high, places + 1) - np.maximum(low, places)
    weights = np.where(covered > 1e-3, covered / np.minimum(scale, padded - low), 0)
    return np.minimum(places, padded - 1), weights.astype(np.float32)


def _settle_ties(
    shrunk: NDArray[np.float32],
    rounded: NDArray[np.float32],
    rows: Callable[[int, int], NDArray[np.uint8]],
    shape: tuple[int, int],
    side: int,
    pad: NDArray[np.float32],
) -> None:
    """Put right, in `rounded`, the values of `shrunk` that lie so near a half that the order of additions decides.

    Both are [size, size * 3].
    """
    height, width = shape
    size = len(shrunk)
    top, left = (side - height) // 2, (side - width) // 2
    places, weights = _taps(side, size)
    distance = shrunk - rounded
    np.abs(distance, out=distance)
    found = np.flatnonzero(distance > 0.5 - TIE)
    ys, xs, channels = np.unravel_index(found, (size, size, 3))
    step = max(1, int(TIE_PIXELS / width * size / side))
    for begin in range(0, size, step):
        chosen = slice(None) if step >= size else np.flatnonzero((ys >= begin) & (ys < begin + step))
        y_out, x_out, channel = ys[chosen], xs[chosen], channels[chosen]
        if not len(y_out):
            continue
        start = max(int(places[y_out.min(), 0]) - top, 0)
        stop = min(int(places[y_out.max(), -1]) - top + 1, height)
        if stop <= start:
            continue  # padding only
        pixels = rows(start, stop)
        total = np.zeros(len(y_out), np.float32)
        for j in range(places.shape[1]):
            y = places[y_out, j] - top - start
            is_row = (y >= 0) & (y < stop - start)
            line = np.zeros(len(y_out), np.float32)
            for k in range(places.shape[1]):
                x = places[x_out, k] - left
                inside = is_row & (x >= 0) & (x < width)
                value = pixels[np.where(inside, y, 0), np.where(inside, x, 0), channel]
                line += np.where(inside, value, pad[channel]).astype(np.float32) * weights[x_out, k]
            total += weights[y_out, j] * line
        rounded.ravel()[found[chosen]] = np.rint(total)
