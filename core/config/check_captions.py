"""Checks of captions as the trainer would read them (train_util.py, `read_caption`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from core.config.check_options import error, first_names, warning
from core.config.survey import BLANK, EMPTY, FOREIGN, MARK, MISSING, SEVERAL, STRANGE, Captions, FolderFacts
from core.config.values import shown
from core.dataset import captions
from core.problems import Problem
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.workspace import Workspace

_TOKENS_AT_MOST = 20_000
"""Captions whose tokens are counted; beyond, counting would take seconds."""
_CHOICE = re.compile(r"\{[^{}]*\|[^{}]*\}")


def check_captions(
    facts: FolderFacts,
    known: Captions,
    values: Mapping[str, Any],
    workspace: Workspace,
    train: Mapping[str, Any],
    trigger: str | None = None,
) -> Iterator[Problem]:
    """The caption files of one folder as the trainer would read them (train_util.py, `read_caption`)."""
    where = workspace.key_of(facts.path)
    strange = (
        [facts.images[at] for at, fault in enumerate(known.faults) if fault & STRANGE] if any(known.faults) else []
    )
    if strange:
        message = f"{count_of(len(strange), 'picture')} without a caption take that of another: {first_names(strange)}"
        hint = "Give them captions of their own: four parts are cut off a name with many underscores."
        yield warning("KT135", where, message, hint)
    yield from _marks(where, facts, known, values)
    yield from _missing(where, facts, known, values)
    for code, (fault, is_error, message, hint) in _FAULTS.items():
        if code == "KT128" and values.get("enable_wildcard"):
            continue
        names = known.with_fault(facts.images, fault)
        if names:
            make = error if is_error else warning
            yield make(code, where, f"{count_of(len(names), 'caption')} {message}: {first_names(names)}", hint)
    yield from _shuffle(where, known, values)
    if trigger:
        without = known.remembered(("trigger", trigger), lambda: _without_trigger(facts, known, trigger))
        if without:
            hint = f"Put it first everywhere: kohya-tui trigger DATASET '{trigger}'"
            message = f"{count_of(len(without), 'caption')} without {printable(trigger)} as the first tag"
            yield warning("KT134", where, f"{message}: {first_names(without)}", hint)
    yield from _tokens(where, facts, known, train)


def _readable(facts: FolderFacts, known: Captions) -> Iterator[tuple[str, str]]:
    """(name of the caption file, first line) of every caption that can be read."""
    none, extension = MISSING | EMPTY | FOREIGN | STRANGE, known.extension
    for name, line, fault in zip(facts.images, known.lines, known.faults, strict=True):
        if not fault & none:
            yield name[: name.rindex(".")] + extension, line


def _without_trigger(facts: FolderFacts, known: Captions, trigger: str) -> list[str]:
    wanted = [captions.tag_key(tag) for tag in captions.split(trigger)]
    start = f"{trigger},"
    return [
        name
        for name, line in _readable(facts, known)
        if not line.startswith(start)
        and [captions.tag_key(tag) for tag in captions.split(line)[: len(wanted)]] != wanted
    ]


_FAULTS: dict[str, tuple[int, bool, str, str]] = {
    "KT124": (
        *(EMPTY, True),
        *("with nothing in it, at which the trainer stops", "Tag them again, or delete the empty files."),
    ),
    "KT126": (FOREIGN, True, "not in UTF-8, at which the trainer stops", "Save them as UTF-8."),
    "KT125": (
        *(BLANK, False),
        *("whose first line is blank: they train without a caption", "Put the tags on the first line."),
    ),
    "KT127": (
        *(MARK, False),
        *("with a byte order mark, which becomes part of the first tag", "Save them as UTF-8 without BOM."),
    ),
    "KT128": (
        *(SEVERAL, False),
        *("of several lines: only the first is read", "Put all tags on one line, or set enable_wildcard."),
    ),
}
"""Code → the fault, whether the trainer dies of it, what to say, the remedy."""


def _marks(where: str, facts: FolderFacts, known: Captions, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Signs that mean something only with an option, and are trained as text without it."""
    bars, choices = known.remembered("marks", lambda: _signs(facts, known))
    if bars and not values.get("keep_tokens_separator"):
        message = f"{count_of(len(bars), 'caption')} with |||, which is trained as text: {first_names(bars)}"
        yield warning("KT139", where, message, 'Set keep_tokens_separator = "|||" in dataset.toml.')
    if choices and not values.get("enable_wildcard"):
        message = f"{count_of(len(choices), 'caption')} with {{a|b}}, which is trained as text: {first_names(choices)}"
        yield warning("KT139", where, message, "Set enable_wildcard = true in dataset.toml.")


def _signs(facts: FolderFacts, known: Captions) -> tuple[list[str], list[str]]:
    """Captions with three bars, and those with a choice in braces."""
    if not any("|" in line for line in known.lines):
        return [], []
    rows = [(name, line) for name, line in _readable(facts, known) if "|" in line]
    return [name for name, line in rows if "|||" in line], [name for name, line in rows if _CHOICE.search(line)]


def _missing(where: str, facts: FolderFacts, known: Captions, values: Mapping[str, Any]) -> Iterator[Problem]:
    images, extension = facts.images, known.extension
    missing = known.pictures_with(images, MISSING)
    if not missing:
        return
    instead = (
        f"they train on {shown(values['class_tokens'])}" if values.get("class_tokens") else "they train without one"
    )
    usual = next((end for end in (".txt", ".caption") if end != extension and _has_caption(facts, missing, end)), None)
    if usual is not None:
        hint = f'Set caption_extension = "{usual}" in dataset.toml.'
        message = (
            f"{count_of(len(missing), 'picture')} with a {usual} caption that is not read (the setting is {extension})"
        )
        yield warning("KT123", where, f"{message}: {instead}", hint, fixable=True)
        return
    hint = "Tag them: kohya-tui tag DATASET"
    message = (
        f"{len(missing)} of {count_of(len(images), 'picture')} without a caption, {instead}: {first_names(missing)}"
    )
    yield warning("KT122", where, message, hint)


def _has_caption(facts: FolderFacts, images: Iterable[str], extension: str) -> bool:
    return any(name[: name.rindex(".")] + extension in facts.names for name in images)


def _shuffle(where: str, known: Captions, values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("shuffle_caption") or values.get("keep_tokens") or values.get("keep_tokens_separator"):
        return
    found = known.remembered("first", lambda: _usual_first(known))
    if found is not None:
        message = (
            f"{printable(found[0])} is the first tag of {count_of(found[1], 'caption')}, and shuffling will move it"
        )
        yield warning("KT131", where, message, "Set keep_tokens = 1 in dataset.toml.", fixable=True)


def _usual_first(known: Captions) -> tuple[str, int] | None:
    """The tag that stands first in four of five captions, and how often."""
    raw = Counter(line.partition(",")[0] for line in known.lines if line)
    firsts: Counter[str] = Counter()
    for text, count in raw.items():
        firsts[captions.tag_key(text)] += count
    del firsts[""]
    if not firsts:
        return None
    word, count = firsts.most_common(1)[0]
    return (word, count) if count >= 2 and count >= 0.8 * raw.total() else None


def _tokens(where: str, facts: FolderFacts, known: Captions, train: Mapping[str, Any]) -> Iterator[Problem]:
    limit = train.get("max_token_length")
    limit = limit if isinstance(limit, int) and limit > 0 else 75
    long, is_all = known.remembered(("tokens", limit), lambda: _too_long(facts, known, limit))
    if long:
        larger = next((each for each in (150, 225) if each > limit), None)
        hint = f"Set max_token_length = {larger}." if larger else "Shorten them; what comes last is cut off."
        least = "" if is_all else "at least "
        message = f"{least}{count_of(len(long), 'caption')} longer than {limit} tokens: {first_names(long)}"
        yield warning("KT118", where, message, hint, fixable=larger is not None)


def _too_long(facts: FolderFacts, known: Captions, limit: int) -> tuple[list[str], bool]:
    """Captions with more tokens than `limit`, and whether all were counted.

    A token is a byte at least, so that short ones need no counting.
    """
    long: list[str] = []
    left = _TOKENS_AT_MOST
    for name, line in _readable(facts, known):
        if len(line) <= limit and len(line.encode()) <= limit:
            continue
        if not left:
            return long, False
        left -= 1
        from core.dataset.tokens import count_tokens

        if count_tokens(line) > limit:
            long.append(name)
    return long, True
