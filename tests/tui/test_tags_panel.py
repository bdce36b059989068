"""The tags panel: what is in the captions, and what a trigger word should absorb."""

from __future__ import annotations

import pytest

from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui.screens.dialogs import Choose
from tui.screens.review import ReviewScreen
from tui.screens.tags import TagsScreen
from tui.widgets.line import Line, Lines

TRAITS = {f"{number:02}.png": "rinni, 1girl, blue eyes" + (", smile" if number % 2 else "") for number in range(10)}


async def panel(pilot, app) -> TagsScreen:  # type: ignore[no-untyped-def]
    await ready(pilot, app)
    await pilot.press("number_sign")
    await until(pilot, lambda: isinstance(app.screen, TagsScreen) and app.screen.counted is not None)
    return app.screen


async def test_every_tag_with_its_count(workspace: Workspace) -> None:
    """The most used first; the order can be another; spellings of one tag are one."""
    make_dataset(workspace, captions={"a.png": "rinni, Blue_Eyes", "b.png": "rinni, blue eyes", "c.png": "rinni"})
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await panel(pilot, app)
        assert [(row.tag, row.count) for row in screen.tags.rows.rows] == [("rinni", 3), ("Blue_Eyes", 2)]
        assert "2 tags in 3 captions" in screen.where.plain
        await pilot.press("j")
        await until(pilot, lambda: "together with" in screen.about.plain)
        assert "spelled Blue_Eyes, blue eyes" in screen.about.plain
        await pilot.press("o", "j", "j", "enter")
        await until(pilot, lambda: screen.tags.order == "name")
        assert [row.tag for row in screen.tags.rows.rows] == ["Blue_Eyes", "rinni"] and screen.tag == "Blue_Eyes"
        await pilot.press("number_sign")
        await until(pilot, lambda: app.screen is not screen)


async def test_enter_shows_the_images_that_have_it(workspace: Workspace) -> None:
    """In Dataset the list is filtered by the marked tags; `#` in Review goes to the first of them."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await panel(pilot, app)
        await pilot.press("slash", *"solo", "enter", "space", "escape", "slash", *"smile", "enter", "space", "enter")
        await until(pilot, lambda: app.screen is not screen)
        assert app.collection is not None
        assert [row.name for row in app.collection.shown] == ["rinni_1.png"]
        assert app.collection.query == "tag:solo tag:smile"
        await pilot.press("escape", "3")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._row is not None)
        screen = await panel(pilot, app)
        await pilot.press("slash", *"mouth", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._row.name == "rinni_2.png")


async def test_a_tag_is_removed_everywhere(workspace: Workspace) -> None:
    """First it is said how many captions change, with examples; one `u` brings all of them back."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await panel(pilot, app)
        await pilot.press("slash", *"1girl", "enter", "x")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        assert app.screen._title == "Remove 1girl in 3 captions?"
        assert "rinni_1.txt" in app.screen.query_one("#examples", Lines).plain
        await pilot.press("enter")
        await until(pilot, lambda: (folder / "rinni_4.txt").read_text() == "rinni, blue eyes")
        await until(pilot, lambda: screen.counted is not None and "1girl" not in screen.counted.keys)
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: (folder / "rinni_4.txt").read_text() == "rinni, 1girl, blue eyes")
        await until(pilot, lambda: screen.counted is not None and "1girl" in screen.counted.keys)


async def test_a_tag_is_renamed_everywhere(workspace: Workspace) -> None:
    """`r` asks for the other name; nothing happens before the yes."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await panel(pilot, app)
        await pilot.press("slash", *"smile", "enter", "r", *"s", "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        assert (folder / "rinni_1.txt").read_text() == "rinni, 1girl, solo, smile"
        await pilot.press("enter")
        await until(pilot, lambda: (folder / "rinni_1.txt").read_text() == "rinni, 1girl, solo, smiles")
        await until(pilot, lambda: app.screen is screen)


async def test_traits_are_absorbed_or_kept(workspace: Workspace) -> None:
    """`tab` shows what comes with the trigger word; `m` keeps a trait, for the gate too, `x` absorbs it; `u` undoes."""
    from core.dataset import kept_tags

    folder = make_dataset(workspace, captions=TRAITS)
    app = app_on(workspace, trigger="rinni")
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await panel(pilot, app)
        await pilot.press("slash", *"rinni", "enter", "space", "escape", "tab")
        await until(pilot, lambda: screen.on_traits and screen.traits.has_focus)
        assert "1 marked" in screen.where.plain, "in the other list: it is not meant here"
        verdict = screen.query_one("#verdict", Lines)
        assert "rinni is in 10 of 10 captions" in verdict.plain and "to decide: blue eyes" in verdict.plain
        while screen.tag != "blue eyes":
            await pilot.press("j")
        await until(pilot, lambda: "after removal rinni carries it" in screen.about.plain.replace("\n", " "))
        await pilot.press("m")
        await until(pilot, lambda: "no trait is left to decide" in verdict.plain)
        assert kept_tags.load(workspace, "rinni", "rinni") == {"blue eyes"}
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: "to decide: blue eyes" in verdict.plain)
        assert screen.tag == "blue eyes"
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: all("blue" not in file.read_text() for file in folder.glob("*.txt")))
        await until(pilot, lambda: "no trait is left to decide" in verdict.plain)
        await pilot.press("escape")
        assert not screen.on_traits


async def test_another_trigger_word(workspace: Workspace) -> None:
    """Without a setting the name of the dataset is taken when it is a tag; `E` takes another."""
    make_dataset(workspace, captions=TRAITS)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await panel(pilot, app)
        assert screen.counted is not None and screen.counted.trigger == "rinni"
        await pilot.press("E", *"smile", "enter")
        await until(pilot, lambda: screen.counted is not None and screen.counted.trigger == "smile")
        assert screen.on_traits and "smile is in 5 of 10" in screen.query_one("#verdict", Lines).plain


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (40, 12)])
async def test_there_is_room_at_every_size(workspace: Workspace, size: tuple[int, int]) -> None:
    """Tag, count and share are seen in narrow terminals too; what does not fit at the side is left out."""
    make_dataset(workspace, captions=TRAITS)
    app = app_on(workspace)
    async with app.run_test(size=size) as pilot:
        screen = await panel(pilot, app)
        await until(pilot, lambda: "rinni" in screen.tags.render_line(0).text + screen.tags.render_line(2).text)
        line = screen.tags.render_line(0).text
        assert "10" in line and "100 %" in line
        await pilot.press("tab")
        await until(pilot, lambda: "100 %" in screen.traits.render_line(1).text)


async def test_nothing_is_changed_while_captions_are_read(workspace: Workspace) -> None:
    """Everywhere is not known yet: it says so."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await panel(pilot, app)
        assert app.collection is not None
        app.collection.is_complete = False
        await pilot.press("x")
        await until(pilot, lambda: any("still being read" in text for text in toasts(app)))
        app.collection.is_complete = True
        assert "rinni" in (folder / "rinni_1.txt").read_text()


async def test_an_empty_dataset_has_no_tags(workspace: Workspace) -> None:
    """It says so."""
    make_dataset(workspace, captions={"a.png": None})
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await panel(pilot, app)
        await until(pilot, lambda: "no caption has a tag" in screen.tags.render_line(0).text)
        assert "0 tags" in screen.query_one("#where", Line).plain
        await pilot.press("x", "r", "enter", "tab", "m")
        assert app.screen is screen


async def test_a_plain_line_completes_tags_too(workspace: Workspace) -> None:
    """The batch dialog's line shows the rest of the likeliest tag; `right` takes it, behind a comma as well."""
    from tui.widgets.tag_input import Tags

    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        tags = Tags(app.vocabulary)
        await until(pilot, lambda: app.vocabulary.is_ready)
        assert await tags.get_suggestion("smile, op") == "smile, open mouth"
        assert await tags.get_suggestion("Op") == "Open mouth"
        assert await tags.get_suggestion("smile, ") is None and await tags.get_suggestion("") is None


async def test_the_gate_knows_what_was_kept_in_the_app(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """`kohya-tui tags --trigger` passes when the trait was kept with `m`."""
    from core.cli.main import main
    from core.dataset import kept_tags

    make_dataset(workspace, captions=TRAITS)
    command = ["--workspace", str(workspace.root), "tags", "rinni", "--trigger", "rinni"]
    assert main(command) == 1
    kept_tags.keep(workspace, "rinni", "rinni", "blue eyes")
    assert main(command) == 0
    assert "kept" in capsys.readouterr().out
