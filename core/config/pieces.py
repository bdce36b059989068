"""What presets are made of: model families, purposes, optimizers and memory tiers, each value with its reason.

The data are templates/families.toml and templates/common.toml; `core.config.compose` puts them together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from core.problems import UserError

if TYPE_CHECKING:
    from core.config.base_models import BaseModel
    from core.hardware import GpuReading

TIERS = (8, 12, 16, 24, 48, 80)
"""GB of memory that presets are made for; a card between two takes the smaller."""
TEMPLATES = Path(__file__).with_name("templates")
_SPARE = 0.93
"""What a card calls 24 GB it reports as 23.5 to 24 GiB, and virtual ones as less."""
_OWN = frozenset({"also", "names", "drop", "left_out", "docs"})
"""What a family does not take over from the one that it is based on."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value and why it is not the default; no reason for one that speaks for itself."""

    value: Any
    why: str = ""


Values = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of base model. `files` are its other files: option → where it usually is, and patterns of its name."""

    name: str
    title: str
    what: str
    architecture: str
    prediction: str | None
    """`epsilon` or `v` where one architecture has both, else None."""
    script: str
    model: str
    """The base model's usual place, when the workspace has none that fits."""
    optimizer: str
    vram: int
    also: tuple[str, ...]
    names: tuple[str, ...]
    """Parts of a model's file name by which this family is told from another of the same architecture."""
    drop: tuple[str, ...]
    left_out: tuple[str, ...]
    docs: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    train: Values
    as_usual: Values
    """What is otherwise with the usual optimizer."""
    dataset: Values
    purposes: Mapping[str, Values]
    tiers: Mapping[int, Values]
    prompts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a LoRA is to learn."""

    name: str
    title: str
    about: str
    train: Values
    dataset: Values


@dataclass(frozen=True, slots=True)
class Optimizer:
    """`has_own_rate`: it finds the learning rate itself. `rate`: by how much AdamW's is multiplied, and why."""

    name: str
    about: str
    package: str | None
    docs: str | None
    has_own_rate: bool
    rate: Value | None
    train: Values


@cache
def families() -> Mapping[str, Family]:
    """Every family by its name, in the order in which they are offered."""
    data = _read("families.toml")
    return MappingProxyType({name: _family(name, _based(data, name)) for name in data})


@cache
def purposes() -> Mapping[str, Purpose]:
    """`character` and `style`."""
    found = {
        name: Purpose(name, row["title"], row["about"], _values(row.get("train")), _values(row.get("dataset")))
        for name, row in _read("common.toml")["purposes"].items()
    }
    return MappingProxyType(found)


@cache
def optimizers() -> Mapping[str, Optimizer]:
    """The optimizers that presets are made for, the usual one first."""
    found = {}
    for name, row in _read("common.toml")["optimizers"].items():
        rate = Value(*row["rate"]) if "rate" in row else None
        own_rate, train = bool(row.get("own_rate")), _values(row["train"])
        found[name] = Optimizer(name, row["about"], row.get("package"), row.get("docs"), own_rate, rate, train)
    return MappingProxyType(found)


@cache
def common() -> tuple[Values, Values]:
    """What every preset has in train.toml and in dataset.toml."""
    data = _read("common.toml")
    return _values(data["train"]), _values(data["dataset"])


def family_named(name: str) -> Family:
    """The family of that name or of one of its other names; UserError with those that there are."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    for family in families().values():
        if plain == family.name or plain in family.also:
            return family
    raise _unknown("model family", name, families())


def purpose_named(name: str) -> Purpose:
    """UserError with those that there are."""
    found = purposes().get(name.strip().lower())
    if found is None:
        raise _unknown("purpose", name, purposes())
    return found


def optimizer_named(name: str) -> Optimizer:
    """Whatever its case, and `came` for came_pytorch.CAME; UserError with those that there are."""
    plain = name.strip().lower().replace("-", "").replace("_", "").rpartition(".")[2]
    short = {"schedulefree": "adamwschedulefree", "dadaptadam": "dadaptation", "dadapt": "dadaptation"}
    for key, found in optimizers().items():
        if key.lower() == short.get(plain, plain):
            return found
    raise _unknown("optimizer for presets", name, optimizers())


def tier_of(gigabytes: float) -> int:
    """The memory tier for a card of that size; UserError below the least."""
    fitting = [tier for tier in TIERS if gigabytes >= tier * _SPARE]
    if not fitting:
        hint = "Rent or borrow a larger card for the training; the LoRA can be used on a small one."
        raise UserError(f"{gigabytes:g} GB of GPU memory are too few to train any of these models", hint)
    return fitting[-1]


def tier_of_gpus(reading: GpuReading) -> int | None:
    """The tier of the largest GPU that NVML tells of; None without one, or for one that is too small."""
    sizes = [gpu.memory_total for gpu in reading.gpus if gpu.memory_total is not None]
    largest = max(sizes, default=0) / 2**30
    return tier_of(largest) if largest >= TIERS[0] * _SPARE else None


def family_of(model: BaseModel) -> Family | None:
    """The family that a base model belongs to, by its header and, where that cannot tell, by its name."""
    fitting = [
        family
        for family in families().values()
        if family.architecture == model.architecture
        and (family.prediction is None or family.prediction == (model.prediction or "epsilon"))
    ]
    named = [family for family in fitting if any(part in model.path.name.lower() for part in family.names)]
    plain = [family for family in fitting if not family.names]
    return next(iter([*named, *plain]), None)


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((TEMPLATES / name).read_text("utf-8"))


def _based(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The rows of a family over those of the one that it is based on."""
    row: dict[str, Any] = data[name]
    if "base" not in row:
        return row
    merged = {key: value for key, value in _based(data, row["base"]).items() if key not in _OWN}
    for key, value in row.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def _family(name: str, row: Mapping[str, Any]) -> Family:
    return Family(
        name,
        row["title"],
        row["what"],
        row["architecture"],
        row.get("prediction"),
        row["script"],
        row["model"],
        row["usual"]["optimizer"],
        row["usual"]["vram"],
        tuple(row.get("also", ())),
        tuple(row.get("names", ())),
        tuple(row.get("drop", ())),
        tuple(row.get("left_out", ())),
        tuple(row["docs"]),
        {key: tuple(value) for key, value in row.get("files", {}).items()},
        _values(row["train"]),
        _values(row.get("as_usual")),
        _values(row["dataset"]),
        {purpose: _values(row.get(purpose)) for purpose in ("character", "style")},
        {int(tier): _values(values) for tier, values in row["vram"].items()},
        row["prompts"],
    )


def _values(row: Mapping[str, Any] | None) -> Values:
    return MappingProxyType({key: Value(*pair) for key, pair in (row or {}).items()})


def _unknown(what: str, name: str, known: Mapping[str, Any]) -> UserError:
    from core.config.schema import nearest

    near = nearest(name, list(known))
    said = f"Did you mean {near}? " if near else ""
    return UserError(f"There is no {what} {name!r}", f"{said}There are: {', '.join(known)}.")
