"""`fix`: the safe fixes that `check` offers, done to the config files."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.config_group import FILES, PANEL
from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import emit, folded, problem_lines
from core.problems import Problem, UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.settings import Settings
    from core.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fix", rich_help_panel=PANEL)(fix)


def fix(
    context: typer.Context,
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="CODE", help="Such as KT204; without one all that are safe.")
    ] = None,
    config: Annotated[str | None, typer.Option(metavar="NAME", help="This config; else every one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Apply the safe fixes that `check` offers. Undoable, a step for each config."""
    from core.config.documents import open_config
    from core.dataset.edits import Journal

    wanted = {code.upper() for code in codes or ()}
    if strange := sorted(code for code in wanted if not re.fullmatch(r"KT\d+", code)):
        raise WrongUsage(f"{strange[0]} is no code of a problem", "kohya-tui check prints them: KT204")
    place = place_of(context)
    workspace = place.workspace()
    settings = place.settings()
    names = [config] if config is not None else workspace.config_names()
    if not names:
        raise UserError(f"There is no config in {workspace.root}", "Make one: kohya-tui config new NAME")
    fixed: list[Problem] = []
    lines: list[str] = []
    changed: list[str] = []
    for name in names:
        opened = open_config(workspace, name)
        before = {file: opened.text(file) for file in FILES}
        here = _mended(opened, workspace, settings, wanted)
        fixed += here
        lines += problem_lines(here)
        files = [file for file in FILES if file in opened.changed]
        changed += [workspace.key_of(opened.path(file)) for file in files]
        if dry_run:
            for file in files:
                path = workspace.key_of(opened.path(file))
                old, new = before[file].splitlines(), opened.text(file).splitlines()
                lines += difflib.unified_diff(old, new, path, path, n=1, lineterm="")
        else:
            opened.save(Journal(workspace))
    verb = "would be fixed" if dry_run else "fixed; kohya-tui undo takes it back"
    summary = f"{count_of(len(fixed), 'problem')} {verb}" if fixed else "Nothing that can be fixed safely."
    document: dict[str, Any] = {"changed": changed, "fixed": [problem.as_json() for problem in fixed]}
    emit(document, folded([printable(line) for line in [*lines, summary]]), as_json=json_)


def _mended(config: Config, workspace: Workspace, settings: Settings, wanted: set[str]) -> list[Problem]:
    """Do to the config in memory what can be done; looked over anew after each fix, since one may end another."""
    from core.config.fixes import fix as mend
    from core.config.preflight import check

    done: list[Problem] = []
    tried: set[tuple[str, str]] = set()
    while True:
        open_ones = (
            problem
            for problem in check(config, workspace, settings)
            if problem.fixable and (not wanted or problem.code in wanted) and (problem.code, problem.where) not in tried
        )
        problem = next(open_ones, None)
        if problem is None:
            return done
        tried.add((problem.code, problem.where))
        if mend(config, workspace, problem):
            done.append(problem)
