r"""The filter line: which images of a dataset are meant.

Words side by side must all match. A word is looked for in the file name and the caption; `name:` `caption:` look in one
of them, `tag:` compares whole tags, `missing:` wants a tag to be absent, `tags:>20` counts, `is:` asks for a state.
`NOT word` or `-word`, `AND`, `OR` and parentheses combine; quotes keep blanks, `*` and `?` stand for any letters.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection
from fnmatch import translate
from typing import Protocol

from core.dataset.captions import tag_key
from core.problems import UserError

STATES = ("untagged", "reviewed", "marked", "broken")
FIELDS = ("tag:", "name:", "caption:", "missing:", "tags:", "is:")
_TOKEN = re.compile(r'\s*(?:(\()|(\))|(-?[A-Za-z]+:)?"((?:[^"\\]|\\.)*)("?)|([^\s()"]+(?:\([^\s()]*\))?))')
_COUNT = re.compile(r"(<=|>=|<|>|=)?(\d+)$")
_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    None: operator.eq,
}


class Subject(Protocol):
    """What a filter looks at."""

    @property
    def name(self) -> str:
        """File name."""

    @property
    def caption(self) -> str | None:
        """The whole text; None when there is no caption file."""

    @property
    def tag_keys(self) -> Collection[str]:
        """The tags as `captions.tag_key` has them."""

    @property
    def states(self) -> Collection[str]:
        """Those of STATES that hold."""


Test = Callable[[Subject], bool]


class FilterError(UserError):
    """A filter that cannot be read; `column` counts from 1."""

    def __init__(self, message: str, column: int, hint: str | None = None) -> None:
        super().__init__(f"{message} (column {column})", hint)
        self.column = column


def parse(query: str) -> Test:
    """The test that `query` describes; an empty one lets everything pass. Raises FilterError."""
    return _Parser(query).parse()


class _Parser:
    def __init__(self, query: str) -> None:
        self._tokens = _tokens(query)
        self._at = 0
        self._end = len(query) + 1

    def parse(self) -> Test:
        if not self._tokens:
            return lambda _: True
        test = self._either()
        if self._at < len(self._tokens):
            raise FilterError("There is a ) without its (", self._tokens[self._at][1])
        return test

    def _peek(self) -> str | None:
        """The next word; "" for one in quotes, which joins nothing."""
        if self._at >= len(self._tokens):
            return None
        word, _, quoted = self._tokens[self._at]
        return "" if quoted else word

    def _either(self) -> Test:
        tests = [self._both()]
        while self._peek() == "OR":
            self._at += 1
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda subject: any(test(subject) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while (word := self._peek()) is not None and word not in {"OR", ")"}:
            if word == "AND":
                self._at += 1
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda subject: all(test(subject) for test in tests)

    def _one(self) -> Test:
        if self._at >= len(self._tokens):
            raise FilterError("Something is missing at the end", self._end)
        word, column, quoted = self._tokens[self._at]
        self._at += 1
        if word == "NOT" and not quoted:
            test = self._one()
            return lambda subject: not test(subject)
        if word == "(" and not quoted:
            inner = self._either()
            if self._peek() != ")":
                raise FilterError("A ( is not closed", column)
            self._at += 1
            return inner
        if word in {")", "AND", "OR"} and not quoted:
            raise FilterError(f"{word} stands where a word was expected", column)
        if word.startswith("-") and len(word) > 1 and not quoted:
            negated = _leaf(word[1:], column + 1)
            return lambda subject: not negated(subject)
        return _leaf(word, column, quoted=quoted)


def _tokens(query: str) -> list[tuple[str, int, bool]]:
    """(text, column, is it quoted as a whole)."""
    found: list[tuple[str, int, bool]] = []
    at = 0
    while at < len(query) and query[at:].strip():
        match = _TOKEN.match(query, at)
        if match is None:
            raise FilterError("This cannot be read", at + 1)
        opened, closed, field, text, quote, word = match.groups()
        start = match.start() + len(match[0]) - len(match[0].lstrip()) + 1
        if text is not None:
            if not quote:
                raise FilterError('A " is not closed', start)
            value = re.sub(r"\\(.)", r"\1", text)
            found.append(((field or "") + value, start, field is None))
        else:
            found.append((opened or closed or word, start, False))
        at = match.end()
    return found


def _leaf(word: str, column: int, *, quoted: bool = False) -> Test:
    field, colon, value = word.partition(":")
    if quoted or not colon or not field.isalpha() or not value:
        if colon and field.isalpha() and not quoted:
            raise FilterError(f"{word} wants a word behind it", column)
        return _anywhere(word)
    match field.lower():
        case "tag":
            return _has_tag(value)
        case "missing":
            has = _has_tag(value)
            return lambda subject: not has(subject)
        case "name":
            found = _text(value)
            return lambda subject: found(subject.name)
        case "caption":
            found = _text(value)
            return lambda subject: found(subject.caption or "")
        case "tags":
            return _count(value, column + len(field) + 1)
        case "is":
            state = value.lower()
            if state not in STATES:
                raise FilterError(f"is:{value} is not known", column, f"There are is:{', is:'.join(STATES)}.")
            return lambda subject: state in subject.states
    raise FilterError(f"{field}: is not known", column, f"There are {' '.join(FIELDS)} — or put the word in quotes.")


def _anywhere(word: str) -> Test:
    found = _text(word)
    return lambda subject: found(subject.name) or found(subject.caption or "")


def _text(word: str) -> Callable[[str], bool]:
    """Is it in there? Upper and lower case alike."""
    folded = word.casefold()
    if "*" in word or "?" in word:
        pattern = re.compile(translate(f"*{folded}*"))
        return lambda text: pattern.match(text.casefold()) is not None
    return lambda text: folded in text.casefold()


def _has_tag(value: str) -> Test:
    key = tag_key(value)
    if "*" in key or "?" in key:
        pattern = re.compile(translate(key))
        return lambda subject: any(pattern.match(each) for each in subject.tag_keys)
    return lambda subject: key in subject.tag_keys


def _count(value: str, column: int) -> Test:
    match = _COUNT.match(value)
    if match is None:
        raise FilterError(f"{value} is not a number", column, "Write tags:>20, tags:<=5 or tags:0.")
    compare, number = _COMPARE[match[1]], int(match[2])
    return lambda subject: bool(compare(len(subject.tag_keys), number))
