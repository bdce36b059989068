"""Undo is seen before it happens: what is next, what lies elsewhere, what is large."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image
from textual.widgets import Static

from core.cli.main import main
from core.dataset.edits import Edit, Journal
from core.dataset.importer import plan_import, run_import
from core.dataset.marks import read_reviewed
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui import undoing
from tui.screens.dataset import DatasetScreen
from tui.screens.dialogs import Choose
from tui.screens.review import ReviewScreen
from tui.widgets.footer import Footer
from tui.widgets.line import Lines


def bring_in(workspace: Workspace, folder: Path, name: str, count: int) -> None:
    source = folder / f"source_{name}"
    source.mkdir()
    for number in range(count):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(source / f"{number}.png")
    for _ in run_import(workspace, plan_import(workspace, name, [source])):
        pass


async def test_a_change_of_another_screen_is_announced_first(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`u` in Review says that a config is next; only the second one takes it back."""
    monkeypatch.setattr(undoing, "HELD", 0.0)
    make_dataset(workspace)
    config = workspace.configs / "rinni" / "train.toml"
    Journal(workspace).apply("Make config rinni", [Edit(config, None, b"[a]\n")], kind="config")
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._row is not None)
        await until(pilot, lambda: "undo: Make config rinni" in app.screen.query_one("#below", Lines).plain)
        await pilot.press("u")
        await until(pilot, lambda: toasts(app) == ["next undo: Make config rinni (1 file) — u again does it"])
        assert config.exists()
        await pilot.press("u")
        await until(pilot, lambda: not config.exists() and toasts(app) == ["undone: Make config rinni"])


async def test_a_held_key_does_not_agree(workspace: Workspace, tmp_path: Path) -> None:
    """A key that repeats undoes the small steps and stops at the large one."""
    make_dataset(workspace)
    bring_in(workspace, tmp_path, "many", undoing.MANY + 1)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("m")
        await until(pilot, lambda: read_reviewed(workspace) != set())
        await pilot.press("u", "u", "u")
        await ready(pilot, app)
        assert read_reviewed(workspace) == set() and "many" in workspace.dataset_names()
        assert any(text.startswith("next undo: Import into many (51 files)") for text in toasts(app))


async def test_a_review_mark_is_undone(workspace: Workspace) -> None:
    """`m` is the newest change: `u` takes the mark back, on disk and on the screen."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._row is not None)
        await pilot.press("m")
        await until(pilot, lambda: "undo: review rinni_1.png" in app.screen.query_one("#below", Lines).plain)
        assert app.collection is not None and app.collection.rows[0].reviewed
        await pilot.press("u")
        await until(pilot, lambda: app.collection is not None and not app.collection.rows[0].reviewed)
        assert read_reviewed(workspace) == set()
        await pilot.press("U")
        await until(pilot, lambda: app.collection is not None and app.collection.rows[0].reviewed)


async def test_the_footer_names_the_next_undo(workspace: Workspace) -> None:
    """Also when another program made the change."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        Journal(workspace).apply("tidy up rinni", [Edit(folder / "rinni_3.txt", None, b"rinni")])
        await until(pilot, lambda: "undo: tidy up rinni" in app.screen.query_one(Footer).plain)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "undo: tidy up rinni" in app.screen.query_one("#where", Lines).plain)


async def test_after_the_undo_of_an_import_the_nearest_dataset_is_open(workspace: Workspace, tmp_path: Path) -> None:
    """The dataset is gone: another one is shown, and what was undone is said instead of an error."""
    make_dataset(workspace)
    bring_in(workspace, tmp_path, "mika", 2)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        app.active_dataset = "mika"
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: app.active_dataset == "rinni")
        await ready(pilot, app)
        assert toasts(app) == ["undone: Import into mika"]
        assert app.collection is not None and len(app.collection.shown) == 5


async def test_after_the_undo_of_the_only_import_the_two_ways_are_offered(workspace: Workspace, tmp_path: Path) -> None:
    """No dataset is left: the welcome is there again, and redo opens the dataset."""
    bring_in(workspace, tmp_path, "mika", 2)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: app.active_dataset is None)
        assert isinstance(app.screen, DatasetScreen)
        await until(pilot, lambda: app.screen.query_one("#choices").has_focus)
        assert toasts(app) == ["undone: Import into mika"]
        await pilot.press("U")
        await until(pilot, lambda: app.active_dataset == "mika")
        await ready(pilot, app)
        assert len(app.collection.shown) == 2


async def test_what_a_command_of_the_shell_changed_is_shown(workspace: Workspace) -> None:
    """`kohya-tui edit`, then `kohya-tui undo`, in another window: the list and the counts follow within a second."""
    make_dataset(workspace, captions={"rinni_1.png": "rinni, solo", "rinni_2.png": "rinni", "rinni_3.png": "rinni"})
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: app.beat._looked == workspace)

        def counted() -> int:
            return app.collection.tag_counts()["vtuber"] if app.collection is not None else -1

        folder = str(workspace.root)
        assert await asyncio.to_thread(main, ["-C", folder, "edit", "rinni", "add", "vtuber"]) == 0
        await until(pilot, lambda: counted() == 3)
        assert await asyncio.to_thread(main, ["-C", folder, "undo"]) == 0
        await until(pilot, lambda: counted() == 0)


async def test_a_file_that_somebody_else_changed_is_shown_in_both_versions(workspace: Workspace) -> None:
    """`u` leaves it and asks; what it would have written can be chosen all the same, and that is undone with `u`."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        old = caption.read_bytes()
        Journal(workspace).apply("shorten it", [Edit(caption, old, b"rinni")])
        caption.write_bytes(b"theirs")
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        text = str(app.screen.query_one("#text", Static).content)
        assert "now      theirs" in text and "undone   rinni, 1girl, solo, smile" in text
        assert caption.read_bytes() == b"theirs" and "undone: shorten it" not in toasts(app)
        await pilot.press("j", "enter")
        await until(pilot, lambda: caption.read_bytes() == old)
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: caption.read_bytes() == b"theirs")
