"""A filter as a tree, and how it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from core.problems import UserError


class FilterError(UserError):
    """A filter that cannot be read, or not be answered; `column` counts from 1."""

    def __init__(self, message: str, column: int, hint: str | None = None) -> None:
        super().__init__(f"{message} (column {column})", hint)
        self.column = column


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""A word that is looked for: `*` stands for any letters, `?` for one, `\*` `\?` `\\` for themselves."""

    text: str

    @property
    def is_plain(self) -> bool:
        """No `*` and no `?`: `literal` is what must stand there."""
        return not any(part.startswith("*") or part == "?" for part in self.parts)

    @property
    def parts(self) -> list[str]:
        """`*`, `?`, and what must stand between them (escaped letters carry their backslash)."""
        return [each for each in _PARTS.findall(self.text) if each]

    @property
    def literal(self) -> str:
        """The text without its escapes."""
        return _ESCAPED.sub(r"\1", self.text)

    @staticmethod
    def of(text: str) -> Pattern:
        """The pattern for exactly this text."""
        return Pattern(re.sub(r"([*?\\])", r"\\\1", text))


_PARTS = re.compile(r"\*+|\?|(?:\\.|[^*?\\]|\\$)+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`>20`: how a number is compared."""

    sign: str
    value: float

    def written(self) -> str:
        number = int(self.value) if self.value == int(self.value) else self.value
        return f"{'' if self.sign == '=' else self.sign}{number}"


@dataclass(frozen=True, slots=True)
class Text:
    """`where` is "" (name or caption), "name", "path" or "caption"."""

    where: str
    pattern: Pattern
    column: int = field(default=0, compare=False)

    FIELDS: ClassVar = ("name", "path", "caption")


@dataclass(frozen=True, slots=True)
class Tag:
    """Has a tag; `is_missing`: has it not."""

    pattern: Pattern
    is_missing: bool = False
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A count or a measure of the image."""

    what: str
    comparison: Comparison
    column: int = field(default=0, compare=False)

    FIELDS: ClassVar = ("tags", "tokens", "chars", "w", "h", "ratio")


@dataclass(frozen=True, slots=True)
class OfTag:
    """`what` is "score" (how sure the tagger was) or "pos" (the tag's place in the caption, from 1)."""

    what: str
    pattern: Pattern
    comparison: Comparison
    column: int = field(default=0, compare=False)

    FIELDS: ClassVar = ("score", "pos")


@dataclass(frozen=True, slots=True)
class Word:
    """One of a closed list: `is:`, `rating:`, `bucket:`, `dup:` (no word) or the name of a saved filter."""

    what: str
    value: str
    column: int = field(default=0, compare=False)

    FIELDS: ClassVar = ("is", "rating", "bucket", "dup", "saved")


@dataclass(frozen=True, slots=True)
class Not:
    """The others."""

    node: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them; without any, every image."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    nodes: tuple[Node, ...]


Leaf = Text | Tag | Number | OfTag | Word
Node = Leaf | Not | And | Or
STATES = ("untagged", "reviewed", "marked", "changed", "broken")
RATINGS = ("general", "sensitive", "questionable", "explicit")
FIELDS = (
    *("tag:", "missing:", "caption:", "name:", "path:", "tags:", "tokens:", "chars:", "w:", "h:", "ratio:", "bucket:"),
    *("is:", "score(", "pos(", "rating:", "dup:", "saved:"),
)
"""What a word may begin with."""
OPERATORS = ("AND", "OR", "NOT")
_SAFE = re.compile(r"[^\s()\"\\:-][^\s()\"\\]*", re.DOTALL)
_SAFE_VALUE = re.compile(r"[^\s()\"\\]+", re.DOTALL)


def write(node: Node) -> str:
    """The query that `parse` reads as this tree."""
    match node:
        case And(nodes):
            return " ".join(f"({write(each)})" if isinstance(each, Or | And) else write(each) for each in nodes)
        case Or(nodes):
            return " OR ".join(f"({write(each)})" if isinstance(each, Or) else write(each) for each in nodes)
        case Not(inner):
            return f"NOT ({write(inner)})" if isinstance(inner, And | Or) else f"NOT {write(inner)}"
        case Text("", pattern):
            return _quoted(pattern.text, bare=True)
        case Text(where, pattern):
            return f"{where}:{_quoted(pattern.text)}"
        case Tag(pattern, is_missing):
            return f"{'missing' if is_missing else 'tag'}:{_quoted(pattern.text)}"
        case Number(what, comparison):
            return f"{what}:{comparison.written()}"
        case OfTag(what, pattern, comparison):
            return f"{what}({_quoted(pattern.text)}):{comparison.written()}"
        case Word(what, value):
            return f"{what}:{_quoted(Pattern.of(value).text) if what == 'saved' else value}"


def _quoted(text: str, *, bare: bool = False) -> str:
    is_safe = (_SAFE if bare else _SAFE_VALUE).fullmatch(text) and not (
        bare and (text.upper() in OPERATORS or ":" in text)
    )
    return text if is_safe else '"' + text.replace('"', '\\"') + '"'
