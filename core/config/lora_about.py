"""What a LoRA file tells of itself: its network, how and on what it was trained. Only the header is read."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config.base_models import architecture_of, precision_of, read_header
from core.problems import UserError
from core.text import human_bytes

_RANK = re.compile(r"\.(?:lora_down|lora_A)\.weight$|\.hada_w1_b$|\.lokr_w1_b$")
_KINDS = (
    (".lora_down.weight", "LoRA"),
    (".lora_A.weight", "LoRA"),
    (".hada_w1_a", "LoHa"),
    (".lokr_w1", "LoKr"),
    (".lokr_w1_a", "LoKr"),
    (".oft_blocks", "OFT"),
    (".oft_diag", "OFT"),
    (".diff", "full"),
)
_BASES = (
    ("lora_unet_double_blocks", "FLUX.1"),
    ("lora_unet_joint_blocks", "SD3"),
    ("lora_te2_", "SDXL"),
    ("lora_unet_input_blocks_4_1_transformer_blocks_1", "SDXL"),
    ("lora_unet_down_blocks_", "SD1.5"),
    ("lora_te_", "SD1.5"),
)
"""How the names of a LoRA begin → what it was made for, where the metadata is silent."""
_TRAINING = (
    *("ss_epoch", "ss_num_epochs", "ss_steps", "ss_max_train_steps", "ss_num_train_images", "ss_num_reg_images"),
    *("ss_learning_rate", "ss_unet_lr", "ss_text_encoder_lr", "ss_lr_scheduler", "ss_lr_warmup_steps", "ss_optimizer"),
    *("ss_gradient_accumulation_steps", "ss_mixed_precision", "ss_clip_skip", "ss_max_token_length", "ss_seed"),
    *("ss_min_snr_gamma", "ss_noise_offset", "ss_zero_terminal_snr", "ss_sd_model_name", "ss_sd_model_hash"),
    *("ss_new_sd_model_hash", "ss_training_comment", "ss_session_id", "ss_sd_scripts_commit_hash"),
)


@dataclass(frozen=True, slots=True)
class LoraAbout:
    """One file. What its header does not say is None, or empty."""

    path: Path
    bytes: int
    kind: str | None
    """LoRA, LoHa, LoKr, OFT or full, by its tensors."""
    base: str | None
    """What it was made for, such as SDXL."""
    prediction: str | None
    module: str | None
    dims: Mapping[int, int]
    """Rank → how many layers have it."""
    alpha: float | None
    layers: int
    text_encoder_layers: int
    precision: str | None
    datasets: tuple[Mapping[str, Any], ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    """The tags of its captions, the most used first."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def dim(self) -> int | None:
        """The rank that most layers have; where no tensor tells, what the metadata says."""
        if self.dims:
            return max(self.dims, key=lambda rank: self.dims[rank])
        said = self.said("ss_network_dim")
        return int(said) if said is not None and said.isdecimal() else None

    def said(self, key: str) -> str | None:
        """A value of the metadata; None where the trainer wrote None or nothing."""
        value = self.metadata.get(key)
        return None if value in (None, "", "None") else value

    def as_json(self) -> dict[str, Any]:
        """The keys that `--json` promises."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "kind": self.kind,
            "base": self.base,
            "prediction": self.prediction,
            "network": {
                "module": self.module,
                "dim": self.dim,
                "dims": {str(rank): count for rank, count in sorted(self.dims.items())},
                "alpha": self.alpha,
                "layers": self.layers,
                "text_encoder_layers": self.text_encoder_layers,
                "args": self.said("ss_network_args"),
            },
            "precision": self.precision,
            "training": {key.removeprefix("ss_"): self.said(key) for key in _TRAINING},
            "datasets": [dict(each) for each in self.datasets],
            "tags": [{"tag": tag, "count": count} for tag, count in self.tags],
            "metadata": dict(self.metadata),
        }

    def lines(self, tags: int = 20) -> list[str]:
        """In words, the most asked first."""
        alpha = f", alpha {self.alpha:g}" if self.alpha is not None else ""
        several = f" (and {', '.join(str(rank) for rank in sorted(self.dims) if rank != self.dim)})"
        found = [
            f"{self.kind or 'no network that is known'} for {self.base or 'a model that it does not name'}"
            + (f", {self.prediction}-prediction" if self.prediction == "v" else ""),
            f"dim {self.dim or '?'}{several if len(self.dims) > 1 else ''}{alpha}; {self.layers} layers, "
            f"{self.text_encoder_layers} of the text encoder; {self.precision or '?'}, {human_bytes(self.bytes)}",
        ]
        if self.module is not None:
            args = self.said("ss_network_args")
            found.append(f"module {self.module}{f' {args}' if args and args != '{}' else ''}")
        if not self.metadata:
            return [*found, "There is no metadata in it: it was trained elsewhere, or stripped."]
        epoch, step = self.said("ss_epoch"), self.said("ss_steps")
        if epoch or step:
            epochs, steps = self.said("ss_num_epochs") or "?", self.said("ss_max_train_steps") or "?"
            found.append(f"epoch {epoch or '?'} of {epochs}, step {step or '?'} of {steps}")
        rates = [("", "ss_learning_rate"), ("U-Net ", "ss_unet_lr"), ("text encoder ", "ss_text_encoder_lr")]
        told = [f"{word}{value}" for word, key in rates if (value := self.said(key)) is not None]
        optimizer, schedule = self.said("ss_optimizer"), self.said("ss_lr_scheduler")
        if told or optimizer:
            name = (optimizer or "?").split("(")[0].rpartition(".")[2]
            found.append(f"{name}, {schedule or '?'}, rate {', '.join(told) or '?'}")
        if model := self.said("ss_sd_model_name"):
            found.append(f"trained on {model}")
        when = _number(self.said("ss_training_finished_at"))
        if when is not None and 0 < when < 4e9:
            found.append(f"finished {time.strftime('%Y-%m-%d %H:%M', time.localtime(when))}")
        if comment := self.said("ss_training_comment"):
            found.append(f"comment: {comment}")
        for each in self.datasets:
            width, height = each.get("resolution") or (None, None)
            size = f", {width}×{height}" if width else ""
            found.append(f"dataset {each['name']}: {each['images']} images × {each['repeats']}{size}")
        if self.tags:
            few = ", ".join(f"{tag} ({count})" for tag, count in self.tags[:tags])
            more = f" and {len(self.tags) - tags:,} more" if len(self.tags) > tags else ""
            found.append(f"tags: {few}{more}")
        return found


def about(path: Path) -> LoraAbout:
    """Read the header of `path`. Raises UserError when it is no whole .safetensors file, or no LoRA."""
    path = path.expanduser()
    try:
        size = path.stat().st_size
        header = read_header(path, size)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}", "List what a run saved: kohya-tui checkpoints RUN") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}", "Name a .safetensors file.") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}", "Name a whole .safetensors file.") from None
    raw = header.pop("__metadata__", None)
    metadata = {str(key): str(value) for key, value in raw.items()} if isinstance(raw, dict) else {}
    architecture = architecture_of(header, metadata)
    if architecture not in {"LoRA", "demo"} and "ss_network_module" not in metadata:
        what = f"is {architecture}, no LoRA" if architecture else "has no layers of a LoRA in it"
        raise UserError(f"{path} {what}", "Base models: kohya-tui models base")
    layers = {name.rpartition(".")[0].removesuffix(".lora_down").removesuffix(".lora_up") for name in header}
    layers = {name.removesuffix(".lora_A").removesuffix(".lora_B") for name in layers if "." not in name or name}
    ranks = Counter(
        shape[0] for name, value in header.items() if _RANK.search(name) and (shape := value.get("shape")) and shape
    )
    alpha = metadata.get("ss_network_alpha")
    return LoraAbout(
        path=path,
        bytes=size,
        kind=next((kind for ending, kind in _KINDS if any(name.endswith(ending) for name in header)), None),
        base=_base(header, metadata),
        prediction=metadata.get("modelspec.prediction_type"),
        module=metadata.get("ss_network_module"),
        dims=dict(ranks),
        alpha=_number(alpha),
        layers=len(layers),
        text_encoder_layers=sum(name.startswith(("lora_te", "text_encoder", "te")) for name in layers),
        precision=precision_of(header),
        datasets=tuple(_datasets(metadata)),
        tags=tuple(_tags(metadata)),
        metadata=metadata,
    )


def _base(header: Mapping[str, Any], metadata: Mapping[str, str]) -> str | None:
    said = metadata.get("ss_base_model_version") or metadata.get("modelspec.architecture", "").partition("/")[0]
    known = {
        "sd_v1": "SD1.5",
        "stable-diffusion-v1": "SD1.5",
        "sd_v2": "SD2",
        "stable-diffusion-v2-768-v": "SD2",
        "sdxl_base_v1-0": "SDXL",
        "stable-diffusion-xl-v1-base": "SDXL",
        "flux1": "FLUX.1",
        "flux-1-dev": "FLUX.1",
        "sd3_m": "SD3",
        "stable-diffusion-3-medium": "SD3",
        "lumina2": "Lumina 2",
        "lumina-2": "Lumina 2",
        "anima": "Anima",
        "hunyuan-image-2.1": "HunyuanImage 2.1",
        "chroma": "Chroma",
    }
    if said:
        return known.get(said, said)
    return next((base for start, base in _BASES if any(name.startswith(start) for name in header)), None)


def _datasets(metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """What ss_datasets or, without it, ss_dataset_dirs say of each folder."""
    rows = _parsed(metadata.get("ss_datasets"))
    found = []
    for each in rows if isinstance(rows, list) else []:
        subsets = each.get("subsets") if isinstance(each, dict) else None
        for subset in subsets if isinstance(subsets, list) else []:
            if isinstance(subset, dict):
                resolution = each.get("resolution")
                found.append(
                    {
                        "name": str(subset.get("image_dir") or subset.get("metadata_file") or "?"),
                        "images": subset.get("img_count"),
                        "repeats": subset.get("num_repeats"),
                        "regularisation": bool(subset.get("is_reg")),
                        "resolution": resolution if isinstance(resolution, list) and len(resolution) == 2 else None,
                        "batch": each.get("batch_size_per_device"),
                    }
                )
    if found:
        return found
    folders = _parsed(metadata.get("ss_dataset_dirs"))
    return [
        {"name": name, "images": row.get("img_count"), "repeats": row.get("n_repeats"), "resolution": None}
        for name, row in (folders.items() if isinstance(folders, dict) else ())
        if isinstance(row, dict)
    ]


def _tags(metadata: Mapping[str, str]) -> list[tuple[str, int]]:
    counts: Counter[str] = Counter()
    folders = _parsed(metadata.get("ss_tag_frequency"))
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int):
                counts[str(tag).strip()] += count
    return counts.most_common()


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text not in (None, "None") else None
    except (TypeError, ValueError):
        return None
