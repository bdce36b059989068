"""The Tag screen: filling in, the run below, the preview beside."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.dataset.captions import split
from core.dataset.marks import mark_reviewed
from core.runs.model import ENDED_STATES, RunKind
from core.runs.store import list_runs
from core.tagging.options import TagRequest
from core.tagging.probe import Probe
from core.workspace import Workspace
from tests.fake_hub import FakeHub
from tests.tui.kit import app_on, make_dataset, toasts, until
from tui.app import KohyaApp
from tui.screens import tag_values
from tui.screens.dialogs import Ask, Choose, ProblemList
from tui.screens.tag import TagScreen
from tui.screens.tag_form import GROUPS, Facts, group_of
from tui.screens.tag_models import ModelList
from tui.screens.tag_parts import Machine
from tui.widgets.line import Lines

pytest.importorskip("onnxruntime")
SETTINGS: dict[str, Any] = {"tagger": "demo"}
TINY = Path(__file__).parents[1] / "data" / "goldens" / "model" / "SmilingWolf_tiny-dyn"


async def opened(pilot: Pilot[None], app: KohyaApp) -> TagScreen:
    """The screen, once it has looked around."""
    await pilot.press("2")
    await until(pilot, lambda: isinstance(app.screen, TagScreen) and app.screen._known.machine is not None)
    screen = app.screen
    assert isinstance(screen, TagScreen) and app.workspace is not None
    if any(app.workspace.train_data.glob("*/*/*.png")):
        await until(pilot, lambda: screen._request is not None and screen._request.target)
    return screen


async def over(pilot: Pilot[None], screen: TagScreen, workspace: Workspace) -> None:
    """The run that was started has ended, and the screen knows it."""
    await until(pilot, lambda: list_runs(workspace) and list_runs(workspace)[0].status.state in ENDED_STATES, 60)
    newest = list_runs(workspace)[0].id
    await until(pilot, lambda: (seen := screen.run.seen) and seen[0].run.id == newest and not screen.run.is_live, 60)


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
    """Before: "to fetch" beside the model. After R: how far the download is; then the images are tagged."""
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
            assert "to fetch" in "".join(text for text, _ in screen.form.fields[1].value)
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


async def test_a_model_is_fetched_from_the_list(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """i on a model: bytes and time left, X ends it at once, i again completes it and says "on disk"."""
    make_dataset(workspace)
    name = "SmilingWolf/tiny"
    files = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}
    with FakeHub({name: files}) as hub:
        for key, value in hub.env(tmp_path).items():
            monkeypatch.setenv(key, value)
        hub.fault("*/model.onnx", method="GET", rate=len(files["model.onnx"]) // 20)
        app = app_on(workspace, tagger=name)
        async with app.run_test(size=(80, 24)) as pilot:
            screen = await opened(pilot, app)
            await go_to(pilot, screen, "model")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ModelList))
            await pilot.press("i")
            await until(pilot, lambda: screen.outlook.fetching is not None and screen.outlook.fetching.done, 30)
            assert "fetching tiny" in app.screen.query_one("#plan", Lines).plain
            await pilot.press("X")
            await until(pilot, lambda: screen.outlook.fetching is None, 1)
            hub.faults.clear()
            await pilot.press("i")
            await until(pilot, lambda: screen.outlook.fetching is None and toasts(app), 60)
            await until(pilot, lambda: (model := screen._known.model(name)) is not None and model.is_on_disk)
            await pilot.press("escape")
            assert "on disk" in "".join(text for text, _ in screen.form.fields[1].value)


async def test_reviewed_captions_are_counted_before_they_are_overwritten(workspace: Workspace) -> None:
    """Two reviewed ones: the line says so, R asks; without a yes nothing starts, and untagged images alone can be."""
    folder = make_dataset(workspace)
    mark_reviewed(workspace, [workspace.key_of(folder / name) for name in ("rinni_1.png", "rinni_2.png")])
    before = (folder / "rinni_1.txt").read_bytes()
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "4 captions are written anew, 2 of them reviewed" in screen.progress.plain)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen and screen.outlook.starting is None)
        assert not list_runs(workspace)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("j", "enter")
        await over(pilot, screen, workspace)
        assert (folder / "rinni_1.txt").read_bytes() == before and (folder / "rinni_3.txt").exists()


async def test_a_dataset_that_is_being_tagged_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's run is on it: the line and R name that run; one's own is named, too."""
    monkeypatch.setenv("KOHYA_TUI_DEMO_TAG_SECONDS", "0.5")
    make_dataset(workspace, captions={f"rinni_{number:02}.png": None for number in range(40)})
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("R")
        await until(pilot, lambda: screen.run.stoppable is not None and _step(screen) > 0, 60)
        run = list_runs(workspace)[0]
        await pilot.press("R")
        await until(pilot, lambda: any(run.id in text for text in toasts(app)))
        screen.run.is_live, screen.run.seen = False, None  # as if it were another machine's: only the lock tells
        await pilot.press("R")
        await until(pilot, lambda: any("is being tagged" in text and run.id in text for text in toasts(app)))
        assert len(list_runs(workspace)) == 1
        screen._tick()
        await until(pilot, lambda: screen.run.stoppable is not None)
        await pilot.press("X")
        await over(pilot, screen, workspace)


async def test_after_u_the_pass_is_not_said_to_be_there(workspace: Workspace) -> None:
    """u takes the pass back: the line says so and offers U, and what R would do stands there again."""
    folder = make_dataset(workspace, captions={"rinni_1.png": None})
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("R")
        await over(pilot, screen, workspace)
        await until(pilot, lambda: "u takes this pass back" in screen.progress.plain)
        await pilot.press("u")
        await until(pilot, lambda: "taken back" in screen.progress.plain)
        assert "finished" not in screen.progress.plain and "R tags 1 image" in screen.progress.plain
        assert not list(folder.glob("*.txt"))
        await pilot.press("U")
        await until(pilot, lambda: "u takes this pass back" in screen.progress.plain)


async def test_the_provider_is_red_before_the_start(workspace: Workspace) -> None:
    """CUDA on a machine without it: the field and the line below are in the colour for bad, with a command."""
    make_dataset(workspace)
    app = app_on(workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: "R tags" in screen.progress.plain)
        wheels = {"onnxruntime-gpu": "1.27.0"}
        reason = "The GPU cannot be used: libcudnn.so.9 is missing. Repair: pip install 'kohya-tui[cuda]'"
        screen._tried["cuda"] = Probe("CPU", False, reason)
        screen._known = replace(screen._known, machine=Machine(wheels, 580, "RTX 4090", "install", "repair"))
        screen._known = screen._with_trials(screen._known)
        await go_to(pilot, screen, "provider")
        await pilot.press("right")
        await until(pilot, lambda: "libcudnn.so.9 is missing" in screen.progress.plain)
        assert "pip install 'kohya-tui[cuda]'" in screen.progress.plain
        roles = {role for text, role in screen.form.fields[2].value if "libcudnn" in text}
        assert roles == {"bad"}
        await go_to(pilot, screen, "gpu")
        await pilot.press("space", "R")
        await until(pilot, lambda: any("A GPU is required" in text for text in toasts(app)))
        assert not list_runs(workspace)


async def test_every_option_of_the_tagger_has_a_field(workspace: Workspace) -> None:
    """A field for each option of the command line, but for those that only a command line has."""
    keys = {field.key for group in GROUPS for field in group.fields(TagRequest(""), Facts())}
    changed = set()
    for key in [*keys, "policy", "trigger", "provider"]:
        request = TagRequest("", output_path=None)
        if key in tag_values.CAPTION_FLAGS or key in tag_values.REQUEST_FLAGS:
            found = tag_values.switched(request, key)
        elif key in tag_values.CHOICES:
            found = request
            for value in tag_values.CHOICES[key]:
                other = tag_values.chosen(request, key, value)
                changed |= {name for name in flat(request) if flat(request)[name] != flat(other)[name]}
        elif key == "also":
            found = replace(request, more_models=("demo",))
        else:
            typed = {
                "single": "a=0.5",
                "sets": "colab",
                "replacement": "a,b",
                "extension": ".caption",
                "separator": " ",
            }
            found = tag_values.changed(request, key, typed.get(key, "1"))
        changed |= {name for name in flat(request) if flat(request)[name] != flat(found)[name]}
    elsewhere = {"target", "model", "dry_run", "detach", "json", "caption"}
    assert set(flat(TagRequest(""))) - changed == elsewhere - {"caption"}


def flat(request: TagRequest) -> dict[str, Any]:
    """All options by name."""
    values = asdict(request)
    return values.pop("caption") | values


@pytest.mark.parametrize(
    ("value", "by", "then"),
    [
        (0.35, 1, 0.4),
        (0.35, -1, 0.3),
        (0.37, 1, 0.4),
        (0.37, -1, 0.35),
        (1.0, 1, 1.1),
        (1.1, -1, 1.0),
        (0.05, -1, 0.05),
    ],
)
def test_a_threshold_steps_by_a_twentieth(value: float, by: int, then: float) -> None:
    """From a value in between to the next round one; above 1 it is off, and never 0."""
    assert tag_values.stepped_threshold(value, by) == then
