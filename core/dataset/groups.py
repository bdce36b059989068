"""What is known of one user action: its name, time, state and number of files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.dataset.changes import Change, Conflict, Edit, Move, paths_of
from core.dataset.journal import OPEN, Head, read_head, read_mark


@dataclass(frozen=True, slots=True)
class EditGroup:
    """One user action. `state` is "done", "undone" or "open" (being written, or left behind by a kill).

    `id` is "" when nothing had to be changed: then there is nothing to undo either. `files` counts the files of the
    group; `conflicts` are those that `apply` refused just now (the journal does not keep them).
    """

    id: str
    label: str
    time: float
    files: int
    state: str
    kind: str
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, slots=True)
class UndoResult:
    """What an undo or redo did: the files that changed on disk, and the ones that were refused."""

    group: EditGroup
    changed: tuple[Path, ...]
    conflicts: tuple[Conflict, ...]


def count_files(done: Iterable[Change]) -> int:
    """How many files a group touched; a file that was written twice counts once."""
    return len(set(map(os.fspath, shown_paths(done))))  # a Path's own hash takes ten times as long


def shown_paths(changes: Iterable[Change]) -> list[Path]:
    """The files that `changes` touch, as a person counts them: one that went to the trash is known by its old name."""
    found: list[Path] = []
    for change in changes:
        if isinstance(change, Edit):
            found.append(change.path)
        elif isinstance(change, Move) and is_trash(change.target):
            found.append(change.source)
        else:
            found += paths_of(change)
    return found


def is_trash(path: Path) -> bool:
    """Whether `path` is a place for what a group took out of a dataset."""
    return (".kohya-tui", "trash") in itertools.pairwise(path.parts)


def group_of(head: Head, group_id: str, files: int, state: str, conflicts: Sequence[Conflict] = ()) -> EditGroup:
    """The value for the group that `head` began."""
    return EditGroup(group_id, head.label, head.time, files, state, head.kind, tuple(conflicts))


def read_group(path: Path) -> EditGroup | None:
    """The group in a journal file, from its first and its last line; None when it is not one of ours."""
    head = read_head(path)
    if head is None:
        return None
    mark: dict[str, Any] = read_mark(path)
    state = "open"
    if not path.name.endswith(OPEN) and ("commit" in mark or "redone" in mark):
        state = "done"
    elif not path.name.endswith(OPEN) and "undone" in mark:
        state = "undone"
    return group_of(head, head.id, int(mark.get("files", 0)), state)
