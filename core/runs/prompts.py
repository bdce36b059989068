"""The sample prompts of a run: its own copy of prompts.txt, which the trainer reads again before every sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.files import write_atomic
from core.problems import UserError
from core.runs.model import ENDED_STATES, LIVE_STATES, WAITING_STATES, Run, RunKind

if TYPE_CHECKING:
    from pathlib import Path

LATER = "used from the next sampling on"


def path_of(run: Run) -> Path:
    """`runs/<id>/prompts.txt`."""
    return run.dir / "prompts.txt"


def load(run: Run) -> str:
    """The prompts as they stand; empty when the run has none. UserError for what is no training, or no UTF-8."""
    if run.spec.kind is not RunKind.TRAIN:
        raise UserError(f"{run.id} is no training: it has no sample prompts", "List the trainings: kohya-tui runs")
    path = path_of(run)
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"Cannot read {path}: {why}", "Correct it in an editor.") from error


def save(run: Run, text: str, before: str) -> str:
    """Put `text` in the place of `before`; returns when it counts, in words.

    Raises UserError when the run is over, when it waits and would read its config's anew, when it draws no samples, and
    when another program changed the file since.
    """
    if run.state in ENDED_STATES:
        raise UserError(f"{run.id} is over: its prompts are what was drawn", "Change those of its config instead.")
    if _is_read_anew(run):
        raise UserError(
            f"{run.id} waits in the queue: its prompts are read from its config when its turn comes",
            "Change those of its config instead, or these when it has begun.",
        )
    if load(run) != before:
        raise UserError(f"{path_of(run)} was changed by another program", "Open it again; yours is not written.")
    if not draws(run):
        raise UserError(
            f"{run.id} draws no samples: it was started without sample_every_n_epochs, or without prompts",
            "Set them in the config for the next run.",
        )
    write_atomic(path_of(run), text.encode("utf-8"))
    return LATER if run.state in LIVE_STATES else "used when it starts"


def draws(run: Run) -> bool:
    """Whether the trainer was told to read the run's own prompts."""
    return str(path_of(run)) in run.spec.argv


def _is_read_anew(run: Run) -> bool:
    """Whether core.runs.freeze will put the config's prompts in the place of the run's own."""
    return run.state in WAITING_STATES and run.spec.recipe is not None


def running(runs: list[Run], config: str) -> Run | None:
    """The run of a config that is under way, or frozen and waits, and draws samples; None when there is none."""
    of_config = (run for run in runs if run.spec.config == config and run.state not in ENDED_STATES)
    return next((run for run in of_config if draws(run) and not _is_read_anew(run)), None)
