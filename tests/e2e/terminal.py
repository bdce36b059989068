"""A real tmux with the app in it, driven as a person would: keys in, screen out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Terminal:
    """One tmux server of its own with one window."""

    def __init__(self, name: str, command: list[str], size: tuple[int, int], environment: dict[str, str]) -> None:
        self._name = name
        self._environment = environment
        columns, rows = size
        shell = " ".join(shlex.quote(word) for word in command)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), shell)
        self._tmux("set", "-g", "remain-on-exit", "on")
        self._pid = int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def _tmux(self, *arguments: str) -> str:
        found = subprocess.run(
            ["tmux", "-L", self._name, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout

    def send(self, *keys: str) -> None:
        """Keys by tmux's names: `Enter`, `Escape`, `j`, `C-p`."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Text as it is."""
        self._tmux("send-keys", "-l", text)

    @property
    def screen(self) -> str:
        """What is on the screen now, without colours."""
        return self._tmux("capture-pane", "-p")

    def wait(self, pattern: str, seconds: float = 30) -> str:
        """The screen as soon as `pattern` (a regular expression) is on it; the test fails with the screen otherwise."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self.screen
            if re.search(pattern, screen):
                return screen
            if time.monotonic() > deadline:
                pytest.fail(f"{pattern!r} did not come within {seconds} s; the screen was:\n{screen}")
            time.sleep(0.1)

    def wait_gone(self, text: str, seconds: float = 30) -> None:
        """Until `text` is no longer on the screen."""
        until(f"the end of {text!r}", lambda: text not in self.screen, seconds)

    @property
    def ended(self) -> bool:
        """Whether the program in the window is over; tmux may take its time to collect it."""
        try:
            stat = Path(f"/proc/{self._pid}/stat").read_text()
        except FileNotFoundError:
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"

    def kill(self) -> None:
        """The end of the server, as a lost machine room would bring it."""
        self._tmux("kill-server")


def environment_of(home: Path) -> dict[str, str]:
    """The variables of this test, with the folders of its own home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TMUX", "KOHYA_TUI_"))}
    return {**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", "HOME": str(home), "LANG": "C.UTF-8"}


def app_command(*arguments: str) -> list[str]:
    """The app, started from this checkout by the Python that runs the tests."""
    return [sys.executable, "-P", "-m", "tui", *arguments]


def until(what: str, ready: object, seconds: float = 60) -> None:
    """Poll `ready()` until it is true."""
    assert callable(ready)
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {seconds} s")
        time.sleep(0.05)


def processes_of(folder: Path) -> Iterator[int]:
    """The processes whose command line names `folder`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue
