"""Checks of what trains: optimizer, schedule, network module and their arguments, as sd-scripts would choose them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.config.base_models import SCRIPTS
from core.config.check_options import TRAIN, error, info, warning
from core.config.schema import (
    DEFAULT_SCRIPT,
    nearest,
    network_args,
    network_modules,
    optimizers,
    schedulers,
    torch_optimizers,
    torch_schedulers,
)
from core.config.values import shown
from core.problems import Problem

_DEAD: Mapping[str, str] = {
    "reduce_lr_on_plateau": "cosine",
    "cosine_warmup_with_min_lr": "cosine_with_min_lr",
}
"""Names that transformers knows, but that sd-scripts calls with arguments they do not take (get_scheduler_fix)."""
_NO_RATE = ("prodigy", "dadapt")
FITTING_MODULES: Mapping[str, tuple[str, ...]] = {
    "train_network.py": ("networks.lora", "networks.lora_fa", "networks.dylora", "networks.oft"),
    "sdxl_train_network.py": ("networks.lora", "networks.lora_fa", "networks.dylora", "networks.oft"),
    "flux_train_network.py": ("networks.lora_flux", "networks.oft_flux"),
    "sd3_train_network.py": ("networks.lora_sd3",),
    "lumina_train_network.py": ("networks.lora_lumina",),
    "hunyuan_image_train_network.py": ("networks.lora_hunyuan_image",),
    "anima_train_network.py": ("networks.lora_anima",),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "flux_train_network.py": ("clip_l", "t5xxl", "ae"),
    "lumina_train_network.py": ("gemma2", "ae"),
    "hunyuan_image_train_network.py": ("text_encoder", "byt5", "vae"),
    "anima_train_network.py": ("qwen3", "vae"),
}
"""Files that a script loads without asking whether they are named (`load_target_model` of each)."""
_BLOCKS: Mapping[str, int] = {"train_network.py": 25, "sdxl_train_network.py": 23}


def check_training(train: Mapping[str, Any], script: str, *, is_sure: bool) -> Iterator[Problem]:
    """What train.toml alone tells of optimizer, schedule and network, for a training with `script`.

    `is_sure` says that the script is known, and not only guessed because the base model is not there.
    """
    yield from _optimizer(train)
    yield from _rates(train)
    yield from _scheduler(train)
    yield from _network(train, script, is_sure=is_sure)
    yield from _needed(train, script)
    yield from _memory(train, script)


def optimizer_name(train: Mapping[str, Any]) -> str:
    """The optimizer in small letters, as sd-scripts compares it; adamw without the option (`get_optimizer`)."""
    given = train.get("optimizer_type")
    if not given:
        return "adamw8bit" if train.get("use_8bit_adam") else "lion" if train.get("use_lion_optimizer") else "adamw"
    return str(given).lower()


def _optimizer(train: Mapping[str, Any]) -> Iterator[Problem]:
    where = f"{TRAIN}: optimizer_type"
    given = train.get("optimizer_type")
    old = [key for key in ("use_8bit_adam", "use_lion_optimizer") if train.get(key) is True]
    if len(old) == 2 or (old and given):
        other = "optimizer_type" if given else old[1]
        yield error("KT253", f"{TRAIN}: {old[0]}", f"cannot go with {other}", f"Remove {old[0]}.", fixable=bool(given))
    if isinstance(given, str) and given:
        known = {name.lower() for name in optimizers()}
        if given.lower() not in known and "." not in given and given not in torch_optimizers():
            near = nearest(given, [*optimizers(), *torch_optimizers()])
            hint = f"Did you mean {near}?" if near else "One of another package is written package.Class."
            message = f"sd-scripts knows no optimizer {shown(given)}"
            yield error("KT251", where, message, hint, fixable=near is not None)
    name = optimizer_name(train)
    if train.get("fused_backward_pass") is True:
        accumulation = train.get("gradient_accumulation_steps")
        if name != "adafactor":
            hint = "Remove it, or set optimizer_type = Adafactor."
            yield error("KT253", f"{TRAIN}: fused_backward_pass", "goes with Adafactor only", hint, fixable=True)
        elif isinstance(accumulation, int) and accumulation > 1:
            message = "cannot go with gradient_accumulation_steps above 1"
            yield error("KT253", f"{TRAIN}: fused_backward_pass", message, "Remove one of the two.", fixable=True)


def _rates(train: Mapping[str, Any]) -> Iterator[Problem]:
    name = optimizer_name(train)
    given = train.get("learning_rate")
    rates = {key: _rate(train.get(key)) for key in ("learning_rate", "unet_lr", "text_encoder_lr")}
    used = {key: value for key, value in rates.items() if value is not None}
    if name.startswith(_NO_RATE):
        both = [rates["unet_lr"] or rates["learning_rate"], rates["text_encoder_lr"] or rates["learning_rate"]]
        one_half = train.get("network_train_unet_only") or train.get("network_train_text_encoder_only")
        if not one_half and None not in both and both[0] != both[1]:
            message = f"{train['optimizer_type']} takes the first rate for everything, and these two differ"
            yield warning("KT248", f"{TRAIN}: text_encoder_lr", message, "Write the same rate in both, such as 1.0.")
    elif name.startswith(("adam", "pagedadam", "lion", "pagedlion", "radam")):
        high = next((key for key, value in used.items() if value >= 0.1), None)
        if high is not None:
            message = (
                f"{used[high]:g} is far too high for {train.get('optimizer_type') or 'AdamW'}: the loss becomes NaN"
            )
            yield warning(
                "KT231", f"{TRAIN}: {high}", message, "1e-4 is usual; 1.0 belongs to Prodigy and D-Adaptation."
            )
    if isinstance(given, int | float) and not isinstance(given, bool) and given == 0 and len(used) == 1:
        relative = name == "adafactor" and "relative_step=False" not in (train.get("optimizer_args") or [])
        if not relative:
            yield warning("KT231", f"{TRAIN}: learning_rate", "is 0: nothing is learnt", "Write a rate, such as 1e-4.")


def _rate(value: Any) -> float | None:
    if isinstance(value, list):
        value = value[0] if value else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _scheduler(train: Mapping[str, Any]) -> Iterator[Problem]:
    """train_util.py, get_scheduler_fix; each sentence was tried with sd-scripts 48d368fa."""
    where = f"{TRAIN}: lr_scheduler"
    name = train.get("lr_scheduler", "constant")
    optimizer = optimizer_name(train)
    other = train.get("lr_scheduler_type")
    if optimizer.endswith("schedulefree"):
        if train.get("lr_scheduler") not in (None, "constant") or other:
            message = f"is ignored: {train['optimizer_type']} needs no schedule"
            yield info("KT317", where, message, "Remove it.", fixable=bool(train.get("lr_scheduler")))
        return
    warm = train.get("lr_warmup_steps")
    warms = isinstance(warm, int | float) and not isinstance(warm, bool) and warm > 0
    if isinstance(other, str) and other:
        if "." not in other and other not in torch_schedulers():
            near = nearest(other, torch_schedulers())
            hint = f"Did you mean {near}?" if near else "One of another package is written package.Class."
            yield error("KT249", f"{TRAIN}: lr_scheduler_type", f"torch has no schedule {shown(other)}", hint)
        elif warms:
            yield _no_warmup(other, fixable=True)
        return
    if not isinstance(name, str):
        return
    if optimizer == "adafactor" and _is_relative(train):
        if warms:
            yield _no_warmup("Adafactor, which makes its own schedule,", fixable=True)
        return
    if name.startswith("adafactor"):
        if optimizer == "adafactor" and not re.fullmatch(r"adafactor:[\d.eE+-]+", name):
            yield error("KT249", where, "adafactor needs a rate behind it", 'Write "adafactor:1e-4", or constant.')
        elif warms and optimizer == "adafactor":
            yield _no_warmup(name, fixable=True)
        return
    if name not in schedulers():
        near = nearest(name, schedulers())
        hint = f"Did you mean {near}?" if near else f"It knows: {', '.join(schedulers())}."
        yield error("KT249", where, f"sd-scripts knows no schedule {shown(name)}", hint, fixable=near is not None)
        return
    if name in _DEAD:
        message = f"{name} is in the list, but sd-scripts calls it wrongly and stops"
        yield error("KT249", where, message, f"Use {_DEAD[name]}.")
    args = train.get("lr_scheduler_args")
    keys = {str(item).partition("=")[0].strip() for item in args} if isinstance(args, list) else set()
    if name == "piecewise_constant" and "step_rules" not in keys:
        hint = """Add lr_scheduler_args = ["step_rules='1:500,0.1'"]: rate × 1 to step 500, then × 0.1."""
        yield error("KT249", where, "piecewise_constant needs step_rules", hint)
    if name == "cosine_with_min_lr":
        given = (train.get("lr_scheduler_min_lr_ratio") is not None) + len(keys & {"min_lr", "min_lr_rate"})
        if given != 1:
            message = "needs lr_scheduler_min_lr_ratio" if not given else "takes one least rate, and there are two"
            hint = "Set lr_scheduler_min_lr_ratio = 0.1." if not given else "Keep lr_scheduler_min_lr_ratio only."
            yield error("KT249", where, f"cosine_with_min_lr {message}", hint)
    if name == "constant" and warms:
        yield _no_warmup("the schedule constant", fixable=True)


def _is_relative(train: Mapping[str, Any]) -> bool:
    """Whether Adafactor chooses the rate itself: relative_step, which is on without the argument."""
    args = train.get("optimizer_args")
    given = dict(str(item).replace(" ", "").partition("=")[::2] for item in args) if isinstance(args, list) else {}
    return given.get("relative_step", "True") != "False" or given.get("warmup_init") == "True"


def _no_warmup(what: str, *, fixable: bool) -> Problem:
    hint = "Set lr_scheduler = constant_with_warmup." if "constant" in what else "Remove lr_warmup_steps."
    message = f"{what} takes no warm-up: the trainer stops before the first step"
    return error("KT250", f"{TRAIN}: lr_warmup_steps", message, hint, fixable=fixable)


def _network(train: Mapping[str, Any], script: str, *, is_sure: bool) -> Iterator[Problem]:
    module = train.get("network_module")
    where = f"{TRAIN}: network_module"
    if not isinstance(module, str) or not module:
        return
    bare = module.removesuffix(".py").replace("/", ".").rpartition(".")[2]
    if module != f"networks.{bare}" and f"networks.{bare}" in network_modules() and not module.startswith("lycoris"):
        message = f"{shown(module)} is no module that sd-scripts can import"
        yield error("KT254", where, message, f"Did you mean networks.{bare}?", fixable=True)
        return
    if not module.startswith("networks."):
        return
    if module not in network_modules():
        near = nearest(module, network_modules())
        hint = f"Did you mean {near}?" if near else f"There are {', '.join(network_modules())}."
        yield error("KT254", where, f"sd-scripts has no module {shown(module)}", hint, fixable=near is not None)
        return
    fitting = FITTING_MODULES.get(script)
    if is_sure and fitting is not None and module not in fitting:
        message = f"{module} finds no layer in the picture model of {script}"
        yield error("KT254", where, message, f"Use {fitting[0]}.", fixable=True)
    args = train.get("network_args")
    for item in args if isinstance(args, list) else []:
        key, equals, text = str(item).partition("=")
        wrong = _wrong_argument((network_args(module) or {}).get(key.strip()), text) if equals else None
        if wrong is None and key.strip() in {"block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"}:
            count, wanted = text.count(",") + 1, _BLOCKS.get(script) if is_sure else None
            if wanted is not None and count != wanted and module == "networks.lora":
                wrong = f"{wanted} numbers, not {count}"
        if wrong is not None:
            message = f"{key.strip()} must be {wrong}: the trainer stops after loading the model"
            yield error("KT259", f"{TRAIN}: network_args", message, f"Correct {shown(item)}.")


def _wrong_argument(kind: str | None, text: str) -> str | None:
    """What the module would have wanted, None when it takes `text`: it calls int() or float() on it."""
    makers: Mapping[str, tuple[Any, str]] = {
        "int": (int, "a whole number"),
        "float": (float, "a number"),
        "ints": (lambda value: [int(item) for item in value.split(",")], "whole numbers with commas"),
        "floats": (lambda value: [float(item) for item in value.split(",")], "numbers with commas"),
    }
    if kind is None or kind not in makers:
        return None
    make, words = makers[kind]
    try:
        make(text)
    except ValueError:
        return words
    return None


def _needed(train: Mapping[str, Any], script: str) -> Iterator[Problem]:
    chroma = train.get("model_type") == "chroma"
    for key in _NEEDED.get(script, ()):
        if not train.get(key) and not (chroma and key == "clip_l"):
            family = next((name for name, each in SCRIPTS.items() if each == script), script)
            hint = f"Name the file: {family} does not have it in its own checkpoint."
            yield error("KT256", f"{TRAIN}: {key}", f"is missing, and {script} loads it", hint)
    if script == "flux_train_network.py" and chroma and not train.get("apply_t5_attn_mask"):
        yield error("KT253", f"{TRAIN}: apply_t5_attn_mask", "must be on for Chroma", "Set it to true.", fixable=True)


def _memory(train: Mapping[str, Any], script: str) -> Iterator[Problem]:
    swaps = train.get("blocks_to_swap")
    if script == DEFAULT_SCRIPT or not isinstance(swaps, int) or swaps <= 0:
        return
    for key in ("cpu_offload_checkpointing", "unsloth_offload_checkpointing"):
        if train.get(key) is True:
            message = f"cannot go with {key}"
            yield error("KT253", f"{TRAIN}: blocks_to_swap", message, f"Remove {key}, or blocks_to_swap.")
