"""Many TensorBoard records at once: the trainer writes the same few scalars step after step, records of equal length.

One round of them is learnt from records read one by one; the rounds behind it are then columns in one block of bytes.
Every length, key and tag is compared: a round that differs (an epoch's average, a longer number) ends the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEARN = 24
"""Records that are read one by one before a round is looked for."""
_LONGEST_ROUND = 10
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields of one plain record lie, in bytes from its start; `size` with length, checksums and all."""

    size: int
    tag: bytes
    step_bytes: int
    middle: bytes
    """What stands between step and value: keys, lengths and the tag, the same in every record of the kind."""

    @property
    def value_at(self) -> int:
        return 22 + self.step_bytes + len(self.middle)


def layout_of(data: bytes, at: int, size: int) -> Layout | None:
    """The layout of a record with one scalar, fields in the usual order; None for any other."""
    begin = at + 12
    if data[begin] != 0x09 or data[begin + 9] != 0x10:
        return None
    step_at = begin + 10
    step_bytes = 1
    while data[step_at + step_bytes - 1] & 0x80:
        step_bytes += 1
        if step_bytes > 5:
            return None
    after = step_at + step_bytes
    # summary, its length, value, its length, tag, its length: one byte each as long as the record is short
    head = data[after : after + 6]
    if len(head) < 6 or head[0] != 0x2A or head[2] != 0x0A or head[4] != 0x0A or max(head[1], head[3], head[5]) > 0x7F:
        return None
    tag_at = after + 6
    value_at = tag_at + head[5] + 1
    if data[value_at - 1] != 0x15 or head[3] != head[5] + 7 or head[1] != head[3] + 2 or value_at + 8 != at + size:
        return None
    return Layout(size, data[tag_at : value_at - 1], step_bytes, data[after:value_at])


def round_of(layouts: Sequence[Layout | None]) -> tuple[Layout, ...] | None:
    """The shortest round that the last records repeat at least twice."""
    for length in range(1, min(_LONGEST_ROUND, len(layouts) // 2) + 1):
        last = layouts[-length:]
        if None not in last and last == layouts[-2 * length : -length]:
            return tuple(each for each in last if each is not None)
    return None


class Rounds:
    """Reads rounds of one kind."""

    def __init__(self, parts: tuple[Layout, ...]) -> None:
        self.parts = parts
        self.size = sum(part.size for part in parts)

    def take(self, data: bytes, at: int) -> tuple[int, list[tuple[bytes, Any, Any, Any]]]:
        """As many whole rounds as follow at `at`: how many bytes they take, and (tag, steps, values, times) each."""
        import numpy as np

        fits = min(_ROWS, (len(data) - at) // self.size)
        start = at
        for part in self.parts:
            if fits:
                fits = _fitting(np, data, start, self.size, fits, part)
            start += part.size
        if not fits:
            return 0, []
        found = []
        start = at
        for part in self.parts:
            found.append(_columns(np, data, start, self.size, fits, part))
            start += part.size
        return fits * self.size, found


def _column(np: Any, data: bytes, at: int, stride: int, rows: int, kind: str) -> Any:
    return np.ndarray((rows,), dtype=kind, buffer=data, offset=at, strides=(stride,))


def _fitting(np: Any, data: bytes, at: int, stride: int, rows: int, part: Layout) -> int:
    """In how many rounds from the first on this part is as in the layout."""
    for offset, kind, wanted in (
        (0, "<u8", part.size - 16),
        (12, "u1", 0x09),
        (21, "u1", 0x10),
        (22 + part.step_bytes, f"S{len(part.middle)}", part.middle),
    ):
        same = _column(np, data, at + offset, stride, rows, kind) == wanted
        rows = rows if same.all() else int(same.argmin())
        if not rows:
            return 0
    for index in range(part.step_bytes):
        last = _column(np, data, at + 22 + index, stride, rows, "u1") < 0x80
        good = last if index == part.step_bytes - 1 else ~last
        rows = rows if good.all() else int(good.argmin())
        if not rows:
            return 0
    return rows


def _columns(np: Any, data: bytes, at: int, stride: int, rows: int, part: Layout) -> tuple[bytes, Any, Any, Any]:
    steps = np.zeros(rows, dtype=np.int64)
    for index in range(part.step_bytes):
        steps |= (_column(np, data, at + 22 + index, stride, rows, "u1").astype(np.int64) & 0x7F) << (7 * index)
    values = _column(np, data, at + part.value_at, stride, rows, "<f4").astype(np.float64)
    return part.tag, steps, values, _column(np, data, at + 13, stride, rows, "<f8").copy()
