"""A dataset in columns: everything that its files say, by the number of an image in list order.

It grows while the dataset is read (`add`) and follows single changes (`put`); 100,000 images take about 100 MB. Nothing
here reads a file, except `read_index`, which reads all of them.
"""

from __future__ import annotations

import os
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.dataset import captions
from core.dataset.chunks import (
    HAS_CAPTION,
    HAS_ERROR,
    IS_PLAIN,
    IS_SINGLE,
    IS_UNTAGGED,
    STAMPS,
    Chunk,
    Names,
    Words,
)
from core.dataset.model import CAPTION_EXTENSION, TRAINED, ImageItem, Subset
from core.dataset.pictures import MAX_PIXELS
from core.dataset.reading import Listed, Noticed, Piece
from core.dataset.scan import sort_key
from core.problems import Problem
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.dataset.arrays import Arrays
    from core.dataset.tag_columns import Columns

_TAGGED = bytes(flag & IS_UNTAGGED for flag in range(256))
_MANY = 200
"""Paths from which on a table of names is made to find them, instead of a search for each."""


class Index:
    """Images have numbers from 0 in list order; `read` of them are known with what is in their files."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace, self.name = workspace, name
        self.subsets: tuple[Subset, ...] = ()
        self.names: list[str] = []
        self.captioned = bytearray()
        self.problems: list[Problem] = []
        self.words: list[str] = []
        """Tags as they are spelled; `tag_ids` and `over` count in them."""
        self.texts: list[str] = []
        """Of what was read: the caption, or the sentence why it cannot be read."""
        self.folded: list[str] = []
        self.flags = bytearray()
        self.stamps: array[int] = array("q")
        self.sizes: array[int] = array("i")
        self.counts: array[int] = array("I")
        self.tag_ids: array[int] = array("I")
        """Tags of each image, and all of them in order, as they were read."""
        self.over: dict[int, array[int]] = {}
        """The tags of images whose caption changed since it was read."""
        self.untagged = 0
        self.suspects: set[int] = set()
        """Images with something wrong: caption or header unreadable, or a size that is never decoded."""
        self.is_complete = False
        self.version = 0
        """Another number whenever an answer may be another."""
        self._starts: list[int] = []
        self._folders: list[str] = []
        self._word_ids: dict[str, int] | None = None
        self._tally: Counter[int] | None = None
        self.arrays: Arrays | None = None
        self.columns: weakref.ref[Columns] | None = None
        self.memo: dict[str, Any] = {}
        """What others worked out of the words; only grows with them."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def read(self) -> int:
        """How many images, from the first on, are known with what is in their files."""
        return len(self.texts)

    # Growing

    def add(self, piece: Piece) -> None:
        """What came of `reading.read`, in its order."""
        self.version += 1
        match piece:
            case Listed():
                self.subsets = piece.subsets
                self._folders = [str(subset.path) for subset in piece.subsets]
                self._starts = [0] * (len(piece.subsets) + 1)
            case Noticed():
                self.problems.extend(piece.problems)
            case Names():
                self.names.extend(piece.names)
                self.captioned += piece.captioned
                self.untagged += piece.captioned.count(0)
                for number in range(piece.subset + 1, len(self._starts)):
                    self._starts[number] = len(self.names)
            case Words():
                self.words.extend(piece.words)
                self._word_ids = None
            case Chunk():
                self._add(piece)

    def _add(self, chunk: Chunk) -> None:
        first = len(self.texts)
        self.untagged -= self.captioned[first : first + len(chunk.names)].count(0)
        self.untagged += len(chunk.flags) - chunk.flags.translate(_TAGGED).count(0)
        self.suspects.update(first + row for row in chunk.suspects)
        self.folded.extend(chunk.folded)
        self.flags += chunk.flags
        self.stamps.extend(chunk.stamps)
        self.sizes.extend(chunk.sizes)
        self.counts.extend(chunk.counts)
        self.tag_ids.extend(chunk.tags)
        self.texts.extend(chunk.texts)
        self._tally = None

    def complete(self) -> None:
        """Everything was read."""
        self.is_complete = True
        self.version += 1

    # One image

    def subset_of(self, number: int) -> Subset:
        """The subset it lies in."""
        return self.subsets[self._place_of(number)]

    def _place_of(self, number: int) -> int:
        return bisect_right(self._starts, number, 0, len(self.subsets)) - 1

    def range_of(self, subset: str) -> range:
        """The numbers of a subset's images."""
        for place, each in enumerate(self.subsets):
            if each.name == subset:
                return range(self._starts[place], self._starts[place + 1])
        return range(0)

    def range_in(self, folder: Path) -> range:
        """The numbers of the images that lie right in a folder."""
        place = self._folders.index(str(folder)) if str(folder) in self._folders else -1
        return range(self._starts[place], self._starts[place + 1]) if place >= 0 else range(0)

    def path(self, number: int) -> Path:
        return Path(f"{self._folders[self._place_of(number)]}/{self.names[number]}")

    def key(self, number: int) -> str:
        """Workspace.key_of its path."""
        return self.prefix(self._place_of(number)) + self.names[number]

    def prefix(self, place: int) -> str:
        """What the keys of a subset's images begin with."""
        return self.workspace.key_of(self.subsets[place].path) + "/"

    def caption_path(self, number: int) -> Path:
        name = self.names[number]
        return Path(f"{self._folders[self._place_of(number)]}/{name[: name.rindex('.')]}{CAPTION_EXTENSION}")

    def item(self, number: int) -> ImageItem:
        """As a scan would give it; bytes and time are 0 until it was read."""
        is_read = number < self.read
        size = max(0, self.stamps[number * STAMPS + 1]) if is_read else 0
        time = self.stamps[number * STAMPS] if is_read else 0
        subset, has_caption = self.subset_of(number).name, bool(self.captioned[number])
        return ImageItem(self.path(number), subset, self.caption_path(number), has_caption, size, time)

    def caption(self, number: int) -> str | None:
        """The whole text; None when there is no file, when it cannot be read, and before it was read."""
        if number >= self.read or self.flags[number] & (HAS_CAPTION | HAS_ERROR) != HAS_CAPTION:
            return None
        return self.texts[number]

    def error(self, number: int) -> str | None:
        """Why the caption cannot be read."""
        return self.texts[number] if number < self.read and self.flags[number] & HAS_ERROR else None

    def tags(self, number: int) -> list[str]:
        """The tags of its caption as they are spelled."""
        text = self.caption(number)
        return captions.split(text) if text else []

    def tag_count(self, number: int) -> int:
        if (changed := self.over.get(number)) is not None:
            return len(changed)
        return self.counts[number] if number < self.read else 0

    def size(self, number: int) -> tuple[int, int] | None:
        """Width and height; None when the image cannot be read, and before it was."""
        if number >= self.read:
            return None
        width, height = self.sizes[2 * number], self.sizes[2 * number + 1]
        return (width, height) if width else None

    def is_untagged(self, number: int) -> bool:
        """Nothing to train on in its caption, as far as that is known."""
        return bool(self.flags[number] & IS_UNTAGGED) if number < self.read else not self.captioned[number]

    # Finding an image

    def id_of(self, path: Path) -> int | None:
        """The number of an image by its file, or by that of its caption."""
        for place, folder in enumerate(self._folders):
            if folder == str(path.parent):
                if path.suffix == CAPTION_EXTENSION:
                    stem = path.name[: -len(CAPTION_EXTENSION)]
                    found = (self._search(place, stem + ending) for ending in TRAINED)
                    return next((number for number in found if number is not None), None)
                return self._search(place, path.name)
        return None

    def _search(self, place: int, name: str) -> int | None:
        low, high = self._starts[place], self._starts[place + 1]
        key = sort_key(name)
        at = bisect_left(self.names, key, low, high, key=sort_key)
        while at < high and self.names[at] != name and sort_key(self.names[at]) == key:
            at += 1
        return at if at < high and self.names[at] == name else None

    def ids_of(self, paths: Iterable[Path]) -> list[int]:
        """The numbers of those that are images of this dataset, or their captions, each once."""
        wanted = list(paths)
        if len(wanted) < _MANY:
            return list(dict.fromkeys(number for path in wanted if (number := self.id_of(path)) is not None))
        tables: dict[str, dict[str, int]] = {}
        found: dict[int, None] = {}
        for path in wanted:
            folder, name = os.path.split(path)
            table = tables.get(folder)
            if table is None:
                table = tables[folder] = {self.names[number]: number for number in self.range_in(path.parent)}
            stem, extension = os.path.splitext(name)  # noqa: PTH122 (the same)
            for each in [stem + ending for ending in TRAINED] if extension == CAPTION_EXTENSION else [name]:
                if (number := table.get(each)) is not None:
                    found[number] = None
        return list(found)

    # Changes

    def put(self, number: int, caption: str | None, size: tuple[int, int] | None, error: str | None = None) -> None:
        """What the files of an image say now (`number` was read before)."""
        self.version += 1
        text = error or caption or ""
        tags = captions.split(caption) if caption and not error else []
        flags = 0
        if caption is not None or error:
            flags |= HAS_CAPTION
        if error:
            flags |= HAS_ERROR
        elif not tags:
            flags |= IS_UNTAGGED
        line = captions.first_line(text)
        if not text[len(line) :].strip():
            flags |= IS_SINGLE
        if line == ", ".join(tags) and "&" not in text and "\x1b" not in text:
            flags |= IS_PLAIN
        self.untagged += bool(flags & IS_UNTAGGED) - bool(self.flags[number] & IS_UNTAGGED)
        ids = array("I", map(self.word_id, tags))
        if self._tally is not None:
            self._tally.subtract(self.ids_at(number))
            self._tally.update(ids)
        self.texts[number] = text
        self.folded[number] = text.casefold()
        self.flags[number] = flags
        self.captioned[number] = bool(flags & HAS_CAPTION)
        width, height = size or (0, 0)
        self.sizes[2 * number : 2 * number + 2] = array("i", (width, height))
        (self.suspects.add if error or not 0 < width * height <= MAX_PIXELS else self.suspects.discard)(number)
        self.over[number] = ids

    def word_id(self, tag: str) -> int:
        """The number of a tag, a new one when it was not met before."""
        if self._word_ids is None:
            self._word_ids = {word: number for number, word in enumerate(self.words)}
        number = self._word_ids.setdefault(tag, len(self.words))
        if number == len(self.words):
            self.words.append(tag)
        return number

    def ids_at(self, number: int) -> Sequence[int]:
        """The numbers of an image's tags in order."""
        if (changed := self.over.get(number)) is not None:
            return changed
        return [self.word_id(tag) for tag in self.tags(number)]

    # The whole

    def tag_tally(self) -> Counter[int]:
        """How often each word stands in the captions."""
        if self._tally is None:
            from core.dataset.arrays import arrays_of, counted

            counts = counted(arrays_of(self).tag_ids, len(self.words)).tolist()
            tally = Counter({number: count for number, count in enumerate(counts) if count})
            if self.over:
                starts = self._offsets(self.over)
                for number, ids in self.over.items():
                    tally.subtract(self.tag_ids[starts[number][0] : starts[number][1]])
                    tally.update(ids)
            self._tally = tally
        return self._tally

    def _offsets(self, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Where the tags of these images stood in `tag_ids` when they were read."""
        from core.dataset.arrays import arrays_of

        offsets = arrays_of(self).offsets
        return {number: (int(offsets[number]), int(offsets[number + 1])) for number in numbers}

    def tag_counts(self) -> Counter[str]:
        """How often each tag stands in the captions, spellings of one tag together, under the most used."""
        found: dict[str, tuple[str, int]] = {}
        for number, count in self.tag_tally().most_common():
            if count > 0:
                word = self.words[number]
                key = captions.tag_key(word)
                spelled, before = found.get(key, (word, 0))
                found[key] = spelled, before + count
        return Counter(dict(found.values()))


def read_index(workspace: Workspace, name: str) -> Index:
    """All of a dataset; files that did not change since the last time are not opened. Raises UserError when there is
    none of that name.
    """
    from core.dataset.reading_process import following

    index = Index(workspace, name)
    for piece in following(workspace, name):
        index.add(piece)
    index.complete()
    return index
