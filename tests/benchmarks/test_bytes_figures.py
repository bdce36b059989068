"""What the app sends over the line: bytes per key and per second, in a pty of 120 x 40."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import pytest

from core.runs import launch, store
from core.settings import load
from core.workspace import Workspace
from tests.benchmarks.conftest import Note
from tests.benchmarks.terminal import Program
from tests.fake_nvml.machine import Machine, build, compiler, environment

APP = [sys.executable, "-P", "-m", "tui"]
KEYS = 20
SECONDS = 4


@pytest.mark.parametrize("images", ["off", "blocks"])
@pytest.mark.parametrize("captioned", [False, True], ids=["uncaptioned", "captioned"])
def test_list_cursor(demo: Workspace, note: Note, images: str, captioned: bool) -> None:
    """Down the list of pictures and up again. Target without a picture: at most 600 bytes a key."""
    with Program([*APP, "--images", images], cwd=demo.root) as program:
        program.wait(rb"mika_12")
        program.quiet(0.5)
        if captioned:  # the other dataset is the last row of the left panel
            for key in ("tab", "G", "enter"):
                program.key(key)
            program.wait(rb"rinni_12")
            program.quiet(0.5)
        sizes = [program.key("down" if step < KEYS // 2 else "up") for step in range(KEYS)]
    name = f"{images}_captioned" if captioned else images
    print(f"\nlist cursor, images {name}: median {statistics.median(sizes):.0f} B a key, most {max(sizes)} B")
    note(**{f"list_cursor_{name}_bytes": statistics.median(sizes), f"list_cursor_{name}_most_bytes": max(sizes)})


def test_idle(demo: Workspace, note: Note) -> None:
    """Nothing runs, nothing changes: target 0 bytes a second on every screen."""
    with Program(APP, cwd=demo.root) as program:
        program.wait(rb"mika_12")
        for key, name in (("5", "monitor"), ("1", "dataset")):
            program.key(key)
            program.quiet(1.5)
            cpu = program.cpu()
            sent = program.read(SECONDS) / SECONDS
            share = (program.cpu() - cpu) / SECONDS * 100
            print(f"\nidle {name}: {sent:.0f} B/s, {share:.1f} % CPU")
            note(**{f"idle_{name}_bytes_per_s": sent, f"idle_{name}_cpu_percent": share})


def test_idle_monitor_with_a_gpu(demo: Workspace, note: Note, tmp_path: Path) -> None:
    """One GPU whose load changes every second. Target: at most 500 bytes a second."""
    if compiler() is None:
        pytest.skip("no C compiler for the scripted NVML library (apt-get install gcc libc6-dev)")
    machine = Machine(tmp_path / "nvml-state.txt", count=1)
    with Program(APP, cwd=demo.root, environment=environment(build(tmp_path), machine)) as program:
        program.wait(rb"mika_12")
        program.key("5")
        program.quiet(1.5, limit=6)
        sent = 0
        for second in range(SECONDS):
            machine.gpu(0, util=50 + second, power=200_000 + 1000 * second)
            sent += program.read(1)
        steady = program.read(SECONDS)
    print(f"\nmonitor with one GPU: {sent / SECONDS:.0f} B/s while it changes, {steady / SECONDS:.0f} B/s while not")
    note(monitor_gpu_bytes_per_s=sent / SECONDS, monitor_gpu_steady_bytes_per_s=steady / SECONDS)


def test_monitor_of_a_live_run(demo: Workspace, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training at five steps a second, watched."""
    monkeypatch.setenv("KOHYA_TUI_DEMO_STEP_SECONDS", "0.2")
    spec, files = launch.train_spec(demo, "rinni", load(demo.root))
    launch.start(store.create(demo.runs, spec, files))
    with Program([*APP, "--images", "off"], cwd=demo.root) as program:
        program.wait(rb"mika_12")
        program.key("5")
        end = time.monotonic() + 4
        while time.monotonic() < end:
            program.read(0.5)
        cpu = program.cpu()
        sent = program.read(SECONDS) / SECONDS
        share = (program.cpu() - cpu) / SECONDS * 100
    print(f"\nmonitor of a live run: {sent:,.0f} B/s, {share:.1f} % CPU")
    note(monitor_live_bytes_per_s=sent, monitor_live_cpu_percent=share)
