"""The whole way in a real tmux, as its user goes it: tag, correct, undo, train, lose the terminal, come back."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.demo.workspace import make_demo
from core.runs.launch import stop
from core.runs.model import LIVE_STATES, RunKind, RunState
from core.runs.store import list_runs
from core.runs.watch import snapshot
from core.workspace import Workspace
from tests.e2e.terminal import Terminal, app_command, environment_of, until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
SIZES = [(120, 40), (80, 24)]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Workspace]:
    """A demo workspace; whatever still runs in it is stopped afterwards."""
    workspace = make_demo(tmp_path / "demo")
    yield workspace
    for run in list_runs(workspace):
        if run.status.state in LIVE_STATES:
            stop(run, "stop-now")
    until("the end of the runs", lambda: all(run.status.state not in LIVE_STATES for run in list_runs(workspace)))


class Session:
    """Terminals of one test, each on a tmux server of its own."""

    def __init__(self, home: Path, workspace: Workspace) -> None:
        self._environment = {**environment_of(home), "KOHYA_TUI_DEMO_STEP_SECONDS": "0.1", "TMUX_TMPDIR": str(home)}
        self._command = app_command("-C", str(workspace.root))
        self._open: list[Terminal] = []

    def open(self, size: tuple[int, int]) -> Terminal:
        terminal = Terminal(f"kt-{os.getpid()}-{len(self._open)}", self._command, size, self._environment)
        self._open.append(terminal)
        return terminal

    def close(self) -> None:
        for terminal in self._open:
            terminal.kill()


@pytest.fixture
def session(own_home: Path, demo: Workspace) -> Iterator[Session]:
    """Opens the app on the demo as often as the test wants."""
    session = Session(own_home, demo)
    yield session
    session.close()


def newest(workspace: Workspace, kind: RunKind) -> Path:
    """The folder of the newest run of that kind."""
    return next(run.dir for run in list_runs(workspace) if run.spec.kind is kind)


@pytest.mark.parametrize("size", SIZES, ids=["120x40", "80x24"])
def test_tag_correct_undo_train_and_come_back(demo: Workspace, session: Session, size: tuple[int, int]) -> None:
    """Everything by keyboard; the training goes on when tmux is killed, and the app shows the same run again."""
    captions = demo.train_data / "mika" / "10_mika"
    assert not list(captions.glob("*.txt"))
    terminal = session.open(size)
    terminal.wait("1 Dataset")
    terminal.wait("mika_01")

    terminal.send("2")
    terminal.wait(r"mika +12 images")
    terminal.send("R")
    terminal.wait(r"12/12 +finished", 60)
    assert len(list(captions.glob("*.txt"))) == 12

    terminal.send("3")
    terminal.wait(r"1 of 12")
    caption = captions / "mika_01.txt"
    before = caption.read_bytes()
    terminal.send("a")
    terminal.wait("⏎ adds")
    terminal.type("round glasses")
    terminal.send("Enter")
    until("the tag in the file", lambda: b"round glasses" in caption.read_bytes())
    terminal.wait("⏎ adds")  # the input is empty again, and waits for the next
    terminal.send("Escape")
    terminal.wait_gone("⏎ adds")
    terminal.send("u")
    until("the caption as it was", lambda: caption.read_bytes() == before)

    terminal.send("4")
    terminal.wait(r"learning_rate|pretrained_model")
    terminal.wait("rinni")
    terminal.send("R")
    terminal.wait("Train rinni")
    terminal.send("Enter")
    terminal.wait(r"step \d[\d,]*/600", 60)
    run = newest(demo, RunKind.TRAIN)
    until("some steps", lambda: (snapshot_step(demo)) > 20)
    terminal.wait(r"loss|0\.\d")
    terminal.kill()

    at_the_end = snapshot_step(demo)
    until("more steps without any terminal", lambda: snapshot_step(demo) > at_the_end + 5)
    again = session.open(size)
    again.wait("1 Dataset")
    again.send("5")
    screen = again.wait(r"step (\d[\d,]*)/600")
    step = int(re.search(r"step (\d[\d,]*)/600", screen)[1].replace(",", ""))  # type: ignore[index]
    assert step > at_the_end
    assert newest(demo, RunKind.TRAIN) == run
    again.send("X")
    again.wait("Stop rinni")
    again.send("j", "Enter")
    until("the stop", lambda: list_runs(demo)[0].status.state is RunState.STOPPED, 30)
    again.send("q")
    until("the end of the app", lambda: again.ended, 20)


def snapshot_step(workspace: Workspace) -> int:
    """The step of the newest training."""
    return snapshot(next(run for run in list_runs(workspace) if run.spec.kind is RunKind.TRAIN)).step or 0
