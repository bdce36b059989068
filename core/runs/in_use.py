"""Whether a run reads images that are about to be moved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.runs.model import LIVE_STATES, WAITING_STATES
from core.runs.store import list_runs
from core.text import printable

if TYPE_CHECKING:
    from core.workspace import Workspace


def refuse_in_use(
    workspace: Workspace, images: Iterable[Path], *, waiting: bool = False, forcing: str | None = None
) -> None:
    """UserError while a run reads these images (with `waiting`: or is about to); `forcing` says how to do it anyway."""
    parts = {path.relative_to(workspace.train_data).parts for path in images}
    names = {some[0] for some in parts if some}
    for run in list_runs(workspace):
        is_reading = run.state in LIVE_STATES or (waiting and run.state in WAITING_STATES)
        if is_reading and run.spec.dataset is not None and run.spec.dataset.partition("/")[0] in names:
            hint = f"Wait for it, or stop it: kohya-tui stop {run.id}."
            raise UserError(
                f"The run {run.id} is using {printable(run.spec.dataset)}", f"{hint} {forcing}" if forcing else hint
            )
