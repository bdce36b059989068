"""A preset from its pieces: family, purpose, optimizer and GPU memory become values with reasons.

Later pieces win: what all have, the family, the purpose, the purpose of the family, the optimizer, the memory tier.
Then what excludes each other is settled, so that the trainer accepts every combination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.config.pieces import (
    Family,
    Optimizer,
    Purpose,
    Value,
    common,
    family_named,
    optimizer_named,
    purpose_named,
    tier_of,
)
from core.config.schema import Field, dataset_defaults, dataset_fields, fields
from core.config.values import complaint

OF_DATASET = frozenset({"resolution", "batch_size"})
"""Keys of memory tiers that belong into dataset.toml."""
_SEEDS = (42, 43, 44)
_NOT_WHEN_CACHED = ("shuffle_caption", "keep_tokens", "caption_dropout_rate")
"""Captions must stay the same when their encodings are kept (is_text_encoder_output_cacheable of every dataset)."""
_TAGS = {
    "character": (
        "{{trigger}}, 1girl, solo, looking at viewer",
        "{{trigger}}, 1girl, solo, upper body, smile, outdoors",
        "1girl, solo, standing, simple background",
    ),
    "style": (
        "{{trigger}}, 1girl, solo, upper body, smile",
        "{{trigger}}, scenery, no humans, house, sky, tree",
        "1girl, solo, upper body, smile",
    ),
}
_SENTENCES = {
    "character": (
        "{{trigger}} looks at the viewer.",
        "{{trigger}} smiles, seen from the waist up, in a park on a sunny day.",
        "A young woman stands before a plain white background.",
    ),
    "style": (
        "A young woman smiles, seen from the waist up, drawn in the style of {{trigger}}.",
        "A house under a wide sky with a tree beside it, drawn in the style of {{trigger}}.",
        "A young woman smiles, seen from the waist up.",
    ),
}
_WITHOUT = {
    "character": "# The same without the trigger word: what of the character shows in everybody.",
    "style": "# The same without the trigger word: what of the style shows in everything.",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a preset is composed for. `vram` is one of `pieces.TIERS`."""

    family: Family
    purpose: Purpose
    optimizer: Optimizer
    vram: int

    @property
    def name(self) -> str:
        return f"{self.family.name}-{self.purpose.name}"


@dataclass(frozen=True, slots=True)
class Composed:
    """Values of train.toml and dataset.toml with their reasons, the files that go with them, and the prompts.

    `files` is option → its usual place and patterns of its name; `notes` are lines about what is not there and why.
    """

    title: str
    family: str | None
    script: str
    architecture: str
    prediction: str | None
    model: str
    train: Mapping[str, Value]
    dataset: Mapping[str, Value]
    files: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    prompts: str


def choose(
    family: str | Family, purpose: str = "character", optimizer: str | None = None, vram: float | None = None
) -> Choice:
    """The pieces by name; what is not said is the family's usual. Raises UserError for a name that is none.

    `vram` is in GB; a card between two tiers takes the smaller one, and one below 8 GB is refused.
    """
    found = family if isinstance(family, Family) else family_named(family)
    tier = tier_of(vram) if vram is not None else found.vram
    return Choice(found, purpose_named(purpose), optimizer_named(optimizer or found.optimizer), tier)


def compose(choice: Choice) -> Composed:
    """Every combination gives values that the family's script knows and accepts."""
    family, purpose, optimizer = choice.family, choice.purpose, choice.optimizer
    shared_train, shared_dataset = common()
    tier = family.tiers[choice.vram]
    train = {**shared_train, **family.train, **purpose.train, **family.purposes[purpose.name]}
    rate, alpha = train["learning_rate"], train["network_alpha"]
    train |= optimizer.train
    train |= family.as_usual if optimizer.name == family.optimizer else {}
    train |= {key: value for key, value in tier.items() if key not in OF_DATASET and key not in family.files}
    dataset = {**shared_dataset, **family.dataset, **purpose.dataset}
    dataset |= {key: value for key, value in tier.items() if key in OF_DATASET}
    if optimizer.rate is not None:
        train["learning_rate"] = Value(_rounded(rate.value * optimizer.rate.value), optimizer.rate.why)
        if "text_encoder_lr" in train:
            rates = [_rounded(each * optimizer.rate.value) for each in train["text_encoder_lr"].value]
            train["text_encoder_lr"] = replace(train["text_encoder_lr"], value=rates)
    if optimizer.has_own_rate:
        train.pop("text_encoder_lr", None)  # of two rates only the first one counts (train_util.py, get_optimizer)
        dim = train["network_dim"].value
        train["network_alpha"] = Value(dim, f"as dim: {optimizer.name} finds the strength itself")
    elif "network_alpha" in tier:
        train["network_alpha"] = tier["network_alpha"]
    else:
        train["network_alpha"] = alpha
    if "sampler" in family.prompts:
        train["sample_sampler"] = Value(family.prompts["sampler"], "draws well in few steps; the trainer's is ddim")
    _settle(train, dataset)
    files = {key: patterns for key, patterns in family.files.items() if key not in family.drop}
    files |= {key: (tier[key].value, tier[key].why, *files[key][1:]) for key in files if key in tier}
    for key in family.drop:
        train.pop(key, None)
    return Composed(
        f"{purpose.title} LoRA for {family.what}",
        family.name,
        family.script,
        family.architecture,
        family.prediction,
        family.model,
        _ordered(train, list(fields(family.script))),
        _ordered(dataset, list(dataset_fields("datasets"))),
        files,
        family.left_out,
        (*family.docs, *((optimizer.docs,) if optimizer.docs else ())),
        prompts_of(choice),
    )


def adapted(composed: Composed) -> Composed:
    """`composed` for the user's own version of sd-scripts: what an older one does not take is left out, and said."""
    known = fields(composed.script)
    of_dataset = dataset_fields("datasets")
    train = {key: _kind(value, known.get(key)) for key, value in composed.train.items()}
    dataset = {key: _kind(value, of_dataset.get(key), strict=True) for key, value in composed.dataset.items()}
    gone = [key for key, value in (*train.items(), *dataset.items()) if value is None]
    files = {key: patterns for key, patterns in composed.files.items() if key in known}
    gone += [key for key in composed.files if key not in files]
    note = (f"This version of sd-scripts does not take {', '.join(gone)}: left out.",) if gone else ()
    return replace(
        composed,
        train={key: value for key, value in train.items() if value is not None},
        dataset={key: value for key, value in dataset.items() if value is not None},
        files=files,
        notes=(*composed.notes, *note),
    )


def _kind(value: Value, field: Field | None, *, strict: bool = False) -> Value | None:
    """The value in the kind that an option has; None when it has none such."""
    if field is None:
        return None
    if isinstance(value.value, list) and len(value.value) == 1 and field.type != "list":
        value = replace(value, value=value.value[0])  # text_encoder_lr took one number before it took several
    return value if complaint(value.value, field, strict=strict) is None else None


def differences(composed: Composed) -> list[tuple[str, str, Value]]:
    """(file, key, value) of everything that is not the trainer's own default, in the order of the files."""
    defaults = {key: field.default for key, field in fields(composed.script).items()}
    found = [("train", key, value) for key, value in composed.train.items() if value.value != defaults.get(key)]
    own = dataset_defaults()
    return found + [("dataset", key, value) for key, value in composed.dataset.items() if value.value != own.get(key)]


def prompts_of(choice: Choice) -> str:
    """The prompt file: three prompts with fixed seeds, the last one without the trigger word; `{{trigger}}` in it."""
    said = choice.family.prompts
    quality, negative = str(said.get("quality", "")), str(said.get("negative", ""))
    texts = (_TAGS if said["tags"] else _SENTENCES)[choice.purpose.name]
    lines = [
        "# One prompt a line: --n negative, --w --h size, --d seed (fixed, so that epochs can be compared), --s steps,"
        " --l guidance."
    ]
    if "about" in said:
        lines.append(f"# {said['about']}")
    for text, options, seed in zip(texts, said["options"], _SEEDS, strict=True):
        if "{{trigger}}" not in text:
            lines.append(_WITHOUT[choice.purpose.name])
        before = f"{quality}, " if quality else ""
        behind = f" --n {negative}" if negative else ""
        lines.append(f"{before}{text}{behind} {options} --d {seed}")
    return "\n".join(lines) + "\n"


def _settle(train: dict[str, Value], dataset: dict[str, Value]) -> None:
    """Take out what other values exclude or leave without effect."""
    if _is_on(train, "network_train_unet_only"):
        train.pop("text_encoder_lr", None)
    if _is_on(train, "cache_text_encoder_outputs"):
        for key in _NOT_WHEN_CACHED:
            dataset.pop(key, None)


def _is_on(train: Mapping[str, Value], key: str) -> bool:
    return key in train and train[key].value is True


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _ordered(values: Mapping[str, Value], order: list[Any]) -> dict[str, Value]:
    """In the order of the form; what is not in it comes last."""
    place = {name: index for index, name in enumerate(order)}
    return dict(sorted(values.items(), key=lambda item: place.get(item[0], len(place))))
