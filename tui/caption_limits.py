"""What a config makes of captions: how many tags keep their place, and after how many tokens they are cut."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.dataset.tokens import CHUNK
from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Limits:
    """`tokens` None: no config says; 0: the model has no CLIP, and its own text encoder counts in another way."""

    keep_tokens: int | None = None
    tokens: int | None = None
    is_shuffled: bool = False


def limits_of(root: Path, dataset: str, config: str | None) -> Limits:
    """Of the config, or of the first that names this dataset; Limits() when none does."""
    workspace = Workspace(root)
    for name in [config] if config else workspace.config_names():
        folder = workspace.configs / name
        document = _read(folder / "dataset.toml")
        levels = _levels(document, f"train_data/{dataset}")
        if levels is not None:
            keep = _first(levels, "keep_tokens")
            return Limits(
                keep if isinstance(keep, int) and not isinstance(keep, bool) else None,
                _tokens(workspace, folder / "train.toml"),
                _first(levels, "shuffle_caption") is True,
            )
    return Limits()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}


def _levels(document: dict[str, Any], folder: str) -> list[dict[str, Any]] | None:
    """The tables that hold for the first subset in `folder`, the nearest first; None when there is none in it."""
    general = document.get("general")
    for entry in _tables(document.get("datasets")):
        for subset in _tables(entry.get("subsets")):
            if f"{folder}/" in f"{subset.get('image_dir', '')}/":
                return [subset, entry, *([general] if isinstance(general, dict) else [])]
    return None


def _tables(value: object) -> Iterator[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _first(levels: list[dict[str, Any]], key: str) -> object:
    return next((level[key] for level in levels if key in level), None)


def _tokens(workspace: Workspace, path: Path) -> int:
    from core.config.resolved import script_for

    document = _read(path)
    levels = [document, *(value for value in document.values() if isinstance(value, dict))]
    base, limit = _first(levels, "pretrained_model_name_or_path"), _first(levels, "max_token_length")
    model = workspace.root / Path(base).expanduser() if isinstance(base, str) and base else None
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError):
        text = ""
    script = script_for(text, model if model is not None and model.exists() else None)
    if not script.startswith(("train_", "sdxl_", "fine_tune")):
        return 0
    return limit if isinstance(limit, int) and limit > CHUNK else CHUNK
