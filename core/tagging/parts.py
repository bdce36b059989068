"""Fetching one large file of the hub so that the next attempt goes on where this one ended, also after a kill.

The hub's own client (2.x) begins again: its unfinished file has a new name every time. Ours is called after the
checksum and lies beside the finished one; the client then finds that in its cache and only links to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PART = ".kohya-tui.part"


def part_of(target: Path, etag: str) -> Path:
    """Where the unfinished content of `target` lies."""
    return target.with_name(f"{etag[:16]}{PART}")


def fetch_large(
    url: str, target: Path, etag: str, size: int, bar: type, is_right: Callable[[Path], bool], *, force: bool
) -> bool:
    """Bring `target` to the content of `etag`; False when twice something else arrived, which is not kept.

    Another process that fetches the same file is waited for.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target, etag)
    with _locked(part) as stream:
        if not force and target.is_file() and is_right(target):
            part.unlink()
            return True
        for _ in range(2):
            _get(url, stream, size, bar)
            stream.flush()
            if is_right(part):
                os.fsync(stream.fileno())
                part.replace(target)
                return True
            stream.seek(0)
            stream.truncate()
        part.unlink()
    return False


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, for this process alone. A file system without locks costs a wrong checksum at worst."""
    while True:
        stream = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")
        with stream:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                is_ours = os.path.samestat(os.fstat(stream.fileno()), part.stat())
            except FileNotFoundError:
                is_ours = False  # whoever had it finished while we waited
            if is_ours:
                yield stream
                return


def _get(url: str, stream: BinaryIO, size: int, bar: type) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    done = stream.seek(0, os.SEEK_END)
    if done > size:
        stream.seek(0)
        stream.truncate()
        done = 0
    headers: dict[str, Any] = build_hf_headers()
    http_get(url, stream, resume_size=done, headers=headers, expected_size=size, tqdm_class=bar)
