"""Everything that is checked before a training starts: the trainer, the config with its dataset, the machine."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from core.config.check_machine import LiveRun, modules_of
from core.config.preflight import check
from core.hardware import read_gpus
from core.problems import Problem, Severity, UserError
from core.runs import probe, slots
from core.runs.model import RunKind
from core.runs.store import list_runs
from core.runs.trainer import check_trainer

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.plan import Plan
    from core.config.survey import Survey
    from core.hardware import GpuReading
    from core.settings import Settings
    from core.workspace import Workspace


def check_start(
    config: Config,
    workspace: Workspace,
    settings: Settings,
    planned: Plan | None = None,
    *,
    gpu: str | None = None,
    queued: bool = False,
    survey: Survey | None = None,
) -> list[Problem]:
    """What stands against starting `config` now, errors and warnings. Asks the trainer's Python: up to some seconds.

    `planned` saves counting the images once more, `survey` looking for changes in their folders. `gpu` names the GPUs
    that were chosen. A `queued` run minds no other.
    """
    reading = read_gpus()
    found = list(check_trainer(settings))
    environment = None
    if settings.trainer != "demo" and not found:
        environment = probe.probe(settings, modules_of(config.effective()))
        found += probe.problems_of(environment)
    if queued:
        more = check(config, workspace, settings, [], reading, planned, gpu=gpu, survey=survey, environment=environment)
        return [*found, *more]
    taken: set[str] = set()
    if settings.trainer != "demo":
        for problem in check_taken(gpu, reading, config.name):
            found.append(problem)
            taken.add(problem.where)
    trainings = [run for run in list_runs(workspace) if run.live and run.spec.kind is RunKind.TRAIN]
    live = [LiveRun(run.id, run.spec.config, run.gpu) for run in trainings if run.id not in taken]
    more = check(config, workspace, settings, live, reading, planned, gpu=gpu, survey=survey, environment=environment)
    return [*found, *more]


def check_taken(gpu: str | None, reading: GpuReading, config: str) -> list[Problem]:
    """Who has the GPU on which a run would start now: ours of any workspace refuse it, others are told."""
    gpus = slots.visible(reading)
    try:
        wanted = slots.chosen(gpu, gpus) if gpu is not None else gpus[:1]
    except UserError as error:
        return [Problem(Severity.ERROR, "KT411", "GPU", error.message, error.hint)]
    found = []
    for each in wanted:
        instead = f"Queue it: kohya-tui train {shlex.quote(config)} --queue"
        holders = slots.holders([slots.name_of(each)])
        for run_dir in holders:
            message = f"has GPU {each.index}: two trainings on one GPU rarely fit"
            found.append(Problem(Severity.ERROR, "KT411", run_dir.name, message, f"{instead}, or choose another GPU."))
        if not holders and (used := slots.used_by_others(each)):
            hint = f"{instead}: it starts when the GPU is free."
            found.append(Problem(Severity.WARNING, "KT412", f"GPU {each.index}", f"is {used}", hint))
    return found
