"""Scripts for bash, cmd and PowerShell cut into statements and words; nothing is run, and no variable is filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from core.problems import UserError

Dialect = Literal["bash", "batch", "powershell"]
_ESCAPE: dict[Dialect, str] = {"bash": "\\", "batch": "^", "powershell": "`"}
_OPERATORS: dict[Dialect, tuple[str, ...]] = {
    "bash": ("&&", "||", ";;", ";", "|", "&", "\n"),
    "batch": ("&&", "||", "&", "|", "\n"),
    "powershell": ("&&", "||", ";", "|", "\n"),
}
_HEREDOC = re.compile(r"<<(-?)[ \t]*([\"']?)([\w.-]+)\2")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word and the quote around it: "", ' or "."""

    text: str
    quote: str = ""


Word = tuple[Part, ...]


@dataclass(slots=True)
class Statement:
    """One command: its words, the operator before it, the line that it starts on, what a here-document feeds it."""

    words: list[Word] = field(default_factory=list)
    before: str = "\n"
    line: int = 1
    heredoc: str | None = None

    def plain(self, index: int) -> str:
        """A word as it is written, without its quotes; "" when there is none."""
        return "".join(part.text for part in self.words[index]) if index < len(self.words) else ""


def dialect_of(text: str) -> Dialect:
    """Which shell `text` is written for, by the signs that only one of them knows; bash where nothing tells."""
    if re.search(r"^\s*\$[\w:]+\s*=[^=]|`[ \t]*\r?\n|^\s*\[void\]", text, re.MULTILINE | re.IGNORECASE):
        return "powershell"
    if re.search(r"\^[ \t]*\r?\n|%\w+%|^\s*@?(?:echo off|rem\b|setlocal)|^\s*set \"?\w+=", text, re.MULTILINE | re.I):
        return "batch"
    return "bash"


def statements(text: str, dialect: Dialect) -> Iterator[Statement]:
    """The commands of `text` in order. Raises UserError for a quote that is not closed, with its line."""
    yield from _Cutter(text, dialect).run()


class _Cutter:
    """One pass over the text; `_at` is where it is."""

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text, self._dialect, self._at, self._line = text, dialect, 0, 1
        self._now = Statement()
        self._parts: list[Part] = []
        self._plain = ""
        self._waiting: list[tuple[Statement, str, bool]] = []

    def run(self) -> Iterator[Statement]:
        text, escape = self._text, _ESCAPE[self._dialect]
        while self._at < len(text):
            char = text[self._at]
            operator = next((each for each in _OPERATORS[self._dialect] if text.startswith(each, self._at)), None)
            joined = re.compile(rf"{re.escape(escape)}[ \t]*\n").match(text, self._at)
            if joined is not None:
                self._end_word()
                self._line += 1
                self._at = joined.end()
            elif char == escape and self._at + 1 < len(text):
                self._plain += text[self._at + 1]
                self._at += 2
            elif char == '"' or (char == "'" and self._dialect != "batch"):
                self._quoted(char)
            elif text.startswith("$(", self._at) or text.startswith("${", self._at):
                self._substitution()
            elif operator == "&" and re.fullmatch(r"\d?>", self._plain):
                self._plain += char  # 2>&1
                self._at += 1
            elif operator is not None:
                yield from self._end(operator)
                self._at += len(operator)
            elif char in " \t":
                self._end_word()
                self._at += 1
            elif self._is_comment():
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif self._dialect == "bash" and (found := _HEREDOC.match(text, self._at)) is not None:
                self._waiting.append((self._now, found[3], found[1] == "-"))
                self._at = found.end()
            elif char in "(){}" and self._dialect != "batch" and not self._is_inside(char):
                self._end_word()
                self._now.words.append((Part(char),))
                self._at += 1
            else:
                self._plain += char
                self._at += 1
        yield from self._end("\n")

    def _is_inside(self, char: str) -> bool:
        """Whether a bracket is a part of a word: betas=(0.9,0.99), {a,b}; not of an array or a block."""
        if char in "({":
            begins_array = self._plain.endswith("=") and len(self._now.words) < 2
            return bool(self._plain) and not begins_array and self._dialect == "bash"
        opened = self._plain.count("(" if char == ")" else "{")
        return opened > self._plain.count(char)

    def _is_comment(self) -> bool:
        if self._plain or self._parts:
            return False
        rest = self._text[self._at : self._at + 5]
        if self._dialect == "batch":
            return not self._now.words and bool(re.match(r"::|@?rem(?:\s|$)", rest, re.IGNORECASE))
        return rest.startswith("#")

    def _quoted(self, quote: str) -> None:
        self._flush()
        start, escape = self._line, _ESCAPE[self._dialect]
        found = ""
        at = self._at + 1
        text = self._text
        while at < len(text) and text[at] != quote:
            takes = quote == '"' and text[at] == escape and self._dialect != "batch" and at + 1 < len(text)
            if takes and text[at + 1] == "\n":
                at += 2
                self._line += 1
                continue
            if quote == '"' and text.startswith("$(", at):
                end = _closing(text, at + 1)
                found += text[at:end]
                at = end
                continue
            if takes and (self._dialect == "powershell" or text[at + 1] in '"\\$`'):
                found += text[at + 1]
                at += 2
                continue
            self._line += text[at] == "\n"
            found += text[at]
            at += 1
        if at >= len(text):
            raise UserError(f"The script, line {start}: a {quote} is not closed", "Check its quotes.")
        self._parts.append(Part(found, quote))
        self._at = at + 1

    def _substitution(self) -> None:
        end = _closing(self._text, self._at + 1)
        piece = self._text[self._at : end]
        self._line += piece.count("\n")
        self._plain += piece
        self._at = end

    def _flush(self) -> None:
        if self._plain:
            self._parts.append(Part(self._plain))
            self._plain = ""

    def _end_word(self) -> None:
        self._flush()
        if self._parts:
            if not self._now.words:
                self._now.line = self._line
            self._now.words.append(tuple(self._parts))
            self._parts = []

    def _end(self, operator: str) -> Iterator[Statement]:
        self._end_word()
        ended = self._now
        open_array = sum(word == (Part("("),) for word in ended.words) > sum(
            word == (Part(")"),) for word in ended.words
        )
        if operator == "\n":
            self._line += 1
            if open_array and self._at < len(self._text):
                return  # an array over several lines
        self._now = Statement(before=operator)
        if operator == "\n" and self._waiting:
            self._read_heredocs()
        if ended.words:
            yield ended
        elif ended.before != "\n":
            self._now.before = ended.before

    def _read_heredocs(self) -> None:
        """The lines behind this one, to the word that ends them; `_at` is at the line's own end."""
        for statement, tag, strips in self._waiting:
            found = re.compile(rf"^{'[ ' + chr(9) + ']*' if strips else ''}{re.escape(tag)}[ \t]*$", re.MULTILINE)
            end = found.search(self._text, self._at + 1)
            stop = end.start() if end is not None else len(self._text)
            statement.heredoc = self._text[self._at + 1 : stop]
            self._line += self._text.count("\n", self._at, stop) - 1
            self._at = (end.end() if end is not None else len(self._text)) - 1
        self._waiting.clear()


def _closing(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`, or the end of the text."""
    opening, depth, at = text[start], 0, start
    closing = {"(": ")", "{": "}"}[opening]
    while at < len(text):
        depth += (text[at] == opening) - (text[at] == closing)
        at += 1
        if depth == 0:
            return at
    return at
