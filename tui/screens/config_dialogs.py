"""The questions of the Config screen: a new config, a guide, one option of all, the start."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.binding import Binding
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from core.problems import Problem, Severity, UserError
from core.text import human_bytes, printable
from tui.screens.dialogs import Ask, Choose, Dialog
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.plan import Plan
    from tui.app import KohyaApp

OTHER = "\0other"


class Find(Dialog[str]):
    """Type a name or a word; the list below narrows; Enter takes the first."""

    BINDINGS = [
        Binding("down", "move(1)", "down", show=False, id="list.down", priority=True),
        Binding("up", "move(-1)", "up", show=False, id="list.up", priority=True),
    ]

    def __init__(self, title: str, entries: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(title)
        self._entries = entries
        self._shown: list[tuple[str, str, str]] = list(entries)

    def compose_dialog(self) -> Iterable[Widget]:
        yield Input(placeholder="name or word", id="answer")
        rows = ItemList(self._rows(), id="options", empty="no option has that in its name or description")
        rows.can_focus = False
        rows.styles.height = 12
        yield rows

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def _rows(self) -> Texts:
        rows: list[Cells] = [[(f" {name:<34}", "text"), (why, "muted")] for name, _, why in self._shown]
        return Texts(rows)

    @on(Input.Changed)
    def _narrow(self, event: Input.Changed) -> None:
        words = event.value.lower().split()
        found = [entry for entry in self._entries if all(word in f"{entry[0]} {entry[2]}".lower() for word in words)]
        self._shown = sorted(found, key=lambda entry: not (words and words[0] in entry[0]))
        self.query_one(ItemList).set_rows(self._rows(), 0)

    def action_move(self, by: int) -> None:
        rows = self.query_one(ItemList)
        rows.move(rows.cursor + by)

    @on(Input.Submitted)
    def _taken(self) -> None:
        at = self.query_one(ItemList).cursor
        self.dismiss(self._shown[at][0] if 0 <= at < len(self._shown) else None)


class Text(Dialog[None]):
    """Lines to read."""

    def __init__(self, title: str, lines: Sequence[Cells]) -> None:
        super().__init__(title, "Esc back")
        self._lines = lines

    def compose_dialog(self) -> Iterable[Widget]:
        rows = ItemList(Texts(list(self._lines)), id="options", empty="no difference")
        rows.styles.height = max(1, min(len(self._lines), 24))
        yield rows

    def on_mount(self) -> None:
        self.query_one(ItemList).focus()


class Start(Dialog[bool]):
    """The plan and what stands against it; asks once."""

    BINDINGS = [Binding("y,enter", "yes", "start", show=False, id="dialog.yes")]

    def __init__(self, name: str, lines: Sequence[Cells], *, possible: bool) -> None:
        super().__init__(
            f"Train {name}" if possible else f"{name} cannot be trained yet",
            "⏎ start   Esc back" if possible else "Esc back",
        )
        self._lines, self._possible = lines, possible

    def compose_dialog(self) -> Iterable[Widget]:
        text = "\n".join("".join(piece for piece, _ in cells) for cells in self._lines)
        yield Static(Content(text), id="text")

    def action_yes(self) -> None:
        if self._possible:
            self.dismiss(True)


async def choose_option(app: KohyaApp, config: Config) -> str | None:
    """Any option of the trainer, by name or word."""
    from tui.screens.config_form import search

    return await app.push_screen_wait(Find("Find an option", search(config)))


async def choose_value(app: KohyaApp, config: Config, key: str) -> str | None:
    """One of an option's values, as text; for the base model, one of models/ or a path."""
    from tui.screens.config_form import display, options

    if key == "pretrained_model_name_or_path":
        return await choose_base(app, str(config.get("train", key) or ""))
    option = options(config)[key]
    now = config.get(config.home(key), key)
    values = [(str(value), display(value), "default" if value == option.default else "") for value in option.choices]
    return await app.push_screen_wait(
        Choose(key, values, option.help, chosen=str(option.default if now is None else now))
    )


async def choose_base(app: KohyaApp, now: str) -> str | None:
    """A base checkpoint: those found in models/, with what their headers say, or a path that is typed."""
    from core.config.base_models import list_models

    workspace = app.workspace
    assert workspace is not None
    entries = []
    for model in list_models(workspace, app.settings):
        facts = [model.architecture, model.prediction, model.precision, human_bytes(model.bytes)]
        path = workspace.key_of(model.path)
        entries.append((path, printable(path.removeprefix("models/")), " · ".join(fact for fact in facts if fact)))
    entries.append((OTHER, "another path…", ""))
    if len(entries) > 1:
        found: str | None = await app.push_screen_wait(Choose("Base model", entries, chosen=now))
        if found != OTHER:
            return found
    return await app.push_screen_wait(Ask("Base model", "Path of a .safetensors or .ckpt file", now))


async def ask_new(app: KohyaApp) -> str | None:
    """A new config from a preset; returns its name when it was written."""
    from core.config.presets import PRESETS, check_name, create

    workspace = app.workspace
    assert workspace is not None
    is_demo = app.settings.trainer == "demo"
    presets = [
        (preset.name, preset.title, preset.description)
        for preset in PRESETS.values()
        if (preset.name == "demo") == is_demo
    ]
    preset = await app.push_screen_wait(Choose("New config: preset", presets)) if len(presets) > 1 else presets[0][0]
    if preset is None:
        return None
    names = workspace.dataset_names()
    dataset: str | None = names[0] if len(names) == 1 else None
    if len(names) > 1:
        dataset = await app.push_screen_wait(
            Choose("New config: dataset", [(name, printable(name), "") for name in names], chosen=app.active_dataset)
        )
        if dataset is None:
            return None

    def wrong(name: str) -> str | None:
        try:
            check_name(name)
        except UserError as error:
            return error.message
        return f"{name} is there already" if name in workspace.config_names() else None

    base = dataset or "lora"
    taken = set(workspace.config_names())
    numbered = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
    free = next(each for each in numbered if each not in taken)
    name = await app.push_screen_wait(Ask("New config", "Its name", free, check=wrong))
    if name is None:
        return None
    try:
        create(workspace, name, preset, dataset, journal=app.journal)
    except UserError as error:
        app.report(error)
        return None
    return name


async def import_guide(app: KohyaApp) -> str | None:
    """A guide becomes a config; says what moved. Returns the config's name."""
    from core.config.guide import convert, read_guide
    from core.config.presets import write_config

    workspace = app.workspace
    assert workspace is not None
    path = await app.push_screen_wait(Ask("Import a guide", "Path of a Markdown guide or a TOML file"))
    if not path:
        return None
    try:
        guide = read_guide(Path(path).expanduser().read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        app.report(UserError(f"Cannot read {path}: {error}", "Name a Markdown guide or a TOML file, in UTF-8."))
        return None
    except UserError as error:
        app.report(error)
        return None
    answers: dict[str, str] = {}
    for placeholder in guide.placeholders:
        value = str(workspace.root) if "/" in placeholder else (app.active_dataset or "")
        answer = await app.push_screen_wait(Ask("Import a guide", f"What stands for {placeholder}?", value))
        if answer is None:
            return None
        answers[placeholder] = answer
    try:
        result = convert(guide, answers, None, workspace)
        write_config(workspace, result.name, result.train, result.dataset, result.prompts, app.journal)
    except UserError as error:
        app.report(error)
        return None
    lines: list[Cells] = []
    for move in result.moved:
        lines.append(
            [(f" {printable(move.key)}  ", "text"), (f"{printable(move.from_)} → {printable(move.to)}", "accent")]
        )
        lines.append([(f"    {printable(move.why)}", "muted")])
    await app.push_screen_wait(Text(f"{result.name}: what moved, and why", lines))
    return str(result.name)


async def confirm_start(app: KohyaApp, name: str, plan: Plan | None, problems: Sequence[Problem]) -> bool:
    """Show the plan and ask once; with errors there is nothing to ask."""
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    warnings = [problem for problem in problems if problem.severity is Severity.WARNING]
    lines: list[Cells] = [[(text, "text")] for text in (plan.lines() if plan is not None else [])]
    for glyph, found in (("✗", errors), ("!", warnings)):
        for problem in found[:6]:
            lines.append([(f"{glyph} {printable(problem.message)}", "text")])
            if problem.hint and glyph == "✗":
                lines.append([(f"  {printable(problem.hint)}", "muted")])
    agreed: bool | None = await app.push_screen_wait(Start(name, lines, possible=not errors))
    return bool(agreed)


async def show_diff(app: KohyaApp, config: Config) -> None:
    """What saving would change, as a unified diff."""
    import difflib

    lines: list[Cells] = []
    for file in sorted(config.changed):
        path = config.path(file)
        old = path.read_text("utf-8", "replace") if path.exists() else ""
        for text in difflib.unified_diff(
            old.splitlines(), config.text(file).splitlines(), path.name, path.name, lineterm=""
        ):
            role = {"+": "good", "-": "bad", "@": "second"}.get(text[:1], "muted")
            lines.append([(f" {printable(text)}", role)])
    await app.push_screen_wait(Text("Changes that are not saved", lines))


def edit_outside(app: KohyaApp, path: Path) -> None:
    """Open `path` in $EDITOR, with the app out of the way."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "nano")
    with app.suspend():
        try:
            subprocess.run([*editor, str(path)], check=False)
        except OSError as error:
            app.report(UserError(f"Cannot start {editor[0]}: {error.strerror}", "Set EDITOR to your editor."))
