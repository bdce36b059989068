"""The Tag screen: filling in, the run below, the preview beside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.dataset.captions import split
from core.runs.model import LIVE_STATES, RunKind
from core.runs.store import list_runs
from core.workspace import Workspace
from tests.fake_hub import FakeHub
from tests.tui.kit import app_on, make_dataset, toasts, until
from tui.app import KohyaApp
from tui.screens.dialogs import Ask, Choose, ProblemList
from tui.screens.tag import TagScreen
from tui.screens.tag_form import group_of
from tui.screens.tag_models import ModelList
from tui.screens.tag_parts import Machine

pytest.importorskip("onnxruntime")
SETTINGS: dict[str, Any] = {"tagger": "demo"}
TINY = Path(__file__).parents[1] / "data" / "goldens" / "model" / "SmilingWolf_tiny-dyn"


async def opened(pilot: Pilot[None], app: KohyaApp) -> TagScreen:
    """The screen, once it has looked around."""
    await pilot.press("2")
    await until(pilot, lambda: isinstance(app.screen, TagScreen) and app.screen._known.machine is not None)
    assert isinstance(app.screen, TagScreen)
    return app.screen


async def over(pilot: Pilot[None], screen: TagScreen, workspace: Workspace) -> None:
    """The run that was started has ended, and the screen knows it."""
    await until(pilot, lambda: list_runs(workspace) and screen.run.seen is not None and not screen.run.is_live, 60)
    await until(pilot, lambda: list_runs(workspace)[0].status.state not in LIVE_STATES)


async def go_to(pilot: Pilot[None], screen: TagScreen, key: str) -> None:
    group = group_of(key)
    if group is not None:
        screen._fold(group, True)
    screen.form.go_to(key)
    await pilot.pause()


async def test_r_tags_the_dataset_and_says_what_comes_next(workspace: Workspace) -> None:
    """In 80 columns: the run is seen at once, captions begin with the trigger, and the next steps have their keys."""
    folder = make_dataset(workspace, captions={"rinni_1.png": None, "rinni_2.png": None})
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "R tags 2 images" in screen.progress.plain)
        await pilot.press("R")
        await until(pilot, lambda: "R tags" not in screen.progress.plain, 2)
        await over(pilot, screen, workspace)
        assert "2/2" in screen.progress.plain and "3 review" in screen.progress.plain
        assert all(split((folder / f"rinni_{n}.txt").read_text("utf-8"))[0] == "rinni" for n in (1, 2))
        run = list_runs(workspace)[0]
        assert run.spec.kind is RunKind.TAG and app.active_run == run.id
        await until(pilot, lambda: "all with a caption" in screen._known.datasets["rinni"])
        await pilot.press("u")
        await until(pilot, lambda: not list(folder.glob("*.txt")))


async def test_the_form_becomes_the_request(workspace: Workspace) -> None:
    """Thresholds step and are typed, choices step and are listed, flags switch, text is taken as it is."""
    make_dataset(workspace)
    make_dataset(workspace, "mika")
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await go_to(pilot, screen, "general")
        await pilot.press("left", "left")
        await go_to(pilot, screen, "character")
        await pilot.press("enter", *["backspace"] * 4, *"off", "enter")
        await go_to(pilot, screen, "policy")
        await pilot.press("right")
        await go_to(pilot, screen, "rating")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("G", "enter")
        await until(pilot, lambda: app.screen is screen)
        await go_to(pilot, screen, "underscore")
        await pilot.press("space")
        await go_to(pilot, screen, "undesired")
        await pilot.press("enter", "ctrl+u", *"photo", "enter")
        await go_to(pilot, screen, "batch")
        await pilot.press("enter", "4", "enter")
        request = screen.request
        assert request is not None
        assert (request.caption.general_threshold, request.policy, request.batch_size) == (0.25, "append", 4)
        assert request.caption.character_threshold is not None and request.caption.character_threshold > 1
        assert request.caption.use_rating_tags_as_last_tag and not request.caption.remove_underscore
        assert request.caption.undesired_tags == "photo" and request.trigger == request.target
        await go_to(pilot, screen, "target")
        await pilot.press("right")
        assert screen.request is not None and screen.request.target != request.target
        assert screen.request.trigger == screen.request.target == app.active_dataset
        assert screen.request.caption == request.caption, "the values stay with another dataset"


async def test_a_value_that_cannot_be_is_refused(workspace: Workspace) -> None:
    """A threshold above 1 and a batch of words say what is wanted; nothing changes."""
    make_dataset(workspace)
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        before = screen.request
        for key, typed in (("general", "35"), ("batch", "many"), ("replacement", "a,b,c")):
            await go_to(pilot, screen, key)
            await pilot.press("enter")
            screen.form.query_one(Input).value = typed
            await pilot.press("enter")
            await pilot.pause()
        assert screen.request == before
        assert len(toasts(app)) == 3


async def test_without_images_it_says_where_they_come_from(workspace: Workspace) -> None:
    """An empty workspace: the first line and the panel say 1, then i; R starts nothing."""
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "import some" in screen.progress.plain)
        await pilot.press("R")
        await until(pilot, lambda: toasts(app))
        assert not list_runs(workspace)


async def test_failed_images_are_named(workspace: Workspace) -> None:
    """A text file named .png: counted in the colour for bad, named below, and listed by `!`."""
    folder = make_dataset(workspace, captions={"rinni_1.png": None})
    (folder / "notes.png").write_text("no picture", "utf-8")
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("R")
        await over(pilot, screen, workspace)
        assert "1 failed" in screen.progress.plain and "notes.png" in screen.progress.plain
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, ProblemList))
        assert [problem.where for problem in app.screen._problems] == ["notes.png"]


async def test_x_stops_a_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow run ends soon after X; what was written stays."""
    monkeypatch.setenv("KOHYA_TUI_DEMO_TAG_SECONDS", "0.5")
    make_dataset(workspace, captions={f"rinni_{number:02}.png": None for number in range(40)})
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("R")
        await until(pilot, lambda: screen.run.stoppable is not None and _step(screen) > 0, 60)
        await pilot.press("X")
        await over(pilot, screen, workspace)
        assert str(list_runs(workspace)[0].status.state) == "stopped"
        assert "stopped" in screen.progress.plain


def _step(screen: TagScreen) -> int:
    return (screen.run.seen[0].step or 0) if screen.run.seen is not None else 0


async def test_another_model_can_be_named(workspace: Workspace) -> None:
    """The list ends with "another …"; a folder without a model is refused with the reason, a good one is taken."""
    shutil.copytree(TINY, workspace.models / "tiny")
    make_dataset(workspace)
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await go_to(pilot, screen, "model")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ModelList))
        await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        line = app.screen.query_one(Input)
        line.value = str(workspace.models)
        await pilot.press("enter")
        assert isinstance(app.screen, Ask)
        line.value = "models/tiny"
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and screen._known.model("models/tiny") is not None)
        assert screen.request is not None and screen.request.model == "models/tiny"
        model = screen._known.model("models/tiny")
        assert model is not None and model.is_on_disk


async def test_a_missing_model_is_fetched_as_part_of_the_run(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: "fetched first" beside the model. After R: how far the download is; then the images are tagged."""
    make_dataset(workspace, captions={"rinni_1.png": None})
    name = "SmilingWolf/tiny"
    files = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}
    with FakeHub({name: files}) as hub:
        for key, value in hub.env(tmp_path).items():
            monkeypatch.setenv(key, value)
        hub.fault("*/model.onnx", method="GET", rate=len(files["model.onnx"]))
        app = app_on(workspace, tagger=name)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot, app)
            assert "fetched first" in "".join(text for text, _ in screen.form.fields[1].value)
            await pilot.press("R")
            await until(pilot, lambda: "Downloading" in screen.progress.plain, 60)
            await over(pilot, screen, workspace)
            assert "1/1" in screen.progress.plain


@pytest.mark.parametrize(
    ("wheels", "driver", "provider", "words", "role"),
    [
        ({}, None, "auto", "not installed", "bad"),
        ({"onnxruntime": "1.27"}, None, "auto", "CPU · onnxruntime 1.27", "muted"),
        ({"onnxruntime": "1.27"}, None, "cuda", "no NVIDIA driver", "bad"),
        ({"onnxruntime": "1.27"}, 580, "auto", "cannot use the GPU", "bad"),
        ({"onnxruntime": "1.27"}, 580, "cpu", "as asked", "muted"),
        ({"onnxruntime": "1.27", "onnxruntime-gpu": "1.27"}, 580, "auto", "spoil each other", "bad"),
        ({"onnxruntime-gpu": "1.27"}, 580, "auto", "CUDA · H200", "good"),
    ],
)
def test_where_the_model_runs_is_known_before(
    wheels: dict[str, str], driver: int | None, provider: str, words: str, role: str
) -> None:
    """The CPU instead of a GPU is said in the colour for bad, with a remedy; everything else has none."""
    machine = Machine(wheels, driver, "H200" if driver else "", "pip install it", "pip repair it")
    said, found = machine.says(provider)
    assert words in said and found == role
    assert (machine.remedy(provider) is not None) == (role == "bad")
