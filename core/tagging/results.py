"""results.jsonl of a tag run: a head line, one line an image, one line at the end; whole lines, written batch by
batch.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import write_error
from core.tagging.captioning import Tags

VERSION = 1


class Results:
    """What came out so far, in memory and in the file. `seconds` of a line is the time since the head line's
    `started`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._begun = time.monotonic()
        self.count = 0
        self.failures: list[tuple[Path, str]] = []
        self.frequencies: Counter[str] = Counter()

    def begin(self, **facts: Any) -> None:
        """Write the head line."""
        self._begun = time.monotonic()
        self._add({"v": VERSION} | facts | {"started": time.time()})
        self.save()

    def tagged(self, path: Path, tags: Tags) -> None:
        """One image has its caption."""
        self.count += 1
        self.frequencies.update(tags.counted)
        self._add({"path": str(path), "tags": len(tags.tags), "seconds": self._elapsed()})

    def failed(self, path: Path, reason: str) -> None:
        """One image has none, and why."""
        self.failures.append((path, reason))
        self._add({"path": str(path), "error": reason, "seconds": self._elapsed()})

    @property
    def rate(self) -> float | None:
        """Images per second over the whole run."""
        elapsed = time.monotonic() - self._begun
        return self.count / elapsed if self.count and elapsed > 0 else None

    def end(self, *, stopped: bool) -> None:
        """Write the last line."""
        line: dict[str, Any] = {"done": True, "tagged": self.count, "failed": len(self.failures)}
        line |= {"images_per_second": None if self.rate is None else round(self.rate, 3), "seconds": self._elapsed()}
        self._add(line | ({"stopped": True} if stopped else {}))
        self.save()

    def save(self) -> None:
        """Append the lines since the last call in one write. Raises UserError when the disk is full."""
        if not self._lines:
            return
        data = "".join(self._lines).encode("ascii")
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise write_error(self._path, error) from error
        self._lines.clear()

    def _add(self, line: dict[str, Any]) -> None:
        self._lines.append(json.dumps(line) + "\n")

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._begun, 3)


@dataclass(frozen=True, slots=True)
class TagResult:
    """What `results.jsonl` says so far. `failed` holds (path, reason); a number is None while it is not known."""

    total: int = 0
    tagged: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    provider: str | None = None
    fallback: str | None = None
    model: str | None = None
    images_per_second: float | None = None
    stopped: bool = False


def read_results(run_dir: Path) -> TagResult:
    """The results of a tag run, also while it is going on; an empty result when nothing was written yet."""
    try:
        lines = (run_dir / "results.jsonl").read_text("ascii", "replace").splitlines()
    except OSError:
        return TagResult()
    head: dict[str, Any] = {}
    end: dict[str, Any] = {}
    tagged = 0
    failed = []
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the last line of a run that was killed while it wrote
        if "v" in line:
            head = line
        elif "done" in line:
            end = line
        elif "error" in line:
            failed.append((str(line["path"]), str(line["error"])))
        else:
            tagged += 1
    return TagResult(
        total=int(head.get("total", 0)),
        tagged=tagged,
        failed=tuple(failed),
        skipped=int(head.get("skipped", 0)),
        provider=head.get("provider"),
        fallback=head.get("fallback"),
        model=head.get("model"),
        images_per_second=end.get("images_per_second"),
        stopped=bool(end.get("stopped")),
    )
