"""Figures of runs: launch, supervisor, event reading, one poll. Printed with `-s`; asserted only with room."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from core.hardware import GpuReading
from core.runs import launch, queue, store
from core.runs.events import EventFile, find_events
from core.runs.watch import RunWatch
from tests.benchmarks.conftest import Note
from tests.core.runs_kit import RECORDINGS, Runs, wait_for

pytest_plugins = ("tests.core.runs_fixtures",)
pytestmark = pytest.mark.benchmark


def test_launch_to_running(runs: Runs, note: Note) -> None:
    """From `launch.start` to the handshake, ten times."""
    seconds = []
    for _ in range(10):
        run = runs.create("time.sleep(600)")
        begun = time.perf_counter()
        launch.start(run)
        seconds.append(time.perf_counter() - begun)
        launch.stop(run)
    print(f"\nlaunch to running: median {statistics.median(seconds):.3f} s, worst {max(seconds):.3f} s")
    note(launch_to_running_s=statistics.median(seconds))


def test_supervisor_weight(runs: Runs, note: Note) -> None:
    """Memory and CPU of a supervisor that has nothing to do."""
    run = runs.start("time.sleep(600)")
    pid = run.status.supervisor_pid
    rollup = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if ":" in line
    )
    rss, pss = (int(rollup[name].split()[0]) / 1024 for name in ("Rss", "Pss"))
    print(f"\nsupervisor: RSS {rss:.1f} MiB, PSS {pss:.1f} MiB")
    note(supervisor_rss_mib=rss, supervisor_pss_mib=pss)
    assert rss <= 15


def test_waiting_weight(runs: Runs, note: Note) -> None:
    """Ten queued runs that wait behind one another: memory and CPU of each, over ten seconds."""
    machine = GpuReading(message="No NVIDIA driver was found on this machine.")
    made = [
        queue.add(runs.folder, runs.spec("time.sleep(600)", name=f"w{number}"), {}, queue.Wish(), machine)
        for number in range(11)
    ]
    wait_for(lambda: all(store.observe(run.dir).status.waits_for for run in made[1:]))
    pids = [store.observe(run.dir).status.supervisor_pid for run in made[1:]]

    def used() -> list[int]:
        return [int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids]

    before, begun = used(), time.monotonic()
    wait_for(lambda: time.monotonic() > begun + 10)
    share = [(after - old) / 1e9 / (time.monotonic() - begun) for old, after in zip(before, used(), strict=True)]
    rows = Path(f"/proc/{pids[-1]}/smaps_rollup").read_text().splitlines()
    rss = next(int(row.split()[1]) for row in rows if row.startswith("Rss:")) / 1024
    print(f"\nwaiting in the queue: RSS {rss:.1f} MiB, CPU {statistics.median(share):.3%} (most {max(share):.3%})")
    note(waiting_rss_mib=rss, waiting_cpu=statistics.median(share))
    assert rss <= 15


def test_event_reading(tmp_path: Path) -> None:
    """100,000 scalars of the real trainer."""
    (path,) = find_events(RECORDINGS / "sd15_long")
    count = len(EventFile(path).read())
    large = tmp_path / "events.out.tfevents.1"
    large.write_bytes(path.read_bytes() * (100_000 // count + 1))
    begun = time.process_time()
    found = len(EventFile(large).read())
    print(f"\nevents: {found:,} scalars in {time.process_time() - begun:.2f} s of CPU")
    assert found >= 100_000


def test_one_poll(runs: Runs) -> None:
    """A live run: a poll that finds nothing, and one that finds a new bar."""
    run = runs.start("say('up'); time.sleep(600)")
    runs.logged(run, "up")
    watch = RunWatch(run.dir)
    watch.poll()
    idle, busy = [], []
    for step in range(200):
        begun = time.perf_counter()
        watch.poll()
        idle.append(time.perf_counter() - begun)
        with run.log_file.open("ab") as log:
            log.write(b"\rsteps:  17%%|x| %d/999 [00:07<00:37,  1.32it/s, avr_loss=1.15]" % step)
        begun = time.perf_counter()
        watch.poll()
        busy.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    store.list_runs(runs.folder)
    listed = time.perf_counter() - begun
    print(
        f"\npoll: nothing new {1000 * statistics.median(idle):.2f} ms, new bar {1000 * statistics.median(busy):.2f} ms "
        f"(worst {1000 * max(busy):.1f} ms); list of one run {1000 * listed:.2f} ms"
    )
