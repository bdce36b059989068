"""Garbage is collected when nobody waits."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, until
from tui import collector, opening
from tui.collector import Collector
from tui.screens.buckets import BucketsScreen


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The collector of the tests goes on as it was."""
    thresholds, is_on = gc.get_threshold(), gc.isenabled()
    yield
    gc.set_threshold(*thresholds)
    (gc.enable if is_on else gc.disable)()
    gc.unfreeze()


async def test_it_waits_until_the_keys_rest(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much was made, but a key came just now: nothing yet; a while later it is looked through once."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        looker = Collector(app)
        looker.start()
        monkeypatch.setattr(collector, "LITTLE", -1)
        looks = _collections()
        await pilot.press("j")
        looker._look()
        assert _collections() == looks
        monkeypatch.setattr(collector, "REST", 0.0)
        looker._look()
        assert _collections() == looks + 1


async def test_a_dataset_that_was_read_anew_and_a_screen_that_closed_take_no_memory(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets is opened and closed and the dataset read again: neither the screen nor the old columns stay."""
    make_dataset(workspace)
    app = app_on(workspace)
    monkeypatch.setattr(collector, "REST", 0.0)
    monkeypatch.setattr(collector, "AWAY", 0.0)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        looker = Collector(app)
        looker.start()
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BucketsScreen) and app.screen.measured is not None)
        screen = weakref.ref(app.screen)
        await pilot.press("escape")
        assert len(app.screen_stack) == 1 and app.collection is not None
        old = weakref.ref(app.collection.index)
        looker._look()
        opening.reload(app)
        await until(pilot, lambda: app.collection is not None and app.collection.index is not old())
        await pilot.press("j")

        def is_gone() -> bool:
            looker._look()
            return screen() is None and old() is None

        await until(pilot, is_gone)


def _collections() -> int:
    return sum(each["collections"] for each in gc.get_stats())
