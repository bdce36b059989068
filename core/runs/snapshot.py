"""A run as it stood at one poll, and what is wrong with it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.problems import Problem, Severity
from core.runs.artifacts import Checkpoint, SampleImage
from core.runs.model import LIVE_STATES, Run
from core.runs.progress import LogLine
from core.runs.scalars import Series
from core.tagging.results import TagResult

_STALE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run as it stood at one poll. For a tag run step and total_steps are images, rate is images a second.

    `step` counts the whole training like `total_steps`; of a resumed run `steps_before` of them are not its own, and
    the steps of series, checkpoints and samples count without them. `eta_seconds` allows for pauses, `rate` does not.
    `series` are the watch's own growing arrays: tags of the events file (`loss/current`, `loss/average`, `lr/unet` …;
    those named `…epoch_average` count epochs, not steps). `log_lines_new` are the lines since the poll before.
    """

    run: Run
    phase: str
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    loss_average: float | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    reason: str | None = None
    series: Mapping[str, Series] = field(default_factory=dict)
    log_lines_new: tuple[LogLine, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    samples: tuple[SampleImage, ...] = ()
    problems: tuple[Problem, ...] = ()
    steps_before: int = 0
    steps_per_epoch: float | None = None
    first_epoch: int = 1
    sample: tuple[int, int | None] | None = None
    """While pictures are drawn: which one it is, and of how many."""
    results: TagResult | None = None
    """Of a tag run."""
    phase_since: float | None = None
    """When the phase began, in seconds since 1970; None where nobody saw it and the log does not tell."""
    part: tuple[int, int] | None = None
    """How far the phase itself is: images that are cached, steps of a picture."""
    quiet_seconds: float | None = None
    """While it goes: since when nothing new came, neither into the log nor into the events."""
    loading: bool = False
    """The history is long and still being read: `series` hold its end only. Poll again at once."""
    peak_vram: int | None = None
    """The most GPU memory that the run was seen to hold, in bytes."""
    log_begin: int = 0
    """The byte of the log at which the lines of the first poll began; what is before was not read."""
    log_end: int = 0
    """Up to where the log was read."""

    def as_json(self) -> dict[str, Any]:
        """The document of `runs` and `status`. A loss that is not a number is null."""
        run, status = self.run, self.run.status
        return {
            "id": run.id,
            "kind": run.spec.kind.value,
            "name": run.spec.name,
            "state": run.state.value,
            "phase": self.phase,
            "phase_since": self.phase_since,
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "loss": _finite(self.loss_average if self.loss_average is not None else self.loss),
            "rate": _finite(self.rate),
            "eta_seconds": _finite(self.eta_seconds),
            "quiet_seconds": self.quiet_seconds,
            "peak_vram": self.peak_vram,
            "gpu": run.gpu,
            "reason": self.reason,
            **_waits(run),
            "group": (run.spec.group or {}).get("id"),
            "resumed_from": run.spec.resumed_from,
            "returncode": status.returncode,
            "supervised": run.supervised,
            "created": run.spec.created,
            "started": status.started,
            "ended": status.ended,
            "path": str(run.dir),
        }


def problems_of(
    run: Run, current: Series | None, average: Series | None, damaged: int = 0, lost_output: bool = False
) -> tuple[Problem, ...]:
    found = []
    if run.unsupervised:
        found.append(
            Problem(
                Severity.WARNING,
                "KT510",
                run.id,
                "is unsupervised: its supervisor was killed; the training goes on",
                "It can still be stopped; its exit code will be unknown.",
            )
        )
    elif run.live and run.status.heartbeat is not None and time.time() - run.status.heartbeat > _STALE_SECONDS:
        found.append(
            Problem(
                Severity.WARNING,
                "KT514",
                run.id,
                "has written no state for a minute",
                "Is the disk full, or the machine very busy?",
            )
        )
    if lost_output:
        found.append(
            Problem(
                Severity.WARNING,
                "KT515",
                str(run.output_dir),
                "the output folder was removed while the training goes on",
                "The checkpoints in it are gone; the trainer makes it anew when it saves the next one.",
            )
        )
    if damaged:
        found.append(
            Problem(
                Severity.WARNING,
                "KT516",
                str(run.logs_dir),
                f"{damaged:,} bytes of its events file are damaged; the points in them are missing from the chart",
                "Was the disk full, or did the machine go down while it was written? The training itself is not hurt.",
            )
        )
    if any(series is not None and series.last is not None and math.isnan(series.last) for series in (current, average)):
        found.append(
            Problem(
                Severity.ERROR,
                "KT511",
                run.id,
                "the loss is not a number (NaN)",
                "Stop the run: its checkpoints are useless from here on. Then lower learning_rate.",
            )
        )
    return tuple(found)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _waits(run: Run) -> dict[str, Any]:
    """`position` in the queue and why it `waits`, in words; null for a run that does not."""
    if run.spec.wait is None or run.state in LIVE_STATES or run.status.ended is not None:
        return {"position": None, "waits": None}
    from core.runs.queue import said

    return {"position": run.place.position if run.place is not None else None, "waits": said(run)}
