"""Captions as sets of tags, many at once: every tag has a number, and `image * width + number` is one element.

All elements of all images are one ascending int64 array (`Codes`), each once; `width` is the number of tags there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.dataset.captions import split, tag_key
from core.tagging.cleaning import implied_by
from core.tagging.labels import Category

if TYPE_CHECKING:
    from core.tagging.captioning import Captioner
    from core.tagging.score_table import ScoreTable

Codes = NDArray[np.int64]


class Tagbook:
    """Numbers for tags: two spellings of one tag (`tag_key`) have one number."""

    def __init__(self) -> None:
        self.spelled: list[str] = []
        """By number, as the tag was first seen."""
        self.keys: list[str] = []
        """By number, what all spellings of the tag have in common."""
        self._numbers: dict[str, int] = {}
        self._by_text: dict[str, int] = {}
        self._implied: tuple[int, Codes, Codes] | None = None

    def number(self, tag: str) -> int:
        """The number of a tag, a new one when it was never seen."""
        found = self._by_text.get(tag)
        if found is None:
            key = tag_key(tag)
            found = self._numbers.setdefault(key, len(self.spelled))
            if found == len(self.spelled):
                self.spelled.append(tag)
                self.keys.append(key)
            self._by_text[tag] = found
        return found

    def implied(self) -> tuple[Codes, Codes]:
        """Every pair of tags of which the first implies the second (core.tagging.cleaning), the first ascending."""
        if self._implied is None or self._implied[0] != len(self.keys):
            numbers = self._numbers
            pairs = sorted(
                (number, numbers[other])
                for number, key in enumerate(self.keys)
                for other in implied_by(key)
                if other in numbers
            )
            specific, general = np.array(pairs, np.int64).reshape(-1, 2).T
            self._implied = len(self.keys), specific, general
        return self._implied[1:]


class Vocabulary:
    """What the labels of one captioner are as numbers; made anew only when the spelling changes."""

    def __init__(self, captioner: Captioner, table: ScoreTable, book: Tagbook) -> None:
        self.labels = captioner.labels
        count = len(self.labels)
        self.one = np.full(count, -1, np.int64)
        """By label: its number when it is one tag; -1 when it is none or several."""
        self.several: list[tuple[int, tuple[int, ...]]] = []
        seen = np.zeros(count, np.bool_)
        seen[table.indices] = True
        for columns in captioner.placed.values():
            seen[columns] = True
        for index in np.flatnonzero(seen).tolist():
            numbers = tuple(book.number(tag) for part in self.labels[index].parts for tag in split(part))
            if len(numbers) == 1:
                self.one[index] = numbers[0]
            elif numbers:
                self.several.append((index, numbers))
        self.is_general = np.array([label.category is Category.GENERAL for label in self.labels], np.bool_)

    def numbers(self, labels: NDArray[np.integer], owners: NDArray[np.integer], width: int) -> Codes:
        """The codes of labels and the images that have them, unsorted, some perhaps twice."""
        one = self.one[labels]
        found = [owners[one >= 0].astype(np.int64) * width + one[one >= 0]]
        for index, numbers in self.several:
            mine = owners[labels == index].astype(np.int64) * width
            found += [mine + number for number in numbers]
        return np.concatenate(found)


class TagSets:
    """Collects the tags of captions, image by image; every tag once, in the order of their codes."""

    def __init__(self, book: Tagbook) -> None:
        self._number = book.number
        self._owners: list[int] = []
        self._numbers: list[int] = []

    def add(self, owner: int, *lines: str) -> None:
        """The tags of these lines belong to the image `owner`; images come in ascending order."""
        numbers = sorted({self._number(tag) for line in lines for tag in split(line)})
        self._numbers += numbers
        self._owners += [owner] * len(numbers)

    def arrays(self) -> tuple[Codes, Codes]:
        """Images and numbers side by side: `image * width + number` ascends for every width."""
        return np.array(self._owners, np.int64), np.array(self._numbers, np.int64)


def ascending(codes: Codes) -> Codes:
    """Ascending, each once: numpy's unique takes twenty times as long where it hashes (2.3 and later)."""
    codes = np.sort(codes, kind="stable")
    return codes[np.append(True, codes[1:] != codes[:-1])] if len(codes) else codes


def differences(now: Codes, then: Codes) -> tuple[Codes, Codes]:
    """What only `then` has and what only `now` has; both ascend, so that one merge tells (a third of setdiff1d)."""
    both = np.concatenate([now * 2, then * 2 + 1])
    both.sort(kind="stable")
    codes = both >> 1
    is_twin = np.zeros(len(codes), np.bool_)
    is_twin[1:] = codes[1:] == codes[:-1]
    is_twin[:-1] |= is_twin[1:]
    is_new = (both & 1).astype(np.bool_)
    return codes[is_new & ~is_twin], codes[~is_new & ~is_twin]
