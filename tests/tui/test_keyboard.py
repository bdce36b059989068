"""Keys that come in one burst, as over a slow line: none is lost, and none that is typed acts as a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.widgets import Input, TextArea

from core.workspace import Workspace
from tests.tui.kit import CAPTIONS, app_on, make_dataset, ready, until
from tui.app import KohyaApp
from tui.screens.dialogs import Ask
from tui.screens.review import ReviewScreen

NAMED = {"⏎": "enter", "⎋": "escape"}


def type_at_once(app: KohyaApp, text: str) -> None:
    """All keys are there before the first is looked at."""
    for character in text:
        key = NAMED.get(character) or _character_to_key(character)
        app.post_message(events.Key(key, None if character in NAMED else character))


def caption(folder: Path, name: str) -> str:
    return (folder / name).with_suffix(".txt").read_text("utf-8")


async def test_a_filter_typed_in_one_burst_is_all_there(workspace: Workspace) -> None:
    """`/`, the words and Enter at once: the list shows what they mean, and no letter of them did a thing."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "/solo smile⏎")
        await until(pilot, lambda: app.collection is not None and app.collection.query == "solo smile")
        assert app.collection is not None
        assert [row.name for row in app.collection.shown] == ["rinni_1.png"]
        assert not app.collection.marked_count()
        await until(pilot, lambda: not app.screen.query("#filter"))


async def test_a_tag_typed_in_one_burst_is_added(workspace: Workspace) -> None:
    """`a`, a tag full of letters that are commands, Enter, Esc and then `l`: one tag more, and the next image."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "3axxjmrDt⏎⎋l")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen.side.row is not None)
        await ready(pilot, app)
        await until(pilot, lambda: app.review_item is not None and app.review_item.name == "rinni_2.png")
        assert caption(folder, "rinni_1.png") == f"{CAPTIONS['rinni_1.png']}, xxjmrDt"
        assert app.collection is not None
        assert not any(app.collection.reviewed)


async def test_a_rename_typed_in_one_burst(workspace: Workspace) -> None:
    """`r` opens the line with the tag in it; what follows is its end."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "3rxxx⏎")
        await until(pilot, lambda: caption(folder, "rinni_1.png").startswith("rinnixxx, 1girl"))


async def test_a_caption_typed_in_one_burst(workspace: Workspace) -> None:
    """`E` and a text: all of it is in the caption after Esc."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "3E, quick xx mm⎋")
        await until(pilot, lambda: caption(folder, "rinni_1.png") == f"{CAPTIONS['rinni_1.png']}, quick xx mm")
        assert not app.screen.query(TextArea)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("3/xmrD", "xmrD"),  # a dialog for the filter
        ("3Vxq", "rinnixq"),  # the visual checker asks for a tag
        ("#/xrm", "xrm"),  # the tags panel
        ("#Exrm", "xrm"),
        ("Mqq", "qq"),  # where to
        ("r57", "57"),  # repeats: what is there is marked, so that it goes
    ],
)
async def test_every_line_of_text_gets_what_is_typed_with_the_key_that_opens_it(
    workspace: Workspace, keys: str, value: str
) -> None:
    """Whatever opens a line: the letters behind its key stand in it."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, keys)
        field: Callable[[], list[str]] = lambda: [each.value for each in app.screen.query(Input)]  # noqa: E731
        await until(pilot, lambda: value in field())


async def test_what_follows_a_filter_is_done_to_its_matches(workspace: Workspace) -> None:
    """`/solo`, Enter, `A` at once marks the two matches, not all that was shown before."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "/solo⏎A")
        await until(pilot, lambda: app.collection is not None and app.collection.marked_count())
        assert app.collection is not None
        assert [row.name for row in app.collection.marked_rows()] == ["rinni_1.png", "rinni_10.png"]


async def test_a_batch_edit_typed_in_one_burst(workspace: Workspace) -> None:
    """`B`, Enter on the first operation, tags: they stand in its first field, through two dialogs one after another."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "B⏎xqjk")
        await until(pilot, lambda: "xqjk" in [each.value for each in app.screen.query(Input)])


async def test_what_is_pasted_waits_its_turn(workspace: Workspace) -> None:
    """`/` and a paste at once: it stands in the filter."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "/")
        app.post_message(events.Paste("tag:solo"))
        type_at_once(app, "⏎")
        await until(pilot, lambda: app.collection is not None and app.collection.query == "tag:solo")


async def test_a_key_after_a_dialog_is_closed_goes_to_what_lies_below(workspace: Workspace) -> None:
    """`/`, a word and Enter in Review, then `l` at once: the next of the matches."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        type_at_once(app, "3/solo⏎l")
        await until(pilot, lambda: app.review_item is not None and app.review_item.name == "rinni_10.png")
        assert not isinstance(app.screen, Ask)
