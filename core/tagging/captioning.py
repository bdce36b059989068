"""From a row of scores to the text of a caption: every option of sd-scripts' tagger.

Two behaviours. The default is what a reader of sd-scripts' help expects. `sd_compat` gives the old text, letter for
letter, where sd-scripts at commit 48d368fa does something else:

| | sd-scripts (`sd_compat`) | here |
|---|---|---|
| `remove_underscore` | every tag of more than 3 letters | every tag but the 19 emoticons of `KAOMOJI` |
| `undesired_tags` | compared after underscores were removed | underscores are spaces; parts of an expanded tag count |
| `character_tags_first` (CSV models) | several characters in reverse | the model's order |
| `always_first_tags` | in reverse, ` 1boy` after a comma never matches | the listed order |
| `tag_replacement` | nothing (CSV models), or every tag becomes the last target | replaces |
| `character_tag_expand` | repeats the series, `(x)` becomes `, x`, `name , series` | each part once, never empty |
| `append_tags` | further lines stay inside a tag | a line end separates tags |

A comma inside a tag name is written as it is, as sd-scripts does: every reader splits there.

Captions from stored scores (core.tagging.scores) are those from the model's whole row, letter by letter, as long as no
threshold lies under the floor that the scores were kept from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.tagging.cleaning import find_sets, overlapped
from core.tagging.labels import Category, LabelSet
from core.tagging.options import CaptionOptions, split_list
from core.tagging.spelling import Spelled, fold, rewrite, spelling_of
from core.tagging.thresholds import PLACED, Thresholds

if TYPE_CHECKING:
    from core.tagging.score_table import ScoreTable


@dataclass(frozen=True, slots=True)
class Tags:
    """What one image got. `tags` in the caption's order; `counted` what a frequency table counts, in the model's
    order.
    """

    tags: tuple[str, ...]
    counted: tuple[str, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """By kind (`rating`, `character`, `general`, `other`), for `--debug`."""


@dataclass(frozen=True, slots=True)
class Picked:
    """What one model says of one image, before it is put in a row: labels by index in the caption's order and in the
    model's, their scores beside the latter, and the rating and quality where the options ask for them.
    """

    ranked: Sequence[int]
    chosen: Sequence[int]
    scores: Sequence[float]
    rating: str | None
    quality: str | None


class Captioner:
    """Turns the scores of one model into tags. Everything that does not depend on the image is computed once, here."""

    def __init__(
        self,
        labels: LabelSet,
        options: CaptionOptions,
        *,
        by_probability: bool = False,
        thresholds: Mapping[str, float] | None = None,
        like: Captioner | None = None,
    ) -> None:
        """`by_probability`: the order of cl_tagger's format (highest first) instead of the model's own order.
        `thresholds`: the author's, by the word of the category (`author_thresholds`), for that option. `like`: one of
        the same model, whose spelling is taken over where the options leave it as it is.

        Raises UserError for a blacklist that there is not and for a malformed threshold of a tag.
        """
        self.options = options
        self.by_probability = by_probability
        self._known = labels
        self._published = thresholds
        self._blacklisted = tuple(find_sets(options.blacklist))
        self._categories: NDArray[np.intp] = like._categories if like else np.array(labels.categories, np.intp)
        categories = self._categories
        self.thresholds = Thresholds(labels, options, thresholds, categories)
        kept: Spelled | None = like._spelled if like and like._is_spelled_as(self) else None
        self._spelled: Spelled = kept or Spelled(
            rewrite(labels, options, self._blacklisted, by_probability=by_probability)
        )
        self.labels = self._spelled.labels
        """The outputs as they are written, in the model's order."""
        self.placed = {category: np.flatnonzero(categories == category) for category in PLACED}
        """The labels that are ratings and qualities."""
        is_rated = options.use_rating_tags or options.use_rating_tags_as_last_tag or options.debug
        is_judged = options.use_quality_tags or options.use_quality_tags_as_last_tag
        self._asked = tuple(
            category for category, is_asked in zip(PLACED, (is_rated, is_judged), strict=True) if is_asked
        )
        self._first = _first_tags(options)

    def retuned(self, options: CaptionOptions) -> Captioner:
        """The same model under other options; cheap when they differ in thresholds and order only."""
        return Captioner(
            self._known, options, by_probability=self.by_probability, thresholds=self._published, like=self
        )

    def _is_spelled_as(self, other: Captioner) -> bool:
        return spelling_of(self.options) == spelling_of(other.options) and self._blacklisted == other._blacklisted

    @property
    def lowest(self) -> float:
        """The lowest threshold in force: stored scores answer for the model down to their own floor."""
        return self.thresholds.lowest

    @property
    def unknown(self) -> tuple[str, ...]:
        """Tags of `tag_thresholds` that the model does not have."""
        return self.thresholds.unknown

    def tags(self, scores: NDArray[np.float32]) -> Tags:
        """The tags of one image. `scores`: float32 [len(labels)], probabilities."""
        return self.written(self.pick(scores))

    def each(self, table: ScoreTable) -> Iterator[Tags]:
        """The tags of every image of a table of this model's scores, in its order: `tags` at a fraction of its cost."""
        return map(self.written, self.picks(table))

    def caption(self, scores: NDArray[np.float32]) -> str:
        """The tags joined by the separator, without a line end."""
        return self.options.caption_separator.join(self.tags(scores).tags)

    def pick(self, scores: NDArray[np.float32]) -> Picked:
        """What the model says of one image. `scores`: float32 [len(labels)], probabilities."""
        chosen = self.thresholds.passing(scores)
        placed = {category: scores[self.placed[category]].tolist() for category in self._asked}
        return self._picked(chosen.tolist(), scores[chosen].tolist(), placed)

    def picks(self, table: ScoreTable) -> Iterator[Picked]:
        """`pick` for every image of a table, in its order."""
        passing = self.thresholds.passing_of(table)
        ends = np.searchsorted(passing, table.offsets).tolist()
        chosen, scores = table.indices[passing].tolist(), table.values[passing].tolist()
        placed = {category: table.dense(self.placed[category]).tolist() for category in self._asked}
        for at in range(len(table.images)):
            mine = slice(ends[at], ends[at + 1])
            yield self._picked(chosen[mine], scores[mine], {category: rows[at] for category, rows in placed.items()})

    def best(self, category: Category, scores: Sequence[float]) -> int | None:
        """The label of the rating (quality) with the highest of `scores`, those of `placed[category]` in order; None
        when nothing of that kind passes. Its parts are empty when it is undesired.
        """
        columns = self.placed[category]
        at: Iterable[int] = range(len(columns))
        if self.by_probability:
            floor = self.thresholds.placed_floor
            at = [i for i in at if self.labels[columns[i]].parts and scores[i] >= floor]
        found = max(at, key=scores.__getitem__, default=None)
        return None if found is None else int(columns[found])

    def written(self, picked: Picked) -> Tags:
        """The tags of one image in the caption's order."""
        options, labels = self.options, self.labels
        others: list[str] = []
        characters: list[str] = []
        if options.character_tags_first:
            for index in picked.ranked:
                label = labels[index]
                (characters if label.category is Category.CHARACTER else others).extend(label.parts)
            if options.sd_compat and not self.by_probability and options.tag_order == "auto":
                characters.reverse()
        else:
            others = self._spelled.parts_of(picked.ranked)
        combined = characters + others
        is_plain = picked.chosen is picked.ranked and not characters
        counted = combined if is_plain else self._spelled.parts_of(picked.chosen)
        if options.drop_overlap:
            general = (labels[index] for index in picked.chosen)
            dropped = overlapped(part for each in general if each.category is Category.GENERAL for part in each.parts)
            combined = [tag for tag in combined if tag not in dropped]
            counted = combined if is_plain else [tag for tag in counted if tag not in dropped]
        groups = self._groups(picked) if options.debug else ()
        return self.finished(combined, counted, picked, groups)

    def finished(
        self, combined: list[str], counted: list[str], picked: Picked, groups: tuple[tuple[str, tuple[str, ...]], ...]
    ) -> Tags:
        """With the rating, the quality and the tags that always come first in their places."""
        options, rating = self.options, picked.rating
        is_same = counted is combined and rating is None and picked.quality is None
        if counted is combined and not is_same:
            counted = list(combined)
        if picked.quality is not None:
            _place(combined, picked.quality, options.use_quality_tags, options.use_quality_tags_as_last_tag, True)
        if rating is not None:
            last_wins = self.by_probability
            _place(combined, rating, options.use_rating_tags, options.use_rating_tags_as_last_tag, last_wins)
            if not self.by_probability and (options.use_rating_tags or options.use_rating_tags_as_last_tag):
                counted.append(rating)
        if not options.sd_compat and not (is_same and self._spelled.is_unique):
            combined = list(dict.fromkeys(combined))
            counted = combined if is_same else list(dict.fromkeys(counted))
        found = tuple(counted)
        if self._first:
            return Tags(tuple(self._first_moved(combined)), found, groups)
        return Tags(found if is_same else tuple(combined), found, groups)

    def _picked(
        self, chosen: Sequence[int], scores: Sequence[float], placed: Mapping[Category, Sequence[float]]
    ) -> Picked:
        order = self.options.tag_order
        ranked = chosen
        if order == "score" or (order == "auto" and self.by_probability):
            ranked = [chosen[i] for i in sorted(range(len(chosen)), key=lambda i: -scores[i])]
        elif order == "name":
            ranked = sorted(chosen, key=lambda index: self.labels[index].parts)
        words: dict[Category, str] = {}
        for category, values in placed.items():
            at = self.best(category, values)
            if at is not None and self.labels[at].parts:
                words[category] = self.labels[at].parts[0]
        return Picked(ranked, chosen, scores, words.get(Category.RATING), words.get(Category.QUALITY))

    def _first_moved(self, combined: list[str]) -> list[str]:
        if self.options.sd_compat:
            for tag in self._first:
                if tag in combined:
                    combined.remove(tag)
                    combined.insert(0, tag)
            return combined
        if not self._first:
            return combined
        rank = {fold(tag): number for number, tag in reversed(list(enumerate(self._first)))}
        return sorted(combined, key=lambda tag: rank.get(fold(tag), len(rank)))

    def _groups(self, picked: Picked) -> tuple[tuple[str, tuple[str, ...]], ...]:
        groups: dict[str, list[str]] = {
            "rating": [picked.rating] if picked.rating else [],
            "character": [],
            "general": [],
            "other": [],
        }
        for index in picked.chosen:
            label = self.labels[index]
            groups.get(label.category.word, groups["other"]).extend(label.parts)
        return tuple((word, tuple(parts)) for word, parts in groups.items())


def merge_existing(old: str, new: Sequence[str], options: CaptionOptions) -> list[str]:
    """`append_tags`: the tags of the caption `old`, then those of `new` that it has not.

    A line end separates tags, and underscores and spaces are the same; with `sd_compat` neither.
    """
    splitter = options.caption_separator.strip() or ","
    if options.sd_compat:
        kept = [tag.strip() for tag in old.strip("\n").split(splitter) if tag.strip()]
        return [*kept, *(tag for tag in new if tag not in kept)]
    kept = [tag.strip() for line in old.splitlines() for tag in line.split(splitter) if tag.strip()]
    known = {fold(tag) for tag in kept}
    return [*kept, *(tag for tag in new if fold(tag) not in known)]


def _place(combined: list[str], tag: str, first: bool, last: bool, last_wins: bool) -> None:
    if last and (last_wins or not first):
        combined.append(tag)
    elif first:
        combined.insert(0, tag)


def _first_tags(options: CaptionOptions) -> list[str]:
    if options.always_first_tags is None:
        return []
    if options.sd_compat:
        splitter = options.caption_separator.strip() or ","
        return [tag for tag in options.always_first_tags.split(splitter) if tag.strip()]
    return split_list(options.always_first_tags, options.caption_separator)
