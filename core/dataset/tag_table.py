"""Every tag of a dataset with its count, and which tags stand together."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.dataset.captions import first_line, tag_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TagRow:
    """One tag. `share` is that of the captions counted (0 … 1); `category` is None where no tagger on disk knows it."""

    tag: str
    count: int
    share: float
    category: str | None = None
    spellings: tuple[str, ...] = ()
    """All the ways in which it is spelled, the usual first; empty when there is one."""


class TagTable:
    """The tags of captions in the order in which they were added. Four bytes a tag of each caption are kept.

    Spellings that are the same tag (`Long_Hair`, `long hair`) are one, shown as it is spelled most often.
    """

    def __init__(self, captions: Iterable[str | None] = (), categories: Mapping[str, str] | None = None) -> None:
        self._categories = categories or {}
        self._places: dict[str, int] = {}
        """Tag key → its number."""
        self._numbers: dict[str, int] = {}
        """Part of a caption as it stands there, blanks included → the number of its tag: each is looked at once."""
        self._spellings: Counter[str] = Counter()
        self._flat = array("I")
        self._lengths = array("I")
        for caption in captions:
            self.add(caption)

    def add(self, caption: str | None) -> None:
        """Count one more caption; None (no caption file) counts as no caption."""
        if caption is None:
            return
        parts = first_line(caption).split(",")
        try:
            numbers = list(dict.fromkeys(map(self._numbers.__getitem__, parts)))
        except KeyError:
            numbers = list(dict.fromkeys(map(self._number, parts)))
        self._spellings.update(parts)
        if -1 in numbers:  # an empty part: two commas side by side
            numbers.remove(-1)
        self._flat.extend(numbers)
        self._lengths.append(len(numbers))

    def _number(self, part: str) -> int:
        number = self._numbers.get(part)
        if number is None:
            key = tag_key(part)
            number = self._places.setdefault(key, len(self._places)) if key else -1
            self._numbers[part] = number
        return number

    @property
    def captions(self) -> int:
        return len(self._lengths)

    def __len__(self) -> int:
        return len(self._places)

    def rows(self) -> list[TagRow]:
        """Every tag, the most frequent first, then by the alphabet."""
        return self._rows(self._counts(), self.captions)

    def together(self, tags: Sequence[str]) -> tuple[int, list[TagRow]]:
        """How many captions have all of `tags`, and the other tags in those, with their share of them."""
        wanted = {self._places.get(tag_key(tag), -1) for tag in tags}
        if not wanted or -1 in wanted:
            return 0, []
        from core.dataset.arrays import counted

        flat, owners, chosen = self._chosen(wanted)
        counts = counted(flat[chosen[owners]], len(self._places))
        counts[list(wanted)] = 0
        images = int(chosen.sum())
        return images, self._rows(counts.tolist(), images)

    def _chosen(self, wanted: set[int]) -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.bool_]]:
        """Every tag that was added, the caption that each belongs to, and which captions have all of `wanted`."""
        import numpy as np

        flat = np.array(self._flat, np.uint32)
        owners = np.repeat(np.arange(self.captions, dtype=np.int32), np.array(self._lengths, np.intp))
        chosen = np.ones(self.captions, bool)
        for number in wanted:
            has = np.zeros(self.captions, bool)
            has[owners[flat == number]] = True
            chosen &= has
        return flat, owners, chosen

    def _counts(self) -> list[int]:
        counts = Counter(self._flat)
        return [counts[number] for number in range(len(self._places))]

    def _rows(self, counts: Sequence[int], total: int) -> list[TagRow]:
        spelled = self._spelled()
        rows = []
        for number, count in enumerate(counts):
            if count:
                ways = spelled[number]
                category = self._categories.get(ways[0]) or self._categories.get(ways[0].replace(" ", "_"))
                rows.append(TagRow(ways[0], count, count / total, category, ways if len(ways) > 1 else ()))
        rows.sort(key=lambda row: row.tag.casefold())
        rows.sort(key=lambda row: -row.count)
        return rows

    def _spelled(self) -> list[tuple[str, ...]]:
        ways: list[dict[str, int]] = [{} for _ in self._places]
        for part, number in self._numbers.items():
            if number >= 0:
                way, tag = ways[number], part.strip()
                way[tag] = way.get(tag, 0) + self._spellings[part]
        return [tuple(sorted(way, key=way.__getitem__, reverse=True)) for way in ways]


def tag_table(captions: Iterable[str | None], categories: Mapping[str, str] | None = None) -> list[TagRow]:
    """The tags of `captions`, the most frequent first; `categories` is {tag: word} (core.tagging.scores)."""
    return TagTable(captions, categories).rows()
