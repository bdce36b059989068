"""The machine as the Monitor watches it: readings, what of them belongs to the run, and how long the disk lasts."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.hardware import GpuReading, GpuSnapshot, HostSnapshot
    from core.runs.model import Run

NO_GPU_RETRY = 30.0
FRESH = 0.5
"""A reading that the header made within so many seconds is good enough."""
_DISK_EVERY, _DISK_WINDOW, _DISK_LEAST = 20.0, 1800.0, 300.0
_DISK_NOISE = 64 << 20
_FAR = 3 * 86400.0


@dataclass(frozen=True, slots=True)
class HardwareNews:
    """One reading of the machine. `own`: GPU index → bytes that the run's processes hold there.

    `shares_hidden`: the run uses a card, and the driver does not tell how much of it. `full_in`: seconds until the disk
    of the run is full at the pace of the last half hour. `utilization`: of the busiest card that the run may use, in %;
    None where none can be read.
    """

    reading: GpuReading
    host: HostSnapshot
    own: Mapping[int, int]
    shares_hidden: bool = False
    full_in: float | None = None
    utilization: int | None = None


@dataclass(slots=True)
class DiskTrend:
    """Free space over time; a checkpoint now and then makes stairs, so minutes are looked at, not seconds."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, free: int) -> float | None:
        """Seconds until nothing is left, as far as it can be told."""
        seen = self._seen
        if not seen or now - seen[-1][0] >= _DISK_EVERY:
            seen.append((now, free))
        while seen and now - seen[0][0] > _DISK_WINDOW:
            seen.popleft()
        seconds, gone = now - seen[0][0], seen[0][1] - free
        if seconds < _DISK_LEAST or gone < _DISK_NOISE:
            return None
        left = free / (gone / seconds)
        return left if left < _FAR else None


@dataclass(slots=True)
class HardwareFeed:
    """Reads GPUs and host; a machine without a GPU is asked again twice a minute only."""

    _reading: GpuReading | None = None
    _asked: float = 0.0
    _disk: DiskTrend = field(default_factory=DiskTrend)
    _where: Path | None = None

    def read(self, where: Path, run: Run | None) -> HardwareNews:
        """The GPUs, and the host with the disk of `where`."""
        from core.hardware import read_gpus, read_host
        from tui.pulse import PATIENCE

        now = time.monotonic()
        if self._reading is None or self._reading.gpus or now - self._asked > NO_GPU_RETRY:
            self._reading, self._asked = read_gpus(PATIENCE, max_age=FRESH), now
        pid = run.status.pid if run is not None and run.live else None
        own: dict[int, int] = {}
        for gpu in self._reading.gpus if pid is not None else ():
            users = (*gpu.processes, *(each for part in gpu.instances for each in part.processes))
            held = sum(each.memory or 0 for each in users if _group(each.pid) == pid)
            if held:
                own[gpu.index] = held
        host = read_host(where)
        if where != self._where:
            self._where, self._disk = where, DiskTrend()
        used = used_by(self._reading, run, own) if pid is not None else []
        loads = [gpu.utilization for gpu in used if gpu.utilization is not None]
        return HardwareNews(
            self._reading,
            host,
            own,
            shares_hidden=not own and any(gpu.hides_shares for gpu in used),
            full_in=None if host.disk_free is None else self._disk.add(now, host.disk_free),
            utilization=None if self._reading.stale else max(loads, default=None),
        )


def used_by(reading: GpuReading, run: Run | None, own: Mapping[int, int]) -> list[GpuSnapshot]:
    """The cards that the run works on: those that hold memory of it, else the one that it was given, else all."""
    if own:
        return [gpu for gpu in reading.gpus if gpu.index in own]
    given = {part.strip() for part in (run.spec.gpu or "").split(",")} if run is not None else set()
    return [gpu for gpu in reading.gpus if str(gpu.index) in given or gpu.uuid in given] or list(reading.gpus)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
