"""Presets: whole configs with the reason beside each value, made for a dataset of the workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.documents import FILES, Config
from core.config.schema import parse_value
from core.dataset.model import Subset
from core.dataset.scan import dataset_dir, subsets
from core.problems import UserError

if TYPE_CHECKING:
    from core.dataset.edits import Journal
    from core.workspace import Workspace

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[^/\\\"\x00-\x1f\x7f]+$")


@dataclass(frozen=True, slots=True)
class Preset:
    """A starting point. `model` is the path that is written when the workspace has no fitting base model."""

    name: str
    title: str
    description: str
    architecture: str
    model: str


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "sd15-character",
            "Character, SD1.5",
            "The values of the community guide, made right: dim 128, alpha 64, 768 px, 10 epochs. 8 GB.",
            "SD1.5",
            "models/v1-5-pruned-emaonly-fp16.safetensors",
        ),
        Preset(
            "sdxl-character",
            "Character, SDXL / Illustrious / NoobAI eps / Pony",
            "dim 32, alpha 16, 1024 px, 10 epochs, AdamW8bit. 12 GB.",
            "SDXL",
            "models/Illustrious-XL-v2.0.safetensors",
        ),
        Preset(
            "demo",
            "Demo",
            "For the small trainer inside kohya-tui: a minute on any CPU.",
            "demo",
            "models/demo-base.safetensors",
        ),
    )
}


def draft(
    workspace: Workspace,
    name: str,
    preset: str = "sd15-character",
    dataset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    trigger: str | None = None,
) -> Config:
    """A config from a preset, in memory only, with one subset a folder of the dataset; text in `overrides` is parsed.

    The trigger word of the sample prompts is `trigger`, else the dataset's class name. UserError for an unknown
    preset, dataset or value. `write_new` puts it into `configs/`.
    """
    chosen = PRESETS.get(preset)
    if chosen is None:
        raise UserError(f"There is no preset {preset!r}", f"There are: {', '.join(PRESETS)}.")
    check_name(name)
    word = name
    parts: tuple[Subset, ...] = ()
    if dataset is not None:
        parts = subsets(dataset_dir(workspace, dataset))
        word = next((part.class_name for part in parts if part.class_name), dataset)
    words = {"name": name, "trigger": trigger or word, "model": _quoted(_base_model(workspace, chosen))}
    folder = _TEMPLATES / chosen.name
    texts = {file: _filled((folder / path).read_text("utf-8"), words) for file, path in FILES.items()}
    texts["dataset"] += subset_text(workspace, parts)
    config = Config(workspace.configs / name, texts)
    for key, value in (overrides or {}).items():
        file = config.home(key)
        config.set(file, key, parse_value(file, key, value, config.script) if isinstance(value, str) else value)
    return config


def write_new(config: Config, journal: Journal | None = None) -> Config:
    """Write a config that was not there before, as one undoable step; UserError when one of its files is there."""
    there = [path for file in FILES if (path := config.path(file)).exists()]
    if there:
        raise UserError(
            f"There is a config {config.name!r} already ({there[0]})",
            "Choose another name, or change it with: kohya-tui config set",
        )
    config.save(journal)
    return config


def write_config(
    workspace: Workspace, name: str, train: str, dataset: str, prompts: str, journal: Journal | None = None
) -> Config:
    """Write `configs/<name>/` from three texts; UserError when it is there already or a text is not TOML."""
    check_name(name)
    texts = {"train": train, "dataset": dataset, "prompts": prompts}
    return write_new(Config(workspace.configs / name, {file: texts[file] for file in FILES}), journal)


def check_name(name: str) -> None:
    """UserError when `name` cannot be a folder and a file name."""
    if not _NAME.match(name) or name.strip(". ") != name or len(name.encode()) > 100:
        raise UserError(f"{name!r} cannot be the name of a config", "Use letters, digits, - and _, such as rinni-v1.")


def subset_text(workspace: Workspace, parts: Sequence[Subset]) -> str:
    """The `[[datasets.subsets]]` blocks for the folders of a dataset, as text to put below its `[[datasets]]`."""
    blocks = []
    for part in parts:
        path = workspace.key_of(part.path)
        repeats = f"num_repeats = {max(part.repeats, 0)}"
        blocks.append(f"\n  [[datasets.subsets]]\n  image_dir = {_quoted(path)}\n  {repeats}\n")
    if not blocks:
        blocks.append('\n  # [[datasets.subsets]]\n  # image_dir = "train_data/NAME/10_NAME"\n  # num_repeats = 10\n')
    return "".join(blocks)


def _quoted(text: str) -> str:
    if "\\" in text and "'" not in text:
        return f"'{text}'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def _base_model(workspace: Workspace, preset: Preset) -> str:
    from core.config.base_models import list_models

    found = [model for model in list_models(workspace) if model.architecture == preset.architecture]
    if preset.architecture == "SDXL":
        found = [model for model in found if model.prediction != "v"]
    return workspace.key_of(found[0].path) if found else preset.model
