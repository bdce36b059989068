"""The tags of one image as a list: number, tag, category letter, confidence; the keep_tokens bar; a last row to add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.dataset.captions import tag_key
from core.text import printable
from tui.theme import CATEGORIES, Cells, fit
from tui.widgets.item_list import ItemList


def bar(share: float, width: int) -> str:
    """`share` (0..1) as a thin bar, exact to half a cell: blocks in every line would outshine the picture."""
    full, half = divmod(round(max(0.0, min(1.0, share)) * width * 2), 2)
    return "━" * full + "╸" * half


class TagRows:
    """Rows of a TagEditor. `bar_at` is the row of the keep_tokens bar, -1 when there is none."""

    def __init__(self) -> None:
        self.tags: tuple[str, ...] = ()
        self.trigger: frozenset[str] = frozenset()
        self.categories: Mapping[str, str] = {}
        self.scores: Mapping[str, float] = {}
        """By tag_key."""
        self.keep_tokens: int | None = None
        self.quick: Sequence[str] = ()

    @property
    def bar_at(self) -> int:
        return self.keep_tokens if self.keep_tokens and self.keep_tokens < len(self.tags) else -1

    def __len__(self) -> int:
        return len(self.tags) + 1 + (self.bar_at >= 0)

    def tag_at(self, row: int) -> int | None:
        """The place of the tag in a row; None for the bar and for the last row."""
        bar_at = self.bar_at
        if row == bar_at and bar_at >= 0:
            return None
        place = row - (bar_at >= 0 and row > bar_at)
        return place if 0 <= place < len(self.tags) else None

    def row_of(self, place: int) -> int:
        """The row of the tag at a place."""
        bar_at = self.bar_at
        return place + (bar_at >= 0 and place >= bar_at)

    def cells(self, index: int, width: int) -> Cells:
        if index == self.bar_at and index >= 0:
            return [("    " + ("── keep_tokens " + "─" * width)[: width - 6], "rule")]
        place = self.tag_at(index)
        if place is None:
            return [("    + add…", "accent")]
        tag = self.tags[place]
        key = tag_key(tag)
        score = self.scores.get(key)
        meter = 10 if width >= 50 else 6 if width >= 40 else 0
        right = 5 + (meter + 1 if meter else 0) if score is not None or self.scores else 0
        room = max(8, width - 4 - 3 - right - 1)
        letter, role = CATEGORIES.get(self.categories.get(tag.replace("_", " ").lower(), ""), (" ", "text"))
        number = (f"{place + 1:>3} ", "muted")
        if key in self.trigger:
            room = max(8, min(room, width - 4 - len(" trigger")))
            return [number, (fit(printable(tag), room), "text"), (" trigger", "second")]
        cells: Cells = [number, (fit(printable(tag), room), "text")]
        cells.append((f" {letter} ", role))
        if score is not None:
            cells.append((f" {score:.2f}", "muted"))
            if meter:
                cells.append((f" {bar(score, meter)}", role if letter != " " else "second"))
        return cells


class TagEditor(ItemList):
    """The cursor steps over the bar."""

    def __init__(self, *, id: str | None = None) -> None:
        self.tag_rows = TagRows()
        super().__init__(self.tag_rows, id=id)

    @property
    def place(self) -> int | None:
        """The place of the tag under the cursor; None on the last row."""
        return self.tag_rows.tag_at(self.cursor)

    def move(self, index: int) -> None:
        if index == self.tag_rows.bar_at and index >= 0:
            index += 1 if index > self.cursor else -1
        super().move(index)

    def put(self, place: int) -> None:
        """Show the rows anew with the cursor on the tag at `place`."""
        place = min(max(place, 0), max(0, len(self.tag_rows.tags) - 1))
        self.rows_changed(self.tag_rows.row_of(place) if self.tag_rows.tags else 0)
