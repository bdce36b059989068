"""The Dataset screen: what there is, what is in it, and the image under the cursor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual import events, getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widget import Widget

from core.problems import Problem, UserError
from core.text import printable
from tui.screens.base import FIND, ModeScreen
from tui.screens.dataset_list import ImageList
from tui.screens.dataset_side import ImageSide
from tui.screens.dataset_tree import DatasetTree
from tui.screens.dataset_welcome import Welcome
from tui.screens.row_actions import ask_to_trash, mark_as_reviewed
from tui.widgets.dataset_rows import title_cells
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line

if TYPE_CHECKING:
    from textual.widgets import Input

    from tui.collection import Row

LOOK_EVERY = 2.0
"""Seconds between two looks at the caption under the cursor, for what other programs write."""
COUNT_EVERY = 1.0
"""Seconds between two counts of what is uncaptioned while files are being read."""


class DatasetScreen(ModeScreen):
    """Shares its collection with Review: filter, order and marks are the same there."""

    MODE = "dataset"
    CSS_PATH = "dataset.tcss"
    HELP = """
    ## Dataset

    Left the datasets of `train_data/` with their subsets and repeats, in the middle the images, right the one under the
    cursor. `enter` opens Review there, `T` tags this dataset, `i` brings images in.

    `/` filters: words must all occur in the name or caption; `tag:"blue eyes"`, `missing:rinni`, `name:*_01*`,
    `tags:>20`, `is:untagged`, `is:reviewed`, `is:marked`; `NOT`, `OR` and parentheses.

    `w` shows tiles instead of a list; `+` and `-` change their size.

    Marks: `✱` marked, `●` reviewed, `!` unreadable.
    """
    BINDINGS = [
        Binding("m", "reviewed", "reviewed", show=False, id="list.reviewed", tooltip="Mark as reviewed, or not"),
        Binding("y", "copy", "copy path", show=False, id="list.copy", tooltip="Copy the path to the clipboard"),
        Binding("number_sign", "tags_panel", "tags", show=False, id="dataset.tags-panel", tooltip="All tags"),
        Binding("D", "trash", "to the trash", show=False, id="list.trash", tooltip="Move to the trash"),
        *FIND,
        Binding("T", "tag", "tag", id="dataset.tag", tooltip="Tag this dataset"),
        Binding("i", "import", "import", id="dataset.import", tooltip="Import images"),
        Binding(
            "equals_sign", "duplicates", "duplicates", show=False, id="dataset.duplicates", tooltip="Find duplicates"
        ),
        Binding("M", "move", "move", show=False, id="dataset.move", tooltip="Move or copy images to another subset"),
        Binding("r", "repeats", "repeats", show=False, id="dataset.rename", tooltip="Change the repeats of a subset"),
        Binding("b", "buckets", "buckets", show=False, id="dataset.buckets", tooltip="Buckets of this dataset"),
        Binding("B", "batch", "edit captions", show=False, id="edit.batch", tooltip="Edit many captions at once"),
        Binding("w", "list_or_grid", "list or grid", show=False, id="dataset.list-or-grid"),
        Binding("o", "order", "order", show=False, id="list.order", tooltip="Sort order"),
        Binding("f5", "read_again", "read again", show=False, id="dataset.read-again", tooltip="Look for other files"),
        Binding(
            "tab", "next_panel(1)", "datasets", id="app.next-panel", tooltip="Next panel: datasets, images, picture"
        ),
        Binding("shift+tab", "next_panel(-1)", "previous panel", show=False, id="app.previous-panel"),
    ]

    where = getters.query_one("#where", Line)
    datasets = getters.query_one(DatasetTree)
    images = getters.query_one(ImageList)
    side = getters.query_one(ImageSide)

    def __init__(self) -> None:
        super().__init__()
        self._counted_at = 0.0
        self._query_before = ""

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        yield Welcome()
        with Horizontal(id="panels"):
            yield DatasetTree()
            yield ImageList()
            yield ImageSide()

    def on_mount(self) -> None:
        self.app.collection_signal.subscribe(self, self._collection_changed)
        # At once: `knows_change` holds only while the signal is published.
        self.app.dataset_changed.subscribe(self, lambda _: self._files_changed(), immediate=True)
        self.app.undo_signal.subscribe(self, lambda _: self._title())
        self.watch(self.app, "active_dataset", self._open, init=False)
        self.set_interval(LOOK_EVERY, self.side.look_again)
        if self._has_datasets():
            self.images.focus()
            self.call_after_refresh(self._open)  # the frame first: what reads datasets is not even imported before it
        else:
            self._open()

    def on_screen_resume(self) -> None:
        if self.app.review_item is not None and self.app.collection is not None:
            self.images.go(self.app.collection.row_of(self.app.review_item))

    # What is open

    def _has_datasets(self) -> bool:
        return self.app.workspace is not None and bool(self.app.workspace.dataset_names())

    def _open(self) -> None:
        from tui import opening

        empty = not self._has_datasets()
        welcome = self.query_one(Welcome)
        welcome.set_class(not empty, "-off")
        self.query_one("#panels").set_class(empty, "-off")
        if empty:
            welcome.choices.focus()
            self._title()
            return
        collection = opening.ensure(self.app)
        if collection is not None:
            self.images.open(collection, 0 if collection.rows else None)
            self.images.focus()
        self.datasets.list_datasets()
        self._title()

    @on(DatasetTree.Listed)
    def _listed(self) -> None:
        self._title()

    def _files_changed(self) -> None:
        if self.app.knows_change:
            return
        from tui import opening

        opening.settle(self.app)
        opening.reload(self.app)
        self._open()

    def action_read_again(self) -> None:
        """Find what other programs brought in or took away."""
        self.notify("reading the files again", timeout=2)
        self._files_changed()

    def _collection_changed(self, what: str) -> None:
        collection = self.app.collection
        if collection is None:
            return
        self.images.take(collection, what)
        if what == "complete":
            self.datasets.list_datasets()
        # While 100,000 files are read a message comes every few milliseconds: counting them each time would cost more.
        if what in {"items", "facts"} and time.monotonic() - self._counted_at < COUNT_EVERY:
            return
        self._counted_at = time.monotonic()
        self.images.rows_grew()
        self._title()
        if what not in {"items", "facts"}:
            self.show_problem_count()
            self._follow()

    def problems(self) -> tuple[Problem, ...]:
        return self.app.collection.problems() if self.app.collection is not None else ()

    def go_to_problem(self, problem: Problem) -> None:
        collection = self.app.collection
        row = collection.find(problem.where) if collection is not None else None
        if collection is None or row is None:
            return
        if collection.place_of(row) < 0:
            collection.choose("", subset="")
        self.app.review_item = row.item.path
        self._show_again(row)
        self.images.focus()

    # The title line

    @on(ItemList.Marked, "#images")
    @on(events.DescendantFocus)
    def _title(self) -> None:
        if self.app.collection is None:
            self.where.set([])
            return
        tree = self.datasets.region.width if self.datasets.display else 0
        undo = self.app.undoing.label if self.has_class("-narrow") else ""  # the footer has no room for it
        self.where.set(*title_cells(self.app.collection, tree, self.focused is self.datasets, undo))

    def on_resize(self) -> None:
        self._title()
        self.call_after_refresh(self._follow)  # the picture may have got a place

    @on(ItemList.Moved, "#images")
    def _follow(self) -> None:
        self.side.follow(self.images.row)

    # Keys

    def step_back(self) -> bool:
        if self.query("#filter"):
            self._filter(self._query_before, None)
            self.call_later(self._close_filter)
            return True
        if self.side.has_class("-open") or self.datasets.has_class("-open"):
            self._fold()
            return True
        if self.app.collection is not None and (self.app.collection.query or self.app.collection.subset):
            self._filter("", "")
            return True
        return False

    def action_next_panel(self, by: int) -> None:
        if not self.query_one("#panels").display:
            return
        if self.has_class("-narrow"):
            order = ["", "#tree", "#side"]
            now = next((name for name in order[1:] if self.query_one(name).has_class("-open")), "")
            following = order[(order.index(now) + by) % 3]
            self._fold()
            if following:
                self.query_one(following).add_class("-open")
            if following == "#tree":
                self.datasets.focus()
            self.call_after_refresh(self._follow)
            self.call_after_refresh(self._title)
        else:
            (self.images if self.focused is self.datasets else self.datasets).focus()

    def _fold(self) -> None:
        self.side.remove_class("-open")
        self.datasets.remove_class("-open")
        self.images.focus()
        self.call_after_refresh(self._title)

    @on(ItemList.Opened, "#images")
    async def _review(self) -> None:
        if (row := self.images.row) is not None:
            await self.app.open_review(row.item.path)

    @on(ItemList.Opened, "#tree")
    def _choose(self, event: ItemList.Opened) -> None:
        name, subset, _ = self.datasets.entries[event.index]
        chosen = subset.name if subset is not None else ""
        if name != self.app.active_dataset:
            self.app.active_dataset = name
        else:
            self._filter(None, chosen)
            self._fold()

    async def action_tag(self) -> None:
        await self.app.action_mode("tag")

    @work(exit_on_error=False)
    async def action_import(self) -> None:
        await self._import()

    async def _import(self) -> None:
        from tui import opening
        from tui.screens.importing import import_images

        if await import_images(self.app):
            self._open()
            opening.reload(self.app)

    @work(exit_on_error=False)
    async def action_order(self) -> None:
        from core.dataset.orders import ORDERS
        from tui import opening
        from tui.screens.dialogs import Choose

        collection = self.app.collection
        if collection is None:
            return
        options = [(key, text, "") for key, text in ORDERS.items()]
        order = await self.app.push_screen_wait(Choose("Sort order", options, chosen=collection.order))
        if order is not None:
            row = self.images.row
            opening.choose(self.app, order=order, then=lambda: self._show_again(row))

    def action_list_or_grid(self) -> None:
        self.images.show_tiles(not self.images.as_tiles)
        self.images.focus()

    def _show_again(self, row: Row | None) -> None:
        self.images.show_again(row)
        self._title()

    def action_next_match(self) -> None:
        self.images.move(self.images.cursor + 1)

    def action_previous_match(self) -> None:
        self.images.move(self.images.cursor - 1)

    # The filter line: it takes the place of the title while it is typed, and the list follows

    async def action_find(self) -> None:
        from tui.widgets.filter_bar import FilterBar

        if self.query("#filter") or self.app.collection is None:
            return
        self.where.display = False
        self._query_before = query = self.app.collection.query
        await self.mount(FilterBar(query), before=self.where)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        from tui.widgets.filter_bar import FilterBar

        event.stop()
        bar = self.query_one(FilterBar)
        self._filter(event.value, None, lambda: self.call_later(self._close_filter), bar.tell)

    def on_input_changed(self, event: Input.Changed) -> None:
        """The list follows the typing; half a word that cannot be read yet is no error."""
        event.stop()
        self._filter(event.value, None, failed=lambda _: None)

    async def _close_filter(self) -> None:
        await self.query("#filter-bar").remove()
        self.where.display = True
        self.images.focus()

    def _filter(
        self,
        query: str | None,
        subset: str | None,
        then: Callable[[], object] = lambda: None,
        failed: Callable[[UserError], object] | None = None,
    ) -> None:
        """Show other images, then `then()`; `failed` hears what is wrong with the query, and the list stays."""

        def shown() -> None:
            self._title()
            then()

        self.images.choose(query, subset, shown, failed or self.app.report)

    # What is done to the marked images, or to the one under the cursor

    def action_reviewed(self) -> None:
        rows = self.images.chosen
        mark_as_reviewed(self.app, rows, on=not all(row.reviewed for row in rows))
        self.images.refresh()

    def action_copy(self) -> None:
        if (row := self.images.row) is not None:
            self.app.copy_to_clipboard(str(row.item.path))
            self.notify(f"copied: {printable(str(row.item.path))}", markup=False, timeout=3)

    def action_duplicates(self) -> None:
        from tui.screens.duplicates import DuplicatesScreen

        if self.app.collection is not None and len(self.app.collection.shown):
            self.app.push_screen(DuplicatesScreen(self.app.collection, self.app.collection.shown.numbers))

    def action_move(self) -> None:
        from tui.screens.moving import ask_to_move

        ask_to_move(self.app, self.images.row)

    @work(exit_on_error=False)
    async def action_repeats(self) -> None:
        from tui.screens.repeats import ask_repeats

        entry = self.datasets.entries[self.datasets.cursor] if self.focused is self.datasets else None
        await ask_repeats(self.app, self.images.row, entry)

    def action_buckets(self) -> None:
        from tui.screens.buckets import BucketsScreen

        if self.app.collection is not None:
            self.app.push_screen(BucketsScreen(self.app.collection))

    @work(exit_on_error=False)
    async def action_trash(self) -> None:
        await ask_to_trash(self.app, self.images.chosen)

    @work(exit_on_error=False)
    async def action_batch(self) -> None:
        from tui.screens.batch import edit_many

        await edit_many(self.app, self.images.row)

    # The first run

    @on(Welcome.Chosen)
    @work(exit_on_error=False, description="begin")
    async def _begin(self, event: Welcome.Chosen) -> None:
        from tui import chores

        if event.imports:
            await self._import()
        else:
            self.where.set([(" drawing the demo…", "muted")])
            await chores.open_demo(self.app)
