"""A loaded tagger: one ONNX Runtime session, honest about the device that it really runs on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.problems import UserError
from core.tagging.labels import LabelSet, read_labels
from core.tagging.models import TaggerModel
from core.tagging.providers import CPU, CUDA, available_runtime, driver_version, why_not_cuda
from core.tagging.reading import ModelInput

_SMALL_MODEL = 50_000_000
"""Bytes of a model file below which several images at once pay off on a CPU."""


@dataclass(slots=True)
class Staged:
    """Images laid ready for the model."""

    images: Sequence[NDArray[np.uint8]]
    rows: int
    """Size of the batch that the model gets; the surplus is white."""
    feed: NDArray[np.float32] | None
    """None when they do not fit at once: they are fed piece by piece."""


@dataclass(slots=True)
class TaggerSession:
    """`stage` and `finish` may be called from two threads, each one at a time, as a batch is staged while the one
    before it runs; never a third before the first is finished.
    """

    model: TaggerModel
    labels: LabelSet
    input_size: int
    fixed_batch: int | None
    """The model takes exactly this many images; `run` fills up what is missing."""
    provider: str
    """What ONNX Runtime says it uses, not what was asked: one of options.PROVIDERS."""
    fallback: str | None
    """Why it is not the GPU, with the command that repairs it; None when nothing is amiss."""
    keeps_shape: bool
    """Always run full batches: a new shape makes cuDNN search its algorithms again."""
    _session: Any
    _runtime: Any
    _input: str
    _output: str
    device: int | None = None
    """Number of the GPU; None on the CPU."""
    batch_limit: int | None = None
    """Most images at once since the device ran out of memory; None while it never did."""
    _options: Any = None
    _feeds: list[NDArray[np.float32]] = field(default_factory=list)
    _turn: int = 0
    _notes: list[str] = field(default_factory=list)

    @property
    def input(self) -> ModelInput:
        return ModelInput(self.model.format, self.input_size)

    @property
    def is_gpu(self) -> bool:
        return self.provider != CPU

    @property
    def device_name(self) -> str:
        """As people call it: `CUDA`, `CPU`."""
        return self.provider.upper()

    @property
    def best_batch(self) -> int:
        """Images at once when nobody said: 16 keep a GPU busy; on a CPU a large model gains nothing, and stops
        later.
        """
        if self.is_gpu:
            return 16
        return 8 if (self.model.bytes or 0) < _SMALL_MODEL else 1

    def run(self, images: Sequence[NDArray[np.uint8]], batch: int | None = None) -> NDArray[np.float32]:
        """Probabilities float32 [N, len(labels)] of N images uint8 [input_size, input_size, 3], in the
        model's channel order (preprocess.prepare).

        With `batch`, a shorter last batch is filled up with white to that size where the device wants a constant
        shape. Raises UserError when the model fails.
        """
        return self.finish(self.stage(images, batch))

    def stage(self, images: Sequence[NDArray[np.uint8]], batch: int | None = None) -> Staged:
        """Lay images ready for `finish`, as `run` would feed them."""
        count = len(images)
        rows = self.fixed_batch or (max(batch or count, count) if self.keeps_shape else count)
        if count > rows or (self.batch_limit is not None and rows > self.batch_limit):
            return Staged(images, rows, None)
        return Staged(images, rows, self._filled(images, rows))

    def finish(self, staged: Staged) -> NDArray[np.float32]:
        """Run what was staged."""
        if staged.feed is None:
            step = min(staged.rows, self.batch_limit or staged.rows)
            pieces = range(0, len(staged.images), step)
            return np.concatenate([self.run(staged.images[at : at + step], step) for at in pieces])
        try:
            (scores,) = self._session.run([self._output], {self._input: staged.feed}, self._options)
        except Exception as error:  # onnxruntime's own classes, which differ from version to version
            raise UserError(
                f"The model {self.model.name} failed: {_first_line(error)}", _advice(error, staged.rows)
            ) from error
        scores = np.array(scores[: len(staged.images)], np.float32)
        return 1 / (1 + np.exp(-scores)) if self.model.format.is_logits else scores

    def terminate(self) -> None:
        """Break off the batch that runs in another thread, and every later one until `resume`."""
        self._options.terminate = True

    def resume(self) -> None:
        """Take batches again."""
        self._options = self._runtime.RunOptions()

    def take_notes(self) -> list[str]:
        """What the user should be told, each once."""
        notes, self._notes = self._notes, []
        return notes

    def _filled(self, images: Sequence[NDArray[np.uint8]], rows: int) -> NDArray[np.float32]:
        form, size = self.model.format, self.input_size
        shape = (rows, size, size, 3) if form.layout == "NHWC" else (rows, 3, size, size)
        if not self._feeds or self._feeds[0].shape != shape:
            self._feeds = [np.empty(shape, np.float32) for _ in range(2)]
        self._turn ^= 1
        feed = self._feeds[self._turn]
        for row, pixels in enumerate(images):
            feed[row] = pixels if form.layout == "NHWC" else pixels.transpose(2, 0, 1)
        feed[len(images) :] = 255
        per_channel = (-1,) if form.layout == "NHWC" else (-1, 1, 1)
        if any(scale != 1 for scale in form.scale):
            feed /= np.array(form.scale, np.float32).reshape(per_channel)
        if any(form.shift):
            feed += np.array(form.shift, np.float32).reshape(per_channel)
        return feed


def open_session(
    model: TaggerModel,
    provider: str = "auto",
    threads: int | None = None,
    *,
    device: int | None = None,
    vram_limit: float | None = None,
    fp16: bool = False,
    cancel: Callable[[], bool] | None = None,
) -> TaggerSession:
    """Load `model` on `provider` (options.PROVIDERS) with `threads` per operator (None: the physical cores).

    A GPU that cannot be used gives a session on the CPU whose `fallback` says why. Raises UserError when onnxruntime
    is not installed, and when the model is damaged, takes other inputs than its format, or does not match its label
    file.
    """
    if model.onnx is None or model.labels is None:
        raise UserError(f"The model {model.name} is not on this machine", f"kohya-tui models download {model.name}")
    runtime = available_runtime()
    fallback = why_not_cuda(runtime, asked=provider == "cuda") if provider != "cpu" else None
    use_cuda = provider != "cpu" and fallback is None and driver_version() is not None
    session, reason = None, None
    if use_cuda:
        _preload(runtime)
        try:
            session = _create(runtime, model, threads, use_cuda=True)
        except UserError as error:
            reason = _first_line(error.__cause__ or error)
    if session is None:
        session = _create(runtime, model, threads, use_cuda=False)
    really = CUDA if "CUDAExecutionProvider" in session.get_providers()[:1] else CPU
    if use_cuda and really == CPU:
        fallback = why_not_cuda(runtime, asked=True, failed=True, reason=reason)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    size, batch = _input_shape(model, inputs)
    output = next((item for item in outputs if item.name == model.format.output), outputs[0])
    width = output.shape[-1]
    labels = read_labels(model.labels, width if isinstance(width, int) else None)
    return TaggerSession(
        model=model,
        labels=labels,
        input_size=size,
        fixed_batch=batch,
        provider=really,
        fallback=fallback,
        keeps_shape=really == CUDA,
        _session=session,
        _runtime=runtime,
        _input=inputs[0].name,
        _output=output.name,
        _options=runtime.RunOptions(),
    )


def _preload(runtime: Any) -> None:
    """Load the CUDA and cuDNN libraries of the nvidia-* wheels, so that no LD_LIBRARY_PATH is needed (onnxruntime >=
    1.21).
    """
    preload = getattr(runtime, "preload_dlls", None)
    if preload is not None:
        preload()


def _create(runtime: Any, model: TaggerModel, threads: int | None, *, use_cuda: bool) -> Any:
    """A session, on the CPU or on CUDA with the CPU behind it. Raises UserError when it cannot be made."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4 if use_cuda else 3  # a fallback is told in our own words
    options.intra_op_num_threads = threads or physical_cores()
    # Spinning threads eat the cores that decode the next pictures; without pictures to decode, off would cost 6-11 %.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if use_cuda:
        # HEURISTIC: the exhaustive search of cuDNN's algorithms takes seconds for every new batch shape.
        cuda = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
        providers.insert(0, ("CUDAExecutionProvider", cuda))
    try:
        # Without enable_fallback=0 a failed provider prints a banner into the log and goes on by itself.
        return runtime.InferenceSession(str(model.onnx), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's own classes, which differ from version to version
        raise UserError(
            f"Cannot load the model {model.onnx}: {_first_line(error)}",
            "The file is damaged or no ONNX model: download it again with --force_download, or name another model.",
        ) from error


def _input_shape(model: TaggerModel, inputs: Any) -> tuple[int, int | None]:
    """Side of the input square and fixed batch size (None = any); refuses what the format does not describe."""
    shape = inputs[0].shape if len(inputs) == 1 else []
    sides = shape[1:3] if model.format.layout == "NHWC" else shape[2:4]
    depth = (shape[3] if model.format.layout == "NHWC" else shape[1]) if len(shape) == 4 else None
    if len(shape) != 4 or depth != 3 or inputs[0].type != "tensor(float)" or sides[0] != sides[1]:
        found = ", ".join(f"{item.type} {item.shape}" for item in inputs)
        wanted = "[N, S, S, 3]" if model.format.layout == "NHWC" else "[N, 3, S, S]"
        raise UserError(
            f"The model {model.name} takes {found}; a model with these labels takes one tensor(float) {wanted}",
            "It is of another kind than its label file says: download it again, or name another model.",
        )
    size = sides[0] if isinstance(sides[0], int) and sides[0] > 0 else model.format.size or 448  # every WD model is 448
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    return size, batch


def physical_cores() -> int:
    """Cores without hyper-threads, no more than this process may use."""
    import psutil

    usable = len(os.sched_getaffinity(0))
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _advice(error: BaseException, rows: int) -> str:
    text = str(error).lower()
    if "memory" in text or "alloc" in text:
        return (
            f"It ran out of memory with {rows} images at once: try --batch_size {max(1, rows // 2)}, or --provider cpu."
        )
    return "Try --provider cpu; if that works, the GPU's libraries do not fit (kohya-tui doctor)."
