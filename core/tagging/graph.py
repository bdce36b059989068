"""As much of the ONNX file format as the tagger needs: the shape of a model's input, and a small graph of our own.

Both without the `onnx` package, which is large and imported for nothing else.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.tagging.descriptors import InputFormat

_FLOAT, _UINT8 = 1, 2  # onnx.TensorProto.DataType
_MODEL_GRAPH, _GRAPH_INPUT = 7, 11
_VALUE_NAME, _VALUE_TYPE = 1, 2
_MOST_FIELDS = 200_000
"""Fields of a file that is no ONNX model may go on for long; a tagger has a few thousand."""

PREFIX_INPUT, PREFIX_OUTPUT = "bytes", "pixels"


def input_shape(path: Path) -> list[int | None] | None:
    """The shape of a model's only input (None for a dimension that is free); None when it cannot be told.

    Milliseconds for any size: weights are stepped over.
    """
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        path.open("rb") as stream,
        contextlib.closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data,
    ):
        graphs = [span for number, span in _fields(data, 0, len(data)) if number == _MODEL_GRAPH]
        if len(graphs) != 1:
            return None
        inputs = [span for number, span in _fields(data, *graphs[0]) if number == _GRAPH_INPUT]
        return _shape(data, inputs[0]) if len(inputs) == 1 else None
    return None


def prefix(form: InputFormat, size: int) -> bytes:
    """An ONNX model from uint8 [N, size, size, 3] to the input of a model with `form`: Cast, then what of division,
    addition and transposition the format asks for, as the host would do it in float32.

    On a GPU the host copies a quarter of the bytes, and converts nothing.
    """
    nodes = [_node("Cast", [PREFIX_INPUT], "cast", [_attribute("to", _FLOAT)])]
    last, constants = "cast", []
    if any(number != 1 for number in form.scale):
        constants.append(_constant("scale", form.scale))
        nodes.append(_node("Div", [last, "scale"], "scaled"))
        last = "scaled"
    if any(form.shift):
        constants.append(_constant("shift", form.shift))
        nodes.append(_node("Add", [last, "shift"], "shifted"))
        last = "shifted"
    if form.layout == "NCHW":
        nodes.append(_node("Transpose", [last], PREFIX_OUTPUT, [_attribute("perm", [0, 3, 1, 2])]))
        shape: list[int | str] = ["N", 3, size, size]
    else:
        nodes.append(_node("Identity", [last], PREFIX_OUTPUT))
        shape = ["N", size, size, 3]
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"prefix")
    graph += b"".join(_bytes(5, constant) for constant in constants)
    graph += _bytes(11, _value(PREFIX_INPUT, _UINT8, ["N", size, size, 3]))
    graph += _bytes(12, _value(PREFIX_OUTPUT, _FLOAT, shape))
    return _number(1, 8) + _bytes(8, _bytes(1, b"") + _number(2, 17)) + _bytes(7, graph)


# Protocol buffers: a field is a number with a wire type, then a varint, eight bytes, four bytes, or a counted run.


def _varint(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a protocol buffer")


def _fields(data: mmap.mmap | bytes, at: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number and span of every field; of a plain number the span is (value, -1)."""
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, (value, -1)
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("not a protocol buffer")
        if at + length > end:
            raise ValueError("cut off")
        yield key >> 3, (at, at + length)
        at += length
    raise ValueError("too many fields")


def _shape(data: mmap.mmap | bytes, value: tuple[int, int]) -> list[int | None] | None:
    """Of a ValueInfoProto."""
    for number in (_VALUE_TYPE, 1, 2):  # its type, the tensor in it, the shape in that
        value = next((span for found, span in _fields(data, *value) if found == number), (0, -1))
        if value[1] < 0:
            return None
    shape: list[int | None] = []
    for _, dimension in _fields(data, *value):
        sizes = [span[0] for number, span in _fields(data, *dimension) if number == 1]
        shape.append(sizes[0] if sizes and sizes[0] > 0 else None)
    return shape


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _encoded(field << 3) + _encoded(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _encoded(field << 3 | 2) + _encoded(len(value)) + value


def _node(kind: str, inputs: Sequence[str], output: str, attributes: Sequence[bytes] = ()) -> bytes:
    names = b"".join(_bytes(1, name.encode()) for name in inputs) + _bytes(2, output.encode())
    return names + _bytes(4, kind.encode()) + b"".join(_bytes(5, attribute) for attribute in attributes)


def _attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name.encode()) + _number(3, value) + _number(20, 2)
    return _bytes(1, name.encode()) + b"".join(_number(8, item) for item in value) + _number(20, 7)


def _constant(name: str, values: Sequence[float]) -> bytes:
    """A float32 tensor [len(values)], which spreads over the last axis: the channels."""
    data = struct.pack(f"<{len(values)}f", *values)
    return _number(1, len(values)) + _number(2, _FLOAT) + _bytes(8, name.encode()) + _bytes(9, data)


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _bytes(2, size.encode()) for size in shape]
    tensor = _number(1, kind) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))
