"""A list drawn line by line: a move of the cursor repaints two lines, and nothing is mounted per row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol, Self

from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.theme import Cells
from tui.widgets.line import cut
from tui.wiring import OurApp


class Rows(Protocol):
    """What a list shows. `cells` is asked for visible rows only, each time one is painted."""

    def __len__(self) -> int: ...

    def cells(self, index: int, width: int) -> Cells: ...


class Texts:
    """Rows that are known beforehand."""

    def __init__(self, rows: Iterable[Cells | str] = ()) -> None:
        self._rows = [[(f" {row}", "text")] if isinstance(row, str) else row for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def cells(self, index: int, width: int) -> Cells:
        return self._rows[index]


class ItemList(ScrollView, can_focus=True, inherit_bindings=False):
    """Keeps the cursor; the rows belong to the owner, who calls `set_rows` or `rows_changed` when they are others.

    While `marking` is set, space, `v` and `A` change `marked` (row numbers) and post `Marked`.
    """

    DEFAULT_CSS = """
    ItemList { height: 1fr; width: 1fr; overflow-x: hidden; overflow-y: auto; background: $background; }
    """
    app = OurApp()
    BINDINGS: ClassVar = [
        Binding("down,j", "cursor(1)", "down", show=False, id="list.down"),
        Binding("up,k", "cursor(-1)", "up", show=False, id="list.up"),
        Binding("g,home", "first", "first", show=False, id="list.first"),
        Binding("G,end", "last", "last", show=False, id="list.last"),
        Binding("ctrl+d", "half_page(1)", "half a page down", show=False, id="list.half-page-down"),
        Binding("ctrl+u", "half_page(-1)", "half a page up", show=False, id="list.half-page-up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page-down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page-up"),
        Binding("enter", "open", "open", show=False, id="list.open", key_display="⏎"),
        Binding("space", "mark", "mark", id="list.mark"),
        Binding(
            "v", "mark_range", "mark a range", show=False, id="list.range", tooltip="Mark from the last mark to here"
        ),
        Binding("A", "mark_all", "mark all matches", show=False, id="list.mark-all"),
    ]

    class Moved(Message):
        """The cursor is on another row (-1: there is none)."""

        def __init__(self, sender: ItemList, index: int) -> None:
            super().__init__()
            self.list, self.index = sender, index

        @property
        def control(self) -> ItemList:
            return self.list

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ItemList.Moved) and message.list is self.list

    class Opened(Message):
        """Enter, or a second click, on a row."""

        def __init__(self, sender: ItemList, index: int) -> None:
            super().__init__()
            self.list, self.index = sender, index

        @property
        def control(self) -> ItemList:
            return self.list

    class Marked(Message):
        """The user asks for these rows to be marked (or unmarked); the owner decides and repaints."""

        def __init__(self, sender: ItemList, indices: Sequence[int], on: bool | None) -> None:
            super().__init__()
            self.list, self.indices, self.on = sender, indices, on

        @property
        def control(self) -> ItemList:
            return self.list

    def __init__(
        self,
        rows: Rows | None = None,
        *,
        marking: bool = False,
        empty: str = "",
        on: str = "background",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: Rows = rows if rows is not None else Texts()
        self._marking = marking
        self._on = on
        self._anchor: int | None = None
        self._drawn: dict[int, tuple[Cells, str]] = {}
        """What each line of the screen showed last."""
        self.empty = empty
        """Shown instead of rows when there are none."""
        self.cursor = 0 if len(self._rows) else -1

    # The owner's side

    @property
    def rows(self) -> Rows:
        return self._rows

    def set_rows(self, rows: Rows, cursor: int | None = None) -> None:
        """Other rows; the cursor stays where it was as far as that exists."""
        self._rows = rows
        self.rows_changed(cursor)

    def rows_changed(self, cursor: int | None = None) -> None:
        """The rows grew, shrank or were sorted anew."""
        count = len(self._rows)
        wanted = self.cursor if cursor is None else cursor
        moved = min(max(wanted, 0), count - 1)
        self._anchor = None
        self._set_height()
        changed = moved != self.cursor or cursor is not None
        self.cursor = moved
        self._follow()
        self._redraw()
        if changed:
            self.post_message(self.Moved(self, moved))

    def rows_grew(self) -> None:
        """More rows came behind those that were there; what is on the screen stays as it is."""
        old = self.virtual_size.height
        self._set_height()
        if self.cursor < 0 and len(self._rows):
            self.cursor = 0
            self.post_message(self.Moved(self, 0))
        if old < self.scroll_offset.y + self.size.height:
            self.refresh()

    def row_changed(self, index: int) -> None:
        """Repaint one row."""
        if self.is_mounted:
            self.refresh_line(index)

    def move(self, index: int) -> None:
        """Put the cursor on a row; two lines are repainted, more only when the list scrolls."""
        index = min(max(index, 0), len(self._rows) - 1)
        if index == self.cursor or index < 0:
            return
        old, self.cursor = self.cursor, index
        self.refresh_line(old)
        self.refresh_line(index)
        self._follow()
        self.post_message(self.Moved(self, index))

    def visible_rows(self) -> range:
        """The rows that are on the screen now."""
        top = self.scroll_offset.y
        return range(top, min(len(self._rows), top + self.size.height))

    # Keys and mouse

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._marking if action in {"mark", "mark_range", "mark_all"} else True

    def action_cursor(self, by: int) -> None:
        self.move(self.cursor + by)

    def action_first(self) -> None:
        self.move(0)

    def action_last(self) -> None:
        self.move(len(self._rows) - 1)

    def action_half_page(self, direction: int) -> None:
        self.move(self.cursor + direction * max(1, self.size.height // 2))

    def action_page(self, direction: int) -> None:
        self.move(self.cursor + direction * max(1, self.size.height - 1))

    def action_open(self) -> None:
        if self.cursor >= 0:
            self.post_message(self.Opened(self, self.cursor))

    def action_mark(self) -> None:
        if self.cursor >= 0:
            self._anchor = self.cursor
            self.post_message(self.Marked(self, [self.cursor], None))
            self.move(self.cursor + 1)

    def action_mark_range(self) -> None:
        """From the last mark to the cursor; without one, the range starts here."""
        if self.cursor < 0:
            return
        start = self.cursor if self._anchor is None else self._anchor
        self.post_message(self.Marked(self, range(min(start, self.cursor), max(start, self.cursor) + 1), True))
        self._anchor = self.cursor

    def action_mark_all(self) -> None:
        self.post_message(self.Marked(self, range(len(self._rows)), None))

    async def on_click(self, event: events.Click) -> None:
        row = event.y + self.scroll_offset.y
        if 0 <= row < len(self._rows):
            again = row == self.cursor and event.chain > 1
            self.move(row)
            if again:
                self.action_open()

    # Drawing

    def _set_height(self) -> None:
        size = Size(self.size.width, len(self._rows))
        if size.height == self.virtual_size.height:  # the width alone is no reason to lay out the screen again
            self.set_reactive(ItemList.virtual_size, size)
        else:
            self.virtual_size = size

    def on_resize(self) -> None:
        self._set_height()
        self._follow()

    def focus(self, scroll_visible: bool = True) -> Self:
        # As Textual's, and in the two handlers below too, but for the repaint of everything: 5-9 kB a move.
        self.app.call_later(lambda: self.screen.set_focus(self, scroll_visible) if self.is_attached else None)
        return self

    def _on_focus(self, event: events.Focus) -> None:
        event.prevent_default()
        self.has_focus = True
        if self.parent is not None:
            self.parent.post_message(events.DescendantFocus(self))

    def _on_blur(self, event: events.Blur) -> None:
        event.prevent_default()
        self.has_focus = False
        if self.parent is not None:
            self.parent.post_message(events.DescendantBlur(self))

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        if self.cursor >= 0 and self.is_mounted:
            self.refresh_line(self.cursor)

    def _follow(self) -> None:
        height, top = self.size.height, self.scroll_offset.y
        if height <= 0 or self.cursor < 0:
            return
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True, immediate=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True, immediate=True)

    def _redraw(self) -> None:
        """Repaint the lines that are others now."""
        for y in range(self.size.height):
            if self._drawn.get(y) != self._line(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def refresh_line(self, y: int) -> None:
        self.refresh(Region(0, y - self.scroll_offset.y, self.size.width, 1))

    def _line(self, y: int) -> tuple[Cells, str]:
        """What a line of the screen is to show, and on which ground."""
        index = y + self.scroll_offset.y
        if index >= len(self._rows):
            return [(f" {self.empty}", "muted")] if index == 0 and self.empty else [], self._on
        width = self.scrollable_content_region.width  # without the bar, which lies over the last column
        cells = cut(list(self._rows.cells(index, width)), width)
        if index != self.cursor:
            return cells, self._on
        if not self.has_focus:
            return cells, "cursor-away"
        # Nothing is muted under the cursor: it stands out more, and costs a change of colour less.
        return [(text, "text" if role == "muted" else role) for text, role in cells], "cursor"

    def render_line(self, y: int) -> Strip:
        cells, ground = self._drawn[y] = self._line(y)
        return self.app.paint.strip(cells, self.scrollable_content_region.width, ground)
