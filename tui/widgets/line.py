"""One line of text drawn cell by cell: a left part, a right part, and nothing is sent unless it changed."""

from __future__ import annotations

from rich.cells import cell_len
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.theme import Cells
from tui.wiring import OurApp


class Lines(Widget):
    """A block of lines that a subclass or an owner sets; only the lines that changed are repainted."""

    DEFAULT_CSS = "Lines { height: 1; width: 1fr; }"
    app = OurApp()

    def __init__(
        self,
        lines: list[Cells] | None = None,
        *,
        on: str = "background",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Cells] = lines or []
        self._on = on

    def show(self, lines: list[Cells]) -> None:
        """Show `lines`; the widget's own height decides how many are seen."""
        old, self._lines = self._lines, lines
        if not self.size.width and old != lines:
            self.refresh()  # it is not laid out: a stretch of no width would leave what Textual has in its cache
            return
        for index in range(max(len(old), len(lines))):
            if (old[index] if index < len(old) else None) != (lines[index] if index < len(lines) else None):
                self.refresh(Region(0, index, self.size.width, 1))

    @property
    def plain(self) -> str:
        """The text without its colours."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def render_line(self, y: int) -> Strip:
        cells = self._lines[y] if y < len(self._lines) else []
        return self.app.paint.strip(cut(cells, self.size.width), self.size.width, self._on)


class Line(Lines):
    """A left and a right part in one line; the left one gives way."""

    def __init__(self, left: Cells | None = None, right: Cells | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left, self._right = left or [], right or []

    def set(self, left: Cells, right: Cells | None = None) -> None:
        """Replace both parts; repaints only on a change."""
        right = right or []
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    @property
    def plain(self) -> str:
        return "".join(text for text, _ in [*self._left, ("  ", ""), *self._right])

    def render_line(self, y: int) -> Strip:
        return self.app.paint.strip(spread(self._left, self._right, self.size.width), self.size.width, self._on)


def spread(left: Cells, right: Cells, width: int) -> Cells:
    """Both parts in one line of `width` cells; the left one is cut at a word when they do not both fit."""
    left = cut(left, width - width_of(right) - (1 if right else 0))
    gap = width - width_of(left) - width_of(right)
    return [*left, (" " * max(0, gap), "text"), *right]


def cut(cells: Cells, room: int) -> Cells:
    """The pieces that fit into `room` cells, the last one shortened at a blank where it has one; blanks and rules at
    the end are no loss.
    """
    if width_of(cells) <= room:
        return cells
    whole = list(cells)
    while whole and (over := width_of(whole) - room) > 0 and not whole[-1][0].strip(" ─"):
        text, role = whole.pop()
        if len(text) > over:
            whole.append((text[:-over], role))
    if whole:
        whole[-1] = (whole[-1][0].rstrip(), whole[-1][1])
    if width_of(whole) <= room:
        return whole
    taken: Cells = []
    room -= 1
    for text, role in whole:
        length = cell_len(text)
        if length <= room:
            taken.append((text, role))
            room -= length
            continue
        if room >= 0:
            from rich.cells import set_cell_size

            head = set_cell_size(text, room)
            blank = head.rstrip().rfind(" ")
            taken.append(((head[:blank] if blank > room // 2 else head.rstrip()) + "…", role))
        break
    return taken


def width_of(cells: Cells) -> int:
    """Width in terminal cells."""
    return sum(cell_len(text) for text, _ in cells)
