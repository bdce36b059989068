"""The cells of a running app as a picture.

Half blocks, bars and braille are painted as exact shapes, so that pictures look as they do in a terminal. Needs
the DejaVu Sans Mono fonts.
"""

from __future__ import annotations

import io
import sys

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.app import App

CELL = (12, 25)
EIGHTHS = "▁▂▃▄▅▆▇█"
LEFTS = "▏▎▍▌▋▊▉"
FONTS = tuple(f"DejaVuSansMono{face}.ttf" for face in ("", "-Bold", "-Oblique", "-BoldOblique"))
_loaded: dict[int, ImageFont.FreeTypeFont] = {}


def font(style: Style) -> ImageFont.FreeTypeFont:
    index = (1 if style.bold else 0) + (2 if style.italic else 0)
    if index not in _loaded:
        try:
            _loaded[index] = ImageFont.truetype(FONTS[index], 19)
        except OSError:
            sys.exit("DejaVu Sans Mono is not installed (Debian: fonts-dejavu-core)")
    return _loaded[index]


def capture(app: App[None]) -> list[list[Segment]]:
    """The cells on the screen, as lines of segments (what App.export_screenshot records)."""
    width, height = app.size
    console = Console(
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        record=True,
        legacy_windows=False,
        safe_box=False,
    )
    console.print(app.screen._compositor.render_update(full=True, screen_stack=app._background_screens))
    segments = [segment for segment in console._record_buffer if not segment.control]
    return list(Segment.split_and_crop_lines(segments, width, include_new_lines=False))[:height]


def paint(lines: list[list[Segment]], columns: int) -> Image.Image:
    """The cells as a picture."""
    width, height = CELL
    image = Image.new("RGB", (columns * width, len(lines) * height), "#11131a")
    canvas = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        column = 0
        for text, style, _ in line:
            style = style or Style()
            ink, ground = colours(style)
            for character in text:
                cells = max(1, Segment(character).cell_length)
                x, y = column * width, row * height
                canvas.rectangle((x, y, x + cells * width - 1, y + height - 1), fill=ground)
                glyph(canvas, character, x, y, ink, ground, style)
                column += cells
            if style.underline:
                canvas.line((x, y + height - 3, x + width - 1, y + height - 3), fill=ink)
    return image


def colours(style: Style) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    ink = tuple(style.color.get_truecolor()) if style.color else (215, 218, 224)
    ground = tuple(style.bgcolor.get_truecolor(foreground=False)) if style.bgcolor else (17, 19, 26)
    if style.reverse:
        ink, ground = ground, ink
    if style.dim:
        ink = tuple((a + b) // 2 for a, b in zip(ink, ground, strict=True))
    return ink, ground  # type: ignore[return-value]


def glyph(
    canvas: ImageDraw.ImageDraw,
    character: str,
    x: int,
    y: int,
    ink: tuple[int, int, int],
    ground: tuple[int, int, int],
    style: Style,
) -> None:
    width, height = CELL
    code = ord(character)
    if character == " ":
        return
    if character == "▀":
        canvas.rectangle((x, y, x + width - 1, y + (height + 1) // 2 - 1), fill=ink)
    elif character in EIGHTHS:
        top = height - round(height * (EIGHTHS.index(character) + 1) / 8)
        canvas.rectangle((x, y + top, x + width - 1, y + height - 1), fill=ink)
    elif character in LEFTS:
        right = max(1, round(width * (LEFTS.index(character) + 1) / 8))
        canvas.rectangle((x, y, x + right - 1, y + height - 1), fill=ink)
    elif character == "░":
        mixed = tuple((a + 3 * b) // 4 for a, b in zip(ink, ground, strict=True))
        canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=mixed)
    elif 0x2800 <= code < 0x2900:
        bits = code - 0x2800
        for dot, (dx, dy) in enumerate(((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))):
            if bits >> dot & 1:
                cx, cy = x + width * (2 * dx + 1) / 4, y + height * (2 * dy + 1) / 8
                canvas.ellipse((cx - 1.6, cy - 1.6, cx + 1.6, cy + 1.6), fill=ink)
    elif character == "─":
        canvas.line((x, y + height // 2, x + width - 1, y + height // 2), fill=ink)
    elif character == "│":
        canvas.line((x + width // 2, y, x + width // 2, y + height - 1), fill=ink)
    else:
        canvas.text((x, y + 1), character, font=font(style), fill=ink)
