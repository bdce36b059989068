"""Failures that are nobody's fault but ours: written to the log with their traceback, so that the program stays up."""

from __future__ import annotations

import contextlib
import time
import traceback
from pathlib import Path

from core.settings import state_dir

LIMIT = 1_000_000


def log_bug(error: BaseException) -> Path:
    """Append the traceback to `kohya-tui.log` in the user's state folder (begun anew beyond 1 MB); returns its path."""
    path = state_dir() / "kohya-tui.log"
    text = time.strftime("%Y-%m-%d %H:%M:%S\n") + "".join(traceback.format_exception(error)) + "\n"
    with contextlib.suppress(OSError):  # a full disk must not hide the message that follows
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.exists() and path.stat().st_size > LIMIT
        with path.open("w" if fresh else "a", encoding="utf-8") as stream:
            stream.write(text)
    return path
