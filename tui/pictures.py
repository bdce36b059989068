"""What is done to a picture before it is drawn: the part that is looked at, the crop of its bucket, and few bytes.

textual-image draws kitty and sixel pictures. It is brought in with the first one, never allowed to ask the terminal
anything itself, and given pictures that are scaled and quantised already: its own of 60×30 cells are 634 and 370 kB.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the picture, 0 … 1."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LIMITS = {"kitty": 58_000, "sixel": 115_000}
"""Bytes a picture may take on the line. At 5 MB/s, a poor wireless network, that is 12 and 24 ms."""
_CELL = 11
"""Bytes of each cell that shows a piece of a kitty picture: a placeholder with its row, its column and the image."""
_ENVELOPE = 1.02
"""What the protocol (and tmux around it) adds to a kitty picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """How close one looks, and at what: `factor` 1 shows everything, `x` and `y` are the place in the middle."""

    factor: float = 1.0
    x: float = 0.5
    y: float = 0.5

    def seen(self, picture: tuple[int, int], room: tuple[float, float]) -> Box:
        """What of a picture is seen in a room of the same unit, and as large as the room allows."""
        scale = min(room[0] / picture[0], room[1] / picture[1]) * self.factor
        shares = [min(1.0, space / (side * scale)) for side, space in zip(picture, room, strict=True)]
        starts = [
            min(max(at - share / 2, 0.0), 1.0 - share) for at, share in zip((self.x, self.y), shares, strict=True)
        ]
        return starts[0], starts[1], starts[0] + shares[0], starts[1] + shares[1]


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture as it is sent: base64 of a PNG for kitty, the whole sequence for sixel; `cells` is its size there."""

    image: Image.Image
    data: str
    cells: tuple[int, int]


def part_of(picture: Image.Image, seen: Box, box: tuple[int, int]) -> Image.Image:
    """The part `seen`, as large as fits into `box`; a part of few pixels is enlarged."""
    from PIL import Image

    left, top, right, bottom = (at * side for at, side in zip(seen, picture.size * 2, strict=True))
    scale = min(box[0] / (right - left), box[1] / (bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    how = Image.Resampling.LANCZOS if scale < 2 else Image.Resampling.NEAREST  # single pixels are seen as such
    return picture.resize(size, how, (left, top, right, bottom), reducing_gap=2.0)


def with_crop(
    picture: Image.Image, kept: Box, seen: Box, behind: tuple[int, int, int], line: tuple[int, int, int]
) -> Image.Image:
    """What lies outside of `kept` (shares of the whole, of which `seen` is drawn) fades, with a line along the cut."""
    from PIL import Image, ImageDraw

    shown = picture.copy() if picture.mode == "RGB" else picture.convert("RGB")
    width, height = shown.size
    spans = [(start, end) for start, end in ((seen[0], seen[2]), (seen[1], seen[3]))]
    left, right = (round((at - spans[0][0]) / (spans[0][1] - spans[0][0]) * width) for at in (kept[0], kept[2]))
    top, bottom = (round((at - spans[1][0]) / (spans[1][1] - spans[1][0]) * height) for at in (kept[1], kept[3]))
    inside = (max(0, left), max(0, top), min(width, right), min(height, bottom))
    faded = Image.blend(shown, Image.new("RGB", shown.size, behind), 0.6)
    if inside[0] < inside[2] and inside[1] < inside[3]:
        faded.paste(shown.crop(inside), inside[:2])
    thick = max(1, min(width, height) // 200)
    if min(width, height) < 150:  # half blocks: a line is as thick as half a letter
        line = tuple((one + other) // 2 for one, other in zip(line, behind, strict=True))  # type: ignore[assignment]
    pen = ImageDraw.Draw(faded)
    sides = (
        (kept[0] > 0, (left - thick, top, left - 1, bottom)),
        (kept[2] < 1, (right, top, right + thick - 1, bottom)),
        (kept[1] > 0, (left, top - thick, right, top - 1)),
        (kept[3] < 1, (left, bottom, right, bottom + thick - 1)),
    )
    for is_cut, bar in sides:
        if is_cut:
            pen.rectangle(bar, fill=line)
    return faded


def ready(picture: Image.Image, protocol: str, room: tuple[int, int], cell: tuple[int, int], limit: int = 0) -> Ready:
    """Scale and quantise for a `room` of cells, within `limit` bytes (0: `LIMITS`).

    Takes 10 to 150 ms: not for the screen's thread.
    """
    introduce(protocol, cell)
    cells = size_in_cells(picture.size, room, cell)
    pixels = (cells[0] * cell[0], cells[1] * cell[1])
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    make = _for_kitty if protocol == "kitty" else _for_sixel
    return make(rgb, pixels, cells, limit or LIMITS[protocol])


def _for_kitty(picture: Image.Image, pixels: tuple[int, int], cells: tuple[int, int], limit: float) -> Ready:
    """The terminal enlarges a picture that is smaller than its cells: at half the size first, then as limits allow."""
    from base64 import b64encode

    from PIL import Image

    limit = (limit - cells[0] * cells[1] * _CELL - 200) / _ENVELOPE
    # No more pixels than there are: enlarging is the terminal's.
    most = min(1.0, max(picture.width / pixels[0], picture.height / pixels[1]))
    scale, tried = most / 2, 0.0
    while True:
        size = max(1, round(pixels[0] * scale)), max(1, round(pixels[1] * scale))
        small = picture.resize(size, reducing_gap=2.0) if size != picture.size else picture
        flat = small.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        stream = io.BytesIO()
        flat.save(stream, "PNG", compress_level=5)  # 9: four times as long, for one byte in a hundred
        data = b64encode(stream.getvalue()).decode("ascii")
        if len(data) > limit:
            best = tried or scale * max(0.3, 0.95 * (limit / len(data)) ** 0.5)
            if best == scale:
                return Ready(flat, data, cells)
            scale = best
        elif not tried and scale < most and len(data) * (most / scale) ** 2 < limit * 1.3:
            tried, scale = scale, most
        else:
            return Ready(flat, data, cells)


def _for_sixel(picture: Image.Image, pixels: tuple[int, int], cells: tuple[int, int], limit: int) -> Ready:
    """Every pixel has to be sent: two by two of one colour (runs are short to write) where all of them are too many."""
    from PIL import Image

    sixel: Any = import_module("textual_image._sixel")

    def encoded(image: Image.Image, colours: int) -> str:
        return str(sixel.image_to_sixels(image, sixel.SixelOptions(colors=colours, quantize="maxcoverage")))

    def coarse(side: int) -> Image.Image:
        small = picture.resize((max(1, pixels[0] // side), max(1, pixels[1] // side)), reducing_gap=2.0)
        return small.resize(pixels, Image.Resampling.NEAREST)

    image = coarse(2)
    data = encoded(image, 64)
    if len(data) * 2.2 < limit:
        sharp = picture.resize(pixels, reducing_gap=2.0)
        whole = encoded(sharp, 64)
        if len(whole) <= limit:
            return Ready(sharp, whole, cells)
    for side, colours in ((2, 32), (2, 16), (3, 16), (4, 16), (6, 16)):
        if len(data) <= limit:
            break
        image = coarse(side)
        data = encoded(image, colours)
    return Ready(image, data, cells)


def introduce(protocol: str, cell: tuple[int, int]) -> None:
    """Import textual-image, if that was not done. Not on the screen's thread: it takes a quarter of a second.

    Textual reads the keyboard by now, so the library's own questions would never be answered: from 0.14 it is told the
    answers beforehand, and 0.12 (Python 3.11) is imported while it believes that there is no terminal.
    """
    if "tui.widgets.sent_picture" in sys.modules:
        return
    terminal: Any = import_module("textual_image._terminal")

    size = terminal.CellSize(*cell)
    if hasattr(terminal, "probe_terminal"):
        terminal.probe_terminal._result = terminal.TerminalCapabilities(size, protocol == "sixel", protocol == "kitty")
    else:
        terminal.get_cell_size._result = size
    real = sys.__stdout__
    sys.__stdout__ = io.StringIO()  # type: ignore[assignment, misc]
    try:
        import_module("tui.widgets.sent_picture")
    finally:
        sys.__stdout__ = real  # type: ignore[misc]


def size_in_cells(picture: tuple[int, int], room: tuple[int, int], cell: tuple[int, int]) -> tuple[int, int]:
    """The largest size in cells inside `room` that keeps the picture's shape."""
    width, height = picture
    scale = min(room[0] * cell[0] / width, room[1] * cell[1] / height)
    return max(1, int(width * scale / cell[0])), max(1, int(height * scale / cell[1]))
