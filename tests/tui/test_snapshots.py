"""How every screen looks: empty, full and with something wrong, in the two usual sizes.

After a change that is meant, look at the report that the failed test names, then draw them anew:
`pytest tests/tui/test_snapshots.py --snapshot-update`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.strip import Strip

import core.hardware
import core.runs.ready
from core.config.presets import draft, write_new
from core.demo.trainer.base import write_base
from core.hardware import GpuReading, GpuSnapshot, HostSnapshot
from core.runs import store
from core.runs.model import RunState
from core.tagging import probe, providers
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint
from tests.tui.kit import app_on, make_dataset, ready
from tests.tui.test_monitor import lay_run
from tui.app import KohyaApp

DRAWN_WITH = Path(__file__).parent / "__snapshots__" / "drawn-with.txt"
HERE = f"textual {version('textual')}, rich {version('rich')}\n"
SMALL, LARGE = (80, 24), (120, 40)
HOUR = 3600.0
GIB = 1 << 30
GPU = GpuSnapshot(
    index=0,
    name="NVIDIA GeForce RTX 4090",
    uuid="GPU-1",
    memory_used=3 * GIB,
    memory_total=24 * GIB,
    utilization=12,
    temperature=44,
    power=61.0,
    power_limit=450.0,
    fan=30,
)
HOST = HostSnapshot(
    cpu_percent=7.0, memory_used=9 * GIB, memory_total=64 * GIB, disk_free=500 * GIB, disk_total=900 * GIB, load=0.4
)


class Disk(NamedTuple):
    """What `shutil.disk_usage` says."""

    total: int
    used: int
    free: int


WORDS = {
    "rinni_1.png": "rinni, 1girl, solo, smile, looking at viewer, red hair",
    "rinni_2.png": "rinni, 1girl, open mouth, outdoors",
    "rinni_3.png": None,
    "rinni_4.png": "rinni, 1girl, blue eyes, smile, smile",
    "rinni_10.png": "rinni, solo, school uniform",
}

Scene = Callable[[Pilot[Any]], Awaitable[object]]
Compare = Callable[..., bool]


@pytest.fixture(autouse=True)
def still(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine for all: a GPU and a host that never change, and no run id with a date."""
    if request.config.option.update_snapshots:
        DRAWN_WITH.parent.mkdir(exist_ok=True)
        DRAWN_WITH.write_text(HERE, "utf-8")
    elif DRAWN_WITH.read_text("utf-8") != HERE:
        pytest.skip(f"drawn with {DRAWN_WITH.read_text('utf-8').strip()}; here is {HERE.strip()}")
    for module in (core.hardware, core.runs.ready):
        monkeypatch.setattr(
            module, "read_gpus", lambda timeout=2.0, max_age=0.0: GpuReading((GPU,), None, "580.95", "13.0")
        )
    monkeypatch.setattr(core.hardware, "read_host", lambda path: HOST)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(900 * GIB, 400 * GIB, 500 * GIB))
    monkeypatch.setattr(providers, "driver_version", lambda: 580)
    monkeypatch.setattr(probe, "probe", lambda provider: probe.Probe("CUDA", True, None))
    monkeypatch.setattr(providers, "installed_wheels", lambda: {"onnxruntime-gpu": "1.27.0"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "new_id", lambda folder, name, *rest: f"{name}-1")


def text_of(app: KohyaApp) -> str:
    """The screen as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def scene(*keys: str, shows: str) -> Scene:
    """Press the keys and wait until `shows` stands there; taken when nothing is read, written or redrawn."""

    async def play(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, KohyaApp)
        if app.active_dataset is not None:
            await ready(pilot, app)
        await pilot.press(*keys)
        deadline = time.monotonic() + 30
        while shows not in text_of(app):
            assert time.monotonic() < deadline, text_of(app)
            await pilot.pause(0.02)
        await calm(pilot, app)

    return play


def scenes(*parts: Scene) -> Scene:
    """One behind the other: keys for a dialog are pressed when it is there."""

    async def play(pilot: Pilot[Any]) -> None:
        for part in parts:
            await part(pilot)

    return play


async def calm(pilot: Pilot[Any], app: KohyaApp) -> None:
    """The same picture for half a second, and nobody at work."""
    seen: list[Strip] = []
    since = time.monotonic()
    deadline = since + 30
    while time.monotonic() - since < 0.5:
        assert time.monotonic() < deadline, f"the screen does not come to rest:\n{text_of(app)}"
        await pilot.pause(0.02)
        now = app.screen._compositor.render_strips()
        asks = isinstance(app.screen, ModalScreen)  # who opened it waits for the answer
        busy = app.writer.pending or sum(not worker.is_finished for worker in app.workers) > asks
        if busy or now != seen:
            seen, since = now, time.monotonic()


def aged(folder: Path, hours: float = 1.5) -> None:
    """Everything in it was written that long ago."""
    moment = time.time() - hours * HOUR
    for path in folder.rglob("*"):
        os.utime(path, (moment, moment))


def full(workspace: Workspace) -> KohyaApp:
    """Two datasets, a config that can be trained, and a training that went well."""
    make_dataset(workspace, captions=WORDS)
    make_dataset(workspace, "mika", {f"mika_{number}.png": "mika, 1girl, solo" for number in range(3)})
    write_base(workspace.models / "demo-base.safetensors")
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)
    aged(workspace.root)
    app = app_on(workspace, trainer="demo", tagger="demo")
    app.active_dataset = "rinni"
    return app


def empty(workspace: Workspace) -> KohyaApp:
    """A workspace with nothing in it."""
    return app_on(workspace, trainer="demo", tagger="demo")


def broken_picture(workspace: Workspace) -> KohyaApp:
    """A file that is no picture. Its error names the whole path: here it begins at the workspace."""
    app = full(workspace)
    (workspace.train_data / "rinni" / "10_rinni" / "rinni_1.png").write_bytes(b"half a picture")
    app.workspace = Workspace(Path(workspace.root.name))
    return app


def wrong_config(workspace: Workspace) -> KohyaApp:
    """A number that is a word, and a key that nobody knows."""
    app = full(workspace)
    file = workspace.configs / "rinni" / "train.toml"
    text = re.sub("network_dim = .*", 'network_dim = "many"', file.read_text("utf-8"))
    file.write_text(f"{text}\nlearning_rte = 1.0\n", "utf-8")
    return app


def new_config(workspace: Workspace) -> KohyaApp:
    """A base model of the user's own, and no trainer yet."""
    make_dataset(workspace, captions=WORDS)
    checkpoint(workspace.models / "xl.safetensors", SHAPES["SDXL"])
    return app_on(workspace)


def failed(workspace: Workspace) -> KohyaApp:
    """The newest training ran out of memory."""
    app = full(workspace)
    lay_run(workspace, "sd15_oom", "mika", RunState.FAILED, "CUDA ran out of memory: lower train_batch_size.")
    shutil.rmtree(workspace.output / "mika")
    app.active_run = "mika-1"
    return app


def finished(workspace: Workspace) -> KohyaApp:
    """Monitor opens at the training that went well."""
    app = full(workspace)
    app.active_run = "rinni-1"
    return app


CONFIG_PAGES = (
    ("folders", full, scenes(scene("4", shows="train_network.py"), scene("w", shows="an epoch"))),
    ("prompts", full, scenes(scene("4", shows="train_network.py"), scene("w", "w", shows="drawn: "))),
    (
        "compare",
        full,
        scenes(scene("4", shows="train_network.py"), scene("d", shows="Compare"), scene("enter", shows="lines, with")),
    ),
    ("new", new_config, scenes(scene("4", shows="No config"), scene("ctrl+n", shows="values differ"))),
)


@pytest.mark.parametrize(
    ("make", "size", "play"),
    [
        pytest.param(empty, SMALL, scene(shows="no images here yet"), id="dataset-empty-80"),
        pytest.param(full, SMALL, scene(shows="rinni_10.png"), id="dataset-full-80"),
        pytest.param(full, LARGE, scene(shows="rinni_10.png"), id="dataset-full-120"),
        pytest.param(broken_picture, LARGE, scene(shows="rinni_10.png"), id="dataset-broken-120"),
        pytest.param(empty, SMALL, scene("2", shows="2 Tag"), id="tag-empty-80"),
        pytest.param(full, SMALL, scene("2", shows="R tags"), id="tag-full-80"),
        pytest.param(full, LARGE, scene("2", shows="R tags"), id="tag-full-120"),
        pytest.param(empty, SMALL, scene("3", shows="3 Review"), id="review-empty-80"),
        pytest.param(full, SMALL, scene("3", shows="smile"), id="review-full-80"),
        pytest.param(full, LARGE, scene("3", shows="smile"), id="review-full-120"),
        pytest.param(broken_picture, LARGE, scene("3", shows="rinni_1.png"), id="review-broken-120"),
        pytest.param(empty, SMALL, scene("4", shows="4 Config"), id="config-empty-80"),
        pytest.param(full, SMALL, scene("4", shows="rinni"), id="config-full-80"),
        pytest.param(full, LARGE, scene("4", shows="rinni"), id="config-full-120"),
        pytest.param(wrong_config, LARGE, scene("4", shows="learning_rte"), id="config-wrong-120"),
        *(
            pytest.param(make, size, play, id=f"config-{name}-{size[0]}")
            for name, make, play in CONFIG_PAGES
            for size in (SMALL, LARGE)
        ),
        pytest.param(empty, SMALL, scene("5", shows="No runs yet"), id="monitor-empty-80"),
        pytest.param(finished, SMALL, scene("5", shows="300/300"), id="monitor-full-80"),
        pytest.param(finished, LARGE, scene("5", shows="300/300"), id="monitor-full-120"),
        pytest.param(failed, LARGE, scene("5", shows="ran out of memory"), id="monitor-failed-120"),
    ],
)
def test_a_screen_looks_as_before(
    workspace: Workspace,
    snap_compare: Compare,
    make: Callable[[Workspace], KohyaApp],
    size: tuple[int, int],
    play: Scene,
) -> None:
    """The same cells in the same colours as in the picture that is kept."""
    assert snap_compare(make(workspace), terminal_size=size, run_before=play)
