"""`setup`, `doctor` and `gpu`: the machine."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import emit, folded, put, say, table, with_place
from core.text import human_bytes, human_gib, printable


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("setup", rich_help_panel="Workspace")(setup)
    app.command("doctor", rich_help_panel="Workspace")(doctor)
    app.command("gpu", rich_help_panel="Help and machine")(gpu)


def setup(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="[sd-scripts]")] = "sd-scripts",
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Where sd-scripts is, or shall be.", show_default="WORKSPACE/sd-scripts"),
    ] = None,
    adopt: Annotated[Path | None, typer.Option(help="Use this checkout as it is.", show_default=False)] = None,
    python: Annotated[Path | None, typer.Option(help="The Python that has, or shall make, its environment.")] = None,
    repository: Annotated[str | None, typer.Option(help="Fetch from here (a mirror or a local clone).")] = None,
    index_url: Annotated[str | None, typer.Option(help="The package index for pip (a mirror).")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run the commands without asking.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Show, and after a yes run, the exact commands that fetch sd-scripts and make its environment."""
    from core import setup as room
    from core.hardware import read_gpus

    if what != "sd-scripts":
        raise WrongUsage(f"setup does not know {what!r}", "It sets up sd-scripts: kohya-tui setup")
    place = place_of(context)
    if adopt is not None:
        _adopt(adopt, python, json_)
        return
    workspace = place.workspace_or_none()
    target = (folder or (workspace.root if workspace else Path.cwd()) / "sd-scripts").expanduser().absolute()
    cuda = read_gpus().cuda
    steps = room.steps(
        target,
        cuda=cuda,
        repository=repository or room.REPOSITORY,
        index_url=index_url,
        python=str(python) if python else None,
    )
    say(f"CUDA of the driver: {cuda or 'no NVIDIA driver found (torch will still install)'}")
    lines = [f"{'✓ done  ' if step.done else '        '}{printable(step.shown)}" for step in steps]
    document: dict[str, Any] = {
        "steps": [{"label": step.label, "command": step.shown, "done": step.done} for step in steps]
    }
    todo = [step for step in steps if not step.done]
    # A checkout that came with the workspace is somebody's program: it is not used without a yes either.
    wants_yes = not yes and (bool(todo) or place.settings(tell=False).sd_scripts != target)
    if wants_yes and (json_ or not sys.stdin.isatty()):
        emit(document, lines, as_json=json_)
        say("Nothing was run; to run them: kohya-tui setup --yes")
        return
    for line in lines:
        say(line)
    question = "Run these commands now?" if todo else f"Train with what is in {printable(str(target))}?"
    if wants_yes and not typer.confirm(question, default=False, err=True):
        say("Nothing was run.")
        raise typer.Exit(1)
    for step in todo:
        say(f"→ {step.label}")
        for line in room.run(step):
            say(f"  {printable(line)}")
    room.adopt(target, target / "venv" / "bin" / "python")
    document["sd_scripts"] = str(target)
    emit(document, [f"sd-scripts is ready in {printable(str(target))}"], as_json=json_)


def _adopt(folder: Path, python: Path | None, as_json: bool) -> None:
    from core.setup import adopt

    found, its_python = adopt(folder, python)
    lines = [
        f"sd-scripts: {printable(str(found))}",
        f"Python: {printable(str(its_python or 'none found; name it with --python'))}",
        "Whether it can train: kohya-tui doctor",
    ]
    own = None if its_python is None else str(its_python)
    emit({"steps": [], "sd_scripts": str(found), "sd_python": own}, lines, as_json=as_json)


def doctor(context: typer.Context, json_: JsonFlag = False) -> None:
    """What is there and what is missing, each with its remedy."""
    from core.doctor import Check, checks

    place = place_of(context)
    found: list[Check] = []
    for check in checks(place.workspace_or_none(), place.settings(tell=False)):
        found.append(check)
        if not json_:
            mark = {True: "✓", False: "✗", None: "·"}[check.ok]
            head = f"{mark} {check.name:<15} "
            told = [f"{'':<18}{printable(check.message)}"]
            if check.hint:
                told.append(f"{'':<18}→ {with_place(printable(check.hint))}")
            first, *rest = folded(told)
            for line in (head + first[18:], *rest):
                put(line)
    if json_:
        emit({"checks": [check.as_json() for check in found]}, [], as_json=True)
    if any(check.ok is False for check in found):
        raise typer.Exit(1)


def gpu(context: typer.Context, json_: JsonFlag = False) -> None:
    """One reading of the GPUs and the host."""
    from core.hardware import read_gpus, read_host

    workspace = place_of(context).workspace_or_none()
    reading = read_gpus()
    folder = workspace.root if workspace else Path.cwd()
    read_host(folder)  # the CPU's load is what happened since the reading before
    time.sleep(0.2)
    host = read_host(folder)
    rows = [("GPU", "name", "util", "VRAM GiB", "temp", "power", "processes")]
    for one in reading.gpus:
        memory = "–"
        if one.memory_used is not None and one.memory_total is not None:
            memory = f"{human_gib(one.memory_used)}/{human_gib(one.memory_total)}"
        rows.append(
            (
                str(one.index),
                printable(one.name or "unreadable"),
                "–" if one.utilization is None else f"{one.utilization} %",
                memory,
                "–" if one.temperature is None else f"{one.temperature} °C",
                "–" if one.power is None else f"{one.power:.0f} W",
                ", ".join(str(process.pid) for process in one.processes),
            )
        )
    lines = table(rows, frozenset({2, 3, 4, 5})) if reading.gpus else [reading.message or "no NVIDIA GPU"]
    lines.append(
        f"host  CPU {host.cpu_percent or 0:.0f} %"
        f"  memory {human_gib(host.memory_used or 0)}/{human_gib(host.memory_total or 0)} GiB"
        f"  disk {human_bytes(host.disk_free or 0)} free"
    )
    document = {
        "gpus": [asdict(one) for one in reading.gpus],
        "host": asdict(host),
        "driver": reading.driver,
        "cuda": reading.cuda,
        "message": reading.message,
    }
    emit(document, lines, as_json=json_)
