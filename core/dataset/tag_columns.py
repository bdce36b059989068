"""The tags of a dataset that is open: counted from its columns, without a look at the texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from core.dataset.captions import tag_key
from core.dataset.chunks import HAS_CAPTION, HAS_ERROR
from core.dataset.tag_table import TagTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.dataset.index import Index


class IndexedTags(TagTable):
    """A TagTable of what an index has read by now; later changes are not in it.

    Made on a thread beside a screen: 100,000 images take 0.3 s, most of it without holding Python's lock. Every image
    counts, also where two share one caption.
    """

    def __init__(self, index: Index, categories: Mapping[str, str] | None = None) -> None:
        super().__init__(categories=categories)
        import numpy as np

        from core.dataset.arrays import arrays_of, entries_of

        self._size = n = arrays_of(index).n
        flags = np.frombuffer(bytes(index.flags[:n]), np.uint8)
        self._captions = int(np.count_nonzero(flags & (HAS_CAPTION | HAS_ERROR) == HAS_CAPTION))
        words = list(index.words)
        ids, owners = entries_of(index)
        places = np.full(max(1, len(words)), -1, np.int64)
        for number, count in enumerate(np.bincount(ids, minlength=len(words)).tolist()):
            if count:
                places[number] = self._number(words[number])
                self._spellings[words[number]] = count
        self._columns: tuple[NDArray[np.uint32], NDArray[np.intp]] = _once(places[ids], owners)

    @property
    def captions(self) -> int:
        return self._captions

    def images_of(self, tags: Iterable[str]) -> list[int]:
        """The numbers of the images that have one of `tags`."""
        import numpy as np

        flat, owners = self._columns
        wanted = [self._places[key] for tag in tags if (key := tag_key(tag)) in self._places]
        found: list[int] = np.unique(owners[np.isin(flat, np.array(wanted, np.uint32))]).tolist()
        return found

    def _chosen(self, wanted: set[int]) -> tuple[NDArray[np.uint32], NDArray[np.intp], NDArray[np.bool_]]:
        import numpy as np

        flat, owners = self._columns
        chosen = np.ones(self._size, np.bool_)
        for number in wanted:
            has = np.zeros(self._size, np.bool_)
            has[owners[flat == number]] = True
            chosen &= has
        return flat, owners, chosen

    def _counts(self) -> list[int]:
        import numpy as np

        counts: list[int] = np.bincount(self._columns[0], minlength=len(self._places)).tolist()
        return counts


def _once(flat: NDArray[np.int64], owners: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Each tag of an image once, and its image; parts that are no tag (-1) left out."""
    import numpy as np

    width = int(flat.max(initial=0)) + 1
    keys = owners * width + flat
    if int(flat.min(initial=0)) < 0:
        keys = keys[flat >= 0]
    keys.sort()
    twice = keys[1:] == keys[:-1]
    if not twice.any() and len(keys) == len(flat):
        return flat.astype(np.uint32), owners
    found = keys[np.concatenate([np.ones(len(keys[:1]), np.bool_), ~twice])]
    return (found % width).astype(np.uint32), found // width
