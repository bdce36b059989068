"""What the word under the cursor of a filter line may become."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from core.dataset.captions import tag_key
from core.dataset.filter_tree import FIELDS, RATINGS, STATES

SHOWN = 8
_OPEN_QUOTE = re.compile(r'(?:^|[\s(:-])"((?:[^"\\]|\\.)*)$')
_WORD = re.compile(r'[^\s"]*$')
_OF_TAG = re.compile(r"(score|pos)\(([^\s\"()]*(?:\([^\s\"()]*\)?)?)$", re.IGNORECASE)
_CLOSED = {"is:": STATES, "rating:": RATINGS}
Tags = Callable[[str, int], Iterable[tuple[str, int]]]
"""Tags for what was typed, the best first, each with how many images have it; at most so many."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`query` is the whole line with the word completed, `cursor` the place behind it, `text` what is shown."""

    query: str
    cursor: int
    text: str
    note: str = ""


def complete(
    query: str, tags: Tags, saved: Sequence[str] = (), buckets: Sequence[str] = (), cursor: int | None = None
) -> list[Offer]:
    """What may stand in the place of the word that ends at `cursor` (None: the end); [] after a blank."""
    cursor = len(query) if cursor is None else cursor
    head, rest = query[:cursor], query[cursor:]
    quote = _quoted(head)
    start = _WORD.search(head).start() if quote is None else quote  # type: ignore[union-attr]
    word = head[start:]
    while word[:1] in {"(", "-"} and not word.startswith("-_"):
        start, word = start + 1, word[1:]
    if not word:
        return []

    def offer(text: str, shown: str, note: str = "") -> Offer:
        return Offer(head[:start] + text + rest, start + len(text), shown, note)

    if (match := _OF_TAG.match(word)) is not None and quote is None:
        return [
            offer(f"{word[: match.start(2)]}{_as_word(tag)}):", tag, _note(count))
            for tag, count in tags(match[2], SHOWN)
        ]
    field, colon, value = word.partition(":")
    field = f"{field.lower()}:" if colon else ""
    if field in _CLOSED:
        return [offer(word[: len(field)] + each, each) for each in _CLOSED[field] if each.startswith(value.lower())]
    if field == "saved:":
        typed = value.strip('"').casefold()
        names = [name for name in saved if name.casefold().startswith(typed)]
        return [offer(word[: len(field)] + _as_value(name, value), name) for name in names[:SHOWN]]
    if field == "bucket:":
        return [offer(word[: len(field)] + each, each) for each in buckets if each.startswith(value.lower())][:SHOWN]
    if field in {"tag:", "missing:"}:
        typed = value.removeprefix('"')
        found = tags(typed, SHOWN) if typed else ()
        return [offer(word[: len(field)] + _as_value(tag, value), tag, _note(count)) for tag, count in found]
    if colon or word.startswith('"'):
        return []
    found_fields = [offer(each, each) for each in FIELDS if each.startswith(word.lower())]
    found_tags = [offer(f"tag:{_as_word(tag)}", f"tag:{tag}", _note(count)) for tag, count in tags(word, SHOWN)]
    return [*found_fields, *found_tags][:SHOWN]


def _quoted(head: str) -> int | None:
    """Where the word begins whose quote is still open."""
    if (head.count('"') - head.count('\\"')) % 2 == 0 or (match := _OPEN_QUOTE.search(head)) is None:
        return None
    at = match.start(1) - 1
    before = _WORD.search(head[:at])
    return before.start() if before is not None else at


def _as_word(tag: str) -> str:
    """A tag as one word: an underscore is a blank in it (`tag_key`)."""
    word = "_".join(tag.split())
    is_word = re.fullmatch(r'[^\s"\\*?()]+(?:\([^\s"()\\*?]*\)[^\s"\\*?()]*)*', word) and tag_key(word) == tag_key(tag)
    return word if is_word else _in_quotes(tag)


def _as_value(text: str, typed: str) -> str:
    return _in_quotes(text) if typed.startswith('"') else _as_word(text)


def _in_quotes(text: str) -> str:
    return '"' + re.sub(r'(["\\*?])', r"\\\1", text) + '"'


def _note(count: int) -> str:
    return f"{count:,}" if count else ""
