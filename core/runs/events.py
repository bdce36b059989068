"""TensorBoard scalars: a small reader of the events files that the trainer writes (flushed at every step).

A file is records of u64 length, u32 crc, an Event message, u32 crc. Of the message's fields only those of scalars are
read; the checksums are not checked (in Python that would cost more than everything else) but behind damage, to find
the next whole record.
"""

from __future__ import annotations

import functools
import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from core.files import natural_key
from core.runs.events_bulk import LEARN, Layout, Rounds, layout_of, round_of

_LENGTH = struct.Struct("<Q")
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_LONG_RECORD = 4096
"""A scalar takes 60 bytes: a longer record is believed only with the checksum of its length."""
_CHUNK = 1 << 20
"""More in one piece is hardly faster, and what the allocator keeps of it is (with threads) many times its size."""
_BULK = 192 << 10
_LAST_STEP = (1 << 31) - 1


class Scalar(NamedTuple):
    """One value of one tag. `step` is the epoch number for loss/epoch_average and its kin (core/help/trainer.md)."""

    tag: str
    step: int
    value: float
    wall_time: float


class Points(NamedTuple):
    """Values of one tag in the order of the file: arrays of the kinds `i`, `f` and `d`."""

    tag: str
    steps: array[int]
    values: array[float]
    times: array[float]


class EventFile:
    """One events file, read on from where the last `read` stopped; a record without its end is left for later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        """Bytes that were no events and were passed over: a full disk, a machine that went down."""
        self._offset = 0
        self._rest = b""
        self._tags: dict[bytes, str] = {}
        self._rounds: Rounds | None = None

    def read(self, limit: int | None = None) -> list[Scalar]:
        """The scalars that were written since the last call; empty when the file is missing.

        `limit`: bytes to read at most (a scalar takes some 60); the rest comes with the next call.
        """
        found: list[Scalar] = []
        for data in self._chunks(limit):
            self._rest = self._scan(data, found)
        return found

    def read_points(self, limit: int | None = None) -> list[Points]:
        """The same in columns, for long files: 1,000,000 steps of three scalars (150 MB) in half a second."""
        found: list[Points] = []
        for data in self._chunks(limit):
            if len(data) < _BULK:
                scalars: list[Scalar] = []
                self._rest = self._scan(data, scalars)
                found += columns_of(scalars)
            else:
                self._rest = self._scan_bulk(data, found)
        return found

    def end(self, size: int) -> list[Points]:
        """The scalars in the last `size` bytes, for a first look; `read` is not moved by it."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(max(0, os.stat(self.path).st_size - size))  # noqa: PTH116
                data = stream.read(size)
        except OSError:
            return []
        found: list[Scalar] = []
        self._scan(data[self._next_record(data, 0) :], found)
        self.damaged = 0
        return columns_of(found)

    @property
    def unread(self) -> int:
        """Bytes of the file that were not read yet."""
        try:
            return max(0, os.stat(self.path).st_size - self._offset)  # noqa: PTH116
        except OSError:
            return 0

    def _chunks(self, limit: int | None) -> Iterator[bytes]:
        """What is new, each time with the record's beginning that was left over before."""
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116 - polled several times a second
            if size <= self._offset:
                return
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                stop = size if limit is None else min(size, self._offset + limit)
                while data := stream.read(min(_CHUNK, stop - self._offset)):
                    self._offset += len(data)
                    yield self._rest + data if self._rest else data
        except OSError:
            return

    def _scan(self, data: bytes, found: list[Scalar]) -> bytes:
        position, end = 0, len(data)
        while end - position >= 12:
            stop = self._record(data, position, found)
            if stop is None:
                break
            position = stop
        return data[position:]

    def _record(self, data: bytes, position: int, found: list[Scalar]) -> int | None:
        """Read the record at `position`; where the next one begins, None when its end is not there yet."""
        length: int = _LENGTH.unpack_from(data, position)[0]
        begin, stop = position + 12, position + 12 + length
        if length > _LONG_RECORD and not _is_length(data, position):
            return self._next_record(data, position)
        if stop + 4 > len(data):
            return None
        before = len(found)
        try:
            self._event(data, begin, stop, found)
        except (IndexError, struct.error, ValueError):
            del found[before:]
            return self._next_record(data, position)
        return stop + 4

    def _next_record(self, data: bytes, position: int) -> int:
        """Behind damage: the next place whose length has the right checksum."""
        at = position
        while (at := data.find(bytes(6), at + 1)) >= 0 and at + 10 <= len(data):
            for start in (at - 2, at - 1):  # lengths below 65,536: their upper six bytes are zero
                if start > position and start + 12 <= len(data) and _is_length(data, start):
                    self.damaged += start - position
                    return start
        kept = max(position + 1, len(data) - 12)
        self.damaged += kept - position
        return kept

    def _scan_bulk(self, data: bytes, found: list[Points]) -> bytes:
        position, end = 0, len(data)
        scalars: list[Scalar] = []
        layouts: list[Layout | None] = []
        while end - position >= 12:
            rounds = self._rounds
            if rounds is not None and (not layouts or layouts[-1] == rounds.parts[-1]):
                size, blocks = rounds.take(data, position)
                if size:
                    found += columns_of(scalars)
                    scalars, layouts = [], []
                    found += [Points(self._name(tag), steps, values, times) for tag, steps, values, times in blocks]
                    position += size
                    continue
            before = len(scalars)
            stop = self._record(data, position, scalars)
            if stop is None:
                break
            plain = len(scalars) == before + 1
            layouts.append(layout_of(data, position, stop - position) if plain else None)
            position = stop
            if len(layouts) >= LEARN and (learnt := round_of(layouts[-LEARN:])) is not None:
                if rounds is None or learnt != rounds.parts:
                    self._rounds = Rounds(learnt)
                layouts = layouts[-1:]
        found += columns_of(scalars)
        return data[position:]

    def _name(self, tag: bytes) -> str:
        name = self._tags.get(tag)
        if name is None:
            name = self._tags[tag] = tag.decode("utf-8", "replace")
        return name

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
                found.append(Scalar(self._name(tag), step, value, wall))


def columns_of(scalars: Iterable[Scalar]) -> list[Points]:
    """Scalars by their tags."""
    found: dict[str, Points] = {}
    for tag, step, value, time in scalars:
        points = found.get(tag)
        if points is None:
            points = found[tag] = Points(tag, array("i"), array("f"), array("d"))
        points.steps.append(max(-_LAST_STEP, min(step, _LAST_STEP)))
        points.values.append(value)
        points.times.append(time)
    return list(found.values())


def _is_length(data: bytes, position: int) -> bool:
    """Whether the checksum behind a length is right."""
    return _checksum(data[position : position + 8]) == int.from_bytes(data[position + 8 : position + 12], "little")


@functools.lru_cache(maxsize=1024)
def _checksum(data: bytes) -> int:
    """Masked CRC-32C, as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


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
