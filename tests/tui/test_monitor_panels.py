"""The Monitor's panels: other curves, steps nearer and further, one panel alone, the whole log, the machine."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace
from pathlib import Path

from core import hardware
from core.hardware import GpuInstance, GpuReading, GpuSnapshot, HostSnapshot
from core.runs.model import RunState
from core.runs.pace import has_stalled
from core.workspace import Workspace
from tests.tui.test_monitor import app_for, finished, lay_run, monitor, screen_text, until
from tui.screens.monitor_curves import name_of, views_of
from tui.screens.monitor_hardware import DiskTrend, HardwareFeed
from tui.widgets.chart import LossChart
from tui.widgets.curve import Curve
from tui.widgets.gauges import Gauges

GIB = 1 << 30
BUSY = GpuSnapshot(0, "NVIDIA GeForce RTX 4090", "GPU-0", 20 * GIB, 24 * GIB, 97, 71, 338.2, 450.0, 62, clock=2520)
HOST = HostSnapshot(12.3, 14 * GIB, 64 * GIB, 118_000_000_000, 500_000_000_000, 1.0)
__all__ = ["finished"]


def long_chart() -> LossChart:
    chart = LossChart()
    chart.curve.extend((step, 1 + 100 / step) for step in range(1, 1001))
    chart.total_steps, chart.ended = 1000, True
    chart.build(80, 20)
    return chart


def text_of(chart: LossChart) -> list[str]:
    return ["".join(text for text, _ in line) for line in chart.build(80, 20)]


def test_the_steps_are_zoomed_and_moved_by_keys() -> None:
    """Half as many steps at the newest end, a quarter to the left, all of them again; the axis follows the values."""
    chart = long_chart()
    chart.zoom(True)
    chart.zoom(True)
    assert chart.span == (750.0, 1000.0)
    assert "750–1,000" in text_of(chart)[0]
    values = chart._value_span()
    assert values is not None
    assert values[1] < 2
    chart.action_pan(-1)
    assert chart.span == (687.5, 937.5)
    chart.action_pan(-1_000_000)
    assert chart.span == (0.0, 250.0)
    chart.zoom(False)
    chart.zoom(False)
    assert chart.span is None


def test_a_zoomed_chart_goes_on_with_the_run() -> None:
    """The newest steps were in sight and stay so; a window in the past stays where it is."""
    chart = LossChart()
    chart.curve.extend((step, 1.0) for step in range(1, 401))
    chart.total_steps = 800
    chart.zoom(True)
    first = chart.span
    assert first is not None
    chart.curve.extend((step, 1.0) for step in range(401, 481))
    assert chart._step_span()[1] >= 480
    chart.action_pan(-1_000_000)
    past = chart.span
    chart.curve.extend((step, 1.0) for step in range(481, 490))
    assert chart._step_span() == past


def test_outliers_are_shown_when_they_are_wanted() -> None:
    """One loss of 50 among ones: `%` lets the axis go up to it, and says so."""
    chart = LossChart()
    chart.curve.extend((step, 50.0 if step == 500 else 1.0 + step / 1e4) for step in range(1, 1001))
    chart.total_steps = 1000
    assert "↑" in text_of(chart)[1]
    assert not chart.toggle_clip()
    assert "↑" not in text_of(chart)[1]
    assert "all values" in text_of(chart)[0]


def test_a_long_curve_is_what_points_one_by_one_give() -> None:
    """50,000 points at once with NaN among them: the same average, extremes and gaps in every window."""
    values = array("d", ((step * 7919 % 1000) / 1000 if step % 997 else float("nan") for step in range(50_000)))
    steps = array("i", range(50_000))
    bulk, single = Curve(0.95), Curve(0.95)
    bulk.fill(steps, values, 10)
    single.extend((step + 10, value) for step, value in zip(steps, values, strict=True))
    assert max(abs(a - b) for a, b in zip(bulk.smooth, single.smooth, strict=True) if a == a) < 1e-6
    for window in ((10, 50_010), (123.5, 40_000), (777, 900)):
        one, other = bulk.columns(*window, 111), single.columns(*window, 111)
        assert repr(one.low) == repr(other.low)
        assert repr(one.high) == repr(other.high)
        assert one.broken == other.broken


def test_views_are_made_of_what_the_trainer_records() -> None:
    """Loss with the validation beside it, epochs, rates with the U-Net first, and the rate that Prodigy really uses."""
    tags = [
        "loss/current", "loss/average", "lr/textencoder", "lr/unet", "lr/d*lr/unet", "lr/group0", "loss/epoch_average",
        "loss/validation/step_average", "loss/validation/epoch_average", "max_norm/keys_scaled",
    ]  # fmt: skip
    views = {view.name: view.tags for view in views_of(tags)}
    assert views["loss"] == ("loss/current", "loss/validation/epoch_average")
    assert views["learning rate"] == ("lr/unet", "lr/textencoder")
    assert views["d*lr"] == ("lr/d*lr/unet",)
    assert list(views) == ["loss", "epochs", "validation", "learning rate", "d*lr", "max_norm"]
    assert name_of("lr/d*lr/unet") == "d*lr unet"


async def test_dot_goes_through_the_curves_and_z_gives_one_panel_the_screen(
    workspace: Workspace, finished: str
) -> None:
    """`.` shows epochs and rates, `,` goes back; `tab z` makes the chart the whole screen, Esc brings the rest back."""
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        await pilot.press("full_stop")
        await until(pilot, lambda: "loss of each epoch" in screen_text(pilot))
        await pilot.press("full_stop")
        await until(pilot, lambda: "lr unet" in screen_text(pilot))
        await pilot.press("comma", "comma", "tab", "z")
        await until(pilot, lambda: screen.chart.size.height > 30 and "loss 1.209" in screen_text(pilot))
        assert "── log" not in screen_text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "── log" in screen_text(pilot))
        assert screen.query_one("#run").display
        await pilot.press("vertical_line")
        await until(pilot, lambda: screen.chart.size.width > 110)
        await pilot.press("vertical_line")
        await until(pilot, lambda: not screen.log_view.display)


async def test_the_log_is_read_back_to_its_first_line_and_sifted(workspace: Workspace, finished: str) -> None:
    """Of a long log the end is shown; `g` goes to the first line, `/` finds what is not read yet, `W` sifts."""
    log = workspace.runs / finished / "output.log"
    body = log.read_bytes()
    filler = b"".join(b"\nfiller line %d of many" % number for number in range(60_000))
    log.write_bytes(b"the very first line\n" + body + b"\nneedle in the hay\n" + filler + b"\nthe last words\n")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        await until(pilot, lambda: "the last words" in screen_text(pilot))
        await pilot.press("g")
        await until(pilot, lambda: "the very first line" in screen_text(pilot))
        assert "% of" in screen_text(pilot)
        await pilot.press("G")
        await until(pilot, lambda: "the last words" in screen_text(pilot) and screen.log_view.following)
        await pilot.press("slash", *"needle", "enter")
        await until(pilot, lambda: "needle in the hay" in screen_text(pilot))
        await pilot.press("G")
        await until(pilot, lambda: "the last words" in screen_text(pilot))
        for _ in range(3):
            await pilot.press("ctrl+u")
        with log.open("ab") as stream:
            stream.write(b"2026-11-22 10:15:28 ERROR    something broke                     train_util.py:12\n")
        await pilot.press("W")
        await until(pilot, lambda: "warnings only" in screen_text(pilot))
        await until(pilot, lambda: any("something broke" in entry.text for entry in screen.log_view.entries))
        assert all(entry.rank for entry in screen.log_view.entries)


async def test_a_resumed_run_shows_where_it_went_on(workspace: Workspace) -> None:
    """The chart begins with the first run's steps; `↻` stands where the second one took over."""
    first = lay_run(workspace, "sd15_resume_first", "rinni", RunState.STOPPED)
    second = lay_run(workspace, "sd15_resume", "rinni-2", RunState.FINISHED)
    path = workspace.runs / second / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resumed_from": first}))
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, second)
        await until(pilot, lambda: "↻" in screen_text(pilot))
        assert list(screen.chart.curve.steps) == list(range(1, 25))
        assert "24/24" in screen_text(pilot)


def test_a_stall_needs_silence_and_an_idle_device() -> None:
    """Eleven minutes without a sign: stalled when the GPU does nothing or cannot be read; slow steps have patience."""
    assert has_stalled(660, 0)
    assert has_stalled(660, None)
    assert not has_stalled(660, 40)
    assert not has_stalled(500, 0)
    assert not has_stalled(660, 0, usual_step=120)
    assert not has_stalled(None, 0)


def test_the_users_stall_minutes_hold_on_the_screen_as_well() -> None:
    """One rule for the message and for the screen: the limit that was frozen with the run; 0 is never."""
    assert has_stalled(200, 0, alerts={"stall_minutes": 3})
    assert not has_stalled(660, 0, alerts={"stall_minutes": 20})
    assert not has_stalled(1e6, 0, alerts={"stall_minutes": 0})


def test_the_time_until_the_disk_is_full_is_told_after_minutes_only() -> None:
    """600 MB in ten minutes and 6 GB left: 100 minutes. Nothing is said while it is steady, or after seconds."""
    trend = DiskTrend()
    assert trend.add(0.0, 6_600_000_000) is None
    assert trend.add(60.0, 6_540_000_000) is None
    left = trend.add(600.0, 6_000_000_000)
    assert left is not None
    assert 5900 < left < 6100
    steady = DiskTrend()
    steady.add(0.0, 10**10)
    assert steady.add(900.0, 10**10) is None


def shown(reading: GpuReading, width: int = 48, **options: object) -> str:
    gauges = Gauges()
    for name in ("few_lines", "whole"):
        setattr(gauges, name, bool(options.pop(name, False)))
    gauges.update(reading, HOST, **options)  # type: ignore[arg-type]
    return "\n".join("".join(text for text, _ in line) for line in gauges.build(width))


def test_clocks_throttling_instances_and_hidden_shares_are_told() -> None:
    """A slowed card says why; a split one lists its parts; a container says that shares are not told."""
    assert "2.5 GHz" in shown(GpuReading((BUSY,)), 60)
    assert "slowed: power cap, heat" in shown(GpuReading((replace(BUSY, throttle=("power cap", "heat")),)))
    split = replace(BUSY, mig=True, instances=(GpuInstance(1, "A100 MIG 3g.20gb", None, 9 * GIB, 20 * GIB),))
    assert "0:1" in shown(GpuReading((split,)))
    assert "3g.20gb" in shown(GpuReading((split,)))
    assert "does not tell" in shown(GpuReading((BUSY,)), shares_hidden=True)
    assert "full in 2h" in shown(GpuReading((BUSY,)), full_in=7200)


def test_eight_cards_leave_a_narrow_window_its_chart() -> None:
    """At 80 columns the run's own card, one more and a line for the other six."""
    cards = tuple(replace(BUSY, index=index) for index in range(8))
    lines = shown(GpuReading(cards), 78, few_lines=True, own={5: GIB}).splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("GPU 5")
    assert "+6 GPUs" in lines[2]
    assert "120.0/144.0 G" in lines[2]


def test_the_cards_of_the_run_tell_its_load_and_its_share() -> None:
    """Without a live run nothing is ours; a reading that is half a second old is taken over from the header."""
    asked: list[float] = []

    def reading(timeout: float = 2.0, max_age: float = 0.0) -> GpuReading:
        asked.append(max_age)
        return GpuReading((BUSY,))

    hardware_read, hardware.read_gpus = hardware.read_gpus, reading  # type: ignore[assignment]
    try:
        news = HardwareFeed().read(Path("/"), None)
    finally:
        hardware.read_gpus = hardware_read
    assert news.own == {}
    assert news.utilization is None
    assert asked == [0.5]
