"""The batch edit in the app: scope, preview, one undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from core.workspace import Workspace
from tests.tui.kit import CAPTIONS, app_on, make_dataset, ready, toasts, until
from tui.app import KohyaApp
from tui.screens.batch import BatchDialog
from tui.screens.dialogs import Choose
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines


async def open_form(pilot: Pilot[Any], app: KohyaApp, form: str) -> BatchDialog:
    """B, and this operation chosen."""
    await pilot.press("B")
    await until(pilot, lambda: isinstance(app.screen, Choose) and app.screen.is_mounted)
    dialog = app.screen
    assert isinstance(dialog, Choose)
    dialog.dismiss(form)
    await until(pilot, lambda: isinstance(app.screen, BatchDialog))
    found = app.screen
    assert isinstance(found, BatchDialog)
    return found


def seen(app: KohyaApp) -> str:
    found = app.screen.query("#seen")
    return found.only_one(Lines).plain if found else ""


def texts(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text("utf-8") for path in folder.glob("*.txt")}


async def test_b_shows_what_would_change_and_enter_does_it(workspace: Workspace) -> None:
    """The count and the change are there before Enter; one u takes all of it back."""
    folder = make_dataset(workspace)
    before = texts(folder)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await open_form(pilot, app, "rename")
        await pilot.press(*"1girl", "tab", *"woman")
        await until(pilot, lambda: "3 captions of 4 would change" in seen(app))
        assert "[-1girl-]{+woman+}" in seen(app)
        assert texts(folder) == before
        await pilot.press("enter")
        await until(pilot, lambda: texts(folder)["rinni_1"] == "rinni, woman, solo, smile")
        await ready(pilot, app)
        assert any("3 captions changed" in text for text in toasts(app))
        assert app.collection is not None
        await until(pilot, lambda: "woman" in app.collection.rows[0].tags)
        assert app.undoing.next is not None
        assert app.undoing.next.label == "rename 1girl to woman in rinni"
        await pilot.press("u")
        await until(pilot, lambda: texts(folder) == before)


async def test_the_scope_is_the_marked_images_when_there_are_some(workspace: Workspace) -> None:
    """Marked ones are proposed; another scope is an arrow key away."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("space")
        dialog = await open_form(pilot, app, "add-front")
        assert dialog.scope.id == "marked"
        await pilot.press("x")
        await until(pilot, lambda: "1 caption of 1 would change" in seen(app))
        dialog.query_one("#options", ItemList).focus()
        await pilot.press("G")
        await until(pilot, lambda: "4 captions of 4 would change" in seen(app))
        assert "1 image without a caption file" in seen(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not dialog)
        assert texts(folder) == {Path(name).stem: text for name, text in CAPTIONS.items() if text is not None}


async def test_a_wrong_word_is_told_beside_the_field(workspace: Workspace) -> None:
    """A pattern that cannot be read, and then one that can."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        dialog = await open_form(pilot, app, "pattern")
        dialog.query(Input).first().value = "(smile"
        await until(pilot, lambda: "cannot be read" in str(dialog.query_one("#wrong").render()))
        dialog.query(Input).first().value = "(smi)le"
        dialog.query(Input).last().value = r"\1"
        await until(pilot, lambda: "{+smi+}" in seen(app))


async def test_a_file_that_somebody_changed_meanwhile_is_refused(workspace: Workspace) -> None:
    """What was seen is what is written; a caption that is another by now is left alone and told."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await open_form(pilot, app, "add-end")
        await pilot.press("x")
        await until(pilot, lambda: "4 captions of 4" in seen(app))
        (folder / "rinni_2.txt").write_text("somebody else")
        await pilot.press("enter")
        await until(pilot, lambda: any("changed by somebody else" in text for text in toasts(app)))
        assert texts(folder)["rinni_2"] == "somebody else"
        assert texts(folder)["rinni_1"].endswith(", x")
