"""What every test gets: a home of its own, and a workspace when it asks for one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before numpy: in threads such small matrices cost ten times the CPU

from core.workspace import Workspace, create

REAL_TRAINER = {
    name: os.environ.get(name) for name in ("KOHYA_TUI_SD_SCRIPTS", "KOHYA_TUI_SD_PYTHON", "KOHYA_TUI_SD_MODEL")
}
"""The real sd-scripts, when the caller points at one; every test itself runs without KOHYA_TUI_* variables."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background of a script: programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the settings, caches and state of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("KOHYA_TUI_", "XDG_", "HF_"))]:
        monkeypatch.delenv(name)
    for name, folder in (("CONFIG", "config"), ("CACHE", "cache"), ("STATE", "state"), ("DATA", "share")):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / folder))
    for name in ("TMUX", "TMUX_PANE", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return create(tmp_path / "work")
