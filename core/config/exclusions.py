"""Options that do not go together, and why: said where they stand, before the trainer says it after loading the model.

Each pair was read in sd-scripts 48d368fa: the function that refuses, or overrides, it is named beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_SHUFFLES = ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step")
_CAPTIONS = (*_SHUFFLES, "caption_dropout_rate")
_ENCODED = "the text is encoded once, so no caption can change from step to step"
_SD15, _ANIMA = "train_network.py", "anima_train_network.py"
_FLOW_FAMILIES = frozenset({"flux", "sd3", "lumina", "anima", "hunyuan_image"})
_UNETS = frozenset({_SD15, "sdxl_train_network.py"})


@dataclass(frozen=True, slots=True)
class Exclusion:
    """`one` and any of `others` exclude each other. `scripts`: with which training scripts; None for all."""

    one: str
    others: tuple[str, ...]
    why: str
    scripts: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    """Scripts that it does not concern."""


EXCLUSIONS: Final[tuple[Exclusion, ...]] = (
    # the assert on is_text_encoder_output_cacheable in each script's assert_extra_args; Anima caches dropout, too
    Exclusion("cache_text_encoder_outputs", _CAPTIONS, _ENCODED, without=frozenset({_SD15, _ANIMA})),
    Exclusion("cache_text_encoder_outputs", _SHUFFLES, _ENCODED, scripts=frozenset({_ANIMA})),
    # the assert on is_latent_cacheable in train_network.py
    Exclusion("cache_latents", ("color_aug", "random_crop"), "the pictures are encoded once and cannot change then"),
    Exclusion("cache_latents_to_disk", ("color_aug", "random_crop"), "the pictures are encoded before the training"),
    # train_util.py, replace_unet_modules: the first one wins
    Exclusion("mem_eff_attn", ("xformers", "sdpa"), "one attention is used, and mem_eff_attn comes first", _UNETS),
    Exclusion("xformers", ("sdpa",), "one attention is used: xformers comes first, sdpa needs no package", _UNETS),
    # train_util.py, prepare_dtype and the asserts beside it
    Exclusion("full_fp16", ("full_bf16",), "the weights have one precision"),
    # train_network.py, is_train_text_encoder and the optimizer's parameters
    Exclusion("network_train_unet_only", ("network_train_text_encoder_only",), "nothing would be left to train"),
    Exclusion(
        "network_train_unet_only", ("text_encoder_lr",), "the text encoder is not trained: no rate for it counts"
    ),
    Exclusion("network_train_text_encoder_only", ("unet_lr",), "the U-Net is not trained: no rate for it counts"),
    # train_util.py, verify_training_args
    Exclusion("v_pred_like_loss", ("v_parameterization",), "the loss is that of v-prediction already"),
    # custom_train_functions.py: each multiplies the loss by its own weight for the noise level
    Exclusion("min_snr_gamma", ("debiased_estimation_loss",), "both weigh the loss by the noise level"),
    # train_network.py: max_train_steps is counted anew from the epochs
    Exclusion("max_train_epochs", ("max_train_steps",), "epochs win over steps"),
    # train_util.py, sample_images_common: epochs are looked at first
    Exclusion("sample_every_n_epochs", ("sample_every_n_steps",), "epochs win over steps"),
    # train_util.py, get_optimizer
    Exclusion("use_8bit_adam", ("use_lion_optimizer", "optimizer_type"), "there is one optimizer"),
    Exclusion("use_lion_optimizer", ("optimizer_type",), "there is one optimizer"),
    # the assert beside blocks_to_swap in flux_train_network.py and its siblings
    Exclusion(
        "blocks_to_swap",
        ("cpu_offload_checkpointing", "unsloth_offload_checkpointing"),
        "both move the same layers between card and memory",
        without=_UNETS,
    ),
    # train_util.py, process_caption parts at commas, inside (a, b:1.2) too
    Exclusion("weighted_captions", ("shuffle_caption",), "shuffling tears (a, b:1.2) apart at its comma"),
    # train_network.py, create_network_from_weights
    Exclusion("dim_from_weights", ("network_dim",), "the rank is read from network_weights"),
    # train_util.py, make_buckets warns of it
    Exclusion(
        "bucket_no_upscale", ("min_bucket_reso", "max_bucket_reso"), "the buckets follow the pictures' own sizes"
    ),
    # custom_train_functions.py, apply_masked_loss: conditioning images are looked at first
    Exclusion("conditioning_data_dir", ("alpha_mask",), "the masks of conditioning_data_dir win"),
)
NEEDS: Final[Mapping[str, tuple[str, str]]] = {
    "masked_loss": ("alpha_mask", "needs alpha_mask, or masks in conditioning_data_dir, in dataset.toml"),
    "alpha_mask": ("masked_loss", "does something with masked_loss only"),
    "scale_v_pred_loss_like_noise_pred": ("v_parameterization", "needs v_parameterization"),
    "zero_terminal_snr": ("v_parameterization", "is meant for v_parameterization"),
    "adaptive_noise_scale": ("noise_offset", "needs noise_offset"),
    "noise_offset_random_strength": ("noise_offset", "needs noise_offset"),
    "ip_noise_gamma_random_strength": ("ip_noise_gamma", "needs ip_noise_gamma"),
    "multires_noise_discount": ("multires_noise_iterations", "is read with multires_noise_iterations"),
    "keep_tokens": ("shuffle_caption", "matters with shuffle_caption or tag dropout"),
    "validation_seed": ("validation_split", "is read with validation_split"),
    "dim_from_weights": ("network_weights", "needs network_weights"),
    "persistent_data_loader_workers": ("max_data_loader_n_workers", "needs max_data_loader_n_workers above 0"),
}
"""Option → (the one without which it does nothing or stops the trainer, in words)."""
NEEDS_VALUE: Final[Mapping[str, tuple[str, str]]] = {
    "full_fp16": ("mixed_precision", "fp16"),
    "full_bf16": ("mixed_precision", "bf16"),
}
"""Option → (another one, the value that it must have: the asserts in train_util.py, prepare_dtype)."""


_FLOW = frozenset(
    {"v2", "v_parameterization", "clip_skip", "max_token_length", "min_snr_gamma", "debiased_estimation_loss"}
    | {"scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "zero_terminal_snr", "adaptive_noise_scale"}
    | {"noise_offset", "noise_offset_random_strength", "multires_noise_iterations", "multires_noise_discount"}
)


def without_effect(script: str) -> frozenset[str]:
    """Options that every script takes and this one makes nothing of.

    SDXL reads neither clip_skip nor v2 (sdxl_train_util.py, verify_sdxl_training_args). The flow models draw plain
    noise and hand the loss on as it is (flux_train_network.py and its siblings, post_process_loss).
    """
    if script == "sdxl_train_network.py":
        return frozenset({"v2", "clip_skip"})
    return _FLOW if script.removesuffix("_train_network.py") in _FLOW_FAMILIES else frozenset()


def partners(key: str, script: str) -> Iterator[tuple[str, str]]:
    """(other option, why) for everything that excludes `key` in a training with `script`."""
    for rule in EXCLUSIONS:
        if script in rule.without or (rule.scripts is not None and script not in rule.scripts):
            continue
        if key == rule.one:
            yield from ((other, rule.why) for other in rule.others)
        elif key in rule.others:
            yield rule.one, rule.why


def in_force(key: str, values: Mapping[str, Any], script: str) -> list[tuple[str, str]]:
    """Those of `partners` that `values` (option → value as the trainer takes it) switches on."""
    return [(other, why) for other, why in partners(key, script) if is_on(values.get(other))]


def is_on(value: Any) -> bool:
    """Whether a value asks for something: set, not false, and no zero."""
    return value not in (None, False, "") and not (isinstance(value, int | float) and value == 0)


def missing(key: str, values: Mapping[str, Any]) -> str | None:
    """What `key` needs and `values` does not switch on, in words; None when it has it."""
    fixed = NEEDS_VALUE.get(key)
    if fixed is not None and values.get(fixed[0]) != fixed[1]:
        return f"needs {fixed[0]} {fixed[1]}"
    need = NEEDS.get(key)
    if need is None or is_on(values.get(need[0])):
        return None
    if key == "masked_loss" and is_on(values.get("conditioning_data_dir")):
        return None
    if key == "keep_tokens" and (is_on(values.get("caption_tag_dropout_rate")) or not is_on(values.get(key))):
        return None
    if need[0] == "max_data_loader_n_workers" and values.get(need[0]) is None:
        return None  # 8 without the option
    return need[1]
