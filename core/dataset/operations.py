"""What a batch edit does to one caption: frozen values, and one pure function from text to text.

Tags are the parts of the first line; a part that is not touched keeps its blanks, and further lines stay. Prose is not
taken for tags: only adding, replacing and stripping change it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.dataset.captions import check_tag, clean_tag, first_line, split, tag_key
from core.dataset.kaomoji import KAOMOJI

PLACES = ("front", "end", "after")
ORDERS = ("category", "frequency", "alphabet")
CASES = ("lower", "upper", "title")
SPELLINGS = ("spaces", "underscores")
CATEGORIES = ("rating", "quality", "character", "copyright", "artist", "general", "meta", "model")
"""The order of a sort by category; tags that no tagger on disk knows count as general."""

_SENTENCE = re.compile(r"[^\W_]{2,}[.!?][\"')]*\s+[\"'(]?[A-Z]|。")
_WORDS_OF_A_TAG = 8


@dataclass(frozen=True, slots=True)
class Add:
    """Tags that are there already are not added again. `after` names a tag; captions without it are left alone."""

    tags: tuple[str, ...]
    place: str = "end"
    after: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """Every spelling of these tags goes."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rename:
    """A tag becomes another; where that one stands already, the old one goes."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Text anywhere in the caption, in prose and further lines too. A `regex` is carried out by `patterns`."""

    old: str
    new: str
    regex: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class MoveTo:
    """A tag to a position, counted from 1; beyond the end is the end."""

    tag: str
    position: int


@dataclass(frozen=True, slots=True)
class Sort:
    """The first `keep` tags stay where they are; equal ones keep their order."""

    by: str
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Dedupe:
    """The second and every further one of the same tag goes, and parts that are empty."""


@dataclass(frozen=True, slots=True)
class Case:
    """Upper and lower case of the tags."""

    to: str


@dataclass(frozen=True, slots=True)
class Spell:
    """Underscores to spaces or back; emoticons (`KAOMOJI`) keep theirs."""

    to: str


@dataclass(frozen=True, slots=True)
class Split:
    """One tag becomes several, in its place."""

    tag: str
    into: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """Several tags, where all of them stand, become one in the place of the first."""

    tags: tuple[str, ...]
    into: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Takes out what a caption cannot hold: control characters, invisible marks, odd blanks, line ends at the end."""


Operation = Add | Remove | Rename | Replace | MoveTo | Sort | Dedupe | Case | Spell | Split | Merge | Strip
TEXTUAL = (Add, Replace, Strip)
"""Those that change prose, too."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What sorting needs to know: by `tag_key`, in how many captions a tag stands; by tag, its category."""

    counts: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)


Part = tuple[str, bool]
"""The text between two commas, and whether it is new."""


def is_prose(text: str) -> bool:
    """Whether the first line reads as sentences and not as tags. Cautious: what is doubtful is no list of tags."""
    line = first_line(text).strip()
    if _SENTENCE.search(line):
        return True
    parts = [len(part.split()) for part in line.split(",")]
    if max(parts) > _WORDS_OF_A_TAG or (line.endswith((".", "!", "?")) and parts[-1] >= 4):
        return True
    return sum(parts) >= 7 and sum(parts) / len(parts) > 3.5


def edited(text: str, operation: Operation, facts: Facts | None = None) -> str:
    """`text` after `operation`; the very same text where nothing is to be done. Prose: see `TEXTUAL`."""
    match operation:
        case Replace(old, new, False, ignore_case):
            return _replaced(text, old, new, ignore_case)
        case Replace():
            raise ValueError("a pattern is carried out by patterns.Substitution")
        case Strip():
            return stripped(text)
    prose = is_prose(text)
    if prose and not isinstance(operation, TEXTUAL):
        return text
    line = first_line(text)
    before: list[Part] = [(part, False) for part in line.split(",")]
    if prose and isinstance(operation, Add):
        after = _added_to_prose(before, operation)
    else:
        after = _changed(before, operation, facts or Facts())
    if after == before:
        return text
    return _joined(after, before) + text[len(line) :]


def stripped(text: str) -> str:
    """`text` without what sd-scripts would train on unseen: see `Strip`. Line ends between lines stay."""
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if char in "\r\n":
            kept.append(char)
        elif char.isspace():  # tabs, no-break and ideographic blanks
            kept.append(" ")
        elif category not in {"Cc", "Cs", "Co"} and char not in "\u200b\u2060\ufeff\u200e\u200f\ufffd":
            kept.append(char)
    result = "".join(kept).rstrip("\r\n \u0085")
    return re.sub(r"^[, ]+|(?<=,)(?: *,)+|[, ]+$", "", result) if not is_prose(result) else result


def check(operation: Operation) -> None:
    """UserError for a tag that a caption cannot hold."""
    for tag in tags_of(operation):
        check_tag(tag)


def tags_of(operation: Operation) -> tuple[str, ...]:
    """The new tags that an operation writes."""
    match operation:
        case Add(tags):
            return tags
        case Rename(_, new):
            return tuple(split(new))
        case Split(_, into):
            return into
        case Merge(_, into):
            return (into,)
    return ()


def label_of(operation: Operation) -> str:
    """What it does, in the words of the history."""
    match operation:
        case Add(tags, place, after):
            where = f"after {after}" if place == "after" else f"at the {place}"
            return f"add {', '.join(tags)} {where}"
        case Remove(tags):
            return f"remove {', '.join(tags)}"
        case Rename(old, new):
            return f"rename {old} to {new}"
        case Replace(old, new, regex):
            return f"replace {'the pattern ' if regex else ''}{old!r} by {new!r}"
        case MoveTo(tag, position):
            return f"move {tag} to position {position}"
        case Sort(by, keep):
            return f"sort tags by {by}" + (f", the first {keep} stay" if keep else "")
        case Dedupe():
            return "remove tags that stand twice"
        case Case(to):
            return f"tags in {to} case"
        case Spell(to):
            return f"tags with {to}"
        case Split(tag, into):
            return f"split {tag} into {', '.join(into)}"
        case Merge(tags, into):
            return f"merge {', '.join(tags)} into {into}"
        case Strip():
            return "strip what captions cannot hold"


def _replaced(text: str, old: str, new: str, ignore_case: bool) -> str:
    if not old:
        return text
    return re.sub(re.escape(old), lambda _: new, text, flags=re.IGNORECASE) if ignore_case else text.replace(old, new)


def _new(tags: Sequence[str]) -> list[Part]:
    return [(clean, True) for tag in tags if (clean := clean_tag(tag))]


def _added_to_prose(parts: list[Part], operation: Add) -> list[Part]:
    keys = {tag_key(part) for part, _ in parts}
    tags = _new([tag for tag in operation.tags if tag_key(tag) not in keys])
    return tags + parts if operation.place == "front" else parts + tags if operation.place == "end" else parts


def _changed(parts: list[Part], operation: Operation, facts: Facts) -> list[Part]:
    keys = [tag_key(part) for part, _ in parts]
    match operation:
        case Add(tags, place, after):
            return _added(parts, keys, tags, place, after)
        case Remove(tags):
            gone = {tag_key(tag) for tag in tags} - {""}
            return [part for part, key in zip(parts, keys, strict=True) if key not in gone]
        case Rename(old, new):
            return _put(parts, keys, {tag_key(old)}, split(new))
        case Split(tag, into):
            return _put(parts, keys, {tag_key(tag)}, into)
        case Merge(tags, into):
            wanted = {tag_key(tag) for tag in tags}
            return _put(parts, keys, wanted, [into]) if wanted <= set(keys) else parts
        case MoveTo(tag, position):
            return _moved(parts, keys, tag_key(tag), position)
        case Sort(by, keep):
            return _sorted(parts, by, keep, facts)
        case Dedupe():
            first = {key: at for at, key in reversed(list(enumerate(keys))) if key}
            return [parts[at] for at in sorted(first.values())]
        case Case(to):
            return [_with(part, _cased(part[0], to)) for part in parts]
        case Spell(to):
            return [_with(part, _spelled(part[0], to)) for part in parts]
    return parts


def _added(parts: list[Part], keys: list[str], tags: Sequence[str], place: str, after: str) -> list[Part]:
    end = len(keys)
    while end and not keys[end - 1]:  # a comma at the end stays there
        end -= 1
    if place == "after" and tag_key(after) not in keys:
        return parts
    wanted = {tag_key(tag): tag for tag in tags}
    new = _new([tag for key, tag in wanted.items() if key not in keys])
    if not new:
        return parts
    if not end:
        return new
    at = 0 if place == "front" else end if place == "end" else keys.index(tag_key(after)) + 1
    return parts[:at] + new + parts[at:]


def _put(parts: list[Part], keys: list[str], old: set[str], tags: Sequence[str]) -> list[Part]:
    """The new tags once, where the first of the old ones stands; those that stand elsewhere are not repeated."""
    old = old - {""}
    if not old & set(keys) or [part.strip() for (part, _), key in zip(parts, keys, strict=True) if key in old] == list(
        tags
    ):
        return parts
    others = {key for key in keys if key not in old}
    fresh = _new([tag for tag in tags if tag_key(tag) not in others])
    result: list[Part] = []
    for part, key in zip(parts, keys, strict=True):
        if key in old:
            result += fresh
            fresh = []
        else:
            result.append(part)
    return result


def _moved(parts: list[Part], keys: list[str], key: str, position: int) -> list[Part]:
    if not key or key not in keys:
        return parts
    at = keys.index(key)
    rest = parts[:at] + parts[at + 1 :]
    end = len(rest)
    while end and not rest[end - 1][0].strip():
        end -= 1
    to = min(max(0, position - 1), end)
    return [*rest[:to], parts[at], *rest[to:]]


def _sorted(parts: list[Part], by: str, keep: int, facts: Facts) -> list[Part]:
    end = len(parts)
    while end and not parts[end - 1][0].strip():
        end -= 1

    def rank(part: Part) -> tuple[int, str]:
        key = tag_key(part[0])
        if by == "frequency":
            return -facts.counts.get(key, 0), ""
        if by == "alphabet":
            return 0, key
        tag = part[0].strip()
        category = facts.categories.get(tag) or facts.categories.get(key) or "general"
        return CATEGORIES.index(category) if category in CATEGORIES else CATEGORIES.index("general"), ""

    return parts[:keep] + sorted(parts[keep:end], key=rank) + parts[max(keep, end) :]


def _with(part: Part, text: str) -> Part:
    return part if part[0] == text else (text, False)


def _cased(part: str, to: str) -> str:
    return part.lower() if to == "lower" else part.upper() if to == "upper" else part.title()


def _spelled(part: str, to: str) -> str:
    tag = part.strip()
    if not tag or tag in KAOMOJI:
        return part
    new = tag.replace("_", " ") if to == "spaces" else "_".join(tag.split())
    return part.replace(tag, new)


def _joined(after: list[Part], before: list[Part]) -> str:
    """Commas between the parts; blanks only where a part came to another place, as this caption has them."""
    later = [part for part, _ in before[1:]]
    blank = " " if not later or any(part[:1].isspace() for part in later) else ""
    first = before[0]
    texts = []
    for at, part in enumerate(after):
        text, new = part
        if at == 0:
            texts.append(text if part is first else text.lstrip())
        else:
            texts.append(blank + text.strip() if new or part is first else text)
    return ",".join(texts)
