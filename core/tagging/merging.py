"""The tags of several models of one pass, made one caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.dataset.captions import tag_key
from core.tagging.captioning import Captioner, Picked, Tags
from core.tagging.cleaning import overlapped
from core.tagging.labels import Category

if TYPE_CHECKING:
    from core.tagging.score_table import ScoreTable


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    category: Category
    score: float
    is_general: bool
    """Whether a general label gives it, perhaps beside another one: a replaced tag may be the part of a character."""


class PassCaptioner:
    """One captioner a model, in the order of the models, and how their tags are merged.

    `union`: the tags of any, `intersection`: those that all have, `subtract`: those of the first that no other has; a
    tag that a model does not know it does not have. The first model's order holds, new ones follow; a tag has its
    highest score. Rating and quality are those of the first model that gives one.
    """

    def __init__(self, captioners: Sequence[Captioner], merge: str = "union") -> None:
        self.captioners = tuple(captioners)
        self.merge = merge

    @property
    def lowest(self) -> float:
        """The lowest threshold of any model."""
        return min(captioner.lowest for captioner in self.captioners)

    def tags(self, rows: Sequence[NDArray[np.float32]]) -> Tags:
        """The tags of one image. `rows`: one float32 row of probabilities per model."""
        return self._merged([each.pick(row) for each, row in zip(self.captioners, rows, strict=True)])

    def each(self, tables: Sequence[ScoreTable]) -> Iterator[Tags]:
        """The tags of every image of the tables, which hold the same images in the same order, one table a model."""
        picks = (captioner.picks(table) for captioner, table in zip(self.captioners, tables, strict=True))
        return map(self._merged, zip(*picks, strict=True))

    def _merged(self, picked: Sequence[Picked]) -> Tags:
        first = self.captioners[0]
        if len(picked) == 1:
            return first.written(picked[0])
        options = first.options
        found = [_entries(captioner, each) for captioner, each in zip(self.captioners, picked, strict=True)]
        merged = found[0]
        for other in found[1:]:
            if self.merge == "union":
                merged = merged | {
                    key: replace(old, score=max(old.score, entry.score)) if old else entry
                    for key, entry in other.items()
                    for old in (merged.get(key),)
                }
            else:
                is_kept = self.merge == "intersection"
                merged = {key: entry for key, entry in merged.items() if (key in other) is is_kept}
        entries = list(merged.values())
        if options.tag_order == "score":
            entries.sort(key=lambda entry: -entry.score)
        elif options.tag_order == "name":
            entries.sort(key=lambda entry: entry.text)
        if options.character_tags_first:
            entries.sort(key=lambda entry: entry.category is not Category.CHARACTER)
        if options.drop_overlap:
            dropped = overlapped(entry.text for entry in entries if entry.is_general)
            entries = [entry for entry in entries if entry.text not in dropped]
        combined = [entry.text for entry in entries]
        rating = next((each.rating for each in picked if each.rating), None)
        quality = next((each.quality for each in picked if each.quality), None)
        groups = _groups(entries, rating) if options.debug else ()
        return first.finished(combined, list(combined), Picked((), (), (), rating, quality), groups)


def _entries(captioner: Captioner, picked: Picked) -> dict[str, _Entry]:
    score = dict(zip(picked.chosen, picked.scores, strict=True))
    found: dict[str, _Entry] = {}
    for index in picked.ranked:
        label = captioner.labels[index]
        for part in label.parts:
            is_general = label.category is Category.GENERAL
            entry = found.setdefault(key := tag_key(part), _Entry(part, label.category, score[index], is_general))
            if is_general and not entry.is_general:
                found[key] = replace(entry, is_general=True)
    return found


def _groups(entries: Sequence[_Entry], rating: str | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups: dict[str, list[str]] = {"rating": [rating] if rating else [], "character": [], "general": [], "other": []}
    for entry in entries:
        groups.get(entry.category.word, groups["other"]).append(entry.text)
    return tuple((word, tuple(texts)) for word, texts in groups.items())
