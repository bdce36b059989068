"""The pulse: which run is alive and what the GPU does, as the header shows it on every screen."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui.theme import Cells

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.workspace import Workspace

NO_GPU_RETRY = 30.0
"""Seconds between two looks for a GPU on a machine where none answered."""
GPU_SECONDS = 2.5
"""Seconds that a reading stands in the header, which costs 40 bytes anew; the Monitor shows each."""
PATIENCE = 1.0
"""Seconds that a driver may take: what else is read waits as long, once."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """One reading. `run_id` None means that nothing runs."""

    run_id: str | None = None
    name: str = ""
    state: str = ""
    percent: int | None = None
    left: str = ""
    others: int = 0
    gpu: str = ""

    def cells(self, *, brief: bool) -> Cells:
        """The right end of the header."""
        parts: Cells = []
        if self.run_id is not None:
            glyph, role = _GLYPHS.get(self.state, ("▶", "good"))
            parts.append((f"{glyph} ", role))
            parts.append((self.name, "text"))
            if self.percent is not None:
                parts.append((f" {self.percent}%", "text bold"))
            if self.left and not brief:
                parts.append((f" {self.left} left", "muted"))
            if self.others:
                parts.append((f" +{self.others}", "muted"))
        if self.gpu and not (brief and parts):
            parts.append((" · " if parts else "", "muted"))
            parts.append((self.gpu, "second"))
        return [*parts, (" ", "text")] if parts else []


_GLYPHS = {
    "queued": ("◌", "caution"),
    "prepared": ("◌", "caution"),
    "running": ("▶", "good"),
    "stopping": ("■", "caution"),
}


@dataclass(slots=True)
class PulseReader:
    """Reads the runs of a workspace and the GPUs; used from one thread at a time, never the screen's."""

    runs: list[Run] = field(default_factory=list)
    """What the last reading found."""
    _watches: dict[str, Any] = field(default_factory=dict)
    _gpu_text: str = ""
    _next_gpu: float = 0.0

    def read(self, workspace: Workspace | None) -> Pulse:
        """Costs a listing of the runs folder while nothing runs."""
        facts = self._run(workspace)
        return Pulse(**facts, gpu=self._gpu())

    def _run(self, workspace: Workspace | None) -> dict[str, Any]:
        self.runs = []
        if workspace is None or not workspace.runs.is_dir():
            return {}
        from core.runs.model import LIVE_STATES
        from core.runs.store import list_runs

        self.runs = list_runs(workspace)
        live = [run for run in self.runs if run.live or run.status.state in LIVE_STATES]
        for gone in set(self._watches) - {run.id for run in live}:
            del self._watches[gone]
        if not live:
            return {}
        run = next((each for each in live if str(each.status.state) in {"running", "stopping"}), live[0])
        from core.runs.watch import RunWatch
        from core.text import printable

        watch = self._watches.setdefault(run.id, RunWatch(run.dir))
        snapshot = watch.poll()
        percent = 100 * snapshot.step // snapshot.total_steps if snapshot.step and snapshot.total_steps else None
        return {
            "run_id": run.id,
            "name": printable(run.spec.name),
            "state": str(run.status.state),
            "percent": percent,
            "left": about(snapshot.eta_seconds) if snapshot.eta_seconds else "",
            "others": len(live) - 1,
        }

    def _gpu(self) -> str:
        if time.monotonic() < self._next_gpu:
            return self._gpu_text
        self._gpu_text = self._read_gpu()
        self._next_gpu = time.monotonic() + (GPU_SECONDS if self._gpu_text else NO_GPU_RETRY)
        return self._gpu_text

    def _read_gpu(self) -> str:
        from core.hardware import read_gpus
        from core.text import human_gib

        gpus = [gpu for gpu in read_gpus(PATIENCE, max_age=0.5).gpus if gpu.memory_total]
        if not gpus:
            return ""
        gpu = max(gpus, key=lambda each: each.utilization or 0)
        text = f"{human_gib(gpu.memory_used or 0)}/{human_gib(gpu.memory_total or 0)}G"
        return text if gpu.utilization is None else f"{text} {gpu.utilization}%"


def about(seconds: float) -> str:
    """`40s`, `9m`, `1h 12m`: in steps that do not tick."""
    from core.text import human_seconds

    if seconds < 60:
        return f"{10 * math.ceil(seconds / 10)}s"
    return f"{round(seconds / 60)}m" if seconds < 600 else human_seconds(seconds)
