"""What was found in the trainer's Python by asking it, and what a config needs of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.config.check_options import TRAIN, error, warning
from core.problems import Problem
from core.text import printable

if TYPE_CHECKING:
    from core.hardware import GpuSnapshot


@dataclass(frozen=True, slots=True)
class Package:
    """One package: its version when it can be imported, else what the import said (None: it is not there)."""

    version: str | None = None
    error: str | None = None

    @property
    def works(self) -> bool:
        return self.version is not None


@dataclass(frozen=True, slots=True)
class Environment:
    """The trainer's Python as it answered. `problem` says why it did not."""

    python: str
    packages: Mapping[str, Package] = field(default_factory=dict)
    """Module → what importing it gave; modules that were not asked for are not in it."""
    torch: str | None = None
    torch_cuda: str | None = None
    """The CUDA that torch was built for; None for a build without."""
    architectures: tuple[str, ...] = ()
    """What torch's build has kernels for: sm_80, compute_90 …; empty where it does not tell."""
    problem: str | None = None


_ATTENTION: Mapping[str, tuple[str, str]] = {
    "sageattn": ("sageattention", "sageattention"),
    "flash": ("flash_attn", "flash-attn"),
    "xformers": ("xformers", "xformers"),
}


def attention_package(train: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(option, module, package) of the attention that the script imports for attn_mode and its like."""
    mode = train.get("attn_mode")
    if isinstance(mode, str) and mode in _ATTENTION:
        return "attn_mode", *_ATTENTION[mode]
    for key, module, package in (
        ("use_flash_attn", "flash_attn", "flash-attn"),
        ("use_sage_attn", "sageattention", "sageattention"),
    ):
        if train.get(key) is True:
            return key, module, package
    return None


def check_torch(train: Mapping[str, Any], found: Environment, gpus: tuple[GpuSnapshot, ...]) -> Iterator[Problem]:
    """torch's own build against the GPUs and against what the config asks of it."""
    if found.torch is None:
        return
    if gpus and found.torch_cuda is None and "rocm" not in found.torch:
        message = f"torch {found.torch} of {found.python} is a build without CUDA: it trains on the CPU"
        yield error("KT410", "torch", message, "Install torch for your CUDA there: kohya-tui setup sd-scripts")
    wrong = [gpu for gpu in gpus if gpu.capability is not None and not _has_kernels(found, gpu.capability)]
    if found.torch_cuda is not None and gpus and len(wrong) == len(gpus):
        gpu = wrong[0]
        major, minor = gpu.capability or (0, 0)
        name = printable(gpu.name or f"GPU {gpu.index}")
        message = f"torch {found.torch} has no kernels for {name} (sm_{major}{minor}): it stops at the first step"
        hint = "Install a newer torch there: kohya-tui setup sd-scripts"
        if major < 7:
            hint = "Install an older torch there: builds for CUDA 12.8 and later leave these cards out."
        yield error("KT410", "torch", message, hint)
    fp8 = next((key for key in ("fp8_base", "fp8_base_unet", "fp8_scaled", "fp8_vl") if train.get(key) is True), None)
    if fp8 is not None and _numbers(found.torch) < (2, 1):
        yield error("KT410", f"{TRAIN}: {fp8}", f"needs torch 2.1, and {found.torch} is there", f"Remove {fp8}.")


def check_bf16(train: Mapping[str, Any], gpus: tuple[GpuSnapshot, ...]) -> Iterator[Problem]:
    """bf16 needs compute capability 8.0 (Ampere): accelerate refuses it below, and it is slow where it does not."""
    if train.get("mixed_precision") != "bf16" and not train.get("full_bf16"):
        return
    old = [gpu for gpu in gpus if gpu.capability is not None and gpu.capability < (8, 0)]
    if old and len(old) == len(gpus):
        name = printable(old[0].name or f"GPU {old[0].index}")
        major, minor = old[0].capability or (0, 0)
        message = f"{name} has no bf16 (compute capability {major}.{minor}, 8.0 is needed)"
        yield warning("KT408", f"{TRAIN}: mixed_precision", message, 'Set mixed_precision = "fp16".', fixable=True)


def _has_kernels(found: Environment, capability: tuple[int, int]) -> bool:
    """Code of the same major version runs when it is not newer; code for an older virtual GPU is compiled anew."""
    if not found.architectures:
        return True
    major, minor = capability
    for name in found.architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name)
        if match is None:
            continue
        its = int(match[2]), int(match[3])
        if match[1] == "sm" and its[0] == major and its[1] <= minor:
            return True
        if match[1] == "compute" and its <= (major, minor):
            return True
    return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
