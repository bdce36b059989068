"""Small datasets and a patient eye for the tests of the screens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from textual.pilot import Pilot

from core.settings import Settings
from core.workspace import Workspace
from tui.app import KohyaApp
from tui.graphics import Choice

CAPTIONS = {
    "rinni_1.png": "rinni, 1girl, solo, smile",
    "rinni_2.png": "rinni, 1girl, open mouth",
    "rinni_3.png": None,
    "rinni_4.png": "rinni, 1girl, blue eyes",
    "rinni_10.png": "rinni, solo",
}


def make_dataset(
    workspace: Workspace,
    name: str = "rinni",
    captions: Mapping[str, str | None] = CAPTIONS,
    size: tuple[int, int] = (64, 96),
) -> Path:
    """Flat pictures with these captions (None: no file) in `10_<name>`; returns that folder."""
    folder = workspace.train_data / name / f"10_{name}"
    folder.mkdir(parents=True)
    for number, (file, caption) in enumerate(captions.items()):
        Image.new("RGB", size, (40 * number % 256, 90, 160)).save(folder / file)
        if caption is not None:
            (folder / file).with_suffix(".txt").write_text(caption, "utf-8")
    return folder


def app_on(workspace: Workspace | None, **settings: Any) -> KohyaApp:
    """The app as a user has it on a terminal with half blocks."""
    return KohyaApp(workspace, Settings(**settings), Choice("blocks", "a test"))


async def until(pilot: Pilot[Any], holds: Callable[[], object], limit: float = 10.0) -> None:
    """Let the app work until something is true."""
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, "this did not become true in time"
        await pilot.pause(0.01)
    await pilot.pause()


async def ready(pilot: Pilot[Any], app: KohyaApp) -> None:
    """The dataset is read, and nothing waits to be written."""
    await until(pilot, lambda: app.collection is not None and app.collection.is_complete and not app.writer.pending)


def toasts(app: KohyaApp) -> list[str]:
    """What the app told the user."""
    return [str(each.message) for each in app._notifications]
