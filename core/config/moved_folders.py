"""The configs that name a folder, changed to its new name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import places
from core.config.documents import Config, FileName
from core.dataset.changes import Edit

if TYPE_CHECKING:
    from core.workspace import Workspace

_FOLDER_KEYS = ("image_dir", "conditioning_data_dir", "metadata_file")
_TRAIN_KEYS = ("train_data_dir", "reg_data_dir")


@dataclass(frozen=True, slots=True)
class FollowedFolder:
    """`edits` belong into the group that renames the folder; `configs` are the names of what they change.

    `notes` are sentences about configs that may name the folder and cannot be changed.
    """

    edits: tuple[Edit, ...]
    configs: tuple[str, ...]
    notes: tuple[str, ...]


def follow_folder(workspace: Workspace, old: Path, new: Path, repeats: int | None = None) -> FollowedFolder:
    """Change every config of the workspace that names `old`, or a place in it; comments and order stay.

    With `repeats` the subsets of that folder get this num_repeats, where the trainer would take another one: it reads
    none from the folder's name in a dataset file. `old` must still be there. Nothing is written.
    """
    edits: list[Edit] = []
    names: list[str] = []
    notes: list[str] = []
    for name in workspace.config_names():
        config = Config.load(workspace.configs / name)
        for broken in config.broken:
            if old.name in config.text(broken):
                notes.append(f"{config.path(broken)} cannot be read and names {old.name}: change it by hand")
        _follow(config, workspace, old, new, repeats)
        changed = [file for file in ("train", "dataset") if file in config.changed]
        if changed:
            names.append(name)
            edits += [_edit(config, file) for file in changed]
        notes += _elsewhere(config, workspace, old)
    return FollowedFolder(tuple(edits), tuple(names), tuple(notes))


def _edit(config: Config, file: FileName) -> Edit:
    return Edit(config.path(file), config.loaded(file), config.text(file).encode("utf-8"))


def _follow(config: Config, workspace: Workspace, old: Path, new: Path, repeats: int | None) -> None:
    if "train" not in config.broken:
        train = config.effective()
        for key in _TRAIN_KEYS:
            if (text := _renamed(train.get(key), workspace, old, new)) is not None:
                config.set("train", key, text)
    if "dataset" in config.broken:
        return
    data = config.plain("dataset")
    for where, subset in _subsets(data):
        is_folder = _is_same(subset.get("image_dir"), workspace, old)
        for key in _FOLDER_KEYS:
            if (text := _renamed(subset.get(key), workspace, old, new)) is not None:
                config.set("dataset", f"{where}.{key}", text)
        if is_folder and repeats is not None and _repeats(data, where) != repeats:
            config.set("dataset", f"{where}.num_repeats", repeats)


def _subsets(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    datasets = data.get("datasets")
    for index, dataset in enumerate(datasets if isinstance(datasets, list) else ()):
        rows = dataset.get("subsets") if isinstance(dataset, dict) else None
        for number, row in enumerate(rows if isinstance(rows, list) else ()):
            if isinstance(row, dict):
                yield f"datasets[{index}].subsets[{number}]", row


def _repeats(data: dict[str, Any], where: str) -> Any:
    """What the trainer takes for a subset: its own, that of its dataset, the general one, or 1."""
    for place in (where, where.partition(".")[0], "general"):
        value = places.value_of(data, f"{place}.num_repeats")
        if value is not None:
            return value
    return 1


def _renamed(value: Any, workspace: Workspace, old: Path, new: Path) -> str | None:
    """The text that names the same place after the renaming, spelled as it was; None when it names another."""
    if not isinstance(value, str) or not value:
        return None
    path = _place(value, workspace)
    if old == new or not (path.is_relative_to(old) or path.resolve().is_relative_to(old.resolve())):
        return None
    if _is_same(value, workspace, old) and Path(value).name == old.name:
        head = value.rstrip("/").removesuffix(old.name)
        return f"{head}{new.name}{value[len(value.rstrip('/')) :]}"
    inside = path.relative_to(old) if path.is_relative_to(old) else path.resolve().relative_to(old.resolve())
    target = new / inside
    return str(target) if Path(value).expanduser().is_absolute() else os.path.relpath(target, workspace.root)


def _is_same(value: Any, workspace: Workspace, folder: Path) -> bool:
    if not isinstance(value, str) or not value:
        return False
    path = _place(value, workspace)
    return path == folder or path.resolve() == folder.resolve()


def _place(value: str, workspace: Workspace) -> Path:
    return Path(os.path.normpath(workspace.root / Path(value).expanduser()))


def _elsewhere(config: Config, workspace: Workspace, old: Path) -> list[str]:
    """A dataset file in another place is not ours to change."""
    named = config.get("train", "dataset_config")
    if not isinstance(named, str) or config.text("dataset").strip():
        return []
    path = workspace.root / Path(named).expanduser()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return [f"{path} names {old.name}: change it by hand"] if old.name in text else []
