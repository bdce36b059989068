"""The most GPU memory of a run: through the real supervisor and its child, against a scripted driver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.runs import tell
from core.runs.peak import note_peak, peak_of
from core.runs.watch import snapshot
from tests.core.runs_kit import Runs, wait_for
from tests.fake_nvml.machine import Machine, environment

pytest_plugins = ("tests.core.runs_fixtures", "tests.fake_nvml.fixtures")
GIB = 1 << 30


def test_the_supervisor_has_the_peak_noted(
    runs: Runs, nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at the run; its peak is in hardware.json all the same, and in its status."""
    machine = Machine(tmp_path / "nvml.txt", count=1)
    for name, value in environment(nvml_library, machine).items():
        monkeypatch.setenv(name, value)
    run = runs.start("time.sleep(600)", alerts={"look_seconds": 0.2, "peak_seconds": 0.5})
    machine.gpu(0, mem_used=9 * GIB, compute=f"{run.status.pid}:{7 * GIB}")
    wait_for(lambda: peak_of(run.dir) == 7 * GIB)
    assert json.loads((run.dir / "hardware.json").read_text())["exact"]
    assert snapshot(run).as_json()["peak_vram"] == 7 * GIB


def test_a_lower_reading_keeps_the_peak_and_a_container_gives_all_of_the_card(runs: Runs, fake_gpus: Machine) -> None:
    """The peak only grows; where no process is named, the whole card's memory is noted as not exact."""
    run = runs.create("pass", gpu="1")
    (run.dir / "state.json").write_text(json.dumps({"v": 1, "state": "running", "pid": 4194303}))
    fake_gpus.gpu(0, mem_used=100 << 20).gpu(1, mem_used=100 << 20)
    assert note_peak(run.dir) is None
    fake_gpus.gpu(0, mem_used=20 * GIB).gpu(1, mem_used=8 * GIB)
    assert note_peak(run.dir) == 8 * GIB
    fake_gpus.gpu(1, mem_used=5 * GIB)
    assert note_peak(run.dir) == 5 * GIB
    found = json.loads((run.dir / "hardware.json").read_text())
    assert (found["peak_vram"], found["gpu"], found["exact"]) == (8 * GIB, 1, False)
    (run.dir / "hardware.json").write_text("broken")
    assert peak_of(run.dir) is None


def test_a_busy_gpu_of_another_run_is_no_excuse(
    runs: Runs, fake_gpus: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue gave it GPU 1, which does nothing; that GPU 0 works says nothing about it: it has stalled."""
    monkeypatch.setattr(tell, "_LOOKS", 1)
    run = runs.create("pass")
    fake_gpus.gpu(0, util=97).gpu(1, util=0)
    for gpu, works in (("1", False), ("0", True)):
        state = {"v": 1, "state": "running", "pid": 4194303, "gpu": gpu}
        (run.dir / "state.json").write_text(json.dumps(state))
        assert tell.device_works(run.dir) is works
