"""Drafts: what was changed in a config and not yet saved, kept in `.kohya-tui/drafts/` until it is saved or dropped.

A draft survives the end of the program, whatever ended it. It can be deleted at any time: only unsaved text is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.documents import FILES, FileName
from core.files import content_hash, read_json, write_json

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

VERSION = 1


@dataclass(frozen=True, slots=True)
class Draft:
    """Unsaved texts of one config; `is_current` when the files on disk are still those that they were made from."""

    texts: Mapping[FileName, str]
    is_current: bool


def keep(workspace: Workspace, config: Config, texts: Mapping[FileName, str]) -> None:
    """Keep `texts` (whole files, TOML or not) as the draft of a config; nothing to keep removes it.

    Not synced to disk: it is written with every change.
    """
    path = _path(workspace, config.name)
    if not texts:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {file: {"base": _base(config, file), "text": text} for file, text in texts.items()}
    write_json(path, {"v": VERSION, "files": files}, fsync=False)


def read(workspace: Workspace, config: Config) -> Draft | None:
    """The draft of a config that was just loaded; None when there is none, or when it is damaged."""
    data = read_json(_path(workspace, config.name)) or {}
    files = data.get("files")
    if data.get("v") != VERSION or not isinstance(files, dict):
        return None
    texts: dict[FileName, str] = {}
    is_current = True
    for file in FILES:
        kept = files.get(file)
        if isinstance(kept, dict) and isinstance(kept.get("text"), str):
            texts[file] = kept["text"]
            is_current = is_current and kept.get("base") == _base(config, file)
    return Draft(texts, is_current) if texts else None


def _path(workspace: Workspace, name: str) -> Path:
    return workspace.own / "drafts" / f"{name}.json"


def _base(config: Config, file: FileName) -> str | None:
    data = config.loaded(file)
    return None if data is None else content_hash(data)
