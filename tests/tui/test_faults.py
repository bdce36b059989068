"""Bugs in what Textual calls: each goes to the log with its traceback, one toast names the log, the keys work on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.reactive import var
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from core.problems import UserError
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui.app import KohyaApp
from tui.screens.base import ModeScreen
from tui.screens.dataset import DatasetScreen
from tui.screens.review import ReviewScreen
from tui.widgets.item_list import ItemList


def bug(*_: object) -> None:
    """What we did not think of."""
    raise ZeroDivisionError("a bug of ours")


@asynccontextmanager
async def survived(workspace: Workspace, logged: Path, times: int = 1) -> AsyncIterator[tuple[Pilot[Any], KohyaApp]]:
    """The app at work; at the end a bug was logged and told `times` times, and it still goes from mode to mode."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        yield pilot, app
        await until(pilot, lambda: logged.exists() and len(toasts(app)) == times)
        assert all(f"(ZeroDivisionError). The details are in {logged}" in text for text in toasts(app))
        text = logged.read_text("utf-8")
        assert text.count("ZeroDivisionError: a bug of ours") == times
        assert f'File "{__file__}"' in text, "the traceback leads to where it happened"
        await pilot.press("2")
        await until(pilot, lambda: app.current_mode == "tag")
        await pilot.press("1")
        await until(pilot, lambda: app.current_mode == "dataset")
        assert app._exception is None
        assert app.return_code is None


async def test_a_bug_in_a_handler_of_a_screen(
    workspace: Workspace, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list's message reaches the screen's handler, which fails; the cursor of the list moves on all the same."""
    monkeypatch.setattr(DatasetScreen, "on_item_list_moved", bug, raising=False)
    async with survived(workspace, logged) as (pilot, app):
        rows = app.screen.query_one("#images", ItemList)
        rows.focus()
        await pilot.pause()
        before = rows.cursor
        await pilot.press("j", "j")
        await until(pilot, lambda: rows.cursor == before + 2)


async def test_a_bug_in_the_mount_of_a_screen(
    workspace: Workspace, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode opens as far as it came, with header and footer, and is left by its key."""
    monkeypatch.setattr(ReviewScreen, "on_mount", bug)
    async with survived(workspace, logged) as (pilot, app):
        await pilot.press("3")
        await until(pilot, lambda: app.current_mode == "review" and len(app.screen.query("Footer")) == 1)


async def test_a_bug_in_what_a_screen_is_made_of(
    workspace: Workspace, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screen without its widgets has many things it cannot find: the first is told, and the next mode is whole."""
    monkeypatch.setattr(ModeScreen, "compose", bug)
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "(ZeroDivisionError)" in "".join(toasts(app)))
        monkeypatch.undo()
        await pilot.press("2")
        await until(pilot, lambda: app.current_mode == "tag" and len(app.screen.query("Footer")) == 1)
        assert app._exception is None


@pytest.mark.parametrize(
    "start",
    [
        lambda node: node.call_after_refresh(bug),
        lambda node: node.call_later(bug),
        lambda node: node.call_next(bug),
        lambda node: node.set_timer(0.01, bug),
        lambda node: node.set_interval(0.01, bug),
        lambda node: node.run_worker(bug, thread=True, exit_on_error=False),
        lambda node: node.run_worker(bug, thread=True),
    ],
    ids=["after refresh", "later", "next", "timer", "interval", "worker", "worker that may exit"],
)
@pytest.mark.parametrize("where", ["app", "screen", "widget"])
async def test_a_bug_in_what_was_put_off(
    workspace: Workspace, logged: Path, where: str, start: Callable[[Any], object]
) -> None:
    """Also one that comes back a hundred times a second is told and logged once."""
    async with survived(workspace, logged) as (pilot, app):
        start({"app": app, "screen": app.screen, "widget": app.screen.query(ItemList).first()}[where])
        await until(pilot, logged.exists)
        for _ in range(10):
            await pilot.pause(0.01)


class Odd(Widget):
    """Fails wherever it is told to."""

    level = var(0)
    can_focus = True

    class Said(Message):
        """Bubbles to the screen."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.heard: list[str] = []

    def _at(self, where: str) -> None:
        self.heard.append(where)
        if self.where == where:
            bug()

    def compose(self) -> ComposeResult:
        self._at("compose")
        yield Widget()

    def on_mount(self) -> None:
        self._at("mount")

    def watch_level(self) -> None:
        self._at("watch")

    def on_resize(self) -> None:
        self._at("resize")

    def on_key(self) -> None:
        self._at("key")

    def on_odd_said(self) -> None:
        self._at("message")

    def on_unmount(self) -> None:
        self._at("unmount")

    def render_line(self, y: int) -> Strip:
        self._at("line")
        return Strip.blank(self.size.width)

    def get_content_height(self, *_: object) -> int:
        self._at("height")
        return 3


@pytest.mark.parametrize(
    "where", ["compose", "mount", "watch", "resize", "key", "message", "unmount", "line", "height"]
)
async def test_a_bug_in_a_widget(workspace: Workspace, logged: Path, where: str) -> None:
    """Whatever of it fails, it still gets keys and messages, and it can be taken away."""
    async with survived(workspace, logged) as (pilot, app):
        odd = Odd(where)
        odd.styles.height = "auto"
        screen = app.screen
        await screen.mount(odd)
        odd.focus()
        await pilot.pause()
        await pilot.press("f7", "f8")
        odd.post_message(Odd.Said())
        await until(pilot, lambda: odd.heard.count("key") == 2 and "message" in odd.heard)
        await odd.remove()
        assert "unmount" in odd.heard


async def test_a_bug_does_not_keep_a_message_from_those_above(
    workspace: Workspace, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widget's own handler fails; the screen's still gets the message."""
    got: list[Message] = []
    monkeypatch.setattr(DatasetScreen, "on_odd_said", lambda self, event: got.append(event), raising=False)
    async with survived(workspace, logged) as (pilot, app):
        odd = Odd("message")
        await app.screen.mount(odd)
        odd.post_message(Odd.Said())
        await until(pilot, lambda: len(got) == 1)


async def test_a_user_error_in_a_handler_is_told_only(
    workspace: Workspace, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the user can act on is no bug, wherever it comes from."""

    def full(self: Screen[None], event: events.Key) -> None:
        raise UserError("The disk is full", "Free some space.")

    monkeypatch.setattr(DatasetScreen, "on_key", full, raising=False)
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await pilot.press("x")
        await until(pilot, lambda: toasts(app) == ["The disk is full\nFree some space."])
        assert not logged.exists()


async def test_a_bug_before_the_first_frame_ends_the_app(
    workspace: Workspace, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to stay up for: status 1, and the traceback in the log as well."""
    monkeypatch.setattr(DatasetScreen, "__init__", bug)
    app = app_on(workspace)
    with pytest.raises(ZeroDivisionError):
        async with app.run_test():
            pass
    assert app.return_code == 1
    assert "a bug of ours" in logged.read_text("utf-8")


async def test_a_bug_after_a_write_does_not_keep_the_next_waiting(workspace: Workspace, logged: Path) -> None:
    """Each job is done once, in order, though what follows the first one fails."""
    done: list[int] = []
    async with survived(workspace, logged) as (pilot, app):
        app.writer.submit(lambda: done.append(1), bug, app.report)
        app.writer.submit(lambda: done.append(2), None, app.report)
        await until(pilot, lambda: not app.writer.pending)
        app.writer.submit(lambda: done.append(3), None, app.report)
        await until(pilot, lambda: done == [1, 2, 3])
