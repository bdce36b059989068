"""The queue and sweeps in the app: what waits, in which order, the keys that change it, and the ways to begin."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from textual.pilot import Pilot

from core.hardware import GpuReading
from core.problems import Problem, Severity
from core.runs import launch, proc, queue, store
from core.runs.model import Run, RunState
from core.runs.queue import Wish
from core.workspace import Workspace
from tests.core.runs_kit import Runs, wait_for
from tests.tui.kit import app_on, toasts, until
from tests.tui.test_monitor import lay_run, screen_text
from tui.app import KohyaApp
from tui.screens.dialogs import Choose
from tui.screens.monitor import MonitorScreen
from tui.screens.start_ways import Machine, ways
from tui.widgets.run_list import RunRows, arranged

NO_GPU = GpuReading(message="No NVIDIA driver was found on this machine.")


@pytest.fixture
def line(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """One run that goes on, and two that wait behind it."""
    monkeypatch.setenv("KOHYA_TUI_STOP_GRACE", "0.5")
    monkeypatch.setenv("KOHYA_TUI_LEAVE_GRACE", "0.5")
    kit = Runs(workspace.root)
    made = []
    for name in ("going", "first", "second"):
        made.append(queue.add(kit.folder, kit.spec("say('up'); time.sleep(600)", name=name), {}, Wish(), NO_GPU))
        if name == "going":
            wait_for(lambda: store.observe(made[0].dir).state is RunState.RUNNING)
    yield made
    for run in store.list_runs(workspace):
        if run.state is RunState.QUEUED and run.supervised and run.status.supervisor_pid:
            proc.send([run.status.supervisor_pid], 9)
    for run in store.list_runs(workspace):
        proc.send(launch.group_of(run), 9)


async def listed(pilot: Pilot[None], app: KohyaApp) -> MonitorScreen:
    """The list of runs on the Monitor screen."""
    await pilot.press("5")
    await until(pilot, lambda: isinstance(app.screen, MonitorScreen))
    screen = app.screen
    assert isinstance(screen, MonitorScreen)
    screen.show_list()
    await until(pilot, lambda: screen.all_runs.runs)
    return screen


def names() -> list[str]:
    return [run.spec.name for run in queue.waiting()]


async def test_what_waits_stands_before_what_ended_and_its_keys_act(workspace: Workspace, line: list[Run]) -> None:
    """Position, held, why; J and K change the order, Z holds and lets go, X takes out after a question."""
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await listed(pilot, app)
        await until(pilot, lambda: "queued #1" in screen_text(pilot))
        assert [run.spec.name for run in screen.all_runs.runs] == ["going", "first", "second"]
        assert "2 wait" in screen_text(pilot)
        await pilot.press("g", "down")
        await until(pilot, lambda: "J later" in screen_text(pilot))
        await pilot.press("J")
        await until(pilot, lambda: names() == ["second", "first"])
        await until(pilot, lambda: screen.all_runs.runs[1].spec.name == "second")
        assert screen.all_runs.under_cursor is not None
        assert screen.all_runs.under_cursor.spec.name == "first"  # the cursor goes with it
        await pilot.press("Z")
        await until(pilot, lambda: "held #2" in screen_text(pilot))
        await pilot.press("Z")
        await until(pilot, lambda: "held" not in screen_text(pilot).replace("is held;", ""))
        await pilot.press("K")
        await until(pilot, lambda: names() == ["first", "second"])
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: names() == ["second"])
        await until(pilot, lambda: "J later" not in screen_text(pilot) or screen.all_runs.runs[1].spec.name == "second")


async def test_a_waiting_run_says_what_it_waits_for_and_can_be_started(workspace: Workspace, line: list[Run]) -> None:
    """Its own page: place, since when, who is before it, what starts it, the keys; R starts it past the queue."""
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await listed(pilot, app)
        screen.show_run(line[2].id)
        await until(pilot, lambda: "Number 2 of this machine's queue, since" in screen_text(pilot))
        text = screen_text(pilot)
        assert "It starts by itself" in text and "R start now" in text and "X take it out" in text
        await pilot.press("Z")
        await until(pilot, lambda: "It is held" in screen_text(pilot) and "Z let it go" in screen_text(pilot))
        await pilot.press("C")
        await until(pilot, lambda: any("second has not begun: R starts it now." in text for text in toasts(app)))
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: store.observe(line[2].dir).state is RunState.RUNNING)
        assert store.observe(line[0].dir).live and names() == ["first"]
        await until(pilot, lambda: "▶ second" in screen_text(pilot))


async def test_what_waits_in_vain_is_offered(workspace: Workspace, line: list[Run]) -> None:
    """A killed supervisor: said when the app starts and in the list; Z makes it wait again."""
    os.kill(line[1].status.supervisor_pid or 0, signal.SIGKILL)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: any("waits in vain" in text for text in toasts(app)))
        screen = await listed(pilot, app)
        await until(pilot, lambda: "waits in vain: Z" in screen_text(pilot))
        await pilot.press("g", "down", "Z")
        await until(pilot, lambda: store.observe(line[1].dir).supervised)
        await until(pilot, lambda: "in vain: Z" not in screen_text(pilot))
        assert screen.all_runs.runs[1].id == line[1].id


async def test_a_sweep_is_tied_together_and_compared(workspace: Workspace) -> None:
    """Two runs of a sweep: a bracket in the list; & shows a table and their curves, Enter opens one."""
    for label in ("lr1e-4", "lr5e-4"):
        run_id = lay_run(workspace, "sd15_long", f"rinni-{label}", RunState.FINISHED)
        path = workspace.runs / run_id / "spec.json"
        group = {"id": "20261130-120000-rinni-sweep", "label": label, "values": {"learning_rate": label[2:]}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"group": group}))
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await listed(pilot, app)
        await until(pilot, lambda: "┌ rinni-lr" in screen_text(pilot) and "└ rinni-lr" in screen_text(pilot))
        await pilot.press("ampersand")
        await until(pilot, lambda: "Sweep 20261130-120000-rinni-sweep" in screen_text(pilot))
        text = screen_text(pilot)
        assert "label" in text and "lowest" in text and "300/300" in text
        await pilot.press("S")
        await until(pilot, lambda: "lr1e-4 ◆" in screen_text(pilot) and "lr5e-4 ◆" in screen_text(pilot))
        assert "lr5e-4 of 2 · e6 · seed 1" in screen_text(pilot)
        await pilot.press("escape")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and screen.news is not None)


def test_the_ways_to_begin() -> None:
    """Several GPUs are named; one that is taken leaves the queue; a broken config leaves nothing."""
    two = Machine((("0", "RTX 4090: rinni is under way"), ("1", "RTX 4090: 24.0 GiB, free")), 3, ("local", "slurm"))
    found = ways(two, [], "local")
    assert [way.label for way in found] == [
        "Start now on GPU 0",
        "Start now on GPU 1",
        "Queue it",
        "Queue it for GPU 0",
        "Queue it for GPU 1",
        "Queue it for a time …",
        "Queue it, held",
        "Sweep …",
        "Launcher: local",
    ]
    assert "3 runs wait before it" in found[2].why
    taken = Problem(Severity.ERROR, "KT411", "rinni", "has GPU 0")
    assert [way.label for way in ways(Machine(), [taken], "local")][:1] == ["Queue it"]
    assert [way.label for way in ways(two, [], "slurm")] == ["Hand it to Slurm", "Sweep …", "Launcher: slurm"]
    assert ways(two, [], "slurm")[0].launcher == "slurm"
    assert ways(two, [Problem(Severity.ERROR, "KT206", "x", "no model")], "local") == []


def test_rows_of_waiting_runs_say_why(workspace: Workspace, line: list[Run]) -> None:
    """At 80 columns: the place, and in place of steps what it waits for."""
    runs = arranged(store.list_runs(workspace))
    rows = RunRows()
    rows.update(runs, {run.id: "after rinni-a" for run in runs}, {}, 80)
    text = "".join(part for part, _ in rows.cells(1, 80))
    assert "queued #1" in text and "after rinni-a" in text
    assert len(text) <= 80
