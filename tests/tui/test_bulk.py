"""Large changes in the app: how far they are, and Esc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input

from core.dataset.edits import Journal
from core.dataset.replacing import Replacer
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tests.tui.test_batch_dialog import open_form, seen, texts
from tui import bulk, undoing
from tui.screens.working import Working
from tui.widgets.lines import LiveLines

COUNT = 1300


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """More captions than are changed in a blink."""
    return make_dataset(workspace, captions={f"{at:04d}.png": "1girl, solo" for at in range(COUNT)}, size=(4, 4))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The disk takes no more after 600 captions until a test lets it: [0] is the number that may be written."""
    import threading

    monkeypatch.setattr(bulk, "PATIENCE", 0.0)
    monkeypatch.setattr(bulk, "EVERY", 0.0)
    allowed, written, turn = [600], 0, threading.Condition()
    replace = Replacer.replace

    def waiting(self: Replacer, path: Path, old: bytes | None, new: bytes | None) -> bool | None:
        nonlocal written
        written += 1
        with turn:
            while written > allowed[0]:
                turn.wait(0.01)
        return replace(self, path, old, new)

    monkeypatch.setattr(Replacer, "replace", waiting)
    yield allowed
    allowed[0] = 10**9


async def test_a_batch_edit_tells_how_far_it_is_and_esc_takes_it_back(
    workspace: Workspace, folder: Path, slow: list[int]
) -> None:
    """A bar while 1,300 captions are written; Esc: every one is as it was, and there is nothing to undo."""
    before = texts(folder)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await open_form(pilot, app, "add-front")
        await pilot.press(*"rinni")
        await until(pilot, lambda: "1,300 captions of 1,300 would change" in seen(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Working))
        shown = app.screen.query_one(LiveLines)
        await until(pilot, lambda: "of 1,300" in "".join(text for line in shown._lines for text, _ in line))
        await pilot.press("escape")
        await until(pilot, lambda: "taking back" in "".join(text for line in shown._lines for text, _ in line))
        slow[0] = 10**9
        await until(pilot, lambda: not isinstance(app.screen, Working))
        await ready(pilot, app)
        assert texts(folder) == before and Journal(workspace).next_undo() is None
        assert any("stopped" in text for text in toasts(app))
        assert not app.screen.query(Input)


async def test_a_large_undo_can_be_stopped_too(
    workspace: Workspace, folder: Path, slow: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it taken back, Esc: the edit is there whole again, and the next `u` does it."""
    monkeypatch.setattr(undoing, "HELD", 0.0)
    slow[0] = 10**9
    from core.dataset.edits import Edit

    before = texts(folder)
    edits = [Edit(path, path.read_bytes(), b"rinni") for path in sorted(folder.glob("*.txt"))]
    Journal(workspace).apply("all rinni", edits)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: app.undoing.next is not None)
        slow[0] = COUNT + 600
        await pilot.press("u")
        await until(pilot, lambda: any("u again does it" in text for text in toasts(app)))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, Working))
        await pilot.press("escape")
        slow[0] = 10**9
        await ready(pilot, app)
        await until(pilot, lambda: not isinstance(app.screen, Working))
        assert set(texts(folder).values()) == {"rinni"}
        await pilot.press("u")
        await until(pilot, lambda: sum("u again does it" in text for text in toasts(app)) >= 1)
        await pilot.press("u")
        await until(pilot, lambda: texts(folder) == before)
        await ready(pilot, app)
