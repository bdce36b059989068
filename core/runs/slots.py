"""Which GPUs a run may take, and who uses them: their UUIDs are the slots of core.runs.order.

A card that is split (MIG) has as many places as it has instances, numbered `0:1`; it has none of its own then.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.runs import order
from core.text import human_gib

if TYPE_CHECKING:
    from core.hardware import GpuProcess, GpuReading

_LEAST_BYTES = 1 << 30
_LEAST_SHARE = 0.1
"""Memory in use from which a GPU counts as used: a desktop takes a few hundred MiB, a training takes nearly all."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a run can have to itself: a card, or an instance of one. Memory in bytes."""

    index: str
    """`0`; `0:1` is instance 1 of card 0."""
    uuid: str | None
    name: str | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()


def folder() -> str:
    """Where the queue and the GPUs' locks are: the user's state folder.

    Of a home that several machines share, each has a folder of its own there: GPUs, locks and restarts are its own.
    """
    from core.settings import state_dir

    place = state_dir()
    return str(place / "hosts" / os.uname().nodename if is_shared(place) else place)


@functools.lru_cache(maxsize=8)
def is_shared(place: Path) -> bool:
    """Whether other machines see this folder too."""
    from core.runs.store import is_on_network

    return is_on_network(place)


def name_of(gpu: Gpu) -> str:
    """The slot of a GPU: its UUID, which CUDA_VISIBLE_DEVICES takes as well."""
    return gpu.uuid or f"index-{gpu.index}"


def all_of(reading: GpuReading) -> list[Gpu]:
    """The cards and, of those that are split, the instances."""
    found = []
    for card in reading.gpus:
        parts = (
            [(f"{card.index}:{part.index}", part) for part in card.instances] if card.mig else [(str(card.index), card)]
        )
        found += [
            Gpu(index, part.uuid, part.name, part.memory_used, part.memory_total, part.processes)
            for index, part in parts
        ]
    return found


def visible(reading: GpuReading, environ: Mapping[str, str] | None = None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves: all of them where it is not set."""
    wanted, there = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES"), all_of(reading)
    if wanted is None:
        return there
    found = []
    for word in (part.strip() for part in wanted.split(",")):
        gpu = next((gpu for gpu in there if _is_meant(gpu, word)), None)
        if gpu is None:
            break  # as CUDA does: the rest is not looked at
        found.append(gpu)
    return found


def _is_meant(gpu: Gpu, word: str) -> bool:
    return word == gpu.index or (word.startswith(("GPU-", "MIG-")) and name_of(gpu).startswith(word))


def chosen(wish: str | None, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs that `wish` names (`0`, `0,1`, `0:1`, UUIDs). Raises UserError when one is not there."""
    found = []
    for word in (part.strip() for part in (wish or "").split(",") if part.strip()):
        gpu = next((gpu for gpu in gpus if _is_meant(gpu, word)), None)
        if gpu is None:
            there = ", ".join(gpu.index for gpu in gpus) or "none"
            raise UserError(f"There is no GPU {word}", f"There are: {there}. Look at them: kohya-tui gpu")
        if gpu not in found:
            found.append(gpu)
    return found


def of_start(wish: str | None, reading: GpuReading, count: int = 1) -> tuple[str, ...]:
    """The slots of a run that starts now: what is named, else the first `count` GPUs, else the CPU."""
    gpus = visible(reading)
    found = chosen(wish, gpus) if wish and not wish.startswith(order.ANY) else gpus[:count]
    return tuple(name_of(gpu) for gpu in found) or (order.CPU,)


def used_by_others(gpu: Gpu, ours: frozenset[int] = frozenset()) -> str | None:
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
        "count": len(all_of(reading)),
        "message": reading.message if reading.stale or not reading.gpus else None,
        "stale": reading.stale,
    }
