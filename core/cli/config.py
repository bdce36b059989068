"""`config`, `config import`, `plan` and `check`: the files that sd-scripts reads, and what they will do."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli import config_edit as config_edit
from core.cli import config_lists as config_lists
from core.cli import config_options as config_options
from core.cli import config_presets as config_presets
from core.cli.catalogue import follow_checkout
from core.cli.config_group import FILES, PANEL, assigned, config_app, preflight_of, written
from core.cli.main import JsonFlag, place_of
from core.cli.output import Bar, emit, folded, problem_lines, say, table, with_place
from core.problems import Problem, Severity, UserError
from core.text import count_of, printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.runs.measure import Measured
    from core.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(config_app, name="config", rich_help_panel=PANEL)
    app.command("plan", rich_help_panel=PANEL)(plan)
    app.command("check", rich_help_panel=PANEL)(check)


@config_app.callback(invoke_without_command=True)
def _configs(context: typer.Context, json_: JsonFlag = False) -> None:
    if context.invoked_subcommand != "refresh":
        follow_checkout(place_of(context).settings(tell=False))
    if context.invoked_subcommand is None:
        list_configs(context, json_)


def list_configs(context: typer.Context, json_: bool) -> None:
    """Every config with what it trains and how long."""
    from core.config.documents import open_config
    from core.config.plan import plan as make_plan

    workspace = place_of(context).workspace()
    rows: list[tuple[str, ...]] = [("config", "dataset", "images", "steps", "epochs", "")]
    found = []
    for name in workspace.config_names():
        config = open_config(workspace, name)
        planned = make_plan(config, workspace)
        names = _datasets_of(config, workspace)
        failed = any(problem.severity is Severity.ERROR for problem in planned.problems)
        numbers = [f"{value:,}" if value else "–" for value in (planned.images, planned.total_steps, planned.epochs)]
        rows.append((printable(name), printable(", ".join(names) or "–"), *numbers, "✗" if failed else ""))
        counted = {key: planned.as_json()[key] for key in ("images", "total_steps", "epochs")}
        found.append({"name": name, "datasets": names} | counted)
    lines = [with_place("No configs yet. Make one: kohya-tui config new NAME")]
    if found:
        lines = table(rows, frozenset({2, 3, 4}), (), 1)
    emit({"configs": found}, lines, as_json=json_)


def _datasets_of(config: Config, workspace: Workspace) -> list[str]:
    """The folders below train_data/ that a config trains on, or the folders themselves when they lie elsewhere."""
    from core.config.resolved import resolve

    found: dict[str, None] = {}
    for folder in (subset.folder for dataset in resolve(config, workspace) for subset in dataset.subsets):
        if folder is not None and folder != workspace.train_data and folder.is_relative_to(workspace.train_data):
            found[folder.relative_to(workspace.train_data).parts[0]] = None
        elif folder is not None:
            found[workspace.key_of(folder)] = None
    return list(found)


@config_app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A guide, TOML, the JSON of kohya_ss, or a script. - reads standard input.")
    ],
    name: Annotated[str | None, typer.Option(help="The name of the config; else the character's.")] = None,
    answer: Annotated[
        list[str] | None, typer.Option("--set", metavar="PLACEHOLDER=VALUE", help="Fill in a placeholder of the guide.")
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Make a config of a guide, of another program's settings or of a script. Says what moved where."""
    from core.config.check_options import named
    from core.config.guide import convert, default_answers
    from core.config.presets import free_name, write_config
    from core.config.source import decoded, read_source, read_text
    from core.dataset.edits import Journal

    place = place_of(context)
    workspace = place.workspace()
    if str(file) == "-":
        try:
            guide = read_text(decoded(sys.stdin.buffer.read(), "standard input"), near=(Path.cwd(), workspace.root))
        except UserError as error:
            raise UserError(f"-: {error.message}", error.hint) from error
    else:
        guide = read_source(file, near=(workspace.root,))
    answers = dict(assigned(answer or []))
    likely = default_answers(guide, workspace, name)
    for placeholder in guide.placeholders:
        if placeholder in answers:
            continue
        suggestion = likely.get(placeholder)
        if sys.stdin.isatty():
            question = f"What stands for {printable(placeholder)}?"
            answers[placeholder] = typer.prompt(question, default=suggestion, err=True)
        elif suggestion is not None:
            answers[placeholder] = suggestion
            say(f"{printable(placeholder)} = {printable(suggestion)}")
        else:
            raise UserError(
                f"{file}: the placeholder {placeholder!r} needs a value", f"Add: --set '{placeholder}=VALUE'"
            )
    result = convert(guide, answers, name, workspace)
    if result.name in workspace.config_names():
        free = free_name(workspace, result.name)
        raise UserError(
            f"There is a config {result.name!r} already", f"Give this one a name: --name {shlex.quote(free)}"
        )
    config = write_config(workspace, result.name, result.train, result.dataset, result.prompts, Journal(workspace))
    problems = preflight_of(config, workspace, place)
    told = {_about(problem) for problem in problems}
    problems += [each for each in result.problems if _about(named(each, config, workspace)) not in told]
    written(workspace, config, FILES, result.moved, problems, json_)


def plan(
    context: typer.Context,
    name: str,
    probe: Annotated[
        bool, typer.Option("--probe", help="Train three steps of the largest bucket, and throw them away.")
    ] = False,
    gpu: Annotated[str | None, typer.Option(help="The GPU to measure on.", show_default=False)] = None,
    json_: JsonFlag = False,
) -> None:
    """Images, steps, checkpoints, disk and time of a training. Counted as sd-scripts counts; time where known."""
    from core.config.documents import open_config
    from core.config.plan import plan as make_plan
    from core.runs.estimate import estimate

    place = place_of(context)
    workspace, settings = place.workspace(), place.settings()
    follow_checkout(settings)
    config = open_config(workspace, name)
    found = make_plan(config, workspace)
    failed = any(problem.severity is Severity.ERROR for problem in found.problems)
    seen = _measure(config, workspace, settings, gpu) if probe and not failed else None
    told = estimate(config, workspace, settings, found) if found.total_steps else None
    lines = [*found.lines(), *(told.lines() if told is not None else [])]
    if seen is not None:  # past runs go before it in the estimate, so it is said by itself
        lines += [seen.line()]
    lines += folded(problem_lines(found.problems))
    document = found.as_json() | {"estimate": told.as_json() if told is not None else None}
    emit(document | ({"measured": seen.as_json()} if seen is not None else {}), lines, as_json=json_)
    if failed:
        raise typer.Exit(1)


def _measure(config: Config, workspace: Workspace, settings: Settings, gpu: str | None) -> Measured | None:
    from core.runs.measure import STEPS, measure

    bar, seen = Bar("measuring"), None
    try:
        for progress in measure(config, workspace, settings, gpu):
            bar.update(progress.step, STEPS, printable(progress.phase))
            seen = progress.result
    finally:
        bar.close()
    return seen


def check(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", show_default=False)] = None,
    config: Annotated[str | None, typer.Option("--config", help="The config to check with its dataset.")] = None,
    json_: JsonFlag = False,
) -> None:
    """The preflight: config, dataset and machine. Exit status 1 when a training would fail."""
    from core.config.documents import open_config
    from core.config.preflight import check_dataset
    from core.runs.ready import check_start

    place = place_of(context)
    workspace = place.workspace()
    settings = place.settings()
    follow_checkout(settings)
    datasets = [dataset] if dataset is not None else []
    configs = [config] if config is not None else []
    if not datasets and not configs:
        datasets, configs = workspace.dataset_names(), workspace.config_names()
        if not datasets and not configs:
            raise UserError(f"There is nothing to check in {workspace.root}", "Bring images in: kohya-tui import NAME")
    checked = [(name, check_dataset(workspace, name)) for name in datasets]
    checked += [(f"config {name}", check_start(open_config(workspace, name), workspace, settings)) for name in configs]
    problems: dict[Problem, None] = {}
    lines = []
    for name, found in checked:
        lines.append(f"{printable(name)}: {count_of(len(found), 'problem') if found else 'nothing to complain about'}")
        for problem in found:  # the remedy of what several have in common stands once
            known = problem in problems
            lines += [f"  {line}" for line in problem_lines([replace(problem, hint=None) if known else problem])]
        problems.update(dict.fromkeys(found))
    if fixable := sum(problem.fixable for problem in problems):
        lines.append(
            with_place(f"{count_of(fixable, 'problem')} can be fixed safely: kohya-tui fix --dry-run shows how")
        )
    lines = folded(lines)
    emit({"problems": [problem.as_json() for problem in problems]}, lines, as_json=json_)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise typer.Exit(1)


def _about(problem: Problem) -> tuple[str, str]:
    return problem.code, problem.where
