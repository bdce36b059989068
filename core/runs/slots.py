"""Which GPUs a run may take, and who uses them: their UUIDs are the slots of core.runs.order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.runs import order
from core.text import human_gib

if TYPE_CHECKING:
    from core.hardware import GpuReading, GpuSnapshot

_LEAST_BYTES = 1 << 30
_LEAST_SHARE = 0.1
"""Memory in use from which a GPU counts as used: a desktop takes a few hundred MiB, a training takes nearly all."""


def folder() -> str:
    """Where the queue and the GPUs' locks are: the user's state folder."""
    from core.settings import state_dir

    return str(state_dir())


def name_of(gpu: GpuSnapshot) -> str:
    """The slot of a GPU: its UUID, which CUDA_VISIBLE_DEVICES takes as well."""
    return gpu.uuid or f"index-{gpu.index}"


def visible(reading: GpuReading, environ: Mapping[str, str] | None = None) -> list[GpuSnapshot]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves: all of them where it is not set."""
    wanted = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(reading.gpus)
    found = []
    for word in (part.strip() for part in wanted.split(",")):
        gpu = next((gpu for gpu in reading.gpus if _is_meant(gpu, word)), None)
        if gpu is None:
            break  # as CUDA does: the rest is not looked at
        found.append(gpu)
    return found


def _is_meant(gpu: GpuSnapshot, word: str) -> bool:
    return word == str(gpu.index) or (word.startswith("GPU-") and name_of(gpu).startswith(word))


def chosen(wish: str | None, gpus: Sequence[GpuSnapshot]) -> list[GpuSnapshot]:
    """The GPUs that `wish` names (`0`, `0,1`, UUIDs). Raises UserError when one is not there."""
    found = []
    for word in (part.strip() for part in (wish or "").split(",") if part.strip()):
        gpu = next((gpu for gpu in gpus if _is_meant(gpu, word)), None)
        if gpu is None:
            there = ", ".join(str(gpu.index) for gpu in gpus) or "none"
            raise UserError(f"There is no GPU {word}", f"There are: {there}. Look at them: kohya-tui gpu")
        if gpu not in found:
            found.append(gpu)
    return found


def of_start(wish: str | None, reading: GpuReading, count: int = 1) -> tuple[str, ...]:
    """The slots of a run that starts now: what is named, else the first `count` GPUs, else the CPU."""
    gpus = visible(reading)
    found = chosen(wish, gpus) if wish and not wish.startswith(order.ANY) else gpus[:count]
    return tuple(name_of(gpu) for gpu in found) or (order.CPU,)


def used_by_others(gpu: GpuSnapshot, ours: frozenset[int] = frozenset()) -> str | None:
    """`used by others: 18.2 of 24.0 GiB (python 4711)`, without what the processes `ours` hold; None while it is free.

    Inside a container the processes of others have no name, or are not told at all.
    """
    used, total = gpu.memory_used, gpu.memory_total
    if used is None or total is None:
        return None
    used -= sum(process.memory or 0 for process in gpu.processes if process.pid in ours)
    if used <= max(_LEAST_BYTES, _LEAST_SHARE * total):
        return None
    names = [f"{process.name or 'process'} {process.pid}" for process in gpu.processes if process.pid not in ours]
    who = f" ({', '.join(names[:2])}{' …' if len(names) > 2 else ''})" if names else ""
    return f"used by others: {human_gib(used)} of {human_gib(total)} GiB{who}"


def holders(slots: Sequence[str]) -> list[Path]:
    """The folders of our runs, of any workspace, that hold one of these slots now."""
    place = folder()
    names = [name for slot in slots if not order.is_free(place, slot) for name in order.holders(place, slot)]
    return [Path(name) for name in dict.fromkeys(names)]


def look() -> dict[str, object]:
    """What a waiting supervisor asks for, as JSON: `gpus` (index, slot, used by others or None) and `message`."""
    from core.hardware import read_gpus

    reading = read_gpus()
    return {
        "gpus": [[gpu.index, name_of(gpu), used_by_others(gpu)] for gpu in visible(reading)],
        "count": len(reading.gpus),
        "message": reading.message if reading.stale or not reading.gpus else None,
        "stale": reading.stale,
    }
