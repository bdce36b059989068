"""What a supervisor sees of its run while nobody looks: a loss that is not a number, no progress, a disk that fills up.

Cheap by design (0.1 % of a core): a few system calls every five seconds and the end of what the log gained. Imports
nothing but os and time, for it lives in the supervisor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

STALL_MINUTES = 10.0
"""Without a sign of progress, for messages and for every screen: what the user's `stall_minutes` is without a word.

Caching the latents of a large dataset draws a bar; loading a model from a slow disk may be silent for minutes.
"""
DISK_GB = 3.0
LOOK_SECONDS = 5.0
_DISK_SECONDS = 30.0
_CHUNK = 64 * 1024
_AGAIN = 1.25
"""A disk is told about once more when it had this much more than the limit in between."""

PEAK_SECONDS = 30.0
"""When the GPU's memory is looked at for the first time; then ever more seldom, twice an hour at last."""
_PEAK_MOST = 1800.0

Event = dict[str, Any]


class Vigil:
    """`look` as often as wanted; it answers with what is to be told, each thing once until it has changed."""

    def __init__(self, run_dir: str, spec: Mapping[str, Any]) -> None:
        self._log = f"{run_dir}/output.log"
        self._folders = [run_dir]
        if spec.get("output_dir"):
            self._folders.append(os.path.join(str(spec.get("cwd") or "/"), str(spec["output_dir"])))  # noqa: PTH118
        limits = spec.get("alerts") or {}
        self._stall = float(limits.get("stall_minutes", STALL_MINUTES)) * 60
        self._disk = float(limits.get("disk_gb", DISK_GB)) * 1e9
        self._every = float(limits.get("look_seconds", LOOK_SECONDS))
        self._size = 0
        self._grown = self._suspected = time.monotonic()
        self._next = self._next_disk = 0.0
        self._began = time.monotonic()
        self._next_peak = self._began + float(limits.get("peak_seconds", PEAK_SECONDS))
        self._wrong: dict[str, str] = {}

    @property
    def warning(self) -> str | None:
        """What is wrong just now, in sentences."""
        return " ".join(self._wrong.values()) or None

    def look(self) -> list[Event]:
        """What has gone wrong since the last look: `{"kind": "nan" | "stalled" | "disk", …}`.

        `peak` among them is nothing wrong: it is time to look how much memory of its GPU the run holds.
        """
        now = time.monotonic()
        if now < self._next:
            return []
        self._next = now + self._every
        found = self._read_log(now)
        if self._stall > 0 and "stalled" not in self._wrong and now - self._suspected >= self._stall:
            idle = now - self._grown
            self._wrong["stalled"] = f"No progress for {round(idle / 60)} minutes."
            # A device that is busy excuses silence, but not for ever: processes that wait for each other are busy too.
            found.append({"kind": "stalled", "seconds": round(idle), "sure": idle >= 3 * self._stall})
        if self._disk > 0 and now >= self._next_disk:
            self._next_disk = now + min(_DISK_SECONDS, 6 * self._every)
            found += self._look_at_disk()
        if now >= self._next_peak:
            self._next_peak = now + min(_PEAK_MOST, 2 * (now - self._began))
            found.append({"kind": "peak"})
        return found

    def still_works(self) -> None:
        """The device was busy after all: it is no stall yet. Suspected again after as long a time."""
        self._wrong.pop("stalled", None)
        self._suspected = time.monotonic()

    def _read_log(self, now: float) -> list[Event]:
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            size = os.fstat(descriptor).st_size
            if size == self._size:
                return []
            # 200 bytes before what is new: a bar may have been cut by the last look.
            begin = max(0, min(self._size, size) - 200, size - _CHUNK)
            data = os.pread(descriptor, _CHUNK, begin)
        except OSError:
            return []
        finally:
            os.close(descriptor)
        self._size, self._grown, self._suspected = size, now, now
        self._wrong.pop("stalled", None)
        step = _nan_step(data) if "nan" not in self._wrong else None
        if step is None:
            return []
        self._wrong["nan"] = (
            f"The loss is not a number (NaN) at step {step:,}: the checkpoints from here on are useless."
        )
        return [{"kind": "nan", "step": step}]

    def _look_at_disk(self) -> list[Event]:
        least: tuple[float, str] | None = None
        for folder in self._folders:
            try:
                facts = os.statvfs(folder)
            except OSError:  # not made yet, or removed
                continue
            free = float(facts.f_bavail * facts.f_frsize)
            if least is None or free < least[0]:
                least = (free, folder)
        if least is None:
            return []
        free, folder = least
        if "disk" in self._wrong:
            if free > self._disk * _AGAIN:
                del self._wrong["disk"]
            return []
        if free >= self._disk:
            return []
        self._wrong["disk"] = f"Only {free / 1e9:.1f} GB are free on the disk of {folder}."
        return [{"kind": "disk", "free": free, "folder": folder}]


def _nan_step(data: bytes) -> int | None:
    """The step of the newest bar when its loss is not a number; once NaN, the trainer's average stays it."""
    place = data.rfind(b"avr_loss=")
    if place < 0 or data[place + 9 : place + 12].lower() != b"nan":
        return None
    bar = data[max(data.rfind(b"\r", 0, place), data.rfind(b"\n", 0, place)) + 1 : place]
    count = bar[bar.rfind(b"|") + 1 :].split(b"/")[0].strip()
    return int(count) if count.isdigit() else 0
