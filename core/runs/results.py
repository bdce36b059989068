"""results.jsonl of a tag run, followed: how many images are done, how fast, and what went wrong."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

from core.files import read_from
from core.problems import Problem, Severity

_CHUNK = 1 << 20


class TagResults:
    """The lines of a tag run's results.jsonl, counted."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.started: float | None = None
        self.count = 0
        self.failed = 0
        self.done = False
        self.fallback: str | None = None
        self._final_rate: float | None = None
        self._seconds: deque[float] = deque(maxlen=128)  # of the newest images, since the head line
        self._offset = 0
        self._rest = b""

    def read(self, path: Path) -> None:
        while True:
            data, self._offset = read_from(path, self._offset, _CHUNK)
            if not data:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._line(line)

    def _line(self, line: bytes) -> None:
        try:
            value = json.loads(line)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        if value.get("done") is True:
            self.done = True
            self._final_rate = _float(value.get("images_per_second"))
        elif "path" in value:
            self.count += 1
            self.failed += "error" in value
            seconds = _float(value.get("seconds"))
            if seconds is not None:
                self._seconds.append(seconds)
        elif isinstance(value.get("total"), int):
            self.total = value["total"]
            self.started = _float(value.get("started"))
            self.fallback = value["fallback"] if isinstance(value.get("fallback"), str) else None

    def rate(self, until: float | None) -> float | None:
        """Images a second: of the whole run when it is over, else of the last images, else since the start."""
        if self._final_rate is not None:
            return self._final_rate
        if len(self._seconds) > 8 and self._seconds[-1] > self._seconds[0]:
            return (len(self._seconds) - 1) / (self._seconds[-1] - self._seconds[0])
        if self.started is None or until is None or not self.count or until <= self.started:
            return None
        return self.count / (until - self.started)

    def problems(self) -> tuple[Problem, ...]:
        found = []
        if self.fallback:
            found.append(Problem(Severity.WARNING, "KT512", "tagger", self.fallback))
        if self.failed:
            words = "image could" if self.failed == 1 else "images could"
            found.append(
                Problem(
                    Severity.WARNING, "KT513", "tagger", f"{self.failed} {words} not be tagged", "The log names them."
                )
            )
        return tuple(found)


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
