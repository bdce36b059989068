"""Pictures and model files as small as the config tests need them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, list[int]]] = {
    "SD1.5": {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 768]},
    "SD2": {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 1024]},
    "SDXL": {
        "conditioner.embedders.1.model.ln_final.weight": [1280],
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": [640, 2048],
    },
    "SD3": {"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": [4, 4]},
    "FLUX.1": {"double_blocks.0.img_attn.qkv.weight": [4, 4], "single_blocks.0.linear1.weight": [4, 4]},
    "Chroma": {"double_blocks.0.img_attn.qkv.weight": [4, 4], "distilled_guidance_layer.in_proj.weight": [4, 4]},
    "Lumina 2": {
        "cap_embedder.0.weight": [4],
        "noise_refiner.0.attention.qkv.weight": [4],
        "context_refiner.0.attention.qkv.weight": [4],
    },
    "LoRA": {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": [4, 320]},
    "VAE": {"first_stage_model.decoder.conv_in.weight": [4, 4], "first_stage_model.encoder.conv_in.weight": [4, 4]},
}


def checkpoint(path: Path, shapes: dict[str, list[int]], dtype: str = "F16", **metadata: str) -> Path:
    """A safetensors file with these tensors; the weights are zero."""
    at = 0
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    for name, shape in shapes.items():
        size = {"F16": 2, "BF16": 2, "F32": 4, "F8_E4M3": 1}[dtype]
        for number in shape:
            size *= number
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(at))
    return path


def picture(path: Path, width: int, height: int) -> None:
    """A PNG header of that size: all that the plan reads."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)))
