"""What is read of a dataset, in pieces: values of columns for some hundred images, and their form in bytes.

The same bytes go through the pipe of the process that reads and into the cache on disk, so that a second start hands
them on as they are.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul

from core.dataset.pictures import MAX_PIXELS

HAS_CAPTION, HAS_ERROR, IS_PLAIN, IS_FOLDED, IS_UNTAGGED, IS_SINGLE = 1, 2, 4, 8, 16, 32
"""Flags of an image: a caption file is there; it cannot be read (its text is the sentence that says why); its tags
joined by a comma and a blank are its first line, so that tokens add up; it has no upper case; there is nothing to train
on in it; nothing stands below its first line, so that a word without a comma is in a tag or nowhere."""
STAMPS = 4
"""Numbers that tell whether files changed: time (ns) and bytes of the image, then of the caption (-1: none)."""
AT_ONCE = 500
_LENGTHS = struct.Struct("<8I")


@dataclass(frozen=True, slots=True)
class Names:
    """The next images of a subset in order, before anything is read of them; `captioned` has a 1 for a caption file."""

    subset: int
    names: tuple[str, ...]
    captioned: bytes

    def packed(self) -> bytes:
        return struct.pack("<2I", self.subset, len(self.names)) + self.captioned + _joined(self.names)

    @staticmethod
    def unpacked(data: bytes) -> Names:
        subset, count = struct.unpack_from("<2I", data)
        return Names(subset, _split(data[8 + count :], count), data[8 : 8 + count])


@dataclass(frozen=True, slots=True)
class Words:
    """Tags that were not met before, as they are spelled; their numbers go on from those that were."""

    words: tuple[str, ...]

    def packed(self) -> bytes:
        return struct.pack("<I", len(self.words)) + _joined(self.words, "\n")  # a tag may hold a NUL, but is one line

    @staticmethod
    def unpacked(data: bytes) -> Words:
        (count,) = struct.unpack_from("<I", data)
        return Words(_split(data[4:], count, "\n"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the files of the next images of a subset say.

    Of each image: STAMPS numbers, width and height (0: unreadable), flags, caption (or why there is none), the number
    of its tags; `tags` has the numbers of all of them in order.
    """

    subset: int
    names: tuple[str, ...]
    stamps: array[int]
    sizes: array[int]
    flags: bytearray
    texts: list[str]
    counts: array[int]
    tags: array[int]
    folded: list[str] = field(default_factory=list)
    """Of an unpacked one: the texts as they are searched (`casefold`), so that a screen's thread need not do it."""
    suspects: list[int] = field(default_factory=list)
    """Of an unpacked one: those with something wrong, by their place."""

    def append(self, other: Chunk, row: int) -> None:
        """Take over what `other` says of its image `row` (the name is there already)."""
        self.stamps.extend(other.stamps[row * STAMPS : (row + 1) * STAMPS])
        self.sizes.extend(other.sizes[2 * row : 2 * row + 2])
        self.flags.append(other.flags[row])
        self.texts.append(other.texts[row])
        self.counts.append(other.counts[row])
        first = sum(other.counts[:row])
        self.tags.extend(other.tags[first : first + other.counts[row]])

    def packed(self) -> bytes:
        blobs = [text.encode("utf-8", "surrogatepass") for text in self.texts]
        lengths = array("I", map(len, blobs))
        parts = (
            _joined(self.names),
            self.stamps.tobytes(),
            self.sizes.tobytes(),
            self.flags,
            self.counts.tobytes(),
            self.tags.tobytes(),
            lengths.tobytes(),
        )
        head = _LENGTHS.pack(self.subset, *map(len, parts))
        return b"".join((head, *parts, *blobs))

    def head_packed(self) -> bytes:
        """What tells whether it still holds: the names and the stamps."""
        names = _joined(self.names)
        return struct.pack("<2I", len(self.names), len(names)) + names + self.stamps.tobytes()

    @staticmethod
    def head_unpacked(data: bytes) -> tuple[tuple[str, ...], array[int]]:
        """Names and stamps. Raises ValueError or struct.error for bytes that are none."""
        count, length = struct.unpack_from("<2I", data)
        return _split(data[8 : 8 + length], count), _numbers("q", data[8 + length :])

    @staticmethod
    def in_subset(data: bytes, subset: int) -> bytes:
        """The bytes of a chunk whose subset has another number now."""
        return data if data[:4] == struct.pack("<I", subset) else struct.pack("<I", subset) + data[4:]

    @staticmethod
    def unpacked(data: bytes) -> Chunk:
        """Raises ValueError or struct.error for bytes that are none."""
        subset, *sizes = _LENGTHS.unpack_from(data)
        at = _LENGTHS.size
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        names, stamps, pixels, flags, counts, tags, lengths = parts
        texts = []
        for length in _numbers("I", lengths):
            texts.append(data[at : at + length].decode("utf-8", "surrogatepass") if length else "")
            at += length
        both = _numbers("i", pixels)
        areas = zip(map(mul, both[::2], both[1::2]), flags, strict=True)
        return Chunk(
            subset,
            _split(names, len(flags)),
            _numbers("q", stamps),
            both,
            bytearray(flags),
            texts,
            _numbers("I", counts),
            _numbers("I", tags),
            [text if flag & IS_FOLDED else text.casefold() for text, flag in zip(texts, flags, strict=True)],
            [row for row, (area, flag) in enumerate(areas) if flag & HAS_ERROR or not 0 < area <= MAX_PIXELS],
        )


def _numbers(kind: str, data: bytes) -> array[int]:
    numbers: array[int] = array(kind)
    numbers.frombytes(data)
    return numbers


def _joined(names: Sequence[str], between: str = "\0") -> bytes:
    return between.join(names).encode("utf-8", "surrogatepass")


def _split(data: bytes, count: int, between: str = "\0") -> tuple[str, ...]:
    names = tuple(data.decode("utf-8", "surrogatepass").split(between)) if count else ()
    if len(names) != count:
        raise ValueError("damaged")
    return names
