"""`train`, `runs`, `status`, `log`, `stop`, `metrics` and `checkpoints`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.main import JsonFlag, Place, place_of
from core.cli.output import emit, emit_line, folded, put, say, table, with_place
from core.problems import UserError
from core.text import human_age, human_bytes, human_seconds, printable

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.watch import RunSnapshot

PANEL = "Config and training"
RIGHT = frozenset({3, 4, 5, 6, 7})
SPARE = (9, 8, 1, 6, 4, 5)
"""Columns that a narrow terminal can do without: what differs, age, kind, rate, epoch, loss."""
PHASES = {
    "starting": "starting",
    "dataset": "reading the images",
    "model": "loading the model",
    "caching": "caching latents",
    "caching-text": "caching text encoder outputs",
    "network": "making the network",
    "sampling": "sampling",
    "validating": "validating",
    "saving": "saving",
}
"""What a live training does while it does not step."""
RunArgument = Annotated[
    str, typer.Argument(metavar="[RUN]", help="An id of `runs`, its beginning, or `last`.", show_default=False)
]
TrainingArgument = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="An id of `runs`, or its beginning; else the newest training.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for name, command in (
        ("runs", runs),
        ("status", status),
        ("log", log),
        ("stop", stop),
        ("metrics", metrics),
        ("checkpoints", checkpoints),
    ):
        app.command(name, rich_help_panel=PANEL)(command)


def _folder(place: Place) -> Path:
    from core.runs.store import runs_dir

    return runs_dir(place.workspace_or_none())


def runs(context: typer.Context, json_: JsonFlag = False) -> None:
    """Every run, newest first."""
    from core.runs.differs import notes
    from core.runs.store import list_runs, unreadable
    from core.runs.watch import snapshot

    workspace = place_of(context).workspace_or_none()
    there = list_runs(workspace)
    found = [snapshot(run) for run in there]
    differs = notes(workspace, there, {}) if workspace is not None else {}
    heads = ("run", "kind", "state", "step", "epoch", "loss", "rate", "left", "age")
    told = any(differs.values())
    rows: list[tuple[str, ...]] = [(*heads, *(["differs"] if told else []))]
    now = time.time()
    for seen in found:
        note = [printable(differs.get(seen.run.id, ""))] if told else []
        rows.append((*_cells(seen), human_age(now - seen.run.spec.created), *note))
    lines = [with_place("No runs yet. Start one: kohya-tui train NAME")]
    if found:
        lines = table(rows, RIGHT, SPARE if told else SPARE[1:], 0)
    lines += folded(printable(f"{seen.run.id}: {seen.reason}") for seen in found[:5] if seen.reason)
    document = [{**seen.as_json(), "differs": differs.get(seen.run.id, "")} for seen in found]
    emit({"runs": document}, lines, as_json=json_)
    for error in unreadable(workspace, there):
        say(printable(f"{error.message}. {error.hint}"))


def _cells(seen: RunSnapshot) -> tuple[str, ...]:
    from core.runs.model import LIVE_STATES

    live = seen.run.status.state in LIVE_STATES
    state = str(seen.run.status.state)
    if seen.run.place is not None:
        state = f"{state} {'held' if seen.run.place.held else f'#{seen.run.place.position}'}"
    if live and seen.run.spec.kind == "train" and seen.phase in PHASES:
        state = f"{state}, {PHASES[seen.phase]}"
    step = "–"
    if seen.total_steps and (live or seen.step is not None):
        step = f"{seen.step or 0:,}/{seen.total_steps:,}"
    elif seen.step is not None:
        step = f"{seen.step:,}"
    epoch = f"{seen.epoch}/{seen.epochs}" if seen.epoch is not None and seen.epochs else "–"
    unit = "img/s" if seen.run.spec.kind == "tag" else "it/s"
    return (
        printable(seen.run.id),
        str(seen.run.spec.kind),
        state,
        step,
        epoch,
        f"{seen.loss:.4f}" if seen.loss is not None else "–",
        f"{seen.rate:.2f} {unit}" if seen.rate else "–",
        human_seconds(seen.eta_seconds) if seen.eta_seconds is not None else "–",
    )


def status(
    context: typer.Context,
    run: RunArgument = "last",
    watch: Annotated[bool, typer.Option("--watch", help="One line (or JSON document) a second until it ends.")] = False,
    line: Annotated[
        bool, typer.Option("--line", help="One short line for a status bar: what goes, how far, time left.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """One run: state, step, loss, rate, time left."""
    from core.runs.model import LIVE_STATES
    from core.runs.store import open_run
    from core.runs.watch import RunWatch, snapshot

    if line:
        if json_:
            raise typer.BadParameter("choose --line or --json")
        from core.cli.status_line import show

        show(_folder(place_of(context)), None if run == "last" else run, watch=watch)
        return
    found = open_run(_folder(place_of(context)), run)
    if not watch:
        seen = snapshot(found)
        rows = [("run", "kind", "state", "step", "epoch", "loss", "rate", "left"), _cells(seen)]
        lines = table(rows, RIGHT, SPARE[2:], 0)
        if seen.reason:
            lines += folded([printable(seen.reason)])
        emit({"runs": [seen.as_json()]}, lines, as_json=json_)
        return
    watcher = RunWatch(found.dir)
    while True:
        seen = watcher.poll()
        if json_:
            emit_line(seen.as_json())
        else:
            put("  ".join(_cells(seen)))
        if seen.run.status.state not in LIVE_STATES:
            return
        time.sleep(1)


def log(
    context: typer.Context,
    run: RunArgument = "last",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Stay and print what comes.")] = False,
    number: Annotated[int, typer.Option("-n", min=0, help="How many lines from the end.")] = 200,
) -> None:
    """The output of a run as lines. Carriage returns are resolved, control sequences removed."""
    from core.cli.following import follow as follow_log
    from core.cli.following import last_lines
    from core.runs.store import open_run

    found = open_run(_folder(place_of(context)), run)
    if follow:
        follow_log(found.dir, number)
        return
    for line in last_lines(found.log_file, number):
        put(line)


def stop(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="An id of `runs`, its beginning, or `last`; else the one that runs."),
    ] = None,
    after_checkpoint: Annotated[
        bool, typer.Option("--after-checkpoint", help="Wait until the next checkpoint is saved.")
    ] = False,
    now: Annotated[bool, typer.Option("--now", help="At once (the default); what is not saved is lost.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Stop a run. The whole process group, so that no GPU memory stays behind."""
    from core.runs.costs import stop_costs
    from core.runs.launch import stop as stop_run
    from core.runs.model import LIVE_STATES, WAITING_STATES
    from core.runs.store import list_runs, observe, open_run
    from core.runs.watch import snapshot

    if now and after_checkpoint:
        raise typer.BadParameter("choose --now or --after-checkpoint")
    folder = _folder(place_of(context))
    if run is None:
        going = [one for one in list_runs(folder) if one.status.state in LIVE_STATES]
        if len(going) != 1:
            names = ", ".join(one.id for one in going)
            raise UserError(
                f"{len(going)} runs are going: which one?" if going else f"Nothing runs in {folder}",
                f"Name it: {names}" if going else "See: kohya-tui runs",
            )
        run = going[0].id
    found = open_run(folder, run)
    if found.status.state not in LIVE_STATES | WAITING_STATES:
        raise UserError(f"{found.id} is not running: it is {found.status.state}", "See: kohya-tui runs")
    costs = stop_costs(snapshot(found), time.time())
    stop_run(found, "stop-after-checkpoint" if after_checkpoint else "stop-now")
    deadline = time.monotonic() + 30
    active = LIVE_STATES | WAITING_STATES
    while not after_checkpoint and observe(found.dir).status.state in active and time.monotonic() < deadline:
        time.sleep(0.1)
    seen = observe(found.dir)
    text = f"{seen.status.state}: {costs.now}"
    if after_checkpoint:
        text = f"stops after the next checkpoint: {costs.wait}" if costs.wait else "stops after the next checkpoint"
    seconds = costs.wait_seconds if after_checkpoint else costs.lost_seconds
    document = {
        "run": seen.id,
        "state": str(seen.status.state),
        "wait_seconds" if after_checkpoint else "lost_seconds": None if seconds is None else round(seconds, 1),
    }
    emit(document, [f"{printable(seen.id)}  {text}"], as_json=json_)


def metrics(context: typer.Context, run: TrainingArgument = None, json_: JsonFlag = False) -> None:
    """Loss and learning rates as points. Null where a training diverged."""
    from core.runs.watch import whole

    seen = whole(_training(place_of(context), run))
    series = {
        tag: [[step, value if math.isfinite(value) else None] for step, value in points]
        for tag, points in seen.series.items()
    }
    rows = [("series", "points", "last")]
    rows += [
        (printable(tag), f"{len(points):,}", f"{points.last:.6g}") for tag, points in seen.series.items() if points
    ]
    lines = table(rows, frozenset({1, 2})) if len(rows) > 1 else ["no scalars yet"]
    emit({"series": series}, lines, as_json=json_)


def _training(place: Place, run: str | None) -> Run:
    """The run of that name, or the newest training."""
    from core.runs.model import RunKind
    from core.runs.store import list_runs, open_run

    folder = _folder(place)
    if run is None:
        newest = next((one for one in list_runs(folder) if one.spec.kind is RunKind.TRAIN), None)
        if newest is None:
            raise UserError(f"There is no training in {folder}", "Start one: kohya-tui train NAME")
        return newest
    return open_run(folder, run)


def checkpoints(context: typer.Context, run: TrainingArgument = None, json_: JsonFlag = False) -> None:
    """The saved files with epoch and step."""
    from core.runs.artifacts import checkpoints as find_checkpoints

    place = place_of(context)
    workspace = place.workspace_or_none()
    found = find_checkpoints(_training(place, run))
    rows = [("file", "epoch", "step", "size", "")]
    for one in found:
        rows.append(
            (
                printable(workspace.key_of(one.path) if workspace else str(one.path)),
                str(one.epoch) if one.epoch is not None else "–",
                str(one.step) if one.step is not None else "–",
                human_bytes(one.bytes),
                "" if one.complete else "incomplete",
            )
        )
    document = {
        "checkpoints": [
            {"path": str(one.path), "epoch": one.epoch, "step": one.step, "bytes": one.bytes, "complete": one.complete}
            for one in found
        ]
    }
    emit(document, table(rows, frozenset({1, 2, 3})) if found else ["no checkpoint yet"], as_json=json_)
