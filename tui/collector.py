"""Python's garbage collector at times when nobody waits.

A full collection looks at every object there is: 280 ms with what a large dataset brings, in the midst of a key. So
none comes by itself; when the keys rest, one looks at what was made since the last, and what outlives it is set aside
(`gc.freeze`). What is set aside goes as soon as nothing refers to it, as everything does that is no circle; when a
dataset took the place of another, all is looked through for that one.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.dataset.index import Index
    from tui.app import KohyaApp

REST = 1.5
"""Seconds without a key."""
ENOUGH = 2
"""Collections of the middle generation (7,000 new objects each) from which on it is worth it."""
MUCH = 60
"""As many, while a screen lies over the mode: what it holds goes with it, and is better not set aside."""
TRIES = 5
"""So often everything is looked through for a dataset that is no longer open."""
_NEVER = 1_000_000
_LARGE = 50_000
"""Objects of the youngest generation that the next collection would look through: 20 ms. They are set aside instead."""


@contextmanager
def paused() -> Iterator[None]:
    """For what makes hundreds of thousands of objects on a thread, and no circle: they are not looked through for
    garbage again and again meanwhile, with Python's lock held.
    """
    with _pause.lock:
        if not _pause.count:
            _pause.is_on_after = gc.isenabled()
        _pause.count += 1
        gc.disable()
    try:
        yield
    finally:
        with _pause.lock:
            _pause.count -= 1
            if not _pause.count and _pause.is_on_after:
                if gc.get_count()[0] > _LARGE:
                    gc.freeze()
                gc.enable()


@dataclass(slots=True)
class _Pause:
    """How many are at it, and whether the collector goes on after the last."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    is_on_after: bool = True


_pause = _Pause()


class Collector:
    """Asked once a second."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._seen = 0
        self._of: weakref.ref[Index] | None = None
        self._old: weakref.ref[Index] | None = None
        """The dataset that is open, and the one before it."""
        self._tries = 0

    def start(self) -> None:
        """What was made until now stays for good."""
        gc.freeze()
        gc.set_threshold(700, 10, _NEVER)
        with _pause.lock:
            _pause.is_on_after = True
            if not _pause.count:
                gc.enable()
        self._seen = gc.get_stats()[1]["collections"]
        self._app.set_interval(1.0, self._look)

    def _look(self) -> None:
        app = self._app
        new = gc.get_stats()[1]["collections"] - self._seen
        is_below = len(app.screen_stack) > 1
        collection = app.collection
        is_reading = collection is not None and not collection.is_complete
        is_busy = time.monotonic() - app.last_key < REST or app.writer.pending or _pause.count or is_reading
        index = collection.index if collection is not None else None
        if not is_reading and (self._of is None or self._of() is not index):
            self._old, self._of = self._of, weakref.ref(index) if index is not None else None
            self._tries = TRIES
        is_left = self._tries > 0 and self._old is not None and self._old() is not None
        if is_busy or not (is_left or new >= (MUCH if is_below else ENOUGH)):
            return
        if is_left:  # it may hang on what was set aside while it was read: a worker is a circle
            self._tries -= 1
            gc.unfreeze()
        gc.collect()
        if not is_below:
            gc.freeze()
        self._seen = gc.get_stats()[1]["collections"]
