"""Which images were looked at: `.kohya-tui/marks/`, kept between sessions and undone like any other change.

The marks lie in up to 256 small files, so that one mark among 100,000 images is recorded as a few kilobytes and not as
the whole list before and after.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import count_of
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.dataset.changes import Edit
    from core.dataset.groups import EditGroup

FORMAT = 1
_TRIES = 5


def marks_folder(workspace: Workspace) -> Path:
    """Where the marks of a workspace lie."""
    return workspace.own / "marks"


def marks_file(workspace: Workspace, key: str) -> Path:
    """The JSON document that holds the mark of the image with this key (Workspace.key_of)."""
    return marks_folder(workspace) / f"{zlib.crc32(key.encode('utf-8', 'surrogateescape')) & 0xFF:02x}.json"


def read_reviewed(workspace: Workspace) -> set[str]:
    """Keys of the images that are marked as reviewed; files that are missing or broken hold none."""
    marked: set[str] = set()
    for path in marks_folder(workspace).glob("*.json"):
        try:
            marked |= _keys(_document(path.read_bytes()))
        except OSError:
            continue
    return marked


def mark_reviewed(workspace: Workspace, keys: Iterable[str], reviewed: bool = True) -> EditGroup:
    """Add or take off the marks of `keys`, as one group of the journal (its id is "" when all were so already).

    Raises UserError when a file cannot be written, or was written by a newer version.
    """
    from core.dataset.edits import Journal

    wanted = list(dict.fromkeys(keys))
    name = wanted[0].rpartition("/")[2] if len(wanted) == 1 else count_of(len(wanted), "image")
    label = f"review {name}" if reviewed else f"take back the review of {name}"
    journal = Journal(workspace)
    for _ in range(_TRIES):  # somebody else may mark images between the reading and the lock
        group = journal.apply(label, _edits(workspace, wanted, reviewed), kind="mark")
        if not group.conflicts:
            return group
    raise UserError(f"{group.conflicts[0].path} {group.conflicts[0].reason}", "Mark the images once more.")


def moved_marks(workspace: Workspace, moved: Callable[[str], str | None]) -> list[Edit]:
    """What keeps the marks of images that get other names: `moved` gives the new key of one, None where it goes.

    The edits belong into the group that moves the files. Marks of a newer version are let be.
    """
    from core.dataset.captions import read_bytes
    from core.dataset.changes import Edit

    old: dict[Path, tuple[bytes, set[str]]] = {}
    for path in marks_folder(workspace).glob("*.json"):
        if (data := read_bytes(path)) is not None and _document(data).get("v", FORMAT) == FORMAT:
            old[path] = (data, _keys(_document(data)))
    new: defaultdict[Path, set[str]] = defaultdict(set)
    for path, (_, keys) in old.items():
        for key in keys:
            if (target := moved(key)) is not None:
                new[path if target == key else marks_file(workspace, target)].add(target)
    edits = []
    for path in old.keys() | new.keys():
        before, keys = old.get(path, (None, set()))
        if keys != new[path]:
            edits.append(Edit(path, before, _written(new[path])))
    return edits


def _written(keys: set[str]) -> bytes | None:
    if not keys:
        return None
    return (json.dumps({"v": FORMAT, "reviewed": sorted(keys)}, indent=1) + "\n").encode("ascii")


def _edits(workspace: Workspace, keys: Iterable[str], reviewed: bool) -> list[Edit]:
    from core.dataset.captions import read_bytes
    from core.dataset.changes import Edit

    by_file: defaultdict[Path, set[str]] = defaultdict(set)
    for key in keys:
        by_file[marks_file(workspace, key)].add(key)
    edits = []
    for path, some in by_file.items():
        before = read_bytes(path)
        document = _document(before or b"")
        version = document.get("v", FORMAT)
        if isinstance(version, int) and version > FORMAT:
            raise UserError(f"{path} was written by a newer kohya-tui", "Update this one to go on marking images.")
        old = _keys(document)
        new = old | some if reviewed else old - some
        if new != old:
            edits.append(Edit(path, before, _written(new)))
    return edits


def _document(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _keys(document: dict[str, object]) -> set[str]:
    keys = document.get("reviewed")
    return {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()
