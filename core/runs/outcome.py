"""How a run ended: exit code 0 is not success, and an unknown exit code need not be a failure.

Used by the supervisor after the trainer's end, and by whoever finds a run without a supervisor.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.files import read_json
from core.runs import artifacts
from core.runs.diagnose import diagnose, last_complaint
from core.runs.model import RunState
from core.text import printable

TAIL_BYTES = 256 * 1024
_BEFORE = 64 * 1024
_BEING_WRITTEN = 60.0
_ENDINGS = (".safetensors", ".ckpt", ".pt")


def judge(
    run_dir: str | Path,
    spec: Mapping[str, Any],
    *,
    started: float | None,
    returncode: int | None,
    stop_reason: str | None = None,
    oom_killed: bool = False,
) -> tuple[RunState, str | None]:
    """The final state and its reason in a sentence. `returncode` None = nobody was there to see it."""
    if spec.get("kind") == "tag":
        return _judge_tagging(Path(run_dir), returncode, stop_reason)
    log = log_tail(Path(run_dir))
    before = (read_json(Path(run_dir, "state.json")) or {}).get("before")
    known = before if isinstance(before, dict) else None
    complete = "model saved." in log and final_file(spec, started, known) is not None
    cause = diagnose(log, returncode, oom_killed=oom_killed)
    if complete and returncode in (0, None) and cause is None:
        return RunState.FINISHED, None
    if stop_reason is not None:
        return RunState.STOPPED, stop_reason
    if returncode is None:
        return RunState.LOST, _lost(cause)
    if cause is not None:
        return RunState.FAILED, cause
    if returncode == 0:
        target = spec.get("output_dir") or "the output folder"
        return (
            RunState.FAILED,
            f"The trainer ended without an exception and without its final file in {target}. {_said(log)}",
        )
    return RunState.FAILED, f"The trainer ended with code {returncode}. {_said(log)}"


def _said(log: str) -> str:
    complaint = last_complaint(log)
    return f"It said: {complaint}." if complaint else "Read the end of the log."


def _lost(cause: str | None) -> str:
    sentence = "The supervisor was killed, so nobody saw how the run ended; its final file is missing."
    return f"{sentence} {cause}" if cause else f"{sentence} Its checkpoints are kept."


_GOES_ON = "Tag again: it goes on where it was."


def _judge_tagging(run_dir: Path, returncode: int | None, stop_reason: str | None) -> tuple[RunState, str | None]:
    last = _last_result(run_dir / "results.jsonl")
    if last.get("done") is True:
        if last.get("stopped") is True:
            return RunState.STOPPED, stop_reason or "Stopped from outside; what was tagged until then is kept."
        failed = last.get("failed")
        if isinstance(failed, int) and failed > 0:
            return RunState.FINISHED, f"{failed} image{'s' if failed != 1 else ''} could not be tagged: see the log."
        return RunState.FINISHED, None
    if stop_reason is not None:
        return RunState.STOPPED, stop_reason
    log = log_tail(run_dir)
    cause = _told(log) or (diagnose(log, returncode) or "").replace("The trainer", "The tagger")
    if returncode is None:
        return (
            RunState.LOST,
            f"The supervisor was killed, and the tag run did not come to its end. {cause or _GOES_ON}",
        )
    if returncode < 0 and cause:
        cause = f"{cause} {_GOES_ON}"
    return RunState.FAILED, cause or f"The tagger ended with code {returncode} before its end. Read the end of the log."


def _told(log: str) -> str | None:
    """The sentence that our own tagger ends with (`ERROR: …`, and the remedy in the next line)."""
    _, found, rest = f"\n{log}".rpartition("\nERROR: ")
    lines = [printable(line.strip()) for line in rest.splitlines()[:2] if line.strip()]
    if not found or not lines:
        return None
    return " ".join(line if line.endswith((".", "!", "?")) else f"{line}." for line in lines)


def _last_result(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 4096))
            lines = stream.read().splitlines()
        value = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return value if isinstance(value, dict) else {}


def log_tail(run_dir: Path, limit: int = TAIL_BYTES) -> str:
    """The last `limit` bytes of output.log as text, escape sequences and all; "" when there is none."""
    try:
        with (run_dir / "output.log").open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def final_file(spec: Mapping[str, Any], started: float | None, before: Mapping[str, Any] | None = None) -> Path | None:
    """The complete NAME.safetensors of this run.

    One that was there already is none: known by what stood there `before` (state.json), which holds through a jump of
    the clock; without that by the start, with 1 s of tolerance for coarse file times. A folder of the run's own needs
    neither.
    """
    folder, name = spec.get("output_dir"), spec.get("output_name") or "last"
    if not folder:
        return None
    target = Path(str(spec["cwd"]), str(folder))
    own = spec.get("id") in target.parts
    for ending in _ENDINGS:
        path = target / f"{name}{ending}"
        try:
            facts = path.stat()
        except OSError:
            continue
        if before is not None:
            fresh = before.get(path.name) != [facts.st_ino, facts.st_mtime_ns]
        else:
            fresh = own or started is None or facts.st_mtime >= started - 1
        if fresh and artifacts.is_complete(path):
            return path
    return None


def signal_name(returncode: int) -> str:
    """`SIGKILL` of -9; `signal 40` for one without a name."""
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


class CheckpointWait:
    """Waits, poll by poll, until the next checkpoint (and, with save_state, its state folder) is completely on disk.

    One that is just being written when the wish comes is the next one.
    """

    def __init__(self, run_dir: str | Path, spec: Mapping[str, Any]) -> None:
        argv = tuple(str(word) for word in spec.get("argv") or ())
        self._log = Path(run_dir, "output.log")
        self._cwd = Path(str(spec["cwd"]))
        self._needs_state = _saves_state(Path(run_dir, "train.toml"), argv)
        self._rest = b""
        self._sizes: tuple[int, int] | None = None
        size = self._size()
        self._offset = max(0, size - _BEFORE)
        self._path = self._announced(last=True)
        if self._path is not None and not self._is_being_written(self._path):
            self._path = None

    def completed(self) -> str | None:
        """The name of the checkpoint once it is complete, else None."""
        if self._path is None:
            self._path = self._announced()
            if self._path is None:
                return None
        if not self._is_whole(self._path):
            self._sizes = None
            return None
        # Two looks alike: what has no length of its own (.ckpt, a state's pickles) may still grow.
        sizes = (_bytes_in(self._path), _bytes_in(self._state) if self._needs_state else 0)
        settled, self._sizes = sizes == self._sizes, sizes
        return self._path.name if settled else None

    @property
    def _state(self) -> Path:
        assert self._path is not None
        return self._path.with_name(f"{self._path.stem}-state")

    def _is_whole(self, path: Path) -> bool:
        if not artifacts.is_complete(path):
            return False
        state = path.with_name(f"{path.stem}-state")
        return not self._needs_state or artifacts.is_state_complete(state)

    def _is_being_written(self, path: Path) -> bool:
        """Announced and not whole, and touched within the last minute: an old one that failed is none."""
        state = path.with_name(f"{path.stem}-state")
        touched = 0.0
        for each in (path, state, path.parent):
            with contextlib.suppress(OSError):
                touched = max(touched, each.stat().st_mtime)
        return not self._is_whole(path) and abs(time.time() - touched) < _BEING_WRITTEN

    def _announced(self, *, last: bool = False) -> Path | None:
        """The first checkpoint that the log announces behind what was read; the last with `last`."""
        try:
            with self._log.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return None
        self._offset += len(data)
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()[-4096:]
        for line in reversed(lines) if last else lines:
            _, found, path = line.partition(b"saving checkpoint: ")
            if found:
                return self._cwd / os.fsdecode(path.strip())
        return None

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0


def _bytes_in(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    try:
        return sum(each.stat().st_size for each in path.iterdir()) if path.is_dir() else path.stat().st_size
    except OSError:
        return -1


def _saves_state(config: Path, argv: Any) -> bool:
    if "--save_state" in argv:
        return True
    try:
        document = tomllib.loads(config.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return False
    tables = [document, *(value for value in document.values() if isinstance(value, dict))]
    return any(table.get("save_state") is True for table in tables)
