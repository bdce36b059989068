"""What a value does, in a few words to stand beside it: scale, effective rate, steps, sizes on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from core.config.resolved import network_scale
from core.config.values import float_text
from core.text import count_of, human_bytes

if TYPE_CHECKING:
    from core.config.plan import Plan

_NO_RATE = ("prodigy", "dadapt")


@dataclass(frozen=True, slots=True)
class Seen:
    """What an effect is told from: the values as the trainer takes them, and the plan where it is known."""

    train: Mapping[str, Any]
    dataset: Mapping[str, Any]
    plan: Plan | None
    script: str

    def number(self, key: str) -> float | None:
        """A number that is set in either file; None for anything else."""
        value = self.train.get(key, self.dataset.get(key))
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def effect(key: str, value: Any, seen: Seen) -> str:
    """What `value` of `key` does together with the others; empty when there is nothing to say."""
    found = _EFFECTS.get(key)
    try:
        return found(value, seen) if found is not None else ""
    except OverflowError:  # an integer of 400 digits
        return ""


def _rate(value: Any, seen: Seen) -> str:
    if isinstance(value, list):
        return ", ".join(filter(None, (_rate(item, seen) for item in value)))
    if not _is_number(value):
        return ""
    from core.config.check_training import optimizer_name

    name = optimizer_name(seen.train)
    if name.startswith(_NO_RATE):
        return "times the rate that it finds itself"
    if name == "adafactor" and "relative_step=False" not in str(seen.train.get("optimizer_args")).replace(" ", ""):
        return "Adafactor chooses its own (relative_step)"
    scale = network_scale(seen.train)
    return f"effective {float_text(float(f'{value * scale:.3g}'))}" if scale not in (None, 1) else ""


def _dim(value: Any, seen: Seen) -> str:
    plan = seen.plan
    return f"{human_bytes(plan.checkpoint_bytes)} a file" if plan is not None and plan.checkpoint_bytes else ""


def _alpha(value: Any, seen: Seen) -> str:
    scale = network_scale(seen.train)
    return f"scale {scale:.3g}" if scale is not None else ""


def _batch(value: Any, seen: Seen) -> str:
    accumulation = seen.number("gradient_accumulation_steps") or 1
    batch = seen.dataset.get("batch_size") or seen.train.get("train_batch_size") or 1
    if accumulation <= 1 or not _is_number(batch):
        return ""
    return f"{batch:g} × {accumulation:g} = {batch * accumulation:g} pictures a step"


def _epochs(value: Any, seen: Seen) -> str:
    plan = seen.plan
    if plan is None or not plan.total_steps or not _is_number(value):
        return ""
    return f"{plan.steps_per_epoch:,} × {value:g} = {count_of(plan.total_steps, 'step')}"


def _steps(value: Any, seen: Seen) -> str:
    if seen.train.get("max_train_epochs") is not None:
        return "ignored: max_train_epochs wins"
    plan = seen.plan
    return count_of(plan.epochs, "epoch") if plan is not None and plan.total_steps else ""


def _warmup(value: Any, seen: Seen) -> str:
    plan = seen.plan
    if plan is None or not plan.total_steps or not _is_number(value) or not value:
        return ""
    if isinstance(value, float):
        return f"{count_of(plan.warmup_steps, 'step')} of {plan.total_steps:,}"
    return f"{100 * value / plan.total_steps:.2g} % of {plan.total_steps:,} steps"


def _cycles(value: Any, seen: Seen) -> str:
    plan = seen.plan
    if plan is None or not plan.total_steps or not _is_number(value) or value < 2:
        return ""
    if seen.train.get("lr_scheduler") != "cosine_with_restarts":
        return ""
    return f"a restart every {(plan.total_steps - plan.warmup_steps) / value:,.0f} steps"


def _save(value: Any, seen: Seen) -> str:
    plan = seen.plan
    if plan is None or not plan.total_steps:
        return ""
    size = f", {human_bytes(plan.disk_bytes)}" if plan.disk_bytes else ""
    return f"{count_of(len(plan.kept), 'file')} kept{size}"


def _samples(value: Any, seen: Seen) -> str:
    plan = seen.plan
    return count_of(plan.samples, "picture") if plan is not None and plan.samples else ""


def _gamma(value: Any, seen: Seen) -> str:
    if not _is_number(value) or not value:
        return ""
    below = "(SNR + 1)" if seen.train.get("v_parameterization") else "SNR"  # custom_train_functions.py
    return f"loss × min(SNR, {value:g}) / {below}"


def _share(noun: str) -> Callable[[Any, Seen], str]:
    def words(value: Any, seen: Seen) -> str:
        return f"1 in {1 / value:.3g} {noun}" if _is_number(value) and 0 < value < 1 else ""

    return words


def _repeats(value: Any, seen: Seen) -> str:
    plan = seen.plan
    return f"{plan.repeats:,} an epoch" if plan is not None and plan.repeats else ""


def _resolution(value: Any, seen: Seen) -> str:
    plan = seen.plan
    return count_of(len(plan.buckets), "bucket") if plan is not None and len(plan.buckets) > 1 else ""


def _tokens(value: Any, seen: Seen) -> str:
    return f"{value // 75} × 75 tokens" if isinstance(value, int) and value > 75 and value % 75 == 0 else ""


def _split(value: Any, seen: Seen) -> str:
    return f"{100 * value:.3g} % kept back to measure" if _is_number(value) and 0 < value < 1 else ""


def _noise(value: Any, seen: Seen) -> str:
    return "brighter and darker pictures" if _is_number(value) and value > 0 else ""


def _norm(value: Any, seen: Seen) -> str:
    return "no clipping" if value == 0 else ""


def _swap(value: Any, seen: Seen) -> str:
    return f"{value} layers wait in memory: less VRAM, slower" if isinstance(value, int) and value > 0 else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_EFFECTS: Final[Mapping[str, Callable[[Any, Seen], str]]] = {
    **dict.fromkeys(("learning_rate", "unet_lr", "text_encoder_lr"), _rate),
    "network_dim": _dim,
    "network_alpha": _alpha,
    "train_batch_size": _batch,
    "batch_size": _batch,
    "gradient_accumulation_steps": _batch,
    "max_train_epochs": _epochs,
    "max_train_steps": _steps,
    "lr_warmup_steps": _warmup,
    "lr_scheduler_num_cycles": _cycles,
    **dict.fromkeys(("save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"), _save),
    **dict.fromkeys(("sample_every_n_epochs", "sample_every_n_steps"), _samples),
    "min_snr_gamma": _gamma,
    "caption_dropout_rate": _share("pictures without its caption"),
    "caption_tag_dropout_rate": _share("tags left out"),
    "network_dropout": _share("units left out"),
    "num_repeats": _repeats,
    "resolution": _resolution,
    "max_token_length": _tokens,
    "validation_split": _split,
    "noise_offset": _noise,
    "max_grad_norm": _norm,
    "blocks_to_swap": _swap,
}
