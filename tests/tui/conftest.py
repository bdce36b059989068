"""A bug is logged and the app stays up: for every test of the screens the log must stay empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import state_dir


@pytest.fixture
def logged(own_home: Path) -> Path:
    """The log of bugs, for a test that expects one."""
    return state_dir() / "kohya-tui.log"


@pytest.fixture(autouse=True)
def no_bug(own_home: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in which the app caught a bug, unless it asks for `logged`."""
    yield
    log = state_dir() / "kohya-tui.log"
    if "logged" not in request.fixturenames and log.exists():
        pytest.fail(f"the app logged a bug:\n{log.read_text('utf-8')}", pytrace=False)
