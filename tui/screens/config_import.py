"""Import on the Config screen: a guide, settings of another program, a script; what moved, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import Problem, Severity, UserError
from core.text import printable
from tui.screens.config_dialogs import Text, ask_name
from tui.screens.dialogs import Ask
from tui.theme import Cells
from tui.widgets.path_input import Paths

if TYPE_CHECKING:
    from core.config.guide import Guide
    from core.config.moves import Moved
    from tui.app import KohyaApp

TITLE = "Import settings"
_KINDS = {
    "guide": "a guide",
    "script": "a script",
    "kohya_ss": "settings of kohya_ss",
    "easy": "settings of LoRA Easy Training Scripts",
}
_MARKS = {Severity.ERROR: ("✗", "bad"), Severity.WARNING: ("!", "caution"), Severity.INFO: ("·", "muted")}


def _file_of(text: str) -> Path:
    """The file that was meant: a folder stands for the only file with settings in it."""
    from core.config.source import SUFFIXES

    path = Path(text).expanduser()
    inside = [each for each in path.iterdir() if each.suffix in SUFFIXES] if path.is_dir() else []
    return inside[0] if len(inside) == 1 else path


async def import_settings(app: KohyaApp) -> str | None:
    """A file becomes a config, whatever program it is from; says what moved. Returns the config's name."""
    from core.config.guide import convert
    from core.config.presets import write_config
    from core.config.source import SUFFIXES, read_source

    workspace = app.workspace
    assert workspace is not None
    near = (workspace.root,)

    def wrong(path: str) -> str | None:
        """A mistake keeps the dialog, with what was typed."""
        try:
            if path:
                read_source(_file_of(path), near=near)
        except UserError as error:
            return str(error)
        return None

    label = "Path of a guide, TOML, JSON of kohya_ss, or a script"
    path = await app.push_screen_wait(Ask(TITLE, label, check=wrong, paths=Paths(Path.cwd(), SUFFIXES)))
    if not path:
        return None
    guide = read_source(_file_of(path), near=near)
    answers = await _answers(app, guide)
    if answers is None:
        return None
    try:
        result = convert(guide, answers, None, workspace)
        if result.name in workspace.config_names():
            name = await ask_name(app, TITLE, result.name)
            if name is None:
                return None
            result = convert(guide, answers, name, workspace)
    except UserError as error:
        app.report(error)
        return None
    journal = app.journal
    made: list[object] = []
    app.writer.submit(
        lambda: write_config(workspace, result.name, result.train, result.dataset, result.prompts, journal),
        made.append,
        app.report,
    )
    await app.writer.drain()
    if not made:
        return None
    title = f"{result.name}, from {_KINDS[guide.kind]}: what moved, and why"
    await app.push_screen_wait(Text(title, told(result.moved, result.problems)))
    return str(result.name)


async def _answers(app: KohyaApp, guide: Guide) -> dict[str, str] | None:
    """What its placeholders stand for; None when the questions were left."""
    assert app.workspace is not None
    answers: dict[str, str] = {}
    for placeholder in guide.placeholders:
        value, folders = (app.active_dataset or ""), None
        if "/" in placeholder:
            value, folders = str(app.workspace.root), Paths(app.workspace.root, ())
        label = f"What stands for {placeholder}?"
        answer = await app.push_screen_wait(Ask(TITLE, label, value, paths=folders))
        if answer is None:
            return None
        answers[placeholder] = answer
    return answers


def told(moved: tuple[Moved, ...], problems: tuple[Problem, ...]) -> list[Cells]:
    """Problems first, then each move with its reason."""
    lines: list[Cells] = []
    for problem in problems:
        mark, role = _MARKS[problem.severity]
        text = printable(f"{problem.code} {problem.where}: {problem.message}")
        lines.append([(f" {mark} ", role), (text, "text")])
        if problem.hint:
            lines.append([(f"   {printable(problem.hint)}", "muted")])
    for move in moved:
        way = f"{move.from_} → {move.to}" if move.to else f"{move.from_}, left out"
        lines.append([(f" {printable(move.key)}", "text")])
        lines.append([(f"    {printable(way)}", "accent")])
        lines.append([(f"    {printable(move.why)}", "muted")])
    return lines
