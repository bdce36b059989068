"""Garbage is collected when nobody waits."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready
from tui import collector
from tui.collector import Collector, paused


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The collector of the tests goes on as it was."""
    thresholds, is_on = gc.get_threshold(), gc.isenabled()
    yield
    gc.set_threshold(*thresholds)
    (gc.enable if is_on else gc.disable)()
    gc.unfreeze()


def test_pauses_lie_within_each_other() -> None:
    """Two plans on two threads: it goes on after the last, and stays off where it was off."""
    gc.enable()
    with paused():
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled()


async def test_it_waits_until_the_keys_rest(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much was made, but a key came just now: nothing yet; a while later it is looked through once."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        looker = Collector(app)
        looker.start()
        monkeypatch.setattr(collector, "ENOUGH", 0)
        full = gc.get_stats()[2]["collections"]
        await pilot.press("j")
        looker._look()
        assert gc.get_stats()[2]["collections"] == full
        monkeypatch.setattr(collector, "REST", 0.0)
        looker._look()
        assert gc.get_stats()[2]["collections"] == full + 1
