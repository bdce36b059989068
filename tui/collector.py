"""Python's garbage collector at times when nobody waits.

By itself it comes in the midst of a key or of a plan on another thread, and looks at every object there is. So it is
off, and once a second somebody looks at how much was made: a little is looked through when the keys rest, much while
they do not, and very much is data (a plan of 100,000 files), which is set aside unseen (`gc.freeze`). So is what is
still there when the keys rest. All that was set aside is looked through, 0.1 s long, only for a screen that closed or a
dataset that another took the place of, when it is still there: for a screen when the user is away.
"""

from __future__ import annotations

import gc
import time
import weakref
from typing import TYPE_CHECKING, Any

from textual.signal import Signal

from core.dataset.index import Index

if TYPE_CHECKING:
    from tui.app import KohyaApp

REST, AWAY = 1.5, 20.0
"""Seconds without a key."""
LITTLE, MUCH, DATA = 2_000, 20_000, 40_000
"""New objects: 2.5 of them take a microsecond to look through, and a frame has 16 ms."""
TRIES = 2
"""So often what is new is looked through for one that went."""


class Collector:
    """Asked once a second."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        """Screens and datasets, and how often somebody looked since they went."""
        self._count = 0

    def start(self) -> None:
        """What was made until now stays for good."""
        gc.disable()
        gc.freeze()
        self._app.set_interval(1.0, self._look)

    def _look(self) -> None:
        app, new, rest = self._app, gc.get_count()[0], time.monotonic() - self._app.last_key
        is_reading = app.collection is not None and not app.collection.is_complete
        before, gone = self._count, self._gone()
        tries = [self._known[each] for each in gone]
        is_time = rest > AWAY or any(isinstance(each, Index) for each in gone)  # a dataset is 100 MB
        if new > DATA:
            gc.freeze()
        elif rest < REST or app.writer.pending or is_reading:
            if new > MUCH:
                gc.collect(0)
        elif new > LITTLE or any(number < TRIES for number in tries):
            self._collect(gone)
        elif TRIES in tries and is_time:
            gc.unfreeze()
            self._collect(gone)
            self._known.update(dict.fromkeys(gone, TRIES + 1))
        self._count = len(self._known)
        if self._count < before:
            app.run_worker(_give_back, thread=True, group="memory", exit_on_error=False)

    def _gone(self) -> weakref.WeakSet[Any]:
        """Screens and datasets that were there and are not, but still take memory."""
        app = self._app
        here: set[Any] = {screen for stack in app._screen_stacks.values() for screen in stack}
        if app.collection is not None:
            here.add(app.collection.index)
        self._known.update(dict.fromkeys(here, 0))
        return weakref.WeakSet(each for each in self._known if each not in here)

    def _collect(self, gone: weakref.WeakSet[Any]) -> None:
        for signal in vars(self._app).values():
            if isinstance(signal, Signal):  # it keeps a widget that is gone until it is published again: perhaps never
                for node in [node for node in signal._subscriptions if not node.is_running]:
                    signal.unsubscribe(node)
        gc.collect(2 if gone else 1)
        if len(self._app.screen_stack) == 1:  # else it goes with the screen that lies over the mode
            gc.freeze()
        for each in gone:
            self._known[each] = max(self._known[each], min(self._known[each] + 1, TRIES))


def _give_back() -> None:
    """glibc keeps what was freed of each thread: after seven readings of 100,000 images 170 MB."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
