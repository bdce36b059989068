"""Tiny ONNX models whose scores are their own input, written as protobuf by hand: no onnx package is needed.

`write_model(path, (3, 24, 24))` makes a network that takes float32 [N, 3, 24, 24] and gives every value of it as a
score, so that a test sees which pixels a model was fed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT, INT, BOOL = 1, 2, 9


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _int(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    names = b"".join(_bytes(1, name) for name in inputs)
    return _bytes(1, names + _bytes(2, output) + _bytes(4, kind) + attributes)


def _tensor_info(field: int, name: str, shape: Sequence[int | str], kind: int = FLOAT) -> bytes:
    dims = b"".join(_bytes(1, _int(1, d) if isinstance(d, int) else _bytes(2, d)) for d in shape)
    return _bytes(field, _bytes(1, name) + _bytes(2, _bytes(1, _int(1, kind) + _bytes(2, dims))))


def write_model(
    path: Path,
    shape: Sequence[int | str],
    *,
    outputs: Sequence[str] = ("scores",),
    chosen: str | None = None,
    input_name: str = "input",
    more_inputs: Sequence[str] = (),
    external: str | None = None,
    side: int = 24,
    batch: int | str = "N",
    mask: str | None = None,
) -> None:
    """`shape` is one image's, with `side` where it has a name. Every output but `chosen` (None: the last) is the
    negative of the input. `mask` names a second input, whose values follow as scores. `external` puts a bias of zeros
    into a file of that name beside the model.
    """
    width = int(np.prod([side if isinstance(d, str) else d for d in shape]))
    flat = _bytes(5, _bytes(1, "axis") + _int(3, 1) + _int(20, 2))
    nodes = _node("Flatten", [input_name], "flat", flat)
    last = "flat"
    initializers = b""
    if external is not None:
        bias = np.zeros(width, np.float32).tobytes()
        (path.parent / external).write_bytes(bias)
        entries = {"location": external, "offset": "0", "length": str(len(bias))}
        where = b"".join(_bytes(13, _bytes(1, key) + _bytes(2, text)) for key, text in entries.items())
        initializers = _bytes(5, _int(1, width) + _int(2, FLOAT) + _bytes(8, "bias") + where + _int(14, 1))
        nodes += _node("Add", ["flat", "bias"], "biased")
        last = "biased"
    for extra in more_inputs:
        nodes += _node("Identity", [extra], f"{extra}_unused")
    if mask is not None:
        to_float = _bytes(5, _bytes(1, "to") + _int(3, FLOAT) + _int(20, 2))
        nodes += _node("Cast", [mask], "padding", to_float) + _node("Flatten", ["padding"], "flat_padding", flat)
        nodes += _node("Concat", [last, "flat_padding"], "both", flat)
        last, width = "both", width + side * side
    right = chosen or outputs[-1]
    for name in outputs:
        nodes += _node("Identity" if name == right else "Neg", [last], name)
    graph = nodes + _bytes(2, "tiny") + initializers + _tensor_info(11, input_name, [batch, *shape])
    graph += b"".join(_tensor_info(11, extra, [batch, *shape]) for extra in more_inputs)
    if mask is not None:
        graph += _tensor_info(11, mask, [batch, side, side], BOOL)
    graph += b"".join(_tensor_info(12, name, [batch, width]) for name in outputs)
    path.write_bytes(_int(1, 8) + _bytes(8, _bytes(1, "") + _int(2, 17)) + _bytes(7, graph))
