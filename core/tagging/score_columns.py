"""The stored scores of a dataset by tag, for questions about one tag in all images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.dataset.captions import tag_key
from core.tagging.labels import Category
from core.tagging.scores import newest_files, read_table, scores_folder

if TYPE_CHECKING:
    from core.tagging.score_table import ScoreTable
    from core.workspace import Workspace

RATINGS = ("general", "sensitive", "questionable", "explicit")
_AT_ONCE = 5000
_Part = tuple["ScoreTable", NDArray[np.intp]]
"""Some of the scores, and which of the images they are of."""


class ScoreColumns:
    """Scores of `images` from the model that ran last and has any for them.

    They are read when first asked for (about 3 s for 100,000 images, on the thread that asks) and kept in 6 bytes a
    score. `stop` ends the reading; it begins anew the next time.
    """

    def __init__(self, workspace: Workspace, images: Sequence[Path]) -> None:
        self._workspace, self._images = workspace, images
        self._parts: list[_Part] | None = None
        self._columns: dict[str, NDArray[np.float32] | None] = {}

    def score(self, key: str, stop: Callable[[], bool] = lambda: False) -> NDArray[np.float32] | None:
        """float32 [images] of a tag by its `tag_key`: NaN where an image has no scores, 0 under the floor of the store.

        None when no model that ran here knows the tag, and when `stop` said so.
        """
        if key not in self._columns:
            if (parts := self._read(stop)) is None:
                return None
            while len(self._columns) >= 16:  # 400 kB each
                del self._columns[next(iter(self._columns))]
            self._columns[key] = self._column(parts, key)
        return self._columns[key]

    def _column(self, parts: list[_Part], key: str) -> NDArray[np.float32] | None:
        labels = parts[0][0].labels if parts else None
        wanted = [] if labels is None else [at for at, name in enumerate(labels.names) if tag_key(name) == key]
        if not wanted:
            return None
        column = np.full(len(self._images), np.nan, np.float32)
        for table, places in parts:
            column[places] = _values(table, wanted[0])
        return column

    def lowest(
        self,
        words: Sequence[str],
        ids: NDArray[np.uint32],
        owners: NDArray[np.int32],
        stop: Callable[[], bool] = lambda: False,
    ) -> NDArray[np.float32] | None:
        """float32 [images]: the score of that tag of the caption of which the model is least sure, 0 for one under the
        floor of the store; NaN without scores, or without a tag that the model knows. None as above.

        `ids` (places in `words`) and `owners` (images) are those of all captions (arrays.entries_of). 1 s for 100,000.
        """
        parts = self._read(stop)
        labels = parts[0][0].labels if parts else None
        if not parts or labels is None:
            return None
        known = {tag_key(name): at for at, name in enumerate(labels.names)}
        label_of = np.array([known.get(tag_key(word), -1) for word in words] or [-1], np.int64)
        is_known = label_of[ids] >= 0
        wanted, images = label_of[ids[is_known]], owners[is_known].astype(np.int64)
        order = np.argsort(images, kind="stable")
        wanted, images = wanted[order], images[order]
        found = np.full(len(self._images), np.nan, np.float32)
        for table, places in parts:
            if stop():
                return None
            low, high = np.searchsorted(images, (places.min(), places.max() + 1))
            row_of = np.full(len(self._images), -1, np.int64)
            row_of[places] = np.arange(len(places))
            rows = row_of[images[low:high]]
            mine = rows >= 0
            _lowest(table, rows[mine], wanted[low:high][mine], images[low:high][mine], found)
        return found

    def ratings(self, stop: Callable[[], bool] = lambda: False) -> NDArray[np.int8] | None:
        """int8 [images]: place in RATINGS of the highest rating, -1 where an image has no scores. None as above."""
        parts = self._read(stop)
        labels = parts[0][0].labels if parts else None
        if not parts or labels is None:
            return None
        columns: list[tuple[int, int]] = []
        for at, (name, category) in enumerate(zip(labels.names, labels.categories, strict=True)):
            if category is Category.RATING and (word := _rating(name)) in RATINGS:
                columns.append((RATINGS.index(word), at))
        if not columns:
            return None
        found = np.full(len(self._images), -1, np.int8)
        numbers = np.array([number for number, _ in columns], np.int8)
        for table, places in parts:
            values = np.stack([_values(table, at) for _, at in columns])
            found[places] = numbers[np.argmax(values, axis=0)]
        return found

    def _read(self, stop: Callable[[], bool]) -> list[_Part] | None:
        if self._parts is None:
            folder = scores_folder(self._workspace)
            for path in newest_files(folder):
                parts: list[_Part] = []
                for start in range(0, len(self._images), _AT_ONCE):
                    some = self._images[start : start + _AT_ONCE]
                    table = read_table(folder, path.stem, some, stop)
                    if table is None:
                        if stop():
                            return None
                        break
                    if table.images:
                        number = {image: at for at, image in enumerate(some, start)}
                        places = np.array([number[image] for image in table.images], np.intp)
                        parts.append((_small(table), places))
                if parts:
                    self._parts = parts
                    return parts
            self._parts = []
        return self._parts


def _small(table: ScoreTable) -> ScoreTable:
    """The same with indices of 16 bits where they fit, and without the names of the images."""
    from dataclasses import replace

    fits = len(table.labels) <= 1 << 16
    indices: NDArray[Any] = table.indices.astype(np.uint16) if fits else table.indices
    return replace(table, images=(), missing=(), indices=indices)


def _values(table: ScoreTable, label: int) -> NDArray[np.float32]:
    """float32 [images of the table] of one label, 0 under the floor."""
    hits = np.flatnonzero(table.indices == label)
    found = np.zeros(len(table.offsets) - 1, np.float32)
    found[np.searchsorted(table.offsets, hits, "right") - 1] = table.values[hits]
    return found


def _lowest(
    table: ScoreTable,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    images: NDArray[np.int64],
    found: NDArray[np.float32],
) -> None:
    """Puts the least score of these labels of these rows of the table where their images are."""
    if not len(rows):
        return
    width = len(table.labels)
    lengths = np.diff(table.offsets)
    stored = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths) * width + table.indices
    keys = rows * width + labels
    at = np.minimum(np.searchsorted(stored, keys), max(0, len(stored) - 1))
    values = np.zeros(len(keys), np.float32)
    if len(stored):
        hits = stored[at] == keys
        values[hits] = table.values[at[hits]]
    starts = np.flatnonzero(np.concatenate([np.ones(1, np.bool_), images[1:] != images[:-1]]))
    found[images[starts]] = np.minimum.reduceat(values, starts)


@functools.cache
def _rating(name: str) -> str:
    """`rating:explicit` and `explicit` are the same word; `safe` is what some models call general."""
    word = name.casefold().rpartition(":")[2].strip()
    return {"safe": "general", "g": "general", "s": "sensitive", "q": "questionable", "e": "explicit"}.get(word, word)
