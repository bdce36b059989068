"""The facts of every option: kind, default, choices, group, one-line help; for the scripts and for the dataset file.

The facts come from sd-scripts' own parsers: those of the user's checkout once it was read (`core.config.refresh`),
else those shipped (catalogue/*.json). Groups and words are ours (catalogue/help.toml).
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.config.refresh import Kept

GROUPS = (
    "Model",
    "Dataset",
    "Network",
    "Optimizer",
    "Training",
    "Memory",
    "Saving",
    "Sampling",
    "Logging",
    "Advanced",
)
LEVELS = ("general", "datasets", "subsets")
DEFAULT_SCRIPT = "train_network.py"
VERSION = 2
"""Of the shape of the catalogue, shipped or kept."""
_CATALOGUE = Path(__file__).with_name("catalogue")


@dataclass(frozen=True, slots=True)
class Field:
    """One option.

    `type` is int, float, str, bool, path, choice, list, or one of four that need care when written: `number` (int
    or float, and the kind matters: `lr_warmup_steps = 100` is steps, `0.1` a share), `resolution` (dataset file only:
    int or [int, int]), `pair` (two floats) and `dict`. `item` is the kind of a list's elements.
    """

    name: str
    type: str
    default: Any
    choices: tuple[Any, ...]
    group: str
    help: str
    essential: bool
    item: str = "str"
    upstream: str = ""
    """What the authors of sd-scripts say of it, in their English words; from the user's checkout only, else empty."""


@cache
def _shipped(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((_CATALOGUE / f"{name}.json").read_text("utf-8"))
    return data


@cache
def _kept() -> Kept | None:
    from core.config.refresh import kept

    return kept()


def _json(name: str) -> dict[str, Any]:
    """`options`, `dataset` or `network_args`: of the user's checkout, else as shipped."""
    known = _kept()
    data: dict[str, Any] = known.facts[name] if known is not None and known.facts is not None else _shipped(name)
    return data


def source() -> str:
    """Where the facts are from, in words."""
    known = _kept()
    if known is not None and known.facts is not None:
        return known.name
    return f"shipped with kohya-tui, from sd-scripts {shipped_commit()}"


def shipped_commit() -> str:
    """The commit of sd-scripts that what is shipped was read from."""
    return str(_shipped("options")["source"]).rpartition(" ")[2][:8]


def forget() -> None:
    """Look again where the facts are from: the checkout was read anew, or the settings name another one."""
    for each in (_kept, _rows, fields, dataset_fields, dataset_names, only_dataset):
        each.cache_clear()


@cache
def known_paths() -> frozenset[str]:
    """Options that the parsers call text and that are paths of files or folders, as shipped."""
    data = _shipped("options")
    every = [data["options"], *data["scripts"].values()]
    return frozenset(name for rows in every for name, row in rows.items() if row[0] == "path")


def scripts(*, lora_only: bool = False) -> tuple[str, ...]:
    """The training scripts whose options are known, train_network.py first; those for a LoRA before the others."""
    names = dict.fromkeys([*_shipped("options")["scripts"], *_json("options")["scripts"]])
    return tuple(name for name in names if name.endswith("train_network.py")) if lora_only else tuple(names)


@cache
def _help() -> dict[str, Any]:
    data = tomllib.loads((_CATALOGUE / "help.toml").read_text("utf-8"))
    data["essential"] = frozenset(data["essential"])
    return data


@cache
def _words() -> dict[str, tuple[str, str]]:
    return {name: (group, text) for group, rows in _help()["options"].items() for name, text in rows.items()}


def _options_of(script: str) -> dict[str, Any]:
    """The options of the user's checkout, unless it lacks this script and what is shipped has it."""
    data, shipped = _json("options"), _shipped("options")
    return shipped if script not in data["scripts"] and script in shipped["scripts"] else data


def is_in_checkout(script: str) -> bool:
    """Whether the facts of a script are those of the user's own checkout."""
    known = _kept()
    return known is not None and known.facts is not None and script in known.facts["options"]["scripts"]


@cache
def _rows(script: str) -> dict[str, list[Any]]:
    data = _options_of(script)
    without = frozenset(data.get("without", {}).get(script, ()))
    rows = data["options"] | data["scripts"].get(script, {})
    return {name: row for name, row in rows.items() if name not in without}


@cache
def fields(script: str = DEFAULT_SCRIPT) -> Mapping[str, Field]:
    """Every option of `script` (file name), in the order of the groups; an unknown script gives train_network.py's."""
    script = Path(script).name
    said = _said(script)
    found = [_field(name, row, said.get(name, "")) for name, row in _rows(script).items()]
    order = {name: index for index, name in enumerate(_words())}
    found.sort(key=lambda field: (GROUPS.index(field.group), order.get(field.name, len(order))))
    return {field.name: field for field in found}


def _said(script: str) -> Mapping[str, str]:
    """The authors' help texts for the options of a script."""
    known = _kept()
    if known is None or known.facts is None:
        return {}
    words: dict[str, Any] = known.facts["help"]
    return {**words.get("options", {}), **words.get("scripts", {}).get(script, {})}


def _field(name: str, row: list[Any], said: str = "") -> Field:
    group, text = _words().get(name, ("Advanced", ""))
    kind, default, *rest = row
    choices = tuple(item for item in rest[0] if item is not None) if kind == "choice" else ()
    item = rest[0] if kind == "list" else "str"
    return Field(name, kind, default, choices, group, text, name in _help()["essential"], item, _english(said))


_JAPANESE = re.compile(r"\s*/?\s*[^\x00-\x7f]*[\u3040-\u30ff\u4e00-\u9fff]")


def _english(said: str) -> str:
    """The first half of "what it does / 何をする", which the authors write in one text."""
    for at in (said.find(" / "), said.find("/[")):
        if at > 0 and _JAPANESE.search(said, at):
            said = said[:at]
    found = _JAPANESE.search(said)
    return " ".join((said[: found.start()] if found and found.start() else said).split())


@cache
def dataset_fields(level: str = "subsets") -> Mapping[str, Field]:
    """The keys that the dataset file takes in `[general]`, `[[datasets]]` or `[[datasets.subsets]]`.

    A key that is set lower wins: subset, its dataset, general, then the training config.
    """
    data = _json("dataset")
    found: dict[str, Field] = {}
    names = [name for name in data["levels"][level] if name != "subsets"]
    words: dict[str, str] = _help()["dataset"]
    order = {name: index for index, name in enumerate(words)}
    for name in sorted(names, key=lambda name: order.get(name, len(order))):
        kind = data["kinds"][name]
        choices: tuple[Any, ...] = ()
        if name == "resize_interpolation":
            same = fields().get(name)
            choices = (*same.choices, "box") if same is not None else ()  # library/utils.py knows one more
        if name in {"image_dir", "metadata_file", "conditioning_data_dir"}:
            kind = "path"
        essential = name in _help()["essential_dataset"]
        found[name] = Field(name, kind, data["defaults"].get(name), choices, "Dataset", words.get(name, ""), essential)
    return found


def dataset_defaults() -> Mapping[str, Any]:
    """Every key of a dataset and a subset → what holds without it; keys that a checkout lacks are as shipped."""
    own = _json("dataset")
    defaults: dict[str, Any] = {**_shipped("dataset")["defaults"], **own["defaults"]}
    return {**dict.fromkeys((*own["levels"]["datasets"], *own["levels"]["subsets"])), **defaults}


def dataset_field(key: str) -> Field | None:
    """The facts of a key of the dataset file, from the highest level that takes it; None for a stranger."""
    return next((found for level in LEVELS if (found := dataset_fields(level).get(key))), None)


@cache
def dataset_names(level: str) -> frozenset[str]:
    """Every key that the trainer accepts at `level`, those of the fine-tuning and ControlNet kinds included."""
    levels: dict[str, list[str]] = _json("dataset")["levels"]
    return frozenset(name for key, names in levels.items() if key.split(" ")[0] == level for name in names)


@cache
def only_dataset() -> frozenset[str]:
    """Keys that mean nothing in the training config: they are read from the dataset file alone."""
    every = frozenset().union(*(dataset_names(level) for level in LEVELS)) - {"subsets"}
    return every - fields().keys()


def renamed() -> Mapping[str, str]:
    """Names of the training config → names of the dataset file (`train_batch_size` → `batch_size`)."""
    names: dict[str, str] = _json("dataset")["renamed"]
    return names


def network_args(module: str) -> Mapping[str, str] | None:
    """The keys that `network_args` of this module may hold, with their kind; None for a module that is not known.

    Kinds: int, float, bool, str, ints and floats (with commas between), pairs (`pattern=number,…`), blocks (`0,2-5`),
    list (as Python writes it).
    """
    modules: dict[str, dict[str, str]] = _json("network_args")["modules"]
    return modules.get(module) or _foreign().get(module)


def is_foreign(module: str) -> bool:
    """Whether a network module is another package's: what its documentation lists is known, not all that it takes."""
    return module in _foreign()


def _foreign() -> Mapping[str, dict[str, str]]:
    modules: dict[str, dict[str, str]] = _shipped("network_args")["foreign"]
    return modules


def network_modules() -> tuple[str, ...]:
    """The modules that `network_module` may name: of sd-scripts, then of packages known to work with it."""
    return (*_json("network_args")["modules"], *_foreign())


def optimizers() -> tuple[str, ...]:
    """Names that `optimizer_type` takes; anything else is read as `module.Class` or a class of torch.optim."""
    known = _kept()
    names = known.facts["optimizers"] if known is not None and known.facts is not None else None
    return tuple(names if names is not None else _shipped("optimizers")["optimizers"])


def schedulers() -> tuple[str, ...]:
    """Names that `lr_scheduler` takes (of transformers and diffusers, which sd-scripts asks)."""
    return tuple(_shipped("optimizers")["schedulers"])


def torch_optimizers() -> tuple[str, ...]:
    """Classes of torch.optim that `optimizer_type` takes as they are written here."""
    return tuple(_shipped("optimizers")["torch_optimizers"])


def torch_schedulers() -> tuple[str, ...]:
    """Classes of torch.optim.lr_scheduler that `lr_scheduler_type` takes as they are written here."""
    return tuple(_shipped("optimizers")["torch_schedulers"])


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, whatever its case; None when none is near."""
    lower = {each.lower(): each for each in reversed(names)}
    close = difflib.get_close_matches(name.strip().lower().replace("-", "_"), list(lower), 1, 0.75)
    return lower[close[0]] if close else None


def parse_value(file: str, key: str, text: str, script: str = DEFAULT_SCRIPT) -> Any:
    """The value that `text` (behind `KEY=` on the command line, or typed in a form) means for `key` of `file`.

    Empty text is None: unset. Raises UserError for the wrong kind; an unknown key takes what the text looks like.
    """
    from core.config.values import from_text

    if file == "train":
        return from_text(text, fields(script).get(key))
    bare = key.rsplit(".", 1)[-1]
    return from_text(text, dataset_field(bare))


def is_path(file: str, key: str) -> bool:
    """Whether the value of `key` is the path of a file or folder."""
    bare = key.rsplit(".", 1)[-1]
    found = fields().get(key) if file == "train" else dataset_field(bare)
    return found is not None and found.type == "path"


_KNOWN_SLIPS = {
    "lr": "learning_rate",
    "batch_size": "train_batch_size",
    "epochs": "max_train_epochs",
    "rank": "network_dim",
    "network_rank": "network_dim",
    "alpha": "network_alpha",
    "unet_learning_rate": "unet_lr",
    "text_encoder_learning_rate": "text_encoder_lr",
    "te_lr": "text_encoder_lr",
    "optimizer": "optimizer_type",
    "scheduler": "lr_scheduler",
    "num_epochs": "max_train_epochs",
    "pretrained_model": "pretrained_model_name_or_path",
    "model": "pretrained_model_name_or_path",
    "use_xformers": "xformers",
    "v_pred": "v_parameterization",
}


def suggest(name: str, among: frozenset[str] | None = None, script: str = DEFAULT_SCRIPT) -> str | None:
    """The option that `name` was probably meant to be, else None. `among` limits the answers (a level's keys)."""
    names = among if among is not None else frozenset(fields(script))
    plain = name.strip().lower().lstrip("-").replace("-", "_").replace(" ", "_")
    if plain in names:
        return plain if plain != name else None
    slip = _KNOWN_SLIPS.get(plain)
    if slip in names:
        return slip
    close = difflib.get_close_matches(plain, sorted(names), 1, 0.76)
    return close[0] if close else None
