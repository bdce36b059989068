"""The `config` group of commands, and what its commands have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from core.cli.main import Place, WrongUsage
from core.cli.output import emit, folded, problem_lines
from core.problems import Problem
from core.text import printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.config.moves import Moved

PANEL = "Config and training"
config_app = typer.Typer(help="The config files of a training. Alone: which there are.", no_args_is_help=False)
FILES: tuple[FileName, ...] = ("train", "dataset", "prompts")


def preflight_of(config: Config, workspace: Workspace, place: Place) -> list[Problem]:
    from core.config.preflight import check as preflight

    return preflight(config, workspace, place.settings())


def from_here(text: str, workspace: Workspace) -> str:
    """A path as the config wants it, relative to the workspace, from one that is relative to the current folder.

    What is not there, or is meant from the workspace already, stays as it was written.
    """
    written = Path(text).expanduser()
    if not text.strip() or (not written.is_absolute() and (workspace.root / written).exists()) or not written.exists():
        return text
    return workspace.key_of(written.parent.resolve() / written.name if written.name != ".." else written.resolve())


def assigned(assignments: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise WrongUsage(f"{assignment!r} is not KEY=VALUE", "For example: learning_rate=1e-4")
        pairs.append((key.strip(), value.strip()))
    return pairs


def written(
    workspace: Workspace,
    config: Config,
    changed: Sequence[FileName],
    moved: Sequence[Moved],
    problems: Sequence[Problem],
    as_json: bool,
) -> None:
    """What was written, what an import moved, and what the preflight thinks of it."""
    files = [workspace.key_of(config.path(file)) for file in changed]
    lines = [printable(file) for file in files] or ["nothing changed"]
    for move in moved:
        way = f"{move.from_} → {move.to}" if move.to else move.from_
        lines.append(f"· {printable(move.key)} ({printable(way)}): {printable(move.why)}")
    lines = folded([*lines, *problem_lines(problems)])
    document = {
        "files": files,
        "moved": [{"key": move.key, "from": move.from_, "to": move.to, "why": move.why} for move in moved],
        "problems": [problem.as_json() for problem in problems],
    }
    emit(document, lines, as_json=as_json)
