"""Presets: whole configs with the reason beside each value, made for a dataset of the workspace.

A preset is named `FAMILY-PURPOSE` (`sdxl-character`) and composed for an optimizer and an amount of GPU memory; beside
those are the user's own and the demo's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.documents import FILES, Config, FileName
from core.config.pieces import (
    TEMPLATES,
    TIERS,
    Family,
    families,
    family_named,
    family_of,
    optimizers,
    purpose_named,
    purposes,
)
from core.config.schema import parse_value
from core.dataset.model import Subset, parse_folder_name
from core.dataset.scan import dataset_dir, subsets
from core.files import natural_key
from core.problems import UserError

if TYPE_CHECKING:
    from core.config.compose import Composed
    from core.dataset.edits import Journal
    from core.workspace import Workspace

DEMO = "demo"
DEFAULT = "sd15-character"
_DEMO_MODEL = "models/demo-base.safetensors"
_NAME = re.compile(r"[^/\\\"\x00-\x1f\x7f]+$")


@dataclass(frozen=True, slots=True)
class Preset:
    """A starting point, as it is listed. `optimizer` and `vram` are what it takes when nothing else is asked for."""

    name: str
    title: str
    description: str
    architecture: str
    script: str
    optimizer: str | None = None
    vram: int | None = None
    is_own: bool = False

    def as_json(self) -> dict[str, Any]:
        is_composed = self.vram is not None
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "architecture": self.architecture,
            "script": self.script,
            "yours": self.is_own,
            "optimizer": self.optimizer,
            "optimizers": list(optimizers()) if is_composed else [],
            "vram": self.vram,
            "vram_tiers": list(TIERS) if is_composed else [],
        }


def list_presets() -> list[Preset]:
    """Every preset: the composed ones by family, the demo's, then the user's own."""
    found = []
    for family in families().values():
        for purpose in purposes().values():
            described = f"{purpose.about} {family.optimizer}, {family.vram} GB; --optimizer and --vram change that."
            found.append(
                Preset(
                    f"{family.name}-{purpose.name}",
                    f"{purpose.name.capitalize()}, {family.title}",
                    described,
                    family.architecture,
                    family.script,
                    family.optimizer,
                    family.vram,
                )
            )
    about = "For the small trainer inside kohya-tui: a minute on any CPU."
    found.append(Preset(DEMO, "Demo", about, "demo", "train_network.py"))
    return [*found, *own_presets()]


def own_presets() -> list[Preset]:
    """The user's; one that cannot be read says so in its description."""
    from core.config.own_presets import load_preset, own_names

    found = []
    for name in own_names():
        try:
            composed = load_preset(name)
            found.append(Preset(name, name, composed.title, composed.architecture, composed.script, is_own=True))
        except UserError as error:
            found.append(Preset(name, name, error.message, "", "", is_own=True))
    return found


def is_shipped(name: str) -> bool:
    """Whether a name means a preset that comes with kohya-tui."""
    try:
        return name == DEMO or parts_of(name) is not None
    except UserError:
        return False


def is_composed(name: str | None) -> bool:
    """Whether a preset is made for an optimizer and an amount of memory; None is the one that the base model tells."""
    return name is None or (name != DEMO and name not in _own_names() and parts_of(name) is not None)


def word_of(config: Config, workspace: Workspace) -> str | None:
    """The word that a config's sample prompts were made with: the class name of its first folder that has one."""
    from core.config.resolved import resolve

    for dataset in resolve(config, workspace):
        for subset in dataset.subsets:
            parsed = parse_folder_name(subset.folder.name) if subset.folder is not None else None
            if parsed is not None and parsed[1]:
                return parsed[1]
    return None


def parts_of(name: str) -> tuple[Family | None, str] | None:
    """Family and purpose that a name of a composed preset means; None for another name.

    `sdxl-character`, `illustrious-style`; `sdxl` alone is its character; `style` alone leaves the family open.
    """
    plain = name.strip().lower().replace("_", "-")
    if plain in purposes():
        return None, plain
    family, _, purpose = plain.rpartition("-")
    try:
        if purpose in purposes():
            return family_named(family), purpose
        return family_named(plain), "character"
    except UserError:
        return None


def draft(
    workspace: Workspace,
    name: str,
    preset: str | None = DEFAULT,
    dataset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    trigger: str | None = None,
    optimizer: str | None = None,
    vram: float | None = None,
) -> Config:
    """A config from a preset, in memory only, with one subset a folder of the dataset; text in `overrides` is parsed.

    Without a preset, or with a purpose alone, the family is that of the base model in `overrides`, else of the only one
    in the workspace. The trigger word of the sample prompts is `trigger`, else the dataset's class name. UserError for
    an unknown preset, optimizer, dataset or value, and for a GPU that is too small. `write_new` writes it.
    """
    check_name(name)
    overrides = dict(overrides or {})
    word = name
    parts: tuple[Subset, ...] = ()
    if dataset is not None:
        parts = subsets(dataset_dir(workspace, dataset))
        word = next((part.class_name for part in parts if part.class_name), dataset)
    words = {"name": name, "trigger": trigger or word}
    blocks = subset_text(workspace, parts)
    if preset == DEMO:
        _refuse_parts(preset, optimizer, vram)
        texts = _demo_texts(words | {"model": _quoted(_model(workspace, DEMO) or _DEMO_MODEL)}, blocks)
    else:
        from core.config.preset_text import texts_of

        composed, called = composed_for(workspace, preset, overrides.get(_BASE), optimizer, vram)
        words |= {key: _component(workspace, patterns) for key, patterns in composed.files.items()}
        words["model"] = (
            _model(workspace, composed.architecture, composed.prediction, composed.family) or composed.model
        )
        texts = texts_of(composed, name, called, words, blocks)
    config = Config(workspace.configs / name, texts)
    for key, value in overrides.items():
        file = config.home(key)
        config.set(file, key, parse_value(file, key, value, config.script) if isinstance(value, str) else value)
    return config


_BASE = "pretrained_model_name_or_path"


def composed_for(
    workspace: Workspace, preset: str | None, base: Any = None, optimizer: str | None = None, vram: float | None = None
) -> tuple[Composed, str]:
    """The values of a preset of either kind, and what it is called with optimizer and memory.

    Raises UserError as `draft` does.
    """
    from core.config.compose import adapted, choose, compose

    parts = parts_of(preset) if preset is not None else (None, "character")
    if parts is None or preset in _own_names():
        from core.config.own_presets import load_preset, own_names

        assert preset is not None
        if preset not in own_names():
            known = [each.name for each in list_presets()]
            raise UserError(f"There is no preset {preset!r}", f"There are: {', '.join(known)}.")
        _refuse_parts(preset, optimizer, vram)
        return adapted(load_preset(preset)), preset
    family, purpose = parts
    if family is None:
        family = family_for(workspace, base) or family_named("sd15")
    choice = choose(family, purpose_named(purpose).name, optimizer, vram)
    return adapted(compose(choice)), f"{choice.name} ({choice.optimizer.name}, {choice.vram} GB)"


def family_for(workspace: Workspace, base: Any = None) -> Family | None:
    """The family of the base model `base` (a path from the workspace), else of the only one in `models/`."""
    from core.config.base_models import SCRIPTS, inspect, list_models

    if isinstance(base, str) and base:
        return family_of(inspect(workspace.root / Path(base).expanduser()))
    found = [model for model in list_models(workspace) if model.architecture in SCRIPTS]
    return family_of(found[0]) if len(found) == 1 else None


def _own_names() -> list[str]:
    from core.config.own_presets import own_names

    return own_names()


def _refuse_parts(preset: str, optimizer: str | None, vram: float | None) -> None:
    if optimizer is not None:
        raise UserError(f"The preset {preset} has its own optimizer", "Set optimizer_type in the config afterwards.")
    if vram is not None:
        raise UserError(f"The preset {preset} is not made by GPU memory", "Leave --vram out.")


def _demo_texts(words: Mapping[str, str], blocks: str) -> dict[FileName, str]:
    texts = {file: _filled((TEMPLATES / DEMO / path).read_text("utf-8"), words) for file, path in FILES.items()}
    return {**texts, "dataset": texts["dataset"] + blocks}


def _component(workspace: Workspace, patterns: tuple[str, ...]) -> str:
    """The path of a model's other file: the first in `models/` that is named like it, else its usual place."""
    usual, *names = patterns
    for pattern in names:
        found = [path for path in workspace.models.rglob(pattern) if path.suffix in {".safetensors", ".sft", ".pth"}]
        if found:
            return workspace.key_of(min(found, key=lambda path: natural_key(str(path))))
    return usual


def _model(
    workspace: Workspace, architecture: str, prediction: str | None = None, family: str | None = None
) -> str | None:
    """A base model of the workspace of that kind, one of `family` first; as a path in a config, None without one."""
    from core.config.base_models import list_models

    found = [
        model
        for model in list_models(workspace)
        if model.architecture == architecture and (prediction is None or (model.prediction or "epsilon") == prediction)
    ]
    own = [model for model in found if (kind := family_of(model)) is not None and kind.name == family]
    return workspace.key_of((own or found)[0].path) if found else None


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


def free_name(workspace: Workspace, base: str) -> str:
    """`base`, else `base-2` and so on: the first that no config has."""
    taken = set(workspace.config_names())
    numbered = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return next(each for each in numbered if each not in taken)


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
    from core.config.preset_text import quoted

    return quoted(text)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text
