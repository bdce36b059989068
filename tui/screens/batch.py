"""The batch edit: which operation, with what, on which images; count and examples are there before Enter does it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from core.dataset import batch
from core.dataset.batch_forms import FORMS, Form
from core.dataset.operations import Facts, Operation, Sort
from core.problems import UserError
from core.text import count_of, printable
from tui.screens.dialogs import Choose, Dialog
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut
from tui.widgets.tag_input import Tags

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup
    from tui.app import KohyaApp
    from tui.collection import Collection, Row

REST = 0.3
"""Seconds without a key before the captions are looked at."""
_OF_TAGS = frozenset({"tag", "tags", "new name", "after this tag", "one tag"})
"""Fields in which tags are completed."""
_ROLES = {"same": "muted", "gone": "bad", "new": "good"}
_SIGNS = {"same": ("", ""), "gone": ("[-", "-]"), "new": ("{+", "+}")}


@dataclass(frozen=True, slots=True)
class Scope:
    """Some images of the dataset, by their numbers."""

    id: str
    title: str
    numbers: range | array[int]


def scopes_of(collection: Collection, row: Row | None) -> list[Scope]:
    """Those that hold an image; a filter that hides none makes no scope of its own."""
    marked = collection.marked_numbers()
    this = array("I", [row.number] if row is not None else [])
    shown, whole = collection.shown.numbers, range(len(collection.rows))
    found = [
        Scope("this", f"this image: {printable(row.name)}" if row is not None else "", this),
        Scope("marked", count_of(len(marked), "marked image"), marked),
        Scope("matches", f"{len(shown):,} shown by the filter", shown if len(shown) < len(whole) else range(0)),
        Scope("dataset", f"all {len(whole):,} of {printable(collection.name)}", whole),
    ]
    return [scope for scope in found if len(scope.numbers)]


class _Scopes(Texts):
    """A dot before the one that is chosen."""

    def __init__(self, scopes: Sequence[Scope], chosen: int) -> None:
        super().__init__([[(scope.title, "text")] for scope in scopes])
        self.chosen = chosen

    def cells(self, index: int, width: int) -> Cells:
        return [("● " if index == self.chosen else "  ", "accent"), *super().cells(index, width)]


class BatchDialog(Dialog[batch.Plan]):
    """Dismisses with what was seen and agreed to. The captions are looked at again at every change."""

    def __init__(self, form: Form, collection: Collection, scopes: Sequence[Scope], chosen: int) -> None:
        super().__init__(form.title, "tab next field   ⏎ apply   Esc back")
        self._form, self._collection, self._scopes = form, collection, scopes
        self._rows = _Scopes(scopes, chosen)
        self._soon: Timer | None = None
        self._plan: batch.Plan | None = None
        self._wants = False
        """Enter came before the plan was there."""

    @property
    def scope(self) -> Scope:
        return self._scopes[self._rows.chosen]

    def compose_dialog(self) -> Iterable[Widget]:
        if self._form.why:
            yield Static(Content(self._form.why), id="text")
        for at, name in enumerate(self._form.fields):
            field = Input(
                id=f"field-{at}",
                placeholder="0" if name.startswith("how many") else "",
                select_on_focus=False,
                suggester=Tags(self.app.vocabulary) if name in _OF_TAGS else None,
            )
            field.styles.width = "1fr"
            label = Static("first that stay" if name.startswith("how many") else name, classes="label")
            yield Horizontal(label, field, classes="field")
        choices = ItemList(self._rows, id="options", on="surface")
        choices.styles.height = len(self._scopes)
        choices.cursor = self._rows.chosen
        yield choices
        yield Static(id="wrong")
        seen = Lines(id="seen", on="surface")
        seen.styles.height = max(3, min(14, self.app.size.height - 15 - 2 * len(self._form.fields)))
        yield seen

    def on_mount(self) -> None:
        fields = self.query(Input)
        (fields.first() if fields else self.query_one("#options", ItemList)).focus()
        self._look()

    def on_unmount(self) -> None:
        self._plan = None  # as in PlannedDialog: the dialog stays for a while

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._again()

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        if 0 <= event.index != self._rows.chosen:
            self._rows.chosen = event.index
            event.list.refresh()
            self._again()

    def _again(self) -> None:
        self._plan, self._wants = None, False
        self.workers.cancel_group(self, "plan")
        if self._soon is not None:
            self._soon.stop()
        self._soon = self.set_timer(REST, self._look)

    @on(Input.Submitted)
    @on(ItemList.Opened)
    def _enter(self) -> None:
        if self._plan is None:
            self._look()
            self._wants = True
        elif self._plan.edits:
            self.app.clear_notifications()  # "once more does it" is done
            self.dismiss(self._plan)

    def _look(self) -> None:
        if self._soon is not None:
            self._soon.stop()
            self._soon = None
        self.query_one("#wrong", Static).update("")
        words = [field.value for field in self.query(Input)]
        if self._form.fields and not any(words) and not self._form.id.startswith("sort"):
            self.query_one("#seen", Lines).show([])
            return
        try:
            operation = self._form.make(words)
        except UserError as error:
            self._wrong(error)
            return
        self.run_worker(
            lambda: self._work(operation, self.scope), thread=True, exclusive=True, group="plan", exit_on_error=False
        )

    def _work(self, operation: Operation, scope: Scope) -> None:
        worker = get_current_worker()
        index, tell = self._collection.index, self.app.call_from_thread
        try:
            facts = self._facts(operation)
            for value in batch.plan([index.caption_path(number) for number in scope.numbers], operation, facts):
                if worker.is_cancelled:
                    return
                if isinstance(value, batch.Progress):
                    tell(self._progress, value)
                else:
                    tell(self._planned, value)
        except UserError as error:
            if not worker.is_cancelled:
                tell(self._wrong, error)

    def _facts(self, operation: Operation) -> Facts | None:
        if not isinstance(operation, Sort) or operation.by != "category":
            return None
        from core.tagging.scores import tag_categories

        categories = tag_categories(self._collection.workspace)
        if not categories:
            raise UserError("The categories of tags are not known here", "Tag some images first: T.")
        return Facts(categories=categories)

    def _wrong(self, error: UserError) -> None:
        self._wants = False
        self.query_one("#seen", Lines).show([])
        self.query_one("#wrong", Static).update(Content(printable(f"{error.message}. {error.hint or ''}")))

    def _progress(self, value: batch.Progress) -> None:
        if self.is_mounted:
            text = f"looked at {value.done:,} of {value.total:,}, {value.changed:,} would change"
            self.query_one("#seen", Lines).show([[(text, "muted")]])

    def _planned(self, plan: batch.Plan) -> None:
        if not self.is_mounted:
            return
        self._plan = plan
        seen = self.query_one("#seen", Lines)
        seen.show(seen_lines(plan, seen.size.width, seen.size.height))
        if self._wants and plan.edits:
            self._wants = False
            self.notify("this is what it would do: ⏎ once more does it", timeout=4)


def seen_lines(plan: batch.Plan, width: int, height: int) -> list[Cells]:
    """How many files, what is left alone, and as many examples as there is room for."""
    first, *others = plan.summary()
    lines: list[Cells] = [[(first, "text bold")]]
    if others or plan.problems:
        told = [*others, *([count_of(len(plan.problems), "caption") + " unreadable"] if plan.problems else [])]
        lines.append([(" · ".join(told), "caution")])
    room = (height - len(lines)) // 2
    for path, old, new in plan.examples(max(1, room)):
        marked = batch.shortened(batch.pieces(old, new), max(12, width // 3))
        cells: Cells = [("  ", "text")]
        for kind, text in marked:
            before, after = _SIGNS[kind]
            cells.append((f"{before}{printable(text)}{after}", _ROLES[kind]))
        lines += [[(printable(path.name), "muted")], cut(cells, width)]
    return lines[:height]


async def edit_many(app: KohyaApp, row: Row | None, scope: str = "") -> None:
    """Ask what to do with which captions, and do it. `scope`: the one that is proposed, when it is there."""
    collection = app.collection
    if collection is None or not len(collection.rows):
        return
    if not collection.is_complete:
        app.notify("the dataset is still being read", timeout=3)
        return
    options = [(form.id, form.title, form.why) for form in FORMS]
    chosen = await app.push_screen_wait(Choose("Edit captions", options))
    form = next((form for form in FORMS if form.id == chosen), None)
    if form is None:
        return
    scopes = scopes_of(collection, row)
    at = next(
        (at for name in ("marked", scope, "matches", "dataset") for at, each in enumerate(scopes) if each.id == name), 0
    )
    dialog = BatchDialog(form, collection, scopes, at)
    plan = await app.push_screen_wait(dialog)
    if plan is not None:
        _apply(app, collection, plan, _where(collection, dialog.scope))


def _where(collection: Collection, scope: Scope) -> str:
    """`40 images of rinni`, for the name in the history."""
    if scope.id == "this":
        return collection.index.names[scope.numbers[0]]
    return collection.name if scope.id == "dataset" else f"{count_of(len(scope.numbers), 'image')} of {collection.name}"


def _apply(app: KohyaApp, collection: Collection, plan: batch.Plan, where: str) -> None:
    from core.dataset.operations import label_of
    from tui.bulk import carry_out

    def done(group: EditGroup) -> None:
        from tui.opening import files_changed
        from tui.undoing import tell_refused

        app.undoing.wrote(group)
        refused: set[Path] = {conflict.path for conflict in group.conflicts}
        tell_refused(app, group.conflicts)
        app.notify(f"{count_of(group.files, 'caption')} changed; u takes it back", timeout=4)
        files_changed(app, [edit.path for edit in plan.edits if edit.path not in refused])

    title = printable(f"{label_of(plan.operation)} in {where}")
    carry_out(app, title, lambda: batch.applying(collection.workspace, plan, where), done, app.report)
