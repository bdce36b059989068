"""The "key=value" lists: which keys their module, optimizer or schedule takes, and how they are parted and written."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.config.check_training import optimizer_name
from core.config.schema import network_args

_WORDS_OF: Final[Mapping[str, str]] = {
    "amsgrad": "True or False",
    "betas": "such as (0.9,0.99)",
    "clip_threshold": "1.0",
    "d0": "the rate to begin with; 1e-6",
    "d_coef": "times the rate that it finds; 1.0",
    "dampening": "0",
    "decay_rate": "-0.8",
    "decouple": "True: weight decay as in AdamW",
    "eps": "such as 1e-8",
    "growth_rate": "how fast the rate may grow",
    "log_every": "steps between messages; 0",
    "momentum": "such as 0.9",
    "nesterov": "True or False",
    "no_prox": "True: weight decay as in AdamW",
    "relative_step": "False to use learning_rate",
    "safeguard_warmup": "True with a warm-up",
    "scale_parameter": "True or False",
    "slice_p": "11 takes less memory; 1",
    "use_bias_correction": "True or False",
    "warmup_init": "True needs relative_step",
    "warmup_steps": "its own warm-up, in steps",
    "weight_decay": "such as 0.01",
}
_DADAPT: Final = "d0 growth_rate log_every weight_decay"
_FREE: Final = "weight_decay r weight_lr_power foreach"
# What their constructors take, read off torch 2.13, bitsandbytes, transformers 4.54, lion-pytorch, prodigyopt,
# dadaptation, schedulefree and came-pytorch; the first name that the optimizer's begins with counts.
_OPTIMIZERS: Final[tuple[tuple[str, str], ...]] = (
    ("adafactor", "relative_step scale_parameter warmup_init clip_threshold decay_rate beta1 eps weight_decay"),
    (
        "prodigy",
        "weight_decay betas decouple use_bias_correction safeguard_warmup d_coef d0 growth_rate slice_p beta3 eps "
        "fsdp_in_use",
    ),
    ("dadaptadagrad", f"{_DADAPT} momentum eps"),
    ("dadaptadan", f"{_DADAPT} betas eps no_prox"),
    ("dadaptlion", "d0 log_every weight_decay betas fsdp_in_use"),
    ("dadaptsgd", f"{_DADAPT} momentum fsdp_in_use"),
    ("dadaptadampreprint", f"{_DADAPT} betas eps decouple fsdp_in_use"),
    ("dadapt", f"{_DADAPT} betas eps decouple use_bias_correction fsdp_in_use"),
    ("came", "weight_decay betas eps clip_threshold"),
    ("lion8bit", "weight_decay betas min_8bit_size is_paged"),
    ("pagedlion", "weight_decay betas min_8bit_size"),
    ("lion", "weight_decay betas use_triton decoupled_weight_decay"),
    ("sgdnesterov8bit", "weight_decay dampening min_8bit_size"),
    ("sgdnesterov", "weight_decay dampening"),
    ("sgdschedulefree", f"warmup_steps momentum {_FREE}"),
    ("sgd", "momentum weight_decay dampening nesterov"),
    ("radamschedulefree", f"betas eps silent_sgd_phase {_FREE}"),
    ("adamwschedulefree", f"warmup_steps betas eps {_FREE}"),
    ("adamw8bit", "weight_decay betas eps amsgrad min_8bit_size is_paged"),
    ("pagedadam", "weight_decay betas eps amsgrad min_8bit_size"),
    ("adam", "weight_decay betas eps amsgrad foreach fused"),
)
_SCHEDULES: Final[Mapping[str, Mapping[str, str]]] = {
    "cosine_with_min_lr": {"min_lr": "the least rate", "min_lr_rate": "the least rate as a share"},
    "piecewise_constant": {"step_rules": "such as '1:500,0.1'"},
    "warmup_stable_decay": {"min_lr_ratio": "0 to 1", "num_cycles": "0.5"},
}
_WORDS: Final[Mapping[str, str]] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "ints": "whole numbers with commas",
    "floats": "numbers with commas",
    "str": "text",
    "pairs": "pattern=number with commas",
    "blocks": "such as 0,2-5",
    "list": "a Python list",
}


def known_arguments(key: str, train: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """(what takes the list, its keys with a word about their values); no keys for what is not known here."""
    if key == "network_args":
        module = str(train.get("network_module") or "")
        return module, {name: _WORDS.get(kind, "") for name, kind in (network_args(module) or {}).items()}
    if key == "lr_scheduler_args":
        name = str(train.get("lr_scheduler_type") or train.get("lr_scheduler") or "constant")
        return name, _SCHEDULES.get(name, {})
    name = optimizer_name(train)
    short = name.rpartition(".")[2]
    shown = str(train.get("optimizer_type") or "AdamW")
    keys = next((keys for begin, keys in _OPTIMIZERS if short.startswith(begin)), "")
    return shown, {key: _WORDS_OF.get(key, "") for key in keys.split()}


def parted(item: str) -> tuple[str, str]:
    """`"a = b"` as ("a", "b"), as sd-scripts parts it."""
    name, _, value = item.partition("=")
    return name.strip(), value.strip()


def merged(items: Sequence[str], name: str, value: str) -> list[str]:
    """The list with `name` set: in its place when it is there, else at the end."""
    made = f"{name}={value}"
    if any(parted(item)[0] == name for item in items):
        return [made if parted(item)[0] == name else item for item in items]
    return [*items, made]


def complaint_of(key: str, name: str, value: str, known: Mapping[str, str]) -> str | None:
    """What is wrong with a row, in words; None when it can be read and its key is known."""
    if not value:
        return "has no value"
    if key != "network_args":
        try:
            ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return "is read as Python: a number, True, or 'quoted text'"
    return f"{name} is not known" if known and name not in known else None
