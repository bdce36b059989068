"""What it costs to stop a run now, and how long the next checkpoint takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.runs import inputs
from core.runs.model import WAITING_STATES, RunKind
from core.text import human_seconds

if TYPE_CHECKING:
    from core.runs.watch import RunSnapshot


@dataclass(frozen=True, slots=True)
class StopCosts:
    """What the two ways to stop cost, in words; `wait` is None when nobody can wait for a checkpoint.

    `lost_seconds` of training are gone when it is stopped now, `wait_seconds` pass until the next checkpoint; None
    where that cannot be told.
    """

    now: str
    wait: str | None
    lost_seconds: float | None = None
    wait_seconds: float | None = None


def stop_costs(snapshot: RunSnapshot, now: float) -> StopCosts:
    """Time since the last save, and until the next one as far as the frozen config and the rate tell."""
    run = snapshot.run
    if run.spec.kind is RunKind.TAG:
        return StopCosts("the captions written so far are kept; one undo takes them back", None)
    if run.state in WAITING_STATES:
        return StopCosts("it has not begun: nothing is lost", None)
    saved = max((item.mtime for item in snapshot.checkpoints if item.complete), default=None)
    since = saved if saved is not None else run.status.started
    lost = None if since is None else max(0.0, now - since)
    shown = "" if lost is None else f" {human_seconds(lost)} of"
    text = f"loses{shown} training, " + ("no checkpoint yet" if saved is None else "back to the last checkpoint")
    if not run.supervised:
        return StopCosts(text, None, lost)
    wait = next_save(snapshot)
    if wait is None:
        return StopCosts(text, "loses nothing; when it comes is not known yet", lost)
    seconds, last = wait
    about = f"in about {human_seconds(seconds)}"
    if last:
        return StopCosts(text, f"{about}: the next one is the last, at the end of the training", lost, seconds)
    return StopCosts(text, f"{about}; loses nothing", lost, seconds)


def next_save(snapshot: RunSnapshot) -> tuple[float, bool] | None:
    """Seconds until the next checkpoint and whether it is the one at the end; None while that cannot be told."""
    total, rate, each = snapshot.total_steps, snapshot.rate, snapshot.steps_per_epoch
    step = (snapshot.step or 0) - snapshot.steps_before  # the trainer saves by its own count
    if not step or not total or not rate:
        return None
    options = frozen_options(snapshot.run.dir)
    last = total - snapshot.steps_before
    ends = [last]
    every_epochs, every_steps = options.get("save_every_n_epochs"), options.get("save_every_n_steps")
    if isinstance(every_steps, int) and every_steps > 0:
        ends.append((step // every_steps + 1) * every_steps)
    if isinstance(every_epochs, int) and every_epochs > 0 and each:
        before = snapshot.first_epoch - 1
        epoch = before + step / each
        ends.append(round(((int(epoch / every_epochs) + 1) * every_epochs - before) * each))
    end = min(ends)
    return max(0, end - step) / rate, end >= last


def frozen_options(run_dir: Path) -> dict[str, Any]:
    """The options frozen in the run's train.toml, sections dissolved; empty when it cannot be read."""
    path = run_dir / "train.toml"
    try:
        return inputs.flatten(path, inputs.read(path))
    except UserError:
        return {}
