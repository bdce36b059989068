"""A picture as half blocks: two pixels a cell, in any terminal with colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.color import Color, ColorSystem, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.filter import ANSIToTruecolor
from textual.strip import Strip

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console
    from textual.color import Color as Shade
    from textual.filter import LineFilter

Run = tuple[bytes, int]
"""The upper and the lower pixel of a cell, three bytes each, and for how many cells."""


class WrittenLine(Strip):
    """A line as the terminal gets it, from and to no colour. Of a large picture a segment a cell would be 2,000 styles
    to make, to hash and to compare; they are made when something lies over the line.
    """

    __slots__ = ["_runs", "written"]

    def __init__(self, runs: list[Run], columns: int) -> None:
        super().__init__((), columns)
        del self._segments
        self._runs = runs
        self.written = _written(runs)

    def __getattr__(self, name: str) -> list[Segment]:
        if name != "_segments":
            raise AttributeError(name)
        self._segments = _segments(self._runs, {})
        return self._segments

    def apply_filter(self, filter: LineFilter, background: Shade) -> Strip:
        return self if isinstance(filter, ANSIToTruecolor) else super().apply_filter(filter, background)

    def render(self, console: Console) -> str:
        return self.written if console._color_system is ColorSystem.TRUECOLOR else super().render(console)


def half_blocks(
    picture: Image.Image, columns: int, rows: int, behind: tuple[int, int, int], *, top: bool = False
) -> list[Strip]:
    """`rows` lines of `columns` cells with the picture in their middle, two pixels a cell; alpha lies over `behind`."""
    styles: dict[bytes, Style] = {}
    return [Strip(_segments(runs, styles), columns) for runs in _lines(picture, columns, rows, behind, top=top)]


def written_blocks(
    picture: Image.Image, columns: int, rows: int, behind: tuple[int, int, int], *, top: bool = False
) -> list[Strip]:
    """The same for a picture with its lines for itself: a third of the time."""
    return [WrittenLine(runs, columns) for runs in _lines(picture, columns, rows, behind, top=top)]


def _lines(
    picture: Image.Image, columns: int, rows: int, behind: tuple[int, int, int], *, top: bool
) -> Iterator[list[Run]]:
    from PIL import Image

    scale = min(columns / picture.width, rows * 2 / picture.height)
    width = min(columns, max(1, round(picture.width * scale)))
    height = min(rows * 2, max(1, round(picture.height * scale)))
    small = picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.LANCZOS)
    left, above = (columns - width) // 2, 0 if top else (rows * 2 - height) // 4 * 2
    canvas = Image.new("RGB", (columns, rows * 2), behind)
    if small.mode in {"RGBA", "LA", "PA"}:
        small = small.convert("RGBA")
        canvas.paste(small, (left, above), small)
    else:
        canvas.paste(small.convert("RGB"), (left, above))
    pixels, stride = canvas.tobytes(), columns * 3
    for start in range(0, 2 * rows * stride, 2 * stride):
        runs: list[Run] = []
        last, since = b"", 0
        for at in range(start, start + stride, 3):
            pair = pixels[at : at + 3] + pixels[at + stride : at + stride + 3]
            if pair != last:
                if at > start:
                    runs.append((last, (at - since) // 3))
                last, since = pair, at
        runs.append((last, (start + stride - since) // 3))
        yield runs


def _written(runs: list[Run]) -> str:
    parts: list[str] = []
    ink = ground = b""
    for pair, count in runs:
        upper, lower = pair[:3], pair[3:]
        codes = ""
        if upper != lower and upper != ink:
            ink = upper
            codes = f"38;2;{ink[0]};{ink[1]};{ink[2]}"
        if lower != ground:
            ground = lower
            codes += f"{';' if codes else ''}48;2;{ground[0]};{ground[1]};{ground[2]}"
        letters = (" " if upper == lower else "▀") * count
        parts.append(f"\x1b[{codes}m{letters}" if codes else letters)
    return "".join(parts) + "\x1b[0m"


def _segments(runs: list[Run], styles: dict[bytes, Style]) -> list[Segment]:
    segments = []
    for pair, count in runs:
        style = styles.get(pair)
        if style is None:
            style = styles[pair] = Style.from_color(_colour(*pair[:3]), _colour(*pair[3:]))
        segments.append(Segment((" " if pair[:3] == pair[3:] else "▀") * count, style))
    return segments


def _colour(red: int, green: int, blue: int) -> Color:
    return Color(f"#{red:02x}{green:02x}{blue:02x}", ColorType.TRUECOLOR, None, ColorTriplet(red, green, blue))
