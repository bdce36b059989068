"""A picture in the best way this terminal can: kitty or sixel through textual-image, else our own half blocks.

Reading and scaling happen on a thread; while a key repeats they wait for 80 ms of rest, so that a held key is free.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual import work
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from tui.wiring import OurApp

if TYPE_CHECKING:
    from PIL import Image

REST = 0.08
"""Seconds without another `show` before the picture is read."""


class ImageView(Widget):
    """`show(path)` or `show(picture)`; None clears it. What cannot be read is said in its place."""

    DEFAULT_CSS = "ImageView { width: 1fr; height: 1fr; background: $background; layers: base picture; }"
    app = OurApp()

    class Shown(Message):
        """The picture is drawn (or its error is); `error` is the sentence shown instead."""

        def __init__(self, sender: ImageView, error: str | None) -> None:
            super().__init__()
            self.view, self.error = sender, error

        @property
        def control(self) -> ImageView:
            return self.view

    def __init__(self, *, top: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._top = top
        """At the upper edge instead of in the middle."""
        self._source: Path | Image.Image | None = None
        self._drawn: tuple[object, Size, str] | None = None
        self._strips: list[Strip] = []
        self._text = ""
        self._timer: Any = None
        self._child: Any = None
        self._asked = 0.0

    @property
    def source(self) -> Path | Image.Image | None:
        """What is to be seen, whether or not it has been drawn yet."""
        return self._source

    @property
    def text(self) -> str:
        """The sentence in place of a picture, `""` while there is one."""
        return self._text

    def show(self, source: Path | Image.Image | None, *, now: bool = False) -> None:
        """Show another picture; the old one stays until the new one is ready. `now` skips the rest of 80 ms."""
        if source is self._source and self._drawn is not None:
            return
        self._source = source
        if source is None:
            self._blank("")
            return
        moment = time.monotonic()
        alone, self._asked = moment - self._asked > 4 * REST, moment
        self._plan(0.001 if now or alone else REST)

    def warm(self, path: Path) -> None:
        """Have the thumbnail of a picture made that may be shown next."""
        if not self.app.pictures_hidden and self.app.graphics.protocol == "blocks" and self.size.width > 1:
            self._warm(path, (self.size.width, self.size.height * 2))

    @work(thread=True, exclusive=True, group="warm", exit_on_error=False)
    def _warm(self, path: Path, box: tuple[int, int]) -> None:
        from contextlib import suppress

        from core.dataset.thumbs import thumbnail
        from core.problems import UserError

        with suppress(UserError):
            thumbnail(path, box)

    def on_mount(self) -> None:
        self.app.pictures_changed.subscribe(self, lambda _: self._again())
        self.app.theme_changed_signal.subscribe(self, lambda _: self._again())

    def on_resize(self) -> None:
        if self._source is not None:
            self._plan(REST)

    def _again(self) -> None:
        self._drawn = None
        if self._source is not None:
            self._plan(0.001)

    def _plan(self, wait: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(wait, self._begin)

    def _begin(self) -> None:
        self._timer = None
        size, protocol = self.size, self.app.graphics.protocol
        if self._source is None or size.width < 2 or size.height < 1:
            return
        if self.app.pictures_hidden or protocol == "off":
            self._drawn = (self._source, size, "hidden")
            self._blank("picture hidden (H shows it)" if self.app.pictures_hidden else "pictures are off (I)")
            return
        if self._drawn != (self._source, size, protocol):
            self._load(self._source, size, protocol, self.app.paint.rgb("background"))

    @work(thread=True, exclusive=True, group="picture", exit_on_error=False)
    def _load(self, source: Path | Image.Image, size: Size, protocol: str, behind: tuple[int, int, int]) -> None:
        worker = get_current_worker()
        columns, rows = size.width, size.height
        cell = self.app.graphics.cell
        box = (columns, rows * 2) if protocol == "blocks" else (columns * cell[0], rows * cell[1])
        if isinstance(source, Path):
            from core.dataset.thumbs import thumbnail

            picture = thumbnail(source, box)
        else:
            picture = source.copy()
        if worker.is_cancelled:
            return
        strips: list[Strip] = []
        if protocol == "blocks":
            strips = half_blocks(picture, columns, rows, behind, top=self._top)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._loaded, source, size, protocol, picture, strips)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            from core.problems import UserError
            from core.text import printable

            event.stop()
            error = event.worker.error
            if not isinstance(error, UserError):
                self.app.report(error)
            sentence = printable(error.message if isinstance(error, UserError) else "This picture cannot be shown")
            self._drawn = (self._source, self.size, self.app.graphics.protocol)
            self._blank(sentence)
            self.post_message(self.Shown(self, sentence))

    def _loaded(self, source: object, size: Size, protocol: str, picture: Image.Image, strips: list[Strip]) -> None:
        if source is not self._source or size != self.size or not self.is_attached:
            return
        self._drawn, self._text, self._strips = (source, size, protocol), "", strips
        if protocol == "blocks":
            self._drop_child()
            self.refresh()
        else:
            self._show_child(picture, protocol, size)
        self.post_message(self.Shown(self, None))

    def _blank(self, text: str) -> None:
        if text != self._text or self._strips or self._child is not None:
            self._drop_child()
            self._text, self._strips = text, []
            self.refresh()

    def _drop_child(self) -> None:
        if self._child is not None:
            self._child.remove()
            self._child = None

    def _show_child(self, picture: Image.Image, protocol: str, size: Size) -> None:
        from tui.pictures import picture_widget, size_in_cells

        cell = self.app.graphics.cell
        width, height = size_in_cells(picture.size, (size.width, size.height), cell)
        kind = picture_widget(protocol, cell)
        if self._child is not None and type(self._child) is not kind:
            self._drop_child()
        if self._child is None:
            self._child = kind()
            self.mount(self._child)
        child = self._child
        child.styles.width, child.styles.height = width, height
        child.styles.offset = ((size.width - width) // 2, 0 if self._top else (size.height - height) // 2)
        child.image = picture
        self.refresh()

    def render_line(self, y: int) -> Strip:
        paint, width, height = self.app.paint, self.size.width, self.size.height
        if y < len(self._strips):
            return self._strips[y].adjust_cell_length(width, paint("text"))
        if self._text:
            from tui.theme import fit

            lines = _wrapped(self._text, max(1, width - 4))
            index = y - max(0, (height - len(lines)) // 2)
            if 0 <= index < len(lines):
                line = fit(lines[index], min(width, len(lines[index])))
                return paint.strip([(" " * ((width - len(line)) // 2), "muted"), (line, "muted")], width)
        return Strip([Segment(" " * width, paint("text"))], width)


def half_blocks(
    picture: Image.Image, columns: int, rows: int, behind: tuple[int, int, int], *, top: bool = False
) -> list[Strip]:
    """`rows` lines of `columns` cells with the picture in their middle, two pixels a cell; alpha lies over `behind`."""
    from PIL import Image

    scale = min(columns / picture.width, rows * 2 / picture.height)
    width = min(columns, max(1, round(picture.width * scale)))
    height = min(rows * 2, max(1, round(picture.height * scale)))
    small = picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.LANCZOS)
    left, above = (columns - width) // 2, 0 if top else (rows * 2 - height) // 4 * 2
    canvas = Image.new("RGB", (width, rows * 2), behind)
    if small.mode in {"RGBA", "LA", "PA"}:
        small = small.convert("RGBA")
        canvas.paste(small, (0, above), small)
    else:
        canvas.paste(small.convert("RGB"), (0, above))
    pixels = canvas.tobytes()
    blank = Style(bgcolor=_colour(*behind))
    stride = width * 3
    styles: dict[bytes, Style] = {}
    strips = []
    for row in range(rows):
        upper, lower = row * 2 * stride, (row * 2 + 1) * stride
        segments = [Segment(" " * left, blank)]
        run, last = 0, b""
        for at in range(0, stride, 3):
            pair = pixels[upper + at : upper + at + 3] + pixels[lower + at : lower + at + 3]
            if pair != last and run:
                segments.append(_run(last, run, styles))
                run = 0
            last, run = pair, run + 1
        segments.append(_run(last, run, styles))
        segments.append(Segment(" " * (columns - left - width), blank))
        strips.append(Strip(segments, columns))
    return strips


def _run(pair: bytes, count: int, styles: dict[bytes, Style]) -> Segment:
    style = styles.get(pair)
    if style is None:
        style = styles[pair] = Style(color=_colour(*pair[:3]), bgcolor=_colour(*pair[3:]))
    return Segment((" " if pair[:3] == pair[3:] else "▀") * count, style)


def _colour(red: int, green: int, blue: int) -> Color:
    return Color(f"#{red:02x}{green:02x}{blue:02x}", ColorType.TRUECOLOR, None, ColorTriplet(red, green, blue))


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]
