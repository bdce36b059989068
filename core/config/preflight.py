"""The preflight: config, dataset and machine looked at together, as one list of problems.

An error is what the trainer would die of, or what would make it end without training; a warning is what trains other
things than were meant, or may fail. Codes: KT1xx dataset, KT2xx config, KT3xx without effect, KT4xx machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from core.config.check_captions import check_captions
from core.config.check_dataset import check_dataset_file
from core.config.check_folders import check_folders
from core.config.check_machine import (
    LiveRun,
    check_gpus,
    check_output,
    check_packages,
    check_sampling,
)
from core.config.check_models import check_models
from core.config.check_numbers import check_numbers
from core.config.check_options import check_files, check_options, named, warning
from core.config.check_pictures import check_advice, check_division
from core.config.check_training import check_training
from core.config.environment import Environment
from core.config.plan import Plan, plan, unread
from core.config.resolved import is_script_sure, resolve, script_of
from core.config.secrets import check_secrets
from core.config.survey import Survey
from core.problems import Problem, Severity

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.hardware import GpuReading
    from core.settings import Settings
    from core.workspace import Workspace

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


REFUSED = frozenset({"KT409"})
"""Findings that are right in themselves and yet refuse a start: a second run of a config that is under way."""


NOT_FOR_THE_DEMO = frozenset({"KT144", "KT150", "KT151", "KT152"})
"""Advice for real trainings, which the few small pictures of the demo need not heed."""


def refuses(problem: Problem) -> bool:
    """Whether a start waits until this is mended."""
    return problem.severity is Severity.ERROR or problem.code in REFUSED


def check(
    config: Config,
    workspace: Workspace,
    settings: Settings,
    live_runs: Sequence[LiveRun] = (),
    gpus: GpuReading | None = None,
    planned: Plan | None = None,
    *,
    gpu: str | None = None,
    survey: Survey | None = None,
    environment: Environment | None = None,
) -> list[Problem]:
    """Everything that can be told before a run of `config`, errors first.

    Reads the pictures' headers and the captions that changed since the last check; `survey`, when the plan was made
    with it, saves looking for changes once more. `planned` saves counting. `environment` is what the trainer's Python
    answered; without it packages are only looked for on disk.
    """
    survey = survey or Survey()
    found = _check(config, workspace, settings, live_runs, gpus, planned, gpu, survey, environment)
    if settings.trainer == "demo":
        found = (problem for problem in found if problem.code not in NOT_FOR_THE_DEMO)
    problems = _sorted(named(problem, config, workspace) for problem in found)
    survey.keep()
    return problems


def check_dataset(workspace: Workspace, name: str, trigger: str | None = None) -> list[Problem]:
    """What can be told of a dataset without a config: names, folders, captions (`.txt`, 225 tokens).

    Raises UserError when there is no such dataset.
    """
    from core.dataset.scan import open_dataset

    dataset = open_dataset(workspace, name)
    found = list(dataset.problems)
    if not dataset.items:
        hint = f"Bring some in: kohya-tui import {name} FOLDER"
        found.append(warning("KT121", workspace.key_of(dataset.path), "there is no picture in it", hint))
    survey = Survey()
    for subset in dataset.subsets:
        facts = survey.folder(subset.path)
        if facts is None or not facts.images:
            continue
        found.extend(unread(facts, workspace))
        values = {"caption_extension": ".txt", "class_tokens": None}
        known = survey.captions(facts, ".txt")
        found.extend(check_captions(facts, known, values, workspace, {"max_token_length": 225}, trigger))
    survey.keep()
    return _sorted(found)


def _check(
    config: Config,
    workspace: Workspace,
    settings: Settings,
    live_runs: Sequence[LiveRun],
    gpus: GpuReading | None,
    planned: Plan | None,
    gpu: str | None,
    survey: Survey,
    environment: Environment | None,
) -> Iterator[Problem]:
    yield from check_files(config)
    script = script_of(config, workspace)
    if "train" not in config.broken and config.text("train").strip():
        train = config.effective()
        yield from check_options(config, script)
        yield from check_numbers(train)
        yield from check_training(train, script, is_sure=is_script_sure(config, workspace))
        yield from check_secrets(config)
        yield from check_models(config, workspace, script, settings)
        yield from check_sampling(config, workspace, script)
        yield from check_packages(train, settings, environment)
        yield from check_gpus(config, settings, live_runs, gpus, gpu, environment)
    if "dataset" in config.broken:
        return
    schema = list(check_dataset_file(config, workspace, script))
    yield from schema
    folders = list(check_folders(config, workspace, settings.trigger, script, survey))
    yield from folders
    planned = planned if planned is not None else plan(config, workspace, survey=survey)
    codes = {"KT133", "KT236"} | (set() if any(problem.code == "KT120" for problem in folders) else {"KT233"})
    if not any(problem.code in {"KT120", "KT207"} for problem in [*folders, *schema]):
        codes |= {"KT207"}  # pictures are there, and none is left to train on: all are held back for validation
    yield from (problem for problem in planned.problems if problem.code in codes)
    yield from check_output(config, workspace, planned)
    datasets, train = resolve(config, workspace), config.effective()
    yield from check_division(datasets, train, planned)
    yield from check_advice(datasets, train, planned)


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    """Errors first, the order of finding else; what two checks found stands once."""
    unique: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        unique.setdefault((problem.code, f"{problem.where}\0{problem.message}"), problem)
    return sorted(unique.values(), key=lambda problem: _ORDER[problem.severity])
