"""What goes wrong while the app runs: told to the user, a bug also logged, and the app goes on."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from textual._callback import invoke
from textual.message import Message
from textual.message_pump import MessagePump
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker, WorkerFailed, WorkerState

from core.problems import UserError
from core.text import printable
from tui.gate import gated

if TYPE_CHECKING:
    from textual.geometry import Region

    from tui.app import KohyaApp

SHOWN = 12.0
"""Seconds that an error stands on the screen; the same bug again in that time is neither told nor logged again: what a
timer does four times a second would bury the screen and the log."""

Report = Callable[[BaseException], None]


class Faults:
    """Textual ends the app after an exception in a handler, a watcher, a timer or a line that is drawn: ours goes on.

    `guard` is for each node before it gets its first message, and for the app when it has a screen. A bug that leaves
    no screen to go on with still ends the app, being logged. The errors of workers are reported here too, unless their
    node has a handler for them.
    """

    home: asyncio.Task[Any] | None = None
    """The app's own task; timers, screens and widgets have theirs."""
    is_up = False
    """The app has begun to take messages."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._told: dict[tuple[object, ...], float] = {}

    def report(self, error: BaseException) -> None:
        """A UserError is told with its remedy; anything else is a bug, which goes to the log with its traceback."""
        if isinstance(error, WorkerFailed):
            error = error.error
        if isinstance(error, UserError):
            self._tell(printable(str(error), newlines=True))
            return
        place = _place(error)
        if time.monotonic() - self._told.get(place, -SHOWN) < SHOWN:
            return
        self._told[place] = time.monotonic()
        from core.bugs import log_bug

        name = type(error).__name__
        self._tell(f"Something went wrong inside kohya-tui ({name}). The details are in {log_bug(error)}")

    def _tell(self, text: str) -> None:
        self._app.notify(text, severity="error", timeout=SHOWN, markup=False)

    def is_survived(self, error: Exception) -> bool:
        """Report what Textual ends the app for. False when it has to end: its own loop did not begin, or is over."""
        begun = self.is_up and self._app._running
        if self.home is None or (asyncio.current_task() is self.home and not begun):
            from core.bugs import log_bug

            log_bug(error)
            return False
        self.report(error)
        return True

    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.report(event.worker.error)

    def guard(self, node: MessagePump) -> None:
        """Let each handler fail alone: those of the base classes are called all the same, and the next message comes.

        Set on the node itself, as Textual's own widgets take part, and a class of ours for each would not reach them.
        """
        if "_dispatch_message" in vars(node):
            return
        report, failed = self.report, self._worker_changed
        find, dispatch = node._get_dispatch_methods, node._dispatch_message
        mounted: Callable[[], None] = node._post_mount

        def handlers(name: str, message: Message) -> Iterable[tuple[type, _Handler]]:
            for owner, method in find(name, message):
                yield owner, _Handler(method, report)

        async def dispatch_message(message: Message) -> None:
            if isinstance(message, Worker.StateChanged) and not hasattr(node, "on_worker_state_changed"):
                failed(message)
            try:
                await dispatch(message)
            except Exception as error:  # not in a handler: bindings, looking for one, a watcher that it calls
                report(error)

        def post_mount() -> None:
            try:
                mounted()
            except Exception as error:  # a watcher that is called with the first value
                report(error)

        vars(node).update(_get_dispatch_methods=handlers, _dispatch_message=dispatch_message, _post_mount=post_mount)
        if isinstance(node, Widget):
            draw = node.render_lines

            def render_lines(crop: Region) -> list[Strip]:
                try:
                    return gated(draw(crop))
                except Exception as error:  # one panel stays empty, the others are drawn
                    report(error)
                    return [Strip.blank(crop.width)] * crop.height

            vars(node).update(render_lines=render_lines)


class _Handler:
    """A handler whose exception is reported."""

    __slots__ = ("_method", "_report")
    _param_count = 1
    """Textual would find it out by inspection, for every message."""

    def __init__(self, method: Callable[[Any], Awaitable[Any]], report: Report) -> None:
        self._method, self._report = method, report

    async def __call__(self, message: Message) -> None:
        try:
            await invoke(self._method, message)
        except Exception as error:
            self._report(error)


def _place(error: BaseException) -> tuple[object, ...]:
    """The same for the same bug: its kind and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return (type(error), *((frames[-1].filename, frames[-1].lineno) if frames else (str(error),)))
