"""What watching costs: a very long run, a chart of a million points, bytes and CPU with one and with eight GPUs."""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.demo.workspace import make_demo
from core.runs import store
from core.workspace import Workspace, create
from tests.benchmarks.conftest import Note
from tests.benchmarks.long_run import RUN_ID, lay_long_run
from tests.benchmarks.terminal import Program
from tests.benchmarks.test_bytes_figures import APP
from tests.core.runs_kit import Runs
from tests.fake_nvml.machine import Machine, build, compiler, environment

pytestmark = pytest.mark.benchmark
SECONDS = 6
MIB = 1 << 20


@pytest.fixture(scope="module", params=[(100_000, 20 * MIB), (1_000_000, 1024 * MIB)], ids=["100k", "1M"])
def long_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Its steps and its folder; of the large one the log has a gigabyte."""
    steps, size = request.param
    workspace = create(tmp_path_factory.mktemp("long"))
    folder = lay_long_run(workspace, steps, size)
    yield steps, folder
    (folder / "output.log").unlink()


def test_attaching_to_a_long_run(long_run: tuple[int, Path], note: Note) -> None:
    """The newest part, the whole, and a poll after that. Targets: 0.5 s, 2 s (100,000 points: 0.3 s)."""
    from tui.screens.monitor_feed import RunFeed

    steps, folder = long_run
    feed = RunFeed(folder)
    begun, used = time.perf_counter(), time.process_time()
    news = feed.read()
    newest = time.perf_counter() - begun
    while news.snapshot.loading:
        news = feed.read()
    whole, cpu = time.perf_counter() - begun, time.process_time() - used
    assert len(news.chart.curves[0]) == steps
    again = []
    for _ in range(20):
        begun = time.perf_counter()
        feed.read()
        again.append(time.perf_counter() - begun)
    name = "100k" if steps < 1_000_000 else "1M"
    print(
        f"\nattach to {steps:,} points: newest {newest:.2f} s, whole {whole:.2f} s ({cpu:.2f} s of CPU), "
        f"then {1000 * statistics.median(again):.1f} ms a poll"
    )
    note(**{f"attach_{name}_newest_s": newest, f"attach_{name}_whole_s": whole, f"attach_{name}_whole_cpu_s": cpu})


def test_the_app_on_a_long_run(long_run: tuple[int, Path], note: Note) -> None:
    """Memory of the app with everything loaded; how long a key waits meanwhile. Target: 150 MiB."""
    steps, folder = long_run
    with Program([*APP, "--images", "off"], cwd=folder.parents[1]) as program:
        program.first_frame()
        program.key("5")
        program.wait(rb"long")
        begun = time.perf_counter()
        program.key("enter")
        program.wait(rb"ema")
        seen = time.perf_counter() - begun
        waits = []
        for key in "ppppp":
            begun = time.perf_counter()
            program.press(key)
            program.wait_new(rb"paused|following")
            waits.append(time.perf_counter() - begun)
        program.quiet(1.0)
        peak = program.peak_mib()
        begun = time.perf_counter()
        program.press("g")
        program.wait_new(rb"num epochs")
        first_line = time.perf_counter() - begun
    print(
        f"\napp on {steps:,} points: loss on the screen after {seen:.2f} s, slowest key meanwhile {max(waits):.2f} s, "
        f"first line of the log {first_line:.2f} s, {peak:.0f} MiB at most"
    )
    name = "100k" if steps < 1_000_000 else "1M"
    note(**{f"app_{name}_seen_s": seen, f"app_{name}_key_s": max(waits), f"app_{name}_peak_mib": peak})


def test_chart_of_a_million_points(note: Note) -> None:
    """One redraw with everything and one zoomed in, as at 120 x 40. Target: 5 ms. Smoothing runs on a thread."""
    from tui.widgets.chart import LossChart
    from tui.widgets.curve import Curve

    count = 1_000_000
    curve = Curve()
    values = array("d", (0.1 + (step * 7919 % 1000) / 20_000 for step in range(count)))
    curve.fill(array("i", range(1, count + 1)), values)
    chart = LossChart()
    chart.curve, chart.total_steps = curve, count
    whole = _best(lambda: chart.build(70, 21))
    chart.span = (400_000.0, 425_000.0)
    zoomed = _best(lambda: chart.build(70, 21))
    smoothing = _best(lambda: curve.smoothed(0.98), 3)
    print(f"\nchart of {count:,} points: {whole:.1f} ms, zoomed {zoomed:.1f} ms; smoothing anew {smoothing:.0f} ms")
    note(chart_1M_ms=whole, chart_1M_zoomed_ms=zoomed, smoothing_1M_ms=smoothing)


def _best(job: object, times: int = 10) -> float:
    assert callable(job)
    found = []
    for _ in range(times):
        begun = time.process_time()
        job()
        found.append(1000 * (time.process_time() - begun))
    return min(found)


@pytest.mark.parametrize("count", [1, 8])
def test_monitor_of_busy_gpus(count: int, note: Note, tmp_path: Path) -> None:
    """Load, memory, heat and power of every card change each second. Targets: 500 and 1,000 B/s, 1.5 % of a core."""
    if compiler() is None:
        pytest.skip("no C compiler for the scripted NVML library (apt-get install gcc libc6-dev)")
    workspace = make_demo(tmp_path / "demo")
    _finished_run(workspace)
    machine = Machine(tmp_path / "nvml-state.txt", count=count)
    for index in range(count):
        machine.gpu(
            index,
            util="60~99@7",
            mem_used=f"{18 << 30}~{20 << 30}@30",
            temp="66~74@40",
            power="280000~340000@9",
            fan=62,
        )
    with Program(APP, cwd=workspace.root, environment=environment(build(tmp_path), machine)) as program:
        program.wait(rb"mika_12")
        program.key("5")
        program.read(2)
        program.key("enter")
        program.read(4)
        cpu = program.cpu()
        sent = program.read(SECONDS) / SECONDS
        share = (program.cpu() - cpu) / SECONDS * 100
        for index in range(count):
            machine.gpu(index, util=80, mem_used=19 << 30, temp=70, power=300_000)
        program.read(14)
        steady = program.read(SECONDS) / SECONDS
    print(f"\nmonitor with {count} busy GPUs: {sent:.0f} B/s, {share:.1f} % CPU; steady {steady:.0f} B/s")
    note(**{f"gpus_{count}_bytes_per_s": sent, f"gpus_{count}_cpu_percent": share, f"gpus_{count}_steady": steady})


def _finished_run(workspace: Workspace) -> None:
    lay_long_run(workspace, 2000, 200_000)
    assert store.observe(workspace.runs / RUN_ID)


def test_from_the_log_to_the_screen(note: Note, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer prints a line; how long until the terminal has it. Target: 0.5 s."""
    workspace = create(tmp_path / "work")
    runs = Runs(workspace.root)
    run = runs.start("say('up'); time.sleep(600)")
    try:
        with Program([*APP, "--images", "off"], cwd=workspace.root) as program:
            program.first_frame()
            program.key("5")
            program.wait(rb"up")
            found = []
            for number in range(10):
                with run.log_file.open("a") as log:
                    log.write(f"line-{number}-came\n")
                begun = time.perf_counter()
                program.wait(rb"line-%d-came" % number)
                found.append(time.perf_counter() - begun)
                program.read(0.13)
    finally:
        from core.runs import launch

        launch.stop(run)
    print(f"\nfrom the log to the screen: median {statistics.median(found):.2f} s, worst {max(found):.2f} s")
    note(log_to_screen_s=statistics.median(found), log_to_screen_worst_s=max(found))
