"""The headless commands as a test calls them, on a demo workspace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.cli.main import main
from core.runs import launch, queue, store
from core.runs.model import LIVE_STATES, WAITING_STATES, Run
from core.workspace import Workspace

COMMAND = [sys.executable, "-P", "-m", "tui"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit status."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails when anything else stands there."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Cli:
    """`cli("status", "--json")` runs a command in this process, in the workspace `folder` when there is one."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path | None = None) -> None:
        self._capsys = capsys
        self.folder = folder

    def __call__(self, *words: object, code: int = 0) -> Answer:
        """Run it; its exit status must be `code`."""
        place = ["-C", str(self.folder)] if self.folder is not None else []
        self._capsys.readouterr()
        status = main([*place, *map(str, words)])
        captured = self._capsys.readouterr()
        assert status == code, f"exit status {status}\n{captured.out}\n{captured.err}"
        assert "went wrong inside" not in captured.err
        return Answer(status, captured.out, captured.err)


def end_runs(workspace: Workspace) -> None:
    """Stop every run, those that wait first, and wait until they are gone."""
    for run in store.list_runs(workspace):
        if run.spec.wait is not None and run.status.state in WAITING_STATES:
            queue.cancel(run)
    for run in store.list_runs(workspace):
        if run.status.state in LIVE_STATES:
            launch.stop(run, "stop-now")
    until(lambda: all(run.status.state not in LIVE_STATES for run in store.list_runs(workspace)))


def program(*words: object, cwd: Path, code: int | None = 0, **environment: str) -> Answer:
    """The command as a process of its own, without a terminal."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert code is None or done.returncode == code, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return Answer(done.returncode, done.stdout, done.stderr)


def until(ready: Callable[[], object], seconds: float = 60) -> None:
    """Poll until `ready()` is true."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not ready within {seconds} s"
        time.sleep(0.05)


def only_run(workspace: Workspace) -> Run:
    """The one run there is."""
    (run,) = store.list_runs(workspace)
    return run


def captions(workspace: Workspace, name: str) -> dict[str, str]:
    """The text of every caption of a dataset by file name."""
    return {path.name: path.read_text("utf-8") for path in sorted((workspace.train_data / name).glob("*/*.txt"))}
