"""Tiles in Dataset, the visual checker, zoom, and the crop on the picture."""

from __future__ import annotations

import threading
from pathlib import Path

from PIL import Image

from core.dataset.thumbs import Requests
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, until
from tui.app import KohyaApp
from tui.pictures import WHOLE, Look, part_of, with_crop
from tui.pictures import ready as made_ready
from tui.screens.checker import CheckerScreen
from tui.screens.dataset import DatasetScreen
from tui.screens.review import ReviewScreen
from tui.widgets.image_grid import ImageGrid

SIZE = (120, 40)


def images_of(app: KohyaApp) -> ImageGrid:
    screen = app.screen
    assert isinstance(screen, DatasetScreen | CheckerScreen)
    return screen.images


def drawn(grid: ImageGrid) -> int:
    return sum(strips is not None for strips in grid._pictures.values())


async def test_w_shows_tiles_and_the_cursor_goes_by_rows(workspace: Workspace) -> None:
    """The same images, keys and marks as in the list; w again brings it back with the cursor where it was."""
    make_dataset(workspace, captions={f"a_{number}.png": "solo" for number in range(40)})
    app = app_on(workspace)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot, app)
        grid = images_of(app)
        assert not grid.check_action("side", ())
        await pilot.press("w")
        columns = grid._columns
        assert columns >= 3
        await until(pilot, lambda: drawn(grid) >= 2 * columns)
        await pilot.press("l", "down", "space")
        assert grid.cursor == columns + 2, "space goes on, as in the list"
        assert app.collection is not None and app.collection.marked_count() == 1
        await pilot.press("up", "left", "G")
        assert grid.cursor == 39
        await until(pilot, lambda: grid._key(39) in grid._pictures)
        assert 39 in grid.visible_rows() and len(grid._pictures) < 40
        await pilot.press("w")
        assert not grid.as_tiles and grid.cursor == 39 and 39 in grid.visible_rows()


async def test_a_hundred_thousand_tiles_are_one_widget(workspace: Workspace) -> None:
    """Whatever the number: only what is in sight is asked for, and G is there at once."""
    from tui.widgets.image_grid import Tile

    class Many:
        asked: set[int] = set()

        def __len__(self) -> int:
            return 100_000

        def cells(self, index: int, width: int) -> list[tuple[str, str]]:
            return [(str(index), "text")]

        label = cells

        def tile(self, index: int) -> Tile:
            self.asked.add(index)
            return Tile(Path(f"/nowhere/{index}.png"), 0.0)

    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot, app)
        grid = images_of(app)
        grid.set_rows(Many(), 0)
        await pilot.press("w", "G")
        assert grid.cursor == 99_999 and 99_999 in grid.visible_rows()
        await until(pilot, lambda: grid._pictures.get(grid._key(99_999), 0) is None)  # there is no such file
        assert len(Many.asked) < 300 and not list(grid.children)


async def test_hidden_pictures_are_hidden_in_tiles_too(workspace: Workspace) -> None:
    """H: names only, and nothing is read."""
    make_dataset(workspace)
    app = app_on(workspace, hide_pictures=True)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot, app)
        await pilot.press("w")
        await pilot.pause(0.3)
        assert not images_of(app)._pictures
        await pilot.press("H")
        await until(pilot, lambda: drawn(images_of(app)))


async def test_the_checker_answers_and_each_answer_is_undone(workspace: Workspace) -> None:
    """a adds, x removes and goes on; marked ones are answered at once and taken back at once."""
    folder = make_dataset(workspace)

    def captions() -> list[str]:
        return [(folder / f"rinni_{n}.txt").read_text("utf-8") for n in (1, 2, 4, 10)]

    before = captions()
    app = app_on(workspace)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot, app)
        await pilot.press("3", "V")
        await until(pilot, lambda: app.screen.query("#answer"))
        await pilot.press("ctrl+u", *"solo", "enter")
        await until(pilot, lambda: isinstance(app.screen, CheckerScreen))
        await pilot.press("x", "a")
        await ready(pilot, app)
        assert captions()[:2] == ["rinni, 1girl, smile", "rinni, 1girl, open mouth, solo"]
        assert images_of(app).cursor == 2
        await pilot.press("l", "space", "space", "x")
        await ready(pilot, app)
        await until(pilot, lambda: captions()[3] == "rinni")
        assert captions()[2] == before[2], "it has no such tag: nothing is written"
        for _ in range(3):
            await pilot.press("u")
            await ready(pilot, app)
        await until(pilot, lambda: captions() == before)


async def test_zoom_keeps_its_place_and_esc_goes_back_step_by_step(workspace: Workspace) -> None:
    """+ enlarges, arrows move the part that is seen, Esc shows the whole, another Esc the tags."""
    make_dataset(workspace, size=(400, 600))
    app = app_on(workspace)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot, app)
        await pilot.press("3")
        screen = app.screen
        assert isinstance(screen, ReviewScreen)
        await until(pilot, lambda: screen.picture._strips)
        await pilot.press("z", "plus", "plus")
        await until(pilot, lambda: screen.picture._whole is not None and screen.focused is screen.picture)
        first = screen.picture.source
        await pilot.press("down", "l")
        assert screen.picture._look.y > 0.5 and screen.picture.source == first
        await pilot.press("n")
        assert screen.picture.source != first and screen.picture.factor == 2.0, "the same place of the next one"
        await pilot.press("escape")
        assert screen.picture.factor == 1 and screen.side.has_class("-off")
        await pilot.press("escape")
        assert not screen.side.has_class("-off")


async def test_the_crop_of_the_bucket_is_drawn_and_told(workspace: Workspace) -> None:
    """A square bucket takes a third of a portrait: it fades, and the facts beside it say so."""
    make_dataset(workspace, size=(200, 300))
    config = workspace.configs / "rinni"
    config.mkdir(parents=True)
    (config / "train.toml").write_text("", "utf-8")
    (config / "dataset.toml").write_text(
        '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "train_data/rinni/10_rinni"\n', "utf-8"
    )
    app = app_on(workspace)
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot, app)
        await pilot.press("3")
        screen = app.screen
        assert isinstance(screen, ReviewScreen)
        await until(pilot, lambda: screen.picture._kept is not None)
        kept = screen.picture._kept
        assert kept is not None and kept[0] == 0 and abs(kept[1] - 1 / 6) < 0.01 and abs(kept[3] - 5 / 6) < 0.01


def test_what_is_cut_fades_and_the_rest_is_as_it_was() -> None:
    """Also when a part of the picture is looked at."""
    white = Image.new("RGB", (300, 300), "white")
    shown = with_crop(white, (0.0, 0.2, 1.0, 0.8), WHOLE, (0, 0, 0), (180, 160, 255))
    assert shown.getpixel((150, 150)) == (255, 255, 255)
    assert max(shown.getpixel((150, 10))) < 110  # type: ignore[arg-type]
    part = with_crop(white, (0.0, 0.2, 1.0, 0.8), (0.0, 0.0, 0.5, 0.5), (0, 0, 0), (180, 160, 255))
    assert max(part.getpixel((150, 100))) < 110 and part.getpixel((150, 140)) == (255, 255, 255)  # type: ignore[arg-type]


def test_a_look_stays_inside_the_picture() -> None:
    """At the edge the picture ends where the room ends; few pixels are enlarged."""
    assert Look().seen((400, 400), (100, 50)) == WHOLE
    assert Look(2.0, 0.0, 1.0).seen((400, 400), (50, 50)) == (0.0, 0.5, 0.5, 1.0)
    assert part_of(Image.new("RGB", (8, 8)), (0.0, 0.0, 0.5, 0.5), (60, 60)).size == (60, 60)


def test_pictures_keep_to_their_bytes() -> None:
    """Noise, which nothing compresses, and a flat drawing, which is sent with all its pixels."""
    noise = Image.merge("RGB", [Image.effect_noise((600, 600), 90)] * 3)
    for protocol, limit in (("kitty", 60_000), ("sixel", 120_000)):
        made = made_ready(noise, protocol, (60, 30), (10, 20))
        assert len(made.data) < limit and made.cells == (60, 30)
    flat = made_ready(Image.new("RGB", (600, 600), "red"), "kitty", (60, 30), (10, 20))
    assert flat.image.size == (600, 600) and len(flat.data) < 4_000


def test_requests_are_the_newest_and_each_is_taken_once() -> None:
    """What moved out of sight before its turn is never made, by however many threads."""
    requests: Requests[int] = Requests()
    requests.want(range(1000))
    assert [requests.take() for _ in range(3)] == [0, 1, 2]
    requests.want(range(500, 900))
    taken: list[int] = []

    def work() -> None:
        while (number := requests.take()) is not None:
            taken.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(500, 900)) and requests.take() is None
