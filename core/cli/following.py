"""The output of a run in a terminal or a pipe: its last lines, and what comes after."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.output import clipped, put, say
from core.files import read_from
from core.text import printable

if TYPE_CHECKING:
    from core.runs.progress import LogLine

POLL_SECONDS = 0.25


class _Log:
    def __init__(self, path: Path) -> None:
        from core.runs.progress import LogReader

        self._path = path
        self._reader = LogReader()
        self._offset = 0

    def more(self, *, final: bool = False) -> Iterator[LogLine]:
        """The lines since the last time; with `final` also what was held back."""
        while True:
            data, self._offset = read_from(self._path, self._offset)
            if not data:
                break
            yield from self._reader.feed(data)
        if final:
            yield from self._reader.flush()


def last_lines(path: Path, number: int) -> list[str]:
    """The last `number` lines as they stand, without a line that is only the state before a later one."""
    return [line.plain() for line in _settled(_Log(path).more(final=True), number)]


def _settled(lines: Iterator[LogLine], number: int) -> deque[LogLine]:
    kept: deque[LogLine] = deque(maxlen=max(1, number))
    for line in lines:
        if line.replace and kept:
            kept[-1] = line
        else:
            kept.append(line)
    if not number:
        kept.clear()
    return kept


def follow(run_dir: Path, number: int) -> None:
    """Print the last lines and then what comes, until the run has ended.

    The newest line may still change (a progress bar): a terminal shows it in place, a pipe gets it when it is over.
    """
    from core.runs.model import ENDED_STATES, WAITING_STATES
    from core.runs.store import observe

    if observe(run_dir).state in WAITING_STATES:
        say(f"{printable(run_dir.name)} has not begun; its output comes when it does")
    log = _Log(run_dir / "output.log")
    kept = _settled(log.more(), max(1, number))
    newest = kept.pop() if kept else None
    for line in kept if number else ():
        put(line.plain())
    live = sys.stdout.isatty()
    while True:
        ended = observe(run_dir).status.state in ENDED_STATES
        changed = False
        for line in log.more(final=ended):
            if newest is not None and not line.replace:
                _end(newest, live)
            newest, changed = line, True
        if ended:
            break
        if live and changed and newest is not None:
            put("\r\x1b[K" + clipped(newest.plain(), shutil.get_terminal_size().columns - 1), end="")
        time.sleep(POLL_SECONDS)
    if newest is not None:
        _end(newest, live)


def _end(line: LogLine, live: bool) -> None:
    put(("\r\x1b[K" if live else "") + line.plain())
