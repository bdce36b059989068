"""Which scores are high enough: thresholds of categories and of single tags, the author's own, and adaptive ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.dataset.captions import tag_key
from core.tagging.cleaning import parse_tag_thresholds
from core.tagging.labels import Category, LabelSet
from core.tagging.options import CaptionOptions
from core.tagging.scores import FLOOR

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel
    from core.tagging.score_table import ScoreTable

CHARACTER_MCUT_FLOOR = 0.15
"""MCut never goes lower for characters (dghs-imgutils, imgutils/tagging/wd14.py, after the WD models' author)."""
PLACED = (Category.RATING, Category.QUALITY)
"""One of each at most, chosen by the highest score and placed by an option; no threshold makes them a tag."""
_CATEGORIES = (
    Category.GENERAL,
    Category.CHARACTER,
    Category.COPYRIGHT,
    Category.META,
    Category.MODEL,
    Category.ARTIST,
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A category with an adaptive threshold: which labels count, and which of them it decides."""

    category: Category
    members: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    count: int
    minimum: float

    @classmethod
    def of(cls, categories: NDArray[np.intp], category: Category, own: Collection[int], minimum: float) -> Cut:
        members = categories == category
        decided = members.copy()
        decided[list(own)] = False
        return cls(category, members, decided, int(members.sum()), minimum)

    def thresholds(
        self, indices: NDArray[np.integer], values: NDArray[np.float32], owners: NDArray[np.integer], images: int
    ) -> NDArray[np.float64]:
        """One threshold per image, from the labels, scores and images of all scores from the floor upwards."""
        mine = self.members[indices]
        return np.maximum(mcut(values[mine], owners[mine], images, self.count), self.minimum)


class Thresholds:
    """What `options` ask of the scores of one model."""

    def __init__(
        self,
        labels: LabelSet,
        options: CaptionOptions,
        published: Mapping[str, float] | None,
        categories: NDArray[np.intp],
    ) -> None:
        """`published`: the author's thresholds by the word of the category, for `options.author_thresholds`; those of
        single tags are in the labels and come before them. `categories`: those of the labels, as numbers.

        Raises UserError for a malformed threshold of a tag.
        """
        by_author = (published or {}) if options.author_thresholds else {}
        by_category = {category: _threshold(options, category, by_author) for category in _CATEGORIES}
        of_category = np.full(max(Category) + 1, np.inf, np.float32)
        for category, value in by_category.items():
            of_category[category] = value
        self.floors: NDArray[np.float32] = of_category[categories]
        """float32 [labels]: the lowest score with which each is written; infinite for one that never is."""
        if options.author_thresholds and labels.thresholds is not None:
            for index, (category, by_tag) in enumerate(zip(labels.categories, labels.thresholds, strict=True)):
                if by_tag is not None and category in by_category and _own(options, category) is None:
                    self.floors[index] = by_tag
        own = parse_tag_thresholds(options.tag_thresholds)
        at = {key: index for index, name in enumerate(labels.names) if own and (key := tag_key(name)) in own}
        for name, index in at.items():
            if labels.categories[index] not in PLACED:
                self.floors[index] = own[name]
        self.unknown = tuple(name for name in own if name not in at)
        """Tags of `tag_thresholds` that the model does not have."""
        # Ratings and qualities pass any threshold in CSV models; in cl_tagger's format the lowest of all thresholds
        # holds.
        self.placed_floor = float(np.float32(min(*by_category.values(), options.thresh)))
        self._cuts = [
            Cut.of(categories, category, tuple(at.values()), minimum)
            for category, is_asked, minimum in (
                (Category.GENERAL, options.general_mcut, FLOOR),
                (Category.CHARACTER, options.character_mcut, CHARACTER_MCUT_FLOOR),
            )
            if is_asked and by_category[category] <= 1
        ]
        free = np.ones(len(categories), np.bool_)
        for each in self._cuts:
            free &= ~each.decided
        lowest = float(str(self.floors[free].min(initial=np.inf)))  # 0.01, not float32's 0.0099999998
        self.lowest = min([lowest, *(each.minimum for each in self._cuts)])
        """The lowest threshold in force: stored scores answer for the model down to their own floor."""

    def passing(self, scores: NDArray[np.float32]) -> NDArray[np.intp]:
        """The labels of one image whose score is high enough. `scores`: float32 [labels], probabilities."""
        if not self._cuts:
            return np.flatnonzero(scores >= self.floors)
        kept = np.flatnonzero(scores >= FLOOR)
        limits = self.floors.astype(np.float64)
        for each in self._cuts:
            limits[each.decided] = each.thresholds(kept, scores[kept], np.zeros(len(kept), np.intp), 1)[0]
        return np.flatnonzero(scores >= limits)

    def passing_of(self, table: ScoreTable) -> NDArray[np.intp]:
        """Positions in the table's `indices` and `values` of the scores that are high enough for their image."""
        limits: NDArray[np.floating] = self.floors[table.indices]
        for each in self._cuts:
            found = table.memo.get(each.category)
            if found is None:
                found = each.thresholds(table.indices, table.values, table.owners, len(table.images))
                table.memo[each.category] = found
            limits = np.where(each.decided[table.indices], found[table.owners], limits)
        return np.flatnonzero(table.values >= limits)


def author_thresholds(model: TaggerModel) -> dict[str, float]:
    """What the model's author published, by the word of the category; the one for all where there is no other."""
    everywhere = {} if model.threshold is None else {category.word: model.threshold for category in _CATEGORIES}
    return everywhere | dict(model.thresholds)


def mcut(values: NDArray[np.float32], owners: NDArray[np.integer], images: int, labels: int) -> NDArray[np.float64]:
    """One threshold per image: the middle of the largest gap between its scores of one category (Largeron, Moulin and
    Gery, MCut, IDA 2012; `_mcut_threshold` in imgutils/tagging/wd14.py). Infinite where there is no gap.

    `values` are the scores from the floor upwards, `owners` their images; of the `labels` of the category those that
    are not among them count as 0, so that stored scores give the threshold that the whole row gives.
    """
    thresholds = np.full(images, np.inf)
    if not len(values):
        return thresholds
    # Images in order, scores falling: apart by 2, no two images mix, and float64 keeps float32 apart up to 2^22 images.
    order = np.argsort(owners * 2.0 - values)
    owners, scores = owners[order], values[order].astype(np.float64)
    is_last = np.append(owners[1:] != owners[:-1], True)
    below = np.where(is_last, 0.0, np.append(scores[1:], 0.0))
    gaps = scores - below
    counts = np.bincount(owners, minlength=images)
    gaps[is_last & (counts[owners] == labels)] = -1.0
    starts = np.flatnonzero(np.append(True, is_last[:-1]))
    largest = np.repeat(np.maximum.reduceat(gaps, starts), counts[counts > 0])
    found = np.flatnonzero((gaps == largest) & (gaps > 0))[::-1]  # backwards: the highest of equal gaps is kept
    thresholds[owners[found]] = (scores[found] + below[found]) / 2
    return thresholds


def _own(options: CaptionOptions, category: Category) -> float | None:
    value: float | None = getattr(options, f"{category.word}_threshold")
    return value


def _threshold(options: CaptionOptions, category: Category, published: Mapping[str, float]) -> float:
    """The threshold of a category: its own option, what the author published, `thresh`."""
    own = _own(options, category)
    return published.get(category.word, options.thresh) if own is None else own
