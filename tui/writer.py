"""Writes in the order of the keys, off the screen's thread: an fsync may take longer than a frame."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tui.app import KohyaApp

Result = TypeVar("Result")


class Writer:
    """One job at a time on a borrowed thread; results come back on the screen's thread."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._jobs: deque[tuple[Callable[[], Any], Callable[[Any], None] | None, Callable[[Exception], None]]] = deque()
        self._running = False

    def submit(
        self,
        job: Callable[[], Result],
        done: Callable[[Result], None] | None,
        failed: Callable[[Exception], None],
    ) -> None:
        """Do `job` after all that were submitted before it, then `done(result)` or `failed(error)`."""
        self._jobs.append((job, done, failed))
        if not self._running:
            self._running = True
            self._app.run_worker(self._work(), group="writer", exit_on_error=False)

    @property
    def pending(self) -> bool:
        """Is something not yet on disk?"""
        return self._running

    async def drain(self) -> None:
        """Wait until everything submitted so far is on disk."""
        while self._running:
            await asyncio.sleep(0.005)

    async def _work(self) -> None:
        try:
            while self._jobs:
                job, done, failed = self._jobs.popleft()
                try:
                    result = await asyncio.to_thread(job)
                except Exception as error:
                    self._tell(failed, error)
                else:
                    if done is not None:
                        self._tell(done, result)
        finally:
            self._running = False

    def _tell(self, callback: Callable[[Any], None], value: object) -> None:
        """A bug in what follows a job neither keeps the jobs behind it waiting nor has this one done again."""
        try:
            callback(value)
        except Exception as error:
            self._app.report(error)
