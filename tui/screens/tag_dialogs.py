"""The questions of the Tag screen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.widget import Widget

from core.problems import UserError
from core.text import printable
from tui.screens.dialogs import Ask, Choose, Dialog
from tui.screens.tag_form import NOTES, TITLES
from tui.screens.tag_models import OTHER
from tui.screens.tag_parts import NO_IMAGES, Known
from tui.screens.tag_values import CHOICES, value_of
from tui.theme import Cells
from tui.widgets.item_list import ItemList
from tui.widgets.line import cut
from tui.widgets.path_input import Paths

if TYPE_CHECKING:
    from core.tagging.options import TagRequest
    from core.tagging.plan import TagPlan
    from tui.app import KohyaApp


class _MarkRows:
    def __init__(self, options: Sequence[tuple[str, str, str]], marked: set[str]) -> None:
        self._options, self._marked = options, marked

    def __len__(self) -> int:
        return len(self._options)

    def cells(self, index: int, width: int) -> Cells:
        value, label, why = self._options[index]
        mark = "✱" if value in self._marked else " "
        room = min(max((len(printable(each)) for _, each, _ in self._options), default=8), max(12, width // 2)) + 2
        shown = printable(label)
        head: Cells = [
            (f" {mark} ", "accent"),
            (f"{shown if len(shown) < room else cut([(shown, '')], room - 1)[0][0]:<{room}}", "text"),
        ]
        return cut([*head, (printable(why), "muted")], width)


class Marks(Dialog[tuple[str, ...]]):
    """Any number of several: `options` are (value, label, explanation). Dismisses with the marked ones, in order."""

    def __init__(self, title: str, options: Sequence[tuple[str, str, str]], marked: Iterable[str]) -> None:
        super().__init__(title, "space mark   ⏎ take the marked ones   Esc back")
        self._options = options
        self._marked = set(marked)

    def compose_dialog(self) -> Iterable[Widget]:
        rows = ItemList(_MarkRows(self._options, self._marked), marking=True, id="options", on="surface")
        rows.styles.height = max(1, min(len(self._options), 14))
        yield rows

    def on_mount(self) -> None:
        self.query_one(ItemList).focus()

    @on(ItemList.Marked)
    def _mark(self, event: ItemList.Marked) -> None:
        values = {self._options[index][0] for index in event.indices}
        if event.on is not True and values <= self._marked:
            self._marked -= values
        else:
            self._marked |= values
        event.list.refresh()

    @on(ItemList.Opened)
    def _taken(self) -> None:
        self.dismiss(tuple(value for value, _, _ in self._options if value in self._marked))


async def choose_value(app: KohyaApp, request: TagRequest, key: str, known: Known) -> str | None:
    """One of a field's values; for the dataset also a folder that is typed."""
    if key == "target":
        options = [(name, printable(name), note) for name, note in known.datasets.items()]
        options.append((OTHER, "a folder …", "with images in it, also outside of the workspace"))
        now = request.target
    else:
        now = value_of(request, key)
        options = [(value, value, NOTES[key].get(value, "")) for value in CHOICES[key]]
    if key == "target" and not known.datasets:
        app.notify(NO_IMAGES)
    found: str | None = await app.push_screen_wait(Choose(TITLES[key], options, chosen=now))
    return await _folder(app) if found == OTHER else found


async def choose_marks(app: KohyaApp, request: TagRequest, key: str, known: Known) -> tuple[str, ...] | None:
    """Several models, or several sets of tags."""
    if key == "also":
        options = [
            (model.name, model.name, "on disk" if model.is_on_disk else "fetched first")
            for model in known.models
            if model.name != request.model
        ]
        marked: Iterable[str] = request.more_models
    else:
        from core.tagging.cleaning import SETS, own_sets

        own = await asyncio.to_thread(own_sets)
        options = [(name, name, each.note) for name, each in {**SETS, **own}.items()]
        marked = [name.strip() for name in request.caption.blacklist.split(",")]
    return await app.push_screen_wait(Marks(TITLES[key], options, marked))


async def ask_model(app: KohyaApp, now: str) -> str | None:
    """The name of a model that is not in the list."""

    def wrong(name: str) -> str | None:
        from core.tagging.models import find_model

        try:
            find_model(name, app.workspace, app.settings)
        except UserError as error:
            return str(error)
        return None

    label = "A repository with model.onnx and selected_tags.csv, or a folder that holds both"
    return await app.push_screen_wait(Ask("Model", label, now, check=wrong, paths=Paths(Path.cwd(), ())))


async def _folder(app: KohyaApp) -> str | None:
    def wrong(name: str) -> str | None:
        return None if Path(name).expanduser().is_dir() else f"There is no folder {name}"

    label = "A folder with images"
    found = await app.push_screen_wait(Ask("Folder", label, "", check=wrong, paths=Paths(Path.cwd(), ())))
    return None if found is None else str(Path(found).expanduser().absolute())


async def ask_overwrite(app: KohyaApp, request: TagRequest, plan: TagPlan) -> str | None:
    """What becomes of reviewed captions: a policy, None for no start at all."""
    are = "caption is" if plan.reviewed == 1 else "captions are"
    text = f"{plan.reviewed:,} reviewed {are} written anew, of {plan.captions:,} that are there."
    options = [
        ("overwrite", "Write them anew", "u takes the whole pass back"),
        ("only-untagged", "Tag only images without tags", "what has more than the trigger word is left alone"),
        ("no", "Do not start", ""),
    ]
    found: str | None = await app.push_screen_wait(Choose(f"Tag {printable(request.target)}", options, text))
    return None if found in {None, "no"} else found
