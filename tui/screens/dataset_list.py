"""The list of images in Dataset: it follows the collection as that is read, filtered and marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import on

from core.problems import UserError
from tui.widgets.image_grid import ImageFaces, ImageGrid
from tui.widgets.item_list import ItemList

if TYPE_CHECKING:
    from tui.collection import Collection, Row


class ImageList(ImageGrid):
    """Posts `Moved` too when more is known of the image under the cursor."""

    def __init__(self) -> None:
        super().__init__(marking=True, id="images")
        self._collection: Collection | None = None
        self._painted: list[bool] = []

    @property
    def row(self) -> Row | None:
        """The image under the cursor."""
        shown = self._collection.shown if self._collection is not None else []
        return shown[self.cursor] if 0 <= self.cursor < len(shown) else None

    @property
    def chosen(self) -> list[Row]:
        """The marked images, or the one under the cursor."""
        marked = self._collection.marked_rows() if self._collection is not None else []
        return marked or ([self.row] if self.row is not None else [])

    def open(self, collection: Collection, cursor: int | None = None) -> None:
        """Show this one from now on."""
        self._collection = collection
        self.set_rows(ImageFaces(collection), cursor)

    def go(self, row: Row | None) -> None:
        """Put the cursor on `row` when it is among the shown ones."""
        if row is not None and self._collection is not None and (place := self._collection.place_of(row)) >= 0:
            self.move(place)

    def show_again(self, row: Row | None) -> None:
        """Others are shown now: the cursor goes to `row`, or to the first."""
        place = self._collection.place_of(row) if row is not None and self._collection is not None else 0
        self.rows_changed(max(0, place))

    def choose(
        self,
        query: str | None,
        subset: str | None,
        then: Callable[[], object],
        failed: Callable[[UserError], object],
    ) -> None:
        """Show other images, with the cursor on the one where it is, then `then()`; or `failed`, and the list stays."""
        from tui import opening

        row = self.row

        def shown() -> None:
            self.show_again(row)
            then()

        try:
            opening.choose(self.app, query, subset=subset, then=shown, failed=failed)
        except UserError as error:
            failed(error)

    def take(self, collection: Collection, what: str) -> None:
        """The app's collection got `what`, or is another one."""
        self.empty = "no image passes the filter" if collection.is_complete else ""
        if collection is not self._collection:
            old = self.row
            self.open(collection)
            self.go(collection.row_of(old.item.path) if old is not None else None)
        elif what == "items":
            if self.virtual_size.height <= self.size.height:
                self.rows_grew()
        elif what == "facts":
            seen = [collection.shown[index].is_read for index in self.visible_rows()]
            if seen != self._painted:
                self._painted = seen
                self.refresh()
                self.post_message(self.Moved(self, self.cursor))
        else:
            self.rows_changed(0 if self.cursor < 0 else None)

    @on(ItemList.Marked)
    def _mark(self, event: ItemList.Marked) -> None:
        if self._collection is None:
            return
        self._collection.mark(event.indices, event.on)
        if len(event.indices) == 1:
            self.row_changed(event.indices[0])
        else:
            self.refresh()
