"""A bug is logged and the app stays up: for every test of the screens the log must stay empty."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from textual.app import App

from core.settings import state_dir
from tui.navigation import Navigation


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


@pytest.fixture(autouse=True)
def keys_are_dealt_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pilot.press` returns when the keys had their turn: one that follows another waits for it (tui.keyboard)."""
    press = App._press_keys

    async def press_keys(self: Navigation, keys: Iterable[str]) -> None:
        await press(self, keys)
        keyboard = self._keyboard
        while keyboard._waiting or keyboard._next is not None or keyboard._rested is not None:
            await asyncio.sleep(0.002)

    monkeypatch.setattr(Navigation, "_press_keys", press_keys, raising=False)
