"""How the outputs of a model are written: underscores, replacements, expanded characters, tags that nobody wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

from core.dataset.kaomoji import KAOMOJI
from core.tagging.cleaning import TagSet
from core.tagging.labels import Category, LabelSet
from core.tagging.options import CaptionOptions, parse_replacements, split_list

_EXPANDABLE = re.compile(r"(?P<name>.*[^_( ])_*\((?P<series>[^()]+)\)")


@dataclass(frozen=True, slots=True)
class Label:
    """One output as it will be written: one part, or several when a character tag is expanded, or none (unwanted)."""

    category: Category
    parts: tuple[str, ...]


class Spelled:
    """All labels of a model as they are written, in its order."""

    def __init__(self, labels: list[Label]) -> None:
        self.labels = labels
        self.parts: list[tuple[str, ...]] = [label.parts for label in labels]
        self._only = [parts[0] if len(parts) == 1 else None for parts in self.parts]
        texts = list(chain.from_iterable(self.parts))
        self.is_unique = len(set(texts)) == len(texts)
        """No two labels are written alike."""

    def parts_of(self, labels: Sequence[int]) -> list[str]:
        """What some labels are written as, one after the other."""
        only = self._only
        found = [only[index] for index in labels]  # a quarter of the cost where every label is one tag
        if None in found:
            return list(chain.from_iterable(map(self.parts.__getitem__, labels)))
        return cast("list[str]", found)


def fold(tag: str) -> str:
    """What two spellings of a tag have in common: underscores are spaces."""
    return tag.replace("_", " ")


def spelling_of(options: CaptionOptions) -> CaptionOptions:
    """The options that decide what a label is written as, all others at their defaults."""
    return CaptionOptions(
        remove_underscore=options.remove_underscore,
        undesired_tags=options.undesired_tags,
        caption_separator=options.caption_separator,
        tag_replacement=options.tag_replacement,
        character_tag_expand=options.character_tag_expand,
        sd_compat=options.sd_compat,
    )


def rewrite(
    labels: LabelSet, options: CaptionOptions, blacklisted: Sequence[TagSet], *, by_probability: bool
) -> list[Label]:
    """Every label as `options` want it written, those in the sets `blacklisted` without any part."""

    def is_unwanted(tag: str) -> bool:
        return any(each.holds(tag) for each in blacklisted)

    if options.sd_compat:
        return _as_sd_scripts(labels, options, is_unwanted, by_probability)
    undesired = {fold(tag) for tag in split_list(options.undesired_tags, options.caption_separator)}
    replacements = {fold(source): target for source, target in parse_replacements(options.tag_replacement)}
    result = []
    is_any_kept = not (undesired or replacements or blacklisted)
    for name, category in zip(labels.names, labels.categories, strict=True):
        if is_any_kept and name and not (options.character_tag_expand and category is Category.CHARACTER):
            result.append(Label(category, (_without_underscores(name) if options.remove_underscore else name,)))
            continue
        whole = replacements.get(fold(name))
        if whole is not None:
            parts: Iterable[str] = (whole,)
        elif not name or fold(name) in undesired or is_unwanted(name):
            parts = ()
        else:
            parts = _expanded(name) if options.character_tag_expand and category is Category.CHARACTER else (name,)
            if options.remove_underscore:
                parts = [_without_underscores(part) for part in parts]
            parts = [replacements.get(fold(part), part) for part in parts]
        kept = tuple(part for part in parts if part and fold(part) not in undesired and not is_unwanted(part))
        result.append(Label(category, kept))
    return result


def _without_underscores(tag: str) -> str:
    return tag if tag in KAOMOJI else tag.replace("_", " ")


def _expanded(name: str) -> tuple[str, ...]:
    """`saber_(fate)` as `saber`, `fate`; `rin_(bow)_(fate)` as `rin_(bow)`, `fate`; other names as they are."""
    found = _EXPANDABLE.fullmatch(name)
    return (found["name"], found["series"].strip()) if found else (name,)


def _as_sd_scripts(
    labels: LabelSet, options: CaptionOptions, is_unwanted: Callable[[str], bool], by_probability: bool
) -> list[Label]:
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
        result.append(Label(category, () if not text or text in undesired or is_unwanted(name) else (text,)))
    return result
