"""Everything that is checked before a training starts: the trainer, the config with its dataset, the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.config.check_machine import LiveRun
from core.config.preflight import check
from core.hardware import read_gpus
from core.problems import Problem
from core.runs.model import RunKind
from core.runs.store import list_runs
from core.runs.trainer import check_trainer

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.plan import Plan
    from core.settings import Settings
    from core.workspace import Workspace


def check_start(
    config: Config,
    workspace: Workspace,
    settings: Settings,
    planned: Plan | None = None,
    *,
    gpu: str | None = None,
) -> list[Problem]:
    """What stands against starting `config` now, errors and warnings. Asks the trainer's Python: up to some seconds.

    `planned` saves counting the images once more. `gpu` is the index of the GPU that was chosen.
    """
    trainings = [run for run in list_runs(workspace) if run.live and run.spec.kind is RunKind.TRAIN]
    live = [LiveRun(run.id, run.spec.config, run.spec.gpu) for run in trainings]
    return [*check_trainer(settings), *check(config, workspace, settings, live, read_gpus(), planned, gpu=gpu)]
