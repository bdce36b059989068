"""The dataset TOML: checked as strictly as sd-scripts' schema does, with the fallback from subset to command line."""

from __future__ import annotations

import json
import tomllib
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.demo.trainer.arguments import CATALOGUE
from core.demo.trainer.log import logger

Rules = dict[str, str]


class MultipleInvalid(Exception):
    """The configuration does not fit the schema; the message names the place."""


# People and our own diagnosis search for the last line of the traceback: it carries the name that sd-scripts shows.
MultipleInvalid.__module__ = "voluptuous.error"


@dataclass(slots=True, eq=False)
class SubsetConfig:
    """One folder of images with everything that applies to it."""

    image_dir: str
    num_repeats: int
    is_reg: bool
    class_tokens: str | None
    caption_extension: str
    shuffle_caption: bool
    keep_tokens: int
    keep_tokens_separator: str
    caption_separator: str
    secondary_separator: str | None
    enable_wildcard: bool
    caption_prefix: str | None
    caption_suffix: str | None
    caption_dropout_rate: float
    caption_dropout_every_n_epochs: int
    caption_tag_dropout_rate: float
    color_aug: bool
    flip_aug: bool
    face_crop_aug_range: tuple[float, float] | None
    random_crop: bool
    token_warmup_min: int
    token_warmup_step: float
    alpha_mask: bool
    resize_interpolation: str | None
    custom_attributes: dict[str, Any]
    image_count: int = 0


@dataclass(slots=True, eq=False)
class DatasetConfig:
    """One [[datasets]] table with its subsets."""

    resolution: tuple[int, int] | None
    batch_size: int
    enable_bucket: bool
    min_bucket_reso: int
    max_bucket_reso: int
    bucket_reso_steps: int
    bucket_no_upscale: bool
    validation_split: float
    validation_seed: int | None
    resize_interpolation: str | None
    subsets: list[SubsetConfig]


def _facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CATALOGUE / "dataset.json").read_text(encoding="utf-8"))
    return loaded


def _rules(facts: dict[str, Any], level: str) -> Rules:
    return {name: facts["kinds"][name] for name in facts["levels"][level] if name in facts["kinds"]}


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "str": (str,),
    "dict": (dict,),
    "number": (float, int),
}


def _value(value: object, kind: str, where: str, holder: str = "dictionary") -> Any:
    if kind in ("pair", "resolution"):
        item = float if kind == "pair" else int
        if kind == "resolution" and isinstance(value, int):
            return (value, value)
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, item) for part in value):
            return (value[0], value[1])
        raise MultipleInvalid(f"expected {item.__name__} or a list of two for {holder} value @ {where}")
    if not isinstance(value, _KINDS[kind]):
        raise MultipleInvalid(f"expected {_KINDS[kind][-1].__name__} for {holder} value @ {where}")
    return value


def _table(table: object, rules: Rules, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise MultipleInvalid(f"expected a dictionary @ {where}")
    out: dict[str, Any] = {}
    for key, value in table.items():
        if key not in rules:
            raise MultipleInvalid(f"extra keys not allowed @ {where}[{key!r}]")
        out[key] = _value(value, rules[key], f"{where}[{key!r}]")
    if "image_dir" in rules and "image_dir" not in out:
        raise MultipleInvalid(f"required key not provided @ {where}['image_dir']")
    return out


def _check_user_config(document: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    general, per_dataset, per_subset = (_rules(facts, level) for level in ("general", "datasets", "subsets"))
    out: dict[str, Any] = {"general": {}, "datasets": []}
    for key, value in document.items():
        if key == "general":
            out["general"] = _table(value, general, "data['general']")
        elif key != "datasets":
            raise MultipleInvalid(f"extra keys not allowed @ data[{key!r}]")
        elif not isinstance(value, list):
            raise MultipleInvalid("expected a list @ data['datasets']")
    for number, dataset in enumerate(document.get("datasets", [])):
        where = f"data['datasets'][{number}]"
        if not isinstance(dataset, dict):
            raise MultipleInvalid(f"expected a dictionary @ {where}")
        checked = _table({key: value for key, value in dataset.items() if key != "subsets"}, per_dataset, where)
        checked["subsets"] = [
            _table(subset, per_subset, f"{where}['subsets'][{index}]")
            for index, subset in enumerate(dataset.get("subsets", []))
        ]
        out["datasets"].append(checked)
    return out


def _check_arguments(args: Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    rules = _rules(facts, "general") | {
        "debug_dataset": "bool",
        "max_token_length": "int",
        "prior_loss_weight": "number",
    }
    names: dict[str, str] = facts["renamed"]
    out: dict[str, Any] = {}
    for dest, value in vars(args).items():
        name = names.get(dest, dest)
        if name in rules and value is not None:
            out[name] = _value(value, rules[name], f"data[{dest!r}]", "object")
    return out


def _from_folders(parent: str | None, is_reg: bool) -> list[dict[str, Any]]:
    """The subsets of a folder with `<repeats>_<name>` sub-folders (--train_data_dir)."""
    if parent is None or not Path(parent).is_dir():
        return []
    subsets = []
    for folder in Path(parent).iterdir():
        if not folder.is_dir():
            continue
        repeats, _, name = folder.name.partition("_")
        if not repeats.removeprefix("-").isdigit():
            logger.warning(
                f"ignore directory without repeats / 繰り返し回数のないディレクトリを無視します: {folder.name}"
            )
        elif int(repeats) >= 1:
            subsets.append(
                {"image_dir": str(folder), "num_repeats": int(repeats), "is_reg": is_reg, "class_tokens": name}
            )
    return subsets


def load(args: Namespace) -> list[DatasetConfig]:
    """The datasets to train on, from --dataset_config or from --train_data_dir.

    Raises MultipleInvalid for an unknown key or a value of the wrong kind (an int is no float here), naming its place.
    """
    facts = _facts()
    if args.dataset_config is not None:
        logger.info(f"Loading dataset config from {args.dataset_config}")
        path = Path(args.dataset_config)
        if path.suffix.lower() == ".json":
            document = json.loads(path.read_text(encoding="utf-8"))
        else:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        others = ("train_data_dir", "reg_data_dir", "in_json")
        if any(getattr(args, name) is not None for name in others):
            text = ", ".join(others)
            logger.warning(
                f"ignoring the following options because config file is found: {text} / "
                f"設定ファイルが利用されるため以下のオプションは無視されます: {text}"
            )
    elif args.in_json is not None:
        raise ValueError("the demo trainer reads caption files, not a metadata file: leave out --in_json")
    else:
        logger.info("Using DreamBooth method.")
        document = {
            "datasets": [
                {"subsets": _from_folders(args.train_data_dir, False) + _from_folders(args.reg_data_dir, True)}
            ]
        }
    try:
        config = _check_user_config(document, facts)
    except MultipleInvalid:
        logger.error("Invalid user config / ユーザ設定の形式が正しくないようです")
        raise
    try:
        fallback = _check_arguments(args, facts)
    except MultipleInvalid:
        logger.error(
            "Invalid cmdline parsed arguments. This should be a bug. / "
            "コマンドラインのパース結果が正しくないようです。プログラムのバグの可能性が高いです。"
        )
        raise
    return [_dataset(dataset, config["general"], fallback, facts["defaults"]) for dataset in config["datasets"]]


def _dataset(
    table: dict[str, Any], general: dict[str, Any], fallback: dict[str, Any], defaults: dict[str, Any]
) -> DatasetConfig:
    def pick(name: str, *tables: dict[str, Any]) -> Any:
        found = (table[name] for table in (*tables, general, fallback) if table.get(name) is not None)
        return next(found, defaults.get(name))

    own = [name for name in DatasetConfig.__dataclass_fields__ if name != "subsets"]
    subsets = []
    for subset in table["subsets"]:
        names = [name for name in SubsetConfig.__dataclass_fields__ if name != "image_count"]
        values = {name: pick(name, subset, table) for name in names}
        values["keep_tokens_separator"] = values["keep_tokens_separator"] or ""
        values["custom_attributes"] = values["custom_attributes"] or {}
        subsets.append(SubsetConfig(**values))
    return DatasetConfig(subsets=subsets, **{name: pick(name, table) for name in own})
