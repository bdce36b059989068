"""The base checkpoint of the demo, always the same bytes: `python -m core.demo.trainer.base OUT.safetensors`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from core.demo.trainer.model import CANVAS, MEAN_KEY, WORDS_KEY, Array, make_words
from core.demo.trainer.weights import pack

SEED = 15


def _soft(distance: Array, edge: float, width: float) -> Array:
    return np.asarray(np.clip((edge - distance) / width + 0.5, 0.0, 1.0)[..., None], dtype=np.float32)


def make_mean() -> Array:
    """What the base draws of anything: a pale round head on a pale ground, float32 [128, 128, 3] in -1..1."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) / (CANVAS - 1) * 2 - 1
    ground = np.stack([0.86 - 0.05 * y, 0.87 - 0.05 * y, 0.90 - 0.03 * y], axis=-1)
    hair = _soft(np.hypot(x / 0.72, (y + 0.06) / 0.78), 1.0, 0.5)
    face = _soft(np.hypot(x / 0.5, (y - 0.12) / 0.48), 1.0, 0.35)
    picture = ground * (1 - hair) + np.array([0.70, 0.68, 0.70]) * hair
    picture = picture * (1 - face) + np.array([0.93, 0.87, 0.84]) * face
    return np.asarray(picture * 2 - 1, dtype=np.float32)


def write_base(path: Path) -> Path:
    """Write the checkpoint, 250 kB: two tensors that are read, and tiny ones under keys that mark SD1.5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)

    def small(*shape: int) -> Array:
        return np.asarray(rng.standard_normal(shape) * 0.02, dtype=np.float32)

    tensors = {
        "model.diffusion_model.input_blocks.0.0.weight": small(8, 4, 3, 3),
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": small(2, 768),
        "model.diffusion_model.out.2.weight": small(4, 8, 3, 3),
        "first_stage_model.decoder.conv_out.weight": small(3, 4, 3, 3),
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": small(768),
        WORDS_KEY: make_words(SEED),
        MEAN_KEY: make_mean(),
    }
    metadata = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "kohya-tui-demo",
        "modelspec.title": "kohya-tui demo base",
        "modelspec.description": "A tiny stand-in for an SD1.5 checkpoint; only kohya-tui's demo trainer trains on it.",
        "modelspec.prediction_type": "epsilon",
    }
    path.write_bytes(pack(tensors, "fp16", metadata))
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m core.demo.trainer.base OUT.safetensors")
    print(write_base(Path(sys.argv[1])))
