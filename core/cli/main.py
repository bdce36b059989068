"""The command line: every command, the exit status and the messages of what went wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from core.cli.output import acts_in, problem_lines, put, say
from core.cli.pages import Command, Group
from core.problems import Problem, UserError
from core.settings import Settings, load
from core.text import printable
from core.workspace import Workspace, open_workspace

PROGRAM = "kohya-tui"
ORDER = (
    *("demo", "init", "setup", "doctor"),
    *("import", "find", "edit", "review", "tag", "models", "trigger", "upright", "tags"),
    *("move", "trash", "repeats", "resize", "buckets", "duplicates"),
    *("undo", "redo", "history"),
    *(
        "check",
        "fix",
        "config",
        "plan",
        "train",
        "resume",
        "sweep",
        "queue",
        "runs",
        "status",
        "log",
        "stop",
        "metrics",
        "checkpoints",
        "lora",
        "notify",
    ),
    *("help", "gpu"),
)
"""One line a panel of `--help`."""


class WrongUsage(UserError):
    """Words that no command understands: exit status 2, where every other UserError is 1."""


class Interrupted(BaseException):
    """SIGTERM or SIGHUP came; like KeyboardInterrupt it passes through everything that only handles errors."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _InOrder(Group):
    def list_commands(self, ctx: Any) -> list[str]:
        return [*(name for name in ORDER if name in self.commands), *(set(self.commands) - set(ORDER))]


app = typer.Typer(
    name=PROGRAM,
    cls=_InOrder,
    help="Train character LoRAs with kohya-ss/sd-scripts. Without a command the app opens (--theme, --images).",
    epilog=f"{PROGRAM} COMMAND --help says more of a command, {PROGRAM} help of everything.",
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
    told: set[Problem] = field(default_factory=set, compare=False)
    """What was said about the settings: once a command."""

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

    def settings(self, *, tell: bool = True, **flags: Any) -> Settings:
        """The settings in force here, `flags` over all; with `tell` what is wrong with them goes to stderr, once."""
        workspace = self.workspace_or_none()
        settings = load(workspace.root if workspace else None, flags=flags)
        fresh = [problem for problem in settings.problems if problem not in self.told] if tell else []
        self.told.update(fresh)
        for line in problem_lines(fresh):
            say(line)
        return settings


def place_of(context: typer.Context) -> Place:
    """The Place that the main callback stored."""
    return cast(Place, context.obj)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        put(f"kohya-tui {version('kohya-tui')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "-C",
            "--workspace",
            metavar="FOLDER",
            help="The workspace to act in; else the nearest one upwards.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = _acting_in(workspace)
    if context.invoked_subcommand is None:
        put(context.get_help())


def _register() -> None:
    """Load the groups, once a process."""
    if app.registered_commands:
        return
    from core.cli import (
        config,
        dataset,
        edit,
        files,
        find,
        fixing,
        journal,
        machine,
        models,
        notify,
        pictures,
        queue,
        runs,
        sweeps,
        tagging,
        tags,
        training,
        workspace,
    )

    for group in (
        workspace,
        machine,
        dataset,
        find,
        edit,
        tagging,
        models,
        tags,
        files,
        pictures,
        journal,
        config,
        fixing,
        training,
        sweeps,
        queue,
        runs,
        notify,
    ):
        group.register(app)
    _take_pages(app)


def _take_pages(group: typer.Typer) -> None:
    """Every command below `group` prints its help as `core.cli.pages` has it."""
    for command in group.registered_commands:
        command.cls = Command
    for below in group.registered_groups:
        if below.typer_instance is not None:
            below.typer_instance.info.cls = Group
            _take_pages(below.typer_instance)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 errors or partly done, 2 wrong usage, 128 + n a signal."""
    acts_in(None)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `kohya-tui runs >&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 (for the life of the process)
    try:
        with _signals():
            words = sys.argv[1:] if arguments is None else list(arguments)
            code = _tag(words)
            if code is None:
                _register()
                code = app(args=words, prog_name=PROGRAM, standalone_mode=False)
    except Interrupted as stop:
        return 128 + stop.number
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except UserError as error:
        say(f"{PROGRAM}: {printable(error.message, newlines=True)}")
        if error.hint:
            say(f"  {printable(error.hint, newlines=True)}")
        return 2 if isinstance(error, WrongUsage) else 1
    except BrokenPipeError:  # the reader went away: `kohya-tui runs | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # typer's complaints share no class over its versions; all else is a bug
        if hasattr(error, "format_message"):
            return _wrong_usage(error)
        from core.bugs import log_bug

        name = f"{type(error).__name__}: {printable(str(error))}"
        say(f"{PROGRAM}: something went wrong inside: {name}\n  The details are in {log_bug(error)}")
        return 1
    return code if isinstance(code, int) else 0


def _tag(words: Sequence[str]) -> int | None:
    """`[-C FOLDER] tag …`, whose words typer would only hand on: its types take 0.1 s to import. None for all else."""
    rest, folder = list(words), None
    while rest and (rest[0] == "--workspace" or rest[0].startswith(("-C", "--workspace="))):
        word = rest.pop(0)
        value = word.removeprefix("--workspace=") if word.startswith("--workspace=") else word.removeprefix("-C")
        if word in ("-C", "--workspace"):
            if not rest:
                return None
            value = rest.pop(0)
        folder = Path(value)
    if rest[:1] != ["tag"] or "_KOHYA_TUI_COMPLETE" in os.environ:
        return None
    from core.cli.tagging import tag_words

    try:
        tag_words(_acting_in(folder), rest[1:])
    except typer.Exit as left:
        return left.exit_code
    return 0


def _acting_in(folder: Path | None) -> Place:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("The current folder was deleted", "Go to another one: cd") from error
    acts_in(folder)
    return Place(folder)


def _wrong_usage(error: Any) -> int:
    """What typer raises about the words of the command line, in one line and where to look."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        say(error.format_message())
        return 2
    say(f"{PROGRAM}: {printable(error.format_message())}")
    say(f"  See: {context.command_path if context is not None else PROGRAM} --help")
    return int(getattr(error, "exit_code", 2))


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, unless the caller (nohup) ignores them."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _interrupted)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _interrupted(number: int, _frame: object) -> None:
    raise Interrupted(number)
