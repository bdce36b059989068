"""Doing a recorded group once more, forwards or backwards, wherever a kill cut it off the last time.

Steps of one group may build on each other (a caption is edited, then moved). A step that meets a file in the state that
a later step leaves was done before, so it is no conflict.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.dataset.captions import read_bytes
from core.dataset.changes import Added, Change, Conflict, Edit, Folder, Move, do, paths_of, undo
from core.dataset.replacing import Replacer
from core.problems import UserError


def replay(steps: Sequence[Change], trash: Path, *, backwards: bool) -> Iterator[tuple[int, bool | Conflict]]:
    """(place in `steps`, outcome) of each; backwards starts with the last. A failed write is told as a conflict.

    So one bad file does not hold up the others.
    """
    order = range(len(steps) - 1, -1, -1) if backwards else range(len(steps))
    places: dict[Path, list[int]] | None = None
    with Replacer() as replacer:
        for at in order:
            change = steps[at]
            outcome = _attempt(change, trash, replacer, backwards=backwards)
            if isinstance(outcome, Conflict) and not outcome.is_error:
                if places is None:
                    places = _places(steps)
                mine = _touched(change)[-1 if backwards else 0]
                later = (place for place in places[mine] if (place < at if backwards else place > at))
                if any(_is_done(steps[place], mine, backwards=backwards) for place in later):
                    outcome = False
            yield at, outcome


def _attempt(change: Change, trash: Path, replacer: Replacer, *, backwards: bool) -> bool | Conflict:
    try:
        return undo(change, trash, replacer) if backwards else do(change, trash, replacer)
    except UserError as error:
        path = next(iter(paths_of(change)), trash)
        return Conflict(path, None, None, error.message, is_error=True)


def _touched(change: Change) -> tuple[Path, ...]:
    return (change.source, change.target) if isinstance(change, Move) else (change.path,)


def _places(steps: Sequence[Change]) -> dict[Path, list[int]]:
    places: dict[Path, list[int]] = {}
    for at, change in enumerate(steps):
        for path in _touched(change):
            places.setdefault(path, []).append(at)
    return places


def _is_done(change: Change, path: Path, *, backwards: bool) -> bool:
    """Whether the disk is as this step leaves `path`."""
    match change:
        case Edit(_, before, after):
            try:
                return read_bytes(path) == (before if backwards else after)
            except UserError:
                return False
        case Move(source, target):
            start, end = (target, source) if backwards else (source, target)
            return path == start and not os.path.lexists(start) and os.path.lexists(end)
        case Added():
            return os.path.lexists(path) != backwards
        case Folder():
            return False
