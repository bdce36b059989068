"""The Tag screen's preview: thresholds over stored scores, single tags, images, dry runs."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from textual.pilot import Pilot

from core.dataset.captions import split
from core.runs.model import RunState
from core.runs.store import list_runs
from core.tagging.results import TagResult
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, until
from tests.tui.test_tag_screen import TINY, go_to, opened, over
from tui.app import KohyaApp
from tui.screens.tag import TagScreen
from tui.screens.tag_form import GROUPS
from tui.screens.tag_progress import run_lines

pytest.importorskip("onnxruntime")
LOOSE: dict[str, str | None] = {f"rinni_{number}.png": None for number in range(3)}


async def tried(pilot: Pilot[None], app: KohyaApp, workspace: Workspace) -> TagScreen:
    """The screen after a dry run, with its answer."""
    screen = await opened(pilot, app)
    await pilot.press("d")
    await over(pilot, screen, workspace)
    await until(pilot, lambda: screen.answer is not None)
    return screen


def tiny(workspace: Workspace) -> KohyaApp:
    """An app with the small golden model and three pictures without captions."""
    shutil.copytree(TINY, workspace.models / "tiny")
    make_dataset(workspace, captions=LOOSE)
    return app_on(workspace, tagger="models/tiny")


def total(screen: TagScreen) -> int:
    assert screen.answer is not None
    return screen.answer.total


async def test_a_dry_run_makes_scores_and_writes_nothing(workspace: Workspace) -> None:
    """d: no caption appears; the line below says what R would write, and R then writes just that."""
    app = tiny(workspace)
    folder = workspace.train_data / "rinni" / "10_rinni"
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("tab")
        assert screen.form.display, "there is nothing to go to before the first run"
        await pilot.press("d")
        await over(pilot, screen, workspace)
        await until(pilot, lambda: screen.answer is not None)
        assert not list(folder.glob("*.txt"))
        assert "3 captions would change" in screen.progress.plain and "R writes them" in screen.progress.plain
        promised = total(screen)
        await pilot.press("R")
        await until(pilot, lambda: len(list_runs(workspace)) == 2)
        await over(pilot, screen, workspace)
        assert sum(len(split(path.read_text("utf-8"))) for path in folder.glob("*.txt")) == promised
        await until(pilot, lambda: screen.answer is not None and screen.answer.preview.captions == 0)


async def test_a_lower_threshold_shows_at_once_what_it_adds(workspace: Workspace) -> None:
    """After a run: the sums, the tags and `general 0.35 → 0.05`; Esc leads back, and looking writes nothing."""
    app = tiny(workspace)
    folder = workspace.train_data / "rinni" / "10_rinni"
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("R")
        await over(pilot, screen, workspace)
        before = {path: path.read_bytes() for path in folder.glob("*.txt")}
        await until(pilot, lambda: screen.answer is not None)
        await go_to(pilot, screen, "general")
        await pilot.press(*["left"] * 6)
        await until(pilot, lambda: screen.answer is not None and screen.answer.preview.added > 0)
        await pilot.press("tab")
        await until(pilot, lambda: screen.side.display and not screen.form.display)
        await until(pilot, lambda: "general 0.35 → 0.05" in screen.side.head.plain)
        assert "tags in 3 captions" in screen.side.head.plain
        await pilot.press("escape")
        assert screen.form.display and app.screen is screen
        assert {path: path.read_bytes() for path in folder.glob("*.txt")} == before


async def test_a_tag_gets_a_threshold_of_its_own(workspace: Workspace) -> None:
    """`+` on a tag: it is written from a higher score only, the cursor stays on it; the field shows it."""
    app = tiny(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await tried(pilot, app, workspace)
        await pilot.press("tab", "j", "j")
        tag = screen.side.tag_at_cursor
        assert tag is not None and screen.answer is not None
        await pilot.press("plus")
        await until(pilot, lambda: screen.request is not None and screen.request.caption.tag_thresholds != "")
        await until(pilot, lambda: screen.answer is not None and tag in screen.answer.own)
        assert screen.answer.own[tag] == 0.4
        assert screen.side.tag_at_cursor == tag
        for _ in range(13):
            own = screen.answer.own[tag]
            await pilot.press("plus")
            await until(pilot, lambda own=own: screen.answer is not None and screen.answer.own.get(tag, 0) != own)
        assert screen.answer.own[tag] > 1, "off"
        assert next(each.then for each in screen.answer.tags if each.tag == tag) == 0
        await pilot.press("escape")
        await go_to(pilot, screen, "single")
        await pilot.press("enter", "ctrl+u", "enter")
        await until(pilot, lambda: screen.answer is not None and not screen.answer.own)


async def test_enter_lists_the_images_of_a_tag(workspace: Workspace) -> None:
    """Enter on a tag: its images with what changes; w: all images; Enter on one opens Review there, Esc comes back."""
    app = tiny(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await tried(pilot, app, workspace)
        await pilot.press("tab", "j")
        tag = screen.side.tag_at_cursor
        await pilot.press("enter")
        await until(pilot, lambda: screen.side.view == "images")
        assert screen.side.tag == tag and f"change in {tag}" in screen.side.head.plain
        row = "".join(text for text, _ in screen.side.rows.rows.cells(0, 50))
        assert "rinni_0.png" in row and "+" in row
        await pilot.press("escape")
        assert screen.side.view == "tags" and screen.side.tag_at_cursor == tag
        await pilot.press("w")
        await until(pilot, lambda: screen.side.view == "images" and len(screen.side.rows.rows) == 3)
        await pilot.press("j", "enter")
        await until(pilot, lambda: app.current_mode == "review")
        assert app.review_item is None or app.review_item.name == "rinni_1.png"
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "tag")


async def test_an_adaptive_threshold_is_tried_like_others(workspace: Workspace) -> None:
    """MCut on the general tags changes the preview, and the general threshold says that it is adaptive."""
    app = tiny(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await tried(pilot, app, workspace)
        before = total(screen)
        await go_to(pilot, screen, "adaptive")
        await pilot.press("right")
        await until(pilot, lambda: screen.answer is not None and screen.answer.request.caption.general_mcut)
        assert total(screen) != before
        assert any("adaptive" in text for field in screen.form.fields for text, _ in field.value)


async def test_options_and_model_are_remembered(workspace: Workspace) -> None:
    """Closed and opened again: threshold, sets and the typed trigger stand as they were; another start fetches anew."""
    make_dataset(workspace)
    app = app_on(workspace, tagger="demo")
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await go_to(pilot, screen, "general")
        await pilot.press("left", "left")
        await go_to(pilot, screen, "overlap")
        await pilot.press("space")
        await go_to(pilot, screen, "force")
        await pilot.press("space")
        await go_to(pilot, screen, "trigger")
        await pilot.press("enter", "ctrl+u", *"rn", "enter")
        await until(pilot, lambda: screen._kept.triggers.get("rinni") == "rn" and not app.writer.pending)
    again = app_on(workspace, tagger="demo")
    async with again.run_test(size=(120, 40)) as pilot:
        request = (await opened(pilot, again)).request
        assert request is not None
        assert request.caption.general_threshold == 0.25 and request.caption.drop_overlap
        assert request.trigger == "rn" and not request.force_download
    other = app_on(workspace, tagger="SmilingWolf/other")
    async with other.run_test(size=(120, 40)) as pilot:
        request = (await opened(pilot, other)).request
        assert request is not None and request.model == "SmilingWolf/other", "the settings name another one since"


@pytest.mark.parametrize("broken", ["{", '{"version": 1, "caption": {"thresh": "high"}}', '{"version": 9}'])
async def test_broken_remembered_options_count_as_none(workspace: Workspace, broken: str) -> None:
    """A file that cannot be used gives the guide's values."""
    from tui.screens.tag_memory import kept_file

    make_dataset(workspace)
    path = kept_file(workspace.root)
    path.parent.mkdir(parents=True)
    path.write_text(broken, "utf-8")
    app = app_on(workspace, tagger="demo")
    async with app.run_test(size=(80, 24)) as pilot:
        request = (await opened(pilot, app)).request
        assert request is not None and request.caption.thresh == 0.35 and request.model == "demo"


async def test_turned_images_are_offered_upright(workspace: Workspace) -> None:
    """Two photographs on their side: the line names them, F saves them upright, and u brings them back."""
    folder = make_dataset(workspace, captions={"rinni_1.png": None})
    turned = Image.new("RGB", (60, 40))
    exif = turned.getexif()
    exif[0x0112] = 6
    for name in ("a.jpg", "b.jpg"):
        turned.save(folder / name, exif=exif)
    app = app_on(workspace, tagger="demo")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "2 of 3 images are turned by viewers" in screen.progress.plain)
        await pilot.press("F")
        await until(pilot, lambda: type(app.screen).__name__ == "UprightDialog")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        await until(pilot, lambda: "turned" not in screen.progress.plain)
        assert Image.open(folder / "a.jpg").size == (40, 60)
        await pilot.press("u")
        await until(pilot, lambda: Image.open(folder / "a.jpg").size == (60, 40))
        await until(pilot, lambda: "2 of 3 images are turned by viewers" in screen.progress.plain)


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_the_progress_says_which_side_limits(workspace: Workspace, width: int) -> None:
    """Bar, images and tags a second, time left, what limits it, the failed: whole words in 80 columns, too."""
    app = tiny(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await tried(pilot, app, workspace)
        assert screen.run.seen is not None
        seen = screen.run.seen[0]
        running = replace(seen.run, status=replace(seen.run.status, state=RunState.RUNNING))
        seen = replace(seen, run=running, step=1204, total_steps=1840, rate=212.0, eta_seconds=3.0)
        results = TagResult(
            total=1840,
            failed=(("a.png", "is no picture"), ("b.png", "is empty")),
            provider="cuda",
            tags_per_second=7420.0,
            decode_share=0.93,
            model_share=0.41,
            limited_by="decoding (8 threads)",
        )
        lines = ["".join(text for text, _ in line) for line in run_lines(seen, results, screen.run, width, 8)]
        assert all(len(line) <= width for line in lines[:3])
        for part in ("1,204/1,840", "212 img/s", "3s left", "2 failed: !"):
            assert part in lines[0]
        for part in ("limited by decoding (8 threads)", "7,420 tags/s", "decoding 93% busy, model 41%"):
            assert part in lines[1]
        assert "X stops it" in lines[2]


async def test_a_slider_step_leaves_the_screen_free(workspace: Workspace) -> None:
    """The scores are asked on a thread, and while keys repeat only the newest question is answered."""
    app = tiny(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await tried(pilot, app, workspace)
        asked: list[tuple[float | None, bool]] = []
        answer, released = screen._previewer.answer, threading.Event()

        def slow(place: Any, request: Any, *rest: Any) -> Any:
            asked.append((request.caption.general_threshold, threading.current_thread() is threading.main_thread()))
            assert released.wait(20)
            return answer(place, request, *rest)

        screen._previewer.answer = slow  # type: ignore[method-assign]
        await go_to(pilot, screen, "general")
        for _ in range(6):
            app.simulate_key("left")
        await until(pilot, lambda: screen.request is not None and screen.request.caption.general_threshold == 0.05)
        released.set()
        await until(pilot, lambda: screen.answer is not None and screen.answer.request is screen.request)
        assert asked[-1] == (0.05, False)
        assert len(asked) < 6, "those in between were left out"


async def test_small_and_large_windows_show_all_groups(workspace: Workspace) -> None:
    """80x24: every group has its line without scrolling; 200x60: most are open."""
    make_dataset(workspace)
    app = app_on(workspace, tagger="demo")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "R tags" in screen.progress.plain)
        assert len(screen.form.fields) <= screen.form.size.height
        assert {f"group:{group.key}" for group in GROUPS} <= {field.key for field in screen.form.fields}
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: len(screen.form.fields) > 30)
        assert len(screen.form.fields) <= screen.form.size.height
        screen.form.go_to("group:files")
        await pilot.press("enter")
        await until(pilot, lambda: any(field.key == "output" for field in screen.form.fields))
        await pilot.press("left")
        await until(pilot, lambda: all(field.key != "output" for field in screen.form.fields))
