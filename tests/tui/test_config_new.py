"""The dialog for a new config: four choices by arrow keys, and what they do at once below them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot

from core.config.documents import Config
from core.config.own_presets import own_names
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint
from tests.tui.config_kit import opened, rows_of
from tests.tui.kit import app_on, make_dataset, toasts, until
from tui.app import KohyaApp
from tui.screens.config import ConfigScreen
from tui.screens.config_new import NewConfig
from tui.screens.dialogs import Ask

SIZES = [(80, 24), (120, 40)]


@pytest.fixture
def ready_workspace(workspace: Workspace) -> Workspace:
    """A dataset, and an SDXL checkpoint as the only base model."""
    make_dataset(workspace, captions={"rinni_1.png": "rinni, 1girl", "rinni_2.png": "rinni, solo"})
    checkpoint(workspace.models / "xl.safetensors", SHAPES["SDXL"])
    return workspace


async def asked(pilot: Pilot[None], app: KohyaApp) -> NewConfig:
    """The dialog, with its values drawn."""
    await pilot.press("ctrl+n")
    await until(pilot, lambda: isinstance(app.screen, NewConfig))
    dialog = app.screen
    assert isinstance(dialog, NewConfig)
    await until(pilot, lambda: "values differ" in "\n".join(rows_of(dialog)))
    return dialog


@pytest.mark.parametrize("size", SIZES)
async def test_the_model_of_the_workspace_is_chosen_and_everything_is_seen(
    ready_workspace: Workspace, size: tuple[int, int]
) -> None:
    """Its family, values with reasons, and the keys at the foot, at 80x24 too."""
    app = app_on(ready_workspace)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app)
        text = "\n".join(rows_of(await asked(pilot, app)))
        assert "‹ SDXL, Illustrious" in text
        assert "xl.safetensors" in text
        assert "network_dim" in text
        assert "SDXL needs less than SD1.5" in text
        assert "⏎ make it" in text


async def test_a_choice_shows_at_once_what_it_changes(ready_workspace: Workspace) -> None:
    """A point before each value that is another, and how many; the list goes there. Its own keys show whole reasons."""
    app = app_on(ready_workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        dialog = await asked(pilot, app)
        await pilot.press("down", "down", "right", "right", "right")
        await until(pilot, lambda: any("‹ Prodigy ›" in row for row in rows_of(dialog)))
        rows = rows_of(dialog)
        assert any("•learning_rate" in row and "1.0" in row for row in rows)
        assert any("changed, 3 left out" in row for row in rows)
        assert any("Needs the package prodigyopt" in row for row in rows)
        await pilot.press("tab")
        await until(pilot, lambda: any("(train.toml): " in row for row in rows_of(dialog)))


async def test_an_optimizer_that_cannot_start_here_is_said(ready_workspace: Workspace, tmp_path: Path) -> None:
    """The trainer's Python has torch, and no bitsandbytes."""
    (tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "torch").mkdir(parents=True)
    app = app_on(ready_workspace, sd_python=tmp_path / "venv" / "bin" / "python")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        dialog = await asked(pilot, app)
        await until(pilot, lambda: any("pip install bitsandbytes" in row for row in rows_of(dialog)))


async def test_the_trainers_python_is_asked_while_the_dialog_is_open(
    ready_workspace: Workspace, tmp_path: Path
) -> None:
    """What lies on its disk may still not work: one package breaks while it is imported, another is there."""
    checkout = tmp_path / "sd-scripts"
    checkout.mkdir()
    (checkout / "bitsandbytes.py").write_text("raise OSError('libcudart.so.12: cannot open')")
    (checkout / "prodigyopt.py").write_text("__version__ = '1.1.2'")
    app = app_on(ready_workspace, sd_python=Path(sys.executable), sd_scripts=checkout)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        dialog = await asked(pilot, app)
        await until(pilot, lambda: any("cannot import bitsandbytes" in row for row in rows_of(dialog)), 30)
        await pilot.press("down", "down", "right", "right", "right")
        await until(pilot, lambda: "1.1.2 is there" in " ".join(" ".join(rows_of(dialog)).split()))


async def test_what_was_chosen_is_written(ready_workspace: Workspace) -> None:
    """Enter, a name, and the form opens on it."""
    app = app_on(ready_workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app)
        await asked(pilot, app)
        await pilot.press("down", "right", "down", "down", "left", "enter")  # style, 8 GB
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and screen.config is not None)
        made = Config.load(ready_workspace.configs / "rinni")
        assert made.script == "sdxl_train_network.py"
        assert made.get("train", "cache_text_encoder_outputs") is True
        assert made.get("dataset", "batch_size") == 1


async def test_a_config_becomes_a_preset_and_is_offered(ready_workspace: Workspace) -> None:
    """P asks for a name; behind the models stands what is yours."""
    app = app_on(ready_workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app)
        await asked(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and screen.config is not None)
        await pilot.press("P")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: own_names() == ["rinni"])
        await until(pilot, lambda: any("Kept as rinni" in text for text in toasts(app)))
        assert isinstance(app.screen, ConfigScreen)
        dialog = await asked(pilot, app)
        for _ in range(2):  # SDXL, SD1.5, and round the end
            await pilot.press("left")
        await until(pilot, lambda: any("‹ rinni ›  yours" in row for row in rows_of(dialog)))
        assert any("as in your preset" in row for row in rows_of(dialog))
