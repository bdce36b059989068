"""Python's garbage collector at times when nobody waits.

A full collection looks at every object there is: 280 ms with what a large dataset brings, in the midst of a key. So
none comes by itself; when the keys rest, one looks at what was made since the last, and what outlives it is set aside
(`gc.freeze`). What is set aside goes as soon as nothing refers to it, as everything does that is no circle.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.app import KohyaApp

REST = 1.5
"""Seconds without a key."""
ENOUGH = 2
"""Collections of the middle generation (7,000 new objects each) from which on it is worth it."""
MUCH = 60
"""As many, while a screen lies over the mode: what it holds goes with it, and is better not set aside."""
_NEVER = 1_000_000


class Collector:
    """Asked once a second."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._seen = 0

    def start(self) -> None:
        """What was made until now stays for good."""
        gc.freeze()
        gc.set_threshold(700, 10, _NEVER)
        gc.enable()
        self._seen = gc.get_stats()[1]["collections"]
        self._app.set_interval(1.0, self._look)

    def _look(self) -> None:
        app = self._app
        new = gc.get_stats()[1]["collections"] - self._seen
        is_below = len(app.screen_stack) > 1
        if new < (MUCH if is_below else ENOUGH) or time.monotonic() - app.last_key < REST or app.writer.pending:
            return
        gc.collect()
        if not is_below:
            gc.freeze()
        self._seen = gc.get_stats()[1]["collections"]
