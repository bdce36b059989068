"""Tags that the user decided to keep beside a trigger word: `.kohya-tui/kept`, undone like any other change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.dataset.captions import tag_key
from core.problems import UserError
from core.text import printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup

FORMAT = 1


def kept_file(workspace: Workspace) -> Path:
    """Where they lie: a JSON object, dataset → trigger → tags."""
    return workspace.own / "kept"


def load(workspace: Workspace, dataset: str, trigger: str) -> frozenset[str]:
    """The keys of the tags; none when the file is missing, broken or newer than this program."""
    try:
        document = _document(kept_file(workspace).read_bytes())
    except (OSError, UserError):
        return frozenset()
    return frozenset(_tags(document, dataset, trigger))


def keep(workspace: Workspace, dataset: str, trigger: str, tag: str, kept: bool = True) -> EditGroup:
    """Keep a tag from now on, or not any more; one group of the journal. Raises UserError when it cannot be written."""
    from core.dataset.changes import Edit
    from core.dataset.edits import Journal

    path = kept_file(workspace)
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        before = None
    document = _document(before or b"{}")
    tags = set(_tags(document, dataset, trigger))
    tags = tags | {tag_key(tag)} if kept else tags - {tag_key(tag)}
    datasets = document.setdefault("datasets", {})
    datasets.setdefault(dataset, {})[tag_key(trigger)] = sorted(tags)
    text = json.dumps({"v": FORMAT, "datasets": datasets}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    verb = "keep" if kept else "do not keep"
    return Journal(workspace).apply(
        f"{verb} {printable(tag)} beside {printable(trigger)}", [Edit(path, before, text.encode())], kind="mark"
    )


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    if not isinstance(document, dict) or not isinstance(document.get("datasets", {}), dict):
        return {}
    if isinstance(version := document.get("v", FORMAT), int) and version > FORMAT:
        raise UserError("The tags to keep were written by a newer kohya-tui", "Update this one to change them.")
    return document


def _tags(document: dict[str, Any], dataset: str, trigger: str) -> list[str]:
    triggers = document.get("datasets", {}).get(dataset, {})
    tags = triggers.get(tag_key(trigger), []) if isinstance(triggers, dict) else []
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
