"""What the app says of runs: on the screen, by the bell, as a notice of the desktop; and how it is set up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.runs.model import RunState
from core.runs.notify import secrets_file
from core.settings import user_file
from core.workspace import Workspace
from tests.core.runs_kit import Runs, wait_for
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui import telling

pytest_plugins = ("tests.core.runs_fixtures",)


def sent_by(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to the terminal from now on."""
    sent: list[str] = []
    monkeypatch.setattr(app._driver, "write", sent.append)
    return sent


async def test_the_end_of_a_run_rings(workspace: Workspace, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """On whatever screen: a message with the reason, the bell, a notice; what ended before is not told again."""
    make_dataset(workspace)
    kit = Runs(workspace.root)
    old = kit.ended(kit.start("raise ImportError('No xformers')", name="old"))
    app = app_on(workspace)
    async with app.run_test() as pilot:
        await ready(pilot, app)
        sent = sent_by(app, monkeypatch)
        run = kit.start("until(out.parent / 'go'); raise ImportError('No xformers')", name="rinni", id="20260102-1-r")
        await until(pilot, lambda: app.pulse.run_id == run.id)
        (workspace.root / "go").touch()
        await until(pilot, lambda: any("rinni failed" in text for text in toasts(app)))
        assert not any(old.spec.name in text for text in toasts(app))
        assert "\a" in sent
        assert any(text.startswith("\x1b]9;rinni failed: ") for text in sent)


def test_only_news_are_told(runs: Runs) -> None:
    """A stop on request, a state as before: nothing; NaN and a lost run: a word."""
    run = runs.create("pass", name="rinni")
    ended = replace(run, status=replace(run.status, state=RunState.STOPPED, reason="Stopped on request."))
    assert telling.news_of(ended, "running", None) is None
    taken = replace(ended, status=replace(ended.status, reason="Taken out of the queue before it started."))
    assert telling.news_of(taken, "queued", None) is None
    lost = replace(run, status=replace(run.status, state=RunState.LOST, reason="The machine was restarted."))
    assert (telling.news_of(lost, "running", None) or 0).title == "rinni is lost"  # type: ignore[union-attr]
    nan = replace(run, status=replace(run.status, state=RunState.RUNNING, warning="The loss is not a number (NaN)."))
    assert (telling.news_of(nan, "running", None) or 0).event == "nan"  # type: ignore[union-attr]
    assert telling.news_of(nan, "running", nan.status.warning) is None


@pytest.mark.parametrize(
    ("environment", "passthrough", "notice"),
    [
        ({"TERM": "xterm-256color"}, False, "\x1b]9;a, b: why\x1b\\"),
        ({"TERM": "foot"}, False, "\x1b]777;notify;a, b;why\x1b\\"),
        ({"TERM": "tmux-256color", "TMUX": "x"}, False, ""),
        ({"TERM": "tmux-256color", "TMUX": "x"}, True, "\x1bPtmux;\x1b\x1b]9;a, b: why\x1b\x1b\\\x1b\\"),
    ],
)
def test_a_notice_fits_the_terminal(environment: dict[str, str], passthrough: bool, notice: str) -> None:
    """By what the terminal knows, through tmux only where it lets it; a name cannot smuggle a sequence in."""
    assert telling.desktop_notice("a; b\x1b]0;x\x07"[:4], "why", environment, passthrough) == notice
    hostile = telling.desktop_notice("x\x1b\\\x1b]0;evil\x07", "", environment, True)
    assert "evil" not in hostile or "\x1b]0" not in hostile.replace("\x1b\x1b", "\x1b")


async def test_messages_are_set_up_from_the_palette(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic, a secret, the bell off: kept in the user's own files, and in force at once."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        telling.set_up(app)
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query("#answer"))
        await pilot.press(*"topic-7", "enter")
        await until(pilot, lambda: app.settings.notify.get("ntfy") == "topic-7")
        await until(pilot, lambda: len(app.screen_stack) == 2 and app.screen.query("#options"))
        await pilot.press("j", "enter")
        await until(pilot, lambda: app.screen.query("#answer"))
        await pilot.press(*"tk", "enter")
        await until(pilot, lambda: secrets_file().exists())
        await until(pilot, lambda: len(app.screen_stack) == 2 and app.screen.query("#options"))
        await pilot.press("j", "j", "j", "enter")
        await until(pilot, lambda: app.settings.notify.get("bell") is False)
        await until(pilot, lambda: len(app.screen_stack) == 2 and app.screen.query("#options"))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        sent = sent_by(app, monkeypatch)
        app.telling.ring("a", "b")
        assert "\a" not in sent and sent
    assert 'ntfy = "topic-7"' in user_file().read_text()
    wait_for(lambda: secrets_file().stat().st_mode & 0o777 == 0o600)


async def test_what_the_screen_shows_already_is_not_told_over_it(workspace: Workspace, runs: Runs) -> None:
    """In Monitor at that run no message covers it; at another run, or elsewhere, one comes."""
    make_dataset(workspace)
    kit = Runs(workspace.root)
    app = app_on(workspace)
    async with app.run_test() as pilot:
        await ready(pilot, app)
        for number, is_seen in ((1, True), (2, False)):
            stop = workspace.root / f"go{number}"
            run = kit.start(f"until(out.parent / '{stop.name}'); raise ImportError('No xformers')", name=f"run{number}")
            await until(pilot, lambda run=run: app.pulse.run_id == run.id)  # type: ignore[misc]
            if is_seen:
                await app.open_run(run.id)
            stop.touch()
            ended = kit.ended(run)
            await until(pilot, lambda run=run: app.pulse.run_id != run.id)  # type: ignore[misc]
            assert any(ended.spec.name in text for text in toasts(app)) is not is_seen
