"""Files: atomic writes, natural order, tails and hashes.

Every persistent file of this program is written by `write_atomic`: a temporary file in the same folder, then a rename
over the old one, so that a reader or a full disk never meets half a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from core.problems import UserError

TEMP_PREFIX = ".kt-"
_DIGITS = re.compile(r"(\d+)")
_RUN = 8192


def write_atomic(path: Path, data: bytes | str, *, fsync: bool = True) -> None:
    """Replace `path` by `data` (text as UTF-8) in one step, keeping its permissions.

    A symbolic link is written through to its target. `fsync=False` is for a bulk whose journal group was synced before
    (core/help/inside.md, rule 4). Raises UserError when the disk is full or forbidden; the old file stays then.
    """
    raw = data.encode("utf-8") if isinstance(data, str) else data
    target = path.resolve() if path.is_symlink() else path
    temp = target.with_name(f"{TEMP_PREFIX}{os.urandom(6).hex()}")
    try:
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(descriptor, target.stat().st_mode & 0o7777)
            view = memoryview(raw)
            while view:
                view = view[os.write(descriptor, view) :]
            if fsync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temp.replace(target)
        if fsync:
            sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """The sentence for a failed write, with what helps."""
    hints = {
        errno.ENOSPC: "The disk is full: free some space, then do it again. The old file is untouched.",
        errno.EDQUOT: "Your disk quota is used up: free some space, then do it again. The old file is untouched.",
        errno.EROFS: "The file system is read-only.",
        errno.EACCES: "You may not write there: check the owner and the permissions of the folder.",
        errno.EPERM: "You may not write there: check the owner and the permissions of the folder.",
        errno.ENOENT: "The folder does not exist (any more).",
        errno.EFBIG: "The file would pass the size limit of this shell (ulimit -f).",
    }
    return UserError(f"Cannot write {path}: {error.strerror or error}", hints.get(error.errno or 0))


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; file systems that refuse to sync a folder are let be."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `img2` before `img10`, without regard to case."""
    return tuple(
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part.casefold())
        for part in _DIGITS.split(name)
        if part
    )


def sorted_in_turns(names: Iterable[str]) -> list[str]:
    """`sorted`, in calls of some ms: 100,000 names in one hold Python's lock, and with it the screen, for 50 ms."""
    found = list(names)
    runs = [sorted(found[start : start + _RUN]) for start in range(0, len(found), _RUN)]
    while len(runs) > 1:  # Python's sort merges two runs in one pass
        runs = [sorted(chain.from_iterable(runs[at : at + 2])) for at in range(0, len(runs), 2)]
    return runs[0] if runs else []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a listing is a folder, links followed; False for a link that leads in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def read_from(path: Path, offset: int, limit: int = 1 << 20) -> tuple[bytes, int]:
    """Up to `limit` bytes of `path` from `offset`, and the next offset.

    A file that shrank is read again from its beginning; one that is not there yet gives nothing.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < offset:
                offset = 0
            stream.seek(offset)
            data = stream.read(limit)
    except FileNotFoundError:
        return b"", 0
    return data, offset + len(data)


def content_hash(data: bytes | Path) -> str:
    """BLAKE2b-128 of bytes or of a file, as 32 hexadecimal digits."""
    import hashlib  # brings OpenSSL along: 3 ms and 2 MiB

    digest = hashlib.blake2b(digest_size=16)
    if isinstance(data, bytes):
        digest.update(data)
    else:
        with data.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when it is missing, half written by somebody else or not an object."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    import json

    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any], *, fsync: bool = True) -> None:
    """`value` as indented JSON, atomically."""
    import json

    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n", fsync=fsync)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on `path` (created when missing); waits for the holder."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
