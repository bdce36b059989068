"""`sweep`: several runs of one config with other values, and their comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli import queue as queueing
from core.cli.catalogue import follow_checkout
from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import emit, folded, problem_lines, say, table
from core.problems import Problem, UserError
from core.settings import CHOICES
from core.text import human_seconds, printable

if TYPE_CHECKING:
    from core.runs.sweep import Row, Sweep
    from core.workspace import Workspace

PANEL = "Config and training"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep", rich_help_panel=PANEL)(sweep)


def sweep(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The config; or: show, list.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=V1,V2…", help="Keys with their values; after show: a sweep.")
    ] = None,
    zip_: Annotated[
        bool, typer.Option("--zip", help="First values together, second ones together …: no combinations.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Queue although the preflight found errors.")] = False,
    launcher: Annotated[str | None, typer.Option(help="local, accelerate or slurm (an array).")] = None,
    gpu: queueing.GpuOption = None,
    at: queueing.AtOption = None,
    after: queueing.AfterOption = None,
    hold: queueing.HoldFlag = False,
    share: queueing.ShareFlag = False,
    _queue: Annotated[bool, typer.Option("--queue", help="They always are: one after the other for each GPU.")] = True,
    json_: JsonFlag = False,
) -> None:
    """Queue every combination of the values as a run of its own. `sweep show [ID]` compares them."""
    workspace = place_of(context).workspace()
    if name in ("show", "list") and not any("=" in word for word in words or ()):
        if name == "list":
            _list(workspace, json_)
        else:
            _show(workspace, (words or ["last"])[0], json_)
        return
    from core.hardware import read_gpus
    from core.runs.sweep import axis, plan, start

    if launcher is not None and launcher not in CHOICES["launcher"]:
        raise typer.BadParameter(f"{launcher!r} is no launcher: there are {', '.join(CHOICES['launcher'])}")
    if not words:
        raise WrongUsage("Which values?", "For example: kohya-tui sweep NAME learning_rate=1e-4,5e-5 network_dim=16,32")
    from core.config.documents import open_config

    settings = place_of(context).settings(launcher=launcher)
    follow_checkout(settings)
    config = open_config(workspace, name)
    planned = plan(workspace, name, [axis(config, word) for word in words], settings, zipped=zip_)
    refused = _problems(planned)
    document = _plan_document(planned)
    lines = _plan_lines(planned)
    if dry_run:
        emit(document, lines, as_json=json_)
        return
    if refused and not force:
        if json_:
            emit(document, [], as_json=True)
        raise UserError("The sweep is not queued: the preflight found errors", "Mend them, or say --force.")
    if not yes and not json_ and sys.stdin.isatty():
        for line in lines:
            say(line)
        if not typer.confirm(f"Queue these {len(planned.variants)} runs?", default=True, err=True):
            say("Nothing was queued.")
            raise typer.Exit(1)
    wish = queueing.wish_of(
        workspace.runs,
        gpu=gpu,
        queue=True,
        at=at,
        after=after,
        only_if_finished=False,
        hold=hold,
        share=share,
    )
    assert wish is not None
    sweep_id, runs = start(workspace, planned, settings, read_gpus(), wish)
    document |= {"sweep": sweep_id, "runs": [queueing.queued_document(run) for run in runs]}
    told = [f"{sweep_id}: {len(runs)} runs are queued. Compare them: kohya-tui sweep show"]
    emit(document, [*told, *(line for run in runs for line in queueing.queued_lines(run))], as_json=json_)


def _problems(planned: Sweep) -> list[Problem]:
    """What stands against it, each finding once with the run that it is about; returns those that refuse."""
    from core.config.preflight import refuses

    seen: dict[tuple[str, str, str], tuple[Problem, list[str]]] = {}
    for variant in planned.variants:
        for problem in variant.problems:
            key = (problem.code, problem.where, problem.message)
            seen.setdefault(key, (problem, []))[1].append(variant.label)
    for problem, labels in seen.values():
        for line in problem_lines([problem]):
            say(line)
        if len(labels) < len(planned.variants):
            say(f"    in {printable(', '.join(labels))}")
    return [problem for problem, _ in seen.values() if refuses(problem)]


def _plan_lines(planned: Sweep) -> list[str]:
    from core.config.values import shown

    keys = list(planned.variants[0].values)
    rows: list[Sequence[str]] = [("label", *keys, "steps", "epochs")]
    for variant in planned.variants:
        values = [printable(shown(variant.values[key])) for key in keys]
        rows.append((variant.label, *values, f"{variant.plan.total_steps:,}", str(variant.plan.epochs)))
    return [*table(rows, frozenset(range(1, len(keys) + 3))), *planned.lines()]


def _plan_document(planned: Sweep) -> dict[str, Any]:
    return {
        "config": planned.config,
        "total_steps": planned.total_steps,
        "seconds": planned.seconds,
        "variants": [
            {
                "label": variant.label,
                "values": dict(variant.values),
                "total_steps": variant.plan.total_steps,
                "epochs": variant.plan.epochs,
                "problems": [problem.as_json() for problem in variant.problems],
            }
            for variant in planned.variants
        ],
    }


def _list(workspace: Workspace, as_json: bool) -> None:
    from core.runs.sweep import sweeps

    found = sweeps(workspace)
    rows = [("sweep", "config", "runs", "finished")]
    document = []
    for sweep_id, runs in found.items():
        finished = sum(run.state == "finished" for run in runs)
        rows.append((sweep_id, printable(runs[0].spec.config or "–"), str(len(runs)), str(finished)))
        document.append({"sweep": sweep_id, "config": runs[0].spec.config, "runs": [run.id for run in runs]})
    lines = table(rows, frozenset({2, 3})) if found else ["No sweeps yet."]
    emit({"sweeps": document}, lines, as_json=as_json)


def _show(workspace: Workspace, text: str, as_json: bool) -> None:
    from core.runs.sweep import best, compare, find

    sweep_id, runs = find(workspace, text)
    rows = compare(runs)
    lowest = best(rows)
    lines = [printable(sweep_id), *table(table_rows(rows), frozenset(range(2, 8)), (7, 5, 4), 0)]
    lines += [f"{row.label}: {printable(row.run.status.reason)}" for row in rows if row.run.status.reason]
    if lowest is not None:
        lines.append(f"lowest validation loss: {lowest.label}")
    else:
        lines.append("A lower training loss is not a better LoRA: compare the sample pictures (S in Monitor).")
    document = {
        "sweep": sweep_id,
        "runs": [row.as_json() for row in rows],
        "best": lowest.run.id if lowest is not None else None,
    }
    emit(document, folded(lines), as_json=as_json)


def table_rows(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Head and rows of the comparison."""
    found: list[tuple[str, ...]] = [("label", "state", "step", "final", "lowest", "average", "validation", "time")]
    for row in rows:
        step = f"{row.step or 0:,}/{row.total_steps:,}" if row.total_steps else "–"
        numbers = [_loss(value) for value in (row.final, row.lowest, row.average, row.validation)]
        time = human_seconds(row.seconds) if row.seconds is not None else "–"
        found.append((printable(row.label), str(row.run.state), step, *numbers, time))
    return found


def _loss(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "–"
