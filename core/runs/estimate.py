"""How long a training will take and how much of the GPU it needs: from past runs of this workspace, or as measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.documents import Config
from core.config.resolved import resolve, script_of
from core.problems import UserError
from core.runs.events import EventFile
from core.runs.measure import Measured, measured
from core.runs.model import ENDED_STATES, RunKind
from core.runs.peak import Peak, read_peak
from core.runs.store import list_runs
from core.text import human_bytes
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config.plan import Plan
    from core.runs.model import Run
    from core.settings import Settings

_RUNS = 40
"""Past runs that are looked at, newest first."""
_BYTES = 300_000
"""Of each run's events: some thousand steps."""
_LEAST_STEPS = 5
_SAME = (
    *("script", "trainer", "pixels", "batch", "gradient_checkpointing", "mixed_precision", "full_bf16", "full_fp16"),
    *("fp8_base", "network_module", "network_train_unet_only", "cache_latents", "gradient_accumulation_steps"),
    *("blocks_to_swap", "optimizer_type"),
)
"""What makes two trainings take the same time a step."""
_SAME_MEMORY = (
    *("network_dim", "network_args", "network_dropout", "cache_text_encoder_outputs", "max_token_length"),
    *("xformers", "sdpa", "mem_eff_attn", "lowram", "vae_batch_size", "optimizer_args"),
)
"""What they must have in common besides to need the same memory."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds` for all steps of the plan; `source` says what it is taken from. None where nothing is known."""

    seconds: float | None = None
    seconds_per_step: float | None = None
    source: str | None = None
    is_rough: bool = False
    """Taken from a training that differs: scaled by its pictures."""
    vram_bytes: int | None = None
    vram_total: int | None = None
    vram_source: str | None = None

    def lines(self) -> list[str]:
        """In words, for the plan."""
        found = []
        if self.seconds is not None and self.seconds_per_step is not None:
            about = "roughly " if self.is_rough else "about "
            each = f"{self.seconds_per_step:.2g} s" if self.seconds_per_step < 10 else f"{self.seconds_per_step:.0f} s"
            found.append(f"{about}{duration(self.seconds)}, {each} a step ({self.source})")
        if self.vram_bytes is not None:
            total = f" of {human_bytes(self.vram_total)}" if self.vram_total else ""
            found.append(f"{human_bytes(self.vram_bytes)}{total} of GPU memory at most ({self.vram_source})")
        return found

    def as_json(self) -> dict[str, Any]:
        return {
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "seconds_per_step": None if self.seconds_per_step is None else round(self.seconds_per_step, 4),
            "source": self.source,
            "rough": self.is_rough,
            "vram_bytes": self.vram_bytes,
            "vram_total": self.vram_total,
            "vram_source": self.vram_source,
        }


def estimate(config: Config, workspace: Workspace, settings: Settings, planned: Plan) -> Estimate:
    """Time and memory of `config`. Reads the beginnings of past runs' events: some ms each."""
    features = features_of(config, workspace, settings.trainer)
    found = Estimate()
    fresh = measured(config, workspace, settings)
    if fresh is not None:
        found = _from_measured(fresh, found)
    like: list[float] = []
    near: list[float] = []
    names: dict[str, str] = {}
    peaks: list[tuple[Peak, str]] = []
    for run, past in _past(workspace):
        features_then, seconds = past.features, past.seconds
        if features_then["script"] != features["script"] or features_then["trainer"] != features["trainer"]:
            continue
        if all(features.get(key) == features_then.get(key) for key in _SAME):
            like.append(seconds)
            names.setdefault("like", run.id)
            if past.peak is not None and all(features[key] == features_then.get(key) for key in _SAME_MEMORY):
                peaks.append((past.peak, run.id))
        elif features_then["pixels"] and features["pixels"]:
            work = features["pixels"] * features["batch"] / (features_then["pixels"] * features_then["batch"])
            near.append(seconds * work)
            names.setdefault("near", run.id)
        if len(like) == 3:
            break
    if like:
        each = statistics.median(like)
        found = replace(found, seconds_per_step=each, source=f"as in {names['like']}", is_rough=False)
    elif near and found.seconds_per_step is None:
        each = statistics.median(near[:3])
        found = replace(found, seconds_per_step=each, source=f"from {names['near']}, which differs", is_rough=True)
    if peaks and found.vram_bytes is None:
        peak, name = max(peaks, key=lambda each: each[0].held)
        source = f"as {name} held" if peak.exact else f"as in {name}, with all else that its card held"
        found = replace(found, vram_bytes=peak.held, vram_total=peak.total, vram_source=source)
    if found.seconds_per_step is None or not planned.total_steps:
        return found
    return replace(found, seconds=found.seconds_per_step * planned.total_steps)


def with_estimate(planned: Plan, config: Config, workspace: Workspace, settings: Settings) -> Plan:
    """The plan with a word on time and memory, where something is known."""
    if config.broken or not planned.total_steps:
        return planned
    return replace(planned, more=tuple(estimate(config, workspace, settings, planned).lines()))


def features_of(config: Config, workspace: Workspace, trainer: str) -> dict[str, Any]:
    """What a step's time and memory depend on."""
    train = config.effective()
    datasets = resolve(config, workspace)
    sizes = [each.resolution for each in datasets if each.resolution is not None]
    batches = [each.values.get("batch_size") for each in datasets]
    return {
        **{key: train.get(key) or None for key in (*_SAME, *_SAME_MEMORY)},
        "script": script_of(config, workspace),
        "trainer": trainer,
        "pixels": max((width * height for width, height in sizes), default=0),
        "batch": next((batch for batch in batches if isinstance(batch, int) and batch > 0), 1),
    }


def seconds_per_step(run: Run) -> float | None:
    """Of a run that trained some steps, with all pauses for samples and checkpoints; None when it did not."""
    for path in sorted(run.logs_dir.glob("**/events.out.tfevents.*"))[:1]:
        steps = [scalar for scalar in EventFile(path).read(_BYTES) if scalar.tag == "loss/current"]
        if len(steps) > _LEAST_STEPS:
            first, last = steps[1], steps[-1]  # the first one has the warming up in it
            if last.step > first.step and last.wall_time > first.wall_time:
                return (last.wall_time - first.wall_time) / (last.step - first.step)
    return None


@dataclass(frozen=True, slots=True)
class _Past:
    """What a training was, its seconds a step, and the memory it was seen to hold."""

    features: Mapping[str, Any]
    seconds: float
    peak: Peak | None


_ended: dict[Path, _Past | None] = {}
"""What is known of trainings that are over: it does not change any more."""


def _past(workspace: Workspace) -> Iterator[tuple[Run, _Past]]:
    """Trainings of this workspace with what is known of them, newest first."""
    trainings = [run for run in list_runs(workspace) if run.spec.kind is RunKind.TRAIN]
    for run in trainings[:_RUNS]:
        if run.dir in _ended:
            known = _ended[run.dir]
        else:
            known = _known(run)
            if run.state in ENDED_STATES:
                _ended[run.dir] = known
        if known is not None:
            yield run, known


def _known(run: Run) -> _Past | None:
    seconds = seconds_per_step(run)
    if seconds is None or run.spec.workspace is None:
        return None
    try:
        config = Config.load(run.dir)
    except UserError:
        return None
    if config.broken:
        return None
    features = features_of(config, Workspace(Path(run.spec.workspace)), run.spec.trainer)
    script = next((Path(word).name for word in run.spec.argv if word.endswith("_network.py")), None)
    return _Past({**features, "script": script or features["script"]}, seconds, read_peak(run.dir))


def _from_measured(fresh: Measured, found: Estimate) -> Estimate:
    return replace(
        found,
        seconds_per_step=fresh.seconds_per_step,
        source="measured with three steps",
        vram_bytes=fresh.vram_bytes,
        vram_total=fresh.vram_total,
        vram_source=None if fresh.vram_bytes is None else "measured with three steps of the largest bucket",
    )


def duration(seconds: float) -> str:
    """`1 h 05 min`, `12 min`, `40 s`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
