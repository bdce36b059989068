"""The Duplicates screen on drawn pictures: groups, the one to keep, the trash and the way back."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from textual.pilot import Pilot

from core.dataset import duplicates_process
from core.dataset.duplicates import Duplicate, FindProgress, Group
from core.workspace import Workspace
from tests.tui.kit import app_on, ready, toasts, until
from tui.app import KohyaApp
from tui.screens.dataset import DatasetScreen
from tui.screens.dialogs import Choose, Confirm
from tui.screens.duplicates import DuplicatesScreen
from tui.screens.duplicates_parts import Found, PictureSlot
from tui.widgets.image_view import ImageView
from tui.widgets.line import Line
from tui.widgets.lines import LiveLines


def draw(seed: int) -> Image.Image:
    """A picture that is like no other seed's."""
    rng = random.Random(seed)
    image = Image.new("RGB", (160, 240), (rng.randrange(256),) * 3)
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = rng.randrange(160), rng.randrange(240), rng.randrange(20, 80)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """1 is there as a copy and smaller, 2 mirrored, 3 alone."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        draw(number).save(folder / f"rinni_{number}.png")
        (folder / f"rinni_{number}.txt").write_text(f"rinni, tag {number}")
    shutil.copy(folder / "rinni_1.png", folder / "copy.png")
    draw(1).resize((80, 120)).save(folder / "small.jpg", quality=85)
    draw(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "turned.png")
    return folder


async def search(pilot: Pilot[Any], app: KohyaApp) -> DuplicatesScreen:
    """Open the screen and wait for what it finds."""
    await ready(pilot, app)
    await pilot.press("equals_sign")
    await until(pilot, lambda: isinstance(app.screen, DuplicatesScreen))
    screen = app.screen
    assert isinstance(screen, DuplicatesScreen)
    await found(pilot, screen)
    return screen


async def found(pilot: Pilot[Any], screen: DuplicatesScreen) -> None:
    await until(pilot, lambda: screen._progress is not None and not screen.is_searching)


def names(screen: DuplicatesScreen) -> list[list[str]]:
    groups = screen.found
    return [[image.path.name for image in groups.images(place)] for place in range(len(groups))]


def where(screen: DuplicatesScreen) -> str:
    return screen.query_one("#where", Line).plain


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_groups_stand_side_by_side(workspace: Workspace, folder: Path, size: tuple[int, int]) -> None:
    """The largest is proposed to stay, the others are marked; nothing is gone yet."""
    app = app_on(workspace)
    async with app.run_test(size=size) as pilot:
        screen = await search(pilot, app)
        assert names(screen) == [["rinni_1.png", "copy.png", "small.jpg"]]
        assert "1 group" in where(screen) and "2 to go" in where(screen)
        slots = [slot for slot in screen.query(PictureSlot) if slot.display]
        assert [slot.picture.source for slot in slots[:2]] == [folder / "rinni_1.png", folder / "copy.png"]
        assert "keep" in slots[0].head.plain and "to the trash" in slots[1].head.plain
        await until(pilot, lambda: "2 tags" in slots[0].facts.plain)
        assert "160×240" in slots[0].facts.plain and "same bytes" in slots[1].facts.plain
        await pilot.press("l", "l")
        last = [slot for slot in screen.query(PictureSlot) if slot.display][-1]
        assert last.picture.source == folder / "small.jpg" and "80×120" in last.facts.plain
        assert len(list(folder.glob("*.*"))) == 9


async def test_the_rest_of_a_group_goes_with_one_key_and_comes_back(workspace: Workspace, folder: Path) -> None:
    """`D` moves what is marked to the trash without a question; `u` brings the files and the group back."""
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        await pilot.press("D")
        await until(pilot, lambda: not (folder / "copy.png").exists() and not (folder / "small.jpg").exists())
        assert (folder / "rinni_1.png").exists() and (folder / "rinni_1.txt").exists()
        assert names(screen) == [] and "No duplicates" in screen.query_one("#state", LiveLines).plain
        await until(pilot, lambda: not app.writer.pending)
        await pilot.press("u")
        await until(pilot, lambda: names(screen) == [["rinni_1.png", "copy.png", "small.jpg"]])
        assert (folder / "copy.png").exists() and "undone: move 2 images to the trash" in toasts(app)


async def test_dataset_lists_what_is_left(workspace: Workspace, folder: Path) -> None:
    """Back in Dataset the images that went are not listed any more."""
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await search(pilot, app)
        await pilot.press("D")
        await until(pilot, lambda: not (folder / "copy.png").exists() and not app.writer.pending)
        await pilot.press("escape")
        assert isinstance(app.screen, DatasetScreen)
        await until(pilot, lambda: app.collection is not None and len(app.collection.shown) == 4)


async def test_another_image_can_stay(workspace: Workspace, folder: Path) -> None:
    """Space turns the choice for one image; when nothing of the group is left the app asks."""
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        await pilot.press("l", "space")  # small.jpg stays, too
        assert "1 to go" in where(screen)
        await pilot.press("h", "h", "space")  # the first one goes
        assert "2 to go" in where(screen)
        await pilot.press("l", "l", "space", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("escape")
        assert (folder / "rinni_1.png").exists()
        await pilot.press("space", "D")
        await until(pilot, lambda: not (folder / "rinni_1.png").exists() and not app.writer.pending)
        assert (folder / "small.jpg").exists() and names(screen) == []


async def test_all_groups_at_once(workspace: Workspace, folder: Path) -> None:
    """`A` marks all groups; `D` says how many images that are before it moves them."""
    shutil.copy(folder / "rinni_3.png", folder / "three.png")
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        assert len(names(screen)) == 2
        await pilot.press("A")
        assert "all groups marked" in where(screen)
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and app.screen.is_current)
        assert "3 images of 2 groups" in app.screen._title  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: not (folder / "three.png").exists() and not app.writer.pending)
        assert len(list(folder.glob("*.png"))) == 4 and names(screen) == []


async def test_how_near_they_are_can_be_changed(workspace: Workspace, folder: Path) -> None:
    """`-` to the same bytes, `=` has mirror images count."""
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        await pilot.press("equals_sign")
        await until(pilot, lambda: isinstance(app.screen, Choose) and app.screen.is_current)
        await pilot.press("G", "enter")
        await until(pilot, lambda: screen.mirrored)
        await found(pilot, screen)
        await until(pilot, lambda: ["rinni_2.png", "turned.png"] in names(screen))
        assert "or mirrored" in where(screen)
        for _ in range(5):
            await pilot.press("minus")
        await found(pilot, screen)
        assert screen.distance == -1 and "same bytes" in where(screen)
        await until(pilot, lambda: names(screen) == [["rinni_1.png", "copy.png"]])
        await pilot.press("plus")
        await found(pilot, screen)
        assert screen.distance == 0 and "alike" in where(screen)


async def test_enter_shows_one_large(workspace: Workspace, folder: Path) -> None:
    """Left and right flip through the group in one place; Esc goes back to the group, then to Dataset."""
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        await pilot.press("enter")
        zoom = screen.query_one("#zoom", ImageView)
        await until(pilot, lambda: zoom.display and zoom.source == folder / "copy.png")
        assert "copy.png" in where(screen) and "to the trash" in where(screen)
        await pilot.press("h")
        assert zoom.source == folder / "rinni_1.png" and "the largest" in where(screen)
        await pilot.press("escape")
        assert not zoom.display and app.screen is screen
        await pilot.press("escape")
        assert isinstance(app.screen, DatasetScreen)


async def test_esc_stops_a_search(workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how far it is and how to stop; Esc stops it and stays, and the reading ends."""
    closed, go_on = threading.Event(), threading.Event()

    def endless(images: Iterable[Path], distance: int, *, mirrored: bool) -> Iterator[FindProgress]:
        try:
            total = len(list(images))
            yield FindProgress(2, total)
            go_on.wait(10)
            while True:
                yield FindProgress(3, total)
        finally:
            closed.set()

    monkeypatch.setattr(duplicates_process, "following", endless)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("equals_sign")
        await until(pilot, lambda: isinstance(app.screen, DuplicatesScreen))
        screen = app.screen
        assert isinstance(screen, DuplicatesScreen)
        await until(pilot, lambda: "2/6" in where(screen))
        assert "Esc stops" in where(screen)
        await pilot.press("escape")
        go_on.set()
        await until(pilot, closed.is_set)
        assert app.screen is screen and "stopped" in where(screen)
        await pilot.press("escape")
        assert isinstance(app.screen, DatasetScreen)


async def test_many_images_are_compared_by_another_process(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the same groups and the same unreadable files."""
    monkeypatch.setattr(duplicates_process, "LARGE", 3)
    (folder / "broken.png").write_bytes(b"no picture")
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        assert names(screen) == [["rinni_1.png", "copy.png", "small.jpg"]]
        assert screen.found.images(0)[1].is_same and len(screen.problems()) == 1


async def test_only_what_dataset_shows_is_compared(workspace: Workspace, folder: Path) -> None:
    """A filter narrows the search."""
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("slash", *"rinni_", "enter")
        await until(pilot, lambda: app.collection is not None and len(app.collection.shown) == 3)
        screen = await search(pilot, app)
        assert names(screen) == [] and "among 3 images" in screen.query_one("#state", LiveLines).plain


async def test_a_broken_image_is_a_problem(workspace: Workspace, folder: Path) -> None:
    """It is left out, and `!` says why."""
    (folder / "broken.png").write_bytes(b"no picture")
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await search(pilot, app)
        assert [problem.where for problem in screen.problems()] == ["train_data/rinni/10_rinni/broken.png"]


def test_the_sum_of_what_goes_is_kept() -> None:
    """Counts after single steps are those of a count of all."""

    def image(name: str, size: int) -> Duplicate:
        return Duplicate(Path(name), 10, 10, size)

    groups = [Group((image("a", 5), image("b", 4), image("c", 3))), Group((image("d", 2), image("e", 1)))]
    found = Found(groups)
    assert (found.going, found.bytes) == (3, 8)
    found.toggle(0, groups[0].images[2])
    found.toggle(0, groups[0].images[0])
    assert (found.going, found.bytes) == (3, 10)
    found.clear([0])
    assert (found.going, found.bytes, found.shown) == (1, 1, [1])
    found.take(())
    assert (found.going, found.bytes, found.shown) == (3, 10, [0, 1])
    found.toggle(0, groups[0].images[0])
    found.clear([0])
    assert [each.path.name for each in found.images(0)] == ["a", "c"] and (found.going, found.bytes) == (1, 1)
