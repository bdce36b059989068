"""`queue`: what waits for a GPU on this machine; and the options with which a run is queued."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, Place, WrongUsage, place_of
from core.cli.output import emit, folded, say, table, with_place
from core.problems import UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.queue import Wish

PANEL = "Config and training"
_QUEUE = "Queue"
queue_app = typer.Typer(help="What waits for a GPU, of all workspaces. Alone: the list.", no_args_is_help=False)


def _option(name: str, help_: str) -> Any:
    return typer.Option(name, help=help_, rich_help_panel=_QUEUE, show_default=False)


GpuOption = Annotated[
    str | None, typer.Option("--gpu", help="The GPU by index or UUID: 0; with --queue also any.", show_default=False)
]
QueueFlag = Annotated[bool, _option("--queue", "Wait for a free GPU, behind what waits already.")]
AtOption = Annotated[str | None, _option("--at", "Not before: 23:30, +2h, 2026-12-01 08:00.")]
AfterOption = Annotated[str | None, _option("--after", "When this run is over, however it ended.")]
IfFinishedFlag = Annotated[bool, _option("--only-if-finished", "With --after: not at all when that run failed.")]
HoldFlag = Annotated[bool, _option("--hold", "Hold it until: kohya-tui queue release.")]
ShareFlag = Annotated[bool, _option("--share", "Start although others use the GPU.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(queue_app, name="queue", rich_help_panel=PANEL)


def wish_of(
    folder: Path,
    *,
    gpu: str | None,
    queue: bool,
    at: str | None,
    after: str | None,
    only_if_finished: bool,
    hold: bool,
    share: bool,
) -> Wish | None:
    """How a run shall wait; None when it shall start now. `--at`, `--after` and `--hold` mean `--queue`.

    Raises UserError, WrongUsage.
    """
    from core.runs.queue import Wish, moment
    from core.runs.store import open_run

    if only_if_finished and after is None:
        raise WrongUsage("--only-if-finished needs --after RUN", "It says what happens when that run fails.")
    if not (queue or hold or at is not None or after is not None):
        if share or (gpu is not None and gpu.startswith("any")):
            raise WrongUsage("--share and --gpu any are for the queue", "Add --queue.")
        return None
    before = None if after is None else open_run(folder, after).dir
    when = None if at is None else moment(at)
    return Wish(gpu or "any", when, before, only_if_finished, share, hold)


def take_words(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """For a command that reads its words itself (`tag`): the rest of them, and the keywords of `wish_of`.

    Raises WrongUsage.
    """
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--queue", "--only-if-finished", "--hold", "--share"):
        parser.add_argument(name, action="store_true")
    for name in ("--at", "--after"):
        parser.add_argument(name)
    try:
        found, rest = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise WrongUsage(str(error), "For example: kohya-tui tag DATASET --queue --at 23:30") from error
    return rest, vars(found)


TAG_USAGE = """
queue:
  --queue               wait for a free GPU, behind what waits already
  --at TIME             not before: 23:30, +2h, 2026-12-01 08:00
  --after RUN           when this run is over (--only-if-finished: not at all when it failed)
  --hold                hold it until `kohya-tui queue release`
  --share               start although others use the GPU
"""


def queued_lines(run: Run) -> list[str]:
    """What is said of a run that was put into the queue."""
    from core.runs.queue import said

    if run.place is None:  # its turn came at once
        return [f"{printable(run.id)}  {run.state}"]
    return [f"{printable(run.id)}  queued  position {run.place.position}: {printable(said(run))}"]


def queued_document(run: Run) -> dict[str, Any]:
    """`run`, `pid`, `state` as `train` promises them, and the place."""
    place = run.place
    return {
        "run": run.id,
        "pid": run.status.pid,
        "state": str(run.state),
        "position": place.position if place is not None else None,
        "held": place.held if place is not None else None,
    }


@queue_app.callback(invoke_without_command=True)
def _alone(context: typer.Context, json_: JsonFlag = False) -> None:
    if context.invoked_subcommand is None:
        _list(json_)


@queue_app.command("list")
def list_(json_: JsonFlag = False) -> None:
    """Everything that waits, the first one first."""
    _list(json_)


def _list(as_json: bool) -> None:
    from core.runs.queue import abandoned, said, waiting

    found, now = waiting(), time.time()
    rows = [("#", "run", "kind", "workspace", "waits")]
    for run in found:
        number = str(run.place.position) if run.place is not None else "–"
        workspace = printable(Path(run.spec.workspace).name if run.spec.workspace else "–")
        rows.append((number, printable(run.id), str(run.spec.kind), workspace, printable(said(run, now))))
    lines = (
        table(rows, frozenset({0}), (2, 3), 1)
        if found
        else [with_place("Nothing waits. Queue a training: kohya-tui train NAME --queue")]
    )
    emit({"queue": [_document(run) for run in found]}, folded(lines), as_json=as_json)
    if lost := abandoned():
        what = count_of(len(lost), "run waits", "runs wait")
        say(f"{what} in vain, since a restart or a killed supervisor. To go on: kohya-tui queue release --all")


def _document(run: Run) -> dict[str, Any]:
    from core.runs.queue import said

    place = run.place
    return {
        "run": run.id,
        "name": run.spec.name,
        "kind": str(run.spec.kind),
        "workspace": run.spec.workspace,
        "path": str(run.dir),
        "state": str(run.state),
        "position": place.position if place is not None else None,
        "gpu": place.gpu if place is not None else None,
        "held": place.held if place is not None else None,
        "at": place.at if place is not None else None,
        "after": Path(place.after).name if place is not None and place.after else None,
        "only_if_finished": place.only_if_finished if place is not None else False,
        "share": place.share if place is not None else False,
        "nobody_waits": run.is_abandoned,
        "waits": said(run),
    }


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Its id (or beginning), name or position.")]


@queue_app.command()
def move(
    context: typer.Context,
    run: RunArgument,
    where: Annotated[str, typer.Argument(metavar="WHERE", help="A position, or up, down, first, last.")],
    json_: JsonFlag = False,
) -> None:
    """Put a run elsewhere in the order."""
    from core.runs import queue

    if where not in queue.MOVES and not (where.isdecimal() and int(where) > 0):
        raise WrongUsage(f"{where!r} is no place in the queue", "Say a position from 1, or up, down, first, last.")
    found = _found(context, run)
    position = queue.move(found, where if where in queue.MOVES else int(where))
    _told(found, json_, f"position {position}")


@queue_app.command()
def edit(
    context: typer.Context,
    run: RunArgument,
    gpu: GpuOption = None,
    at: Annotated[str | None, _option("--at", "Not before: 23:30, +2h, 2026-12-01 08:00; or now.")] = None,
    after: Annotated[str | None, _option("--after", "When this run is over; or none.")] = None,
    only_if_finished: Annotated[
        bool | None, _option("--only-if-finished/--however", "With --after: whether that run must finish.")
    ] = None,
    share: Annotated[bool | None, _option("--share/--no-share", "Start although others use the GPU.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Let a waiting run wait in another way."""
    from core.hardware import read_gpus
    from core.runs import queue
    from core.runs.store import observe, open_run, runs_dir

    said = {"gpu": gpu, "at": at, "after": after, "only_if_finished": only_if_finished, "share": share}
    changes: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if not changes:
        raise WrongUsage("What shall be another?", "For example: kohya-tui queue edit RUN --at 23:30")
    found = _found(context, run)
    if at is not None:
        changes["at"] = None if at == "now" else queue.moment(at)
    if after is not None:
        before = None if after == "none" else open_run(runs_dir(folder_of(place_of(context))), after)
        changes["after"] = before.dir if before is not None else None
    if only_if_finished and (after == "none" or (after is None and (found.place is None or found.place.after is None))):
        raise WrongUsage("--only-if-finished needs --after RUN", "It says what happens when that run fails.")
    queue.edit(found, changes, read_gpus())
    _told(found, json_, queue.said(observe(found.dir)))


@queue_app.command()
def hold(context: typer.Context, run: RunArgument, json_: JsonFlag = False) -> None:
    """Let others pass until it is released."""
    from core.runs import queue

    found = _found(context, run)
    queue.hold(found)
    _told(found, json_, "held")


@queue_app.command()
def release(
    context: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Its id, name or position.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything that waits in vain, or is held.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Let it wait for its turn again, also after a restart of the machine or when its supervisor was killed."""
    from core.runs import queue

    if (run is None) != all_:
        raise WrongUsage("Which one?", "Name a run, or say --all.")
    found = (
        [_found(context, run)]
        if run is not None
        else [one for one in queue.waiting() if one.is_abandoned or (one.place is not None and one.place.held)]
    )
    done = [queue.release(one) for one in found]
    if run is not None:
        _told(done[0], json_, "waits for its turn")
        return
    lines = [f"{printable(one.id)}  waits for its turn" for one in done] or ["Nothing is held."]
    emit({"released": [one.id for one in done]}, lines, as_json=json_)


@queue_app.command()
def now(context: typer.Context, run: RunArgument, json_: JsonFlag = False) -> None:
    """Start it at once, before its turn, although others use the GPU."""
    from core.runs import queue

    found = _found(context, run)
    queue.hurry(found)
    _told(found, json_, "starts now")


@queue_app.command()
def cancel(context: typer.Context, run: RunArgument, json_: JsonFlag = False) -> None:
    """Take it out of the queue; its folder stays in the list of runs as stopped."""
    from core.runs import queue
    from core.runs.model import ENDED_STATES
    from core.runs.store import observe

    found = _found(context, run)
    queue.cancel(found)
    deadline = time.monotonic() + 10
    while observe(found.dir).state not in ENDED_STATES and time.monotonic() < deadline:
        time.sleep(0.05)
    _told(found, json_, "taken out of the queue")


def _found(context: typer.Context, text: str) -> Run:
    from core.runs.queue import find
    from core.runs.store import runs_dir

    return find(runs_dir(folder_of(place_of(context))), text)


def folder_of(place: Place) -> Any:
    """The workspace of a command that also acts on others', or None."""
    return place.workspace_or_none()


def _told(run: Run, as_json: bool, text: str) -> None:
    from core.runs.store import observe

    seen = observe(run.dir)
    emit(queued_document(seen), [f"{printable(seen.id)}  {text}"], as_json=as_json)


def refuse_follow(wish: Wish | None, follow: bool) -> None:
    """A queued run is not followed. Raises UserError."""
    if follow and wish is not None:
        raise UserError("--follow waits for a run that starts now", "Leave it out, then: kohya-tui log -f RUN")
