"""The files of a config as the trainer will read them, frozen or still in the workspace."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.problems import UserError
from core.workspace import Workspace

FROZEN = ("train.toml", "dataset.toml", "prompts.txt")


def read(path: Path) -> bytes:
    """Raises UserError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror}",
            "List the configs: kohya-tui config, or make one: kohya-tui config new NAME",
        ) from error


def frozen_in(run_dir: Path) -> dict[str, bytes]:
    """The inputs that a run keeps: file name → content. Raises UserError."""
    return {name: read(run_dir / name) for name in FROZEN if (run_dir / name).is_file()}


def own_or_named(workspace: Workspace, own: Path, named: Any) -> bytes | None:
    """The config folder's own file, else the one that train.toml names (relative to the workspace), else None.

    One of another kind (a JSON dataset config, prompts in TOML) is left to train.toml: sd-scripts goes by the suffix.
    """
    if own.is_file():
        return read(own)
    if isinstance(named, str) and named.endswith(own.suffix) and (workspace.root / named).is_file():
        return read(workspace.root / named)
    return None


def parse(path: Path, data: bytes) -> dict[str, Any]:
    """The TOML in `data`, which came from `path`. Raises UserError."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is not valid TOML: {error}", "Correct it in the Config screen or an editor."
        ) from error


def flatten(path: Path, data: bytes) -> dict[str, Any]:
    """Options as sd-scripts reads them: sections dissolve, the last of two equal keys wins. Raises UserError."""
    options: dict[str, Any] = {}
    for key, value in parse(path, data).items():
        if isinstance(value, dict):
            options.update(value)
        else:
            options[key] = value
    return options


def dataset_name(workspace: Workspace, dataset: bytes | None, options: Mapping[str, Any]) -> str | None:
    """The name under train_data/ that the config trains on, when it is one."""
    folders = [options.get("train_data_dir")]
    for table in tomllib.loads(dataset.decode("utf-8")).get("datasets", []) if dataset is not None else []:
        subsets = table.get("subsets", []) if isinstance(table, dict) else []
        folders += [subset.get("image_dir") for subset in subsets if isinstance(subset, dict)]
    for text in folders:
        if isinstance(text, str) and (workspace.root / text).is_relative_to(workspace.train_data):
            parts = (workspace.root / text).relative_to(workspace.train_data).parts
            if parts:
                return parts[0]
    return None
