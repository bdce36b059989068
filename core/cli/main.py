"""The command line: every command, the exit status and the messages of what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from core.problems import UserError
from core.settings import Settings, load
from core.text import printable
from core.workspace import Workspace, open_workspace

app = typer.Typer(
    name="kohya-tui",
    help="Train character LoRAs with kohya-ss/sd-scripts. Without a command the app opens.",
    no_args_is_help=False,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command acts: the folder named by `-C`, if any."""

    folder: Path | None

    def workspace(self) -> Workspace:
        """The workspace; UserError when there is none."""
        return open_workspace(self.folder)

    def workspace_or_none(self) -> Workspace | None:
        """The workspace, or None outside any (`tag DIR` and `gpu` work there too)."""
        if self.folder is not None:
            return open_workspace(self.folder)
        try:
            return open_workspace(None)
        except UserError:
            return None

    def settings(self, **flags: Any) -> Settings:
        """The settings in force here, `flags` over all."""
        workspace = self.workspace_or_none()
        return load(workspace.root if workspace else None, flags=flags)


def place_of(context: typer.Context) -> Place:
    """The Place that the main callback stored."""
    return cast(Place, context.obj)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"kohya-tui {version('kohya-tui')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "-C", "--workspace", help="The workspace to act in; else the nearest one upwards.", show_default=False
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Place(workspace)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _register() -> None:
    """Load the groups in the order in which `--help` shows them (CLI.md)."""
    from core.cli import config, dataset, journal, machine, runs, tagging, workspace

    workspace.register(app)
    machine.register_setup(app)
    dataset.register(app)
    tagging.register(app)
    journal.register(app)
    config.register(app)
    runs.register(app)
    machine.register_readings(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 errors or partly done, 2 wrong usage, 128 + n a signal."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupted)
    _register()
    try:
        code = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except _Interrupted as stop:
        return 128 + stop.number
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except UserError as error:
        sys.stderr.write(f"kohya-tui: {printable(error.message, newlines=True)}\n")
        if error.hint:
            sys.stderr.write(f"  {printable(error.hint, newlines=True)}\n")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        shown = getattr(error, "show", None)  # what typer raises for wrong usage
        if shown is None:
            from core.bugs import log_bug

            name = f"{type(error).__name__}: {printable(str(error))}"
            sys.stderr.write(f"kohya-tui: something went wrong inside: {name}\n  The details are in {log_bug(error)}\n")
            return 1
        shown()
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number


def _interrupted(number: int, frame: object) -> None:
    raise _Interrupted(number)
