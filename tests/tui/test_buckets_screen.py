"""The Buckets screen: where images go under the config, and what of them is cropped."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from textual.pilot import Pilot

from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, until
from tui.app import KohyaApp
from tui.screens.buckets import BucketsScreen
from tui.screens.dataset import DatasetScreen
from tui.screens.dialogs import Choose
from tui.screens.review import ReviewScreen
from tui.widgets.line import Line
from tui.widgets.lines import LiveLines

CONFIG = """
[general]
enable_bucket = true
[[datasets]]
resolution = 512
batch_size = 4
min_bucket_reso = 256
max_bucket_reso = 1024
[[datasets.subsets]]
image_dir = "train_data/rinni/1_rinni"
num_repeats = 1
"""


@pytest.fixture
def bucketed(workspace: Workspace) -> Workspace:
    """Five square images and a wide one, and a config for them with a batch of four."""
    folder = workspace.train_data / "rinni" / "1_rinni"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (512, 512)).save(folder / f"square_{number}.png")
    Image.new("RGB", (900, 450)).save(folder / "wide.png")
    (workspace.configs / "rinni").mkdir(parents=True)
    (workspace.configs / "rinni" / "dataset.toml").write_text(CONFIG)
    return workspace


async def show(pilot: Pilot[Any], app: KohyaApp) -> BucketsScreen:
    await ready(pilot, app)
    await pilot.press("b")
    await until(pilot, lambda: isinstance(app.screen, BucketsScreen) and app.screen.measured is not None)
    assert isinstance(app.screen, BucketsScreen)
    return app.screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_buckets_under_the_config(bucketed: Workspace, size: tuple[int, int]) -> None:
    """Every bucket with its images; one that fills no batch is flagged."""
    app = app_on(bucketed)
    async with app.run_test(size=size) as pilot:
        screen = await show(pilot, app)
        where = screen.query_one("#where", Line).plain
        assert "config rinni · 512×512, batch of 4" in where and "2 buckets" in where
        assert "1 smaller than the batch" in screen.query_one("#summary", Line).plain
        lines = [screen.buckets.render_line(y).text for y in range(3)]
        assert "all" in lines[0] and "6" in lines[0]
        assert lines[1].startswith("  512×512") and "5" in lines[1]
        assert lines[2].startswith("! 704×320")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_enter_shows_the_images_of_a_bucket(bucketed: Workspace, size: tuple[int, int]) -> None:
    """Scale and crop of each, the crop drawn on the picture; Enter opens Review, Esc goes back step by step."""
    app = app_on(bucketed)
    async with app.run_test(size=size) as pilot:
        screen = await show(pilot, app)
        await pilot.press("G", "enter")
        await until(pilot, lambda: screen.focused is screen.placed and screen.placed.size.width > 0)
        assert "wide.png" in screen.placed.render_line(0).text
        facts = screen.query_one("#facts", LiveLines)
        await until(pilot, lambda: "900×450 → 704×320 bucket" in facts.plain)
        assert "cropped, top and bottom" in facts.plain
        await until(pilot, lambda: screen.picture._kept is not None)
        kept = screen.picture._kept
        assert kept is not None and kept[0] == 0 and kept[1] > 0.01
        await pilot.press("escape")
        await until(pilot, lambda: screen.focused is screen.buckets)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen))


async def test_without_a_config_a_resolution_is_taken(workspace: Workspace) -> None:
    """1024 at first; `ctrl+o` takes another, and small images are told to be scaled up."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await show(pilot, app)
        assert "no config · 1024×1024" in screen.query_one("#where", Line).plain
        assert "5 images scaled up" in screen.query_one("#summary", Line).plain
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, Choose) and app.screen.is_current)
        await pilot.press("g", "enter")
        await until(pilot, lambda: "512×512" in screen.query_one("#where", Line).plain)


async def test_a_config_that_the_trainer_would_refuse_is_told(bucketed: Workspace) -> None:
    """The sentence says what to change; Esc goes back."""
    file = bucketed.configs / "rinni" / "dataset.toml"
    file.write_text(CONFIG.replace("max_bucket_reso = 1024", "max_bucket_reso = 448"))
    app = app_on(bucketed)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("b")
        await until(pilot, lambda: any("max_bucket_reso" in str(each.message) for each in app._notifications))
        assert isinstance(app.screen, BucketsScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, DatasetScreen)
