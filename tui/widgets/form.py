"""A form drawn line by line: label and value in columns, edited in place; nothing is mounted per field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.cells import cell_len
from textual import on
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message
from textual.suggester import Suggester, SuggestFromList
from textual.widgets import Input

from tui.theme import Cells, fit
from tui.widgets.item_list import ItemList
from tui.widgets.line import cut
from tui.widgets.path_input import PathInput, Paths
from tui.wiring import OurApp

Kind = Literal["text", "path", "choice", "flag", "group", "head", "blank"]
"""`group` is a heading that opens and folds: its `raw` is the mark before it, its value what is folded away."""

_TYPED = frozenset({"text", "path"})


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form. `raw` is what the input opens with; `value` is how it is shown."""

    key: str
    label: str
    value: Cells
    kind: Kind = "text"
    raw: str = ""
    note: str = ""
    """Muted, at the right of the value."""
    suggestions: tuple[str, ...] = ()
    problem: tuple[str, str, str] | None = None
    """Glyph, role and sentence of what is wrong with the value: it stands before the label and behind the value."""
    mark: tuple[str, str] | None = None
    """Glyph and role before the label of a field whose value is the user's own."""

    @property
    def editable(self) -> bool:
        return self.kind in _TYPED or self.kind in {"choice", "flag", "group"}

    @property
    def typed(self) -> bool:
        """Its value is typed in, not chosen."""
        return self.kind in _TYPED


class FieldRows:
    """The fields as rows of a list."""

    def __init__(self, fields: Sequence[Field], label_width: int, value_width: int = 0) -> None:
        self._value_width = value_width
        self.fields, self._label_width = fields, label_width  # a label that is too long keeps both its ends

    def __len__(self) -> int:
        return len(self.fields)

    def cells(self, index: int, width: int) -> Cells:
        field = self.fields[index]
        if field.kind == "blank":
            return []
        if field.kind == "head":
            return cut([(f" {field.label}", "text bold"), *field.value], width)
        label = fit(field.label, self._label_width, middle=True)
        if field.kind == "group":
            return cut([(field.raw, "accent"), (f"{label}  ", "text bold"), *field.value], width)
        name: Cells = [(f" {label}  ", "muted")] if field.mark is None else [field.mark, (f"{label}  ", "muted")]
        cells: Cells = [*name, *field.value]
        if field.note:
            length = sum(cell_len(text) for text, _ in field.value)
            gap = max(3, self._value_width - length)
            room = width - sum(cell_len(text) for text, _ in cells) - gap
            if room >= min(cell_len(field.note), 12):  # "f…" would say nothing, here and of a problem
                cells.append((" " * gap + field.note, "muted"))
        if field.problem is not None:
            glyph, role, sentence = field.problem
            cells[: len(name)] = [(glyph, role), (f"{label}  ", "text")]
            if width - sum(cell_len(text) for text, _ in cells) - 3 >= min(cell_len(sentence), 16):
                cells.append(("   " + sentence, role))
        return cut(cells, width)


class FieldList(ItemList):
    """Stops only at fields that can be edited."""

    BINDINGS: ClassVar = [
        Binding("enter", "open", "edit", id="list.open", key_display="⏎"),
        Binding("space", "open", "edit", show=False, id="list.mark"),
        Binding("left,h", "step(-1)", "less", show=False, id="list.left"),
        Binding("right,l", "step(1)", "more", show=False, id="list.right"),
    ]

    class Stepped(Message):
        """Left or right on a field: the next value of a choice, a little more or less of a number."""

        def __init__(self, index: int, by: int) -> None:
            super().__init__()
            self.index, self.by = index, by

    def move(self, index: int) -> None:
        rows = self.rows
        assert isinstance(rows, FieldRows)
        index = min(max(index, 0), len(rows) - 1)
        onward, back = range(index, len(rows)), range(index, -1, -1)
        order = (*onward, *back) if index >= self.cursor else (*back, *onward)
        found = next((each for each in order if rows.fields[each].editable), None)
        if found is None:
            return
        index = found
        super().move(index)
        first = index
        while first and not rows.fields[first - 1].editable:
            first -= 1
        if first < self.scroll_offset.y:  # the heading above the first field of a group is seen with it
            self.scroll_to(y=first, animate=False, force=True, immediate=True)

    def action_step(self, by: int) -> None:
        if self.cursor >= 0:
            self.post_message(self.Stepped(self.cursor, by))


class Form(Container):
    """The owner gives fields and answers its messages; the form keeps the cursor and the input line."""

    DEFAULT_CSS = """
    Form { height: 1fr; layers: rows edit; }
    Form > #form-input { layer: edit; position: absolute; display: none; height: 1; }
    Form > #form-input.-open { display: block; }
    """
    app = OurApp()
    BINDINGS: ClassVar = [Binding("escape", "close_input", "one step back", show=False, id="app.back")]

    class Changed(Message):
        """The user typed `text` for the field `key`; the owner checks it, keeps it and sets the fields anew."""

        def __init__(self, key: str, text: str) -> None:
            super().__init__()
            self.key, self.text = key, text

    class Asked(Message):
        """Enter on a choice or a flag: the owner opens a list, or switches the flag."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Stepped(Message):
        """Left or right on the field `key`."""

        def __init__(self, key: str, by: int) -> None:
            super().__init__()
            self.key, self.by = key, by

    class Moved(Message):
        """The cursor is on the field `key`."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Typing(Message):
        """`text` stands in the input of the field `key` and is not taken yet; None: the input was closed."""

        def __init__(self, key: str, text: str | None) -> None:
            super().__init__()
            self.key, self.text = key, text

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Form.Typing)

    def __init__(
        self, *, label_width: int = 14, value_width: int = 0, on: str = "background", id: str | None = None
    ) -> None:
        """The labels' column has `label_width` cells, or what the longest one needs, up to three fifths of the form.

        What is said beside a value begins `value_width` cells behind its start, or three behind its end.
        """
        super().__init__(id=id)
        self._value_width, self._on = value_width, on
        self._least = self._label_width = label_width
        self.root = Path()
        """Where the paths that are typed begin."""
        self._fields: Sequence[Field] = ()

    def compose(self) -> ComposeResult:
        yield FieldList(FieldRows((), self._label_width, self._value_width), on=self._on, id="form-rows")
        yield PathInput(id="form-input")  # selected, so that typing replaces it

    @property
    def is_composed(self) -> bool:
        """Whether its parts are there: only then can it show anything."""
        return bool(self.query(FieldList))

    @property
    def rows(self) -> FieldList:
        return self.query_one(FieldList)

    @property
    def fields(self) -> Sequence[Field]:
        return self._fields

    @property
    def key(self) -> str | None:
        """The key of the field under the cursor."""
        at = self.rows.cursor
        return self._fields[at].key if 0 <= at < len(self._fields) else None

    def show(self, fields: Sequence[Field]) -> None:
        """Show other fields or values; the cursor stays on its key."""
        key = self.key
        self._fields = fields
        at = next((index for index, field in enumerate(fields) if field.editable and field.key == key), None)
        if at is None:
            at = next((index for index, field in enumerate(fields) if field.editable), 0)
        old, width = self.rows.rows, self._label_width
        self._label_width = self._labels_need()
        same = width == self._label_width
        if same and isinstance(old, FieldRows) and len(old) == len(fields) and at == self.rows.cursor:
            changed = [index for index, field in enumerate(fields) if field != old.fields[index]]
            old.fields = fields
            for index in changed:
                self.rows.row_changed(index)
        else:
            self.rows.set_rows(FieldRows(fields, self._label_width, self._value_width), at)

    def _labels_need(self) -> int:
        longest = max((cell_len(field.label) for field in self._fields if field.editable), default=0)
        return max(self._least, min(longest, self.size.width * 3 // 5 or longest))

    def go_to(self, key: str) -> None:
        """Put the cursor on a field."""
        for index, field in enumerate(self._fields):
            if field.key == key:
                self.rows.move(index)

    def edit(self) -> None:
        """Open the input on the field under the cursor, or ask the owner for its choices."""
        at = self.rows.cursor
        if not 0 <= at < len(self._fields):
            return
        field = self._fields[at]
        if not field.typed:
            self.post_message(self.Asked(field.key))
            return
        line = self.query_one("#form-input", Input)
        self._place_input()
        line.suggester = self._suggester(field)
        line.value = field.raw
        line.cursor_position = len(field.raw)
        line.add_class("-open")
        line.focus()

    def _suggester(self, field: Field) -> Suggester | None:
        if field.kind == "path":
            return Paths(self.root)
        return SuggestFromList(field.suggestions, case_sensitive=False) if field.suggestions else None

    @property
    def is_editing(self) -> bool:
        return self.query_one("#form-input", Input).has_class("-open")

    def on_resize(self) -> None:
        if self._labels_need() != self._label_width:
            self.show(self._fields)
        if self.is_editing:
            self._place_input()

    def _place_input(self) -> None:
        """The input stands over the value of the field under the cursor."""
        line = self.query_one("#form-input", Input)
        left = self._label_width + 2
        line.styles.offset = (left, self.rows.cursor - self.rows.scroll_offset.y)
        line.styles.width = max(12, self.size.width - left - 1)

    def action_close_input(self) -> None:
        line = self.query_one("#form-input", Input)
        if not line.has_class("-open"):
            raise SkipAction  # what is around the form steps back
        line.remove_class("-open")
        self.rows.focus()
        self.post_message(self.Typing(self.key or "", None))

    @on(ItemList.Opened)
    def _opened(self, event: ItemList.Opened) -> None:
        event.stop()
        self.edit()

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        event.stop()
        if 0 <= event.index < len(self._fields):
            self.post_message(self.Moved(self._fields[event.index].key))

    @on(FieldList.Stepped)
    def _stepped(self, event: FieldList.Stepped) -> None:
        event.stop()
        field = self._fields[event.index]
        if field.kind == "flag":
            self.post_message(self.Asked(field.key))
        else:
            self.post_message(self.Stepped(field.key, event.by))

    @on(Input.Changed)
    def _typing(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_editing and self.key is not None:
            self.post_message(self.Typing(self.key, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        key = self.key
        self.action_close_input()
        if key is not None:
            self.post_message(self.Changed(key, event.value))


def choice_step(values: Sequence[str], now: str, by: int) -> str:
    """The value `by` places further in `values`, round the end."""
    at = values.index(now) if now in values else 0
    return values[(at + by) % len(values)]


def slider(value: float, width: int = 12) -> str:
    """`────●───────` for 0 … 1."""
    at = min(width - 1, max(0, round(value * (width - 1))))
    return "─" * at + "●" + "─" * (width - 1 - at)
