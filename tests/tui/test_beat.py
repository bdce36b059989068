"""The beat: what is read on its thread is taken over together, and what trembles is not drawn again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from core.hardware import GpuReading, GpuSnapshot, HostSnapshot
from core.problems import UserError
from core.workspace import Workspace
from tests.tui.test_monitor import app_for, until
from tui.beat import Beat
from tui.widgets.calm import Calm

GIB = 1 << 30


class Looks:
    """A screen that counts what it is asked for; the second look fails."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.taken: list[str] = []

    def read(self, whole: bool) -> Callable[[], None] | None:
        self.asked.append(whole)
        if len(self.asked) == 2:
            raise UserError("The disk is away")
        return (lambda: self.taken.append(threading.current_thread().name)) if whole else None


async def test_a_screen_is_read_for_until_it_leaves(workspace: Workspace) -> None:
    """Four looks a second, one of them whole; what fails is told and the next ones come; none after it has left."""
    app, looks = app_for(workspace), Looks()
    async with app.run_test(size=(80, 24)) as pilot:
        app.beat.follow(looks)
        await until(pilot, lambda: len(looks.taken) >= 2)
        assert set(looks.taken) == {threading.main_thread().name}
        assert looks.asked[0]
        await until(pilot, lambda: False in looks.asked)  # looks in between
        assert "The disk is away" in " ".join(str(note.message) for note in app._notifications)
        app.beat.leave(looks)
        app.beat.ask()
        count = len(looks.asked)
        clock: list[float] = []
        app.set_interval(0.5, lambda: clock.append(time.monotonic()))
        await until(pilot, lambda: len(clock) >= 3)
        assert len(looks.asked) <= count + 1  # one that was under way


async def test_the_beat_ends_with_the_app(workspace: Workspace) -> None:
    """No thread of an app that was left goes on."""
    app = app_for(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        app.beat.start()
        await pilot.pause()
        thread = app.beat._thread
        assert isinstance(app.beat, Beat)
        assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


def test_a_load_that_trembles_stays_and_one_that_moves_is_shown() -> None:
    """An idle host jumps between 1 and 4 %: one number; a real load is there within four readings."""
    calm = Calm()
    shown = [calm.host(HostSnapshot(cpu_percent=value)).cpu_percent for value in (2.0, 4.0, 1.0, 3.5, 1.2, 4.0, 2.2)]
    assert set(shown) == {2.0}
    for _ in range(4):
        found = calm.host(HostSnapshot(cpu_percent=60.0)).cpu_percent
    assert found == 60.0
    assert calm.host(HostSnapshot()).cpu_percent is None


def test_watts_and_memory_at_an_edge_of_rounding_do_not_flicker() -> None:
    """297 and 298 W would be 295 and 300 in turn; a real change of ten watts shows at once."""
    calm = Calm()

    def watts(value: float) -> float | None:
        return calm.gpus(GpuReading((GpuSnapshot(0, power=value, memory_used=5 * GIB),))).gpus[0].power

    assert {watts(value) for value in (297.4, 297.6, 296.9, 298.4)} == {297.4}
    assert watts(310.0) == 310.0
    steady = calm.gpus(GpuReading((GpuSnapshot(0, memory_used=5 * GIB + 30_000_000),))).gpus[0]
    assert (steady.memory_used, steady.power) == (5 * GIB, None)
