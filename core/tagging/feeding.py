"""Pixels into a session, scores out of it: plainly from host memory, or bound to the memory of a GPU."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.tagging.graph import PREFIX_INPUT, PREFIX_OUTPUT, prefix
from core.tagging.reading import ModelInput

_CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")


@dataclass(slots=True)
class Slot:
    """Room for one batch, filled or free."""

    host: NDArray[Any]
    mask: NDArray[np.bool_] | None = None
    """Where a picture of the batch is padding, for a model that asks."""
    device: Any = None
    """The same bytes on the GPU."""
    bindings: tuple[Any, ...] = ()


class Feed(Protocol):
    """A way into a session. `fill` and `run` may be called from different threads."""

    def fill(self, images: Sequence[NDArray[np.uint8]], rows: int) -> Slot:
        """Lay `images` (as preprocess.prepare makes them) into a free slot of `rows` of them, the surplus white."""

    def run(self, slot: Slot, options: Any) -> NDArray[np.float32]:
        """The model's output for a slot, which is free again."""


class _Slots:
    """Free slots of one size; others are dropped."""

    def __init__(self, make: Callable[[int], Slot]) -> None:
        self._make, self._free, self._lock = make, list[Slot](), threading.Lock()

    def take(self, rows: int) -> Slot:
        with self._lock:
            self._free = [slot for slot in self._free if len(slot.host) == rows]
            if self._free:
                return self._free.pop()
        return self._make(rows)

    def give_back(self, slot: Slot) -> None:
        with self._lock:
            self._free.append(slot)


class PlainFeed:
    """Float32 made on the host; ONNX Runtime copies it to wherever the model is."""

    def __init__(self, session: Any, wanted: ModelInput, output: str) -> None:
        self._session, self._wanted, self._output = session, wanted, output
        form, size = wanted.form, wanted.size
        self._input = next(item.name for item in session.get_inputs() if item.name != form.mask)
        square = (size, size, 3) if form.layout == "NHWC" else (3, size, size)
        is_masked = form.mask is not None
        self._slots = _Slots(
            lambda rows: Slot(
                np.empty((rows, *square), np.float32), np.zeros((rows, size, size), np.bool_) if is_masked else None
            )
        )
        per_channel = (-1,) if form.layout == "NHWC" else (-1, 1, 1)
        is_scaled = any(scale != 1 for scale in form.scale)
        self._scale = np.array(form.scale, np.float32).reshape(per_channel) if is_scaled else None
        self._shift = np.array(form.shift, np.float32).reshape(per_channel) if any(form.shift) else None

    def fill(self, images: Sequence[NDArray[np.uint8]], rows: int) -> Slot:
        slot = self._slots.take(rows)
        feed = slot.host
        is_planar = self._wanted.form.layout == "NCHW"
        for row, pixels in enumerate(images):
            if slot.mask is not None:
                slot.mask[row] = pixels[:, :, 3]
                pixels = pixels[:, :, :3]
            feed[row] = pixels.transpose(2, 0, 1) if is_planar else pixels
        feed[len(images) :] = 255
        if slot.mask is not None:
            slot.mask[len(images) :] = False
        if self._scale is not None:
            feed /= self._scale
        if self._shift is not None:
            feed += self._shift
        return slot

    def run(self, slot: Slot, options: Any) -> NDArray[np.float32]:
        try:
            inputs = {self._input: slot.host} | ({} if slot.mask is None else {self._wanted.form.mask: slot.mask})
            (scores,) = self._session.run([self._output], inputs, options)
        finally:
            self._slots.give_back(slot)
        return np.asarray(scores, np.float32)


class BoundFeed:
    """Bytes to the GPU, from page-locked memory where CUDA's runtime can lock it; there a small graph of our own
    (graph.prefix) makes the model's input of them. The next batch is copied while the last one runs.

    `device` is ONNX Runtime's word for the memory: `cuda`, or `cpu`, where the same steps are taken without a GPU.
    """

    def __init__(
        self, runtime: Any, session: Any, head: Any, wanted: ModelInput, output: str, device: str, number: int
    ) -> None:
        self._runtime, self._session, self._head = runtime, session, head
        self._wanted, self._output, self._device, self._number = wanted, output, device, number
        self._input = session.get_inputs()[0].name
        self._slots = _Slots(self._make)
        self._pixels: Any = None
        """The model's input on the GPU: one for all slots, since batches run one after the other."""

    @staticmethod
    def head(wanted: ModelInput) -> bytes:
        """The model to open on the same device as `head`."""
        return prefix(wanted.form, wanted.size)

    def fill(self, images: Sequence[NDArray[np.uint8]], rows: int) -> Slot:
        slot = self._slots.take(rows)
        for row, pixels in enumerate(images):
            slot.host[row] = pixels
        slot.host[len(images) :] = 255
        slot.device.update_inplace(slot.host)
        return slot

    def run(self, slot: Slot, options: Any) -> NDArray[np.float32]:
        head, body = slot.bindings
        try:
            self._head.run_with_iobinding(head, options)
            head.synchronize_outputs()  # two sessions, two CUDA streams
            self._session.run_with_iobinding(body, options)
            return np.array(body.copy_outputs_to_cpu()[0], np.float32)
        finally:
            self._slots.give_back(slot)

    def _make(self, rows: int) -> Slot:
        size, value = self._wanted.size, self._runtime.OrtValue
        host = np.empty((rows, size, size, 3), np.uint8)
        lock_pages(host)
        is_planar = self._wanted.form.layout == "NCHW"
        shape = [rows, 3, size, size] if is_planar else [rows, size, size, 3]
        if self._pixels is None or list(self._pixels.shape()) != shape:
            self._pixels = value.ortvalue_from_shape_and_type(shape, np.float32, self._device, self._number)
        device = value.ortvalue_from_shape_and_type(list(host.shape), np.uint8, self._device, self._number)
        head, body = self._head.io_binding(), self._session.io_binding()
        head.bind_ortvalue_input(PREFIX_INPUT, device)
        head.bind_ortvalue_output(PREFIX_OUTPUT, self._pixels)
        body.bind_ortvalue_input(self._input, self._pixels)
        body.bind_output(self._output, "cpu")
        return Slot(host, None, device, (head, body))


def lock_pages(array: NDArray[Any], library: Any = None) -> bool:
    """Whether CUDA's runtime, if this process has loaded it, locked the pages of `array`, so that the GPU fetches them
    itself; they are unlocked when the array goes.
    """
    library = library or _cuda_runtime()
    if library is None:
        return False
    address = ctypes.c_void_p(array.ctypes.data)
    if library.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), ctypes.c_uint(0)) != 0:
        return False
    weakref.finalize(array, library.cudaHostUnregister, address)
    return True


def _cuda_runtime() -> Any:
    """The CUDA runtime that ONNX Runtime loaded; None when there is none. It is never loaded for this alone."""
    for name in _CUDA_RUNTIMES:
        try:
            return ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:
            continue
    return None
