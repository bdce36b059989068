"""The questions of the Config screen: a new config, a guide, one option of all, the start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Input

from core.problems import UserError
from core.text import human_bytes, printable
from tui.screens.config_form import ranked
from tui.screens.config_parts import wrapped
from tui.screens.dialogs import Ask, Choose, Dialog
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut
from tui.widgets.path_input import Paths

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from tui.app import KohyaApp

OTHER = "\0other"
NO_BASE = (
    "models/ has no base model yet. Copy or link one there, or fetch one in a shell:\n"
    "  kohya-tui models base            lists the usual ones\n"
    "  kohya-tui models base download REPO FILE"
)


class Entries:
    """Options and their help in two columns, cut where the line ends; those that are set stand out."""

    def __init__(self, entries: Sequence[tuple[str, str, bool]], room: int) -> None:
        self._entries, self._room = entries, room

    def __len__(self) -> int:
        return len(self._entries)

    def cells(self, index: int, width: int) -> Cells:
        name, about, is_set = self._entries[index]
        mark, role = ("•", "text bold") if is_set else (" ", "text")
        return cut([(mark, "accent"), (f"{printable(name):<{self._room}}", role), (printable(about), "muted")], width)


class Find(Dialog[str]):
    """Type a name or a word; the list below narrows; Enter takes the one under the cursor."""

    BINDINGS = [
        Binding("down", "move(1)", "down", show=False, id="list.down", priority=True),
        Binding("up", "move(-1)", "up", show=False, id="list.up", priority=True),
    ]

    def __init__(self, title: str, entries: Sequence[tuple[str, str, bool]], empty: str) -> None:
        super().__init__(title, "↑ ↓ choose   ⏎ edit it   Esc back     • set in this config")
        self._entries, self._empty = entries, empty
        self._shown = ranked(entries, "")
        self._room = max((len(name) for name, _, _ in entries), default=0) + 2

    def compose_dialog(self) -> Iterable[Widget]:
        yield Input(placeholder="name or word", id="answer")
        rows = ItemList(self._rows(), id="options", on="surface", empty=self._empty)
        rows.can_focus = False
        yield rows
        lines = Lines(on="surface", id="explained")
        lines.styles.height = 2
        lines.styles.margin = (1, 0, 0, 0)
        yield lines

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        # The height stays while the list narrows: nothing jumps under the eyes.
        self.query_one(ItemList).styles.height = max(4, min(len(self._entries), self.app.size.height - 14, 20))
        self.query_one("#dialog").styles.width = min(100, self.app.size.width - 4)
        self.call_after_refresh(self._explain)

    def _rows(self) -> Entries:
        return Entries(self._shown, self._room)

    @on(ItemList.Moved)
    def _explain(self) -> None:
        lines = self.query_one(Lines)
        at = self.query_one(ItemList).cursor
        text = printable(self._shown[at][1]) if 0 <= at < len(self._shown) else ""
        lines.show(wrapped([[(f" {text}", "muted")]], lines.size.width or 70)[:2])

    @on(Input.Changed)
    def _narrow(self, event: Input.Changed) -> None:
        self._shown = ranked(self._entries, event.value)
        self.query_one(ItemList).set_rows(self._rows(), 0)

    def action_move(self, by: int) -> None:
        rows = self.query_one(ItemList)
        rows.move(rows.cursor + by)

    @on(Input.Submitted)
    def _taken(self) -> None:
        at = self.query_one(ItemList).cursor
        if 0 <= at < len(self._shown):
            self.dismiss(self._shown[at][0])


class Text(Dialog[None]):
    """Lines to read."""

    def __init__(self, title: str, lines: Sequence[Cells], empty: str = "nothing") -> None:
        super().__init__(title, "↑ ↓ scroll   Esc back")
        self._lines, self._empty = lines, empty

    def compose_dialog(self) -> Iterable[Widget]:
        yield ItemList(id="options", on="surface", empty=self._empty)

    def on_mount(self) -> None:
        rows = self.query_one(ItemList)
        rows.focus()
        self.query_one("#dialog").styles.width = min(110, self.app.size.width - 4)
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        rows = self.query_one(ItemList)
        lines = wrapped(self._lines, rows.size.width - 1)  # the bar's
        rows.styles.height = max(1, min(len(lines), self.room))
        rows.set_rows(Texts(lines))


async def choose_option(app: KohyaApp, config: Config) -> str | None:
    """Any option of the trainer, by name or word."""
    from tui.screens.config_form import search

    empty = "No option has that in its name or description."
    return await app.push_screen_wait(Find("Find an option", search(config), empty))


async def choose_value(app: KohyaApp, config: Config, key: str) -> str | None:
    """One of an option's values, as text; for files of the workspace, one of those that are there or a path."""
    from tui.screens.config_choices import choose_open
    from tui.screens.config_form import OPEN_CHOICES, bare, display, options

    now, name = config.get(config.home(key), key), bare(key)
    if name == "pretrained_model_name_or_path":
        return await choose_base(app, str(now or ""))
    if name == "image_dir":
        return await choose_folder(app, str(now or ""))
    if name in OPEN_CHOICES:
        return await choose_open(app, config, name)
    option = options(config)[name]
    values = [(str(value), display(value), "default" if value == option.default else "") for value in option.choices]
    return await app.push_screen_wait(
        Choose(name, values, option.help, chosen=str(option.default if now is None else now))
    )


async def choose_base(app: KohyaApp, now: str) -> str | None:
    """A base checkpoint: those found in models/, with what their headers say, or a path that is typed."""
    from core.config.base_models import SCRIPTS, list_models

    workspace = app.workspace
    assert workspace is not None
    models = [
        model
        for model in await asyncio.to_thread(list_models, workspace, app.settings)
        if model.architecture in SCRIPTS or model.architecture is None
    ]
    entries = []
    for model in models:
        facts = [model.problem or model.architecture, model.prediction, model.precision, human_bytes(model.bytes)]
        path = workspace.key_of(model.path)
        entries.append((path, printable(path.removeprefix("models/")), " · ".join(fact for fact in facts if fact)))
    label = "Path of a .safetensors or .ckpt file, or of a diffusers folder"
    if entries:
        entries.append((OTHER, "another path…", ""))
        found: str | None = await app.push_screen_wait(Choose("Base model", entries, chosen=now))
        if found != OTHER:
            return found
    else:
        label = f"{NO_BASE}\n\nOr the path of one that you have:"

    def wrong(text: str) -> str | None:
        path = workspace.root / Path(text.strip()).expanduser()
        return None if path.exists() else f"There is no {path}"

    paths = Paths(workspace.root, (".safetensors", ".ckpt"))
    return await app.push_screen_wait(Ask("Base model", label, now, check=wrong, paths=paths))


async def choose_folder(app: KohyaApp, now: str) -> str | None:
    """A folder of images: those of the datasets, or a path that is typed."""
    from core.dataset.scan import dataset_dir, subsets

    workspace = app.workspace
    assert workspace is not None

    def listed() -> list[tuple[str, str, str]]:
        found = [part for name in workspace.dataset_names() for part in subsets(dataset_dir(workspace, name))]
        keys = [(workspace.key_of(part.path), part) for part in found]
        return [(key, printable(key), f"{part.repeats} repeats by its name") for key, part in keys]

    entries = await asyncio.to_thread(listed)
    if entries:
        chosen: str | None = await app.push_screen_wait(
            Choose("Folder of images", [*entries, (OTHER, "another path…", "")], chosen=now)
        )
        if chosen != OTHER:
            return chosen
    label = "Path of the folder that holds the images"
    return await app.push_screen_wait(Ask("Folder of images", label, now, paths=Paths(workspace.root, ())))


async def ask_whose(app: KohyaApp, config: Config, mine: Mapping[FileName, str]) -> str | None:
    """Another program changed what is changed here too: "mine" or "theirs"; None leaves it open."""
    names = ", ".join(config.path(file).name for file in mine)
    choices = [
        ("mine", "Keep mine", "saved over the other, which u brings back"),
        ("theirs", "Take the other", "mine goes into the history: U brings it back"),
        ("look", "Show the difference", ""),
    ]
    title = f"{printable(config.name)}: {names} was changed by another program"
    while True:
        found: str | None = await app.push_screen_wait(Choose(title, choices, "You have unsaved changes there, too."))
        if found != "look":
            return found
        await app.push_screen_wait(Text("The other (-) and mine (+)", _difference(config, mine), "The same."))


async def ask_name(app: KohyaApp, title: str, base: str) -> str | None:
    """A name that no config has yet; `base`, or `base-2` and so on, is offered."""
    from core.config.presets import check_name, free_name

    assert app.workspace is not None
    taken = set(app.workspace.config_names())

    def wrong(name: str) -> str | None:
        try:
            check_name(name)
        except UserError as error:
            return error.message
        return f"{name} is there already" if name in taken else None

    free = free_name(app.workspace, base)
    name: str | None = await app.push_screen_wait(Ask(title, "The name of the config", free, check=wrong))
    return name


def _difference(config: Config, mine: Mapping[FileName, str]) -> list[Cells]:
    """From the files on disk to `mine`."""
    import difflib

    lines: list[Cells] = []
    for file, text in mine.items():
        path = config.path(file)
        old = path.read_bytes().decode("utf-8-sig", "replace") if path.exists() else ""
        for row in difflib.unified_diff(old.splitlines(), text.splitlines(), path.name, path.name, lineterm=""):
            role = {"+": "good", "-": "bad", "@": "second"}.get(row[:1], "muted")
            lines.append([(f" {printable(row)}", "muted" if row.startswith(("+++", "---")) else role)])
    return lines
