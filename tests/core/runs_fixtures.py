"""Fixtures for tests of runs: `pytest_plugins = ("tests.core.runs_fixtures",)` at the top of a test module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runs import launch, proc, store
from core.runs.model import RunState
from tests.core.runs_kit import Runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """A folder for runs with a real little trainer, and short patience; whatever still runs is ended afterwards."""
    monkeypatch.setenv("KOHYA_TUI_STOP_GRACE", "0.5")
    monkeypatch.setenv("KOHYA_TUI_LEAVE_GRACE", "0.5")
    monkeypatch.setenv("KOHYA_TUI_GONE_GRACE", "1")
    kit = Runs(tmp_path)
    yield kit
    for run in store.list_runs(kit.folder):
        if run.state is RunState.QUEUED and run.supervised and run.status.supervisor_pid:
            proc.send([run.status.supervisor_pid], 9)  # before the next one's turn comes
    for run in store.list_runs(kit.folder):
        if run.live:
            proc.send(launch.group_of(run), 9)
            if run.supervised and run.status.supervisor_pid:
                proc.send([run.status.supervisor_pid], 9)
