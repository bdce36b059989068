"""What a command prints: results on stdout, progress and messages on stderr, one JSON document with `--json`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from core.problems import Problem, Severity
from core.text import human_seconds, printable

MARKS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.INFO: "·"}


def emit(document: dict[str, Any] | list[Any], lines: Iterable[str], *, as_json: bool) -> None:
    """The result: the document with `--json`, else the lines."""
    if as_json:
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2, default=str)
        sys.stdout.write("\n")
    else:
        for line in lines:
            sys.stdout.write(line + "\n")
    sys.stdout.flush()


def emit_line(document: dict[str, Any]) -> None:
    """One JSON document per line, for what streams."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """A message beside the result."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


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
    """Rows as aligned columns, two spaces apart; those in `right` align right. The first row is the head."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


class Bar:
    """A progress bar on a terminal's stderr, nothing otherwise (CLI.md). At most five updates a second."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._live = sys.stderr.isatty()
        self._started = self._drawn = time.monotonic()

    def update(self, done: int, total: int, note: str = "", *, eta: float | None = None) -> None:
        """Show `done` of `total`; `eta` in seconds, else from the mean rate so far."""
        now = time.monotonic()
        if not self._live or (now - self._drawn < 0.2 and done < total):
            return
        self._drawn = now
        if eta is None and 0 < done < total:
            eta = (now - self._started) / done * (total - done)
        filled = int(24 * done / total) if total else 0
        left = f"  {human_seconds(eta)} left" if eta is not None and done < total else ""
        bar = "█" * filled + "░" * (24 - filled)
        sys.stderr.write(f"\r\x1b[K{self._label} {bar} {done:,}/{total:,}{left}  {printable(note)}"[:300])
        sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
