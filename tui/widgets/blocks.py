"""A picture as half blocks: two pixels a cell, in any terminal with colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

if TYPE_CHECKING:
    from PIL import Image


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
