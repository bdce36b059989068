"""The Review screen: each key is an edit on disk that can be undone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from textual.widgets import Input, TextArea

from core.dataset.chunks import Chunk
from core.dataset.marks import read_reviewed
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui import opening
from tui.collection import Collection
from tui.screens.dialogs import Choose
from tui.screens.review import ReviewScreen
from tui.widgets.line import Line, Lines
from tui.widgets.tag_input import TagInput


async def review(pilot, app) -> ReviewScreen:  # type: ignore[no-untyped-def]
    await ready(pilot, app)
    await pilot.press("3")
    await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._row is not None)
    return app.screen


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["j", "x"], "rinni, solo, smile"),
        (["G", "k", "f"], "smile, rinni, 1girl, solo"),
        (["J"], "1girl, rinni, solo, smile"),
        (["j", "K"], "1girl, rinni, solo, smile"),
        (["a", *"blush", "enter", "escape"], "rinni, 1girl, solo, smile, blush"),
        (["a", *"a_b,c", "enter", "escape"], "rinni, 1girl, solo, smile, a_b, c"),
        (["r", *"s", "enter"], "rinnis, 1girl, solo, smile"),
        (["t", "1", "escape"], "rinni, 1girl, solo"),
        (["t", "2", "escape"], "rinni, 1girl, solo, smile, open mouth"),
        (["E", *", x", "escape"], "rinni, 1girl, solo, smile, x"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_a_key_edits_and_undo_brings_it_back(workspace: Workspace, keys: list[str], text: str) -> None:
    """The caption on disk is another one after the key, and the old bytes come back with `u`, the new ones with `U`."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    before = caption.read_bytes()
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await review(pilot, app)
        for key in keys:
            await pilot.press({",": "comma", " ": "space", "_": "underscore"}.get(key, key))
            await pilot.pause()
        await until(pilot, lambda: caption.read_text("utf-8") == text)
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: caption.read_bytes() == before)
        await ready(pilot, app)
        assert app.collection is not None and app.collection.shown[0].caption == before.decode()
        await pilot.press("U")
        await until(pilot, lambda: caption.read_text("utf-8") == text)


async def test_nothing_is_written_where_the_images_were(workspace: Workspace) -> None:
    """The disk with the images was taken away while the app is open: told, and no folder is made in its place."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await review(pilot, app)
        folder.parent.rename(workspace.root / "unplugged")
        await pilot.press("a", *"new", "enter", "escape")
        await until(pilot, lambda: any("is gone" in text for text in toasts(app)))
        await ready(pilot, app)
        assert not folder.parent.exists()
        (workspace.root / "unplugged").rename(folder.parent)
        assert (folder / "rinni_1.txt").read_text("utf-8") == "rinni, 1girl, solo, smile"


async def test_the_cursor_stays_where_the_hand_is(workspace: Workspace) -> None:
    """After a removal the next tag is under the cursor; a moved tag takes the cursor along."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("j", "x")
        await ready(pilot, app)
        assert screen._row is not None and screen._row.tags[screen.tags.place or 0] == "solo"
        await pilot.press("J")
        await ready(pilot, app)
        assert screen._row.tags[screen.tags.place or 0] == "solo" and screen.tags.place == 2


async def test_the_cursor_waits_on_the_first_tag(workspace: Workspace) -> None:
    """Opened before the image was read: the first key goes to its first tag, not to the line that adds one."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        row = screen._row
        assert row is not None
        by_name = Collection(workspace, "rinni")
        for piece in by_name.pieces():
            if not isinstance(piece, Chunk):
                by_name.add(piece)
        assert not by_name.row(0).is_read and by_name.row(0).name == row.name
        screen.side.show(by_name.row(0))
        screen.side.take(row)
        assert screen.side.tags.place == 0


async def test_going_through_the_images(workspace: Workspace) -> None:
    """`l h` step, `]` finds the one without tags, `"` takes the tags of the one before, `m` marks it and goes on."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("l", "l", "h")
        assert screen._row is not None and screen._row.name == "rinni_2.png"
        await pilot.press("right_square_bracket")
        assert screen._row.name == "rinni_3.png"
        await pilot.press("quotation_mark", "m")
        await until(pilot, lambda: (folder / "rinni_3.txt").exists())
        await ready(pilot, app)
        assert (folder / "rinni_3.txt").read_text() == "rinni, 1girl, open mouth"
        assert screen._row.name == "rinni_4.png"
        assert read_reviewed(workspace) == {"train_data/rinni/10_rinni/rinni_3.png"}
        assert "4 of 5" in screen.query_one("#where", Line).plain and "[4]" in screen.query_one("#film", Line).plain


async def test_enter_in_dataset_opens_the_same_image(workspace: Workspace) -> None:
    """And Esc goes back to the list, at the image where Review was."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen) and app.screen._row is not None)
        assert isinstance(app.screen, ReviewScreen) and app.screen._row is not None
        assert app.screen._row.name == "rinni_2.png"
        await pilot.press("l", "escape")
        await until(pilot, lambda: app.current_mode == "dataset")
        await until(pilot, lambda: app.screen.query_one("#images").cursor == 2)


async def test_somebody_else_changed_the_file(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both versions are shown; keeping theirs changes nothing, writing mine can be undone to theirs."""
    monkeypatch.setattr(opening, "look_again", lambda *_: None)  # the change is made in the same moment
    caption = make_dataset(workspace) / "rinni_1.txt"
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        caption.write_text("rinni, theirs", "utf-8")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert caption.read_text() == "rinni, theirs"
        assert screen._row is not None and screen._row.tags == ("rinni", "theirs")
        caption.write_text("rinni, again", "utf-8")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("j", "enter")
        await until(pilot, lambda: caption.read_text() == "theirs")
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: caption.read_text() == "rinni, again")


async def test_a_change_can_be_done_on_theirs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third choice keeps what they wrote and does what the key did."""
    monkeypatch.setattr(opening, "look_again", lambda *_: None)
    caption = make_dataset(workspace) / "rinni_1.txt"
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        caption.write_text("rinni, 1girl, theirs", "utf-8")
        await pilot.press("j", "x")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("G", "enter")
        await until(pilot, lambda: caption.read_text() == "rinni, theirs")
        await ready(pilot, app)
        assert screen._row is not None and screen._row.tags == ("rinni", "theirs")
        await pilot.press("u")
        await until(pilot, lambda: caption.read_text() == "rinni, 1girl, theirs")


async def test_what_others_write_is_shown(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caption that another program changes, makes or removes is on the screen shortly after, in Dataset too."""
    monkeypatch.setattr("tui.screens.review.LOOK_EVERY", 0.05)
    monkeypatch.setattr("tui.screens.dataset.LOOK_EVERY", 0.05)
    caption = make_dataset(workspace) / "rinni_1.txt"
    app = app_on(workspace)
    async with app.run_test(size=(150, 40)) as pilot:
        await ready(pilot, app)
        caption.write_text("rinni, first", "utf-8")
        await until(pilot, lambda: "rinni, first" in app.screen.query_one("#images").render_line(0).text)
        screen = await review(pilot, app)
        caption.write_text("rinni, second", "utf-8")
        await until(pilot, lambda: screen._row is not None and screen._row.tags == ("rinni", "second"))
        caption.unlink()
        await until(pilot, lambda: screen._row is not None and screen._row.caption is None)


async def test_a_folder_that_disappears_is_told_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it stays in sight; when it is there again, what others wrote meanwhile is shown."""
    monkeypatch.setattr("tui.screens.dataset.LOOK_EVERY", 0.05)
    caption = make_dataset(workspace) / "rinni_1.txt"
    app, away = app_on(workspace), workspace.root / "away"
    async with app.run_test(size=(150, 40)) as pilot:
        await ready(pilot, app)
        (workspace.train_data / "rinni").rename(away)
        await until(pilot, lambda: any(f"{caption.parent} is gone" in text for text in toasts(app)))
        await pilot.press("j", "k")
        assert app.collection is not None
        row = app.collection.rows[0]
        assert row.caption == "rinni, 1girl, solo, smile"
        away.rename(workspace.train_data / "rinni")
        caption.write_text("rinni, back", "utf-8")
        await until(pilot, lambda: row.caption == "rinni, back")
        assert sum("is gone" in text for text in toasts(app)) == 1


async def test_a_failed_write_restores_the_view(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the tag is back, the reason is told, and the file is as it was."""
    from core.dataset import edits
    from core.problems import UserError

    caption = make_dataset(workspace) / "rinni_1.txt"
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)

        def full(*_: object, **__: object) -> None:
            raise UserError(f"Cannot write {caption}: No space left on device", "Free some space.")

        monkeypatch.setattr(edits.Journal, "apply", full)
        await pilot.press("x")
        await until(pilot, lambda: any("No space left" in text for text in toasts(app)))
        assert screen._row is not None and screen._row.tags == ("rinni", "1girl", "solo", "smile")
        assert caption.read_text() == "rinni, 1girl, solo, smile"


async def test_the_other_lines_and_the_mark_of_a_file_stay(workspace: Workspace) -> None:
    """A byte order mark, Windows line ends and a second line survive an edit of the tags."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    caption.write_bytes(b"\xef\xbb\xbfrinni, 1girl\r\nA second line.\r\n")
    caption.chmod(0o640)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await review(pilot, app)
        await pilot.press("x")
        await until(pilot, lambda: caption.read_bytes() == b"\xef\xbb\xbf1girl\r\nA second line.\r\n")
        assert stat.S_IMODE(caption.stat().st_mode) == 0o640


async def test_a_caption_that_is_no_text_is_never_overwritten(workspace: Workspace) -> None:
    """Its error stands there with the remedy, and the bytes stay."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    caption.write_bytes("猫".encode("cp932"))
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        assert "not UTF-8" in screen.query_one("#below", Lines).plain
        await pilot.press("a", *"cat", "enter")
        await until(pilot, lambda: toasts(app) != [])
        assert caption.read_bytes() == "猫".encode("cp932")


async def test_a_caption_in_another_encoding_is_mended_with_one_key(workspace: Workspace) -> None:
    """`F` shows how it reads in each, saves the chosen one as UTF-8, and `u` brings the old bytes back."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    caption.write_bytes("rinni, café".encode("cp1252"))
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        assert "F saves it as UTF-8" in screen.query_one("#below", Lines).plain
        await pilot.press("F")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: caption.read_bytes() == "rinni, café".encode())
        await until(pilot, lambda: screen._row is not None and screen._row.tags == ("rinni", "café"))
        await ready(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: caption.read_bytes() == "rinni, café".encode("cp1252"))
        await until(pilot, lambda: screen._row is not None and screen._row.error is not None)


async def test_an_added_tag_is_in_sight(workspace: Workspace) -> None:
    """Also in a long caption: the list goes to it."""
    make_dataset(workspace, captions={"a.png": ", ".join(f"tag{number}" for number in range(60))})
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("a", *"blush", "enter")
        await until(pilot, lambda: screen._row is not None and screen._row.tags[-1:] == ("blush",))
        await until(pilot, lambda: screen.tags.tag_rows.row_of(60) in screen.tags.visible_rows())


async def test_a_slim_terminal_has_no_picture(workspace: Workspace) -> None:
    """At 40 columns the tags have the whole width."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(40, 12)) as pilot:
        screen = await review(pilot, app)
        await until(pilot, lambda: not screen.picture.display and screen.query_one("#side").size.width == 40)


async def test_the_keep_tokens_bar_comes_from_the_config(workspace: Workspace) -> None:
    """After as many tags as the config keeps; the cursor steps over it."""
    make_dataset(workspace)
    folder: Path = workspace.configs / "one"
    folder.mkdir()
    (folder / "dataset.toml").write_text(
        '[general]\nkeep_tokens = 2\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = "train_data/rinni/10_rinni"\n'
    )
    app = app_on(workspace, trigger="rinni")
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await until(pilot, lambda: screen.tags.tag_rows.bar_at == 2)
        assert "keep_tokens" in screen.tags.render_line(2).text
        assert "trigger" in screen.tags.render_line(0).text
        await pilot.press("j", "j")
        assert screen.tags.place == 2 and screen.tags.cursor == 3


CONFIG = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "train_data/rinni/10_rinni"\nkeep_tokens = 1\n'


@pytest.mark.parametrize(
    ("train", "bars", "below"),
    [
        (None, ["75 tokens", "150 tokens", "225 tokens: the rest is cut"], "296/300 tokens"),
        ("", ["keep_tokens", "75 tokens: the rest is cut"], "296/75 tokens"),
        ("max_token_length = 150\n", ["keep_tokens", "150 tokens: the rest is cut"], "296/150 tokens"),
        ("# script: flux_train_network.py\n", ["keep_tokens"], "tokens n/a (no CLIP)"),
    ],
)
async def test_the_place_of_the_cut(workspace: Workspace, train: str | None, bars: list[str], below: str) -> None:
    """A bar stands where the tokens of the config end; without a config where a chunk does, and after 225 of them."""
    make_dataset(workspace, captions={"a.png": ", ".join(["cat dog cat dog cat dog cat dog"] * 33)})
    if train is not None:
        (workspace.configs / "one").mkdir()
        (workspace.configs / "one" / "dataset.toml").write_text(CONFIG)
        (workspace.configs / "one" / "train.toml").write_text(train)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        rows = screen.tags.tag_rows
        await until(pilot, lambda: [text for _, text, _ in rows.bars] == bars and below in screen.side.below.plain)
        found = {text: place for place, text, _ in rows.bars}
        for text, place in found.items():  # a tag takes eight tokens and its comma, the last one has none
            if text != "keep_tokens":
                assert place == int(text.split()[0]) // 9 and (place + 1) * 9 > int(text.split()[0])
        await pilot.press(*["j"] * (len(rows.tags) - 1))
        assert screen.tags.place == len(rows.tags) - 1, "the cursor steps over all bars"


async def test_suggestions_of_the_tagger_are_one_key_away(workspace: Workspace) -> None:
    """`a` lists what the tagger saw and the caption lacks; nothing is taken without a choice."""
    folder = make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await pilot.pause(0.3)
        screen.side._suggested = [("blush", 0.33), ("wet", 0.31)]
        await pilot.press("a")
        await until(pilot, lambda: bool(screen.query(TagInput)))
        lines = screen.query_one(TagInput).query_one(Lines)
        await until(
            pilot, lambda: [line.split() for line in lines.plain.splitlines()] == [["blush", "0.33"], ["wet", "0.31"]]
        )
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: (folder / "rinni_1.txt").read_text() == "rinni, 1girl, solo, smile, wet")
        await pilot.press("enter")
        await until(pilot, lambda: not screen.query(TagInput))


async def test_letters_are_letters_in_a_text_field(workspace: Workspace) -> None:
    """While a tag is typed no letter acts as a key, and digits do not change the mode."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("a", *"qu1x")
        assert screen.query_one(Input).value == "qu1x" and app.screen is screen


async def test_completion_while_a_tag_is_typed(workspace: Workspace, tmp_path: Path) -> None:
    """Tags of the dataset first with their counts, then those of the user's list, by an alias too; arrows choose."""
    folder = make_dataset(workspace)
    tags = tmp_path / "danbooru.csv"
    tags.write_text('smirk,0,24000,"smug_smile"\n1girl,0,6008644,"sole_female"\n', "utf-8")
    app = app_on(workspace, tag_csv=tags)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("l", "a", *"smi")
        field = screen.query_one(TagInput)
        await until(pilot, lambda: "smile" in field.query_one(Lines).plain)
        first, second = field.query_one(Lines).plain.splitlines()
        assert first.split() == ["smile", "g", "1"] and second.split() == ["smirk", "g", "24.0k"]
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: (folder / "rinni_2.txt").read_text() == "rinni, 1girl, open mouth, smirk")
        await pilot.press(*"sole")
        assert field.query_one(Lines).plain == "", "1girl is in the caption already"
        await pilot.press("escape", "l", "a", *"sole_f")
        await until(pilot, lambda: "1girl ← sole female" in screen.query_one(TagInput).query_one(Lines).plain)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: (folder / "rinni_3.txt").exists())
        assert (folder / "rinni_3.txt").read_text() == "1girl"


async def test_the_keys_work_in_zoom_and_after_it(workspace: Workspace) -> None:
    """`z` shows the picture alone: a tag can be removed there, and `z` again gives the cursor back to the tags."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("z")
        await until(pilot, lambda: not screen.query_one("#side").display)
        await pilot.press("x")
        await until(pilot, lambda: screen._row is not None and screen._row.tags == ("1girl", "solo", "smile"))
        await pilot.press("z")
        await until(pilot, lambda: screen.tags.has_focus)
        await pilot.press("j")
        await until(pilot, lambda: screen.tags.cursor == 1)


async def test_all_quick_tags_are_in_sight_on_a_narrow_screen(workspace: Workspace) -> None:
    """Nine of them take more lines at 80 columns, none is cut; an underscored caption gets underscored tags."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    caption.write_text("1girl, long_hair")
    tags = ("looking at viewer", "open mouth", "closed eyes", "from behind", "upper body", "blush", "a", "b", "solo")
    app = app_on(workspace, quick_tags=tags)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await review(pilot, app)
        await pilot.press("t")
        below = screen.query_one("#below", Lines)
        await until(pilot, lambda: below.size.height > 3)
        shown = [below.render_line(y).text for y in range(below.size.height)]
        assert all(f"{digit} {tag}" in "".join(shown) for digit, tag in enumerate(tags, 1))
        await pilot.press("2")
        await until(pilot, lambda: caption.read_text() == "1girl, long_hair, open_mouth")
        await pilot.press("escape")
        await until(pilot, lambda: below.size.height == 3)


async def test_no_field_sends_what_a_caption_brought_along(workspace: Workspace) -> None:
    """A caption that would set the terminal's title is edited as a text, and as a tag, without doing so."""
    caption = make_dataset(workspace) / "rinni_1.txt"
    caption.write_text("\x1b]0;title\x07rinni, a\u202eb")
    app = app_on(workspace)

    def drawn() -> str:
        return "".join(strip.text for strip in app.screen._compositor.render_strips())

    async with app.run_test(size=(120, 40)) as pilot:
        screen = await review(pilot, app)
        for key, field in (("E", TextArea), ("r", Input)):
            await pilot.press(key)
            await until(pilot, lambda field=field: bool(app.screen.query(field)) and "�]0;title" in drawn())  # type: ignore[misc]
            assert not set("\x1b\x07\u202e").intersection(drawn())
            assert {strip.cell_length for strip in app.screen._compositor.render_strips()} == {120}
            await pilot.press("escape")
            await until(pilot, lambda field=field: app.screen is screen and not app.screen.query(field))  # type: ignore[misc]
        assert caption.read_text() == "\x1b]0;title\x07rinni, a\u202eb"
