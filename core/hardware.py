"""What the GPUs and the host are doing: NVML through pynvml, the host through psutil.

A value that cannot be read is None, never an exception: cards differ in what they tell, drivers get lost, replaced and
hung.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from core.text import printable

T = TypeVar("T")

THROTTLES = {
    0x0004: "power cap",
    0x0008: "hardware slowdown",
    0x0020: "heat",
    0x0040: "heat",
    0x0080: "power brake",
    0x0200: "board limit",
    0x0400: "voltage",
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons; idle, application clocks and sync boost are nobody's trouble."""
_NOBODYS_MEMORY = 600 << 20
"""A display and the driver itself hold less than that."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. `memory` in bytes; `name` is None for one outside of our container."""

    pid: int
    memory: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class GpuInstance:
    """A MIG instance: a part of a card with memory of its own. The driver tells no utilisation of it."""

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()

    @property
    def profile(self) -> str:
        """`3g.20gb`, the last word of its name."""
        return (self.name or "?").split()[-1]


@dataclass(frozen=True, slots=True)
class GpuSnapshot:
    """One GPU. Everything but the index may be None.

    Memory in bytes (what the driver reserves does not count as used), utilization and fan in %, temperature in °C,
    power and its limit in W, clocks in MHz (`clock` of the cores). `throttle`: why the clock is held down, in words.
    `mig`: whether the card is split into `instances` (None: it cannot be).
    """

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    utilization: int | None = None
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    fan: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    capability: tuple[int, int] | None = None
    """CUDA compute capability: (8, 9) is Ada."""
    clock: int | None = None
    clock_limit: int | None = None
    memory_clock: int | None = None
    throttle: tuple[str, ...] = ()
    mig: bool | None = None
    instances: tuple[GpuInstance, ...] = ()

    @property
    def hides_shares(self) -> bool:
        """Memory is in use, but not told by whom: inside a container the driver names no process, or host ones only."""
        users = [*self.processes, *(each for part in self.instances for each in part.processes)]
        unknown = not users or any(each.name is None or each.memory is None for each in users)
        return unknown and (self.memory_used or 0) > _NOBODYS_MEMORY


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All GPUs at one moment. `message`: why there is nothing, or what is wrong.

    `stale`: the driver did not answer in time, and these are the values from before.
    """

    gpus: tuple[GpuSnapshot, ...] = ()
    message: str | None = None
    driver: str | None = None
    cuda: str | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """The machine: CPU in % of all cores since the last reading (None at the first), memory and disk in bytes, load of
    one minute.
    """

    cpu_percent: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    disk_free: int | None = None
    disk_total: int | None = None
    load: float | None = None


class _Driver:
    """The binding to NVML: initialised once, and again after it got lost."""

    def __init__(self) -> None:
        self.ready = False
        self.reading: _Reading | None = None
        self.last = GpuReading()
        self.read_at = -math.inf


class _Reading(threading.Thread):
    """One reading on a thread of its own: a hung driver holds this one, not the caller."""

    def __init__(self) -> None:
        super().__init__(name="nvml", daemon=True)
        self.result: GpuReading | None = None
        self.overdue = False

    def run(self) -> None:
        self.result = _read()


_driver = _Driver()
_guard = threading.Lock()


def read_gpus(timeout: float = 2.0, max_age: float = 0.0) -> GpuReading:
    """The GPUs now, or a reading that is at most `max_age` seconds old. Never raises; takes 1 to 5 ms a GPU.

    A driver that hangs holds the first caller for `timeout` seconds and nobody after it: one thread waits for the
    answer, and until it comes the old values are given, marked stale. The first call imports pynvml (0.1 s).
    """
    with _guard:
        reading = _driver.reading
        if reading is None:
            if time.monotonic() - _driver.read_at < max_age:
                return _driver.last
            reading = _driver.reading = _Reading()
            reading.start()
        reading.join(0.0 if reading.overdue else timeout)
        if reading.is_alive():
            reading.overdue = True
            old = ": these values are old" if _driver.last.gpus else ""
            return replace(_driver.last, stale=True, message=f"The NVIDIA driver does not answer{old}.")
        _driver.reading, _driver.read_at = None, time.monotonic()
        _driver.last = reading.result or GpuReading(message="The GPUs could not be read.")
        return _driver.last


def close_gpus() -> None:
    """Let go of the driver; the next reading opens it again."""
    with _guard:
        if _driver.ready:
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()
        _driver.ready = False
        _driver.reading, _driver.read_at = None, -math.inf
        _driver.last = GpuReading()


def _read() -> GpuReading:
    try:
        import pynvml
    except ImportError:
        return GpuReading(message="nvidia-ml-py is not installed: pip install nvidia-ml-py")
    try:
        if not _driver.ready:
            pynvml.nvmlInit()
            _driver.ready = True
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        _forget(pynvml)
        return GpuReading(message=_explain(pynvml, error))
    except Exception as error:  # a library that is something else altogether
        _forget(pynvml)
        return GpuReading(message=f"The NVIDIA driver cannot be used: {printable(str(error))}")
    gpus, messages = [], []
    for index in range(count):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            pynvml.nvmlDeviceGetUUID(handle)  # a lost card has a handle on some drivers, and answers nothing
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_UNINITIALIZED:
                _forget(pynvml)
                return GpuReading(message="The NVIDIA driver was restarted.")
            lost = error.value == pynvml.NVML_ERROR_GPU_IS_LOST
            why = "is lost: it fell off the bus; only a restart of the machine helps" if lost else printable(str(error))
            messages.append(f"GPU {index} {why}." if lost else f"GPU {index}: {why}.")
            gpus.append(GpuSnapshot(index))
        else:
            gpus.append(_gpu(pynvml, index, handle))
    if not gpus:
        messages.append("The NVIDIA driver is there, but it sees no GPU.")
    cuda = _try(pynvml.nvmlSystemGetCudaDriverVersion)
    return GpuReading(
        tuple(gpus),
        " ".join(messages) or None,
        _text(_try(pynvml.nvmlSystemGetDriverVersion)),
        None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
    )


def _gpu(pynvml: Any, index: int, handle: Any) -> GpuSnapshot:
    def ask(function: str, *arguments: Any) -> Any:
        return _try(lambda: getattr(pynvml, function)(handle, *arguments))

    # The first version counts what the driver reserves as used (some 400 MiB); old drivers know only that.
    memory = ask("nvmlDeviceGetMemoryInfo", getattr(pynvml, "nvmlMemory_v2", None)) or ask("nvmlDeviceGetMemoryInfo")
    rates = ask("nvmlDeviceGetUtilizationRates")
    power, limit = ask("nvmlDeviceGetPowerUsage"), ask("nvmlDeviceGetEnforcedPowerLimit")
    mode = ask("nvmlDeviceGetMigMode")
    # The name until driver 535, and the one since.
    held = ask("nvmlDeviceGetCurrentClocksEventReasons")
    held = ask("nvmlDeviceGetCurrentClocksThrottleReasons") if held is None else held
    return GpuSnapshot(
        index=index,
        name=_text(ask("nvmlDeviceGetName")),
        uuid=_text(ask("nvmlDeviceGetUUID")),
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        utilization=None if rates is None else int(rates.gpu),
        temperature=ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        power=None if power is None else power / 1000,
        power_limit=None if limit is None else limit / 1000,
        fan=ask("nvmlDeviceGetFanSpeed"),
        processes=_processes(ask),
        capability=_pair(ask("nvmlDeviceGetCudaComputeCapability")),
        clock=ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM),
        clock_limit=ask("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_SM),
        memory_clock=ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM),
        throttle=tuple(dict.fromkeys(word for bit, word in THROTTLES.items() if (held or 0) & bit)),
        mig=None if mode is None else bool(mode[0]),
        instances=_instances(pynvml, handle) if mode is not None and mode[0] else (),
    )


def _pair(value: Any) -> tuple[int, int] | None:
    return (int(value[0]), int(value[1])) if value is not None else None


def _instances(pynvml: Any, card: Any) -> tuple[GpuInstance, ...]:
    """The MIG instances of a card; their numbers may have gaps."""
    found = []
    for index in range(_try(lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(card)) or 0):
        handle = _try(lambda number=index: pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number))
        if handle is None:
            continue

        def ask(function: str, *arguments: Any, of: Any = handle) -> Any:
            return _try(lambda: getattr(pynvml, function)(of, *arguments))

        memory = ask("nvmlDeviceGetMemoryInfo", getattr(pynvml, "nvmlMemory_v2", None))
        memory = ask("nvmlDeviceGetMemoryInfo") if memory is None else memory
        found.append(
            GpuInstance(
                index,
                _text(ask("nvmlDeviceGetName")),
                _text(ask("nvmlDeviceGetUUID")),
                None if memory is None else int(memory.used),
                None if memory is None else int(memory.total),
                _processes(ask),
            )
        )
    return tuple(found)


def _processes(ask: Callable[..., Any]) -> tuple[GpuProcess, ...]:
    found: dict[int, GpuProcess] = {}
    for function in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
        items = ask(function)
        for item in (ask(f"{function}_v2") if items is None else items) or ():  # drivers before 510 know only that
            memory = None if item.usedGpuMemory is None else int(item.usedGpuMemory)
            known = found.get(item.pid)
            if known is None or (known.memory or 0) < (memory or 0):
                found[item.pid] = GpuProcess(item.pid, memory, _process_name(item.pid))
    return tuple(sorted(found.values(), key=lambda process: (-(process.memory or 0), process.pid)))


def _process_name(pid: int) -> str | None:
    try:
        return printable(Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()) or None
    except OSError:
        return None


def _try(function: Callable[..., T]) -> T | None:
    """None for whatever a driver of another age, or one that is going, answers with."""
    try:
        return function()
    except Exception:  # not only NVMLError: a driver before 510 makes the binding raise a bare Exception of its own
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return printable(value) if isinstance(value, str) else None


def _forget(pynvml: Any) -> None:
    if _driver.ready:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    _driver.ready = False


def _explain(pynvml: Any, error: Any) -> str:
    sentences = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "No NVIDIA driver was found on this machine.",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is installed, but not loaded (try `nvidia-smi`).",
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "The NVIDIA driver was updated while it was loaded: restart the machine (driver and library differ)."
        ),
        pynvml.NVML_ERROR_NO_PERMISSION: "You may not use the NVIDIA driver: check the rights of /dev/nvidia*.",
        pynvml.NVML_ERROR_GPU_IS_LOST: "A GPU is lost: it fell off the bus; only a restart of the machine helps.",
    }
    return sentences.get(error.value, f"The NVIDIA driver answers with an error: {printable(str(error))}.")


_cpu_read = False


def read_host(path: Path) -> HostSnapshot:
    """CPU, memory, load, and the disk that holds `path` (or its nearest existing parent). Never raises.

    The first call imports psutil (0.1 s).
    """
    global _cpu_read
    try:
        import psutil
    except ImportError:
        return HostSnapshot()
    percent = memory = disk = load = None
    with contextlib.suppress(Exception):  # /proc may be masked in a container
        percent = psutil.cpu_percent(interval=None)
        percent, _cpu_read = (percent if _cpu_read else None), True
    with contextlib.suppress(Exception):
        memory = psutil.virtual_memory()
    with contextlib.suppress(OSError):
        there = path.absolute()
        while not there.exists() and there != there.parent:
            there = there.parent
        disk = psutil.disk_usage(str(there))
    with contextlib.suppress(OSError):
        load = os.getloadavg()[0]
    return HostSnapshot(
        cpu_percent=percent,
        memory_used=None if memory is None else memory.total - memory.available,
        memory_total=None if memory is None else memory.total,
        disk_free=None if disk is None else disk.free,
        disk_total=None if disk is None else disk.total,
        load=load,
    )
