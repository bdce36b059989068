"""What a check knows of the folders that a config trains on: looked through once a check, read once a change.

A folder's names, times and sizes are taken anew for every check (2 µs a file); a picture's header and a caption are
read when these have changed. So a check after an edit of the config alone opens no file of the dataset.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from core.config import heads
from core.dataset import captions
from core.dataset.model import is_image_name

MISSING, EMPTY, FOREIGN, BLANK, MARK, SEVERAL, STRANGE = (1 << bit for bit in range(7))
"""What may be wrong with a caption: no file, nothing in it, not UTF-8, a blank first line, a byte order mark, several
lines, the caption of another picture. The sum of those that are."""
_FOLDERS = 64
_LARGEST_CAPTION = 1 << 20
_Size = tuple[int, int]
_T = TypeVar("_T")


@dataclass(slots=True)
class Captions:
    """The captions of a folder's pictures, in the order of its `images`."""

    extension: str
    lines: list[str] = field(default_factory=list)
    """The first lines; "" where there is none."""
    faults: bytearray = field(default_factory=bytearray)
    times: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    memory: dict[Hashable, Any] = field(default_factory=dict)

    def pictures_with(self, images: list[str], fault: int) -> list[str]:
        """The names of the pictures whose caption has it."""
        return [images[at] for at, faults in enumerate(self.faults) if faults & fault] if any(self.faults) else []

    def with_fault(self, images: list[str], fault: int) -> list[str]:
        """The names of the caption files that have it."""
        return [name[: name.rindex(".")] + self.extension for name in self.pictures_with(images, fault)]

    def remembered(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What `make` said of these captions; it is asked again when one of them has changed."""
        if key not in self.memory:
            if len(self.memory) > 50:
                self.memory.clear()
            self.memory[key] = make()
        found: _T = self.memory[key]
        return found


@dataclass(slots=True)
class FolderFacts:
    """One folder, as it was when it was looked through last."""

    path: Path
    listing: list[str] = field(default_factory=list)
    """Every name in it, in no order."""
    images: list[str] = field(default_factory=list)
    """Those that the trainer takes (train_util.py, `glob_images`), in its order: by code point."""
    times: array[int] = field(default_factory=lambda: array("q"))
    bytes: array[int] = field(default_factory=lambda: array("q"))
    widths: array[int] = field(default_factory=lambda: array("i"))
    heights: array[int] = field(default_factory=lambda: array("i"))
    flags: bytearray = field(default_factory=bytearray)
    """Of heads.look."""
    known: dict[str, Captions] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    memory: dict[Hashable, Any] = field(default_factory=dict)
    is_stored: bool = True
    """Whether what is kept on disk is this."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def size(self, at: int) -> _Size | None:
        """(width, height) of an image; None when it is no picture that can be read."""
        width = self.widths[at]
        return (width, self.heights[at]) if width else None

    def sizes(self) -> list[_Size]:
        """Those of all pictures that can be read."""
        return self.remembered(
            "sizes", lambda: [each for each in zip(self.widths, self.heights, strict=True) if each[0]]
        )

    def unread(self) -> list[str]:
        """The names of what is no picture."""
        return (
            [name for name, width in zip(self.images, self.widths, strict=True) if not width]
            if not all(self.widths)
            else []
        )

    def remembered(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What `make` said of these images; it is asked again when one of them has changed."""
        if key not in self.memory:
            if len(self.memory) > 50:
                self.memory.clear()
            self.memory[key] = make()
        found: _T = self.memory[key]
        return found

    # Looking through

    def refresh(self) -> None:
        """Take names and times anew, and read what changed. Raises OSError when it is no folder."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listing = os.listdir(descriptor)  # noqa: PTH208 (names only, of an open folder)
            if listing != self.listing:
                self._list(listing)
            self._take_times(descriptor)
        finally:
            os.close(descriptor)

    def _list(self, listing: list[str]) -> None:
        images = sorted(filter(is_image_name, listing))
        self.listing, self.names = listing, frozenset(listing)
        self.is_stored = False
        self.memory.clear()
        for known in self.known.values():
            known.memory.clear()
        if images == self.images:
            return
        place = {name: at for at, name in enumerate(self.images)}
        old = [place.get(name, -1) for name in images]
        self.times = array("q", [self.times[at] if at >= 0 else -1 for at in old])
        self.bytes = array("q", [self.bytes[at] if at >= 0 else -1 for at in old])
        self.widths = array("i", [self.widths[at] if at >= 0 else 0 for at in old])
        self.heights = array("i", [self.heights[at] if at >= 0 else 0 for at in old])
        self.flags = bytearray(self.flags[at] if at >= 0 else 1 for at in old)
        for known in self.known.values():
            known.lines = [known.lines[at] if at >= 0 else "" for at in old]
            known.faults = bytearray(known.faults[at] if at >= 0 else 0 for at in old)
            known.times = array("q", [known.times[at] if at >= 0 else -2 for at in old])
            known.sizes = array("q", [known.sizes[at] if at >= 0 else -2 for at in old])
        self.images = images

    def _take_times(self, folder: int) -> None:
        times, sizes = _stamps(self.images, folder)
        if times == self.times and sizes == self.bytes:
            return
        look, root = heads.look, str(self.path)
        for at, (time, size) in enumerate(zip(times, sizes, strict=True)):
            if time != self.times[at] or size != self.bytes[at]:
                name = self.images[at]
                self.widths[at], self.heights[at], self.flags[at] = look(name, folder, f"{root}/{name}")
        self.times, self.bytes = times, sizes
        self.is_stored = False
        self.memory.clear()

    def captions(self, extension: str) -> Captions:
        """The captions with this ending, as the trainer would read them (train_util.py, `read_caption`)."""
        known = self.known.get(extension)
        if known is None:
            if len(self.known) > 4:
                self.known.clear()
            count = len(self.images)
            known = Captions(
                extension, [""] * count, bytearray(count), array("q", [-2]) * count, array("q", [-2]) * count
            )
            self.known[extension] = known
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._read_captions(known, descriptor)
        finally:
            os.close(descriptor)
        return known

    def _read_captions(self, known: Captions, folder: int) -> None:
        extension = known.extension
        there = self.names
        wanted = [name[: name.rindex(".")] + extension for name in self.images]
        times, sizes = _stamps(wanted, folder, there)
        if times == known.times and sizes == known.sizes:
            return
        for at, (time, size) in enumerate(zip(times, sizes, strict=True)):
            if time != known.times[at] or size != known.sizes[at]:
                known.lines[at], known.faults[at] = _read(wanted[at], folder, size)
                if known.faults[at] & MISSING and _cropped_name(self.images[at], extension) in there:
                    known.faults[at] = STRANGE
        known.times, known.sizes = times, sizes
        known.memory.clear()
        self.is_stored = False


def _stamps(names: list[str], folder: int, there: frozenset[str] | None = None) -> tuple[array[int], array[int]]:
    """(times, sizes) of files in an open folder; -1 for one that is not there."""
    stat = os.stat
    times, sizes = array("q"), array("q")
    put_time, put_size = times.append, sizes.append
    for name in names:
        if there is not None and name not in there:
            put_time(-1)
            put_size(-1)
            continue
        try:
            facts = stat(name, dir_fd=folder)
        except OSError:
            put_time(-1)
            put_size(-1)
            continue
        put_time(facts.st_mtime_ns)
        put_size(facts.st_size)
    return times, sizes


def _read(name: str, folder: int, size: int) -> tuple[str, int]:
    """The first line of a caption and what is wrong with it."""
    if size < 0:
        return "", MISSING
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return "", MISSING
    try:
        raw = os.read(descriptor, _LARGEST_CAPTION)
    except OSError:
        return "", MISSING
    finally:
        os.close(descriptor)
    if not raw:
        return "", EMPTY
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "", FOREIGN
    faults = 0
    if text[0] == "\ufeff":
        faults, text = MARK, text[1:]
    line = text if "\n" not in text and "\r" not in text else captions.first_line(text)
    if not line.strip():
        faults |= BLANK
    elif len(line) < len(text) and text[len(line) :].strip():
        faults |= SEVERAL
    return line, faults


def _cropped_name(image: str, extension: str) -> str | None:
    """The caption file of the name without its last four parts (train_util.py, read_caption, base_name_face_det)."""
    parts = image[: image.rindex(".")].split("_")
    return "_".join(parts[:-4]) + extension if len(parts) >= 5 else None


_folders: OrderedDict[str, FolderFacts] = OrderedDict()
_guard = threading.Lock()


class Survey:
    """The folders of one check. Each is looked through once, whoever asks for it."""

    def __init__(self) -> None:
        self._found: dict[str, FolderFacts | None] = {}
        self._captions: dict[tuple[str, str], Captions] = {}

    def folder(self, path: Path) -> FolderFacts | None:
        """What is in `path`; None when it is no folder that can be read."""
        key = str(path)
        if key not in self._found:
            facts = _facts_of(path)
            try:
                with facts.lock:
                    facts.refresh()
            except OSError:
                self._found[key] = None
            else:
                self._found[key] = facts
        return self._found[key]

    def captions(self, facts: FolderFacts, extension: str) -> Captions:
        """The captions of one of its folders."""
        key = str(facts.path), extension
        if key not in self._captions:
            with facts.lock:
                self._captions[key] = facts.captions(extension)
        return self._captions[key]

    def keep(self) -> None:
        """Keep what was read of large folders for the next program; losing it costs nothing but time."""
        from core.config import survey_store

        for facts in self._found.values():
            if facts is not None and not facts.is_stored:
                with facts.lock:
                    survey_store.write(facts)


def _facts_of(path: Path) -> FolderFacts:
    from core.config import survey_store

    with _guard:
        key = str(path)
        facts = _folders.get(key)
        if facts is None:
            facts = _folders[key] = survey_store.read(path)
            while len(_folders) > _FOLDERS:
                _folders.popitem(last=False)
        _folders.move_to_end(key)
        return facts
