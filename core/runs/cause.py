"""One meaning of the trainer's last words: a pattern, the sentence and the remedy (core.runs.causes has them all)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` is searched in `Name: message` and the lines that follow it, without regard to case.

    `{message}`, `{sizes}`, `{file}` and the pattern's named groups are filled into the two texts.
    """

    kind: str
    pattern: re.Pattern[str]
    sentence: str
    hint: str | None
    weak: bool = False
    frame: str = ""
    """Part of the path of the file in which the error arose, for words that mean nothing by themselves."""


def rule(kind: str, pattern: str, sentence: str, hint: str | None, *, weak: bool = False, frame: str = "") -> Rule:
    return Rule(kind, re.compile(pattern, re.IGNORECASE | re.DOTALL), sentence, hint, weak, frame)
