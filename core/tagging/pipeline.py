"""Image files in, scores out: threads decode ahead while one thread runs the model.

Memory stays bounded: at most a few batches of prepared pictures wait, and no more than `PIXEL_LIMIT` pixels are being
decoded. Results come in the order of the paths; a file that cannot be read gives its reason and stops nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.problems import UserError
from core.tagging.preprocess import decode, is_turned, open_image, prepare
from core.tagging.session import TaggerSession

PIXEL_LIMIT = 200_000_000
"""Pixels that may be decoded at once: two pictures of 100 megapixels, not ten."""
_AHEAD = 2
"""Batches under way in the inference thread: one runs, the next waits."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """One image. `scores` (float32, one per label, probabilities) is None when `error` says why there are none."""

    path: Path
    scores: NDArray[np.float32] | None
    size: tuple[int, int] | None
    error: str | None = None
    is_turned: bool = False
    """Its EXIF data asks viewers to rotate or mirror it; neither the model nor the trainer does."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    path: Path
    pixels: NDArray[np.uint8] | None
    size: tuple[int, int] | None
    error: str | None = None
    is_turned: bool = False


class _PixelGate:
    """Lets pictures be decoded as long as their pixels fit under the limit; one that is larger goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._condition = threading.Condition()

    @contextlib.contextmanager
    def admit(self, pixels: int) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._used == 0 or self._used + pixels <= self._limit)
            self._used += pixels
        try:
            yield
        finally:
            with self._condition:
                self._used -= pixels
                self._condition.notify_all()


def one_line(error: UserError) -> str:
    """The sentence and its remedy behind each other, as a log shows them."""
    return error.message if error.hint is None else f"{error.message}. {error.hint}"


def tag_images(
    paths: Sequence[Path],
    session: TaggerSession,
    *,
    batch: int = 1,
    threads: int = 2,
    clip_16_bit: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[list[Tagged], None, None]:
    """One list of results per batch, in the order of `paths`; after `should_stop` only what is in the model is still
    given.

    Raises UserError when the model itself fails.
    """
    batch = session.fixed_batch or batch
    gate = _PixelGate(PIXEL_LIMIT)

    def load(path: Path) -> _Prepared:
        try:
            with contextlib.closing(open_image(path)) as image:
                size = image.size
                with gate.admit(size[0] * size[1]):
                    picture = decode(image, path, clip_16_bit=clip_16_bit)
                    pixels = prepare(picture, session.model.format, session.input_size)
                    turned = is_turned(image)
        except UserError as error:
            return _Prepared(path, None, None, one_line(error))
        except Exception as error:  # a broken file may raise anything in Pillow's decoders; the run goes on
            return _Prepared(path, None, None, f"{path} cannot be read: {type(error).__name__}: {error}")
        return _Prepared(path, pixels, size, is_turned=turned)

    def infer(group: list[_Prepared]) -> list[Tagged]:
        readable = [item.pixels for item in group if item.pixels is not None]
        scores = iter(session.run(readable, batch) if readable else ())
        return [
            Tagged(item.path, None if item.pixels is None else next(scores), item.size, item.error, item.is_turned)
            for item in group
        ]

    with (
        ThreadPoolExecutor(max(1, threads), thread_name_prefix="decode") as decoders,
        ThreadPoolExecutor(1, thread_name_prefix="infer") as inference,
    ):
        waiting = iter(paths)
        decoding: deque[Future[_Prepared]] = deque()
        running: deque[Future[list[Tagged]]] = deque()
        group: list[_Prepared] = []

        def fill() -> None:
            while len(decoding) < threads + 2 * batch and not should_stop():
                path = next(waiting, None)
                if path is None:
                    return
                decoding.append(decoders.submit(load, path))

        try:
            fill()
            while decoding and not should_stop():
                group.append(decoding.popleft().result())
                fill()
                if sum(item.pixels is not None for item in group) >= batch or len(group) >= 4 * batch:
                    running.append(inference.submit(infer, group))
                    group = []
                if len(running) >= _AHEAD or (running and running[0].done()):
                    yield running.popleft().result()
            if group and not should_stop():
                running.append(inference.submit(infer, group))
            while running:
                work = running.popleft()
                if not (should_stop() and work.cancel()):
                    yield work.result()
        finally:
            for picture in decoding:
                picture.cancel()
            for work in running:
                work.cancel()
