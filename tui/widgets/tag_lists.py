"""The two lists of the tags panel: every tag, sorted and filtered, and the traits of a trigger word."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from core.dataset.captions import tag_key
from tui.widgets.item_list import ItemList
from tui.widgets.tag_rows import TagListRows, TraitRows

if TYPE_CHECKING:
    from core.dataset.tag_table import TagRow
    from core.dataset.traits import Trait
    from tui.tag_counts import Counted


class TagList(ItemList):
    """`order` is one of `Counted.orders`; `word` is what a tag must have in it."""

    def __init__(self) -> None:
        super().__init__(TagListRows(), marking=True, empty="counting…", id="tags")
        self.order, self.word = "count", ""
        self._counted: Counted | None = None
        self._marked: Collection[str] = ()

    @property
    def row(self) -> TagRow | None:
        """The tag under the cursor."""
        rows = self.rows
        return rows.rows[self.cursor] if isinstance(rows, TagListRows) and 0 <= self.cursor < len(rows) else None

    def take(self, counted: Counted, marked: Collection[str]) -> None:
        """Other tags; the cursor stays on the tag where it is, or on its place."""
        self._counted, self._marked = counted, marked
        self.put_in_order(self.row.tag if self.row is not None else None)

    def put_in_order(self, tag: str | None, place: int | None = None) -> None:
        """Show them in the order and with the word that are set; the cursor goes to `tag`, else to `place`."""
        counted = self._counted
        if counted is None:
            return
        found, word = counted.orders[self.order], tag_key(self.word)
        if word:
            found = [at for at in found if word in counted.keys[at]]
        self.empty = "no tag has this in it" if word else "no caption has a tag"
        if tag is not None and (key := tag_key(tag)):
            place = next((at for at, number in enumerate(found) if counted.keys[number] == key), place)
        self.set_rows(TagListRows([counted.rows[at] for at in found], self._marked), place)

    def mark(self, marked: Collection[str]) -> None:
        """These are marked now."""
        self._marked = marked
        if isinstance(self.rows, TagListRows):
            self.rows.marked = marked
        self.refresh()

    def tags_at(self, places: Collection[int]) -> list[str]:
        """The tags in these rows."""
        rows = self.rows
        return [rows.rows[at].tag for at in places] if isinstance(rows, TagListRows) else []


class TraitList(ItemList):
    """The cursor steps over the lines of the bands; the first row is always one."""

    def __init__(self) -> None:
        super().__init__(TraitRows(), marking=True, id="traits", classes="-off")

    @property
    def row(self) -> Trait | None:
        """The trait under the cursor."""
        rows = self.rows
        return rows.trait_at(self.cursor) if isinstance(rows, TraitRows) else None

    def take(self, counted: Counted, marked: Collection[str]) -> None:
        """Judged anew; the cursor stays on its trait, or on its place."""
        rows, old = TraitRows(counted.report, marked), self.row
        self.empty = "no tag comes with it that often" if counted.report is not None else ""
        place = max(1, self.cursor)
        if old is not None:
            trait = (rows.trait_at(at) for at in range(len(rows)))
            place = next((at for at, each in enumerate(trait) if each is not None and each.tag == old.tag), place)
        if rows.trait_at(place) is None:
            place = place + 1 if rows.trait_at(place + 1) is not None else len(rows) - 1
        self.set_rows(rows, place if len(rows) else None)

    def move(self, index: int) -> None:
        rows = self.rows
        index = min(max(index, 1), len(rows) - 1)
        if isinstance(rows, TraitRows) and len(rows) and rows.trait_at(index) is None:
            index += 1 if index > self.cursor else -1
        super().move(index)

    def mark(self, marked: Collection[str]) -> None:
        """These are marked now."""
        if isinstance(self.rows, TraitRows):
            self.rows.marked = marked
        self.refresh()

    def tags_at(self, places: Collection[int]) -> list[str]:
        """The tags in these rows."""
        rows = self.rows
        found = [rows.trait_at(at) for at in places] if isinstance(rows, TraitRows) else []
        return [trait.tag for trait in found if trait is not None]
