"""What tells the runs of one config apart: what one goes on from, and what its config changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.runs.model import Run, RunKind, RunState
from core.runs.pace import first_epoch

if TYPE_CHECKING:
    from core.workspace import Workspace

SHOWN = 3
"""Keys of a changed config that are named; of more, how many there are."""


def notes(workspace: Workspace, runs: Iterable[Run], known: dict[str, str]) -> dict[str, str]:
    """Run id → what is worth saying beside its name, "" where nothing is. `known` is taken over.

    Of a training that is neither resumed nor one of a sweep: what its frozen config has else than that of the training
    that began before it. Reads two files a run.
    """
    found: dict[str, str] = {}
    trainings = [run for run in runs if run.spec.kind is RunKind.TRAIN]
    before: dict[str, Run] = {}
    for run in sorted(trainings, key=lambda each: each.spec.created):
        other = before.get(run.spec.config or "")
        if run.id in known:
            found[run.id] = known[run.id]
        elif run.state is not RunState.QUEUED or run.spec.group is not None:
            found[run.id] = note(workspace, run, other)
        began = run.status.started is not None and (run.dir / "train.toml").is_file()
        if began and run.spec.config is not None and run.spec.group is None:
            before[run.spec.config] = run
    return found


def note(workspace: Workspace, run: Run, before: Run | None = None) -> str:
    """`learning_rate 5e-05`, `goes on from epoch 3`, `from rinni-000004`; "" when it is like the one before."""
    if run.spec.resumed_from is not None:
        return f"goes on from epoch {first_epoch(run.spec.argv)}"
    if run.spec.group is not None:  # its name says its values
        return ""
    if run.spec.trained_from is not None:
        return f"from {Path(run.spec.trained_from).stem}"
    if before is None:
        return ""
    from core.config import compare
    from core.problems import UserError

    try:
        changed = compare.differences(compare.frozen(workspace, before.id), compare.frozen(workspace, run.id))
    except (UserError, OSError, ValueError):  # files of another age, or gone: nothing to say
        return ""
    words = [f"{each.key.rpartition('.')[2]} {_text(each.theirs)}" for each in changed[:SHOWN]]
    return ", ".join([*words, *([f"{len(changed) - SHOWN} more"] if len(changed) > SHOWN else [])])


def _text(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return os.path.basename(text) if "/" in text else text  # noqa: PTH119 - a path of any system, as text
