"""What `kohya-tui demo` shows: it tags and trains by itself, and every screen is alive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.demo.workspace import make_demo
from core.runs.launch import stop
from core.runs.model import ENDED_STATES
from core.runs.store import list_runs
from core.settings import load
from core.workspace import Workspace
from tests.core.runs_kit import wait_for
from tests.tui.kit import until
from tui.app import KohyaApp
from tui.graphics import Choice
from tui.widgets.line import Line


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Its tag run is soon over; its training, which takes two minutes, is stopped at the end."""
    monkeypatch.setattr("core.demo.workspace.TAG_SECONDS", "0.15")
    workspace = make_demo(tmp_path / "demo")
    yield workspace
    for run in list_runs(workspace):
        if run.state not in ENDED_STATES:
            stop(run, "stop-now")
    wait_for(lambda: all(run.state in ENDED_STATES for run in list_runs(workspace)))


async def test_what_was_tagged_is_shown_while_a_training_goes_on(demo: Workspace) -> None:
    """Nobody opened Tag, and the training in the header never changes: the list and Review have the captions still."""
    app = KohyaApp(demo, load(demo.root), Choice("blocks", "a test"), demo=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.collection is not None and app.collection.untagged() == 12)
        await pilot.press("3")
        await until(pilot, lambda: "1 of 12 · untagged 12" in app.screen.query_one("#where", Line).plain)
        await until(pilot, lambda: app.pulse.name == "rinni", 30)
        await until(pilot, lambda: "untagged" not in app.screen.query_one("#where", Line).plain, 60)
        assert app.pulse.state == "running"
        await pilot.press("1")
        await until(pilot, lambda: "uncaptioned" not in app.screen.query_one("#where", Line).plain)
