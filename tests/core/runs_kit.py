"""Real little trainers for tests of runs: a script that prints, writes and dies as sd-scripts does."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from core.runs import launch, proc, store
from core.runs.model import ENDED_STATES, Run, RunKind, RunSpec

T = TypeVar("T")
RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"

TRAINER = """
import json, os, signal, struct, subprocess, sys, time
from pathlib import Path

out = Path(os.environ["OUT"])

def say(text):
    print(text, flush=True)

def save(name):
    say(f"\\nsaving checkpoint: {out / name}")
    out.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (out / name).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))

def until(path):
    while not Path(path).exists():
        time.sleep(0.05)

exec(sys.argv[1])
"""
"""Its argument is what it does: Python with `say`, `save`, `until`, `out`."""


def wait_for(look: Callable[[], T], seconds: float = 20.0) -> T:
    """The first true answer of `look`."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.01)
    return answer


def delete(folder: Path) -> None:
    """Remove a run's folder although its supervisor may write into it meanwhile."""
    wait_for(lambda: shutil.rmtree(folder, ignore_errors=True) or not folder.exists())


class Runs:
    """A folder of runs; `start` trains for real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.out = folder / "out"
        self.script = folder / "trainer.py"
        self.script.write_text(TRAINER)

    def spec(self, code: str, **changes: object) -> RunSpec:
        """What the run is made of."""
        values: dict[str, object] = {
            "id": store.new_id(self.folder, "test"),
            "kind": RunKind.TRAIN,
            "name": "test",
            "created": time.time(),
            "argv": (sys.executable, str(self.script), code),
            "cwd": str(self.folder.parent),
            "env": {"OUT": str(self.out)},
            "output_dir": str(self.out),
            "output_name": "lora",
        }
        return RunSpec(**(values | changes))  # type: ignore[arg-type]

    def create(self, code: str, files: dict[str, bytes] | None = None, **changes: object) -> Run:
        return store.create(self.folder, self.spec(code, **changes), files)

    def start(self, code: str, files: dict[str, bytes] | None = None, **changes: object) -> Run:
        return launch.start(self.create(code, files, **changes), timeout=20)

    def ended(self, run: Run) -> Run:
        """The run after its end, supervisor gone."""
        return wait_for(lambda: self.over(run))  # type: ignore[return-value]

    def over(self, run: Run) -> Run | None:
        found = store.observe(run.dir)
        locked = proc.is_locked(str(run.dir / "supervisor.lock"))
        return found if found.state in ENDED_STATES and not locked else None

    def logged(self, run: Run, text: str) -> str:
        """The log, once `text` stands in it."""
        wait_for(lambda: text in log_of(run))
        return log_of(run)


def log_of(run: Run) -> str:
    return run.log_file.read_text("utf-8", "replace") if run.log_file.exists() else ""


def write_safetensors(path: Path, metadata: dict[str, str] | None = None, *, cut: int = 0) -> Path:
    """A small valid LoRA file, or one whose last `cut` bytes are missing."""
    header: dict[str, object] = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    if metadata is not None:
        header["__metadata__"] = metadata
    raw = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", len(raw)) + raw + bytes(16)
    path.write_bytes(data[: len(data) - cut])
    return path
