"""The tags of a dataset that is open: counted from its columns, without a look at the texts."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.dataset.captions import tag_key
from core.dataset.chunks import HAS_CAPTION, HAS_ERROR
from core.dataset.tag_table import TagTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.dataset.index import Index

_lock = threading.Lock()


@dataclass(frozen=True)
class Columns:
    """What is worked out once of a state of an index, for all who ask at the same time: 24 MB at 100,000 images."""

    version: int
    places: dict[str, int]
    """Tag key → its number."""
    numbers: dict[str, int]
    """Tag as it is spelled → its number."""
    spellings: Counter[str]
    flat: NDArray[np.uint32]
    owners: NDArray[np.int32]
    """Every tag of every image once, and its image."""


class IndexedTags(TagTable):
    """A TagTable of what an index has read by now; later changes are not in it.

    Made on a thread beside a screen: 100,000 images take 0.3 s, most of it without holding Python's lock. Every image
    counts, also where two share one caption.
    """

    def __init__(self, index: Index, categories: Mapping[str, str] | None = None) -> None:
        super().__init__(categories=categories)
        import numpy as np

        with _lock:
            columns = index.columns() if index.columns is not None else None
            if columns is None or columns.version != index.version:
                columns = _columns_of(index)
                index.columns = weakref.ref(columns)
        self._columns = columns
        self._places, self._numbers, self._spellings = columns.places, columns.numbers, columns.spellings
        flags = np.frombuffer(bytes(index.flags), np.uint8)
        self._size = len(flags)
        self._captions = int(np.count_nonzero(flags & (HAS_CAPTION | HAS_ERROR) == HAS_CAPTION))

    @property
    def captions(self) -> int:
        return self._captions

    def images_of(self, tags: Iterable[str]) -> list[int]:
        """The numbers of the images that have one of `tags`."""
        import numpy as np

        wanted = [self._places[key] for tag in tags if (key := tag_key(tag)) in self._places]
        chosen = np.isin(self._columns.flat, np.array(wanted, np.uint32))
        found: list[int] = np.unique(self._columns.owners[chosen]).tolist()
        return found

    def _chosen(self, wanted: set[int]) -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.bool_]]:
        import numpy as np

        flat, owners = self._columns.flat, self._columns.owners
        chosen = np.ones(self._size, np.bool_)
        for number in wanted:
            has = np.zeros(self._size, np.bool_)
            has[owners[flat == number]] = True
            chosen &= has
        return flat, owners, chosen

    def _counts(self) -> list[int]:
        from core.dataset.arrays import counted

        counts: list[int] = counted(self._columns.flat, len(self._places)).tolist()
        return counts


def _columns_of(index: Index) -> Columns:
    import numpy as np

    from core.dataset.arrays import counted, entries_of

    version, words = index.version, list(index.words)
    ids, owners = entries_of(index)
    found: dict[str, int] = {}
    numbers: dict[str, int] = {}
    spellings: Counter[str] = Counter()
    places = np.full(max(1, len(words)), -1, np.int32)
    for number, count in enumerate(counted(ids, len(words)).tolist()):
        if count and (key := tag_key(words[number])):
            places[number] = numbers[words[number]] = found.setdefault(key, len(found))
            spellings[words[number]] = count
    return Columns(version, found, numbers, spellings, *_once(places[ids], owners))


def _once(flat: NDArray[np.int32], owners: NDArray[np.int32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Each tag of an image once, and its image; parts that are no tag (-1) left out."""
    import numpy as np

    width = int(flat.max(initial=0)) + 1
    keys = owners.astype(np.int64) * width + flat
    if int(flat.min(initial=0)) < 0:
        keys = keys[flat >= 0]
    keys.sort()
    twice = keys[1:] == keys[:-1]
    if not twice.any() and len(keys) == len(flat):
        return flat.view(np.uint32), owners
    found = keys[np.concatenate([np.ones(len(keys[:1]), np.bool_), ~twice])]
    return (found % width).astype(np.uint32), (found // width).astype(np.int32)
