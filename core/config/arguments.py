"""The "key=value" lists: which keys their module, optimizer or schedule takes, and how they are parted and written."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.config.check_training import optimizer_name
from core.config.schema import network_args

_ADAM: Final[Mapping[str, str]] = {"weight_decay": "such as 0.01", "betas": "such as (0.9,0.99)", "eps": "such as 1e-8"}
_PRODIGY: Final[Mapping[str, str]] = {
    "weight_decay": "such as 0.01",
    "betas": "such as (0.9,0.99)",
    "decouple": "True: weight decay as in AdamW",
    "use_bias_correction": "True or False",
    "safeguard_warmup": "True with a warm-up",
    "d_coef": "times the rate that it finds; 1.0",
    "d0": "the rate to begin with; 1e-6",
    "growth_rate": "how fast the rate may grow",
}
# Their own signatures: torch 2.13, transformers' Adafactor, lion-pytorch, prodigyopt, dadaptation, pytorch-optimizer
_OPTIMIZERS: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    (
        "adafactor",
        {
            "relative_step": "False to use learning_rate",
            "scale_parameter": "True or False",
            "warmup_init": "True needs relative_step",
            "clip_threshold": "1.0",
            "decay_rate": "-0.8",
            "weight_decay": "such as 0.01",
        },
    ),
    ("prodigy", _PRODIGY),
    ("dadapt", {**_PRODIGY, "log_every": "steps between messages; 0"}),
    ("came", {"weight_decay": "such as 0.04", "betas": "three: (0.9,0.999,0.9999)", "eps1": "1e-30", "eps2": "1e-16"}),
    ("lion", {"weight_decay": "such as 0.1", "betas": "such as (0.9,0.99)"}),
    ("pagedlion", {"weight_decay": "such as 0.1", "betas": "such as (0.9,0.99)"}),
    ("sgd", {"momentum": "such as 0.9", "weight_decay": "such as 0.01", "dampening": "0", "nesterov": "True or False"}),
    ("radamschedulefree", _ADAM),
    ("adamwschedulefree", {**_ADAM, "warmup_steps": "its own warm-up, in steps"}),
    ("adam", _ADAM),
    ("pagedadam", _ADAM),
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
    return shown, next((keys for begin, keys in _OPTIMIZERS if short.startswith(begin)), {})


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
