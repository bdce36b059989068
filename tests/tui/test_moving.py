"""Moving and copying images, and changing repeats, from the keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui.screens.moving import MoveDialog
from tui.screens.repeats import RepeatsDialog
from tui.widgets.line import Lines


def names(app) -> list[str]:  # type: ignore[no-untyped-def]
    return [row.name for row in app.collection.shown]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_marked_images_move_with_their_captions(workspace: Workspace, size: tuple[int, int]) -> None:
    """`M` asks where to, says what would go, and moves it; `u` brings it back."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=size) as pilot:
        await ready(pilot, app)
        await pilot.press("space", "space", "M")
        await until(pilot, lambda: isinstance(app.screen, MoveDialog) and app.screen.query("#plan"))
        dialog = app.screen
        plan = dialog.query_one("#plan", Lines)
        await until(pilot, lambda: "rinni/10_rinni" in plan.plain)
        dialog.query_one("#to", Input).value = "rinni/5_smile"
        await until(pilot, lambda: "2 images and 2 captions and caches → rinni/5_smile/" in plan.plain)
        await pilot.press("enter")
        target = folder.with_name("5_smile")
        await until(pilot, lambda: (target / "rinni_2.txt").exists() and not app.writer.pending)
        assert (target / "rinni_1.png").exists() and not (folder / "rinni_1.txt").exists()
        await until(pilot, lambda: app.collection is not None and len(app.collection.index.subsets) == 2)
        await pilot.press("u")
        await until(pilot, lambda: (folder / "rinni_1.txt").exists() and (folder / "rinni_2.png").exists())
        assert any("undone: move 2 images to rinni/5_smile" in text for text in toasts(app))


async def test_copying_leaves_the_originals(workspace: Workspace) -> None:
    """The second way copies into another dataset; the original stays listed."""
    folder = make_dataset(workspace)
    make_dataset(workspace, "mika", {"m.png": "mika"})
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        app.active_dataset = "rinni"
        await ready(pilot, app)
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, MoveDialog) and app.screen.query("#to"))
        dialog = app.screen
        dialog.query_one("#to", Input).value = "mika"
        await pilot.press("tab", "tab", "j")  # the first one completes the name
        await until(pilot, lambda: "1 image and" in dialog.query_one("#plan", Lines).plain)
        await until(pilot, lambda: "copies them" in dialog.query_one("#plan", Lines).plain)
        await pilot.press("enter")
        await until(pilot, lambda: (workspace.train_data / "mika" / "10_mika" / "rinni_1.txt").exists())
        await until(pilot, lambda: not isinstance(app.screen, MoveDialog))
        assert (folder / "rinni_1.png").exists()


async def test_what_stands_in_the_way_is_told(workspace: Workspace) -> None:
    """A name that is there already stays; a target that is no subset is an error with its remedy."""
    make_dataset(workspace)
    make_dataset(workspace, "mika", {"rinni_1.png": "mika"})
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        app.active_dataset = "rinni"
        await ready(pilot, app)
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app.screen, MoveDialog) and app.screen.query("#to"))
        dialog = app.screen
        dialog.query_one("#to", Input).value = "mika"
        await until(pilot, lambda: "rename one of them" in dialog.query_one("#plan", Lines).plain)
        assert "Nothing to do" in dialog.query_one("#plan", Lines).plain
        dialog.query_one("#to", Input).value = "mika/new"
        wrong = dialog.query_one("#wrong", Static)
        await until(pilot, lambda: "mika/10_new" in str(wrong.content))


async def test_other_repeats_rename_the_folder_and_its_configs(workspace: Workspace) -> None:
    """`r` shows the new name and the configs that follow; `u` takes it all back."""
    folder = make_dataset(workspace)
    config = workspace.configs / "rinni" / "dataset.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{workspace.key_of(folder)}"\nnum_repeats = 10\n'
    )
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, RepeatsDialog) and app.screen.query("#repeats"))
        dialog = app.screen
        plan = dialog.query_one("#plan", Lines)
        await until(pilot, lambda: "has 10 repeats already" in plan.plain)
        dialog.query_one("#repeats", Input).value = "15"
        await until(pilot, lambda: "10_rinni → 15_rinni" in plan.plain and "configs/rinni follows" in plan.plain)
        await pilot.press("enter")
        new = folder.with_name("15_rinni")
        await until(pilot, lambda: new.exists() and not app.writer.pending)
        assert "15_rinni" in config.read_text() and "num_repeats = 15" in config.read_text()
        await until(pilot, lambda: app.collection is not None and app.collection.index.subsets[0].name == "15_rinni")
        await pilot.press("u")
        await until(pilot, lambda: folder.exists() and "num_repeats = 10" in config.read_text())


async def test_repeats_of_a_subset_in_the_tree(workspace: Workspace) -> None:
    """With the cursor in the tree it is that subset; Esc changes nothing."""
    folder = make_dataset(workspace)
    (folder.with_name("3_other")).mkdir()
    (folder / "rinni_1.png").rename(folder.with_name("3_other") / "x.png")
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: len(app.screen.datasets.rows) == 3)  # type: ignore[attr-defined]
        await pilot.press("tab", "G", "r")
        await until(pilot, lambda: isinstance(app.screen, RepeatsDialog) and app.screen.query("#repeats"))
        assert app.screen._title == "Repeats of rinni/10_rinni"  # type: ignore[attr-defined]
        await pilot.press("escape")
        assert sorted(path.name for path in Path(folder.parent).iterdir()) == ["10_rinni", "3_other"]
