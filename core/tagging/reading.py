"""One image file read once: its bytes hashed, its header looked at, its pixels prepared for every model of the pass."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.problems import UserError
from core.tagging.descriptors import InputFormat
from core.tagging.preprocess import decode, decoding_bytes, is_turned, open_image, prepare, unreadable
from core.tagging.scores import content_of

Rows = tuple[NDArray[np.float32], ...]
"""Scores of one image, one row per model of the pass."""
DECODE_BYTES = 128_000_000
"""Memory for the pictures that are decoded at once, however many threads there are: five of 1.5 megapixels."""
_WHOLE = 8_000_000
"""A larger file is hashed piece by piece and decoded from the disk: 16 threads shall not hold 16 of them."""
_LIGHT = 2_000_000
"""A smaller file is kept while its picture waits for memory."""
_SHRINKING = 8_000_000
"""Bytes that resizing takes beside the picture, whatever its size."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model wants to see: a square of `size` in its format."""

    form: InputFormat
    size: int

    @property
    def pixels(self) -> ModelInput:
        """What decides the bytes of `preprocess.prepare`; models that agree in it share one picture."""
        form = replace(
            self.form, layout="", scale=(), shift=(), size=None, output=None, is_logits=False, by_probability=False
        )
        return ModelInput(form, self.size)


@dataclass(frozen=True, slots=True)
class Picture:
    """One file read. `pixels` has one array (uint8 [S, S, 3]) per input; None when `rows` or `error` stands instead."""

    path: Path
    content: str = ""
    """`scores.content_of` the file; "" when it could not be read."""
    bytes: int = 0
    size: tuple[int, int] | None = None
    pixels: tuple[NDArray[np.uint8], ...] | None = None
    rows: Rows | None = None
    error: str | None = None
    is_turned: bool = False


class MemoryGate:
    """Lets pictures be decoded as long as their bytes fit under the limit; one that is larger goes alone."""

    def __init__(self, limit: int = DECODE_BYTES) -> None:
        self._limit = limit
        self._used = 0
        self._condition = threading.Condition()

    def widen(self, by: int) -> None:
        """Raise the limit."""
        with self._condition:
            self._limit += by
            self._condition.notify_all()

    def has_room(self, amount: int) -> bool:
        """Whether `admit` would not wait just now."""
        with self._condition:
            return self._used == 0 or self._used + amount <= self._limit

    @contextlib.contextmanager
    def admit(self, amount: int) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._used == 0 or self._used + amount <= self._limit)
            self._used += amount
        try:
            yield
        finally:
            with self._condition:
                self._used -= amount
                self._condition.notify_all()


class Stopped(Exception):
    """Raised by the `inputs` of `read_picture`: the pass is over, nobody waits for this picture."""


def read_content(path: Path, keep: int | None = None) -> tuple[str, bytes | None, int]:
    """The name of a file's content (`scores.content_of`), its bytes (None for one of more than `keep`, by
    default 8 MB, which is not kept in memory), and its size.

    Raises UserError when it cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            if os.fstat(stream.fileno()).st_size <= (_WHOLE if keep is None else keep):
                data = stream.readall()
                return content_of((data,)), data, len(data)
            return content_of(iter(partial(stream.read, 1 << 18), b"")), None, stream.tell()
    except OSError as error:
        raise unreadable(path, error) from error


def read_picture(
    path: Path,
    inputs: Callable[[], Sequence[ModelInput]],
    gate: MemoryGate,
    *,
    clip_16_bit: bool = False,
    lookup: Callable[[str], Rows | None] | None = None,
) -> Picture:
    """Raises nothing but what `inputs` does: what is wrong with the file is the picture's `error`.

    `inputs` is asked only when the picture is decoded, and may block, and raise `Stopped`. With scores known to
    `lookup` no pixel is decoded.
    """
    content, length = "", 0
    try:
        # Sixteen threads that wait for their turn to decode would hold sixteen files: theirs are read again then.
        content, data, length = read_content(path, _WHOLE if gate.has_room(_WHOLE) else _LIGHT)
        rows = None if lookup is None else lookup(content)
        with contextlib.ExitStack() as closing:
            image = closing.enter_context(contextlib.closing(open_image(path, data)))
            if rows is not None:
                return Picture(path, content, length, image.size, rows=rows, is_turned=is_turned(image))
            keys = [item.pixels for item in inputs()]
            amount = decoding_bytes(image, [(key.form, key.size) for key in keys]) + _SHRINKING
            amount += len(data or b"")
            if data is not None and len(data) > _LIGHT and not gate.has_room(amount):
                data = None
                image.close()
            with gate.admit(amount):
                if data is None and length <= _WHOLE:
                    content, data, length = read_content(path)
                    image = closing.enter_context(contextlib.closing(open_image(path, data)))
                size = image.size
                rgb = decode(image, path, clip_16_bit=clip_16_bit, data=data)
                del data
                turned = is_turned(image)
                if rgb is not image:
                    image.close()
                made: dict[ModelInput, NDArray[np.uint8]] = {}
                for key in keys:
                    if key not in made:
                        made[key] = prepare(rgb, key.form, key.size)
                del rgb
        return Picture(path, content, length, size, tuple(made[key] for key in keys), is_turned=turned)
    except Stopped:
        raise
    except UserError as error:
        return Picture(path, content, length, error=error.line)
    except Exception as error:  # a broken file may raise anything in Pillow's decoders; the run goes on
        reason = f"{path} cannot be read: {type(error).__name__}: {error}"
        return Picture(path, content, length, error=reason)
