"""Regular expressions with a limit: they run in a process of their own, which is ended when one caption takes too long.

Python's `re` can be stopped in no other way: a catastrophic pattern holds the interpreter until it is done. Run as a
script this file is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from core.problems import UserError

LIMIT = 2.0
"""Seconds for one caption: a sane pattern needs a few microseconds."""
LARGEST = 1 << 20
"""Letters that a caption may have afterwards."""


class TooSlow(UserError):
    """The pattern did not come to an end; `at` is the place of the caption among those that were given."""

    def __init__(self, at: int, seconds: float) -> None:
        super().__init__(
            f"The pattern did not come to an end within {seconds:g} s on one caption",
            "Nested repeats such as (a+)+ try every way to share the text. Write the pattern without them.",
        )
        self.at = at


class Substitution:
    r"""`re.sub(old, new, text)` on many texts; a context manager. `new` may name groups: `\1`, `\g<name>`.

    Raises UserError for a pattern that cannot be read.
    """

    def __init__(self, old: str, new: str, *, ignore_case: bool = False, limit: float = LIMIT) -> None:
        try:
            pattern = re.compile(old, re.IGNORECASE if ignore_case else 0)
            pattern.sub(new, "")
        except (re.error, RecursionError, OverflowError, IndexError) as error:
            raise UserError(f"The pattern {old!r} cannot be read: {error}", _HINT) from error
        self._limit = limit
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.dataset.patterns"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self._rest = b""
        self._send({"old": old, "new": new, "ignore_case": ignore_case})
        self._line(0, 30.0)  # it is up: a machine under load takes its time to start Python

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Each text after the substitution. Raises TooSlow, and UserError when a text becomes far too large."""
        self._send(list(texts))
        found: list[str] = []
        for at in range(len(texts)):
            value = json.loads(self._line(at, self._limit))
            if value is None:
                raise UserError("A caption would grow beyond all measure", "Look at the pattern and its replacement.")
            found.append(texts[at] if value is True else value)
        return found

    def _send(self, value: object) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(value).encode("ascii") + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise UserError("The process that runs the pattern ended", "Try it again.") from error

    def _line(self, at: int, limit: float) -> bytes:
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        deadline = time.monotonic() + limit
        while b"\n" not in self._rest:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TooSlow(at, limit)
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise UserError("The process that runs the pattern ended", "Perhaps the memory was used up.")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def __enter__(self) -> Substitution:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        with contextlib.suppress(OSError):
            self._child.communicate()


_HINT = r"A letter with a meaning of its own needs a backslash: \( \) \. \* \+ \?"


def main() -> None:
    """Read the substitution, then lists of texts; write one line for each text: `true` where it stays as it is."""
    asked = json.loads(sys.stdin.readline())
    pattern = re.compile(asked["old"], re.IGNORECASE if asked["ignore_case"] else 0)
    new, out = asked["new"], sys.stdout.fileno()
    os.write(out, b"true\n")
    for line in sys.stdin:
        for text in json.loads(line):
            after = pattern.sub(new, text)
            value = True if after == text else None if len(after) > LARGEST else after
            data = json.dumps(value).encode("ascii") + b"\n"
            while data:
                data = data[os.write(out, data) :]


if __name__ == "__main__":
    main()
