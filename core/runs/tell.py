"""The short-lived child of a supervisor that tells the user: `python -P -m core.runs.tell RUNDIR EVENT-JSON`.

It is none of the run's business: whatever fails here ends in supervisor.log. Exit code 3: the run's device is busy,
so this is no stall.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import read_json, write_json
from core.problems import UserError
from core.runs import notify, proc
from core.runs.supervisor import STILL_WORKS
from core.settings import load, state_dir
from core.text import human_seconds

if TYPE_CHECKING:
    from core.runs.model import Run

LIMIT_SECONDS = 120
"""Then the child ends whatever it waits for."""
PER_HOUR = 30
"""Messages of all runs of a user; a sweep whose forty runs fail at once is told, and then summed up."""
SHORT_SECONDS = 60.0
_BUSY_PERCENT = 5
_LOOKS = 3


def main(argv: list[str]) -> int:
    """Send what the event says by the ways that the user has set up."""
    signal.alarm(LIMIT_SECONDS)
    run_dir, event = Path(argv[0]), json.loads(argv[1])
    if event.get("kind") == "peak":
        from core.runs.peak import note_peak

        note_peak(run_dir)
        return 0
    if event.get("kind") == "stalled" and not event.get("sure") and device_works(run_dir):
        return STILL_WORKS
    spec = read_json(run_dir / "spec.json") or {}
    workspace = spec.get("workspace")
    out = notify.ways(load(Path(workspace) if isinstance(workspace, str) else None))
    for problem in out.problems:
        print(f"notify: {problem.where}: {problem.message}", file=sys.stderr)
    if not out.names or event.get("kind") not in out.on:
        return 0
    if event.get("kind") == "finished" and is_short_tagging(spec, read_json(run_dir / "state.json") or {}):
        return 0
    message = describe(run_dir, event)
    held = budget(state_dir(), time.time())
    if held is not None:
        if not held:
            return 0
        message = notify.Message("failed", "kohya-tui: many messages", held, urgent=True)
    sent = notify.send(message, out)
    for one in sent:
        if not one.ok:
            print(f"notify: {one.way}: {one.detail}", file=sys.stderr)
    return 0 if all(one.ok for one in sent) else 1


def is_short_tagging(spec: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether it is a tag run of less than a minute: whoever started it still sits there."""
    begun, ended = state.get("started"), state.get("ended")
    return spec.get("kind") == "tag" and bool(begun and ended) and float(ended or 0) - float(begun or 0) < SHORT_SECONDS


def describe(run_dir: Path, event: Mapping[str, Any]) -> notify.Message:
    """The message about the run in `run_dir`; its steps and its last loss when it has ended."""
    from core.runs.store import observe

    try:
        run = observe(run_dir)
    except UserError as error:
        return notify.message_for(event, name=run_dir.name, run_id=run_dir.name, reason=error.message)
    reason = run.status.reason if event.get("kind") in ("finished", "failed") else None
    facts = _facts(run) if event.get("kind") == "finished" else ""
    return notify.message_for(event, name=run.spec.name, run_id=run.id, reason=reason, facts=facts)


def _facts(run: Run) -> str:
    from core.runs.watch import snapshot

    try:
        seen = snapshot(run)
    except (UserError, OSError):
        return ""
    unit = "images" if run.spec.kind == "tag" else "steps"
    parts = [f"{seen.step:,} {unit}"] if seen.step is not None else []
    if run.status.started is not None and run.status.ended is not None:
        parts.append(f"in {human_seconds(run.status.ended - run.status.started)}")
    if seen.loss_average is not None:
        parts.append(f"loss {seen.loss_average:.4f}")
    return ", ".join(parts) + "." if parts else ""


def budget(folder: Path, now: float) -> str | None:
    """None when a message may go out; a last word when this one is the first too many; "" beyond that.

    Kept for all runs of the user in `notify.json`, under a lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = proc.take_lock_soon(str(folder / "notify.lock"))
    except OSError:  # a full disk, a home that cannot be written: no reason to keep silent
        return None
    if lock is None:
        return None
    try:
        path = folder / "notify.json"
        kept = (read_json(path) or {}).get("times")
        times = [float(each) for each in kept if 0 <= now - each < 3600] if isinstance(kept, list) else []
        if len(times) > PER_HOUR:
            return ""
        with contextlib.suppress(UserError):  # a full disk must not keep the message about it
            write_json(path, {"v": 1, "times": [*times, now]}, fsync=False)
        if len(times) == PER_HOUR:
            until = time.strftime("%H:%M", time.localtime(times[0] + 3600))
            return f"{PER_HOUR} messages within an hour: nothing more is sent until {until}. See: kohya-tui runs"
        return None
    finally:
        os.close(lock)


def device_works(run_dir: Path) -> bool:
    """Whether the run's GPUs are busy, or, where none can be read, its processes use the CPU."""
    from core.hardware import read_gpus
    from core.runs.peak import gpus_of

    spec, state = read_json(run_dir / "spec.json") or {}, read_json(run_dir / "state.json") or {}
    wanted = gpus_of(spec, state)
    known = False
    for number in range(_LOOKS):
        if number:
            time.sleep(1)
        for gpu in read_gpus().gpus:
            if gpu.utilization is not None and (not wanted or str(gpu.index) in wanted or gpu.uuid in wanted):
                known = True
                if gpu.utilization > _BUSY_PERCENT:
                    return True
    return not known and _uses_cpu(state.get("pid"))


def _uses_cpu(group: Any, seconds: float = 2.0) -> bool:
    if not isinstance(group, int):
        return False
    before = _ticks(group)
    time.sleep(seconds)
    used = (_ticks(group) - before) / os.sysconf("SC_CLK_TCK")
    return used > seconds * _BUSY_PERCENT / 100


def _ticks(group: int) -> int:
    total = 0
    for pid in proc.members(group):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
