"""The filter line of Dataset: it takes the place of the title while it is typed, and the list follows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from textual import getters

from core.problems import UserError
from tui.screens.base import ModeScreen
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line

if TYPE_CHECKING:
    from textual.widgets import Input

    from tui.collection import Collection, Row

LIVE_FILTER = 5000
"""Up to so many images the list is filtered at every letter, above it with Enter."""


class FilterKeys(ModeScreen):
    """The part of Dataset that filters."""

    where = getters.query_one("#where", Line)
    images = getters.query_one("#images", ItemList)

    def __init__(self) -> None:
        super().__init__()
        self._query_before = ""

    @abstractmethod
    def _row(self) -> Row | None:
        """The image under the cursor."""

    @abstractmethod
    def _show_again(self, collection: Collection, row: Row | None) -> None:
        """Draw the list anew, with the cursor on `row`."""

    async def action_find(self) -> None:
        from textual.widgets import Input

        if self.query("#filter") or self.app.collection is None:
            return
        self.where.display = False
        field = Input(
            self.app.collection.query, placeholder='words, tag:"blue eyes", is:untagged, NOT smile', id="filter"
        )
        await self.mount(field, before=self.where)
        field.focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._filter(event.value, None):
            await self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The list follows the typing; half a word that cannot be read yet is no error."""
        event.stop()
        if self.app.collection is not None and len(self.app.collection.rows) <= LIVE_FILTER:
            self._filter(event.value, None, quiet=True)

    async def _close_filter(self) -> None:
        await self.query("#filter").remove()
        self.where.display = True
        self.images.focus()

    def _filter(self, query: str | None, subset: str | None, *, quiet: bool = False) -> bool:
        collection = self.app.collection
        if collection is None:
            return False
        row = self._row()
        try:
            collection.choose(query, subset=subset)
        except UserError as error:
            if not quiet:
                self.app.report(error)
            return False
        self._show_again(collection, row)
        return True
