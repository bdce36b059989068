"""`setup`, `doctor` and `gpu`: the machine."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import clipped, emit, emit_line, folded, put, say, table, with_place
from core.text import human_bytes, human_gib, printable

if TYPE_CHECKING:
    from core.hardware import GpuProcess, GpuReading, HostSnapshot


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
    """Fetch sd-scripts and make its environment. Every command is shown, and run after a yes."""
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


def gpu(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="A reading a second, until Ctrl-C.")] = False,
    json_: JsonFlag = False,
) -> None:
    """One reading of the GPUs and the host."""
    from core.hardware import read_gpus, read_host

    workspace = place_of(context).workspace_or_none()
    folder = workspace.root if workspace else Path.cwd()
    read_host(folder)  # the CPU's load is what happened since the reading before
    if not watch:
        time.sleep(0.2)
        reading, host = read_gpus(), read_host(folder)
        emit(_reading_json(reading, host), _reading_lines(reading, host), as_json=json_)
        return
    drawn = 0
    while True:
        reading, host = read_gpus(), read_host(folder)
        if json_:
            emit_line(_reading_json(reading, host) | {"time": time.time()})
        else:
            lines = _reading_lines(reading, host)
            if sys.stdout.isatty():
                width = shutil.get_terminal_size().columns
                back = f"\x1b[{drawn}A" if drawn else ""
                put(back + "\n".join(f"\x1b[2K{clipped(line, width - 1)}" for line in lines) + "\x1b[J")
                drawn = len(lines)
            else:
                for line in (*lines, ""):
                    put(line)
        time.sleep(1)


def _reading_json(reading: GpuReading, host: HostSnapshot) -> dict[str, Any]:
    return {
        "gpus": [asdict(one) for one in reading.gpus],
        "host": asdict(host),
        "driver": reading.driver,
        "cuda": reading.cuda,
        "message": reading.message,
        "stale": reading.stale,
    }


def _of(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.0f} {unit}"


def _memory(used: int | None, total: int | None) -> str:
    return "–" if used is None or total is None else f"{human_gib(used)}/{human_gib(total)}"


def _users(processes: Iterable[GpuProcess]) -> str:
    return ", ".join(
        f"{each.pid} {printable(each.name or '?')}" + (f" {human_gib(each.memory)}G" if each.memory is not None else "")
        for each in processes
    )


def _reading_lines(reading: GpuReading, host: HostSnapshot) -> list[str]:
    rows = [("GPU", "name", "util", "VRAM GiB", "temp", "power", "MHz", "processes")]
    notes = []
    for one in reading.gpus:
        name = printable(one.name or "unreadable")
        facts = (_of(one.utilization, "%"), _memory(one.memory_used, one.memory_total), _of(one.temperature, "°C"))
        clock = "–" if one.clock is None else f"{one.clock}"
        rows.append((str(one.index), name, *facts, _of(one.power, "W"), clock, _users(one.processes)))
        for part in one.instances:
            memory = _memory(part.memory_used, part.memory_total)
            rows.append(
                (
                    f"{one.index}:{part.index}",
                    f"MIG {printable(part.profile)}",
                    "",
                    memory,
                    "",
                    "",
                    "",
                    _users(part.processes),
                )
            )
        if one.throttle:
            notes.append(f"GPU {one.index} runs slower than it could: {', '.join(one.throttle)}")
    lines = table(rows, frozenset({2, 3, 4, 5, 6})) if reading.gpus else [reading.message or "no NVIDIA GPU"]
    if reading.gpus and reading.message:
        lines.append(reading.message)
    cpu = "–" if host.cpu_percent is None else f"{host.cpu_percent:.0f} %"
    free = "–" if host.disk_free is None else human_bytes(host.disk_free)
    return [
        *lines,
        *notes,
        f"host  CPU {cpu}  memory {_memory(host.memory_used, host.memory_total)} GiB  disk {free} free",
    ]
