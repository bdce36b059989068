"""What Dataset does to images: mark, mark as reviewed, copy the path, move to the trash."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding

from core.text import count_of, printable
from tui.screens.filtering import FilterKeys
from tui.widgets.item_list import ItemList

if TYPE_CHECKING:
    from tui.collection import Row


class RowKeys(FilterKeys):
    """The part of Dataset that acts on the marked images, or on the one under the cursor."""

    BINDINGS = [
        Binding("m", "reviewed", "reviewed", show=False, id="list.reviewed", tooltip="Mark as reviewed, or not"),
        Binding("y", "copy", "copy path", show=False, id="list.copy", tooltip="Copy the path to the clipboard"),
        Binding("D", "trash", "to the trash", show=False, id="list.trash", tooltip="Move to the trash"),
    ]

    @abstractmethod
    def _title(self) -> None:
        """Draw the title: which images, how many."""

    @on(ItemList.Marked, "#images")
    def _mark(self, event: ItemList.Marked) -> None:
        collection = self.app.collection
        if collection is None:
            return
        rows = [collection.shown[index] for index in event.indices]
        marked = not all(row.marked for row in rows) if event.on is None else event.on
        for index, row in zip(event.indices, rows, strict=True):
            row.marked = marked
            if len(rows) == 1:
                self.images.row_changed(index)
        if len(rows) > 1:
            self.images.refresh()
        self._title()

    def _chosen_rows(self) -> list[Row]:
        """The marked images, or the one under the cursor."""
        collection = self.app.collection
        marked = [row for row in collection.shown if row.marked] if collection is not None else []
        row = self._row()
        return marked or ([row] if row is not None else [])

    def action_reviewed(self) -> None:
        from core.dataset.marks import mark_reviewed

        rows, workspace = self._chosen_rows(), self.app.workspace
        if not rows or workspace is None:
            return
        on = not all(row.reviewed for row in rows)
        for row in rows:
            row.reviewed = on
        self.images.refresh()
        keys = [row.key for row in rows]
        self.app.writer.submit(lambda: mark_reviewed(workspace, keys, on), self.app.undoing.wrote, self.app.report)

    def action_copy(self) -> None:
        if (row := self._row()) is not None:
            self.app.copy_to_clipboard(str(row.item.path))
            self.notify(f"copied: {printable(str(row.item.path))}", markup=False, timeout=3)

    @work(exit_on_error=False)
    async def action_trash(self) -> None:
        from tui.screens.dialogs import Confirm
        from tui.trash import trash_images

        rows = self._chosen_rows()
        if not rows or self.app.workspace is None:
            return
        names = ", ".join(row.name for row in rows[:3]) + (f" and {len(rows) - 3:,} more" if len(rows) > 3 else "")
        answer = await self.app.push_screen_wait(
            Confirm(
                f"Move {count_of(len(rows), 'image')} to the trash?",
                f"{names}, with their captions. u brings them back.",
                "Move to the trash",
            )
        )
        if answer == "yes":
            trash_images(self.app, rows)
