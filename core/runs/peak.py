"""The most GPU memory that a run was seen to hold: `hardware.json` in its folder, for plans of the next one.

Written by the short-lived child that a supervisor starts after half a minute and then ever more seldom: PyTorch keeps
what it once took, so that a few looks find the peak.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import read_json, write_json
from core.runs import proc

FILE = "hardware.json"


def note_peak(run_dir: Path) -> int | None:
    """Look at the GPUs and write the peak when it is a new one; returns what the run holds now, None if unknown.

    `exact` says whether the driver told it of the run's own processes; in a container it is all of the card's memory.
    """
    from core.hardware import read_gpus

    spec, state = read_json(run_dir / "spec.json") or {}, read_json(run_dir / "state.json") or {}
    pid = state.get("pid")
    reading = read_gpus()
    if not isinstance(pid, int) or reading.stale:
        return None
    ours = {pid, *proc.members(pid)}
    given = gpus_of(spec, state)
    found: list[tuple[bool, int, dict[str, Any]]] = []
    for gpu in reading.gpus:
        users = (*gpu.processes, *(each for part in gpu.instances for each in part.processes))
        own = sum(each.memory or 0 for each in users if each.pid in ours)
        facts = {"gpu": gpu.index, "name": gpu.name, "total": gpu.memory_total}
        if own:
            found.append((True, own, facts))
        elif gpu.memory_used and gpu.hides_shares and (not given or str(gpu.index) in given or gpu.uuid in given):
            found.append((False, gpu.memory_used, facts))
    if not found:
        return None
    exact, held, facts = max(found, key=lambda each: each[:2])
    if held > (peak_of(run_dir) or 0):
        value = {"v": 1, "peak_vram": held, "exact": exact, **facts, "time": time.time()}
        write_json(run_dir / FILE, value, fsync=False)
    return held


def gpus_of(spec: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """Indices or UUIDs of the GPUs that a run was given: what its turn in the queue took, else what was asked for."""
    return {part.strip() for part in str(state.get("gpu") or spec.get("gpu") or "").split(",") if part.strip()}


@dataclass(frozen=True, slots=True)
class Peak:
    """What a run held at most, in bytes; `total` of that card. Not `exact`: with whatever else was on the card."""

    held: int
    total: int | None
    exact: bool


def read_peak(run_dir: Path) -> Peak | None:
    """What was noted of a run; None when nobody could look."""
    found = read_json(run_dir / FILE) or {}
    held, total = (found.get(key) if type(found.get(key)) is int else None for key in ("peak_vram", "total"))
    return Peak(held, total, found.get("exact") is True) if held is not None and held > 0 else None


def peak_of(run_dir: Path) -> int | None:
    """Bytes, or None when nobody could look."""
    peak = read_peak(run_dir)
    return None if peak is None else peak.held
