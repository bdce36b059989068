"""A short table over a form: the rows of a list, and the fields of the row under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from textual import getters, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message

from tui.theme import Cells
from tui.widgets.form import Field, Form
from tui.widgets.item_list import ItemList, Rows
from tui.widgets.line import Lines

Wish = Literal["add", "remove", "copy", "down", "up"]
LEAST = 3
"""Rows of the table that are always in sight."""


class SheetRows(ItemList):
    """The table; what its keys want is done by the owner."""

    BINDINGS: ClassVar = [
        Binding("a", "want('add')", "add", id="sheet.add", tooltip="Add a row"),
        Binding("x", "want('remove')", "remove", id="edit.remove", tooltip="Remove the row"),
        Binding(
            "quotation_mark", "want('copy')", "same again", id="sheet.same", key_display='"', tooltip="Copy the row"
        ),
        Binding("J", "want('down')", "move down", show=False, id="sheet.move-down", tooltip="Move the row down"),
        Binding("K", "want('up')", "move up", show=False, id="sheet.move-up", tooltip="Move the row up"),
    ]

    class Wanted(Message):
        """The user wants something done to the row under the cursor (-1: there is none)."""

        def __init__(self, wish: Wish, index: int) -> None:
            super().__init__()
            self.wish, self.index = wish, index

    def action_want(self, wish: Wish) -> None:
        self.post_message(self.Wanted(wish, self.cursor))


class Sheet(Vertical):
    """`show` sets the table, `show_fields` the form below it; Enter goes into the form, Esc comes back."""

    DEFAULT_CSS = """
    Sheet { height: 1fr; }
    Sheet > .sheet-head { height: 1; }
    Sheet > SheetRows { height: 3; }
    Sheet > .sheet-rule { height: 1; margin-top: 1; }
    Sheet > Form { height: 1fr; }
    """
    table = getters.query_one(SheetRows)
    form = getters.query_one(Form)

    def __init__(
        self, *, label_width: int = 18, empty: str = "", on: str = "background", id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._label_width, self._empty, self._on = label_width, empty, on
        self._head: Callable[[int], str] = lambda width: ""

    def compose(self) -> ComposeResult:
        yield Lines(on=self._on, classes="sheet-head")
        yield SheetRows(empty=self._empty, on=self._on)
        yield Lines(on=self._on, classes="sheet-rule")
        yield Form(label_width=self._label_width, value_width=10, on=self._on)

    @property
    def is_composed(self) -> bool:
        """Whether its parts are there: only then can it show anything."""
        return bool(self.query(Form)) and self.form.is_composed

    def show(self, head: Callable[[int], str], rows: Rows, at: int) -> None:
        """The table; `head` names its columns for a width. The cursor goes to row `at`."""
        self._head = head
        self._show_head()
        self._fit(len(rows))
        self.table.set_rows(rows, at)

    def _fit(self, count: int) -> None:
        """The table is as high as its rows, up to half of the sheet."""
        half = max(LEAST, self.size.height // 2 - 2)
        height, now = min(max(count, 1), half), self.table.styles.height
        if now is None or now.value != height:
            self.table.styles.height = height

    def on_resize(self) -> None:
        self._fit(len(self.table.rows))
        self.call_after_refresh(self._show_head)

    def _show_head(self) -> None:
        width = self.table.scrollable_content_region.width
        if width:
            self.query_one(".sheet-head", Lines).show([[(self._head(width), "muted")]])
        elif self.display:  # just shown again: its place comes with the layout, and no resize when its size is the same
            self.call_after_refresh(self._show_head)

    def show_fields(self, title: Cells, fields: Sequence[Field]) -> None:
        """The form of the row under the cursor, below `title`."""
        self.query_one(".sheet-rule", Lines).show([title])
        self.form.show(fields)

    @on(ItemList.Opened)
    def _opened(self, event: ItemList.Opened) -> None:
        event.stop()
        if event.list is self.table and self.form.fields:
            self.form.rows.focus()

    def step_back(self) -> bool:
        """From the form to the table; False when the table has the focus already."""
        if self.table.has_focus:
            return False
        self.table.focus()
        return True
