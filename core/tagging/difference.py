"""Which tags a caption gains and loses: told for thousands of captions that say the same few thousand tags."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence, Set

from core.dataset.captions import first_line, tag_key

_MOST_PARTS = 1 << 16


class _Keys(dict[str, str]):
    """`tag_key` of every part of a caption that was seen."""

    def __missing__(self, part: str) -> str:
        if len(self) >= _MOST_PARTS:
            self.clear()
        return self.setdefault(part, sys.intern(tag_key(part)))


class Difference:
    """Between the captions of one run and those that stand there."""

    def __init__(self) -> None:
        self._keys = _Keys()
        self._met: set[str] = set()
        self._spelled: dict[str, str] = {}
        """The tags that were met by their keys."""
        self._is_distinct = True
        """No two of them are one tag in two spellings."""

    def of(self, old: str, tags: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Those of `tags` that the caption `old` has not, and its own that are not among them, as they are spelled.

        Case, underscores, order and repetitions do not count, and only the first line does, as in `preview.Preview`.
        Keys are looked up for those tags only that are not spelled alike here and there.
        """
        line = first_line(old)
        parts = line.split(", ")
        if line.count(",") >= len(parts):
            parts = line.split(",")
        had, gets = set(parts), set(tags)
        gone = had - gets
        if not gone and len(had) == len(gets):
            return (), ()
        new = [tag for tag in tags if tag not in had]
        if not self._met.issuperset(tags):
            self._meet(tags)
        keys, spelled = self._keys, self._spelled
        if not self._is_distinct:
            spelled = {keys[tag]: tag for tag in tags}
        had_keys = {"", *map(keys.__getitem__, gone if self._is_distinct else parts)}
        added = self._only(new, had_keys)
        if not gone:
            return added, ()
        kept = {"", *(key for key in had_keys if spelled.get(key) in gets)}
        return added, self._only((part for part in parts if part in gone), kept)

    def _meet(self, tags: Sequence[str]) -> None:
        for tag in tags:
            self._is_distinct &= self._spelled.setdefault(self._keys[tag], tag) == tag
        self._met.update(tags)

    def _only(self, tags: Iterable[str], known: Set[str]) -> tuple[str, ...]:
        """Those whose keys are not `known`, each once."""
        keys = self._keys
        return tuple({key: tag.strip() for tag in tags if (key := keys[tag]) not in known}.values())
