"""The Dataset screen on small real datasets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from textual.widgets import Input

from core.dataset.marks import read_reviewed
from core.runs.model import RunState
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui.screens.dataset import DatasetScreen
from tui.screens.importing import ImportDialog
from tui.widgets.image_view import ImageView
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line, Lines


def names(app) -> list[str]:  # type: ignore[no-untyped-def]
    return [row.name for row in app.collection.shown]


async def test_the_images_are_listed_with_what_is_known(workspace: Workspace) -> None:
    """Natural order, sizes, counts; the title says how many have no caption."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(150, 40)) as pilot:
        await ready(pilot, app)
        assert names(app) == ["rinni_1.png", "rinni_2.png", "rinni_3.png", "rinni_4.png", "rinni_10.png"]
        screen = app.screen
        assert isinstance(screen, DatasetScreen)
        assert "5 images · 1 uncaptioned" in screen.query_one("#where", Line).plain
        line = screen.images.render_line(0).text
        assert "rinni_1.png" in line and "64×96" in line and "4 tags" in line and "rinni, 1girl, solo, smile" in line
        assert "no caption" in screen.images.render_line(2).text


async def test_the_panel_follows_the_cursor(workspace: Workspace) -> None:
    """The picture and the facts are those of the image under the cursor."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("j")
        facts = app.screen.query_one("#facts", Lines)
        await until(pilot, lambda: "rinni_2.png" in facts.plain and "/75 tokens" in facts.plain)
        view = app.screen.query_one(ImageView)
        await until(pilot, lambda: view.source is not None and view.source.name == "rinni_2.png")
        assert "3 tags" in facts.plain


async def test_the_filter_follows_the_typing(workspace: Workspace) -> None:
    """Enter keeps it, Esc gives the old list back, an error leaves the list as it was."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("slash", *"solo")
        await until(pilot, lambda: names(app) == ["rinni_1.png", "rinni_10.png"])
        await pilot.press("enter")
        await until(pilot, lambda: not app.screen.query(Input))
        assert "2 of 5" in app.screen.query_one("#where", Line).plain
        await pilot.press("slash")
        app.screen.query_one(Input).value = "solo is:nonsense"
        await pilot.press("enter")
        below = app.screen.query_one("#filter-bar Lines", Lines)
        await until(pilot, lambda: "(column 6)" in below.plain)
        assert below.plain.split("\n")[0] == "      ^" and len(names(app)) == 2 and not toasts(app)
        await pilot.press("escape")
        await until(pilot, lambda: not app.screen.query(Input))
        assert app.collection.query == "solo" and len(names(app)) == 2
        await pilot.press("escape")
        await until(pilot, lambda: len(names(app)) == 5)


async def test_marks_and_reviewed_marks_stay(workspace: Workspace) -> None:
    """Space marks; `m` marks the marked ones as reviewed, also for the next start."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("space", "space", "m")
        await ready(pilot, app)
        assert "2 marked" in app.screen.query_one("#where", Line).plain
    assert sorted(read_reviewed(workspace)) == [f"train_data/rinni/10_rinni/rinni_{number}.png" for number in (1, 2)]


async def test_the_trash_can_be_undone(workspace: Workspace) -> None:
    """`D` asks, moves image and caption out of the dataset, and `u` brings both back."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.focused, ItemList) and len(app.focused.rows) == 2)
        await pilot.press("enter")
        await until(pilot, lambda: not (folder / "rinni_1.png").exists() and not (folder / "rinni_1.txt").exists())
        await ready(pilot, app)
        assert "rinni_1.png" not in names(app)
        await pilot.press("u")
        await until(pilot, lambda: (folder / "rinni_1.txt").exists() and "rinni_1.png" in names(app))
        assert "undone: move 1 image to the trash" in toasts(app)


async def test_what_a_run_reads_is_not_trashed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`D` while a training goes on names the run; the image is in the list again."""
    from core.runs import in_use

    folder = make_dataset(workspace)
    spec = SimpleNamespace(dataset="rinni")
    run = SimpleNamespace(id="20260101-rinni", state=RunState.RUNNING, spec=spec)
    monkeypatch.setattr(in_use, "list_runs", lambda _: [run])
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.focused, ItemList) and len(app.focused.rows) == 2)
        await pilot.press("enter")
        await until(pilot, lambda: any("20260101-rinni is using rinni" in text for text in toasts(app)))
        await ready(pilot, app)
        assert (folder / "rinni_1.png").exists() and "rinni_1.png" in names(app)


async def test_broken_files_are_problems_and_nothing_more(workspace: Workspace) -> None:
    """A text file named .png and a caption in another encoding are shown with their remedies."""
    folder = make_dataset(workspace)
    (folder / "fake.png").write_text("no picture")
    (folder / "rinni_1.txt").write_bytes("猫".encode("cp932"))
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        assert isinstance(app.screen, DatasetScreen)
        assert {problem.code for problem in app.screen.problems()} == {"KT141", "KT142"}
        view = app.screen.query_one(ImageView)
        await until(pilot, lambda: "fake.png" in view.text)
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)


async def test_what_is_uncaptioned_is_the_same_everywhere(workspace: Workspace) -> None:
    """An empty caption counts, one in another encoding does not: Dataset says what Tag says."""
    from core.dataset.scan import open_dataset

    folder = make_dataset(workspace)
    (folder / "rinni_1.txt").write_bytes("猫".encode("cp932"))
    (folder / "rinni_2.txt").write_text("")
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        assert "2 uncaptioned" in app.screen.query_one("#where", Line).plain
        assert open_dataset(workspace, "rinni").uncaptioned == 2


async def test_names_with_markup_and_escapes_are_only_text(workspace: Workspace) -> None:
    """What somebody wrote into a name or caption reaches no terminal as more than text."""
    make_dataset(workspace, captions={"[red]x\x1b[31m.png": "[bold]tag\x1b]0;title\x07, b"})
    app = app_on(workspace)
    async with app.run_test(size=(150, 40)) as pilot:
        await ready(pilot, app)
        assert isinstance(app.screen, DatasetScreen)
        line = app.screen.images.render_line(0).text
        assert "[red]x" in line and "\x1b" not in line and "[bold]tag, b" in line


async def test_an_import_from_the_keyboard(tmp_path: Path) -> None:
    """First run: import, name the folder, see the plan, bring it in; the images are listed."""
    source = tmp_path / "10_mika"
    source.mkdir()
    Image.new("RGB", (64, 64)).save(source / "a.png")
    (source / "a.txt").write_text("mika, solo")
    (source / "b.png").write_text("no picture")
    place = tmp_path / "new"
    place.mkdir()
    app = app_on(None)
    app.start_folder = place
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ImportDialog) and isinstance(app.focused, Input))
        dialog = app.screen
        dialog.query_one("#source", Input).value = str(source)
        await pilot.press("enter")
        await until(pilot, lambda: "1 image" in dialog.query_one("#plan", Lines).plain)
        assert "b.png" in dialog.query_one("#plan", Lines).plain
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not dialog)
        await ready(pilot, app)
        assert names(app) == ["a.png"] and app.active_dataset == "mika"
        assert (place / "train_data/mika/10_mika/a.txt").read_text() == "mika, solo"
        assert (place / "kohya-tui.toml").exists()


async def test_pictures_can_be_hidden(workspace: Workspace) -> None:
    """`H`: a quiet line in place of the picture, here and everywhere."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("H")
        view = app.screen.query_one(ImageView)
        await until(pilot, lambda: "hidden" in view.text)


async def test_a_narrow_terminal_folds_the_panels(workspace: Workspace) -> None:
    """At 80 columns tab brings the datasets, then the picture; Esc folds them again."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        tree, side = app.screen.query_one("#tree"), app.screen.query_one("#side")
        assert not tree.display and not side.display
        await pilot.press("tab")
        await until(pilot, lambda: tree.display)
        await pilot.press("tab")
        await until(pilot, lambda: side.display and not tree.display)
        await pilot.press("escape")
        await until(pilot, lambda: not side.display)


async def test_a_plan_follows_the_name_and_the_way(tmp_path: Path) -> None:
    """The plan stays in sight while name and way change, a dot shows the way, a mistake keeps what was typed."""
    source = tmp_path / "10_mika"
    source.mkdir()
    Image.new("RGB", (64, 64)).save(source / "a.png")
    app = app_on(None)
    app.start_folder = tmp_path
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ImportDialog) and isinstance(app.focused, Input))
        dialog = app.screen
        field, plan = dialog.query_one("#source", Input), dialog.query_one("#plan", Lines)
        field.value = str(tmp_path / "nowhere")
        await pilot.press("enter")
        await until(pilot, lambda: "nowhere" in str(dialog.query_one("#wrong").render()))
        assert app.screen is dialog and field.value == str(tmp_path / "nowhere")
        field.value = str(source)
        await pilot.press("enter")
        await until(pilot, lambda: "train_data/mika/10_mika" in plan.plain)
        await pilot.press("tab", *"rinni")
        assert "train_data/mika/10_mika" in plan.plain
        await until(pilot, lambda: "train_data/rinni/10_rinni" in plan.plain)
        await pilot.press("tab", "tab", "j", "j")
        ways = dialog.query_one("#mode", ItemList)
        assert ["●" in ways.render_line(row).text for row in range(3)] == [False, False, True]
        await until(pilot, lambda: dialog._plan is not None and dialog._plan.mode == "move")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not dialog)
        assert (tmp_path / "train_data/rinni/10_rinni/a.png").exists() and not (source / "a.png").exists()


async def test_enter_on_a_problem_goes_to_its_image(workspace: Workspace) -> None:
    """`!` lists file names with what is wrong; Enter puts the cursor on the file, also when a filter hides it."""
    folder = make_dataset(workspace)
    (folder / "rinni_4.txt").write_bytes("猫".encode("cp932"))
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        app.collection.choose("solo")
        app.collection_signal.publish("rows")
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        line = app.screen.query_one(ItemList).render_line(0).text
        assert "rinni_4.png  " in line and "train_data" not in line
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen))
        images = app.screen.query_one("#images", ItemList)
        await until(pilot, lambda: app.collection.shown[images.cursor].name == "rinni_4.png")


async def test_a_grown_terminal_shows_the_picture(workspace: Workspace) -> None:
    """The side panel that gets room is filled without a key."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        view = app.screen.query_one(ImageView)
        assert view.source is None
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: view.source is not None and view.source.name == "rinni_1.png")
        await until(pilot, lambda: "rinni_1.png" in app.screen.query_one("#facts", Lines).plain)


async def test_the_filter_line_completes_words(workspace: Workspace) -> None:
    """Prefixes and tags are listed while typing; tab takes the first, arrows and Enter another one."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("slash", *"tag:blu")
        offers = app.screen.query_one("#filter-bar Lines", Lines)
        await until(pilot, lambda: "blue eyes" in offers.plain)
        await pilot.press("tab")
        field = app.screen.query_one(Input)
        assert field.value == "tag:blue_eyes"
        await until(pilot, lambda: names(app) == ["rinni_4.png"])
        field.value = ""
        await pilot.press(*"is:")
        await until(pilot, lambda: "reviewed" in offers.plain)
        await pilot.press("down", "enter")
        assert field.value == "is:untagged" and app.screen.query(Input)
        await pilot.press("enter")
        await until(pilot, lambda: not app.screen.query(Input) and names(app) == ["rinni_3.png"])


async def test_a_filter_is_saved_from_the_palette(workspace: Workspace) -> None:
    """Named once, it is used as saved:NAME, also tomorrow and in the commands."""
    from core.dataset import saved_filters
    from tui import saving_filters
    from tui.screens.dialogs import Ask

    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("slash", *"smile", "enter")
        await until(pilot, lambda: names(app) == ["rinni_1.png"])
        await saving_filters.save(app)
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press(*"happy", "enter")
        await until(pilot, lambda: saved_filters.load(workspace) == {"happy": "smile"})
        app.collection.choose("")
        await saving_filters.use(app, "happy")
        await until(pilot, lambda: names(app) == ["rinni_1.png"] and app.collection.query == "saved:happy")
        await saving_filters.forget(app, "happy")
        await until(pilot, lambda: saved_filters.load(workspace) == {})


async def test_a_question_without_an_answer_leaves_the_list(workspace: Workspace) -> None:
    """score() without stored scores: a sentence, and the list as it was."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("slash")
        app.screen.query_one(Input).value = "score(smile):>0.5"
        await pilot.press("enter")
        below = app.screen.query_one("#filter-bar Lines", Lines)
        await until(pilot, lambda: "no stored scores" in below.plain)
        assert len(names(app)) == 5 and app.collection.query == ""


async def test_a_folder_that_disappears_is_told(workspace: Workspace) -> None:
    """What is known of it stays in sight until another dataset is opened."""
    from tui import opening

    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        folder.parent.rename(workspace.root / "elsewhere")
        opening.reload(app)
        await until(pilot, lambda: toasts(app) != [])
        assert "There is no dataset" in toasts(app)[0] and len(names(app)) == 5


async def test_f5_finds_what_others_brought_in(workspace: Workspace) -> None:
    """An image that a download put there while the app is open, and one that is gone; a mark stays on its image."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("j", "space")
        (folder / "rinni_1.png").rename(folder / "rinni_5.png")
        await pilot.press("f5")
        names = ["rinni_2.png", "rinni_3.png", "rinni_4.png", "rinni_5.png", "rinni_10.png"]
        await until(pilot, lambda: app.collection is not None and app.collection.index.names == names)
        assert app.collection is not None
        assert [row.name for row in app.collection.marked_rows()] == ["rinni_2.png"]
