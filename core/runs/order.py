"""Who waits for a GPU and in which order: `queue.json` in the user's state folder, for all workspaces of this machine.

Every change is made under the flock of `queue.lock`. A GPU that a run holds is the flock of `gpu-<UUID>.lock` beside it
(`gpu-cpu.lock` on a machine without one): shared, for runs that were started past the queue may share a GPU; whoever
takes a turn has held it exclusively for a moment. Tiny, for waiting supervisors read it once a second.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Any

from core.runs import proc

FORMAT = 1
CPU = "cpu"
"""The slot of a machine without a GPU."""
ANY = "any"
"""Whichever GPU is free; `any:2` is two of them."""

Entry = dict[str, Any]
"""`dir` (of the run), `locks`, `gpu` (`any`, `any:2`, or indices and UUIDs with commas), `held` (None, `asked`,
`reboot`), `at`, `after` (a run's folder), `only_if_finished`, `share` (start although others use the GPU), `now`
(beside a run of ours, too), `added`."""


def queue_file(folder: str) -> str:
    """Where the order is kept."""
    return f"{folder}/queue.json"


def seen(folder: str) -> tuple[int, int] | None:
    """Changes when the order does."""
    try:
        stat = os.stat(queue_file(folder))  # noqa: PTH116 - pathlib costs the supervisor 0.7 MiB
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def read(folder: str) -> list[Entry]:
    """Those who wait, the first one first. What waited before the machine was restarted is held."""
    return _entries(proc.read_json(queue_file(folder)) or {})


def is_newer(folder: str) -> bool:
    """Whether a newer program wrote the order: it is shown then, and not changed."""
    version = (proc.read_json(queue_file(folder)) or {}).get("v", FORMAT)
    return isinstance(version, int) and version > FORMAT


@contextlib.contextmanager
def changing(folder: str) -> Iterator[list[Entry]]:
    """The entries, to be changed in place; written when they differ. Others wait meanwhile. Raises OSError."""
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    lock = os.open(f"{folder}/queue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        raw = proc.read_json(queue_file(folder)) or {}
        entries = _entries(raw)
        before = [dict(entry) for entry in entries]
        yield entries
        entries[:] = [entry for entry in entries if _is_waiting(entry)]
        if is_newer(folder):
            raise OSError(errno.EPERM, "it was written by a newer kohya-tui: update this one")
        if entries != before or raw.get("boot_id") != proc.boot_id():
            value = {"v": FORMAT, "boot_id": proc.boot_id(), "runs": entries}
            proc.write_json(queue_file(folder), value, fsync=True)
    finally:
        os.close(lock)


def find(entries: list[Entry], run_dir: str) -> Entry | None:
    """The entry of a run."""
    return next((entry for entry in entries if entry["dir"] == run_dir), None)


def wish_of(entry: Entry) -> tuple[int, list[str]]:
    """How many GPUs an entry needs, and which; none named means any."""
    words = [word.strip() for word in str(entry.get("gpu") or ANY).split(",") if word.strip()]
    if words and words[0].partition(":")[0] == ANY:
        count = words[0].partition(":")[2]
        return (int(count) if count.isdecimal() and int(count) else 1), []
    return len(words), words


def is_attended(entry: Entry) -> bool:
    """Whether a supervisor waits for this run's turn."""
    return proc.is_locked(f"{entry.get('locks') or entry['dir']}/supervisor.lock")


def _entries(raw: dict[str, Any]) -> list[Entry]:
    found = raw.get("runs")
    entries = [
        dict(entry)
        for entry in (found if isinstance(found, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("dir"), str)
    ]
    if raw.get("boot_id") != proc.boot_id():
        for entry in entries:
            if not entry.get("held") and not is_attended(entry):
                entry["held"] = "reboot"
    return entries


def _is_waiting(entry: Entry) -> bool:
    """Whether its run is still one that waits: not started, ended or deleted meanwhile."""
    if not os.path.exists(f"{entry['dir']}/spec.json"):  # noqa: PTH110
        return False
    state = (proc.read_json(f"{entry['dir']}/state.json") or {}).get("state", "prepared")
    return state in ("queued", "prepared")


# GPUs as slots


def slot_file(folder: str, slot: str) -> str:
    """The lock of a GPU (its UUID), or of `cpu`."""
    return f"{folder}/gpu-{slot.replace('/', '_')}.lock"


def is_free(folder: str, slot: str) -> bool:
    """Whether no run of ours holds this GPU."""
    lock = _open_slot(folder, slot)
    try:
        return _flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def take(folder: str, slot: str, run_dir: str, *, alone: bool = True) -> int | None:
    """The descriptor that holds a GPU for this run; None when another run holds it.

    With `alone` nobody else may hold it at this moment; without, only somebody who is taking it just now stands in the
    way. Tried for a tenth of a second, as somebody who only looks holds it for an instant.
    """
    lock = _open_slot(folder, slot)
    for _ in range(20):
        if _flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            with contextlib.suppress(OSError):  # only who holds it, for a sentence
                names = [*holders(folder, slot), run_dir]
                os.ftruncate(lock, 0)
                os.pwrite(lock, "\n".join(names).encode("utf-8", "surrogateescape"), 0)
            fcntl.flock(lock, fcntl.LOCK_SH)
            return lock
        time.sleep(0.005)
    os.close(lock)
    return None


def share(run_dir: str, spec: dict[str, Any]) -> list[int]:
    """Hold the GPUs of a run that was started past the queue: nobody's turn comes while it uses them."""
    found = []
    for slot in spec.get("slots") or ():
        with contextlib.suppress(OSError):  # the user's folder is full or read-only: no reason not to train
            lock = take(str(spec["slots_dir"]), str(slot), run_dir, alone=False)
            if lock is not None:
                found.append(lock)
    return found


def holders(folder: str, slot: str) -> list[str]:
    """The folders of the runs that hold this GPU and are alive."""
    try:
        with open(slot_file(folder, slot), encoding="utf-8", errors="surrogateescape") as stream:  # noqa: PTH123
            names = stream.read().splitlines()
    except OSError:
        return []
    return [name for name in dict.fromkeys(names) if _is_alive(name)]


def _is_alive(run_dir: str) -> bool:
    spec = proc.read_json(f"{run_dir}/spec.json") or {}
    return proc.is_locked(f"{spec.get('locks') or run_dir}/alive.lock")


def _open_slot(folder: str, slot: str) -> int:
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    return os.open(slot_file(folder, slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _flock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
