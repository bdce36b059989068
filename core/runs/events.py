"""TensorBoard scalars: a small reader of the events files that the trainer writes (flushed at every step).

A file is records of u64 length, u32 crc, an Event message, u32 crc. Of the message's fields only those of scalars are
read; the checksums are not checked (in Python that would cost more than everything else).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from core.files import natural_key

_LENGTH = struct.Struct("<Q")
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_MAX_RECORD = 64 << 20
_CHUNK = 4 << 20


class Scalar(NamedTuple):
    """One value of one tag. `step` is the epoch number for loss/epoch_average and its kin (core/help/trainer.md)."""

    tag: str
    step: int
    value: float
    wall_time: float


class EventFile:
    """One events file, read on from where the last `read` stopped; a record without its end is left for later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = False
        """True when something that is no event was met; nothing after it can be found again."""
        self._offset = 0
        self._rest = b""
        self._tags: dict[bytes, str] = {}

    def read(self, limit: int | None = None) -> list[Scalar]:
        """The scalars that were written since the last call; empty when the file is missing.

        `limit`: bytes to read at most (a scalar takes some 60); the rest comes with the next call.
        """
        found: list[Scalar] = []
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116 - polled several times a second
            if self.broken or size <= self._offset:
                return found
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                stop = size if limit is None else self._offset + limit
                while not self.broken and (data := stream.read(min(_CHUNK, stop - self._offset))):
                    self._offset += len(data)
                    self._rest = self._scan(self._rest + data if self._rest else data, found)
        except OSError:
            return found
        return found

    def _scan(self, data: bytes, found: list[Scalar]) -> bytes:
        position, end, unpack = 0, len(data), _LENGTH.unpack_from
        while end - position >= 12:
            (length,) = unpack(data, position)
            if length > _MAX_RECORD:
                self.broken = True
                return b""
            begin = position + 12
            stop = begin + length
            if stop + 4 > end:
                break
            try:
                self._event(data, begin, stop, found)
            except (IndexError, struct.error, ValueError):
                self.broken = True
                return b""
            position = stop + 4
        return data[position:]

    def _event(self, data: bytes, position: int, end: int, found: list[Scalar]) -> None:
        wall, step = 0.0, 0
        while position < end:
            key = data[position]
            position += 1
            if key == 0x09:  # wall_time
                (wall,) = _DOUBLE.unpack_from(data, position)
                position += 8
            elif key == 0x10:  # step
                step, position = _varint(data, position)
            elif key == 0x2A:  # summary
                length, position = _varint(data, position)
                self._summary(data, position, position + length, step, wall, found)
                position += length
            else:
                position = _skip(data, position, key)

    def _summary(self, data: bytes, position: int, end: int, step: int, wall: float, found: list[Scalar]) -> None:
        while position < end:
            key = data[position]
            position += 1
            if key != 0x0A:  # value
                position = _skip(data, position, key)
                continue
            length, position = _varint(data, position)
            tag, value = b"", None
            stop = position + length
            while position < stop:
                key = data[position]
                position += 1
                if key == 0x0A:  # tag
                    length, position = _varint(data, position)
                    tag = data[position : position + length]
                    position += length
                elif key == 0x15:  # simple_value
                    (value,) = _FLOAT.unpack_from(data, position)
                    position += 4
                elif key == 0x42:  # tensor, as newer writers do
                    length, position = _varint(data, position)
                    value = _tensor(data, position, position + length)
                    position += length
                else:
                    position = _skip(data, position, key)
            if value is not None:
                name = self._tags.get(tag)
                if name is None:
                    name = self._tags[tag] = tag.decode("utf-8", "replace")
                found.append(Scalar(name, step, value, wall))


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = data[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            # Negative steps are written as 64-bit two's complement.
            return (value - (1 << 64) if value >= 1 << 63 else value), position
    raise ValueError("a number without an end")


def _skip(data: bytes, position: int, key: int) -> int:
    """The position behind a field that is of no interest. Raises ValueError for what is no protobuf."""
    if key >= 0x80:  # a field number above 15: the key goes on
        rest, position = _varint(data, position)
        key = (key & 0x7F) | rest << 7
    kind = key & 7
    if kind == 0:
        return _varint(data, position)[1]
    if kind == 1:
        return position + 8
    if kind == 2:
        length, position = _varint(data, position)
        return position + length
    if kind == 5:
        return position + 4
    raise ValueError("no such wire type")


def _tensor(data: bytes, position: int, end: int) -> float | None:
    """The single float or double of a scalar TensorProto."""
    value: float | None = None
    kind = 1
    while position < end:
        key = data[position]
        position += 1
        if key == 0x08:  # dtype
            kind, position = _varint(data, position)
        elif key in (0x22, 0x2A, 0x32):  # tensor_content, float_val, double_val (packed)
            length, position = _varint(data, position)
            if length == 8 and (key == 0x32 or kind == 2):
                (value,) = _DOUBLE.unpack_from(data, position)
            elif length == 4:
                (value,) = _FLOAT.unpack_from(data, position)
            position += length
        else:
            position = _skip(data, position, key)
    return value


def find_events(logs_dir: Path) -> list[Path]:
    """Every events file below `logs_dir` (`<time>/network_train/events.out.tfevents.…`), ordered by name."""
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(logs_dir)
        for name in names
        if name.startswith("events.out.tfevents.")
    ]
    return sorted(found, key=lambda path: (natural_key(path.name), path))
