"""GPU readings through the real binding against a scripted driver; host readings for real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core import hardware
from tests.fake_nvml.machine import Machine, environment

pytest_plugins = ("tests.fake_nvml.fixtures",)

GIB = 1 << 30


def test_two_healthy_gpus_are_read_with_all_their_values(fake_gpus: Machine) -> None:
    """Name, memory, load, heat, power and fan of each card, and the driver's version."""
    fake_gpus.gpu(
        1, mem_total=80 * GIB, mem_used=70 * GIB, util=97, temp=71, power=350_000, power_limit=400_000, fan=55
    )
    reading = hardware.read_gpus()
    assert reading.message is None
    assert (reading.driver, reading.cuda) == ("570.86.15", "12.8")
    first, second = reading.gpus
    assert (first.index, first.name, first.memory_total) == (0, "NVIDIA GeForce RTX 4090", 24 * GIB)
    assert (second.memory_used, second.memory_total) == (70 * GIB, 80 * GIB)
    assert (second.utilization, second.temperature, second.power, second.power_limit, second.fan) == (
        97,
        71,
        350,
        400,
        55,
    )


def test_memory_that_the_driver_reserves_is_not_used_memory(fake_gpus: Machine) -> None:
    """An idle card shows what its processes use, as nvidia-smi does, not 400 MiB more."""
    fake_gpus.gpu(0, mem_used=GIB, mem_reserved=GIB // 2)
    assert hardware.read_gpus().gpus[0].memory_used == GIB
    fake_gpus.fault("nvmlDeviceGetMemoryInfo_v2", 13)
    assert hardware.read_gpus().gpus[0].memory_used == GIB + GIB // 2


def test_processes_are_listed_with_memory_and_name(fake_gpus: Machine) -> None:
    """Largest first; a process whose memory the driver hides, or of another container, stays in the list."""
    fake_gpus.gpu(0, compute=f"{os.getpid()}:{2 * GIB},4194303:-1", graphics=f"{os.getpid()}:1000")
    ours, other = hardware.read_gpus().gpus[0].processes
    assert (ours.pid, ours.memory) == (os.getpid(), 2 * GIB)
    assert ours.name
    assert other == hardware.GpuProcess(4194303, None, None)


@pytest.mark.parametrize("code", [3, 4, 13, 999])
def test_a_value_that_a_card_does_not_tell_is_none(fake_gpus: Machine, code: int) -> None:
    """A server card without a fan shows a dash for it, and everything else."""
    fake_gpus.fault("nvmlDeviceGetFanSpeed", code, gpu=0).fault("nvmlDeviceGetPowerUsage", code, gpu=0)
    first, second = hardware.read_gpus().gpus
    assert (first.fan, first.power) == (None, None)
    assert first.memory_total == 24 * GIB
    assert (second.fan, second.power) == (30, 30)


def test_clocks_and_why_they_are_held_down(fake_gpus: Machine) -> None:
    """Core and memory clock, and words for heat and the power cap; an idle card is not slowed down."""
    fake_gpus.gpu(0, throttle=0x4 | 0x20 | 0x40, **{"clock.1": 2100}).gpu(1, throttle=1)
    first, second = hardware.read_gpus().gpus
    assert (first.clock, first.clock_limit, first.memory_clock) == (2100, 3105, 10501)
    assert first.throttle == ("power cap", "heat")
    assert second.throttle == ()
    fake_gpus.fault("nvmlDeviceGetCurrentClocksEventReasons", 13)  # a driver before 535
    assert hardware.read_gpus().gpus[0].throttle == ("power cap", "heat")


def test_a_card_that_is_split_shows_its_instances(fake_gpus: Machine) -> None:
    """MIG: each instance with its profile, memory and processes; the card tells no utilisation, and that is a dash."""
    fake_gpus.gpu(0, mig=1, mig_count=2, util=50, name="NVIDIA A100-SXM4-40GB")
    names = {f"gpu.0.mig.{part}.name": f"NVIDIA A100-SXM4-40GB MIG {part + 2}g.10gb" for part in (0, 1)}
    fake_gpus.set({**names, "gpu.0.mig.1.mem_used": 9 * GIB, "gpu.0.mig.1.compute": f"{os.getpid()}:{8 * GIB}"})
    first, second = hardware.read_gpus().gpus
    assert (first.mig, first.utilization, second.mig, second.instances) == (True, None, None, ())
    assert [part.profile for part in first.instances] == ["2g.10gb", "3g.10gb"]
    assert first.instances[1].memory_used == 9 * GIB
    assert [each.pid for each in first.instances[1].processes] == [os.getpid()]
    assert first.instances[0].uuid != first.instances[1].uuid
    fake_gpus.gpu(0, mig=0)
    assert hardware.read_gpus().gpus[0].instances == ()


def test_memory_that_nobody_is_named_for_is_known_as_such(fake_gpus: Machine) -> None:
    """In a container the driver names no process, or processes of the host: nobody's share can be told."""
    fake_gpus.gpu(0, mem_used=8 * GIB).gpu(1, mem_used=8 * GIB, compute=f"{os.getpid()}:{7 * GIB}")
    assert [gpu.hides_shares for gpu in hardware.read_gpus().gpus] == [True, False]
    fake_gpus.gpu(1, compute=f"4194303:{7 * GIB}").gpu(0, mem_used=100 << 20)
    assert [gpu.hides_shares for gpu in hardware.read_gpus().gpus] == [False, True]


@pytest.mark.parametrize("code", [3, 13, 15, 999])
def test_whatever_function_fails_there_is_a_reading(fake_gpus: Machine, code: int) -> None:
    """Every function that is asked fails in turn: never an exception, and the other card is read as before."""
    source = Path(hardware.__file__).read_text()
    for name in sorted(set(re.findall(r'"(nvmlDevice\w+)"', source))):
        for suffix in ("", "_v2", "_v3"):
            fake_gpus.fault(f"{name}{suffix}", code, gpu=0)
        first, second = hardware.read_gpus().gpus
        assert first.index == 0
        assert second.memory_total == 24 * GIB
        fake_gpus.clear(*(f"gpu.0.fault.{name}{suffix}" for suffix in ("", "_v2", "_v3")))


def test_a_lost_gpu_is_named_and_the_others_are_read(fake_gpus: Machine) -> None:
    """One card falls off the bus: its row is empty, the message says so, the other card goes on; then it comes back."""
    hardware.read_gpus()
    fake_gpus.gpu(0, lost=1)
    reading = hardware.read_gpus()
    assert reading.gpus[0] == hardware.GpuSnapshot(0)
    assert reading.gpus[1].memory_total == 24 * GIB
    assert "GPU 0 is lost" in (reading.message or "")
    fake_gpus.gpu(0, lost=0)
    assert hardware.read_gpus().message is None


def test_a_driver_that_was_lost_is_opened_again(fake_gpus: Machine) -> None:
    """The driver goes away and comes back: the reading says so, then shows the cards again without a restart."""
    assert len(hardware.read_gpus().gpus) == 2
    fake_gpus.fault("nvmlDeviceGetCount_v2", 1).fault("nvmlInit", 9)
    assert hardware.read_gpus().gpus == ()
    assert "not loaded" in (hardware.read_gpus().message or "")
    fake_gpus.clear("fault.nvmlDeviceGetCount_v2", "fault.nvmlInit")
    assert len(hardware.read_gpus().gpus) == 2


def test_a_driver_mismatch_says_restart(fake_gpus: Machine) -> None:
    """The driver was updated under the kernel."""
    fake_gpus.fault("nvmlInit", 18)
    assert "restart the machine" in (hardware.read_gpus().message or "")


def test_a_hung_driver_does_not_hold_the_caller(fake_gpus: Machine) -> None:
    """The old values come back at once, marked stale; when the driver answers again they are new."""
    fake_gpus.gpu(0, util=40)
    hardware.read_gpus()
    fake_gpus.set({"gpu.0.delay": 900, "gpu.0.util": 90})
    begun = time.monotonic()
    reading = hardware.read_gpus(timeout=0.05)
    assert time.monotonic() - begun < 1
    assert reading.stale
    assert reading.gpus[0].utilization == 40
    threads = threading.active_count()
    begun = time.monotonic()
    assert all(hardware.read_gpus(timeout=5).stale for _ in range(20))  # nobody waits again, and no thread is added
    assert time.monotonic() - begun < 4
    assert threading.active_count() <= threads
    fake_gpus.gpu(0, delay=0)
    deadline = time.monotonic() + 20
    while (reading := hardware.read_gpus()).stale or reading.gpus[0].utilization != 90:
        assert time.monotonic() < deadline


def test_no_gpu_in_a_machine_with_a_driver(fake_gpus: Machine) -> None:
    """The driver is there, a card is not."""
    fake_gpus.set(count=0)
    reading = hardware.read_gpus()
    assert reading.gpus == ()
    assert "sees no GPU" in (reading.message or "")


def test_a_child_process_finds_the_scripted_driver(nvml_library: Path, tmp_path: Path) -> None:
    """What the app's own tests use: the library by LD_LIBRARY_PATH."""
    machine = Machine(tmp_path / "state.txt", count=1).gpu(0, name="NVIDIA Test 9000")
    code = "from core.hardware import read_gpus; print(read_gpus().gpus[0].name)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(nvml_library, machine), capture_output=True, text=True, check=True
    )
    assert done.stdout == "NVIDIA Test 9000\n"


def test_a_machine_without_a_driver_says_so() -> None:
    """No exception, no GPUs, one sentence."""
    code = "from core.hardware import read_gpus; reading = read_gpus(); print(bool(reading.gpus or reading.message))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={key: text for key, text in os.environ.items() if key != "LD_LIBRARY_PATH"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_the_host_is_read(tmp_path: Path) -> None:
    """Memory, disk and load now; the CPU from the second reading on."""
    first = hardware.read_host(tmp_path / "not" / "there" / "yet")
    assert first.memory_total is not None
    assert first.memory_used is not None
    assert 0 < first.memory_used < first.memory_total
    assert first.disk_free is not None
    assert first.disk_total is not None
    assert 0 < first.disk_free <= first.disk_total
    second = hardware.read_host(tmp_path)
    assert second.cpu_percent is not None
    assert 0 <= second.cpu_percent <= 100
