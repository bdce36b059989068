"""What a command prints: results on stdout, progress and messages on stderr, one JSON document with `--json`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from core.problems import Problem, Severity, UserError
from core.text import human_seconds, printable

_COMMANDS = re.compile(
    r"\bkohya-tui (?=(?:import|find|edit|tags?|models|trigger|move|trash|repeats|resize|buckets|duplicates|undo|redo"
    r"|history|review|check|fix|config|plan|train|resume|sweep|queue|runs|status|log|stop|metrics|checkpoints|setup|doctor)\b)"
)
_LONG_LIST = 200
_acts_in: Path | None = None
MARKS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "·"}


def acts_in(folder: Path | None) -> None:
    """The folder that the user gave with `-C`: commands that remedies name are told with it."""
    global _acts_in
    _acts_in = folder


def with_place(text: str) -> str:
    """`text` with the user's own `-C` in the commands that it names."""
    if _acts_in is None:
        return text
    place = shlex.quote(printable(str(_acts_in)))
    return _COMMANDS.sub(lambda _: f"kohya-tui -C {place} ", text)


def folded(lines: Iterable[str], stream: TextIO | None = None) -> list[str]:
    """`lines` broken at blanks to the width of the terminal behind `stream` (stdout); over a pipe as they are.

    What follows is indented below its first line. A word that is longer than the terminal (a path) stays whole.
    """
    if not (stream or sys.stdout).isatty():
        return list(lines)
    width = max(20, shutil.get_terminal_size().columns)
    return [part for line in lines for part in _fold(line, width)]


def _fold(line: str, width: int) -> list[str]:
    if cells_of(line) <= width:
        return [line]
    text = line.lstrip(" ")
    indent = len(line) - len(text)
    hang = " " * (indent + 4 if text[:1] in MARKS.values() else indent or 4)
    lines, now = [], " " * indent
    for word in text.split(" "):
        if cells_of(now) + cells_of(word) > width and now.strip():
            lines.append(now.rstrip())
            now = hang
        now += word + " "
    return [*lines, now.rstrip()]


def emit(document: dict[str, Any] | list[Any], lines: Iterable[str], *, as_json: bool) -> None:
    """The result: the document with `--json`, else the lines."""
    if as_json:
        put(_json(document, indent=2))
    else:
        if texts := list(lines):
            put("\n".join(texts))  # one write: where Python does not buffer, ten thousand cost a second


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
    for part in folded(with_place(line).split("\n"), sys.stderr):
        _to_stderr(part + "\n")


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _json(document: Any, indent: int | None = None) -> str:
    """Readable where the output can hold it; a file name that is no text becomes `\\udc..`, which json reads back."""
    text = _encoded(document, indent, is_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return _encoded(document, indent, is_ascii=True)
    return text


def _encoded(document: Any, indent: int | None, *, is_ascii: bool) -> str:
    """As `json.dumps`; of a long list each entry stays on its line, which costs a tenth."""
    encode = partial(json.dumps, ensure_ascii=is_ascii, default=str)
    if indent is None or not isinstance(document, dict) or not document:
        return encode(document, indent=indent)
    blank, parts = " " * indent, []
    for key, value in document.items():
        if isinstance(value, list) and len(value) > _LONG_LIST:
            text = "[\n" + ",\n".join(f"{blank}{blank}{encode(entry)}" for entry in value) + f"\n{blank}]"
        else:
            text = encode(value, indent=indent).replace("\n", f"\n{blank}")
        parts.append(f"{blank}{encode(str(key))}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """`✗ KT204 configs/rinni/train.toml: sample_prompts is text, not a file` with the hint below."""
    lines = []
    for problem in problems:
        where = f"{printable(problem.where)}: " if problem.where else ""
        lines.append(f"{MARKS[problem.severity]} {problem.code} {where}{printable(problem.message)}")
        if problem.hint:
            lines.append(f"    {with_place(printable(problem.hint))}")
    return lines


def table(
    rows: Sequence[Sequence[str]],
    right: frozenset[int] = frozenset(),
    spare: Sequence[int] = (),
    cut: int | None = None,
) -> list[str]:
    """Rows as aligned columns, two spaces apart; those in `right` align right. The first row is the head.

    On a terminal that is too narrow the columns in `spare` are left out, the first one first, and `cut` is shortened.
    Without either the last column goes below its row, without its head.
    """
    if not rows:
        return []
    if spare or cut is not None:
        rows, right = _fitted(rows, right, spare, cut)
    last = len(rows[0]) - 1
    widths = [max(cells_of(row[column]) for row in rows) for column in range(last + 1)]
    whole = sum(widths) + 2 * last
    below = last > 1 and sys.stdout.isatty() and whole > shutil.get_terminal_size().columns
    lines: list[str] = []
    for number, row in enumerate(rows):
        cells = [_padded(row[column], widths[column], column in right) for column in range(last if below else last + 1)]
        lines.append("  ".join(cells).rstrip())
        if below and number and row[last]:
            lines += folded([f"    {row[last]}"])
    return lines


def _fitted(
    rows: Sequence[Sequence[str]], right: frozenset[int], spare: Sequence[int], cut: int | None
) -> tuple[list[list[str]], frozenset[int]]:
    """The rows with what fits into the terminal, and which of their columns align right."""
    kept = list(range(len(rows[0])))
    widths = [max(cells_of(row[column]) for row in rows) for column in kept]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for column in spare:
        if sum(widths[each] + 2 for each in kept) - 2 > room:
            kept.remove(column)
    over = sum(widths[each] + 2 for each in kept) - 2 - room
    if cut is not None and over > 0:
        width = max(8, widths[cut] - over)
        rows = [[*row[:cut], _shortened(row[cut], width), *row[cut + 1 :]] for row in rows]
    fitted = [[row[column] for column in kept] for row in rows]
    return fitted, frozenset(index for index, column in enumerate(kept) if column in right)


def _shortened(text: str, width: int) -> str:
    return text if cells_of(text) <= width else f"{clipped(text, width - 1)}…"


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
    """A progress bar on a terminal's stderr, nothing otherwise. At most five updates a second."""

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
