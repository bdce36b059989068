"""The Dataset screen: what there is, what is in it, and the image under the cursor."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget

from core.text import count_of, printable
from tui.screens.base import FIND
from tui.screens.row_keys import RowKeys
from tui.theme import Cells, fit
from tui.widgets.dataset_rows import ImageRows, TreeRows, facts_of
from tui.widgets.image_view import REST, ImageView
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Line, Lines, cut
from tui.widgets.lines import LiveLines

if TYPE_CHECKING:
    from core.dataset.model import Subset
    from core.problems import Problem
    from tui.collection import Collection, Row

WELCOME: list[Cells] = [
    [(" Import images here   ", "text"), ("a folder of pictures becomes the first dataset", "muted")],
    [
        (" Open the demo        ", "text"),
        ("drawn images, a small tagger and a small trainer", "muted"),
    ],
]

UNDO_ROOM = 30
"""Cells of the title line for what the next undo takes back."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the caption under the cursor, for what other programs write."""
COUNT_EVERY = 0.25
"""Seconds between two counts of what is uncaptioned while files are being read."""


class DatasetScreen(RowKeys):
    """Shares its collection with Review: filter, order and marks are the same there."""

    MODE = "dataset"
    CSS_PATH = "dataset.tcss"
    HELP = """
    ## Dataset

    Left the datasets of `train_data/` with their subsets and repeats, in the middle the images, right the one under the
    cursor. `enter` opens Review there, `T` tags this dataset, `i` brings images in.

    `/` filters: words must all occur in the name or caption; `tag:"blue eyes"`, `missing:rinni`, `name:*_01*`,
    `tags:>20`, `is:untagged`, `is:reviewed`, `is:marked`; `NOT`, `OR` and parentheses.

    Marks: `✱` marked, `●` reviewed, `!` unreadable.
    """
    BINDINGS = [
        *FIND,
        Binding("T", "tag", "tag", id="dataset.tag", tooltip="Tag this dataset"),
        Binding("i", "import", "import", id="dataset.import", tooltip="Import images"),
        Binding("o", "order", "order", show=False, id="list.order", tooltip="Sort order"),
        Binding(
            "tab", "next_panel(1)", "datasets", id="app.next-panel", tooltip="Next panel: datasets, images, picture"
        ),
        Binding("shift+tab", "next_panel(-1)", "previous panel", show=False, id="app.previous-panel"),
    ]

    datasets = getters.query_one("#tree", ItemList)
    picture = getters.query_one(ImageView)
    facts = getters.query_one("#facts", LiveLines)

    def __init__(self) -> None:
        super().__init__()
        self._tree_rows = TreeRows()
        self._rest: Timer | None = None
        self._painted: list[bool] = []
        self._counted_at = 0.0
        self._counter_loaded = False

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        with Vertical(id="welcome", classes="-off"):
            yield Lines([[("There are no images here yet.", "text bold")]], id="sentence")
            yield ItemList(Texts(WELCOME), id="choices")
        with Horizontal(id="panels"):
            yield ItemList(self._tree_rows, id="tree")
            yield ItemList(marking=True, id="images")
            with Vertical(id="side"):
                yield ImageView(top=True, id="picture")
                yield LiveLines(id="facts")

    def on_mount(self) -> None:
        self.app.collection_signal.subscribe(self, self._collection_changed)
        # At once: `knows_change` holds only while the signal is published.
        self.app.dataset_changed.subscribe(self, lambda _: self._files_changed(), immediate=True)
        self.app.runs_changed.subscribe(self, lambda _: self._files_changed())
        self.app.undo_signal.subscribe(self, lambda _: self._title())
        self.watch(self.app, "active_dataset", self._open, init=False)
        self.set_interval(LOOK_EVERY, self._look_again)
        if self._has_datasets():
            self.images.focus()
            self.call_after_refresh(self._open)  # the frame first: what reads datasets is not even imported before it
        else:
            self._open()

    def on_screen_resume(self) -> None:
        if self.app.review_item is not None and self.app.collection is not None:
            row = self.app.collection.row_of(self.app.review_item)
            if row is not None and (place := self.app.collection.place_of(row)) >= 0:
                self.images.move(place)

    # What is open

    def _has_datasets(self) -> bool:
        return self.app.workspace is not None and bool(self.app.workspace.dataset_names())

    def _open(self) -> None:
        from tui import opening

        empty = not self._has_datasets()
        self.query_one("#welcome").set_class(not empty, "-off")
        self.query_one("#panels").set_class(empty, "-off")
        if empty:
            self.query_one("#choices").focus()
            self._title()
            return
        collection = opening.ensure(self.app)
        if collection is not None:
            self.images.set_rows(ImageRows(collection), 0 if collection.rows else None)
            self.images.focus()
        self._list_datasets()
        self._title()

    @work(thread=True, exclusive=True, group="tree", exit_on_error=False)
    def _list_datasets(self) -> None:
        from tui.collection import subsets_with_counts

        workspace = self.app.workspace
        if workspace is not None:
            found = {name: subsets_with_counts(workspace, name) for name in workspace.dataset_names()}
            self.app.call_from_thread(self._listed, found)

    def _listed(self, found: dict[str, list[tuple[Subset, int]]]) -> None:
        self._tree_rows.fill(found, self.app.active_dataset or "")
        subset = self.app.collection.subset if self.app.collection is not None else ""
        self.datasets.set_rows(self._tree_rows, self._tree_rows.place_of(self.app.active_dataset or "", subset))
        self._title()

    def _files_changed(self) -> None:
        if self.app.knows_change:
            return
        from tui import opening

        opening.settle(self.app)
        opening.reload(self.app)
        self._open()

    def _collection_changed(self, what: str) -> None:
        collection = self.app.collection
        if collection is None:
            return
        self.images.empty = "no image passes the filter" if collection.is_complete else ""
        rows = self.images.rows
        if not isinstance(rows, ImageRows) or rows.collection is not collection:
            old = self._row()
            self.images.set_rows(ImageRows(collection))
            row = collection.row_of(old.item.path) if old is not None else None
            if row is not None and (place := collection.place_of(row)) >= 0:
                self.images.move(place)
        elif what == "items":
            if self.images.virtual_size.height <= self.images.size.height:
                self.images.rows_grew()
        elif what == "facts":
            if (seen := self._seen()) != self._painted:
                self.images.refresh()
                self._follow()
                self._painted = seen
        else:
            self.images.rows_changed(0 if self.images.cursor < 0 else None)
        if what == "complete":
            self._list_datasets()
        # While 100,000 files are read a message comes every few milliseconds: counting them each time would cost more.
        if what in {"items", "facts"} and time.monotonic() - self._counted_at < COUNT_EVERY:
            return
        self._counted_at = time.monotonic()
        self.images.rows_grew()
        self._title()
        if what not in {"items", "facts"}:
            self.show_problem_count()
            self._follow()

    def _seen(self) -> list[bool]:
        """Which of the rows on the screen have been read."""
        rows = self.app.collection.shown if self.app.collection is not None else []
        return [rows[index].is_read for index in self.images.visible_rows() if index < len(rows)]

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
        self._show_again(collection, row)
        self.images.focus()

    def _row(self) -> Row | None:
        rows = self.images.rows
        if isinstance(rows, ImageRows) and 0 <= self.images.cursor < len(rows):
            return rows.collection.shown[self.images.cursor]
        return None

    # The title line

    def _title(self) -> None:
        collection = self.app.collection
        if collection is None:
            self.where.set([])
            return
        on_tree = self.focused is self.datasets
        left: Cells = []
        if self.datasets.display and self.datasets.region.width:
            left.append((fit(" train_data", self.datasets.region.width + 2), "accent bold" if on_tree else "muted"))
        name = printable(collection.name) + (f" / {printable(collection.subset)}" if collection.subset else "")
        left.append((f" {name}", "muted" if on_tree else "accent bold"))
        left.append((f" · {count_of(len(collection.rows), 'image')}", "text"))
        if untagged := collection.untagged():
            left.append((f" · {untagged:,} uncaptioned", "caution"))
        if marked := sum(row.marked for row in collection.rows):
            left.append((f" · {marked:,} marked", "accent"))
        if not collection.is_complete:
            left.append((" · reading…", "muted"))
        right: Cells = []
        if self.has_class("-narrow") and (undo := self.app.undoing.label):  # the footer has no room for it
            right = [*cut([("undo: ", "muted"), (undo, "muted")], UNDO_ROOM), ("  ", "text")]
        if collection.query:
            right += [("/ ", "accent"), (printable(collection.query), "text"), ("   ", "text")]
        if collection.order != "name":
            from tui.collection import ORDERS

            right.append((f"{ORDERS[collection.order]}   ", "muted"))
        if len(collection.shown) != len(collection.rows):
            right.append((f"{len(collection.shown):,} of {len(collection.rows):,} ", "text"))
        self.where.set(left, right)

    def on_resize(self) -> None:
        self._title()
        self.call_after_refresh(self._follow)  # the picture may have got a place

    def on_descendant_focus(self) -> None:
        self._title()

    # The panel that follows the cursor

    @on(ItemList.Moved, "#images")
    def _moved(self) -> None:
        self._follow()

    def _follow(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)

    def _rested(self) -> None:
        row = self._row()
        if row is not None:
            self.app.review_item = row.item.path
        self._look_again()
        if not self.query_one("#side").display:
            return
        if row is None:
            self.picture.show(None)
            self.facts.show([])
            return
        self.picture.show(row.item.path, now=True)
        if row.caption:
            self._count_tokens(row)
        if not (row.caption and self._counter_loaded):  # else the count is there at once: one paint for both
            self.facts.show(facts_of(row, self.facts.size.width, None))

    def _look_again(self) -> None:
        from tui import opening

        if self.is_current:
            opening.look_again(self.app, self._row())

    @work(thread=True, exclusive=True, group="tokens", exit_on_error=False)
    def _count_tokens(self, row: Row) -> None:
        from core.dataset.tokens import count_tokens

        tokens = count_tokens(row.caption or "")
        self.app.call_from_thread(self._counted, row, tokens)

    def _counted(self, row: Row, tokens: int) -> None:
        self._counter_loaded = True
        if row is self._row():
            self.facts.show(facts_of(row, self.facts.size.width, tokens))

    # Keys

    def step_back(self) -> bool:
        if self.query("#filter"):
            self._filter(self._query_before, None)
            self.call_later(self._close_filter)
            return True
        for panel in ("#side", "#tree"):
            if self.query_one(panel).has_class("-open"):
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
        self.query_one("#side").remove_class("-open")
        self.query_one("#tree").remove_class("-open")
        self.images.focus()
        self.call_after_refresh(self._title)

    @on(ItemList.Opened, "#images")
    async def _review(self) -> None:
        if (row := self._row()) is not None:
            await self.app.open_review(row.item.path)

    @on(ItemList.Opened, "#tree")
    def _choose(self, event: ItemList.Opened) -> None:
        name, subset, _ = self._tree_rows.entries[event.index]
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
        from tui.screens.importing import ImportDialog

        if self.app.workspace is None:
            from core.workspace import create

            self.app.open_workspace(create(self.app.start_folder))
        name = await self.app.push_screen_wait(ImportDialog())
        if name is not None:
            self.app.active_dataset = name
            self._open()
            opening.reload(self.app)

    @work(exit_on_error=False)
    async def action_order(self) -> None:
        from tui.collection import ORDERS
        from tui.screens.dialogs import Choose

        collection = self.app.collection
        if collection is None:
            return
        options = [(key, text, "") for key, text in ORDERS.items()]
        order = await self.app.push_screen_wait(Choose("Sort order", options, chosen=collection.order))
        if order is not None:
            row = self._row()
            collection.choose(order=order)
            self._show_again(collection, row)

    def _show_again(self, collection: Collection, row: Row | None) -> None:
        place = collection.place_of(row) if row is not None else -1
        self.images.rows_changed(max(0, place))
        self._title()

    def action_next_match(self) -> None:
        self.images.move(self.images.cursor + 1)

    def action_previous_match(self) -> None:
        self.images.move(self.images.cursor - 1)

    # The first run

    @on(ItemList.Opened, "#choices")
    @work(exit_on_error=False)
    async def _begin(self, event: ItemList.Opened) -> None:
        from tui import chores

        if event.index == 0:
            await self._import()
        else:
            self.where.set([(" drawing the demo…", "muted")])
            await chores.open_demo(self.app)
