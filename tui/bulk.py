"""Large changes: written behind the screen, with a dialog that tells how far they are and stops them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from core.dataset.edits import Step, Stepwise
    from tui.app import KohyaApp
    from tui.screens.working import Working

Result = TypeVar("Result")
MANY = 1000
"""Changes from which on a dialog tells how far they are: fewer take a blink."""
PATIENCE = 0.3
"""Seconds before it opens."""
EVERY = 0.1


def carry_out(
    app: KohyaApp,
    title: str,
    make: Callable[[], Stepwise[Result]],
    done: Callable[[Result], None],
    failed: Callable[[Exception], None],
    stopped: Callable[[], object] = lambda: None,
) -> None:
    """Do the steps after all writes that were submitted before, then `done(result)`, or `failed(error)`.

    `stopped()` when the user stopped them: everything is as it was before.
    """
    shown = _Shown(app, title)

    def work() -> Result | None:
        steps = make()
        began = told = time.monotonic()
        try:
            while True:
                step = next(steps)
                now = time.monotonic()
                if step.total >= MANY and now - began > PATIENCE and now - told > EVERY:
                    told = now
                    app.call_from_thread(shown.tell, step)
                if shown.is_stopped.is_set():
                    steps.close()
                    return None
        except StopIteration as end:
            result: Result = end.value
            return result

    def ended(result: Result | None) -> None:
        shown.close()
        if result is None:
            app.notify(f"stopped: {title}; the files are as they were", markup=False, timeout=4)
            stopped()
        else:
            done(result)

    def broke(error: Exception) -> None:
        shown.close()
        failed(error)

    app.writer.submit(work, ended, broke)


class _Shown:
    """The dialog, as soon as there is one."""

    def __init__(self, app: KohyaApp, title: str) -> None:
        self._app, self._title = app, title
        self._dialog: Working | None = None
        self.is_stopped = threading.Event()

    def tell(self, step: Step) -> None:
        """On the screen's thread."""
        if self._dialog is None:
            from tui.screens.working import Working

            self._dialog = Working(self._title, self.is_stopped.set)
            self._app.push_screen(self._dialog)
        self._dialog.tell(step)

    def close(self) -> None:
        if self._dialog is not None:
            self._dialog.close()
