"""The pulse: which run is alive and what the GPU does, as the header shows it on every screen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui.theme import Cells

if TYPE_CHECKING:
    from core.runs.model import Run, RunState
    from core.workspace import Workspace
    from tui.app import KohyaApp

NO_GPU_RETRY = 30.0
"""Seconds between two looks for a GPU on a machine where none answered."""


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
    _no_gpu_until: float = 0.0

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
        from core.text import human_seconds, printable

        watch = self._watches.setdefault(run.id, RunWatch(run.dir))
        snapshot = watch.poll()
        percent = 100 * snapshot.step // snapshot.total_steps if snapshot.step and snapshot.total_steps else None
        return {
            "run_id": run.id,
            "name": printable(run.spec.name),
            "state": str(run.status.state),
            "percent": percent,
            "left": human_seconds(snapshot.eta_seconds) if snapshot.eta_seconds else "",
            "others": len(live) - 1,
        }

    def _gpu(self) -> str:
        if time.monotonic() < self._no_gpu_until:
            return ""
        from core.hardware import read_gpus
        from core.text import human_gib

        gpus = [gpu for gpu in read_gpus(max_age=0.5).gpus if gpu.memory_total]
        if not gpus:
            self._no_gpu_until = time.monotonic() + NO_GPU_RETRY
            return ""
        gpu = max(gpus, key=lambda each: each.utilization or 0)
        text = f"{human_gib(gpu.memory_used or 0)}/{human_gib(gpu.memory_total or 0)}G"
        return text if gpu.utilization is None else f"{text} {gpu.utilization}%"


class Beat:
    """Once a second, on a thread: the run for the header, the GPU, and whether another undo is next."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._reader, self._busy = PulseReader(), False
        self._known: tuple[Workspace | None, dict[str, RunState]] | None = None
        """What each run of the workspace was at the last reading."""
        self._tagged: set[str] = set()
        """Tag runs whose end was told."""

    def start(self) -> None:
        """Now, and once a second from now on."""
        self._beat()
        self._app.set_interval(1.0, self._beat)

    def tag_ended(self, run: Run) -> None:
        """A tag run wrote its last caption: the screens are told, once, by whoever sees it first."""
        if run.id not in self._tagged:
            self._tagged.add(run.id)
            self._app.dataset_changed.publish(run.spec.dataset or "")

    def look_at_journal(self) -> None:
        """Something was written: what the next undo takes back may be another."""
        self._app.run_worker(self._look, thread=True, group="journal", exit_on_error=False)

    def _beat(self) -> None:
        if not self._busy:
            self._busy = True
            self._app.run_worker(self._read, thread=True, group="pulse", exit_on_error=False)

    def _read(self) -> None:
        try:
            self._look()
            pulse = self._reader.read(self._app.workspace)
            self._app.call_from_thread(self._take, pulse)
        finally:
            self._busy = False

    def _look(self) -> None:
        app = self._app
        group = app.undoing.look(app.workspace)
        if not isinstance(group, bool):
            app.call_from_thread(app.undoing.take, group)

    def _take(self, pulse: Pulse) -> None:
        app, runs = self._app, self._reader.runs
        app.telling.look(runs)
        old, app.pulse = app.pulse, pulse
        if pulse != old:
            app.pulse_signal.publish(pulse)
        known, self._known = self._known, (app.workspace, {run.id: run.state for run in runs})
        if known is None or known[0] != app.workspace:
            if pulse.run_id is not None:
                app.runs_changed.publish(pulse.run_id)
        elif known != self._known:
            from core.runs.model import ENDED_STATES

            app.runs_changed.publish(pulse.run_id)
            for run in runs:
                if run.spec.kind == "tag" and run.state in ENDED_STATES and known[1].get(run.id) != run.state:
                    self.tag_ended(run)
