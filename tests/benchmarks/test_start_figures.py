"""What the start costs: CPU and memory to the first frame against a bare Textual skeleton, and of a command."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from core.workspace import Workspace
from tests.benchmarks.conftest import Note
from tests.benchmarks.terminal import Program

SKELETON = [sys.executable, "-P", str(Path(__file__).with_name("skeleton.py"))]
APP = [sys.executable, "-P", "-m", "tui"]
ROUNDS = 3


def first_frame(command: list[str], cwd: Path) -> tuple[float, float, float]:
    """CPU seconds and wall seconds to the first frame, and peak MiB at it."""
    with Program(command, cwd=cwd) as program:
        cpu = program.first_frame()
        return cpu, time.perf_counter() - program.began, program.peak_mib()


def test_first_frame(demo: Workspace, note: Note) -> None:
    """Target: at most 1.3 times the skeleton's CPU, at most 60 MiB."""
    app, bare = [], []
    for _ in range(ROUNDS):  # taking turns, so that other load on the machine meets both
        bare.append(first_frame(SKELETON, demo.root))
        app.append(first_frame(APP, demo.root))
    cpu, wall, memory = (statistics.median(each) for each in zip(*app, strict=True))
    bare_cpu, bare_wall, bare_memory = (statistics.median(each) for each in zip(*bare, strict=True))
    print(
        f"\nfirst frame: {cpu:.2f} s CPU, {wall:.2f} s, {memory:.0f} MiB;"
        f" skeleton {bare_cpu:.2f} s CPU, {bare_wall:.2f} s, {bare_memory:.0f} MiB; ratio {cpu / bare_cpu:.2f}"
    )
    note(
        first_frame_cpu_s=cpu,
        first_frame_wall_s=wall,
        first_frame_peak_mib=memory,
        skeleton_cpu_s=bare_cpu,
        skeleton_peak_mib=bare_memory,
        first_frame_cpu_ratio=cpu / bare_cpu,
    )


def test_commands(demo: Workspace, note: Note) -> None:
    """CPU of a headless command against Python that imports typer."""
    costs = {}
    for name, command in (
        ("typer", [sys.executable, "-c", "import typer"]),
        ("help", [*APP, "--help"]),
        ("runs", [*APP, "runs"]),
        ("config_show", [*APP, "config", "show", "rinni"]),
        ("plan", [*APP, "plan", "rinni"]),
    ):
        costs[name] = min(cpu_of(command, demo.root) for _ in range(ROUNDS))
    print("\ncommands:", ", ".join(f"{name} {seconds:.2f} s CPU" for name, seconds in costs.items()))
    note(**{f"command_{name}_cpu_s": seconds for name, seconds in costs.items()})


def cpu_of(command: list[str], cwd: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
