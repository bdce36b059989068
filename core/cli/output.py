"""What a command prints: results on stdout, progress and messages on stderr, one JSON document with `--json`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from core.problems import Problem, Severity, UserError
from core.text import human_seconds, printable

MARKS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "·"}


def emit(document: dict[str, Any] | list[Any], lines: Iterable[str], *, as_json: bool) -> None:
    """The result: the document with `--json`, else the lines."""
    if as_json:
        put(_json(document, indent=2))
    else:
        for line in lines:
            put(line, flush=False)
        put("", end="")


def emit_line(document: dict[str, Any]) -> None:
    """One JSON document per line, for what streams."""
    put(_json(document))


def put(line: str, *, end: str = "\n", flush: bool = True) -> None:
    """One line of the result. A character that the terminal's encoding lacks is written as its escape.

    Raises UserError when standard output takes no more (a full disk), BrokenPipeError when its reader went away.
    """
    stream = sys.stdout
    try:
        try:
            stream.write(line + end)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + end)
        if flush:
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is buffered would fail again at the exit
        raise UserError(f"Cannot write the result: {error.strerror}", "Look at where the output goes.") from error


def say(line: str) -> None:
    """A message beside the result. A terminal that is gone hears nothing."""
    _to_stderr(line + "\n")


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _json(document: Any, indent: int | None = None) -> str:
    """Readable where the output can hold it; a file name that is no text becomes `\\udc..`, which json reads back."""
    text = json.dumps(document, ensure_ascii=False, indent=indent, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent, default=str)
    return text


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """`✗ KT204 configs/rinni/train.toml: sample_prompts is text, not a file` with the hint below."""
    lines = []
    for problem in problems:
        where = f"{printable(problem.where)}: " if problem.where else ""
        lines.append(f"{MARKS[problem.severity]} {problem.code} {where}{printable(problem.message)}")
        if problem.hint:
            lines.append(f"    {printable(problem.hint)}")
    return lines


def table(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as aligned columns, two spaces apart; those in `right` align right. The first row is the head.

    On a terminal that is too narrow the last column goes below its row, without its head.
    """
    if not rows:
        return []
    last = len(rows[0]) - 1
    widths = [max(cells_of(row[column]) for row in rows) for column in range(last + 1)]
    whole = sum(widths) + 2 * last
    below = last > 1 and sys.stdout.isatty() and whole > shutil.get_terminal_size().columns
    lines: list[str] = []
    for number, row in enumerate(rows):
        cells = [_padded(row[column], widths[column], column in right) for column in range(last if below else last + 1)]
        lines.append("  ".join(cells).rstrip())
        if below and number and row[last]:
            lines.append(f"    {row[last]}")
    return lines


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cells_of(text))
    return space + text if right else text + space


def cells_of(text: str) -> int:
    """How many cells of a terminal `text` takes: two for an East Asian character, none for a combining one."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def clipped(text: str, width: int) -> str:
    """The beginning of `text` that fits into `width` cells."""
    while cells_of(text) > width:
        text = text[: max(0, len(text) - max(1, (cells_of(text) - width) // 2))]
    return text


class Bar:
    """A progress bar on a terminal's stderr, nothing otherwise (CLI.md). At most five updates a second."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._live = sys.stderr.isatty()
        self._started = time.monotonic()
        self._drawn = -1.0

    def update(self, done: int, total: int, note: str = "", *, eta: float | None = None) -> None:
        """Show `done` of `total` (0: not known yet); `eta` in seconds, else from the mean rate so far."""
        now = time.monotonic()
        if not self._live or (now - self._drawn < 0.2 and (done < total or not total)):
            return
        self._drawn = now
        if eta is None and 0 < done < total:
            eta = (now - self._started) / done * (total - done)
        filled = min(24, int(24 * done / total)) if total else 0
        left = f"  {human_seconds(eta)} left" if eta is not None and done < total else ""
        count = f" {done:,}/{total:,}" if total else ""
        line = f"{self._label} {'█' * filled}{'░' * (24 - filled)}{count}{left}  {printable(note)}"
        _to_stderr("\r\x1b[K" + clipped(line, shutil.get_terminal_size().columns - 1))

    def close(self) -> None:
        """Take the bar away."""
        if self._live and self._drawn >= 0:
            _to_stderr("\r\x1b[K")
