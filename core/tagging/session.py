"""A loaded tagger: one ONNX Runtime session, honest about the device that it really runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.problems import UserError
from core.settings import cache_dir
from core.tagging.descriptors import InputFormat
from core.tagging.engines import create, first_line
from core.tagging.feeding import BoundFeed, Feed, PlainFeed, Slot
from core.tagging.graph import input_shape
from core.tagging.labels import LabelSet, labels_of
from core.tagging.models import TaggerModel, score_key
from core.tagging.providers import (
    CPU,
    CUDA,
    PROVIDERS,
    Provider,
    available_runtime,
    choose,
    engine_options,
    preload,
    provider_named,
    why_not,
)
from core.tagging.reading import ModelInput

_SMALL_MODEL = 50_000_000
"""Bytes of a model file below which several images at once pay off on a CPU."""
_GPU_BATCH = 16
_USUAL_SIDE = 448
"""Of every WD model; models whose input leaves it open say theirs in their descriptor."""
_CLOSE = 1e-2
"""Largest difference of two scores of one image that rounding explains (TF32 has 10 bits); mixed-up pixels give 0.1 and
more.
"""


@dataclass(frozen=True, slots=True)
class Staged:
    """Images laid ready for the model."""

    images: Sequence[NDArray[np.uint8]]
    rows: int
    """Size of the batch that the model gets; the surplus is white."""
    feed: Feed
    slot: Slot | None
    """None when they do not fit at once: they go in piece by piece."""


@dataclass(slots=True)
class TaggerSession:
    """`stage` and `finish` may be called from two threads, each one at a time: a batch is laid ready while the one
    before it runs.
    """

    model: TaggerModel
    """With `fp16`, `onnx` is the converted file, so that its scores have a key of their own."""
    labels: LabelSet
    input_size: int
    fixed_batch: int | None
    """The model takes exactly this many images; `run` fills up what is missing."""
    provider: str
    """What ONNX Runtime says it uses, not what was asked: one of providers.PROVIDERS."""
    fallback: str | None
    """Why it is not what was asked for, with the command that repairs it; None when nothing is amiss."""
    keeps_shape: bool
    """Always run full batches: a new shape makes cuDNN search its algorithms again, and TensorRT build an engine."""
    device: int | None = None
    """Number of the GPU; None on the CPU."""
    batch_limit: int | None = None
    """Most images at once since the device ran out of memory; None while it never did."""
    notes: list[str] = field(default_factory=list)
    """What the user should be told (`take_notes`)."""
    _feed: Feed = field(kw_only=True)
    _unproven: Feed | None = field(default=None, kw_only=True)
    """A faster way in, which is taken once it gave the same scores as `_feed`."""
    _runtime: Any = field(kw_only=True)
    _options: Any = field(kw_only=True)

    @property
    def input(self) -> ModelInput:
        return ModelInput(self.model.format, self.input_size)

    @property
    def is_gpu(self) -> bool:
        return self.provider != CPU

    @property
    def device_name(self) -> str:
        """As people call it: `CUDA`, `TensorRT`, `CPU`."""
        return PROVIDERS[self.provider].label

    @property
    def best_batch(self) -> int:
        """Images at once when nobody said: 16 keep a GPU busy; on a CPU a large model gains nothing, and stops
        later.
        """
        if self.is_gpu:
            return _GPU_BATCH
        return 8 if (self.model.bytes or 0) < _SMALL_MODEL else 1

    def run(self, images: Sequence[NDArray[np.uint8]], batch: int | None = None) -> NDArray[np.float32]:
        """Probabilities float32 [N, len(labels)] of N images uint8 [input_size, input_size, 3], in the
        model's channel order (preprocess.prepare).

        With `batch`, a shorter last batch is filled up with white to that size where the device wants a constant
        shape. When the device runs out of memory, the batch is halved until it fits; it stays so (`batch_limit`).
        Raises UserError when the model fails.
        """
        return self.finish(self.stage(images, batch))

    def stage(self, images: Sequence[NDArray[np.uint8]], batch: int | None = None) -> Staged:
        """Lay images ready for `finish`, as `run` would feed them."""
        count = len(images)
        rows = self.fixed_batch or (max(batch or count, count) if self.keeps_shape else count)
        if count > rows or self._is_too_many(rows):
            return Staged(images, rows, self._feed, None)
        feed = self._feed
        try:
            return Staged(images, rows, feed, feed.fill(images, rows))
        except Exception as error:  # onnxruntime's own classes; what is no lack of memory goes on as a UserError
            self._shrink(error, rows)
            return Staged(images, rows, feed, None)

    def finish(self, staged: Staged) -> NDArray[np.float32]:
        """Run what was staged."""
        images, rows = staged.images, staged.rows
        if staged.slot is None or self._is_too_many(rows):
            step = min(rows, self.batch_limit or rows)
            return np.concatenate([self.run(images[at : at + step], step) for at in range(0, len(images), step)])
        try:
            scores = staged.feed.run(staged.slot, self._options)[: len(images)]
        except Exception as error:  # as in `stage`
            self._shrink(error, rows)
            return self.finish(replace(staged, slot=None))
        if self._unproven is not None:
            self._prove(self._unproven, staged, scores)
        if self.model.format.is_logits:
            np.negative(scores, out=scores)
            with np.errstate(over="ignore"):  # below -88 the probability is 0, and nothing to warn of
                np.exp(scores, out=scores)
            scores += 1
            np.reciprocal(scores, out=scores)
        return scores

    def terminate(self) -> None:
        """Break off the batch that runs in another thread, and every later one until `resume`."""
        self._options.terminate = True

    def resume(self) -> None:
        """Take batches again."""
        self._options = self._runtime.RunOptions()

    def take_notes(self) -> list[str]:
        """What the user should be told, each once."""
        notes, self.notes = self.notes, []
        return notes

    def _is_too_many(self, rows: int) -> bool:
        return self.batch_limit is not None and rows > self.batch_limit

    def _shrink(self, error: Exception, rows: int) -> None:
        """Take half as many images from now on, if it was the memory. Raises UserError for everything else."""
        if not is_out_of_memory(error) or rows <= 1 or self.fixed_batch is not None or self._options.terminate:
            raise UserError(f"The model {self.model.name} failed: {first_line(error)}", _advice(error)) from error
        self.batch_limit = max(1, min(rows, self.batch_limit or rows) // 2)
        self.notes.append(
            f"{self.device_name} ran out of memory with {rows} images at once: {self.batch_limit} from now on."
        )

    def _prove(self, feed: Feed, staged: Staged, scores: NDArray[np.float32]) -> None:
        """Take the faster way in from now on if it gives these scores, too."""
        self._unproven = None
        try:
            again = feed.run(feed.fill(staged.images, staged.rows), self._options)[: len(staged.images)]
            is_same = bool(np.allclose(again, scores, atol=_CLOSE, rtol=_CLOSE))
            reason = "gave other scores"
        except Exception as error:  # whatever keeps it from working: the plain way does
            is_same, reason = False, first_line(error)
        if is_same:
            self._feed = feed
        elif not self._options.terminate:
            self.notes.append(f"Pixels are copied to the GPU in the plain way; the quicker one failed: {reason}")


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
    """Load `model` on `provider` (`auto` or one of providers.PROVIDERS) with `threads` per operator (None: the physical
    cores); on the GPU number `device`, with at most `vram_limit` GiB of it, in half precision (`fp16`, GPU only).
    `cancel` is asked ten times a second while it loads.

    What cannot be used gives a session on the next best device whose `fallback` says why. Raises UserError when
    onnxruntime is not installed, and when the model is damaged, takes other inputs than its format, does not match its
    label file, or when `cancel` said so.
    """
    if model.onnx is None or model.labels is None:
        raise UserError(f"The model {model.name} is not on this machine", f"kohya-tui models download {model.name}")
    runtime = available_runtime()
    wanted: Provider | None = choose(provider, runtime)
    fallback: str | None = None
    made: Any = None
    halved = model
    while made is None and wanted is not None and wanted.word != CPU:
        why = why_not(wanted, runtime, asked=provider != "auto")
        if why is None:
            preload(wanted, runtime)
            halved = _half(model) if fp16 else model
            cache = cache_dir() / wanted.word / score_key(halved)
            options = engine_options(wanted, device=device, vram_limit=vram_limit, cache=cache, fp16=fp16)
            reason = None
            try:
                made = create(runtime, halved, threads, wanted, options, device, cancel)
            except UserError as error:
                if cancel is not None and cancel():
                    raise
                reason = first_line(error.__cause__ or error)
            if made is None or provider_named(made.get_providers()[0]) is not wanted:
                why = why_not(wanted, runtime, asked=True, failed=True, reason=reason)
        fallback = fallback or why
        if made is not None and provider_named(made.get_providers()[0]).word == CPU and (fp16 or wanted.behind):
            made = None  # never in half precision on the CPU; and something else may stand between
        wanted = None if wanted.behind is None else PROVIDERS[wanted.behind]
    if made is None:
        halved = model
        made = create(runtime, model, threads, PROVIDERS[CPU], {}, None, cancel)
    really = provider_named(made.get_providers()[0])
    session = _checked(runtime, made, halved, really, fallback, device)
    if really.word == CUDA and model.format.mask is None:
        session._unproven = _bound_feed(runtime, made, session, device or 0)
    if fp16 and not session.is_gpu:
        session.notes.append("--fp16 is for GPUs; on the CPU the model runs in full precision.")
    if session.is_gpu and really.word != CUDA:
        session.notes.append(
            f"{really.label} is untested with this program: compare some captions with --provider cpu."
        )
    return session


def open_lanes(
    models: Sequence[TaggerModel],
    provider: str = "auto",
    *,
    devices: Sequence[int] = (),
    threads: int | None = None,
    vram_limit: float | None = None,
    fp16: bool = False,
    cancel: Callable[[], bool] | None = None,
) -> list[list[TaggerSession]]:
    """All `models` on each of the `devices` (none: the first), for pipeline.tag_images; `vram_limit` is for all of them
    together.

    A device that gives only the CPU is left out where another gives a GPU: the others' `notes` say why. Raises
    UserError as open_session.
    """
    share = None if vram_limit is None else vram_limit / len(models)
    lanes = []
    for device in devices or (None,):
        lane = [
            open_session(model, provider, threads, device=device, vram_limit=share, fp16=fp16, cancel=cancel)
            for model in models
        ]
        lanes.append(lane)
        if not any(session.is_gpu for session in lane) and provider in ("auto", CPU) and len(lanes) == 1:
            break  # one CPU, however many numbers
    on_gpu = [lane for lane in lanes if all(session.is_gpu for session in lane)]
    if not on_gpu:
        return lanes[:1]
    for lane in lanes:
        if lane not in on_gpu:
            on_gpu[0][0].notes += [session.fallback for session in lane if session.fallback]
    return on_gpu


def expected_input(model: TaggerModel) -> ModelInput | None:
    """What a model on disk will want to see, known before it is loaded; None when only ONNX Runtime can tell."""
    shape = None if model.onnx is None else input_shape(model.onnx)
    if shape is None or len(shape) != 4:
        return None
    return ModelInput(model.format, _side(model.format, shape))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory, in the words of ONNX Runtime, CUDA, cuDNN, cuBLAS, TensorRT and HIP."""
    text = f"{type(error).__name__} {error}".lower()
    words = ("out of memory", "outofmemory", "memoryerror", "failed to allocate", "alloc_failed", "bad_alloc")
    return any(word in text for word in words) or "smaller than requested bytes" in text


def _half(model: TaggerModel) -> TaggerModel:
    from core.tagging.fp16 import converted

    return replace(model, onnx=converted(model))


def _checked(
    runtime: Any, made: Any, model: TaggerModel, really: Provider, fallback: str | None, device: int | None
) -> TaggerSession:
    """The session with its labels. Raises UserError when model, format and label file do not belong together."""
    inputs, outputs = made.get_inputs(), made.get_outputs()
    size, batch = _input_shape(model, inputs)
    output = _output(model, outputs)
    width = output.shape[-1]
    return TaggerSession(
        model=model,
        labels=labels_of(model, width if isinstance(width, int) else None),
        input_size=size,
        fixed_batch=batch,
        provider=really.word,
        fallback=fallback,
        keeps_shape=really.word != CPU,
        device=None if really.word == CPU else device or 0,
        _feed=PlainFeed(made, ModelInput(model.format, size), output.name),
        _runtime=runtime,
        _options=runtime.RunOptions(),
    )


def _output(model: TaggerModel, outputs: Any) -> Any:
    """The output with the scores."""
    name = model.format.output
    found = next((item for item in outputs if item.name == name), None) if name else outputs[0]
    if found is None:
        there = ", ".join(item.name for item in outputs)
        raise UserError(
            f"The model {model.name} has no output {name}, only {there}",
            f"Its descriptor belongs to another model: correct `output`. {model.again}",
        )
    return found


def _bound_feed(runtime: Any, made: Any, session: TaggerSession, number: int) -> BoundFeed | None:
    """The quick way into a model on CUDA; None where this onnxruntime does not have it."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    name = PROVIDERS[CUDA].engine
    try:
        head = runtime.InferenceSession(
            BoundFeed.head(session.input), options, providers=[(name, {"device_id": str(number)})], enable_fallback=0
        )
        if head.get_providers()[0] != name:
            return None
    except Exception:  # onnxruntime's own classes, or a name that an older one lacks: the plain way works everywhere
        return None
    return BoundFeed(
        runtime, made, head, session.input, _output(session.model, made.get_outputs()).name, "cuda", number
    )


def _input_shape(model: TaggerModel, inputs: Any) -> tuple[int, int | None]:
    """Side of the input square and fixed batch size (None = any); refuses what the format does not describe."""
    mask = next((item for item in inputs if item.name == model.format.mask), None)
    pictures = [item for item in inputs if item is not mask]
    is_whole = len(pictures) == 1 and (mask is not None) == (model.format.mask is not None)
    is_whole = is_whole and (mask is None or (mask.type == "tensor(bool)" and len(mask.shape) == 3))
    shape = pictures[0].shape if is_whole else []
    planar = model.format.layout == "NCHW"
    sides = shape[2:4] if planar else shape[1:3]
    depth = (shape[1] if planar else shape[3]) if len(shape) == 4 else None
    is_square = len({side for side in sides if isinstance(side, int)}) < 2  # a side that is left open has a name
    if len(shape) != 4 or depth != 3 or pictures[0].type != "tensor(float)" or not is_square:
        found = ", ".join(f"{item.type} {item.shape}" for item in inputs)
        wanted = "[N, 3, S, S]" if planar else "[N, S, S, 3]"
        if model.format.mask is not None:
            wanted += f" and tensor(bool) {model.format.mask} [N, S, S]"
        raise UserError(
            f"The model {model.name} takes {found}; a model with these labels takes one tensor(float) {wanted}",
            f"It is of another kind than its label file says. {model.again}",
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    return _side(model.format, shape), batch


def _side(form: InputFormat, shape: Sequence[Any]) -> int:
    sides = shape[2:4] if form.layout == "NCHW" else shape[1:3]
    return next((side for side in sides if isinstance(side, int) and side > 0), form.size or _USUAL_SIDE)


def _advice(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "There is too little memory for a single batch: close other programs on the GPU, or use --provider cpu."
    return "Try --provider cpu; if that works, the GPU's libraries do not fit (kohya-tui doctor)."
