"""Which files the journal of a workspace says were changed, and not taken back."""

from __future__ import annotations

import json
import re
from pathlib import Path

from core.dataset import journal
from core.dataset.groups import read_group
from core.workspace import Workspace

_WRITTEN = re.compile(rb'\{"op": ?"(?:edit|added)", ?"path": ?("(?:[^"\\]|\\.)*")')
_MOVED = re.compile(rb'\{"op": ?"move",.*"target": ?("(?:[^"\\]|\\.)*")')
_kept: dict[tuple[Path, int, int], frozenset[Path]] = {}


def changed_files(workspace: Workspace) -> set[Path]:
    """Files that groups which are done have written, brought in or moved here. A group is read once a process."""
    found: set[Path] = set()
    for _, path in journal.listing(workspace.own / "journal"):
        try:
            facts = path.stat()
            key = (path, facts.st_mtime_ns, facts.st_size)
            if key not in _kept:
                group = read_group(path)
                is_done = group is not None and group.state == "done"
                _kept[key] = _files(path, workspace.root) if is_done else frozenset()
        except OSError:
            continue
        found |= _kept[key]
    return found


def _files(path: Path, root: Path) -> frozenset[Path]:
    found: set[Path] = set()
    with path.open("rb") as stream:
        for line in stream:
            if (match := _WRITTEN.match(line) or _MOVED.match(line)) is not None:
                found.add(root / json.loads(match[1]))
    return frozenset(found)
