"""TOML of LoRA Easy Training Scripts in sd-scripts' words: what its backend would write before it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from core.config.foreign import DATASET, TRAIN, TRUE_TEXTS, Foreign, is_nothing, key_values, number
from core.config.moves import Moved
from core.config.schema import DEFAULT_SCRIPT, dataset_fields, fields
from core.config.values import from_text
from core.problems import UserError

PROGRAM = "LoRA Easy Training Scripts"
_SECTIONS = frozenset(
    {"general_args", "network_args", "optimizer_args", "saving_args", "bucket_args", "noise_args", "sample_args"}
    | {"logging_args", "flux_args", "extra_args", "textual_inversion_args"}
)
_OWN = {
    "easy_name": "a name for the others to be made of: it has been filled in",
    "tag_occurrence": "writes a list of tags; kohya-tui tags DATASET shows one",
    "tag_file_location": "writes a list of tags; kohya-tui tags DATASET shows one",
    "save_toml": "keeps a copy of the settings: every run here does",
    "save_toml_location": "keeps a copy of the settings: every run here does",
    "logging_dir": "left out: every run keeps its logs in its own folder",
    "name": "names the subset in that program's list only",
}
_EMPTY = "empty, 0 or false: its backend does not pass it on either, and the trainer's default holds"
_OPTIMIZERS = {"came": ("came_pytorch.CAME", "came-pytorch")}
_THEIRS = "LoraEasyCustomOptimizer"
_SCHEDULES = {"CosineAnnealingWarmRestarts": "cosine_with_restarts", "RexAnnealingWarmRestarts": "cosine"}
"""Schedules that only that program brings → the nearest one of sd-scripts."""


def is_easy_training(data: Mapping[str, Any]) -> bool:
    """Whether this TOML has the sections of that program: as it saves them, or as it sends them to its backend."""
    sent = data.get("args")
    if isinstance(sent, dict) and any(isinstance(sent.get(name), dict) for name in _SECTIONS):
        return True
    saved = [data[name] for name in _SECTIONS if isinstance(data.get(name), dict)]
    return any("args" in each or "dataset_args" in each for each in saved)


def read_easy_training(data: Mapping[str, Any]) -> Foreign:
    """The settings. Raises UserError for those of a textual inversion."""
    mode = data.get("train_mode")
    if isinstance(mode, dict) and mode.get("train_mode") not in (None, "lora"):
        raise UserError(
            "These settings train a textual inversion, not a LoRA", "Choose LoRA in that program, and save them again."
        )
    rows = list(_rows(data))
    is_flux = bool(_table(data, "flux_args"))
    is_sdxl = any(key == "sdxl" and value in (True, "true") for _, key, value in rows)
    script = "flux_train_network.py" if is_flux else "sdxl_train_network.py" if is_sdxl else DEFAULT_SCRIPT
    found = Foreign(PROGRAM, script)
    if script != DEFAULT_SCRIPT:
        what = "flux_args" if is_flux else "sdxl"
        found.moved.append(Moved(what, PROGRAM, f"{TRAIN}: script", f"chooses the script {script}"))
    easy = str(next((value for _, key, value in rows if key == "easy_name"), ""))
    for place, key, value in rows:
        if isinstance(value, str):
            value = TRUE_TEXTS.get(value.lower(), value.replace("${replace}", easy))
        if key == "sdxl":
            continue
        if key in _OWN:
            found.drop(key, _OWN[key])
        else:
            _option(found, place, key, value)
    _schedule(found)
    if "network_module" not in found.train:
        module = "networks.lora_flux" if is_flux else "networks.lora"
        found.put("network_module", module, f"{PROGRAM} network_args")
    _dataset(found, data)
    return found.finish()


def _table(data: Mapping[str, Any], name: str, kind: str = "args") -> dict[str, Any]:
    """[name.args] as that program saves it, or [args.name] as its backend gets it; empty when there is none."""
    outer = data.get(name)
    if isinstance(outer, dict) and isinstance(outer.get(kind), dict):
        return dict(outer[kind])
    sent = data.get("args" if kind == "args" else "dataset")
    inner = sent.get(name) if isinstance(sent, dict) else None
    return dict(inner) if isinstance(inner, dict) else {}


def _names(data: Mapping[str, Any]) -> list[str]:
    sent = [data.get(name) for name in ("args", "dataset")]
    names = [*data, *(name for table in sent if isinstance(table, dict) for name in table)]
    return [name for name in dict.fromkeys(names) if name not in {"subsets", "train_mode", "args", "dataset"}]


def _rows(data: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(section, key, value) of every option of the training."""
    for name in _names(data):
        for key, value in _table(data, name).items():
            yield f"[{name}.args]", key, value


def _option(found: Foreign, place: str, key: str, value: Any) -> None:
    known = fields(found.script)
    if key == "network_args" and isinstance(value, dict):
        _network(found, place, value)
    elif key in {"optimizer_args", "lr_scheduler_args"} and isinstance(value, dict):
        if value:
            found.put(key, key_values(value), f"{PROGRAM} {place}")
            why = 'a table there, a list of "key=value" with sd-scripts'
            found.moved.append(Moved(f"{key}: {', '.join(value)}", f"{PROGRAM} {place}", f"{TRAIN}: {key}", why))
    elif key == "fa":
        if value:
            found.rename(key, "network_module", "networks.lora_fa", "LoRA-FA is a module of its own")
        else:
            found.drop(key, _EMPTY)
    elif key == "warmup_ratio":
        found.rename(
            key, "lr_warmup_steps", round(number(value), 6), "a share of all steps, which sd-scripts takes as it is"
        )
    elif key == "optimizer_type":
        _optimizer(found, place, str(value))
    elif is_nothing(value):
        found.drop(key, _EMPTY)
    elif key == "max_timestep" and value == 1000:
        found.drop(key, "the trainer does the same without it")
    elif key == "sample_prompts" and isinstance(value, str) and not value.endswith((".txt", ".toml", ".json")):
        found.prompts = value
    else:
        option = known.get(key)
        try:
            right = from_text(value, option) if isinstance(value, str) and option is not None else value
        except UserError:
            right = value
        found.put(key, right, f"{PROGRAM} {place}")


def _network(found: Foreign, place: str, values: dict[str, Any]) -> None:
    given = {key: value for key, value in values.items() if not (key == "preset" and value == "")}
    module = "lycoris.kohya" if "algo" in given else "networks.dylora" if "unit" in given else None
    if module is not None:
        why = f"{'algo' if 'algo' in given else 'unit'} belongs to the module {module}"
        found.put("network_module", module, f"{PROGRAM} {place}")
        found.moved.append(Moved("network_module", f"{PROGRAM} {place}", TRAIN, why))
    if given:
        found.put("network_args", key_values(given), f"{PROGRAM} {place}")
        why = 'a table there, a list of "key=value" with sd-scripts'
        found.moved.append(Moved(", ".join(given), f"{PROGRAM} {place}", f"{TRAIN}: network_args", why))
    for key in values.keys() - given.keys():
        found.drop(key, _EMPTY)


def _optimizer(found: Foreign, place: str, name: str) -> None:
    theirs = name.rpartition(".")[2].lower() if name.startswith(_THEIRS) else name.lower()
    if theirs in _OPTIMIZERS:
        right, package = _OPTIMIZERS[theirs]
        why = f"that program brings its own copy; with sd-scripts it is the package {package}"
        found.rename("optimizer_type", "optimizer_type", right, why)
        return
    if theirs in {"compass", "lpfadamw", "rmsprop"}:
        hint = "Choose another: AdamW and Prodigy are near to it."
        message = f"{name} is an optimizer of that program, which sd-scripts does not have"
        found.warn("KT251", f"{TRAIN}: optimizer_type", message, hint)
    found.put("optimizer_type", name, f"{PROGRAM} {place}")


def _schedule(found: Foreign) -> None:
    """Its own schedules are not there with sd-scripts alone: the nearest one, and what it loses."""
    theirs = str(found.train.get("lr_scheduler_type", ""))
    if not theirs.startswith(_THEIRS):
        return
    name = theirs.rpartition(".")[2]
    near = _SCHEDULES.get(name, "cosine")
    lost = found.train.pop("lr_scheduler_args", [])
    found.train.pop("lr_scheduler_type")
    found.moved = [move for move in found.moved if not move.key.startswith("lr_scheduler_args")]
    arguments = f" ({', '.join(lost)} is lost)" if lost else ""
    why = f"{name} is a schedule of that program, which sd-scripts does not have; {near} is nearest{arguments}"
    found.rename("lr_scheduler_type", "lr_scheduler", near, why)
    found.warn("KT249", f"{TRAIN}: lr_scheduler", why, f"Look whether {near} is what you want.")
    if near != "cosine_with_restarts" and "lr_scheduler_num_cycles" in found.train:
        found.train.pop("lr_scheduler_num_cycles")
        found.drop("lr_scheduler_num_cycles", f"belongs to {name}")


def _dataset(found: Foreign, data: Mapping[str, Any]) -> None:
    general = dataset_fields("datasets")
    for name in _names(data):
        for key, value in _table(data, name, "dataset_args").items():
            if isinstance(value, str) and key in general:
                with contextlib.suppress(UserError):
                    value = from_text(value, general[key])
            if key == "max_token_length":
                if value != 75:
                    found.put(key, value, f"{PROGRAM} [{name}.dataset_args]")
            elif is_nothing(value):
                found.drop(key, _EMPTY)
            elif key in general or key in dataset_fields("general"):
                found.general[key] = value
            else:
                found.put(key, value, f"{PROGRAM} [{name}.dataset_args]")
    sent = data.get("dataset")
    rows = data.get("subsets") or (sent.get("subsets") if isinstance(sent, dict) else None)
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        kept = {}
        for key, value in row.items():
            if key in _OWN:
                found.drop(key, _OWN[key])
            elif is_nothing(value):
                found.drop(key, _EMPTY)
            else:
                kept[key] = value
        found.subsets.append(kept)
    if found.subsets or found.general:
        why = "that program's list of subsets, and what holds for all of them"
        found.moved.append(Moved("[[subsets]], [….dataset_args]", PROGRAM, DATASET, why))
