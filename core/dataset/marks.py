"""Which images were looked at: `.kohya-tui/reviewed`, kept between sessions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core.files import locked, read_json, write_json
from core.problems import UserError
from core.workspace import Workspace

FORMAT = 1


def reviewed_file(workspace: Workspace) -> Path:
    """A JSON document with the keys (Workspace.key_of) of the reviewed images."""
    return workspace.own / "reviewed"


def read_reviewed(workspace: Workspace) -> set[str]:
    """Keys of the images that are marked as reviewed; none when the file is missing or broken."""
    value = read_json(reviewed_file(workspace)) or {}
    keys = value.get("reviewed")
    return {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()


def mark_reviewed(workspace: Workspace, keys: Iterable[str], reviewed: bool = True) -> set[str]:
    """Add or take off the marks of `keys` and return all that are marked then.

    Raises UserError when the file cannot be written, or was written by a newer version.
    """
    path = reviewed_file(workspace)
    with locked(workspace.lock_file):
        version = (read_json(path) or {}).get("v", FORMAT)
        if isinstance(version, int) and version > FORMAT:
            raise UserError(f"{path} was written by a newer kohya-tui", "Update this one to go on marking images.")
        marked = read_reviewed(workspace)
        wanted = marked | set(keys) if reviewed else marked - set(keys)
        if wanted != marked:
            write_json(path, {"v": FORMAT, "reviewed": sorted(wanted)}, fsync=False)
    return wanted
