"""The path input: what is there stands behind the cursor, Tab and → take it, ↑ and ↓ change it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from core.config.presets import draft, write_new
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint
from tests.tui.kit import app_on, make_dataset, until
from tests.tui.stage import Stage
from tui.screens.config import ConfigScreen
from tui.screens.config_dialogs import Find
from tui.screens.dialogs import Ask, Choose
from tui.screens.importing import ImportDialog
from tui.widgets.path_input import LIMIT, PathInput, Paths, completions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("models", "Materials", "mo10", "mo9", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("models/sd15.safetensors", "models/sd2.ckpt", "models/notes.txt", "guide.md", ".secret.md"):
        (tmp_path / name).touch()
    return tmp_path


class PathStage(Stage):
    """A path input above another one."""

    def __init__(self, root: Path) -> None:
        self.line = PathInput(suggester=Paths(root), id="path")
        super().__init__(self.line)

    def compose(self) -> ComposeResult:
        yield self.line
        yield Input(id="after")

    async def offered(self, pilot: Pilot[None], path: str) -> None:
        """`path` is what the line shows, with what is offered."""
        await until(pilot, lambda: path in self.rows()[1])


def test_what_a_path_may_become(folder: Path) -> None:
    """Folders first, in natural order, as they are spelt before others; other endings and hidden files are left out."""
    assert completions("mo", folder) == ["mo9/", "mo10/", "models/"]
    assert completions("m", folder) == ["mo9/", "mo10/", "models/", "Materials/"]
    assert completions("models/s", folder, (".safetensors",)) == ["models/sd15.safetensors"]
    assert completions(f"{folder}/g", Path("/"), (".md",)) == [f"{folder}/guide.md"]
    assert completions("models/", folder, ()) == []
    assert completions(".", folder) == [".hidden/", ".secret.md"]
    assert completions("guide.md", folder) == []
    for nowhere in ("nowhere/x", "guide.md/x", "~nobody-here/x", "a\0b/"):
        assert completions(nowhere, folder) == []


def test_home_is_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` stays as it was typed."""
    monkeypatch.setenv("HOME", str(folder))
    assert completions("~", Path("/")) == ["~/"]
    assert completions("~/gu", Path("/")) == ["~/guide.md"]


def test_a_huge_folder_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the limit is looked at."""
    monkeypatch.setattr("tui.widgets.path_input.LIMIT", 20)
    for number in range(50):
        (tmp_path / f"{number}.png").touch()
    assert len(completions("./", tmp_path)) == 20 < LIMIT


def test_names_that_cannot_be_typed_are_not_offered(tmp_path: Path) -> None:
    """A name with a control character or of another encoding stays out, and does no harm."""
    (tmp_path / "a\x1b[31m").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff")).touch()
    (tmp_path / "a b").touch()
    assert completions("a", tmp_path) == ["a b"]


async def test_tab_takes_what_is_offered_and_then_moves_on(folder: Path) -> None:
    """Tab through folders to the file; with nothing offered it goes to the next field. → takes it as well."""
    app = PathStage(folder)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press(*"mod")
        await app.offered(pilot, "models/")
        await pilot.press("tab")
        assert app.line.value == "models/"
        await app.offered(pilot, "models/notes.txt")
        await pilot.press("s")
        await app.offered(pilot, "models/sd2.ckpt")
        await pilot.press("right")
        assert app.line.value == "models/sd2.ckpt" and app.line.has_focus
        await pilot.press("tab")
        assert app.query_one("#after").has_focus and app.line.value == "models/sd2.ckpt"


async def test_what_is_entered_is_meant_as_it_stands(folder: Path) -> None:
    """After Enter nothing is offered for this path: Tab goes to the next field. Another letter, and offers are back."""
    app = PathStage(folder)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press(*"mod")
        await app.offered(pilot, "models/")
        await pilot.press("enter", "tab")
        assert app.query_one("#after").has_focus and app.line.value == "mod"
        app.line.focus()
        await pilot.press("end", "e")
        await app.offered(pilot, "models/")


async def test_the_arrows_change_the_offer(folder: Path) -> None:
    """↓ offers the next one, ↑ the one before, round the end; what is typed stays."""
    app = PathStage(folder)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press(*"mo")
        await app.offered(pilot, "mo9/")
        await pilot.press("down")
        await app.offered(pilot, "mo10/")
        await pilot.press("up", "up")
        await app.offered(pilot, "models/")
        assert app.line.value == "mo"
        await pilot.press("tab")
        assert app.line.value == "models/"


async def test_paths_are_completed_wherever_one_is_asked_for(workspace: Workspace) -> None:
    """The base model, a guide, an option that is a path, the images to import: each begins where it is read from."""
    make_dataset(workspace)
    for name in ("one", "two"):
        checkpoint(workspace.root / "weights" / f"{name}.safetensors", SHAPES["SD1.5"])
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    app = app_on(workspace, trainer="demo")
    app.start_folder = workspace.root

    async def completed(pilot: Pilot[None], typed: str, path: str) -> None:
        line = app.focused
        assert isinstance(line, PathInput)
        line.value = ""
        await pilot.press(*typed)
        await until(pilot, lambda: line._suggestion == path)
        await pilot.press("tab")
        assert line.value == path

    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, ImportDialog) and isinstance(app.focused, PathInput))
        await completed(pilot, "tr", "train_data/")
        await pilot.press("escape", "4")
        await until(pilot, lambda: isinstance(app.screen, ConfigScreen) and app.screen.config is not None)
        screen = app.screen
        assert isinstance(screen, ConfigScreen)

        screen.form.go_to("pretrained_model_name_or_path")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choose | Ask))
        if isinstance(app.screen, Choose):
            await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, Ask) and isinstance(app.focused, PathInput))
        await completed(pilot, "we", "weights/")
        await until(pilot, lambda: app.focused._suggestion == "weights/one.safetensors")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)

        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, Find))
        await pilot.press(*"vae", "enter")
        await until(pilot, lambda: screen.form.is_editing)
        await completed(pilot, "weights/t", "weights/two.safetensors")
        await pilot.press("enter")
        await until(pilot, lambda: screen.config.get("train", "vae") == "weights/two.safetensors")

        await pilot.press("u", "i")
        await until(pilot, lambda: isinstance(app.screen, Ask) and isinstance(app.focused, PathInput))
        await completed(pilot, f"{workspace.root}/conf", f"{workspace.root}/configs/")
