"""`train` and `resume`: a training now, or when its turn comes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli import launchers
from core.cli import queue as queueing
from core.cli.catalogue import follow_checkout
from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, folded, problem_lines, say, table
from core.problems import Problem, UserError
from core.settings import CHOICES, Settings
from core.text import human_age, printable

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.queue import Wish
    from core.workspace import Workspace

PANEL = "Config and training"
ForceFlag = Annotated[bool, typer.Option("--force", help="Start although the preflight found errors.")]
FollowFlag = Annotated[
    bool, typer.Option("--follow", help="Stay with the run and show its log; exit status 1 when it fails.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("train", rich_help_panel=PANEL)(train)
    app.command("resume", rich_help_panel=PANEL)(resume)


def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The config.")],
    launcher: Annotated[str | None, typer.Option(help="local, accelerate or slurm.", show_default=False)] = None,
    gpu: queueing.GpuOption = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="LORA", help="Train this LoRA further; optimizer and schedule begin anew."),
    ] = None,
    dim_from_weights: Annotated[
        bool, typer.Option("--dim-from-weights", help="With --from: dim and alpha of that file, not of the config.")
    ] = False,
    force: ForceFlag = False,
    follow: FollowFlag = False,
    queue: queueing.QueueFlag = False,
    at: queueing.AtOption = None,
    after: queueing.AfterOption = None,
    only_if_finished: queueing.IfFinishedFlag = False,
    hold: queueing.HoldFlag = False,
    share: queueing.ShareFlag = False,
    processes: launchers.Processes = None,
    gpu_ids: launchers.GpuIds = None,
    precision: launchers.Precision = None,
    machines: launchers.Machines = None,
    machine_rank: launchers.MachineRank = None,
    main_ip: launchers.MainIp = None,
    main_port: launchers.MainPort = None,
    dynamo: launchers.Dynamo = None,
    threads: launchers.Threads = None,
    partition: launchers.Partition = None,
    gpus: launchers.Gpus = None,
    time_: launchers.Time = None,
    sbatch: launchers.Sbatch = None,
    requeue: launchers.Requeue = None,
    json_: JsonFlag = False,
) -> None:
    """Check the config, then start a detached training. Or queue it; prints its id."""
    if follow and json_:
        raise typer.BadParameter("choose --follow or --json")
    if launcher is not None and launcher not in CHOICES["launcher"]:
        raise typer.BadParameter(f"{launcher!r} is no launcher: there are {', '.join(CHOICES['launcher'])}")
    place = place_of(context)
    workspace = place.workspace()
    settings = launchers.chosen(
        place.settings(launcher=launcher),
        processes=processes,
        gpu_ids=gpu_ids,
        precision=precision,
        machines=machines,
        machine_rank=machine_rank,
        main_ip=main_ip,
        main_port=main_port,
        dynamo=dynamo,
        threads=threads,
        partition=partition,
        gpus=gpus,
        time=time_,
        sbatch=sbatch,
        requeue=requeue,
    )
    wish = queueing.wish_of(
        workspace.runs,
        gpu=gpu,
        queue=queue,
        at=at,
        after=after,
        only_if_finished=only_if_finished,
        hold=hold,
        share=share,
    )
    queueing.refuse_follow(wish, follow)
    check_first(workspace, settings, name, gpu, wish, force=force, as_json=json_)
    recipe = {"from_lora": None if from_ is None else from_.absolute(), "dim_from_weights": dim_from_weights}
    note = None
    if from_ is not None:
        note = f"{printable(from_.name)} is trained further: optimizer and learning rate schedule begin anew."
    keywords = recipe | {"force": force}
    _begin(workspace, settings, name, keywords, gpu, wish, follow=follow, as_json=json_, note=note)


def check_first(
    workspace: Workspace,
    settings: Settings,
    name: str,
    gpu: str | None,
    wish: Wish | None,
    *,
    force: bool,
    as_json: bool,
) -> list[Problem]:
    """The preflight, told on stderr. Raises UserError when something keeps the training from starting."""
    from core.config.documents import open_config
    from core.config.preflight import refuses
    from core.runs.ready import check_start

    follow_checkout(settings)
    queued = wish is not None or settings.launcher == "slurm"
    problems = check_start(
        open_config(workspace, name), workspace, settings, gpu=None if queued else gpu, queued=queued
    )
    for line in problem_lines(problems):
        say(line)
    if not force and any(refuses(problem) for problem in problems):
        if as_json:
            emit({"run": None, "problems": [problem.as_json() for problem in problems]}, [], as_json=True)
        raise UserError(
            f"{name} is not started: the preflight found errors", "Mend them, or start all the same with --force."
        )
    return problems


def _begin(
    workspace: Workspace,
    settings: Settings,
    name: str,
    keywords: dict[str, Any],
    gpu: str | None,
    wish: Wish | None,
    *,
    follow: bool,
    as_json: bool,
    note: str | None = None,
    group: Mapping[str, Any] | None = None,
) -> None:
    from core.hardware import read_gpus
    from core.runs.model import RunState
    from core.runs.queue import begin
    from core.runs.specs import recipe_of
    from core.runs.store import observe

    recipe = recipe_of(name, settings, **keywords)
    run = begin(workspace, recipe, settings, read_gpus(), gpu=gpu, wish=wish, group=group)
    if note is not None:
        say(note)
    if run.state is RunState.QUEUED and run.spec.wait is not None:
        emit(queueing.queued_document(run), queueing.queued_lines(run), as_json=as_json)
        return
    document = {"run": run.id, "pid": run.status.pid, "state": str(run.status.state)}
    told = f"pid {run.status.pid}" if run.status.pid else printable(run.status.reason or "")
    emit(document, [f"{run.id}  {run.status.state}  {told}".rstrip()], as_json=as_json)
    if follow:
        from core.cli.following import follow as follow_log

        follow_log(run.dir, 10)
        run = observe(run.dir)
    if run.state is RunState.FAILED or (follow and run.state is not RunState.FINISHED):
        say(f"{run.id} is {run.state}: {printable(run.status.reason or 'no reason is known')}")
        raise typer.Exit(1)


def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="An id of `runs`, its beginning, or `last`.")] = "last",
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="The state folder, by name or path; else the newest whole one."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only list the states and where each leads.")] = False,
    launcher: Annotated[str | None, typer.Option(help="local, accelerate or slurm.", show_default=False)] = None,
    gpu: queueing.GpuOption = None,
    force: ForceFlag = False,
    follow: FollowFlag = False,
    queue: queueing.QueueFlag = False,
    at: queueing.AtOption = None,
    after: queueing.AfterOption = None,
    only_if_finished: queueing.IfFinishedFlag = False,
    hold: queueing.HoldFlag = False,
    share: queueing.ShareFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Go on from a saved state of a run, as a new run. Its epoch and step are computed."""
    from core.runs import resume as resuming
    from core.runs.launchers import as_before
    from core.runs.store import open_run

    if follow and json_:
        raise typer.BadParameter("choose --follow or --json")
    place = place_of(context)
    workspace = place.workspace()
    found = open_run(workspace.runs, run)
    options, is_todays = resuming.options_of(found, workspace.configs)
    if list_:
        _list_states(found, resuming.points(found, options), as_json=json_)
        return
    point = resuming.choose(found, options, state)
    if changed := resuming.check_changes(found, options) if is_todays else None:
        say(printable(changed))
    settings = as_before(found.spec, place.settings(launcher=launcher), launcher)
    wish = queueing.wish_of(
        workspace.runs,
        gpu=gpu,
        queue=queue,
        at=at,
        after=after,
        only_if_finished=only_if_finished,
        hold=hold,
        share=share,
    )
    queueing.refuse_follow(wish, follow)
    if is_todays and found.spec.config is not None:
        check_first(workspace, settings, found.spec.config, gpu, wish, force=force, as_json=json_)
    note = f"{printable(found.id)}: {printable(point.state.name)} {point.sentence()}"
    keywords = resuming.keywords(found, point, is_todays) | {"force": force}
    name = found.spec.config or found.spec.name
    _begin(
        workspace,
        settings,
        name,
        keywords,
        gpu,
        wish,
        follow=follow,
        as_json=json_,
        note=note,
        group=found.spec.group,
    )


def _list_states(run: Run, points: list[Any], *, as_json: bool) -> None:
    import time

    now = time.time()
    rows = [("state", "saved", "")]
    rows += [
        (printable(point.state.name), human_age(max(0.0, now - point.state.mtime)), point.sentence())
        for point in points
    ]
    lines = (
        table(rows) if points else [f"{printable(run.id)} saved no state: save_state = true in the config keeps them"]
    )
    emit({"run": run.id, "states": [point.as_json() for point in points]}, folded(lines), as_json=as_json)
