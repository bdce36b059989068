"""Many TensorBoard records at once: the trainer writes the same few scalars step after step, records of equal length.

One round of them is learnt from records read one by one; the rounds behind it are then a table of bytes, and the same
byte of every round is one slice with a step, which is quicker than numpy and needs no import of 0.15 s. Every length,
key and tag is compared: a round that differs (an epoch's average, a longer number) ends the block.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEARN = 24
"""Records that are read one by one before a round is looked for."""
_LONGEST_ROUND = 10
_ROWS = 4096
_STEP_BYTES = 4
"""A step of more than 28 bits is read with its record."""
Block = tuple[bytes, "array[int]", "array[float]", "array[float]"]
"""The tag of one part of a round, and its steps, values and times."""
_GOES_ON = bytes(range(0x80, 0x100))
_ENDS = bytes(range(0x80))
"""The bytes of a number: all but its last one have the highest bit set."""


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
        if step_bytes > _STEP_BYTES:
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
        self._fixed: list[tuple[int, bytes]] = []
        """(place in the round, the byte or bytes that may stand there)"""
        start = 0
        for part in parts:
            step_at = start + 22
            fixed = ((start, (part.size - 16).to_bytes(8, "little")), (start + 12, b"\x09"), (start + 21, b"\x10"))
            for place, text in (*fixed, (step_at + part.step_bytes, part.middle)):
                self._fixed += [(place + index, text[index : index + 1]) for index in range(len(text))]
            self._fixed += [(step_at + index, _GOES_ON) for index in range(part.step_bytes - 1)]
            self._fixed.append((step_at + part.step_bytes - 1, _ENDS))
            start += part.size

    def take(self, data: bytes, at: int) -> tuple[int, list[Block]]:
        """As many whole rounds as follow at `at`: how many bytes they take, and their parts."""
        rows = min(_ROWS, (len(data) - at) // self.size)
        for place, allowed in self._fixed:
            if not rows:
                return 0, []
            column = self._column(data, at + place, rows)
            if column != allowed * rows:  # quick, and true of all but the parts of a step
                rows -= len(column.lstrip(allowed))
        found = []
        for part in self.parts:
            steps = _numbers([self._column(data, at + 22 + index, rows) for index in range(part.step_bytes)], rows)
            values = _reals("f", [self._column(data, at + part.value_at + index, rows) for index in range(4)])
            times = _reals("d", [self._column(data, at + 13 + index, rows) for index in range(8)])
            found.append((part.tag, steps, values, times))
            at += part.size
        return rows * self.size, found

    def _column(self, data: bytes, at: int, rows: int) -> bytes:
        """One byte of every round."""
        return data[at : at + rows * self.size : self.size]


def _interleaved(columns: Sequence[bytes], width: int) -> bytearray:
    whole = bytearray(width * len(columns[0]))
    for index, column in enumerate(columns):
        whole[index::width] = column
    return whole


def _reals(kind: str, columns: Sequence[bytes]) -> array[float]:
    return _array(kind, _interleaved(columns, len(columns)))


def _numbers(columns: Sequence[bytes], rows: int) -> array[int]:
    """Numbers of seven bits a byte, the lowest first: meanwhile all of them are one large number, four bytes each."""
    whole = int.from_bytes(_interleaved(columns, 4), "little")
    seven = int.from_bytes(b"\x7f\0\0\0" * rows, "little")
    packed = 0
    for index in range(len(columns)):
        packed |= (whole & seven << 8 * index) >> index
    return _array("i", packed.to_bytes(4 * rows, "little"))


def _array(kind: str, data: bytes | bytearray) -> array[Any]:
    """Numbers as the file has them: the lowest byte first."""
    found: array[Any] = array(kind)
    found.frombytes(data)
    if sys.byteorder == "big":
        found.byteswap()
    return found
