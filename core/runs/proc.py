"""Processes and locks as the kernel tells them: identity, groups, flock. Tiny, for the supervisor must stay small.

A pid is believed only together with its start ticks and the boot id; a zombie is dead (containers whose PID 1 reaps
nobody keep them for ever).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36


def stat_of(pid: int) -> tuple[str, int, int, int, int] | None:
    """(state letter, parent, process group, session, start ticks) of `pid`; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123 - pathlib costs the supervisor 0.7 MiB
            text = stream.read()
    except OSError:
        return None
    # The command may contain spaces and brackets: the fields begin behind the last one.
    fields = text[text.rfind(b")") + 2 :].split()
    return fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])


def start_ticks(pid: int) -> int | None:
    """When `pid` was started, in clock ticks since boot; None for a dead process and for a zombie."""
    found = stat_of(pid)
    return None if found is None or found[0] in "ZX" else found[4]


def boot_id() -> str | None:
    """This boot's random id; None where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:  # noqa: PTH123
            return stream.read().strip()
    except OSError:
        return None


def is_alive(pid: int | None, ticks: int | None, boot: str | None) -> bool:
    """Whether exactly this process (not a later one with its number) runs."""
    if pid is None or ticks is None or boot != boot_id():
        return False
    return start_ticks(pid) == ticks


def members(group: int, adopter: int | None = None) -> list[int]:
    """Living processes of the process group or session `group`, those that `adopter` (a subreaper) inherited, and
    whatever descends from them: torchrun gives every trainer a session of its own.
    """
    found, children = [], dict[int, list[int]]()
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        pid, stat = int(name), stat_of(int(name))
        if stat is None or stat[0] in "ZX":
            continue
        if group in (stat[2], stat[3]) or (adopter is not None and stat[1] == adopter):
            found.append(pid)
        else:
            children.setdefault(stat[1], []).append(pid)
    for pid in found:  # grows as it goes
        found += children.pop(pid, ())
    return found


def send(pids: list[int], number: int) -> None:
    """Send a signal to each of `pids`; one that has just ended, or is not ours, is passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def is_supervisor(pid: int, run_dir: str) -> bool:
    """Whether `pid` is the supervisor of the run in that folder, by its command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:  # noqa: PTH123
            words = stream.read().split(b"\0")
    except OSError:
        return False
    return b"core.runs.supervisor" in words and os.fsencode(run_dir) in words


def marked(mark: str) -> list[int]:
    """Living processes with `KOHYA_TUI_RUN=mark` in their environment: a run's trainer and all that descend from it."""
    wanted = b"KOHYA_TUI_RUN=" + os.fsencode(mark)
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as stream:  # noqa: PTH123
                if wanted in stream.read().split(b"\0") and start_ticks(int(name)) is not None:
                    found.append(int(name))
    return found


def holders(path: str) -> list[int]:
    """Living processes that have `path` open, such as a run's alive.lock: its trainer inherited that, nobody else."""
    try:
        wanted = os.stat(path)  # noqa: PTH116
    except OSError:
        return []
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{name}/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    facts = os.stat(f"/proc/{name}/fd/{number}")  # noqa: PTH116
                    if (facts.st_dev, facts.st_ino) == (wanted.st_dev, wanted.st_ino):
                        found.append(int(name))
                        break
    return found


def take_lock(path: str) -> int | None:
    """The descriptor (close-on-exec) that holds `path` by flock, or None when somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return descriptor


def take_lock_soon(path: str) -> int | None:
    """As `take_lock`, tried for a tenth of a second: somebody who only looks holds it for an instant."""
    for _ in range(20):
        descriptor = take_lock(path)
        if descriptor is not None:
            return descriptor
        time.sleep(0.005)
    return None


def is_locked(path: str) -> bool:
    """Whether somebody holds `path`. Asks with a shared lock, so that two who ask do not meet each other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def write_json(path: str, value: dict[str, Any], *, fsync: bool) -> None:
    """Replace `path` by `value` in one step. Raises OSError (core.files is too large for the supervisor)."""
    temp = f"{path}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            try:
                data = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
            except UnicodeEncodeError:  # a file name that is no text: as `\udc..`, which json reads back
                data = (json.dumps(value, indent=1) + "\n").encode("ascii")
            while data:
                data = data[os.write(descriptor, data) :]
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temp, path)  # noqa: PTH105
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temp)  # noqa: PTH108
        raise


def overwrite_json(path: str, value: dict[str, Any]) -> None:
    """Write `value` over the old content of `path`, for a full disk: the blocks that it has are enough. Not atomic."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        data = json.dumps(value).encode("utf-8", "surrogateescape")
        written = os.write(descriptor, data)  # compact, so that it fits into the indented text of before
        os.ftruncate(descriptor, written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: str) -> dict[str, Any] | None:
    """The JSON object in `path`; None when it is missing or no object."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            value = json.load(stream)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def name_of(pid: int) -> str:
    """`systemd`, `bash`; "" for one that is gone already (`kill` is quick)."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return "".join(sign for sign in stream.read().strip() if sign.isprintable())
    except OSError:
        return ""


def is_deleted(folder: int) -> bool:
    """Whether the folder behind this descriptor was deleted, not only moved."""
    try:
        if os.fstat(folder).st_nlink == 0:
            return True
        return os.readlink(f"/proc/self/fd/{folder}").endswith(" (deleted)")  # noqa: PTH115
    except OSError:  # ESTALE: deleted from another machine
        return True


def become_subreaper() -> bool:
    """Children whose parent dies become ours, also where PID 1 reaps nobody; False where that is not possible."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return True


def oom_kills() -> int:
    """How often the kernel's OOM killer struck in our control group; 0 where that is not told.

    Inside a container the group is the root of what we see; on a host (a user's session, a cluster's job) its path
    stands in /proc/self/cgroup. Version 1 counts in another file.
    """
    places = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as stream:  # noqa: PTH123
        for line in stream:
            _, kinds, path = line.rstrip("\n").split(":", 2)
            if not kinds:
                places.insert(0, f"/sys/fs/cgroup{path}/memory.events")
            elif "memory" in kinds.split(","):
                places.insert(0, f"/sys/fs/cgroup/memory{path}/memory.oom_control")
    for place in places:
        with contextlib.suppress(OSError, ValueError), open(place, encoding="ascii") as stream:  # noqa: PTH123
            for line in stream:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0
