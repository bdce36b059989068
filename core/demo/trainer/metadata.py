"""What a checkpoint says about its training: the `ss_*`, `sshs_*` and `modelspec.*` values of sd-scripts' header."""

from __future__ import annotations

import hashlib
import json
import random
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.demo.trainer.data import Dataset
from core.demo.trainer.optim import Optimizer

TRAINER = "kohya-tui demo trainer"

# Options that go into the header under their own name.
_PLAIN = (
    "adaptive_noise_scale",
    "caption_dropout_every_n_epochs",
    "caption_dropout_rate",
    "caption_tag_dropout_rate",
    "clip_skip",
    "face_crop_aug_range",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "huber_c",
    "huber_scale",
    "huber_schedule",
    "ip_noise_gamma",
    "ip_noise_gamma_random_strength",
    "learning_rate",
    "loss_type",
    "lowram",
    "lr_scheduler",
    "lr_warmup_steps",
    "max_grad_norm",
    "max_token_length",
    "max_train_steps",
    "max_validation_steps",
    "min_snr_gamma",
    "mixed_precision",
    "multires_noise_discount",
    "multires_noise_iterations",
    "network_alpha",
    "network_dim",
    "network_dropout",
    "network_module",
    "noise_offset",
    "noise_offset_random_strength",
    "output_name",
    "prior_loss_weight",
    "resize_interpolation",
    "scale_weight_norms",
    "seed",
    "text_encoder_lr",
    "training_comment",
    "unet_lr",
    "validate_every_n_epochs",
    "validate_every_n_steps",
    "validation_seed",
    "validation_split",
    "zero_terminal_snr",
)
_SUBSET = (
    "num_repeats",
    "color_aug",
    "flip_aug",
    "random_crop",
    "shuffle_caption",
    "keep_tokens",
    "keep_tokens_separator",
    "secondary_separator",
    "enable_wildcard",
    "caption_prefix",
    "caption_suffix",
    "resize_interpolation",
)
_FLAGS = ("cache_latents", "fp8_base", "fp8_base_unet", "full_fp16", "v2")
# What --no_metadata leaves (sd-scripts train_util.py, SS_METADATA_MINIMUM_KEYS).
MINIMUM = (
    "ss_v2",
    "ss_base_model_version",
    "ss_network_module",
    "ss_network_dim",
    "ss_network_alpha",
    "ss_network_args",
)


def make(
    args: Namespace,
    datasets: Sequence[Dataset],
    held_back: Sequence[Dataset],
    optimizer: Optimizer,
    started: float,
    network_args: Mapping[str, str],
) -> dict[str, str]:
    """What is known before the first step; `finish` adds what is known when a checkpoint is written."""
    batches = sum(dataset.batches for dataset in datasets)
    values: dict[str, Any] = {f"ss_{name}": getattr(args, name) for name in _PLAIN}
    values |= {f"ss_{name}": bool(getattr(args, name)) for name in _FLAGS}
    updates = -(-batches // args.gradient_accumulation_steps)
    options = ",".join(f"{key}={value}" for key, value in optimizer.options.items())
    values |= {
        "ss_session_id": random.randint(0, 2**32),
        "ss_training_started_at": started,
        "ss_debiased_estimation": bool(args.debiased_estimation_loss),
        "ss_num_train_images": sum(dataset.train_images for dataset in datasets),
        "ss_num_validation_images": sum(dataset.train_images for dataset in held_back),
        "ss_num_reg_images": sum(dataset.reg_images for dataset in datasets),
        "ss_num_batches_per_epoch": batches,
        "ss_num_epochs": -(-args.max_train_steps // updates),
        "ss_base_model_version": "sd_v1",
        "ss_optimizer": optimizer.label + (f"({options})" if options else ""),
        "ss_sd_scripts_commit_hash": TRAINER,
    }
    if network_args:
        values["ss_network_args"] = json.dumps(dict(network_args))
    values |= _about_data(args, datasets)
    path = Path(args.pretrained_model_name_or_path)
    values["ss_sd_model_name"] = path.name
    with path.open("rb") as file:
        values["ss_new_sd_model_hash"] = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0x100000)  # the short hash is that of 64 KiB behind the first MiB
        values["ss_sd_model_hash"] = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
    return {name: str(value) for name, value in values.items()}


def _about_data(args: Namespace, datasets: Sequence[Dataset]) -> dict[str, Any]:
    described: list[dict[str, Any]] = []
    tags: dict[str, dict[str, int]] = {}
    folders: dict[str, dict[str, int]] = {}
    regular: dict[str, dict[str, int]] = {}
    for dataset in datasets:
        config = dataset.config
        subsets = []
        for subset in dataset.subsets:
            folder = Path(subset.image_dir).name
            about: dict[str, Any] = {"img_count": subset.image_count}
            about |= {name: getattr(subset, name) for name in _SUBSET}
            about |= {"image_dir": folder, "class_tokens": subset.class_tokens, "is_reg": subset.is_reg}
            subsets.append(about)
            target = regular if subset.is_reg else folders
            name, count = folder, 2
            while name in target:
                name, count = f"{folder} ({count})", count + 1
            target[name] = {"n_repeats": subset.num_repeats, "img_count": subset.image_count}
        described.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": config.batch_size,
                "num_train_images": dataset.train_images,
                "num_reg_images": dataset.reg_images,
                "resolution": list(dataset.resolution),
                "enable_bucket": config.enable_bucket,
                "min_bucket_reso": dataset.bucketing.low,
                "max_bucket_reso": dataset.bucketing.high,
                "tag_frequency": dataset.tag_frequency,
                "bucket_info": dataset.bucket_info or None,
                "resize_interpolation": config.resize_interpolation,
                "subsets": subsets,
            }
        )
        for folder, counts in dataset.tag_frequency.items():
            tags.setdefault(folder, counts)
    values = {"ss_tag_frequency": json.dumps(tags), "ss_dataset_dirs": json.dumps(folders)}
    if args.dataset_config is not None:
        return values | {"ss_datasets": json.dumps(described)}
    first = datasets[0]
    return values | {
        "ss_reg_dataset_dirs": json.dumps(regular),
        "ss_bucket_info": json.dumps(first.bucket_info),
        "ss_batch_size_per_device": args.train_batch_size,
        "ss_total_batch_size": args.train_batch_size * args.gradient_accumulation_steps,
        "ss_resolution": args.resolution,
        "ss_enable_bucket": first.config.enable_bucket,
        "ss_bucket_no_upscale": first.config.bucket_no_upscale,
        "ss_min_bucket_reso": first.bucketing.low,
        "ss_max_bucket_reso": first.bucketing.high,
        "ss_keep_tokens": args.keep_tokens,
        "ss_shuffle_caption": bool(args.shuffle_caption),
        "ss_flip_aug": bool(args.flip_aug),
        "ss_color_aug": bool(args.color_aug),
        "ss_random_crop": bool(args.random_crop),
    }


def finish(
    values: Mapping[str, str], args: Namespace, tensors: Mapping[str, NDArray[np.float32]], epoch: int, step: int
) -> dict[str, str]:
    """The header of a checkpoint written now."""
    out = dict(values)
    out |= {"ss_training_finished_at": str(time.time()), "ss_steps": str(step), "ss_epoch": str(epoch)}
    if args.no_metadata:
        out = {name: value for name, value in out.items() if name in MINIMUM}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    width, height = args.resolution or (512, 512)
    out |= {
        "sshs_model_hash": digest.hexdigest(),
        "sshs_legacy_hash": digest.hexdigest()[:8],
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.implementation_version": TRAINER,
        "modelspec.title": args.metadata_title or args.output_name or f"LoRA@{time.time()}",
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime()),
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.prediction_type": "epsilon",
    }
    for name in ("author", "description", "license", "tags"):
        if (value := getattr(args, f"metadata_{name}", None)) is not None:
            out[f"modelspec.{name}"] = str(value)
    return out
