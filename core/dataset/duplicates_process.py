"""The search for duplicates in a process of its own: the caller's interpreter and memory are left to the keyboard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import astuple
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn

from core.dataset.duplicates import Duplicate, FindProgress, Group, find
from core.problems import UserError

LARGE = 2000
"""Images from which on a process of its own compares them: it costs 150 ms to start."""
_TOGETHER = 100
"""Groups a line: what is parsed at once holds the caller's other threads up."""


def following(images: Iterable[Path], distance: int, *, mirrored: bool = False) -> Generator[FindProgress, None, None]:
    """`find`, done by a process of its own when there are many images; closing the generator ends it.

    Raises UserError when that process ends before its time.
    """
    waiting = iter(images)
    some = list(islice(waiting, LARGE))
    if len(some) < LARGE:
        return find(some, distance, mirrored=mirrored)
    return _following(some, waiting, distance, mirrored)


def _following(
    first: list[Path], rest: Iterator[Path], distance: int, mirrored: bool
) -> Generator[FindProgress, None, None]:
    command = [sys.executable, "-P", "-m", "core.dataset.duplicates_process", str(distance), str(int(mirrored))]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert child.stdin is not None and child.stdout is not None
    sent = len(first)
    try:
        while first:
            child.stdin.write(b"".join(os.fsencode(image) + b"\0" for image in first))
            yield FindProgress(0, sent)  # the caller may stop here
            sent += len(first)
            first = list(islice(rest, LARGE))
        child.stdin.close()
        yield from _received(child.stdout)
        if code := child.wait():
            raise UserError(
                f"The search ended before its time: its process ended with status {code}",
                "Try it again; if it happens again, look for a full disk or too little memory.",
            )
    finally:
        for stream in (child.stdin, child.stdout):
            if not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:  # it ended while we were writing
                    continue
        child.kill()
        child.wait()


def _received(stream: IO[bytes]) -> Generator[FindProgress, None, None]:
    groups: list[Group] = []
    unread: tuple[tuple[Path, str], ...] = ()
    for line in stream:
        kind, *values = json.loads(line)
        if kind == "progress":
            yield FindProgress(values[0], values[1])
        elif kind == "unread":
            unread = tuple((Path(text), reason) for text, reason in values[0])
        elif kind == "groups":
            groups += (Group(tuple(Duplicate(Path(text), *facts) for text, *facts in group)) for group in values[0])
        else:
            yield FindProgress(values[0], values[0], tuple(groups), unread)


def _send(kind: str, *values: Any) -> None:
    sys.stdout.buffer.write(json.dumps([kind, *values]).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def main() -> NoReturn:
    """`python -P -m core.dataset.duplicates_process DISTANCE MIRRORED`: paths on stdin (NUL), JSON lines on stdout."""
    import gc

    gc.disable()  # there are no cycles, and hundreds of thousands of objects to look through
    distance, mirrored = map(int, sys.argv[1:])
    images = [Path(os.fsdecode(name)) for name in sys.stdin.buffer.read().split(b"\0") if name]
    try:
        for step in find(images, distance, mirrored=bool(mirrored)):
            if step.groups is None:
                _send("progress", step.done, step.total)
                continue
            _send("unread", [[str(path), reason] for path, reason in step.unread])
            for start in range(0, len(step.groups), _TOGETHER):
                some = step.groups[start : start + _TOGETHER]
                _send("groups", [[[str(each.path), *astuple(each)[1:]] for each in group.images] for group in some])
            _send("done", step.total)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
