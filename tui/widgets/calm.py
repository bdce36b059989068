"""Readings of a machine without their trembling: what a resting machine shows stays as it is, and costs no byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.hardware import GpuReading, GpuSnapshot, HostSnapshot

_HOST: Mapping[str, tuple[float, int]] = {
    "cpu_percent": (3.0, 4),
    "memory_used": (0.7 * 2**30, 1),
    "disk_free": (7e8, 1),
}
_GPU: Mapping[str, tuple[float, int]] = {"memory_used": (0.07 * 2**30, 1), "power": (4.0, 1)}
"""Field → how far it has to move until it is shown anew, and of how many readings the mean is taken. A little more than
half of the last digit that is shown; the load of an idle host goes up and down by two points every second."""


@dataclass(slots=True)
class _Value:
    seen: deque[float]
    shown: float | None = None


@dataclass(slots=True)
class Calm:
    """Takes readings and gives them back with the values that are worth showing."""

    _values: dict[tuple[int, str], _Value] = field(default_factory=dict)

    def gpus(self, reading: GpuReading) -> GpuReading:
        """Memory and power of each card."""
        return replace(reading, gpus=tuple(self._gpu(gpu) for gpu in reading.gpus))

    def _gpu(self, gpu: GpuSnapshot) -> GpuSnapshot:
        memory, power = (self._take(gpu.index, name, getattr(gpu, name), *_GPU[name]) for name in _GPU)
        return replace(gpu, memory_used=None if memory is None else int(memory), power=power)

    def host(self, host: HostSnapshot) -> HostSnapshot:
        """Load, memory and disk."""
        cpu, memory, disk = (self._take(-1, name, getattr(host, name), *_HOST[name]) for name in _HOST)
        return replace(
            host,
            cpu_percent=cpu,
            memory_used=None if memory is None else int(memory),
            disk_free=None if disk is None else int(disk),
        )

    def _take(self, index: int, name: str, value: float | None, least: float, of: int) -> float | None:
        if value is None:
            self._values.pop((index, name), None)
            return None
        known = self._values.setdefault((index, name), _Value(deque(maxlen=of)))
        known.seen.append(value)
        mean = sum(known.seen) / len(known.seen)
        if known.shown is None or abs(mean - known.shown) >= least:
            known.shown = mean
        return known.shown
