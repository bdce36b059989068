"""results.jsonl of a tag run: head lines, one line an image, a line about the pace now and then, one at the end.

Written whole lines at a time; `ResultsReader` follows it, also while the run is going on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import read_from, write_error
from core.problems import Problem, Severity

if TYPE_CHECKING:
    from core.tagging.captioning import Tags
    from core.tagging.pace import Pace

VERSION = 1
_CHUNK = 1 << 20
_PACE_SECONDS = 1.0
_LATELY = 10
"""Pace lines between the two moments whose difference is the present rate."""


@dataclass(frozen=True, slots=True)
class CaptionChange:
    """What a dry run found: the tags that one caption would get and lose."""

    path: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


class Results:
    """What came out so far, in memory and in the file. `seconds` of a line is the time since the head line's
    `started`. May be used from two threads.
    """

    def __init__(self, path: Path | None, *, is_counting: bool = False) -> None:
        """`path` of None: no file, only what `so_far` tells. `is_counting`: `frequencies` are wanted."""
        self._path = path
        self._is_counting = is_counting
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._working = self._begun, 0, 0
        self._head: dict[str, Any] = {}
        self._moments: deque[tuple[float, int, int]] = deque(maxlen=_LATELY)
        self.count = 0
        self.known = 0
        self.tags = 0
        self._changes: list[CaptionChange] = []
        self.failures: list[tuple[Path, str]] = []
        self.frequencies: Counter[str] = Counter()
        self.limited_by: str | None = None

    def begin(self, **facts: Any) -> None:
        """Write the head line: `total`, `skipped`, `model` and what else is known before the models are loaded."""
        self._begun = time.monotonic()
        self._working = self._begun, 0, 0
        self._head = {"v": VERSION} | facts | {"started": time.time()}
        self._add(self._head)
        self.save()

    def update(self, **facts: Any) -> None:
        """Write the head line once more with what is known by now (the provider, above all)."""
        self._head |= facts
        self._add(self._head)
        self.save()

    def working(self) -> None:
        """The model begins now: rates are counted from here."""
        self._working = time.monotonic(), self.count, self.tags
        self._moments.clear()

    def tagged(self, path: Path, tags: Tags, *, is_known: bool = False, change: CaptionChange | None = None) -> None:
        """One image has its caption (or would have: `change` of a dry run); `is_known`: from stored scores."""
        self.count += 1
        self.known += is_known
        self.tags += len(tags.tags)
        if self._is_counting:
            self.frequencies.update(tags.counted)
        if self._path is None:
            if change is not None and (change.added or change.removed):
                self._changes.append(change)
            return
        # Written out by hand: json.dumps costs as much as the caption did when its scores are stored.
        parts = [f'{{"path": {_quoted(str(path))}, "tags": {len(tags.tags)}, "seconds": {self._elapsed()}']
        if is_known:
            parts.append(', "known": true')
        if change is not None:
            parts.append(f', "added": {json.dumps(change.added)}, "removed": {json.dumps(change.removed)}')
        parts.append("}\n")
        with self._lock:
            self._lines.append("".join(parts))

    def failed(self, path: Path, reason: str) -> None:
        """One image has none, and why."""
        self.failures.append((path, reason))
        self._add({"path": str(path), "error": reason, "seconds": self._elapsed()})

    @property
    def rate(self) -> float | None:
        """Images per second since the model was ready."""
        return self._per_second(self.count - self._working[1])

    @property
    def tag_rate(self) -> float | None:
        """Tags per second since the model was ready."""
        return self._per_second(self.tags - self._working[2])

    def pace(self, pace: Pace | None) -> None:
        """A line about the last seconds, at most one a second."""
        now = time.monotonic()
        if self._moments and now - self._moments[-1][0] < _PACE_SECONDS:
            return
        self._moments.append((now, self.count, self.tags))
        then, images, tags = self._moments[0]
        if now - then < _PACE_SECONDS:
            return
        line: dict[str, Any] = {
            "pace": True,
            "images_per_second": round((self.count - images) / (now - then), 3),
            "tags_per_second": round((self.tags - tags) / (now - then), 1),
            "seconds": self._elapsed(),
        }
        if pace is not None:
            decode, model = pace.shares()
            self.limited_by = pace.limited_by()
            line |= {"decode": round(decode, 3), "model": round(model, 3), "limited_by": self.limited_by}
        self._add(line)

    def end(self, *, stopped: bool, pace: Pace | None = None) -> None:
        """Write the last line."""
        if pace is not None:
            self.limited_by = pace.limited_by() or self.limited_by
        line: dict[str, Any] = {"done": True, "tagged": self.count, "failed": len(self.failures)}
        line |= {
            "known": self.known,
            "images_per_second": None if self.rate is None else round(self.rate, 3),
            "tags_per_second": None if self.tag_rate is None else round(self.tag_rate, 1),
            "limited_by": self.limited_by,
            "seconds": self._elapsed(),
        }
        if self._is_counting:
            line["frequencies"] = dict(self.frequencies.most_common())
        self._add(line | ({"stopped": True} if stopped else {}))
        self.save()

    def so_far(self) -> TagResult:
        """What a reader of the file would find; of a pass without a file, which has no pace."""
        return TagResult(
            total=self._head.get("total"),
            tagged=self.count,
            failed=tuple((str(path), reason) for path, reason in self.failures),
            skipped=self._head.get("skipped", 0),
            model=self._head.get("model"),
            known=self.known,
            dry_run=bool(self._head.get("dry_run")),
            changes=tuple(self._changes),
            frequencies=dict(self.frequencies.most_common()) if self._is_counting else None,
        )

    def save(self) -> None:
        """Append the lines since the last call in one write. Raises UserError when the disk is full."""
        with self._lock:
            if not self._lines or self._path is None:
                return
            data = memoryview("".join(self._lines).encode("ascii"))
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    while data:
                        data = data[os.write(descriptor, data) :]
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise write_error(self._path, error) from error
            self._lines.clear()

    def _add(self, line: Mapping[str, Any]) -> None:
        with self._lock:
            self._lines.append(json.dumps(line) + "\n")

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._begun, 3)

    def _per_second(self, number: int) -> float | None:
        elapsed = time.monotonic() - self._working[0]
        return number / elapsed if number and elapsed > 0 else None


@dataclass(frozen=True, slots=True)
class TagResult:
    """What `results.jsonl` says so far. `failed` holds (path, reason); a number is None while it is not known."""

    total: int | None = None
    tagged: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    provider: str | None = None
    fallback: str | None = None
    """Why it does not use the GPU."""
    model: str | None = None
    images_per_second: float | None = None
    """Of the last seconds; of the whole run when it is over."""
    stopped: bool = False
    done: bool = False
    known: int = 0
    """Of the tagged ones those whose scores were stored: the model was not asked."""
    tags_per_second: float | None = None
    decode_share: float | None = None
    """Part of the time in which the decoding threads were busy, 0..1; `model_share` likewise."""
    model_share: float | None = None
    limited_by: str | None = None
    """`decoding (8 threads)`, `the model (CUDA)`."""
    dry_run: bool = False
    changes: tuple[CaptionChange, ...] = ()
    """Of a dry run: the captions that would get other tags."""
    group: str | None = None
    """The journal's group of the pass; None for a dry run."""
    frequencies: Mapping[str, int] | None = None
    """How often each tag came, the most frequent first, where the run was asked to count."""

    @property
    def count(self) -> int:
        """Images that are done, whatever came of them."""
        return self.tagged + len(self.failed)

    def problems(self) -> tuple[Problem, ...]:
        """A fallback to the CPU, and the number of images that failed."""
        found = []
        if self.fallback:
            found.append(Problem(Severity.WARNING, "KT512", "tagger", self.fallback))
        if number := len(self.failed):
            words = "image could" if number == 1 else "images could"
            found.append(
                Problem(Severity.WARNING, "KT513", "tagger", f"{number} {words} not be tagged", "The log names them.")
            )
        return tuple(found)


class ResultsReader:
    """Follows a results.jsonl."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head: dict[str, Any] = {}
        self._pace: dict[str, Any] = {}
        self._end: dict[str, Any] = {}
        self._tagged = self._known = 0
        self._failed: list[tuple[str, str]] = []
        self._changes: list[CaptionChange] = []
        self._seconds: deque[float] = deque(maxlen=128)  # of the newest images, since the head line
        self._offset = 0
        self._rest = b""

    def read(self) -> TagResult:
        """Everything up to now; only what was appended since the last time is read."""
        while True:
            data, self._offset = read_from(self._path, self._offset, _CHUNK)
            if not data:
                return self._result()
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._line(line)

    def rate(self, until: float | None) -> float | None:
        """Images a second: of the whole run when it is over, else of the last images, else since the start."""
        if (final := _number(self._end.get("images_per_second"))) is not None:
            return final
        if len(self._seconds) > 8 and self._seconds[-1] > self._seconds[0]:
            return (len(self._seconds) - 1) / (self._seconds[-1] - self._seconds[0])
        started, count = _number(self._head.get("started")), self._tagged + len(self._failed)
        if started is None or until is None or not count or until <= started:
            return None
        return count / (until - started)

    def _result(self) -> TagResult:
        latest = self._end or self._pace
        total = self._head.get("total")
        return TagResult(
            total=total if isinstance(total, int) else None,
            tagged=self._tagged,
            failed=tuple(self._failed),
            skipped=int(_number(self._head.get("skipped")) or 0),
            provider=_text(self._head.get("provider")),
            fallback=_text(self._head.get("fallback")),
            model=_text(self._head.get("model")),
            images_per_second=_number(latest.get("images_per_second")),
            stopped=bool(self._end.get("stopped")),
            done=bool(self._end),
            known=self._known,
            tags_per_second=_number(latest.get("tags_per_second")),
            decode_share=_number(self._pace.get("decode")),
            model_share=_number(self._pace.get("model")),
            limited_by=_text(latest.get("limited_by")),
            dry_run=bool(self._head.get("dry_run")),
            changes=tuple(self._changes),
            group=_text(self._head.get("group")),
            frequencies=counts if isinstance(counts := self._end.get("frequencies"), dict) else None,
        )

    def _line(self, text: bytes) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            return  # the last line of a run that was killed while it wrote
        if not isinstance(line, dict):
            return
        if line.get("done") is True:
            self._end = line
        elif "path" in line:
            path = str(line["path"])
            if "error" in line:
                self._failed.append((path, str(line["error"])))
            else:
                self._tagged += 1
                self._known += line.get("known") is True
                if line.get("added") or line.get("removed"):
                    self._changes.append(CaptionChange(path, _texts(line.get("added")), _texts(line.get("removed"))))
            if (seconds := _number(line.get("seconds"))) is not None:
                self._seconds.append(seconds)
        elif line.get("pace") is True:
            self._pace = line
        elif isinstance(line.get("total"), int):
            self._head = line


def read_results(run_dir: Path) -> TagResult:
    """The results of a tag run, also while it is going on; an empty result when nothing was written yet."""
    return ResultsReader(run_dir / "results.jsonl").read()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
