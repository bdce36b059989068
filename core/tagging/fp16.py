"""A model in half precision: converted once in a child process, kept in the user's cache; and what it changes.

Graphics cards with tensor cores are two to three times as fast with it, and a few tags near their threshold flip.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.problems import UserError
from core.settings import cache_dir
from core.tagging.descriptors import TaggerModel
from core.tagging.models import score_key
from core.text import count_of

if TYPE_CHECKING:
    from core.tagging.session import TaggerSession

_VERSION = 1
"""Part of the file name: raise it when the conversion gives another model."""
_EXACT = ("LayerNormalization", "InstanceNormalization", "ReduceMean", "Softmax", "Sigmoid", "Pow", "Erf")
"""Operators that stay in full precision: sums and powers that 65,504 or 11 bits would spoil."""


@dataclass(frozen=True, slots=True)
class Flips:
    """What half precision does to the tags of some images."""

    images: int
    tags: int
    """Above their threshold in full precision, over all images."""
    gained: int
    lost: int
    largest: float
    """Largest difference of two scores."""

    def sentence(self) -> str:
        """`Half precision changes 3 of 1,204 tags in 32 images (1 more, 2 fewer); scores differ by 0.004 at most.`"""
        changed = self.gained + self.lost
        return (
            f"Half precision changes {changed:,} of {count_of(self.tags, 'tag')} in {count_of(self.images, 'image')} "
            f"({self.gained:,} more, {self.lost:,} fewer); scores differ by {self.largest:.3f} at most."
        )


def flips(
    exact: TaggerSession,
    half: TaggerSession,
    pixels: Sequence[NDArray[np.uint8]],
    thresholds: NDArray[np.float32] | float = 0.35,
) -> Flips:
    """Compare two sessions of one model on prepared pictures; `thresholds` is one for all labels or one for each."""
    tags = gained = lost = 0
    largest = 0.0
    step = min(exact.best_batch, half.best_batch)
    for at in range(0, len(pixels), step):
        group = pixels[at : at + step]
        before, after = exact.run(group, step), half.run(group, step)
        largest = max(largest, float(np.abs(before - after).max()))
        had, has = before >= thresholds, after >= thresholds
        tags += int(had.sum())
        gained += int((has & ~had).sum())
        lost += int((had & ~has).sum())
    return Flips(len(pixels), tags, gained, lost, largest)


def converted(model: TaggerModel) -> Path:
    """The model file in half precision, made when it is not in the cache yet (seconds to a minute).

    Inputs and outputs stay float32. Raises UserError when the package `onnx` is missing or the model cannot be
    converted.
    """
    assert model.onnx is not None
    target = cache_dir() / "fp16" / f"{score_key(model)}-{_VERSION}.onnx"
    if target.is_file():
        return target
    if find_spec("onnx") is None:
        from core.tagging.providers import pip

        raise UserError(
            "--fp16 converts the model, which needs the package onnx", f"{pip('install')} 'kohya-tui[fp16]'"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    # A child: the package loads the whole model twice, and none of that memory comes back.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "core.tagging.fp16", str(model.onnx), str(part)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"The model {model.name} cannot be converted to half precision: {reason}", "Leave out --fp16.")
    part.replace(target)
    return target


def convert(source: Path, target: Path) -> None:
    """Write `source` in half precision."""
    import onnx
    from onnxruntime.transformers import float16

    model = onnx.load(source)
    if not model.graph.node:
        raise ValueError("the file has no graph")
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *_EXACT]
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked), target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
