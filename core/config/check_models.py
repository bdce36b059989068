"""Checks of the model files that train.toml names: there, whole, and what their option wants."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.base_models import SCRIPTS, USUAL, inspect, list_models
from core.config.check_options import TRAIN, error, info, warning
from core.config.resolved import model_of
from core.problems import Problem

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.settings import Settings
    from core.workspace import Workspace

_MODEL_KEYS = (
    "network_weights",
    "resume",
    "clip_l",
    "clip_g",
    "t5xxl",
    "ae",
    "gemma2",
    "qwen3",
    "text_encoder",
    "byt5",
)
_WANTED: Mapping[str, str] = {
    "clip_l": "CLIP-L",
    "clip_g": "CLIP-G",
    "t5xxl": "T5-XXL",
    "gemma2": "Gemma 2",
    "qwen3": "Qwen3",
    "text_encoder": "Qwen2.5-VL",
    "byt5": "ByT5",
    "ae": "VAE",
    "vae": "VAE",
}
"""Option → what its file must be, as `base_models.architecture_of` calls it."""


def family_of(script: str) -> str:
    """What the scripts of one kind of model begin with; "" for those of SD1.5 and SD2."""
    starts = ("sdxl_", "flux_", "sd3_", "lumina_", "anima_", "hunyuan_image_")
    return next((start for start in starts if script.startswith(start)), "")


def _parts(config: Config, workspace: Workspace) -> Iterator[Problem]:
    """VAE and text encoders: a file that is plainly something else than its option wants."""
    for key, wanted in _WANTED.items():
        value = config.get("train", key)
        path = workspace.root / Path(value).expanduser() if isinstance(value, str) and value else None
        if path is None or not path.is_file():
            continue
        model = inspect(path)
        is_checkpoint = model.architecture in SCRIPTS and (key == "vae" or model.architecture == "Lumina 2")
        if model.problem is not None:
            if model.path.suffix not in {".ckpt", ".pt"}:
                hint = "Download it again."
                yield error("KT206", f"{TRAIN}: {key}", f"{value}: {model.problem}", hint)
        elif model.architecture not in (None, wanted, "text encoder") and not is_checkpoint:
            message = f"{value} is a {model.architecture}, and {key} wants a {wanted}"
            yield error("KT261", f"{TRAIN}: {key}", message, _its_place(model.architecture or ""))
    weights = config.get("train", "network_weights")
    path = workspace.root / Path(weights).expanduser() if isinstance(weights, str) and weights else None
    if path is not None and path.is_file() and path.suffix == ".safetensors":
        kind = inspect(path).architecture
        if kind is not None and kind != "LoRA":
            message = f"{weights} is no LoRA, but {kind}"
            yield error("KT261", f"{TRAIN}: network_weights", message, _its_place(kind))


def _its_place(architecture: str) -> str:
    if architecture in SCRIPTS:
        return "It belongs into pretrained_model_name_or_path."
    if architecture == "LoRA":
        return "It belongs into network_weights, to train it further."
    keys = [key for key, wanted in _WANTED.items() if wanted == architecture]
    return f"It belongs into {' or '.join(keys)}." if keys else "Choose another file."


def check_models(config: Config, workspace: Workspace, script: str, settings: Settings) -> Iterator[Problem]:
    """The base model and the other files that train.toml names."""
    key = "pretrained_model_name_or_path"
    where = f"{TRAIN}: {key}"
    name = config.get("train", key)
    if not isinstance(name, str) or not name.strip():
        there = [model for model in list_models(workspace) if model.architecture in SCRIPTS]
        hint = f"For example {workspace.key_of(there[0].path)}." if there else "Get one: kohya-tui models base"
        yield error("KT206", where, "no base model is named", hint)
    else:
        model = model_of(config, workspace)
        if model is None:
            yield _model_missing(where, name, workspace, config.name)
        elif model.problem is not None and (model.path.suffix != ".ckpt" or not model.bytes):
            yield error("KT206", where, f"{name}: {model.problem}", "Choose another file, or download it again.")
        elif model.architecture is not None:
            yield from _fits(config, model.architecture, model.prediction, where, name, settings, script)
    for other in _MODEL_KEYS:
        value = config.get("train", other)
        if isinstance(value, str) and value and not (workspace.root / Path(value).expanduser()).exists():
            hint = f"Paths are relative to {workspace.root}."
            yield error("KT206", f"{TRAIN}: {other}", f"there is no {value}", hint)
    weights = config.get("train", "base_weights")
    vae = config.get("train", "vae")
    others = [("base_weights", item) for item in weights] if isinstance(weights, list) else []
    others += [("vae", vae)] if isinstance(vae, str) and vae.endswith((".safetensors", ".ckpt", ".pt")) else []
    for other, value in others:
        if isinstance(value, str) and value and not (workspace.root / Path(value).expanduser()).exists():
            hint = f"Paths are relative to {workspace.root}."
            yield error("KT206", f"{TRAIN}: {other}", f"there is no {value}", hint)
    if config.get("train", "dim_from_weights") is True and not config.get("train", "network_weights"):
        hint = "Name the LoRA whose dim is meant, or remove dim_from_weights."
        yield error("KT253", f"{TRAIN}: dim_from_weights", "needs network_weights", hint, fixable=True)
    yield from _resume(config, workspace)
    yield from _parts(config, workspace)
    if config.script != script:
        message = f"this config is written for {config.script}, but its base model needs {script}"
        yield warning("KT222", where, message, "Choose the base model again, or make a config from the right preset.")


def _resume(config: Config, workspace: Workspace) -> Iterator[Problem]:
    """A state that the trainer was still writing, or no state at all: train_state.json first, random states last."""
    named = config.get("train", "resume")
    folder = workspace.root / Path(named).expanduser() if isinstance(named, str) and named else None
    where = f"{TRAIN}: resume"
    if folder is None or not folder.exists():
        return
    if folder.is_file():
        hint = "Name the folder that ends in -state; a file goes into network_weights."
        yield error("KT257", where, f"{named} is a file, not a saved state", hint)
    elif not (folder / "random_states_0.pkl").exists():
        yield error(
            "KT257", where, f"{named} is no whole state", "Choose an earlier one: it was cut off while writing."
        )
    elif config.get("train", "network_weights"):
        message = "has its own weights: those of network_weights are loaded and then replaced"
        yield info("KT318", where, message, "Keep resume to go on, or network_weights to train further.")


def _model_missing(where: str, name: str, workspace: Workspace, config: str) -> Problem:
    file = Path(name).name
    same = [model.path for model in list_models(workspace) if model.path.name == file]
    if same:
        return error("KT206", where, f"there is no {name}", f"It is at {workspace.key_of(same[0])}.", fixable=True)
    if not name.endswith((".safetensors", ".ckpt")) and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        hint = "Name a file in models/ instead, unless that is meant."
        return warning("KT206", where, f"{name} is not here: the trainer will look for it on Hugging Face", hint)
    usual = next((model for model in USUAL if model.file == file), None)
    source = f"{usual.repo} {usual.file}" if usual is not None else f"REPO {shlex.quote(file)}"
    hint = f"Get it: kohya-tui models base download {source}"
    if usual is None:
        hint += f", or put it into {workspace.models}"
    if (workspace.root / name) != workspace.models / file:
        value = shlex.quote(f"pretrained_model_name_or_path=models/{file}")
        hint += f"; then: kohya-tui config set {shlex.quote(config)} {value}"
    return error("KT206", where, f"there is no {name}", hint)


def _fits(
    config: Config, architecture: str, prediction: str | None, where: str, name: str, settings: Settings, script: str
) -> Iterator[Problem]:
    if architecture not in SCRIPTS:
        yield error("KT222", where, f"{name} is a {architecture}, not a base model", "Choose a full checkpoint.")
        return
    if architecture == "demo" and settings.trainer != "demo":
        hint = 'Choose a real checkpoint, or train with the demo\'s: trainer = "demo" in kohya-tui.toml.'
        yield error("KT222", where, f"{name} is the demo's: sd-scripts cannot train on it", hint)
    right = SCRIPTS[architecture]
    if architecture != "demo" and family_of(script) != family_of(right):
        hint = f"Write “# script: {right}” into train.toml, or choose a base model for {script}."
        yield error("KT222", where, f"{name} is {architecture}, which {right} trains, and not {script}", hint)
    has_v2 = bool(config.get("train", "v2"))
    if has_v2 != (architecture == "SD2") and architecture in {"SD1.5", "SD2"}:
        hint = "Set v2 = true." if architecture == "SD2" else "Remove v2."
        yield error("KT234", f"{TRAIN}: v2", f"{name} is {architecture}", hint, fixable=True)
    is_v = bool(config.get("train", "v_parameterization"))
    if prediction == "v" and not is_v:
        hint = "Set v_parameterization = true, and zero_terminal_snr = true for NoobAI."
        message = f"{name} is a v-prediction model: trained as it stands it makes noise"
        yield warning("KT224", f"{TRAIN}: v_parameterization", message, hint, fixable=True)
    elif prediction == "epsilon" and is_v:
        message = f"is set, but nothing in {name} says that it is a v-prediction model"
        yield warning("KT224", f"{TRAIN}: v_parameterization", message, "Remove it unless you know that it is one.")
