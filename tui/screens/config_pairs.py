"""A list of "key=value" as rows: network_args, optimizer_args and lr_scheduler_args, with the keys that are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from textual import on
from textual.binding import Binding
from textual.widget import Widget

from core.config.arguments import complaint_of, known_arguments, merged, parted
from core.text import printable
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.form import Field, Form

_NEW = "\0new"


class Pairs(Dialog[list[str]]):
    """Enter edits, `x` removes; an empty value removes, too. Esc takes the rows as they stand."""

    BINDINGS = [
        Binding("escape", "done", "one step back", show=False, id="app.back"),
        Binding("x", "unset", "remove", show=False, id="edit.remove"),
    ]

    def __init__(self, key: str, owner: str, items: Sequence[str], known: Mapping[str, str]) -> None:
        super().__init__(f"{key} of {printable(owner)}" if owner else key, "⏎ edit   x remove   Esc take them")
        self._key, self._known, self._items = key, known, list(items)

    def compose_dialog(self) -> Iterable[Widget]:
        yield Form(label_width=20, value_width=12, on="surface")

    def on_mount(self) -> None:
        form = self.query_one(Form)
        form.styles.height = max(6, min(len(self._known) + len(self._items) + 4, self.room))
        self.query_one("#dialog").styles.width = min(92, self.app.size.width - 4)
        self._show()
        form.rows.focus()

    def _show(self) -> None:
        pairs = [parted(item) for item in self._items]
        names = {name for name, _ in pairs}
        fields: list[Field] = []
        for number, (name, value) in enumerate(pairs):
            wrong = complaint_of(self._key, name, value, self._known)
            problem = ("!", "caution", wrong) if wrong else None
            cells: Cells = [(printable(value) or "–", "text")]
            fields.append(Field(str(number), printable(name), cells, raw=value, problem=problem, mark=("•", "accent")))
        fields += [
            Field(name, name, [("–", "muted")], note=kind) for name, kind in self._known.items() if name not in names
        ]
        fields.append(Field(_NEW, "another", [("key=value", "muted")]))
        self.query_one(Form).show(fields)

    @on(Form.Changed)
    def _typed(self, event: Form.Changed) -> None:
        event.stop()
        text = event.text.strip()
        if event.key == _NEW:
            if "=" in text:
                self._items = merged(self._items, *parted(text))
        elif event.key.isdecimal():
            name = parted(self._items[int(event.key)])[0]
            self._items[int(event.key)] = f"{name}={text}"
            if not text:
                del self._items[int(event.key)]
        elif text:
            self._items = merged(self._items, event.key, text)
        self._show()

    @on(Form.Moved)
    @on(Form.Typing)
    @on(Form.Stepped)
    def _quiet(self, event: Form.Moved) -> None:
        event.stop()

    def action_unset(self) -> None:
        """Take the row under the cursor out."""
        key = self.query_one(Form).key or ""
        if key.isdecimal():
            del self._items[int(key)]
            self._show()

    def action_done(self) -> None:
        self.dismiss(self._items)


def pairs_dialog(key: str, value: object, train: Mapping[str, object]) -> Pairs:
    """The dialog for one of the lists as it stands in train.toml."""
    items = [str(item) for item in value] if isinstance(value, list) else []
    owner, known = known_arguments(key, train)
    return Pairs(key, owner, items, known)
