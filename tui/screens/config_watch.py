"""What happens by itself on the Config screen: checks after a change, looks at the files, the options of a checkout."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.timer import Timer

    from tui.screens.config import ConfigScreen

REST = 0.15
"""Seconds without a change before it is checked."""
EVERY = 2.0
"""Seconds between two looks at the files."""


class ConfigWatch:
    """Each of its works is begun anew when it is asked for again."""

    def __init__(self, screen: ConfigScreen) -> None:
        self._screen = screen
        self._check_timer: Timer | None = None
        self._look_timer: Timer | None = None

    def begin(self) -> None:
        """The screen is new."""
        self.read_checkout()
        # The first change would wait 130 ms for it, on the screen's own thread.
        self._screen.set_timer(0.5, lambda: self._screen.run_worker(partial(import_module, "tomlkit"), thread=True))

    def resume(self) -> None:
        """The screen is seen again."""
        self.check_soon()
        self._look_timer = self._screen.set_interval(EVERY, self.look)

    def rest(self) -> None:
        """It is not seen."""
        if self._look_timer is not None:
            self._look_timer.stop()
            self._look_timer = None

    def look(self) -> None:
        """Did another program change the files?"""
        self._run("look", self._screen.files.look)

    def check_soon(self) -> None:
        """Check when nothing more was changed for a moment."""
        if self._check_timer is not None:
            self._check_timer.stop()
        self._check_timer = self._screen.set_timer(REST, self.check)

    def check(self) -> None:
        """Plan and problems, now."""
        self._run("check", self._check)

    async def _check(self) -> None:
        if await self._screen.files.check():
            self._screen.show()
            self._screen.show_problem_count()

    def read_checkout(self) -> None:
        """The options are those of the user's own sd-scripts, as soon as it has been read."""
        self._run("catalogue", self._read_checkout)

    async def _read_checkout(self) -> None:
        from tui.screens.config_catalogue import follow_checkout

        if await follow_checkout(self._screen.app) and self._screen.opened is not None:
            self._screen.show()
            self.check_soon()

    def _run(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        self._screen.run_worker(work, exclusive=True, group=f"config-{what}", exit_on_error=False)
