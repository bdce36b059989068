"""Patterns of a filter (`*`, `?`, quoted letters) as tests of a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from core.dataset.filter_tree import Pattern


def finder(pattern: Pattern) -> Callable[[str], bool]:
    """Whether a text in lower case (`casefold`) has the pattern anywhere."""
    parts = [part for part in pattern.parts if not part.startswith("*")]
    if not parts:
        return bool
    if len(parts) == 1 and parts[0] != "?":
        folded = Pattern(parts[0]).literal.casefold()
        return lambda text: folded in text
    if "?" not in parts:
        return partial(_in_order, [Pattern(part).literal.casefold() for part in parts])
    inner = pattern.text.strip("*") if not pattern.text.endswith("\\*") else pattern.text
    search = re.compile(expression(inner.casefold()), re.DOTALL).search
    longest = max((Pattern(part).literal.casefold() for part in parts if part != "?"), key=len, default="")
    return lambda text: longest in text and search(text) is not None


def _in_order(literals: list[str], text: str) -> bool:
    at = 0
    for literal in literals:
        at = text.find(literal, at)
        if at < 0:
            return False
        at += len(literal)
    return True


def expression(text: str) -> str:
    """A pattern as a regular expression."""
    pieces = []
    for part in Pattern(text).parts:
        pieces.append(".*?" if part.startswith("*") else "." if part == "?" else re.escape(Pattern(part).literal))
    return "".join(pieces)
