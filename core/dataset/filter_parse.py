"""From the filter line to its tree."""

from __future__ import annotations

import difflib
import re

from core.dataset.filter_tree import (
    FIELDS,
    OPERATORS,
    RATINGS,
    STATES,
    And,
    Comparison,
    FilterError,
    Leaf,
    Node,
    Not,
    Number,
    OfTag,
    Or,
    Pattern,
    Tag,
    Text,
    Word,
)

DEEPEST = 100
"""Parentheses and NOTs inside each other: more would end the interpreter's patience, and nobody's filter has them."""
_FIELD = re.compile(r"([A-Za-z]+):")
_OF_TAG = re.compile(r"(score|pos)\(", re.IGNORECASE)
_NUMBER = re.compile(r"(<=|>=|==|!=|<|>|=)?([0-9]*\.?[0-9]+|[0-9]+\.)$")
_BUCKET = re.compile(r"([0-9]{1,6})[x×*]([0-9]{1,6})$", re.IGNORECASE)
_SHORT = {rating[0]: rating for rating in RATINGS}


def parse(query: str) -> Node:
    """The tree of a query; an empty one lets everything pass. Raises FilterError."""
    return _Parser(query).parse()


class _Parser:
    def __init__(self, query: str) -> None:
        self._query = query
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        if self._peek() == "":
            return And(())
        node = self._either()
        if self._peek() == ")":
            raise FilterError("There is a ) without its (", self._at + 1)
        return node

    # Words

    def _peek(self) -> str:
        """What comes next: an operator in upper case, a parenthesis, "" at the end, else "word"."""
        query = self._query
        while self._at < len(query) and query[self._at].isspace():
            self._at += 1
        if self._at == len(query):
            return ""
        if query[self._at] in "()":
            return query[self._at]
        end = self._end_of_word(self._at)
        word = query[self._at : end].upper()
        return word if word in OPERATORS else "word"

    def _end_of_word(self, at: int) -> int:
        """A word goes to the next blank, quote or parenthesis; one in it belongs to it when it is closed in it."""
        query = self._query
        start = at
        while at < len(query):
            char = query[at]
            if char.isspace() or char in '")':
                break
            if char == "(":
                close = re.compile(r'[^\s"()]*\)').match(query, at + 1)
                if close is None or query[start:at].upper() in OPERATORS:
                    break
                at = close.end()
                continue
            at += 1
        return at

    def _column(self) -> int:
        return self._at + 1

    # Combining

    def _either(self) -> Node:
        nodes = [self._all()]
        while self._peek() == "OR":
            self._at += 2
            nodes.append(self._all())
        if len(nodes) == 1:
            return nodes[0]
        return Or(tuple(part for node in nodes for part in (node.nodes if isinstance(node, Or) else (node,))))

    def _all(self) -> Node:
        nodes = [self._one()]
        while (following := self._peek()) not in {"", "OR", ")"}:
            if following == "AND":
                self._at += 3
            nodes.append(self._one())
        if len(nodes) == 1:
            return nodes[0]
        return And(tuple(part for node in nodes for part in (node.nodes if isinstance(node, And) else (node,))))

    def _one(self) -> Node:
        following, column = self._peek(), self._column()
        self._depth += 1
        if self._depth > DEEPEST:
            raise FilterError("This is nested too deeply", column)
        try:
            match following:
                case "":
                    raise FilterError("Something is missing at the end", column)
                case "NOT":
                    self._at += 3
                    return Not(self._one())
                case "(":
                    self._at += 1
                    node = self._either()
                    if self._peek() != ")":
                        raise FilterError("A ( is not closed", column)
                    self._at += 1
                    return node
                case "word":
                    beyond = self._query[self._at + 1 : self._at + 2]
                    if self._query[self._at] == "-" and beyond and not beyond.isspace():
                        self._at += 1
                        return Not(self._one())
                    return self._leaf()
            raise FilterError(f"{query_word(self._query, self._at)} stands where a word was expected", column)
        finally:
            self._depth -= 1

    # One word

    def _leaf(self) -> Leaf:
        query, column = self._query, self._column()
        if query[self._at] == '"':
            return Text("", Pattern(self._quote()), column)
        if (match := _OF_TAG.match(query, self._at)) is not None:
            return self._of_tag(match[1].lower(), match.end(), column)
        if (match := _FIELD.match(query, self._at)) is not None:
            field = match[1].lower()
            start = self._at
            self._at = match.end()
            return self._field(field, query[start : match.end()], column)
        start = self._at
        self._at = self._end_of_word(start)
        if self._at == start:
            raise FilterError("This cannot be read", column)
        return Text("", Pattern(_escaped(query[start : self._at])), column)

    def _quote(self) -> str:
        r"""The text between quotes as a pattern; `\"` is a quote, before other letters the backslash goes."""
        query, start = self._query, self._at
        found: list[str] = []
        at = start + 1
        while at < len(query) and query[at] != '"':
            if query[at] == "\\" and at + 1 < len(query):
                at += 1
                found.append(f"\\{query[at]}" if query[at] in "*?\\" else query[at])
            else:
                found.append("\\\\" if query[at] == "\\" else query[at])
            at += 1
        if at >= len(query):
            raise FilterError('A " is not closed', start + 1)
        self._at = at + 1
        return "".join(found)

    def _value(self) -> str:
        """What stands behind a field, as a pattern; "" when nothing does."""
        if self._at < len(self._query) and self._query[self._at] == '"':
            return self._quote()
        start = self._at
        self._at = self._end_of_word(start)
        return _escaped(self._query[start : self._at])

    def _field(self, field: str, written: str, column: int) -> Leaf:
        if f"{field}:" not in FIELDS:
            near = difflib.get_close_matches(f"{field}:", FIELDS, 1)
            there = f"Did you mean {near[0]}? " if near else f"There are {' '.join(FIELDS)}. "
            raise FilterError(f"{written} is not known", column, f"{there}A word with a colon goes in quotes.")
        at = self._column()
        pattern = Pattern(self._value())
        value = pattern.literal
        if field == "dup":
            if value:
                raise FilterError("Nothing stands behind dup:", at, "dup: finds the images of which there is another.")
            return Word("dup", "", column)
        if not value:
            raise FilterError(f"{written} wants a word behind it", column)
        match field:
            case "tag" | "missing":
                return Tag(pattern, field == "missing", column)
            case "name" | "path" | "caption":
                return Text(field, pattern, column)
            case "tags" | "tokens" | "chars" | "w" | "h" | "ratio":
                return Number(field, _comparison(field, value, at), column)
            case "is":
                if value.lower() not in STATES:
                    raise FilterError(f"is:{value} is not known", column, f"There are is:{', is:'.join(STATES)}.")
                return Word("is", value.lower(), column)
            case "rating":
                rating = _SHORT.get(value.lower(), value.lower())
                if rating not in RATINGS:
                    there = f"There are {', '.join(RATINGS)}."
                    raise FilterError(f"rating:{value} is not known", column, there)
                return Word("rating", rating, column)
            case "bucket":
                size = _BUCKET.match(value)
                if size is None:
                    raise FilterError(f"{value} is not a bucket", at, "Write bucket:512x768 (width x height).")
                return Word("bucket", f"{int(size[1])}x{int(size[2])}", column)
        return Word("saved", value, column)

    def _of_tag(self, what: str, at: int, column: int) -> Leaf:
        """`score(smile):<0.5`"""
        query = self._query
        if at < len(query) and query[at] == '"':
            self._at = at
            text = self._quote()
            if query[self._at : self._at + 1] != ")":
                raise FilterError("A ( is not closed", at, f"Write {what}(smile):>0.5.")
            self._at += 1
        else:
            close = self._closing(at)
            if close is None:
                raise FilterError("A ( is not closed", at, f"Write {what}(smile):>0.5.")
            text = _escaped(query[at:close])
            self._at = close + 1
        if not text.strip():
            raise FilterError(f"{what}( wants a tag", column, f"Write {what}(smile):>0.5.")
        if self._at >= len(query) or query[self._at] != ":":
            hint = "pos(rinni):1" if what == "pos" else "score(smile):<0.5"
            raise FilterError(f"{what}(…) wants a number behind it", self._at + 1, f"Write {hint}.")
        self._at += 1
        where = self._column()
        return OfTag(what, Pattern(text), _comparison(f"{what}(…)", Pattern(self._value()).literal, where), column)

    def _closing(self, at: int) -> int | None:
        """Where the parenthesis closes that was opened before `at`."""
        depth = 1
        for place in range(at, len(self._query)):
            depth += {"(": 1, ")": -1}.get(self._query[place], 0)
            if depth == 0:
                return place
        return None


def query_word(query: str, at: int) -> str:
    """The word at `at`, for a sentence."""
    return query[at:].split(maxsplit=1)[0] if query[at] not in "()" else query[at]


def _comparison(field: str, value: str, column: int) -> Comparison:
    match = _NUMBER.match(value)
    if match is None:
        raise FilterError(f"{value} is not a number", column, f"Write {field}:>20, {field}:<=5 or {field}:0.")
    sign = match[1] or "="
    return Comparison("=" if sign == "==" else sign, float(match[2]))


def _escaped(word: str) -> str:
    """A word without quotes as a pattern: a backslash in it (`\\o/`) is one."""
    return word.replace("\\", "\\\\")
