"""What the tests of the headless commands get: a demo workspace of their own, and the commands in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.demo.workspace import make_demo
from core.workspace import Workspace
from tests.core.cli_kit import Cli, end_runs


@pytest.fixture(scope="session")
def demo_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, drawn once."""
    return make_demo(tmp_path_factory.mktemp("master") / "demo").root


@pytest.fixture
def demo(demo_master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A demo workspace of one's own; what still runs in it ends with the test."""
    shutil.copytree(demo_master, tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path / "demo")
    yield workspace
    end_runs(workspace)


@pytest.fixture
def cli(demo: Workspace, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The commands, acting in the demo."""
    return Cli(capsys, demo.root)


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The commands, called in an empty folder."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return Cli(capsys)
