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
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.tagging.labels import Category, LabelSet
from core.tagging.options import CaptionOptions, parse_replacements, split_list

KAOMOJI = frozenset(
    {"0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^"}
    | {"o_o", "u_u", "x_x", "|_|", "||_||"}
)
"""Emoticons that keep their underscore (the list of the WD models' author and of taggui)."""
_PLACED = (Category.RATING, Category.QUALITY)
"""One of each at most, chosen by the highest score and placed by an option."""


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
class _Label:
    """One output as it will be written: one part, or several when a character tag is expanded, or none (unwanted)."""

    category: Category
    parts: tuple[str, ...]


class Captioner:
    """Turns score rows into tags. Everything that does not depend on the image is computed once, here."""

    def __init__(self, labels: LabelSet, options: CaptionOptions, *, by_probability: bool = False) -> None:
        """`by_probability`: the order of cl_tagger's format (highest first) instead of the model's own order."""
        self._options = options
        self._by_probability = by_probability
        rewrite = _rewrite_as_sd_scripts if options.sd_compat else _rewrite
        self._labels = rewrite(labels, options, by_probability)
        self._floors = np.array([_threshold(options, category) for category in labels.categories], np.float32)
        # Ratings and qualities pass any threshold in CSV models; in cl_tagger's format the lowest of all thresholds
        # holds.
        lowest = min(_threshold(options, category) for category in _THRESHOLDS)
        self._placed_floor = min(lowest, options.thresh)
        self._placed = {
            category: np.array([i for i, c in enumerate(labels.categories) if c is category], np.intp)
            for category in _PLACED
        }
        self._first = _first_tags(options)

    def tags(self, scores: NDArray[np.float32]) -> Tags:
        """The tags of one image. `scores`: float32 [len(labels)], probabilities."""
        options = self._options
        chosen = np.flatnonzero(scores >= self._floors)
        if self._by_probability:
            ranked = chosen[np.argsort(-scores[chosen], kind="stable")]
        else:
            ranked = chosen
        characters: list[str] = []
        others: list[str] = []
        for index in ranked:
            label = self._labels[index]
            if options.character_tags_first and label.category is Category.CHARACTER:
                characters.extend(label.parts)
            else:
                others.extend(label.parts)
        if options.sd_compat and not self._by_probability:
            characters.reverse()
        combined = characters + others
        counted = [part for index in chosen for part in self._labels[index].parts]
        quality = self._best(scores, Category.QUALITY)
        rating = self._best(scores, Category.RATING)
        if quality is not None:
            _place(combined, quality, options.use_quality_tags, options.use_quality_tags_as_last_tag, True)
        if rating is not None:
            last_wins = self._by_probability
            _place(combined, rating, options.use_rating_tags, options.use_rating_tags_as_last_tag, last_wins)
            if not self._by_probability and (options.use_rating_tags or options.use_rating_tags_as_last_tag):
                counted.append(rating)
        if not options.sd_compat:
            combined = list(dict.fromkeys(combined))
            counted = list(dict.fromkeys(counted))
        combined = self._first_moved(combined)
        groups = self._groups(chosen, rating) if options.debug else ()
        return Tags(tuple(combined), tuple(counted), groups)

    def caption(self, scores: NDArray[np.float32]) -> str:
        """The tags joined by the separator, without a line end."""
        return self._options.caption_separator.join(self.tags(scores).tags)

    def _best(self, scores: NDArray[np.float32], category: Category) -> str | None:
        """The rating (quality) with the highest score; None when it is undesired or nothing of that kind passes."""
        columns = self._placed[category]
        if self._by_probability:
            wanted = [i for i in columns if self._labels[i].parts and scores[i] >= self._placed_floor]
            columns = np.array(wanted, np.intp)
        if not len(columns):
            return None
        parts = self._labels[columns[int(scores[columns].argmax())]].parts
        return parts[0] if parts else None

    def _first_moved(self, combined: list[str]) -> list[str]:
        if self._options.sd_compat:
            for tag in self._first:
                if tag in combined:
                    combined.remove(tag)
                    combined.insert(0, tag)
            return combined
        if not self._first:
            return combined
        rank = {_fold(tag): number for number, tag in reversed(list(enumerate(self._first)))}
        return sorted(combined, key=lambda tag: rank.get(_fold(tag), len(rank)))

    def _groups(self, chosen: NDArray[np.intp], rating: str | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
        groups: dict[str, list[str]] = {
            "rating": [rating] if rating else [],
            "character": [],
            "general": [],
            "other": [],
        }
        for index in chosen:
            label = self._labels[index]
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
    known = {_fold(tag) for tag in kept}
    return [*kept, *(tag for tag in new if _fold(tag) not in known)]


_THRESHOLDS = (
    Category.GENERAL,
    Category.CHARACTER,
    Category.COPYRIGHT,
    Category.META,
    Category.MODEL,
    Category.ARTIST,
)


def _threshold(options: CaptionOptions, category: Category) -> float:
    """The threshold of a category; tags of a kind that has none are never written."""
    own = {
        Category.GENERAL: options.general_threshold,
        Category.CHARACTER: options.character_threshold,
        Category.COPYRIGHT: options.copyright_threshold,
        Category.META: options.meta_threshold,
        Category.MODEL: options.model_threshold,
        Category.ARTIST: options.artist_threshold,
    }
    if category not in own:
        return float("inf")
    value = own[category]
    return options.thresh if value is None else value


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


def _fold(tag: str) -> str:
    """What two spellings of a tag have in common: underscores are spaces."""
    return tag.replace("_", " ")


def _without_underscores(tag: str) -> str:
    return tag if tag in KAOMOJI else tag.replace("_", " ")


_EXPANDABLE = re.compile(r"(?P<name>.*[^_( ])_*\((?P<series>[^()]+)\)")


def _expanded(name: str) -> tuple[str, ...]:
    """`saber_(fate)` as `saber`, `fate`; `rin_(bow)_(fate)` as `rin_(bow)`, `fate`; other names as they are."""
    found = _EXPANDABLE.fullmatch(name)
    return (found["name"], found["series"].strip()) if found else (name,)


def _rewrite(labels: LabelSet, options: CaptionOptions, _by_probability: bool) -> list[_Label]:
    undesired = {_fold(tag) for tag in split_list(options.undesired_tags, options.caption_separator)}
    replacements = {_fold(source): target for source, target in parse_replacements(options.tag_replacement)}
    result = []
    for name, category in zip(labels.names, labels.categories, strict=True):
        whole = replacements.get(_fold(name))
        if whole is not None:
            parts: Iterable[str] = (whole,)
        elif not name or _fold(name) in undesired:
            parts = ()
        else:
            parts = _expanded(name) if options.character_tag_expand and category is Category.CHARACTER else (name,)
            if options.remove_underscore:
                parts = [_without_underscores(part) for part in parts]
            parts = [replacements.get(_fold(part), part) for part in parts]
        result.append(_Label(category, tuple(part for part in parts if part and _fold(part) not in undesired)))
    return result


def _rewrite_as_sd_scripts(labels: LabelSet, options: CaptionOptions, by_probability: bool) -> list[_Label]:
    """sd-scripts' order of steps: expand first in CSV models, last in cl_tagger's format; undesired tags at the end."""
    separator = options.caption_separator
    splitter = separator.strip() or ","
    undesired = {tag.strip() for tag in options.undesired_tags.split(splitter) if tag.strip()}
    replacements = parse_replacements(options.tag_replacement)

    def expand(name: str) -> str:
        if not name.endswith(")"):
            return name
        pieces = name.split("(")
        return "(".join(pieces[:-1]).removesuffix("_") + separator + pieces[-1].replace(")", "")

    def rewritten(name: str, category: Category) -> str:
        expandable = options.character_tag_expand and category is Category.CHARACTER
        if expandable and not by_probability:
            name = expand(name)
        if options.remove_underscore and len(name) > 3:
            name = name.replace("_", " ")
        if by_probability and replacements:
            name = replacements[-1][1]
        return expand(name) if expandable and by_probability else name

    result = []
    for name, category in zip(labels.names, labels.categories, strict=True):
        text = rewritten(name, category) if name else ""
        result.append(_Label(category, () if not text or text in undesired else (text,)))
    return result
