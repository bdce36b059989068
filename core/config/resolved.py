"""What the trainer will really use of each subset: every key through its fallbacks, paths from the workspace."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.base_models import SCRIPTS, BaseModel, inspect
from core.config.documents import SAID_SCRIPT, Config
from core.config.reading import read_toml
from core.config.schema import DEFAULT_SCRIPT, dataset_defaults, dataset_fields, fields, renamed
from core.config.values import from_text
from core.dataset.model import is_image_name, parse_folder_name
from core.files import sorted_in_turns
from core.problems import UserError

if TYPE_CHECKING:
    from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ResolvedSubset:
    """One subset. `where` names its place in the file; `folder` is None when no image_dir is given."""

    where: str
    folder: Path | None
    values: Mapping[str, Any]

    @property
    def repeats(self) -> int:
        value = self.values["num_repeats"]
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class ResolvedDataset:
    """One `[[datasets]]` with its subsets; `resolution` is (width, height) or None when none is given."""

    where: str
    values: Mapping[str, Any]
    subsets: tuple[ResolvedSubset, ...]

    @property
    def resolution(self) -> tuple[int, int] | None:
        value = self.values.get("resolution")
        if isinstance(value, int) and not isinstance(value, bool):
            return value, value
        if isinstance(value, list) and len(value) in {1, 2} and all(isinstance(item, int) for item in value):
            return value[0], value[-1]
        return None


def network_scale(train: Mapping[str, Any]) -> float | None:
    """alpha / dim, by which the trainer multiplies what the LoRA learns; None for what is no LoRA (networks/lora.py).

    Without the options alpha is 1 and dim 4; an alpha of 0 stands for dim. In OFT alpha is a constraint, no scale.
    """
    dim, alpha = train.get("network_dim"), train.get("network_alpha")
    dim, alpha = 4 if dim is None else dim, 1 if alpha is None else alpha
    if not isinstance(dim, int | float) or not isinstance(alpha, int | float) or dim <= 0:
        return None
    if str(train.get("network_module", "")).startswith("networks.oft"):
        return None
    return float(alpha or dim) / dim


def resolve(config: Config, workspace: Workspace) -> tuple[ResolvedDataset, ...]:
    """The datasets as sd-scripts' blueprint makes them (config_util.py, BlueprintGenerator).

    Order of fallback: subset, its dataset, general, train.toml, default. Without a dataset file `train_data_dir` and
    `reg_data_dir` count, whose folders are named `<repeats>_<name>`.
    """
    train = config.effective()
    data = dataset_values(config, workspace)
    given = given_by_train(train)
    defaults = {name: value for name, value in dataset_defaults().items() if name != "subsets"}
    general = data.get("general") if isinstance(data.get("general"), dict) else {}
    datasets = data.get("datasets")
    if not data:
        datasets = [{"subsets": _folders(train, workspace)}]
    found: list[ResolvedDataset] = []
    for index, dataset in enumerate(datasets if isinstance(datasets, list) else []):
        if not isinstance(dataset, dict):
            continue
        chain = [dataset, general or {}, given, defaults]
        where = f"datasets[{index}]"
        rows = dataset.get("subsets")
        subsets = tuple(
            _subset(f"{where}.subsets[{number}]", [row, *chain], workspace)
            for number, row in enumerate(rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        )
        found.append(ResolvedDataset(where, _merged(chain), subsets))
    return tuple(found)


def dataset_values(config: Config, workspace: Workspace) -> dict[str, Any]:
    """The dataset file that the trainer will read: the config's own, else the one that `dataset_config` names.

    Empty when there is none, or when it is broken.
    """
    named = config.get("train", "dataset_config")
    if config.text("dataset").strip() or not isinstance(named, str):
        return config.plain("dataset")
    try:
        text = (workspace.root / named).read_text("utf-8")
        if named.lower().endswith(".json"):  # config_util.py, load_user_config
            data = json.loads(text)
            return data if isinstance(data, dict) else {}
        return read_toml(text, named)
    except (OSError, ValueError, UserError, RecursionError):
        return {}


def images_in(folder: Path) -> list[str] | None:
    """The names of the images that the trainer takes from `folder`, in its order; None when it is no folder.

    train_util.py, `glob_images`: no sub-folders, no hidden files, sorted by code point.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted_in_turns(
                entry.name for entry in entries if is_image_name(entry.name) and entry.name[0] != "."
            )
    except OSError:
        return None


def script_of(config: Config, workspace: Workspace) -> str:
    """The script that will train this config (see `script_for`)."""
    name = config.get("train", "pretrained_model_name_or_path")
    path = workspace.root / Path(name).expanduser() if isinstance(name, str) and name else None
    return script_for(config.text("train"), path if path is not None and path.exists() else None)


def is_script_sure(config: Config, workspace: Workspace) -> bool:
    """Whether `script_of` is more than a guess: named in the config, or told by the base model's header."""
    if SAID_SCRIPT.search(config.text("train")):
        return True
    model = model_of(config, workspace)
    return model is not None and model.architecture is not None


def script_for(text: str, model: Path | None) -> str:
    """The training script of a config: named by its comment `# script: …`, else the one that fits the base checkpoint.

    `text` is that of train.toml. What cannot be told from the checkpoint's header counts as SD1.5: the trainer itself
    will say what is wrong.
    """
    said = SAID_SCRIPT.search(text)
    if said:
        return said[1]
    architecture = None if model is None else inspect(model).architecture
    return SCRIPTS.get(architecture or "", DEFAULT_SCRIPT)


def model_of(config: Config, workspace: Workspace) -> BaseModel | None:
    """The base model of the config as its header tells; None when it is not a file or folder here."""
    name = config.get("train", "pretrained_model_name_or_path")
    if not isinstance(name, str) or not name:
        return None
    path = workspace.root / Path(name).expanduser()
    return inspect(path) if path.exists() else None


def _subset(where: str, chain: list[Mapping[str, Any]], workspace: Workspace) -> ResolvedSubset:
    values = _merged(chain)
    folder = chain[0].get("image_dir")
    path = workspace.root / Path(folder).expanduser() if isinstance(folder, str) and folder else None
    return ResolvedSubset(where, path, values)


def _merged(chain: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for values in reversed(chain):
        merged.update({name: value for name, value in values.items() if value is not None})
    for name in chain[-1]:
        merged.setdefault(name, None)
    merged.pop("subsets", None)
    return merged


def given_by_train(train: Mapping[str, Any]) -> dict[str, Any]:
    """What train.toml gives to the dataset file where that is silent, by the names of the dataset file."""
    known = fields()
    keys = dataset_fields("subsets").keys() | dataset_fields("datasets").keys()
    names = {**renamed(), **{name: name for name in known.keys() & keys}}
    given = {names[name]: value for name, value in train.items() if name in names}
    resolution = given.get("resolution")
    if isinstance(resolution, str):
        try:
            given["resolution"] = from_text(resolution, dataset_fields("datasets")["resolution"])
        except UserError:
            del given["resolution"]
    return given


def _folders(train: Mapping[str, Any], workspace: Workspace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key in ("train_data_dir", "reg_data_dir"):
        parent = train.get(key)
        if not isinstance(parent, str):
            continue
        folder = workspace.root / parent
        try:
            names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        except OSError:
            continue
        for name in names:
            parsed = parse_folder_name(name)
            if parsed is not None and parsed[0] > 0:
                row = {"image_dir": str(folder / name), "num_repeats": parsed[0], "class_tokens": parsed[1]}
                found.append({**row, "is_reg": key == "reg_data_dir"})
    return found
