"""A picture in the best way this terminal can: kitty or sixel through textual-image, else our own half blocks.

Reading, scaling and encoding happen on a thread; while a key repeats they wait for 80 ms of rest, so that a held key is
free (over SSH for longer, and for a single key too: what was sent cannot be taken back from a slow line).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.segment import Segment
from textual import work
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from tui.pictures import WHOLE, Box, Look, Ready, part_of, ready, with_crop
from tui.widgets.blocks import written_blocks
from tui.wiring import OurApp

if TYPE_CHECKING:
    from PIL import Image

    from tui.widgets.sent_picture import KittyPicture

REST = 0.08
"""Seconds without another `show` before the picture is read."""
FAR = "SSH_CONNECTION" in os.environ
FAR_REST = 0.2
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
STEP = 0.3
"""Share of what is seen by which an arrow moves on."""


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Everything that decides how it looks."""

    source: object
    size: Size
    protocol: str
    kept: Box | None
    look: Look


class ImageView(Widget, inherit_bindings=False):
    """`show(path)` or `show(picture)`; None clears it. What cannot be read is said in its place.

    Its keys act while it has the focus, which it takes for as long as a part of the picture is enlarged.
    """

    DEFAULT_CSS = "ImageView { width: 1fr; height: 1fr; background: $background; }"
    app = OurApp()
    BINDINGS: ClassVar = [
        Binding("left,h", "pan(-1,0)", "to the left", show=False, id="picture.left"),
        Binding("right,l", "pan(1,0)", "to the right", show=False, id="picture.right"),
        Binding("up,k", "pan(0,-1)", "up the picture", show=False, id="picture.up"),
        Binding("down,j", "pan(0,1)", "down the picture", show=False, id="picture.down"),
    ]

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
        self._source: Any = None
        self._kept: Box | None = None
        self._look = Look()
        self._drawn: _Drawing | None = None
        self._whole: tuple[Path, Image.Image] | None = None
        self._strips: list[Strip] = []
        self._text = ""
        self._timer: Any = None
        self._sent: KittyPicture | None = None
        self._ready: Ready | None = None
        self._asked = 0.0

    @property
    def source(self) -> Path | Image.Image | None:
        """What is to be seen, whether or not it has been drawn yet."""
        source: Path | Image.Image | None = self._source
        return source

    @property
    def text(self) -> str:
        """The sentence in place of a picture, `""` while there is one."""
        return self._text

    @property
    def factor(self) -> float:
        """How much larger than the whole picture would be."""
        return self._look.factor

    def show(self, source: Path | Image.Image | None, *, now: bool = False, kept: Box | None = None) -> None:
        """Show another picture; the old one stays until the new one is ready. `now` skips the rest.

        `kept` is the part that its bucket leaves (as shares): what lies outside fades.
        """
        if kept is not None and kept == WHOLE:
            kept = None
        if _same(source, self._source) and kept == self._kept and self._drawn is not None:
            return
        self._source, self._kept = source, kept
        if source is None:
            self._blank("")
            return
        moment = time.monotonic()
        alone, self._asked = moment - self._asked > 4 * REST, moment
        self._plan(0.001 if now or (alone and not FAR) else FAR_REST if FAR else REST)

    def enlarge(self, steps: int) -> None:
        """Look closer (or, with negative steps, from further away) at the same place."""
        at = min(range(len(FACTORS)), key=lambda index: abs(FACTORS[index] - self._look.factor))
        factor = FACTORS[min(max(at + steps, 0), len(FACTORS) - 1)]
        self._look_at(Look() if factor == 1 else Look(factor, self._look.x, self._look.y))

    def action_pan(self, across: int, down: int) -> None:
        size, look = self._pixels_of_source(), self._look
        if size is None or look.factor == 1:
            return
        seen = look.seen(size, (self.size.width, self.size.height * 2))
        wide, high = seen[2] - seen[0], seen[3] - seen[1]
        x, y = (seen[0] + seen[2]) / 2 + across * STEP * wide, (seen[1] + seen[3]) / 2 + down * STEP * high
        self._look_at(Look(look.factor, min(max(x, wide / 2), 1 - wide / 2), min(max(y, high / 2), 1 - high / 2)))

    def _pixels_of_source(self) -> tuple[int, int] | None:
        if isinstance(self._source, Path):
            return self._whole[1].size if self._whole is not None and self._whole[0] == self._source else None
        return self._source.size if self._source is not None else None

    def _look_at(self, look: Look) -> None:
        if look != self._look:
            self._look = look
            if look.factor == 1:
                self._whole = None
            if self._source is not None:
                self._plan(0.001)

    def warm(self, path: Path) -> None:
        """Have the thumbnail of a picture made that may be shown next."""
        protocol = self.app.graphics.protocol
        if not self.app.pictures_hidden and protocol != "off" and self.size.width > 1:
            self._warm(path, self._box(self.size, protocol))

    @work(thread=True, exclusive=True, group="warm", exit_on_error=False, description="warm a picture")
    def _warm(self, path: Path, box: tuple[int, int]) -> None:
        from contextlib import suppress

        from core.dataset.thumbs import prepare
        from core.problems import UserError

        with suppress(UserError):
            prepare(path, box)

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

    def _box(self, size: Size, protocol: str) -> tuple[int, int]:
        cell = (1, 2) if protocol == "blocks" else self.app.graphics.cell
        return size.width * cell[0], size.height * cell[1]

    def _begin(self) -> None:
        self._timer = None
        size, protocol = self.size, self.app.graphics.protocol
        if self._source is None or size.width < 2 or size.height < 1:
            return
        drawing = _Drawing(_key(self._source), size, protocol, self._kept, self._look)
        if self.app.pictures_hidden or protocol == "off":
            self._drawn = drawing
            self._blank("picture hidden (H shows it)" if self.app.pictures_hidden else "pictures are off (I)")
        elif self._drawn != drawing:
            paint = self.app.paint
            self._load(self._source, drawing, paint.rgb("background"), paint.rgb("accent"))

    @work(thread=True, exclusive=True, group="picture", exit_on_error=False, description="load a picture")
    def _load(
        self, source: Path | Image.Image, drawing: _Drawing, behind: tuple[int, int, int], line: tuple[int, int, int]
    ) -> None:
        worker = get_current_worker()
        box, seen = self._box(drawing.size, drawing.protocol), WHOLE
        picture = self._picture(source, box, drawing)
        if drawing.look.factor > 1:
            seen = drawing.look.seen(picture.size, box)
            picture = part_of(picture, seen, box)
        if worker.is_cancelled:
            return
        if drawing.kept is not None:
            picture = with_crop(picture, drawing.kept, seen, behind, line)
        made: list[Strip] | Ready
        if drawing.protocol == "blocks":
            made = written_blocks(picture, *drawing.size, behind, top=self._top)
        else:
            made = ready(picture, drawing.protocol, drawing.size, self.app.graphics.cell)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._loaded, drawing, made)

    def _picture(self, source: Path | Image.Image, box: tuple[int, int], drawing: _Drawing) -> Image.Image:
        from core.dataset.thumbs import about, thumbnail, whole

        if not isinstance(source, Path):
            return source.copy()
        if drawing.look.factor == 1:
            return (thumbnail if drawing.protocol == "blocks" else about)(source, box)
        kept = self._whole
        if kept is None or kept[0] != source:
            self._whole = kept = (source, whole(source))
        return kept[1]

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            from core.problems import UserError
            from core.text import printable

            event.stop()
            error = event.worker.error
            if not isinstance(error, UserError):
                self.app.report(error)
            sentence = printable(error.message if isinstance(error, UserError) else "This picture cannot be shown")
            protocol = self.app.graphics.protocol
            self._drawn = _Drawing(_key(self._source), self.size, protocol, self._kept, self._look)
            self._blank(sentence)
            self.post_message(self.Shown(self, sentence))

    def _loaded(self, drawing: _Drawing, made: list[Strip] | Ready) -> None:
        now = _Drawing(_key(self._source), self.size, self.app.graphics.protocol, self._kept, self._look)
        if drawing != now or self.app.pictures_hidden or not self.is_attached:
            return
        old, self._sent = self._sent, None
        self._drawn, self._text = drawing, ""
        self._strips, self._ready = [], None
        if not isinstance(made, Ready):
            self._strips = made
        elif drawing.protocol == "kitty":
            from tui.widgets.sent_picture import KittyPicture

            self._sent = KittyPicture(made)
            self._sent.send(self._write)
            self._strips = self._placed(self._sent.lines(), made.cells)
        else:
            self._ready = made
        if old is not None:
            old.free(self._write)
        self.refresh()
        self.post_message(self.Shown(self, None))

    def _place(self, cells: tuple[int, int]) -> tuple[int, int]:
        """Where a picture of so many cells begins."""
        return (self.size.width - cells[0]) // 2, 0 if self._top else (self.size.height - cells[1]) // 2

    def _placed(self, lines: list[Segment], cells: tuple[int, int]) -> list[Strip]:
        (left, top), width, ground = self._place(cells), self.size.width, self.app.paint("text")
        blank = Strip([Segment(" " * width, ground)], width)
        before, after = Segment(" " * left, ground), Segment(" " * (width - left - cells[0]), ground)
        return [*[blank] * top, *(Strip([before, line, after], width) for line in lines)]

    def _write(self, text: str) -> None:
        driver = self.app._driver
        if driver is not None and not self.app._exit:
            driver.write(text)

    def on_unmount(self) -> None:
        self._free()

    def _free(self) -> None:
        if self._sent is not None:
            self._sent.free(self._write)
        self._sent, self._ready = None, None

    def _blank(self, text: str) -> None:
        if text != self._text or self._strips or self._ready is not None:
            self._free()
            self._text, self._strips = text, []
            self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        if not self._strips and self._ready is None:
            return super().render_lines(crop)
        width, ground = self.size.width, self.app.paint("text")
        lines = [self.render_line(y) for y in crop.line_range]
        if self._ready is None and self._sent is None:
            background = self.background_colors[1]
            for each in self.get_line_filters():
                lines = [line.apply_filter(each, background) for line in lines]
        # What the terminal draws itself must not pass Textual's filters: the colour of a kitty cell is a number.
        elif self._ready is not None and self.screen.is_active and crop.width == width:
            from tui.widgets.sent_picture import sixel_line

            (left, top), region = self._place(self._ready.cells), self.region
            last = top + self._ready.cells[1] - 1
            if last in crop.line_range:
                lines[last - crop.y] = sixel_line(self._ready, width, region.x + left, region.y + top, ground)
        return lines if crop.width == width else [line.crop(crop.x, crop.right) for line in lines]

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


def _key(source: Path | Image.Image | None) -> object:
    return source if isinstance(source, Path) or source is None else id(source)


def _same(one: Path | Image.Image | None, other: Path | Image.Image | None) -> bool:
    return _key(one) == _key(other)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]
