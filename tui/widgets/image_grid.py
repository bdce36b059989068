"""Images as a list or as tiles: one widget draws what is in sight, however many there are.

Thumbnails are made on two threads, only for tiles in sight and the newest first. While the tiles scroll they show
names: pictures come when the keys rest.
"""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, cast, runtime_checkable

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.filter import LineFilter
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.timer import Timer

from core.dataset.thumbs import Requests
from core.text import printable
from tui.theme import Cells, fit
from tui.widgets.blocks import half_blocks
from tui.widgets.dataset_rows import ImageRows
from tui.widgets.image_view import FAR, FAR_REST, REST
from tui.widgets.item_list import ItemList
from tui.widgets.tiles import Tile

if TYPE_CHECKING:
    from tui.pictures import Ready
    from tui.rows import Row
    from tui.widgets.sent_picture import KittyPicture

WIDTHS = (10, 14, 18, 26, 40)
"""Cells of a tile, about; `+` and `-` go through them."""
TOGETHER = 0.05
"""Seconds of thumbnails that reach the screen in one message."""
TILE_BYTES = 9_000
"""What a kitty picture may take in a tile."""
THREADS = 2


@runtime_checkable
class Faces(Protocol):
    """Rows that can be shown as tiles. Asked for what is in sight only."""

    def __len__(self) -> int: ...

    def cells(self, index: int, width: int) -> Cells: ...

    def tile(self, index: int) -> Tile:
        """The picture of an image."""
        ...

    def label(self, index: int, width: int) -> Cells:
        """The line below it."""
        ...


class ImageFaces(ImageRows):
    """The images that are shown, with their marks and names."""

    def row(self, index: int) -> Row:
        """The image of a tile."""
        return self.collection.shown[index]

    def tile(self, index: int) -> Tile:
        item = self.row(index).item
        return Tile(item.path, item.mtime_ns / 1e9)

    def label(self, index: int, width: int) -> Cells:
        row = self.row(index)
        mark, role = ("✱", "accent") if row.marked else ("●", "good") if row.reviewed else (" ", "text")
        if row.error is not None or (row.is_read and row.size is None):
            mark, role = "!", "bad"
        tags = f" {len(row.tags)}" if row.tags else " –" if row.is_untagged else ""
        name = fit(printable(row.name.rpartition(".")[0]), width - 2 - len(tags), middle=True)
        return [(f"{mark} ", role), (name, "text"), (tags, "caution" if row.is_untagged else "muted")]


_Key = tuple[Tile, int, int, str]
"""A picture, the cells it has, and the protocol that draws it."""
_Made = tuple[_Key, "list[Strip] | Ready | None"]


class ImageGrid(ItemList):
    """An ItemList that can show its rows as tiles (`as_tiles`), if they are `Faces`."""

    BINDINGS: ClassVar = [
        Binding("left,h", "side(-1)", "left", show=False, id="list.left"),
        Binding("right,l", "side(1)", "right", show=False, id="list.right"),
        Binding("plus", "resize_tiles(1)", "larger tiles", show=False, id="list.larger", key_display="+"),
        Binding("minus", "resize_tiles(-1)", "smaller tiles", show=False, id="list.smaller", key_display="-"),
    ]

    as_tiles = False
    """Set with `show_tiles`."""

    def __init__(
        self, rows: Faces | None = None, *, marking: bool = False, empty: str = "", id: str | None = None
    ) -> None:
        super().__init__(rows, marking=marking, empty=empty, id=id)
        self._wide = WIDTHS.index(18)
        self._pictures: dict[_Key, list[Strip] | None] = {}
        self._sent: dict[_Key, KittyPicture] = {}
        self._requests: Requests[_Key] = Requests()
        self._working = 0
        self._scrolled_at = 0.0
        self._is_resting = True
        self._rest: Timer | None = None

    def show_tiles(self, on: bool) -> None:
        """Tiles or a list; the cursor stays on its image."""
        self.as_tiles = on
        self.scroll_to(y=0, animate=False, force=True, immediate=True)
        self._set_height()
        self._follow()
        self.refresh()
        self._settle()

    # Geometry

    @property
    def _columns(self) -> int:
        return max(1, round(self.scrollable_content_region.width / (WIDTHS[self._wide] + 1))) if self.as_tiles else 1

    @property
    def _tile(self) -> tuple[int, int]:
        """Cells of a picture; the label is a line below, and a column to the left of it belongs to the tile too."""
        width = max(4, self.scrollable_content_region.width // self._columns - 1)
        return width, min(width // 2 + 1, max(3, self.size.height - 1))

    @property
    def _pitch(self) -> int:
        return self._tile[1] + 1 if self.as_tiles else 1

    def visible_rows(self) -> range:
        if not self.as_tiles:
            return super().visible_rows()
        columns, pitch, top = self._columns, self._pitch, self.scroll_offset.y
        return range(
            min(top // pitch * columns, len(self.rows)),
            min(-(-(top + self.size.height) // pitch) * columns, len(self.rows)),
        )

    def _set_height(self) -> None:
        self.virtual_size = Size(self.size.width, -(-len(self.rows) // self._columns) * self._pitch)

    def _follow(self) -> None:
        if not self.as_tiles:
            super()._follow()
            return
        height, top, pitch = self.size.height, self.scroll_offset.y, self._pitch
        if height <= 0 or self.cursor < 0:
            return
        row = self.cursor // self._columns
        page = max(1, height // pitch)
        if row * pitch < top:
            self.scroll_to(y=row * pitch, animate=False, force=True, immediate=True)
        elif (row + 1) * pitch > top + height:
            self.scroll_to(y=(row - page + 1) * pitch, animate=False, force=True, immediate=True)

    def _redraw(self) -> None:
        if self.as_tiles:
            self.refresh()
        else:
            super()._redraw()

    def refresh_line(self, y: int) -> None:
        """Of a tile: the lines that the cursor and the marks change."""
        if not self.as_tiles:
            super().refresh_line(y)
            return
        row, column = divmod(y, self._columns)
        width, height = self._tile
        above = row * self._pitch - self.scroll_offset.y
        self.refresh(Region(column * (width + 1), above + height, width + 1, 1))
        self.refresh(Region(column * (width + 1), above, 1, height))

    # Keys and mouse

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in {"side", "resize_tiles"}:
            return self.as_tiles
        return super().check_action(action, parameters)

    def action_cursor(self, by: int) -> None:
        target = self.cursor + by * self._columns
        last = len(self.rows) - 1
        if target > last and self.cursor // self._columns < last // self._columns:
            target = last
        if 0 <= target <= last:
            self.move(target)

    def action_side(self, by: int) -> None:
        self.move(self.cursor + by)

    def action_half_page(self, direction: int) -> None:
        self.move(self.cursor + direction * max(1, self.size.height // 2 // self._pitch) * self._columns)

    def action_page(self, direction: int) -> None:
        self.move(self.cursor + direction * max(1, self.size.height // self._pitch) * self._columns)

    def action_resize_tiles(self, by: int) -> None:
        wide = min(max(self._wide + by, 0), len(WIDTHS) - 1)
        if wide != self._wide:
            self._wide = wide
            self.show_tiles(True)

    async def on_click(self, event: events.Click) -> None:
        if not self.as_tiles:
            return
        event.prevent_default()
        column = event.x // (self._tile[0] + 1)
        index = (event.y + self.scroll_offset.y) // self._pitch * self._columns + column
        if column < self._columns and 0 <= index < len(self.rows):
            again = index == self.cursor and event.chain > 1
            self.move(index)
            if again:
                self.action_open()

    # Pictures

    def on_mount(self) -> None:
        self.app.pictures_changed.subscribe(self, lambda _: self._forget())
        self.app.theme_changed_signal.subscribe(self, lambda _: self._forget())

    def on_unmount(self) -> None:
        self._drop(0)

    def on_resize(self) -> None:
        self._settle()

    def rows_changed(self, cursor: int | None = None) -> None:
        super().rows_changed(cursor)
        self._settle()

    def rows_grew(self) -> None:
        super().rows_grew()
        self._settle()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self.as_tiles and round(old_value) != round(new_value):
            now = time.monotonic()
            alone, self._scrolled_at = now - self._scrolled_at > 4 * REST, now
            self._is_resting = alone and not FAR
            self._settle(0.001 if self._is_resting else FAR_REST if FAR else REST)

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [] if self._sent else super().get_line_filters()  # the colour of a kitty cell is a number

    @property
    def _protocol(self) -> str:
        """Sixel pictures cannot be scrolled, and terminals keep few of them: there the tiles are half blocks."""
        protocol = self.app.graphics.protocol
        return "off" if self.app.pictures_hidden else "blocks" if protocol == "sixel" else protocol

    def _forget(self) -> None:
        self._drop(0)
        self.refresh()
        self._settle()

    def _drop(self, keep: int, seen: Container[_Key] = ()) -> None:
        """Forget all pictures but those that are seen and about `keep` others."""
        for key in [each for each in self._pictures if each not in seen][: max(0, len(self._pictures) - keep)]:
            del self._pictures[key]
            if (sent := self._sent.pop(key, None)) is not None:
                sent.free(self._write)

    def _write(self, text: str) -> None:
        driver = self.app._driver
        if driver is not None and not self.app._exit:
            driver.write(text)

    def _settle(self, wait: float = 0.001) -> None:
        if self.as_tiles and self.is_mounted:
            if self._rest is not None:
                self._rest.stop()
            self._rest = self.set_timer(wait, self._rested)

    def _rested(self) -> None:
        if not self._is_resting:
            self._is_resting = True
            self.refresh()
        self._request()

    def _key(self, index: int) -> _Key:
        return (cast(Faces, self.rows).tile(index), *self._tile, self._protocol)

    def _request(self) -> None:
        if self._protocol == "off" or not self.as_tiles or not self.display or not self.size.width:
            return
        near = self.cursor // self._columns
        order = sorted(self.visible_rows(), key=lambda index: (abs(index // self._columns - near), index))
        wanted = [key for key in map(self._key, order) if key not in self._pictures]
        self._requests.want(wanted)
        for _ in range(min(THREADS - self._working, len(wanted))):
            self._working += 1
            self.run_worker(self._make, thread=True, group="tiles", exit_on_error=False)

    def _make(self) -> None:
        """On a thread: thumbnails until nothing is wanted any more."""
        behind = self.app.paint.rgb(self._on)
        try:
            made: list[_Made] = []
            since = time.monotonic()
            while (key := self._requests.take()) is not None and not self.app._exit:
                made.append((key, self._draw(key, behind)))
                if time.monotonic() - since > TOGETHER:
                    self.app.call_from_thread(self._loaded, made)
                    made, since = [], time.monotonic()
            if made:
                self.app.call_from_thread(self._loaded, made)
        finally:
            self.app.call_from_thread(self._ended)

    def _ended(self) -> None:
        self._working -= 1
        if self._working == 0 and self.is_attached:
            self._request()

    def _draw(self, key: _Key, behind: tuple[int, int, int]) -> list[Strip] | Ready | None:
        from core.dataset.thumbs import thumbnail
        from core.problems import UserError

        tile, width, height, protocol = key
        try:
            if protocol == "blocks":
                return half_blocks(thumbnail(tile.path, (width, 2 * height)), width, height, behind)
            from tui.pictures import ready

            cell = self.app.graphics.cell
            picture = thumbnail(tile.path, (width * cell[0], height * cell[1]))
            return ready(picture, protocol, (width, height), cell, TILE_BYTES)
        except (UserError, OSError):
            return None

    def _loaded(self, made: list[_Made]) -> None:
        if not self.is_attached:
            return
        places = {self._key(index): index for index in self.visible_rows()} if self.as_tiles else {}
        for key, picture in made:
            if isinstance(picture, list) or picture is None:
                self._pictures[key] = picture
            elif key[3] == self._protocol and key not in self._pictures:
                self._pictures[key] = self._placed(key, picture)
            index = places.get(key)
            if index is not None and self._is_resting:
                row, column = divmod(index, self._columns)
                above = row * self._pitch - self.scroll_offset.y
                self.refresh(Region(column * (key[1] + 1) + 1, above, key[1], key[2]))
        self._drop(max(64, 3 * len(places)), places)

    def _placed(self, key: _Key, made: Ready) -> list[Strip]:
        from tui.widgets.sent_picture import KittyPicture

        _, width, height, _ = key
        sent = self._sent[key] = KittyPicture(made)
        sent.send(self._write)
        ground = self.app.paint("text", self._on)
        left, top = (width - made.cells[0]) // 2, (height - made.cells[1]) // 2
        before, after = Segment(" " * left, ground), Segment(" " * (width - left - made.cells[0]), ground)
        blank = Strip([Segment(" " * width, ground)], width)
        below = height - top - made.cells[1]
        return [*[blank] * top, *(Strip([before, line, after], width) for line in sent.lines()), *[blank] * below]

    # Drawing

    def render_line(self, y: int) -> Strip:
        if not self.as_tiles or not len(self.rows):
            return super().render_line(y)
        paint, (width, height), columns = self.app.paint, self._tile, self._columns
        row, inside = divmod(y + self.scroll_offset.y, height + 1)
        segments: list[Segment] = []
        ground = paint("text", self._on)
        for index in range(row * columns, min((row + 1) * columns, len(self.rows))):
            on_it = index == self.cursor
            role = "accent" if self.has_focus else "muted"
            segments.append(Segment("▌", paint(role, self._on)) if on_it else Segment(" ", ground))
            if inside < height:
                segments += self._tile_line(index, inside, width, height)
                continue
            back = ("cursor" if self.has_focus else "cursor-away") if on_it else self._on
            label = cast(Faces, self.rows).label(index, width)
            if on_it:
                label = [(text, "text bold" if each in {"text", "muted"} else each) for text, each in label]
            segments += paint.strip(label, width, back)
        return Strip(segments).adjust_cell_length(self.scrollable_content_region.width, ground)

    def _tile_line(self, index: int, inside: int, width: int, height: int) -> list[Segment]:
        mark = ""
        if self._protocol == "off":
            mark = "hidden" if inside == height // 2 else ""
        elif self._is_resting and (key := self._key(index)) in self._pictures:
            picture = self._pictures[key]
            if picture is not None:
                return list(picture[inside])
            mark = "unreadable" if inside == height // 2 else ""
        elif inside == height // 2:
            mark = "·"
        return [Segment(f"{mark:^{width}}"[:width], self.app.paint("muted", self._on))]
