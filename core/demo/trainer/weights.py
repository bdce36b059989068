"""Safetensors files: the same input gives the same bytes, and bfloat16, which NumPy lacks, is written and read too."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.demo.trainer.model import Array

_NAMES = {"fp16": "F16", "bf16": "BF16"}


def pack(tensors: Mapping[str, Array], precision: str | None, metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file with `tensors` in fp16, bf16 (cut off, not rounded) or float32."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        data = _encode(np.ascontiguousarray(tensors[name], dtype=np.float32), precision)
        header[name] = {
            "dtype": _NAMES.get(precision or "", "F32"),
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the weights begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _encode(value: Array, precision: str | None) -> bytes:
    with np.errstate(all="ignore"):
        if precision == "fp16":
            return value.astype(np.float16).tobytes()
        if precision == "bf16":
            return (value.reshape(-1).view(np.uint32) >> np.uint32(16)).astype(np.uint16).tobytes()
    return value.tobytes()


def unpack(path: Path) -> dict[str, Array]:
    """The tensors of a file as float32, integer kinds left out. Raises ValueError for what is no such file."""
    data = path.read_bytes()
    if len(data) < 8:
        raise ValueError(f"{path} is no safetensors file")
    begin = 8 + int(struct.unpack_from("<Q", data)[0])
    header = json.loads(data[8:begin])
    found: dict[str, Array] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        raw = data[begin + first : begin + last]
        value: NDArray[np.float32]
        if entry["dtype"] == "BF16":
            value = (np.frombuffer(raw, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif entry["dtype"] in ("F16", "F32"):
            value = np.frombuffer(raw, np.float16 if entry["dtype"] == "F16" else np.float32).astype(np.float32)
        else:
            continue
        found[name] = value.reshape(entry["shape"])
    return found
