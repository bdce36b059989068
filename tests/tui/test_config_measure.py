"""`$` on the Config screen: three real steps of the demo trainer, or the reason why there are none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest

from core.runs import order, slots
from core.runs.measure import measured
from core.workspace import Workspace
from tests.tui.config_kit import SETTINGS, opened, ready_workspace, rows_of, text_of
from tests.tui.kit import app_on, toasts, until
from tui.app import KohyaApp
from tui.screens.config_measure import Measure

__all__ = ["ready_workspace"]


def seen(app: KohyaApp) -> str:
    return "\n".join(rows_of(app.screen))


def trainers() -> list[int]:
    """Children that train."""
    found = psutil.Process(os.getpid()).children(recursive=True)
    return [each.pid for each in found if each.is_running() and "core.demo.trainer" in each.cmdline()]


async def test_three_steps_say_what_a_training_takes(ready_workspace: Workspace) -> None:
    """Progress, then time and memory in words; Enter closes it, and the plan goes on with what was measured."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("dollar_sign")
        await until(pilot, lambda: isinstance(app.screen, Measure) and "of 3 steps" in seen(app))
        await until(pilot, lambda: "a step" in seen(app), 60)
        assert "batch" in seen(app) and "of GPU memory" in seen(app).replace("no GPU memory", "of GPU memory")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert screen.config is not None
        assert measured(screen.config, ready_workspace, app.settings) is not None
        await pilot.press("c")
        await until(pilot, lambda: "measured with" in " ".join(text_of(screen).split()))


async def test_escape_ends_the_trainer(ready_workspace: Workspace) -> None:
    """No process, no folder and no answer is left."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("dollar_sign")
        await until(pilot, lambda: isinstance(app.screen, Measure) and trainers())
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert trainers() == []
        assert screen.config is not None
        assert measured(screen.config, ready_workspace, app.settings) is None
        assert not [path for path in Path(tempfile.gettempdir()).glob("kohya-tui-measure-*") if (path / "out").exists()]


async def test_it_waits_for_its_turn(ready_workspace: Workspace, tmp_path: Path) -> None:
    """Beside a run on the same GPU nothing is measured, and nothing is started."""
    lock = order.take(slots.folder(), order.CPU, str(tmp_path))
    assert lock is not None
    app = app_on(ready_workspace, **SETTINGS)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            screen = await opened(pilot, app)
            await pilot.press("dollar_sign")
            await until(pilot, lambda: isinstance(app.screen, Measure) and "is under way on" in seen(app))
            assert trainers() == []
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is screen)
    finally:
        os.close(lock)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_without_a_trainer_it_says_how_to_get_one(ready_workspace: Workspace, size: tuple[int, int]) -> None:
    """The remedy stands in the dialog, and no toast covers it."""
    app = app_on(ready_workspace)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app)
        await pilot.press("dollar_sign")
        await until(pilot, lambda: isinstance(app.screen, Measure) and "sd-scripts" in seen(app))
        assert "setup sd-scripts" in " ".join(seen(app).split())
        assert not any("sd-scripts" in each for each in toasts(app))
