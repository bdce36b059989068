"""The operations of a batch edit by name: what a person types for each of them, in the app and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.dataset.captions import clean_tag, split
from core.dataset.operations import (
    ORDERS,
    Add,
    Case,
    Dedupe,
    Merge,
    MoveTo,
    Operation,
    Remove,
    Rename,
    Replace,
    Sort,
    Spell,
    Split,
    Strip,
)
from core.problems import UserError


@dataclass(frozen=True, slots=True)
class Form:
    """`fields` are the words asked for, in order; `make` turns what was typed into the operation (or UserError)."""

    id: str
    title: str
    why: str
    fields: tuple[str, ...]
    make: Callable[[Sequence[str]], Operation]


def tags_in(text: str) -> tuple[str, ...]:
    """The tags that were typed. Raises UserError when there is none."""
    tags = tuple(clean_tag(tag) for tag in split(" ".join(text.splitlines())))
    if not tags:
        raise UserError("There is no tag", "Type one, or several with commas between them.")
    return tags


def tag_in(text: str) -> str:
    """The one tag that was typed."""
    tags = tags_in(text)
    if len(tags) > 1:
        raise UserError(f"{', '.join(tags)}: that is more than one tag", "Name one.")
    return tags[0]


def number_in(text: str, least: int) -> int:
    """The number that was typed, `least` when nothing was."""
    word = text.strip()
    if not word:
        return least
    if not (word.isascii() and word.isdecimal()) or len(word) > 6 or int(word) < least:
        raise UserError(f"{word} is no number from {least} on", "Type one such as 1.")
    return int(word)


def _replace(words: Sequence[str], *, regex: bool) -> Replace:
    if not words[0]:
        raise UserError("There is no text to look for", "Type what shall be replaced.")
    return Replace(words[0], words[1], regex)


def _sort(by: str) -> Form:
    why = {
        "category": "characters, series, artists, then general tags",
        "frequency": "what most of these captions have comes first",
        "alphabet": "a to z",
    }
    return Form(
        f"sort-{by}",
        f"Sort by {by}",
        why[by],
        ("how many of the first tags stay",),
        lambda words: Sort(by, number_in(words[0], 0)),
    )


FORMS: tuple[Form, ...] = (
    Form("add-front", "Add at the front", "", ("tags",), lambda words: Add(tags_in(words[0]), "front")),
    Form("add-end", "Add at the end", "", ("tags",), lambda words: Add(tags_in(words[0]), "end")),
    Form(
        "add-after",
        "Add after a tag",
        "captions without that tag stay as they are",
        ("tags", "after this tag"),
        lambda words: Add(tags_in(words[0]), "after", tag_in(words[1])),
    ),
    Form("remove", "Remove tags", "in every spelling", ("tags",), lambda words: Remove(tags_in(words[0]))),
    Form(
        "rename",
        "Rename a tag",
        "",
        ("tag", "new name"),
        lambda words: Rename(tag_in(words[0]), ", ".join(tags_in(words[1]))),
    ),
    Form(
        "replace",
        "Replace text",
        "anywhere in the caption, in prose too",
        ("text", "new text"),
        lambda words: _replace(words, regex=False),
    ),
    Form(
        "pattern",
        "Replace by pattern",
        r"a regular expression; \1 is the first group",
        ("pattern", "new text"),
        lambda words: _replace(words, regex=True),
    ),
    Form(
        "move",
        "Move a tag",
        "to a position; 1 is the first",
        ("tag", "position"),
        lambda words: MoveTo(tag_in(words[0]), number_in(words[1], 1)),
    ),
    *map(_sort, ORDERS),
    Form("dedupe", "Remove what stands twice", "the first one stays", (), lambda _: Dedupe()),
    Form("lower", "To lower case", "", (), lambda _: Case("lower")),
    Form("spaces", "Underscores to spaces", "emoticons such as ^_^ keep theirs", (), lambda _: Spell("spaces")),
    Form("underscores", "Spaces to underscores", "", (), lambda _: Spell("underscores")),
    Form(
        "split",
        "Split a tag",
        "into several, in its place",
        ("tag", "tags"),
        lambda words: Split(tag_in(words[0]), tags_in(words[1])),
    ),
    Form(
        "merge",
        "Merge tags",
        "where all of them stand, into one",
        ("tags", "one tag"),
        lambda words: Merge(tags_in(words[0]), tag_in(words[1])),
    ),
    Form("strip", "Strip what captions cannot hold", "control characters, invisible marks", (), lambda _: Strip()),
)
