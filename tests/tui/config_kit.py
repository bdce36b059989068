"""A workspace with a config that could be trained, and what the tests of the Config screen look at."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from core.config.documents import Config
from core.config.presets import draft, write_new
from core.demo.trainer.base import write_base
from core.problems import Problem
from core.workspace import Workspace
from tests.tui.kit import make_dataset, until
from tui.app import KohyaApp
from tui.screens.config import ConfigScreen

SETTINGS: dict[str, Any] = {"trainer": "demo"}


@pytest.fixture
def ready_workspace(workspace: Workspace) -> Workspace:
    """A dataset, the demo's base model and a config that could be trained."""
    make_dataset(workspace, captions={f"rinni_{number}.png": "rinni, 1girl, solo" for number in range(4)})
    write_base(workspace.models / "demo-base.safetensors")
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    return workspace


async def opened(pilot: Pilot[None], app: KohyaApp) -> ConfigScreen:
    """The screen, with its first check done."""
    await pilot.press("4")
    await until(pilot, lambda: isinstance(app.screen, ConfigScreen))
    screen = app.screen
    assert isinstance(screen, ConfigScreen)
    if screen.config is not None:
        await checked(pilot, screen)
    return screen


async def checked(pilot: Pilot[None], screen: ConfigScreen) -> None:
    """Nothing is being checked or written any more."""
    await pilot.pause(0.2)
    await until(
        pilot,
        lambda: screen.opened is not None and screen.opened.findings is not None and not screen.app.writer.pending,
    )


def worst(screen: ConfigScreen) -> dict[str, Problem]:
    return screen.opened.worst if screen.opened is not None else {}


def on_disk(workspace: Workspace, name: str = "rinni") -> Config:
    return Config.load(workspace.configs / name)


def text_of(screen: ConfigScreen) -> str:
    """What is on the screen."""
    return "\n".join(rows_of(screen))


def rows_of(screen: Screen[Any]) -> list[str]:
    """The lines of a screen or dialog."""
    strips = screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]
