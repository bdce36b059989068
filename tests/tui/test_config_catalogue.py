"""The Config screen reads the options of the user's own sd-scripts, beside its work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import schema
from core.config.presets import draft, write_new
from core.workspace import Workspace
from tests.tui.config_kit import opened, text_of
from tests.tui.kit import app_on, make_dataset, toasts, until

DATA = Path(__file__).parents[1] / "data" / "checkout"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> Iterator[Path]:
    """A small sd-scripts that the settings name, and a config."""
    shutil.copytree(DATA, tmp_path / "scripts")
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(tmp_path / "scripts"))
    make_dataset(workspace, captions={"rinni_1.png": "rinni, 1girl"})
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    schema.forget()
    yield tmp_path / "scripts"
    schema.forget()


async def test_what_the_users_version_takes_is_offered(workspace: Workspace, checkout: Path) -> None:
    """An option that only this version has is found, with the words of its authors."""
    app = app_on(workspace, sd_scripts=checkout)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "wave_file" in schema.fields())
        await pilot.press("slash", *"wave_file", "enter")
        await until(pilot, lambda: "one of 19 waves" in text_of(screen))


async def test_a_checkout_that_cannot_be_read_is_told_once(workspace: Workspace, checkout: Path) -> None:
    """One sentence; the form stays as it was."""
    (checkout / "train_network.py").write_text("def setup_parser(:\n")
    app = app_on(workspace, sd_scripts=checkout)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: any("train_network.py, line 1 is not Python" in text for text in toasts(app)))
        assert "network_dim" in text_of(screen)
