"""Keys one after another: the next is looked at when all that the one before set going has come to rest."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from textual import events
from textual.message_pump import MessagePump
from textual.worker import Worker

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen

Typed = events.Key | events.Paste
LIMIT = 1.0
"""Seconds after which a key no longer waits for the one before: something is slow, and the user wants to get on."""
ASKING = 0.5
"""As long for a worker of an action that may still open a dialog."""
EVERY = 0.002


class Keyboard:
    """Textual sends a key to what has the focus when it arrives, so that of `/solo` in one burst (a slow line, a paste
    into tmux, a fast typist) only the `/` would open the filter: the letters after it went to the list, as commands.

    Here a key waits until the one before it went through the widgets, its action ended, and what that opened has the
    focus. A key that comes alone never waits.
    """

    def __init__(self, app: App[None], is_answered: Callable[[], bool]) -> None:
        """`is_answered`: nothing that was entered (a filter) is still worked out."""
        self._app, self._is_answered = app, is_answered
        self._is_enter = False
        self.at = float("-inf")
        self._screens: list[weakref.ref[Screen[object]]] = []
        self._workers: weakref.WeakSet[Worker[object]] = weakref.WeakSet()
        """When the last key had its turn, and what was there before it; a screen that closed is not kept by that."""
        self._waiting: deque[Typed] = deque()
        self._next: Typed | None = None
        """What comes back to have its turn."""
        self._rested: asyncio.Task[None] | None = None

    def holds(self, event: Typed) -> bool:
        """Whether the key has to wait; it comes again then. One that need not has its turn now."""
        if event is not self._next:
            if self._rested is not None or self._next is not None:
                self._waiting.append(event)
                return True
            if time.monotonic() - self.at < LIMIT:
                self._waiting.append(event)
                self._rested = asyncio.create_task(self._release())
                return True
        self._next = None
        self._is_enter = isinstance(event, events.Key) and event.key == "enter"
        self.at, self._workers = time.monotonic(), weakref.WeakSet(self._asking())
        self._screens = [weakref.ref(screen) for screen in self._app.screen_stack]
        if self._waiting:
            self._rested = asyncio.create_task(self._release())
        return False

    async def _release(self) -> None:
        """Let the next one come when the last one is done with."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LIMIT):
                    await self._rest()
        finally:
            self._rested = None
            self._next = self._waiting.popleft()
            self._app.post_message(self._next)

    async def _rest(self) -> None:
        """Wait until no message is left in what the key goes through, and what it opened is there."""
        app = self._app
        await self._quiet()
        if self._is_enter and not self._is_answered():
            while not self._is_answered():
                await asyncio.sleep(EVERY)
            await self._quiet()
        asks = any(each not in self._workers for each in self._asking()) or len(app.screen_stack) < len(self._screens)
        if asks and weakref.ref(app.screen_stack[-1]) in self._screens:
            await self._opened()
        if weakref.ref(app.screen_stack[-1]) not in self._screens:
            while not app.screen.is_mounted:
                await asyncio.sleep(EVERY)
            await _reached(app)  # what was just mounted asks for the focus by way of the app

    async def _quiet(self) -> None:
        """The key went up to the app, and came down as what its action sent."""
        seen = None
        await _reached(self._app)
        while (chain := self._chain()) != seen:
            seen = chain
            for node in (*chain, self._app, *chain):
                await _reached(node)

    def _chain(self) -> list[MessagePump]:
        """What a key goes through now, up to the screen."""
        first = self._app.focused or self._app.screen
        return [node for node in first.ancestors_with_self if node is not self._app]

    def _asking(self) -> set[Worker[object]]:
        """Actions that go on as workers since they ask something."""
        return {each for each in self._app.workers if each.name.startswith("action_") and each.is_running}

    async def _opened(self) -> None:
        """A dialog, or another one after the first, is there, or none will come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKING):
                while self._asking() and weakref.ref(self._app.screen_stack[-1]) in self._screens:
                    await asyncio.sleep(EVERY)


async def _reached(node: MessagePump) -> None:
    """Everything that was sent to it so far has been dealt with."""
    passed = asyncio.Event()
    if node.call_later(passed.set):
        await passed.wait()
