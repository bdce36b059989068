"""What the files of a subset say, as chunks: captions, tags, sizes. Files that did not change are not opened."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from core.dataset.captions import CaptionError, decode, first_line, split
from core.dataset.chunks import (
    AT_ONCE,
    HAS_CAPTION,
    HAS_ERROR,
    IS_FOLDED,
    IS_PLAIN,
    IS_SINGLE,
    IS_UNTAGGED,
    STAMPS,
    Chunk,
)
from core.dataset.index_cache import Cache, Known
from core.dataset.model import Subset
from core.dataset.sizes import size_in
from core.problems import Problem

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe that is named like a caption must not hold us
_READ = 1 << 16


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds: images in order, the caption file of each ("": none), all captions, and what else."""

    images: list[str]
    captions: list[str]
    all_captions: set[str]
    others: dict[str, os.DirEntry[str]]
    problems: list[Problem]


class Reader:
    """Reads images of a dataset into chunks; `words` are all tags met so far, as they are spelled."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.words = list(cache.words)
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def chunks(self, number: int, subset: Subset, place: int, listing: Listing) -> Iterator[bytes]:
        """The images of a subset in order, packed."""
        known = self._cache.of(subset.name)
        images, captions = listing.images, listing.captions
        at = 0
        while at < len(images):
            where, names, stamps = known.starting(images[at])
            length = AT_ONCE
            if names:
                length = len(names)
                if tuple(images[at : at + length]) == names and (
                    _stamps(place, names, captions[at : at + length]) == stamps
                ):
                    data = self._cache.data(where)
                    if data is not None:
                        self._cache.keep(subset.name, where)
                        yield Chunk.in_subset(data, number)
                        at += length
                        continue
            some = slice(at, at + length)
            chunk = self._chunk(number, subset.path, place, images[some], captions[some], known)
            data = chunk.packed()
            self._cache.keep(subset.name, chunk, data)
            yield data
            at += length

    def _chunk(
        self,
        number: int,
        folder: Path,
        place: int,
        names: list[str],
        captions: list[str],
        known: Known,
    ) -> Chunk:
        found = Chunk(number, tuple(names), array("q"), array("i"), bytearray(), [], array("I"), array("I"))
        old: dict[int, Chunk | None] = {}
        for name, caption in zip(names, captions, strict=True):
            (where, _, stamps), row = known.find(name)
            if stamps and _stamps(place, (name,), (caption,)) == stamps[row * STAMPS : (row + 1) * STAMPS]:
                if where not in old:
                    data = self._cache.data(where)
                    old[where] = None if data is None else Chunk.unpacked(data)
                if (before := old[where]) is not None:
                    found.append(before, row)
                    continue
            size, stamp = _image(place, name, folder)
            text, flag, caption_stamp = self._caption(place, caption, folder) if caption else _NONE
            tags: list[int] = []
            if flag == HAS_CAPTION:
                tags, more = self.tags_of(text)
                flag |= more
            if not tags and not flag & HAS_ERROR:
                flag |= IS_UNTAGGED
            if text.casefold() == text:
                flag |= IS_FOLDED
            found.stamps.extend((*stamp, *caption_stamp))
            found.sizes.extend(size)
            found.flags.append(flag)
            found.texts.append(text)
            found.counts.append(len(tags))
            found.tags.extend(tags)
        return found

    @staticmethod
    def _caption(place: int, name: str, folder: Path) -> tuple[str, int, tuple[int, int]]:
        """The text, or why there is none; HAS_CAPTION and HAS_ERROR; time and bytes of the file."""
        try:
            descriptor = os.open(name, _OPEN, dir_fd=place)
        except FileNotFoundError:
            return _NONE
        except OSError as error:
            return f"Cannot read {folder / name}: {error.strerror or error}", HAS_CAPTION | HAS_ERROR, (0, -1)
        try:
            facts = os.fstat(descriptor)
            stamp = facts.st_mtime_ns, facts.st_size
            data = os.read(descriptor, _READ)
            if len(data) == _READ:
                parts = [data]
                while data := os.read(descriptor, _READ):
                    parts.append(data)
                data = b"".join(parts)
            text = data.decode() if data.isascii() else decode(data, folder / name)
            return text, HAS_CAPTION, stamp
        except CaptionError as error:
            return error.message, HAS_CAPTION | HAS_ERROR, stamp
        except OSError as error:
            return f"Cannot read {folder / name}: {error.strerror or error}", HAS_CAPTION | HAS_ERROR, (0, -1)
        finally:
            os.close(descriptor)

    def tags_of(self, text: str) -> tuple[list[int], int]:
        """The numbers of the tags of a caption, and IS_PLAIN and IS_SINGLE as they hold."""
        if "\r" in text:
            line = first_line(text)
            flags = 0 if text[len(line) :].strip() else IS_SINGLE
        else:
            line, _, rest = text.partition("\n")
            flags = 0 if rest and not rest.isspace() else IS_SINGLE
        numbers = self._numbers
        known = list(map(numbers.get, line.split(", ")))
        if None not in known:  # usual: every part is a tag that was met before
            return cast("list[int]", known), flags | (0 if "&" in line or "\x1b" in line else IS_PLAIN)
        found = []
        tags = split(line)
        for tag in tags:
            number = numbers.get(tag)
            if number is None:
                number = numbers[tag] = len(self.words)
                self.words.append(tag)
            found.append(number)
        if line == ", ".join(tags) and "&" not in line and "\x1b" not in line:
            flags |= IS_PLAIN
        return found, flags


_NONE = ("", IS_SINGLE, (0, -1))


def _stamps(place: int, names: Sequence[str], captions: Sequence[str]) -> array[int]:
    found: list[int] = []
    stat = os.stat
    for name, caption in zip(names, captions, strict=True):
        try:
            facts = stat(name, dir_fd=place)
            found += (facts.st_mtime_ns, facts.st_size)
        except OSError:
            found += (0, -1)
        if caption:
            try:
                facts = stat(caption, dir_fd=place)
                found += (facts.st_mtime_ns, facts.st_size)
                continue
            except OSError:
                pass
        found += (0, -1)
    return array("q", found)


def _image(place: int, name: str, folder: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height (0: unreadable), time and bytes (-1: gone)."""
    try:
        descriptor = os.open(name, _OPEN, dir_fd=place)
    except OSError:
        with contextlib.suppress(OSError):
            facts = os.stat(name, dir_fd=place)
            return (0, 0), (facts.st_mtime_ns, facts.st_size)
        return (0, 0), (0, -1)
    try:
        facts = os.fstat(descriptor)
        width, height = size_in(descriptor, f"{folder}/{name}") or (0, 0)
        if width >= 1 << 31 or height >= 1 << 31:
            width = height = 0
        return (width, height), (facts.st_mtime_ns, facts.st_size)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[int]:
    """A folder to open files in: the kernel then walks one name instead of the whole path. -1 when it is gone."""
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield place
    finally:
        os.close(place)
