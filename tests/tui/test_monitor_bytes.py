"""What the Monitor sends: nothing when nothing changed, and only the changed cells otherwise."""

from __future__ import annotations

import time

import pytest
from rich.console import Console
from textual._compositor import ChopsUpdate
from textual.containers import Vertical

from core import hardware
from core.hardware import GpuReading, GpuSnapshot, HostSnapshot
from core.runs.model import RunState
from core.workspace import Workspace
from tests.tui.stage import Stage
from tests.tui.test_monitor import app_for, lay_run, monitor, until
from tui.trim import TrimmedCompositor
from tui.widgets.lines import LiveLines

GIB = 1 << 30


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every partial update as the terminal would get it."""
    console = Console(width=200, force_terminal=True, color_system="truecolor")
    updates: list[str] = []
    render = TrimmedCompositor.render_partial_update

    def recorded(self: TrimmedCompositor) -> ChopsUpdate | None:
        update = render(self)
        if update is not None:
            updates.append(update.render_segments(console))
        return update

    monkeypatch.setattr(TrimmedCompositor, "render_partial_update", recorded)
    return updates


async def test_a_number_at_the_end_of_a_line_is_sent_alone(sent: list[str]) -> None:
    """A step counter behind a long text costs a cursor move, two colours and the digit: no 60 bytes."""
    panel = LiveLines()
    app = Stage(panel)
    async with app.run_test(size=(120, 4)) as pilot:
        line = [("a long text that stays as it is, " * 2, "text"), ("step ", "muted")]
        panel.show([[*line, ("101", "text")]])
        await pilot.pause()
        sent.clear()
        panel.show([[*line, ("102", "text")]])
        await pilot.pause()
        text = "".join(sent)
        assert "2" in text
        assert "long text" not in text
        assert len(text) < 60
        sent.clear()
        panel.show([[*line, ("102", "text")]])
        await pilot.pause()
        assert not sent


async def test_lines_that_changed_while_they_were_hidden_are_drawn_anew() -> None:
    """A run's head, left for the list and filled with another run: it begins empty, not with the first one."""
    panel = LiveLines()
    view = Vertical(panel)
    app = Stage(view)
    async with app.run_test(size=(60, 4)) as pilot:
        panel.show([[("a long line of another run, 6m ago", "text")]])
        await pilot.pause()
        view.display = False
        await pilot.pause()
        panel.show([])
        view.display = True
        await pilot.pause()
        assert app.rows()[0] == ""


async def test_a_screen_on_which_nothing_changes_sends_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, sent: list[str]
) -> None:
    """A finished run on a quiet machine: after the first pictures, five polls of everything send no byte."""
    monkeypatch.setattr(hardware, "read_gpus", lambda timeout=2.0, max_age=0.0: GpuReading((), "no driver"))
    monkeypatch.setattr(hardware, "read_host", lambda folder: HostSnapshot(3.0, GIB, 8 * GIB, 10**11, 10**12, 0.1))
    run_id = lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, run_id)
        await until(pilot, lambda: len(screen.view.gauges.plain) > 10 and screen._beats > 3)
        sent.clear()
        beats = screen._beats
        await until(pilot, lambda: screen._beats >= beats + 4)
        assert sent == []


async def test_a_busy_gpu_costs_a_few_hundred_bytes_a_second(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, sent: list[str]
) -> None:
    """Load, memory, heat and power of one GPU change every second: with the header less than 500 bytes each time."""
    beat = iter(range(10_000))

    def reading(timeout: float = 2.0, max_age: float = 0.0) -> GpuReading:
        now = next(beat)
        used = int((19.8 + 0.1 * (now % 2)) * GIB)
        gpu = GpuSnapshot(0, "RTX 4090", "GPU-0", used, 24 * GIB, 90 + now % 9, 70 + now % 2, 330 + now % 20, 450, 60)
        return GpuReading((gpu,))

    monkeypatch.setattr(hardware, "read_gpus", reading)
    monkeypatch.setattr(
        hardware, "read_host", lambda folder: HostSnapshot(3.0 + next(beat) % 9, GIB, 8 * GIB, 10**11, 10**12, 0.1)
    )
    run_id = lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, run_id)
        await until(pilot, lambda: "97 %" in screen.view.gauges.plain or screen._beats > 3)
        sent.clear()
        start, beats = time.monotonic(), screen._beats
        await until(pilot, lambda: screen._beats >= beats + 4)
        each_second = sum(len(text.encode()) for text in sent) / (time.monotonic() - start)
        assert 20 < each_second < 500


def test_this_textual_still_has_what_is_trimmed() -> None:
    """`tui/trim.py` stands on private names: this fails when Textual moves them."""
    from textual.screen import Screen

    assert isinstance(Screen()._compositor, TrimmedCompositor.__base__ or object)
    assert {"render_segments"} <= set(vars(ChopsUpdate))


async def test_the_list_of_runs_sends_nothing_while_it_stays_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, sent: list[str]
) -> None:
    """The list is read again every few seconds; when nothing is different no row is drawn again."""
    monkeypatch.setattr(hardware, "read_gpus", lambda timeout=2.0, max_age=0.0: GpuReading((), "no driver"))
    run_id = lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)
    lay_run(workspace, "sd15_nan", "mika", RunState.FAILED, "NaN")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, run_id)
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.all_runs.rows.rows) == 2 and len(screen.all_runs.listing.progress) == 2)
        await until(pilot, lambda: not screen._lists)
        sent.clear()
        screen._list_runs()
        await until(pilot, lambda: not screen._lists)
        await pilot.pause()
        assert sent == []
