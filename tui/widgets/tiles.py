"""Small pictures in rows and columns, drawn as half blocks by one widget: the sample strip and the sample grid.

Thumbnails are read on a thread, only for tiles in sight, the newest request first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.segment import Segment
from textual import work
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import get_current_worker

from core.problems import UserError
from tui.theme import Cells, fit
from tui.wiring import OurApp


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture by its path; `mtime` makes one that was written again a different tile."""

    path: Path
    mtime: float


Grid = Sequence[Sequence[Tile | None]]


class TileGrid(Widget):
    """Rows of tiles below column labels; scrolls by whole tiles so that the cursor (row, column) stays in sight.

    Without a cursor the newest columns are shown. `tile_size` is in cells.
    """

    DEFAULT_CSS = "TileGrid { width: 1fr; height: 1fr; }"
    app = OurApp()

    def __init__(
        self,
        *,
        tile_size: tuple[int, int] = (8, 4),
        gap: int = 1,
        on: str = "background",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.tile_size = tile_size
        self.gap = gap
        self._on = on
        self.cursor: tuple[int, int] | None = None
        self._columns: list[str] = []
        self._grid: list[list[Tile | None]] = []
        self._drawn: dict[tuple[Tile, int, int], list[Strip] | None] = {}
        self._first = (0, 0)

    def on_mount(self) -> None:
        self.app.pictures_changed.subscribe(self, lambda _: self._again())
        self.app.theme_changed_signal.subscribe(self, lambda _: self._again())

    def set_tiles(self, columns: Sequence[str], grid: Grid) -> None:
        """Column labels and rows of tiles; repaints only when something is different."""
        new = [list(row) for row in grid]
        if (list(columns), new) != (self._columns, self._grid):
            self._columns, self._grid = list(columns), new
            self._settle()

    def move(self, row: int, column: int) -> None:
        """Put the cursor on a tile."""
        cursor = (max(0, min(row, len(self._grid) - 1)), max(0, min(column, len(self._columns) - 1)))
        if cursor != self.cursor:
            self.cursor = cursor
            self._settle()

    @property
    def fits(self) -> tuple[int, int]:
        """Rows and columns of tiles in sight."""
        width, height = self.tile_size
        rows = max(1, (self.size.height - 1 + 1) // (height + 1))
        return rows, max(1, (self.size.width + self.gap) // (width + self.gap))

    def on_resize(self) -> None:
        self._settle()

    def _again(self) -> None:
        self._drawn.clear()
        self._settle()

    def _settle(self) -> None:
        """Scroll to the cursor (or the newest column), ask for what is in sight, repaint."""
        rows, columns = self.fits
        top, left = self._first
        if self.cursor is None:
            top, left = 0, max(0, len(self._columns) - columns)
        else:
            row, column = self.cursor
            top = min(max(top, row - rows + 1), row, max(0, len(self._grid) - rows))
            left = min(max(left, column - columns + 1), column, max(0, len(self._columns) - columns))
        self._first = (top, left)
        self.refresh()
        self._request()

    @property
    def _hidden(self) -> bool:
        return self.app.pictures_hidden or self.app.graphics.protocol == "off"

    def _in_sight(self) -> list[Tile]:
        (rows, columns), (top, left) = self.fits, self._first
        return [
            tile
            for row in self._grid[top : top + rows]
            for tile in reversed(row[left : left + columns])
            if tile is not None
        ]

    def _request(self) -> None:
        if self._hidden or not self.size.width:
            return
        width, height = self.tile_size
        wanted = [tile for tile in self._in_sight() if (tile, width, height) not in self._drawn]
        if wanted:
            self._load(wanted, width, height, self.app.paint.rgb(self._on))

    @work(thread=True, exclusive=True, group="tiles", exit_on_error=False, description="load tiles")
    def _load(self, tiles: list[Tile], width: int, height: int, behind: tuple[int, int, int]) -> None:
        from core.dataset.thumbs import thumbnail
        from tui.widgets.blocks import half_blocks

        worker = get_current_worker()
        for tile in tiles:
            if worker.is_cancelled:
                return
            strips: list[Strip] | None
            try:
                strips = half_blocks(thumbnail(tile.path, (width, 2 * height)), width, height, behind)
            except (UserError, OSError):
                strips = None  # half written or gone; a later mtime makes it another tile
            self.app.call_from_thread(self._loaded, tile, width, height, strips)

    def _loaded(self, tile: Tile, width: int, height: int, strips: list[Strip] | None) -> None:
        if len(self._drawn) > 400:
            self._drawn.clear()
        self._drawn[(tile, width, height)] = strips
        if (width, height) != self.tile_size or not self.is_attached:
            return
        top, left = self._first
        for y, row in enumerate(self._grid[top:]):
            for x, other in enumerate(row[left:]):
                if other == tile:
                    self.refresh(Region(x * (width + self.gap), 1 + y * (height + 1), width, height))

    def render_line(self, y: int) -> Strip:
        paint = self.app.paint
        width, height = self.tile_size
        (rows, columns), (top, left) = self.fits, self._first
        shown = range(left, min(len(self._columns), left + columns))
        if y == 0:
            return paint.strip(self._labels(shown, top), self.size.width, self._on)
        row, inside = top + (y - 1) // (height + 1), (y - 1) % (height + 1)
        if row >= min(len(self._grid), top + rows):
            return Strip.blank(self.size.width, paint("text", self._on))
        if inside == height:
            return paint.strip(self._labels(shown, row + 1, below=True), self.size.width, self._on)
        segments: list[Segment] = []
        for column in shown:
            tile = self._grid[row][column] if column < len(self._grid[row]) else None
            strips = self._drawn.get((tile, width, height)) if tile is not None else None
            if strips is not None and not self._hidden:
                segments.extend(strips[inside])
            else:
                mark = "" if tile is None or inside != height // 2 else "hidden" if self._hidden else "·"
                if self._hidden and width < 8:
                    mark = "·" if mark else ""
                segments.append(
                    Segment(f"{mark:^{width}}"[:width], paint("rule" if tile is None else "muted", self._on))
                )
            segments.append(Segment(" " * self.gap, paint("text", self._on)))
        return Strip(segments).adjust_cell_length(self.size.width, paint("text", self._on))

    def _labels(self, shown: range, row: int, *, below: bool = False) -> Cells:
        """Column labels above the first row; below a row only the line under the tile that has the cursor."""
        width = self.tile_size[0]
        cells: Cells = []
        for column in shown:
            here = self.cursor == (row - 1 if below else row, column) if below else False
            on_column = self.cursor is not None and self.cursor[1] == column
            if below:
                cells.append(("▔" * width if here else " " * width, "accent"))
            else:
                cells.append((fit(self._columns[column], width), "accent bold" if on_column else "muted"))
            cells.append((" " * self.gap, "text"))
        return cells
