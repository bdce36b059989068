"""One tag run at a time on a folder: a flock on the folder itself, held as long as the run lives.

Nothing lies in the folder because of it, and a killed run leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.problems import UserError

_MOST = 256
"""Folders that are locked at most; each takes a descriptor."""
_JOB = b"core.tagging.job"


@contextlib.contextmanager
def claimed(folders: Iterable[Path]) -> Iterator[None]:
    """Hold these folders. Raises UserError that names the run which has one of them."""
    with contextlib.ExitStack() as held:
        for folder in _distinct(folders)[:_MOST]:
            descriptor = _take(folder)
            if descriptor is not None:
                held.callback(os.close, descriptor)
        yield


def check_free(folders: Iterable[Path]) -> None:
    """Raises UserError when a tag run works in one of these folders just now."""
    with claimed(folders):
        pass


def _distinct(folders: Iterable[Path]) -> list[Path]:
    """Each folder once, also where a link leads to another of them: a second lock would meet the first."""
    found: dict[tuple[int, int], Path] = {}
    for folder in sorted(set(folders)):
        with contextlib.suppress(OSError):
            state = folder.stat()
            found.setdefault((state.st_dev, state.st_ino), folder)
    return list(found.values())


def _take(folder: Path) -> int | None:
    """The descriptor that holds the folder; None where it cannot be locked (NFS wants it opened for writing)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None  # whoever reads the folder says why
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        run = _holder(folder)
        name = f"the run {run}" if run else "another run"
        raise UserError(
            f"{folder} is being tagged by {name}",
            f"Wait for its end, or stop it: kohya-tui stop {run or 'RUN (kohya-tui runs lists them)'}",
        ) from error
    return descriptor


def _holder(folder: Path) -> str | None:
    """The id of the run that holds the folder, as far as the kernel tells (not from inside another container)."""
    try:
        number = folder.stat().st_ino
        locks = Path("/proc/locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    for line in locks:
        words = line.split()
        if len(words) < 6 or words[1] != "FLOCK" or words[5].rpartition(":")[2] != str(number):
            continue
        with contextlib.suppress(OSError):
            argv = Path("/proc", words[4], "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if _JOB in argv[:-1]:
                return Path(os.fsdecode(argv[-1])).name
    return None
