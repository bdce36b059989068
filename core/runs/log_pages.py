"""A long log a page at a time, from any place of it: what lies before the lines that a run's watch gave.

No index is kept: pages are found by their bytes, so that the first line of a gigabyte is as near as the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.runs.progress import LogLine, LogReader

PAGE = 128 << 10
_LONGEST = 4 << 20
_PIECE = 4 << 20


@dataclass(frozen=True, slots=True)
class LogPage:
    """The lines between two bytes of a log; `size` is that of the whole."""

    begin: int
    end: int
    size: int
    lines: tuple[LogLine, ...] = ()


def page_before(path: Path, end: int | None = None, size: int = PAGE) -> LogPage:
    """The page that ends at a byte (None: at the end of the log). Empty when there is nothing before, or no log."""
    try:
        with path.open("rb") as stream:
            whole = stream.seek(0, 2)
            end = whole if end is None else min(end, whole)
            begin = max(0, end - size)
            stream.seek(begin)
            data = stream.read(end - begin)
            skip = _after_line(data) if begin else 0
            while begin and not skip and end - begin < _LONGEST:  # one line that is longer than a page
                begin = max(0, begin - size)
                stream.seek(begin)
                data = stream.read(end - begin)
                skip = _after_line(data) if begin else 0
    except OSError:
        return LogPage(0, 0, 0)
    return LogPage(begin + skip, end, whole, _lines(data[skip:]))


def page_after(path: Path, begin: int, size: int = PAGE) -> LogPage:
    """The page that begins at a byte, which should be the beginning of a line."""
    try:
        with path.open("rb") as stream:
            whole = stream.seek(0, 2)
            stream.seek(begin)
            data = stream.read(size)
            if begin + len(data) < whole:
                cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
                data = data[:cut] if cut else data
    except OSError:
        return LogPage(0, 0, 0)
    return LogPage(begin, begin + len(data), whole, _lines(data))


def find_before(path: Path, text: str, before: int, stopped: Callable[[], bool] = lambda: False) -> int | None:
    """Where the last line before a byte begins that holds `text`, in any case of its (ASCII) letters; None: nowhere.

    A gigabyte takes about two seconds; `stopped` is asked between pieces of 4 MiB.
    """
    wanted = text.lower().encode()
    if not wanted:
        return None
    end = before
    try:
        with path.open("rb") as stream:
            while end > 0 and not stopped():
                begin = max(0, end - _PIECE)
                stream.seek(begin)
                data = stream.read(end - begin + len(wanted) - 1 if end < before else end - begin)
                found = data.lower().rfind(wanted)
                if found >= 0:
                    return _line_start(stream, begin + found)
                end = begin
    except OSError:
        return None
    return None


def _line_start(stream: BinaryIO, place: int) -> int:
    begin = max(0, place - _LONGEST // 16)
    stream.seek(begin)
    data = stream.read(place - begin)
    return begin + max(data.rfind(b"\n"), data.rfind(b"\r")) + 1


def _after_line(data: bytes) -> int:
    """Behind the first line end that something follows; 0 when there is none."""
    newline = data.find(b"\n", 0, len(data) - 1) + 1
    return newline or data.find(b"\r", 0, len(data) - 1) + 1


def _lines(data: bytes) -> tuple[LogLine, ...]:
    reader = LogReader()
    kept: list[LogLine] = []
    for line in [*reader.feed(data), *reader.flush()]:
        if line.replace and kept:
            kept[-1] = line
        else:
            kept.append(line)
    return tuple(kept)
