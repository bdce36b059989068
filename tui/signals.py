"""Signals: the end of the terminal leaves it clean and nothing unwritten; a stray SIGCONT does no harm."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.app import KohyaApp

LOOK_SECONDS = 5.0


def install(app: KohyaApp) -> None:
    """Answer SIGTERM and SIGHUP with a clean end (exit status 143 and 129), SIGCONT with a repaint.

    Textual alone dies of the first two without restoring the terminal. A SIGCONT without a ctrl+z before (from tmux)
    makes Textual enter application mode a second time; quitting would then hang for ever.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _end, app, number)
    loop.add_signal_handler(signal.SIGCONT, _go_on, app)
    if not app.is_headless and os.isatty(sys.__stdin__.fileno() if sys.__stdin__ else -1):
        loop.call_later(LOOK_SECONDS, _look, app)


def _look(app: KohyaApp) -> None:
    """End also where the terminal went without a SIGHUP: Textual's thread would read its end over and over."""
    assert sys.__stdin__ is not None
    try:
        termios.tcgetattr(sys.__stdin__.fileno())
    except termios.error:
        _end(app, signal.SIGHUP)
    else:
        asyncio.get_running_loop().call_later(LOOK_SECONDS, _look, app)


def _end(app: KohyaApp, number: int) -> None:
    app.run_worker(app.drain_and_exit(128 + number), exit_on_error=False)


def _go_on(app: KohyaApp) -> None:
    driver = app._driver
    if driver is not None and getattr(driver, "_must_signal_resume", False):
        driver.resume_application_mode()
    else:
        app.refresh()
