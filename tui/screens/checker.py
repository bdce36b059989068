"""The visual checker: one tag, all images that Review shows, and a yes or no for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.binding import Binding
from textual.widget import Widget

from core.dataset import captions
from core.text import count_of, printable
from tui import opening
from tui.caption_edits import CaptionEdits, Clash, label_of
from tui.screens.base import ModeScreen
from tui.screens.row_actions import mark_as_reviewed
from tui.theme import Cells, fit, words
from tui.undoing import tell_refused
from tui.widgets.image_grid import ImageFaces, ImageGrid
from tui.widgets.image_view import ImageView
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup
    from tui.collection import Collection, Row

_BOM = b"\xef\xbb\xbf"


class _Faces(ImageFaces):
    """With a check where the tag is."""

    def __init__(self, collection: Collection, tag: str) -> None:
        super().__init__(collection)
        self.shown: Sequence[Row] = collection.shown
        """As they were when the checker opened: an answer takes none away, whatever the filter is."""
        self.key = captions.tag_key(tag)
        self.marked: set[int] = set()
        self.answered: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self.shown)

    def row(self, index: int) -> Row:
        return self.shown[index]

    def label(self, index: int, width: int) -> Cells:
        row = self.row(index)
        has = self.key in row.tag_keys
        sign, role = ("!", "bad") if row.error is not None else ("✓", "good") if has else ("–", "muted")
        mark = ("✱", "accent") if index in self.marked else (" ", "text")
        answer = " " + ("yes" if self.answered[index] else "no") if index in self.answered else ""
        name = fit(printable(row.name.rpartition(".")[0]), width - 3 - len(answer), middle=True)
        return [(f"{sign}", f"{role} bold"), mark, (f" {name}", "text"), (answer, role)]

    def cells(self, index: int, width: int) -> Cells:
        label = min(30, width)
        return [
            *self.label(index, label),
            ("  ", "text"),
            (words(map(printable, self.row(index).tags), width - label - 3), "muted"),
        ]


class CheckerScreen(ModeScreen):
    """Lies over Review. Each answer is one step of undo, and so is one that is given to all marked images."""

    MODE = "review"
    CSS_PATH = "checker.tcss"
    HELP = """
    ## Visual checker

    Does this picture show the tag? `a` says yes and adds it where it is missing, `x` says no and takes it away; both go
    on to the next. `✓` stands where the tag is, `–` where it is not.

    `space` and `v` mark: `a` and `x` are then for all marked images at once. `enter` shows a picture large, `m` marks
    it as reviewed, `+` and `-` change the size of the tiles. `u` takes the last answer back.
    """
    BINDINGS = [
        Binding("a", "answer(True)", "yes, add", id="review.add", tooltip="It shows the tag: add it"),
        Binding("x", "answer(False)", "no, remove", id="edit.remove", tooltip="It does not: remove the tag"),
        Binding("m", "reviewed", "reviewed", show=False, id="list.reviewed", tooltip="Mark as reviewed and go on"),
        Binding("left,h", "go(-1)", "left", show=False, id="list.left"),
        Binding("right,l", "go(1)", "right", show=False, id="list.right"),
        Binding("n", "go(1)", "next match", show=False, id="find.next"),
        Binding("N", "go(-1)", "previous match", show=False, id="find.previous"),
    ]

    where = getters.query_one("#where", Line)
    images = getters.query_one(ImageGrid)
    zoom = getters.query_one("#zoom", ImageView)

    def __init__(self, collection: Collection, tag: str, at: Row | None = None) -> None:
        super().__init__()
        self._tag, self._collection = tag, collection
        self._faces = _Faces(collection, tag)
        self._at = at
        self._edits = CaptionEdits(self.app, lambda row: self._edited(), self._ask_about)

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        yield ImageView(id="zoom", classes="-off")
        yield ImageGrid(self._faces, marking=True, empty="no image passes the filter", id="images")

    def on_mount(self) -> None:
        self.app.collection_signal.subscribe(self, lambda _: self._collection_changed())
        place = self._collection.place_of(self._at) if self._at is not None else 0
        self.images.show_tiles(True)
        self.images.rows_changed(max(0, place))
        self.images.focus()
        self._draw_head()

    def on_resize(self) -> None:
        self._draw_head()

    # What is shown

    def _draw_head(self) -> None:
        answers = self._faces.answered
        left: Cells = [(f" {printable(self._tag)}?", "accent bold")]
        left.append((f"  {self.images.cursor + 1:,} of {len(self._faces):,}", "text"))
        if answers:
            yes = sum(answers.values())
            left += [(" · ", "muted"), (f"{yes:,} yes", "good"), (f" · {len(answers) - yes:,} no", "text")]
        if self._faces.marked:
            left.append((f" · {len(self._faces.marked):,} marked", "accent"))
        right: Cells = []
        if self.images.cursor >= 0:
            row = self._faces.row(self.images.cursor)
            right = [(printable(row.name), "text bold"), *([("  ●", "good")] if row.reviewed else []), (" ", "text")]
        self.where.set(left, right)

    def _edited(self) -> None:
        self.images.refresh()
        self._draw_head()

    def _collection_changed(self) -> None:
        collection = self.app.collection
        if collection is None:
            return
        if collection is not self._collection:  # it was read anew: the answers so far are in the captions
            self._collection, self._faces = collection, _Faces(collection, self._tag)
            self.images.set_rows(self._faces)
        self._edited()

    @on(ItemList.Moved, "#images")
    def _moved(self) -> None:
        self._draw_head()
        if not self.zoom.has_class("-off") and self.images.cursor >= 0:
            self.zoom.show(self._faces.row(self.images.cursor).item.path)

    @on(ItemList.Opened, "#images")
    def _zoom(self) -> None:
        if self.zoom.has_class("-off"):
            self._show_large(True)

    def step_back(self) -> bool:
        if self.zoom.has_class("-off"):
            return False
        self._show_large(False)
        return True

    def _show_large(self, on: bool) -> None:
        """One picture, with the line of the list below it; the keys stay those of the list."""
        self.zoom.set_class(not on, "-off")
        self.images.set_class(on, "-line")
        self.images.show_tiles(not on)
        self.zoom.show(self._faces.row(self.images.cursor).item.path if on else None)

    @on(ItemList.Marked, "#images")
    def _mark(self, event: ItemList.Marked) -> None:
        chosen, marked = set(event.indices), self._faces.marked
        on = not chosen <= marked if event.on is None else event.on
        self._faces.marked = marked | chosen if on else marked - chosen
        self._edited()

    # Answers

    def action_go(self, by: int) -> None:
        self.images.move(self.images.cursor + by)

    def action_reviewed(self) -> None:
        if self.images.cursor >= 0:
            mark_as_reviewed(self.app, [self._faces.row(self.images.cursor)])
            self._edited()
            self.action_go(1)

    def action_answer(self, yes: bool) -> None:
        faces, cursor = self._faces, self.images.cursor
        if cursor < 0:
            return
        indices = sorted(faces.marked) or [cursor]
        rows = [faces.row(index) for index in indices]
        wrong = [row for row in rows if (faces.key in row.tag_keys) != yes]
        if len(rows) == 1:
            verb, where = ("add", "to") if yes else ("remove", "from")
            label = label_of(verb, self._tag, where, rows[0])
            if wrong and not self._edits.set_tags(rows[0], self._tags(rows[0].tags, yes), label):
                if rows[0].error is not None:
                    self.notify(f"{printable(rows[0].name)}: {printable(rows[0].error)}", markup=False)
                return
        elif wrong:
            self._write(wrong, yes)
        faces.answered.update(dict.fromkeys(indices, yes))
        if faces.marked:
            faces.marked = set()
        else:
            self.action_go(1)
        self._edited()

    def _tags(self, tags: Sequence[str], yes: bool) -> list[str]:
        return [*tags, self._tag] if yes else [each for each in tags if captions.tag_key(each) != self._faces.key]

    def _write(self, rows: Sequence[Row], yes: bool) -> None:
        """Many at once, as one group."""
        paths = [row.item.caption_path for row in rows if row.error is None]
        verb, where = ("add", "to") if yes else ("remove", "from")
        label = f'{verb} "{printable(self._tag)}" {where} {count_of(len(paths), "image")}'
        journal, app = self.app.journal, self.app

        def write() -> EditGroup:
            from core.dataset.changes import Edit

            edits = []
            for path in dict.fromkeys(paths):
                data = captions.read_bytes(path)
                text = "" if data is None else captions.decode(data, path)
                tags = captions.split(text)
                if (self._faces.key in map(captions.tag_key, tags)) == yes:
                    continue  # somebody else did it meanwhile
                after = captions.text_with_tags(text, self._tags(tags, yes)).encode("utf-8")
                edits.append(Edit(path, data, (_BOM if data is not None and data.startswith(_BOM) else b"") + after))
            group: EditGroup = journal.apply(label, edits)
            return group

        def done(group: EditGroup) -> None:
            app.undoing.wrote(group)
            tell_refused(app, group.conflicts)
            opening.files_changed(app, paths)

        app.writer.submit(write, done, app.report)

    @work(exit_on_error=False, description="ask about a clash")
    async def _ask_about(self, clash: Clash) -> None:
        from tui.screens.text_dialog import choose_text

        text = await choose_text(self.app, clash)
        if text is not None:
            self._edits.take(clash, text)
