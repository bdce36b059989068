"""Filters under a name: `.kohya-tui/filters`, used in a query as `saved:NAME`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.dataset.filter_parse import parse
from core.files import locked, read_json, write_atomic
from core.problems import UserError
from core.text import printable
from core.workspace import Workspace

FORMAT = 1


def filters_file(workspace: Workspace) -> Path:
    """Where they are kept: a JSON object."""
    return workspace.own / "filters"


def load(workspace: Workspace) -> dict[str, str]:
    """Queries by name; a file that is missing, broken or newer than this program holds none."""
    found = (read_json(filters_file(workspace)) or {}).get("filters")
    if not isinstance(found, dict):
        return {}
    return {name: query for name, query in found.items() if isinstance(query, str)}


def save(workspace: Workspace, name: str, query: str) -> None:
    """Keep a query under a name, in the place of one that has it. Raises UserError for a name or query that is none."""
    clean = " ".join(name.split())
    if not clean or not clean.isprintable():
        raise UserError("A filter needs a name to be saved", 'Name it, for example: "to do"')
    parse(query)
    if not query.strip():
        raise UserError("There is no filter to save", "Type one first.")
    _change(workspace, clean, query.strip())


def forget(workspace: Workspace, name: str) -> None:
    """Take one out. Raises UserError when there is none of that name."""
    if _named(load(workspace), name) is None:
        there = ", ".join(map(printable, load(workspace))) or "none yet"
        raise UserError(f"There is no saved filter {printable(name)}", f"There are: {there}.")
    _change(workspace, name, None)


def _named(saved: dict[str, str], name: str) -> str | None:
    return next((each for each in saved if each.casefold() == name.casefold()), None)


def _change(workspace: Workspace, name: str, query: str | None) -> None:
    path = filters_file(workspace)
    with locked(workspace.lock_file):
        document: dict[str, Any] = read_json(path) or {}
        version = document.get("v", FORMAT)
        if isinstance(version, int) and version > FORMAT:
            raise UserError(f"{path} was written by a newer kohya-tui", "Update this one to save filters.")
        saved = load(workspace)
        if (old := _named(saved, name)) is not None:
            del saved[old]
        if query is not None:
            saved[name] = query
        text = json.dumps({"v": FORMAT, "filters": dict(sorted(saved.items()))}, indent=1, ensure_ascii=False)
        write_atomic(path, text + "\n")
