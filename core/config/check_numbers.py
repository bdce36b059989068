"""Checks of the size of numbers: what stops the trainer, or trains nothing, for being too small or too large."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.config.check_options import DATASET, TRAIN, error, warning
from core.config.values import shown
from core.problems import Problem, Severity

if TYPE_CHECKING:
    from core.config.resolved import ResolvedDataset

_DIES = Severity.ERROR
_OTHERWISE = Severity.WARNING
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class _Limit:
    """A value below `low`, or above `high`, has the `effect`; `remedy` mends it."""

    low: float | None
    high: float | None
    severity: Severity
    effect: str
    remedy: str


_COUNT = "Write 1 or more."
_RATE = "Write a positive rate, such as 1e-4."
_EVERY = "Write 1 or more, or remove it."
_SHARE = "It is a share between 0 and 1: write 0.1 for a tenth."
_TRAIN: Mapping[str, _Limit] = {
    # torch.nn.Linear(…, dim) and alpha / dim (networks/lora.py, LoRAModule)
    "network_dim": _Limit(1, None, _DIES, "the trainer cannot make a network of that size", "16 to 128 is usual."),
    "network_alpha": _Limit(0, None, _OTHERWISE, "what is learnt is turned into its opposite", "Half of dim is usual."),
    "network_dropout": _Limit(0, 1, _DIES, "torch refuses the dropout", _SHARE),
    # ceil(images / batch) and steps / accumulation (train_util.py, make_buckets; train_network.py)
    "train_batch_size": _Limit(1, None, _DIES, "the trainer divides by it and stops", _COUNT),
    "gradient_accumulation_steps": _Limit(1, None, _DIES, "the trainer divides by it and stops", _COUNT),
    "max_train_epochs": _Limit(1, None, _DIES, "nothing would be trained", _COUNT),
    "max_train_steps": _Limit(1, None, _DIES, "nothing would be trained", _COUNT),
    "learning_rate": _Limit(0, None, _DIES, "the optimizer refuses it", _RATE),
    "unet_lr": _Limit(0, None, _DIES, "the optimizer refuses it", _RATE),
    "text_encoder_lr": _Limit(0, None, _DIES, "the optimizer refuses it", _RATE),
    "lr_warmup_steps": _Limit(0, None, _OTHERWISE, "there is no warm-up then", "Write 0, or 0.05 for a twentieth."),
    "max_data_loader_n_workers": _Limit(0, None, _DIES, "torch refuses it", "Write 0 or more; 2 is usual."),
    # epoch % every (train_network.py, the training loop)
    "save_every_n_epochs": _Limit(1, None, _DIES, "the trainer divides by it after the first epoch", _EVERY),
    "save_every_n_steps": _Limit(1, None, _DIES, "the trainer divides by it at the first step", _EVERY),
    "validate_every_n_epochs": _Limit(1, None, _DIES, "the trainer divides by it after the first epoch", _EVERY),
    "validate_every_n_steps": _Limit(1, None, _DIES, "the trainer divides by it at the first step", _EVERY),
    # hidden_states[-clip_skip] (strategy_sd.py): 0 is the embedding, before any layer
    "clip_skip": _Limit(1, None, _OTHERWISE, "no layer of the text encoder is used then", "1 or 2 is usual."),
    # numpy.random.seed; -1 for "any" is another program's word
    "seed": _Limit(0, LARGEST_SEED, _DIES, "numpy refuses the seed", "Write 0 or more, or remove it for a random one."),
    "min_snr_gamma": _Limit(0, None, _OTHERWISE, "the loss is turned into its opposite", "5 is usual."),
}
_SUBSET: Mapping[str, _Limit] = {
    "caption_dropout_rate": _Limit(0, 0.999, _OTHERWISE, "every caption is dropped", _SHARE),
    "caption_tag_dropout_rate": _Limit(0, 0.999, _OTHERWISE, "every tag but the kept ones is dropped", _SHARE),
}
_DATASET: Mapping[str, _Limit] = {
    "batch_size": _TRAIN["train_batch_size"],
    "validation_split": _Limit(
        0, 1, _OTHERWISE, "there is no validation part then, and above 1 less is trained", _SHARE
    ),
}
_WHOLE = re.compile(r"\s*\d+\s*")


def check_numbers(train: Mapping[str, Any]) -> Iterator[Problem]:
    """Numbers of train.toml that no training can have. Kinds are looked at elsewhere."""
    for key, limit in _TRAIN.items():
        value = train.get(key)
        for item in value if isinstance(value, list) else [value]:
            found = _outside(f"{TRAIN}: {key}", item, limit)
            if found is not None and not (key == "max_train_steps" and train.get("max_train_epochs") is not None):
                yield found
                break
    yield from _timesteps(train)
    yield from _text_of_numbers(train)


def check_dataset_numbers(dataset: ResolvedDataset) -> Iterator[Problem]:
    """Numbers of one `[[datasets]]` and its subsets, wherever they were set."""
    for key, limit in _DATASET.items():
        found = _outside(f"{DATASET}: {dataset.where}.{key}", dataset.values.get(key), limit)
        if found is not None:
            yield found
    for subset in dataset.subsets:
        for key, limit in _SUBSET.items():
            found = _outside(f"{DATASET}: {subset.where}.{key}", subset.values.get(key), limit)
            if found is not None:
                yield found


def _outside(where: str, value: Any, limit: _Limit) -> Problem | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    too_small = limit.low is not None and value < limit.low
    too_large = limit.high is not None and value > limit.high
    if not too_small and not too_large:
        return None
    if limit.remedy == _EVERY and value < 0:  # 4 % -2 is 0 too
        return warning("KT252", where, f"is {shown(value)}: the sign is ignored", limit.remedy)
    make = error if limit.severity is Severity.ERROR else warning
    return make("KT252", where, f"is {shown(value)}: {limit.effect}", limit.remedy)


def _timesteps(train: Mapping[str, Any]) -> Iterator[Problem]:
    """train_util.py, get_timesteps: of a reversed range every step takes the larger noise."""
    low, high = (train.get(key) for key in ("min_timestep", "max_timestep"))
    numbers = [value for value in (low, high) if isinstance(value, int) and not isinstance(value, bool)]
    if any(not 0 <= value <= 1000 for value in numbers):
        yield error("KT252", f"{TRAIN}: max_timestep", "timesteps go from 0 to 1000", "Write a number in that range.")
    elif len(numbers) == 2 and numbers[0] >= numbers[1]:
        message = f"is not above min_timestep {numbers[0]}: every step has the same noise"
        yield warning("KT252", f"{TRAIN}: max_timestep", message, "Write a larger number, or remove both.")


def _text_of_numbers(train: Mapping[str, Any]) -> Iterator[Problem]:
    """Options that are text in this file and numbers in truth (train_util.py, prepare_dataset_args)."""
    resolution = train.get("resolution")
    if isinstance(resolution, str):
        parts = resolution.split(",")
        if len(parts) > 2 or not all(_WHOLE.fullmatch(part) for part in parts):
            hint = 'Write "768", or "768,512" for width and height.'
            yield error("KT203", f"{TRAIN}: resolution", f"{resolution!r} is not one or two whole numbers", hint)
    crop = train.get("face_crop_aug_range")
    if isinstance(crop, str):
        try:
            numbers = [float(part) for part in crop.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            hint = 'Write two numbers, the smaller one first: "2.0,4.0".'
            yield error("KT203", f"{TRAIN}: face_crop_aug_range", f"{crop!r} is not a range", hint)
