"""Signals: the end of the terminal leaves it clean and nothing unwritten; a stray SIGCONT does no harm."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.app import KohyaApp


def install(app: KohyaApp) -> None:
    """Answer SIGTERM and SIGHUP with a clean end (exit status 143 and 129), SIGCONT with a repaint.

    Textual alone dies of the first two without restoring the terminal. A SIGCONT without a ctrl+z before (from tmux)
    makes Textual enter application mode a second time; quitting would then hang for ever.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _end, app, number)
    loop.add_signal_handler(signal.SIGCONT, _go_on, app)


def _end(app: KohyaApp, number: int) -> None:
    app.run_worker(app.drain_and_exit(128 + number), exit_on_error=False)


def _go_on(app: KohyaApp) -> None:
    driver = app._driver
    if driver is not None and getattr(driver, "_must_signal_resume", False):
        driver.resume_application_mode()
    else:
        app.refresh()
