"""The tree in Dataset: the datasets of the workspace, and below the open one its subsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work
from textual.message import Message

from tui.widgets.dataset_rows import TreeRows
from tui.widgets.item_list import ItemList

if TYPE_CHECKING:
    from core.dataset.model import Subset


class DatasetTree(ItemList):
    """Counts images on a thread; posts `Listed` when the rows are others."""

    class Listed(Message):
        """There are other rows."""

    def __init__(self) -> None:
        self._tree = TreeRows()
        super().__init__(self._tree, id="tree")

    @property
    def entries(self) -> list[tuple[str, Subset | None, int]]:
        """(dataset, subset or None for the dataset itself, images) of each row."""
        return self._tree.entries

    @work(thread=True, exclusive=True, group="tree", exit_on_error=False)
    def list_datasets(self) -> None:
        """Look what there is now."""
        from tui.collection import subsets_with_counts

        workspace = self.app.workspace
        if workspace is not None:
            found = {name: subsets_with_counts(workspace, name) for name in workspace.dataset_names()}
            self.app.call_from_thread(self._listed, found)

    def _listed(self, found: dict[str, list[tuple[Subset, int]]]) -> None:
        self._tree.fill(found, self.app.active_dataset or "")
        subset = self.app.collection.subset if self.app.collection is not None else ""
        self.set_rows(self._tree, self._tree.place_of(self.app.active_dataset or "", subset))
        self.post_message(self.Listed())
