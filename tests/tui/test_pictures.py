"""Pictures as half blocks."""

from __future__ import annotations

import pytest
from PIL import Image
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.segment import Segment
from textual.strip import Strip

from tui.pictures import size_in_cells
from tui.trim import TrimmedUpdate
from tui.widgets.blocks import half_blocks, written_blocks

NIGHT = (17, 19, 26)


def test_two_pixels_a_cell() -> None:
    """The upper one is the letter, the lower one the ground."""
    picture = Image.new("RGB", (2, 2), (255, 0, 0))
    picture.putpixel((0, 1), (0, 0, 255))
    strips = half_blocks(picture, 2, 1, NIGHT)
    segments = [segment for segment in strips[0] if segment.text]
    assert segments[0].text == "▀"
    style = segments[0].style
    assert style is not None and style.color is not None and style.bgcolor is not None
    assert style.color.triplet == (255, 0, 0) and style.bgcolor.triplet == (0, 0, 255)


def test_every_line_has_the_width_and_the_picture_its_shape() -> None:
    """A portrait in a wide place stands in its middle; nothing is stretched."""
    strips = half_blocks(Image.new("RGB", (20, 40), "white"), 60, 20, NIGHT)
    assert len(strips) == 20 and {strip.cell_length for strip in strips} == {60}
    white = [
        sum(len(s.text) for s in strip if s.style and s.style.bgcolor.triplet == (255, 255, 255)) for strip in strips
    ]
    assert white == [20] * 20


def test_what_is_transparent_lies_over_the_theme() -> None:
    """No black hole around a character that was cut out."""
    strips = half_blocks(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), 4, 2, NIGHT)
    assert {s.style.bgcolor.triplet for strip in strips for s in strip if s.text and s.style} == {NIGHT}


def test_cells_keep_the_shape_with_any_cell() -> None:
    """A square is twice as many columns as rows where cells are twice as high as wide."""
    assert size_in_cells((512, 512), (60, 30), (10, 20)) == (60, 30)
    assert size_in_cells((512, 1024), (60, 30), (10, 20)) == (30, 30)
    assert size_in_cells((1024, 10), (60, 30), (10, 20)) == (60, 1)


def seen(strip: Strip, system: str) -> list[Segment]:
    """What a terminal of so many colours makes of a line of a picture and a letter behind it."""
    console = Console(width=200, force_terminal=True, color_system=system)  # type: ignore[arg-type]
    chops = [{0: strip, 6: Strip([Segment("z")])}]
    sent = TrimmedUpdate(chops, [(0, 0, 7)], [[6, 7]]).render_segments(console)
    text = AnsiDecoder().decode_line(sent.partition("H")[2].replace("\x1b[7G", ""))
    return list(Segment.simplify(text.render(console, end="")))


@pytest.mark.parametrize("system", ["truecolor", "256"])
def test_a_line_that_was_written_beforehand_looks_the_same(system: str) -> None:
    """Beside other text, with few colours, and where something lies over a part of it."""
    picture = Image.effect_mandelbrot((12, 12), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    for written, drawn in zip(written_blocks(picture, 6, 3, NIGHT), half_blocks(picture, 6, 3, NIGHT), strict=True):
        assert seen(written, system) == seen(drawn, system)
        assert written.crop(1, 4) == drawn.crop(1, 4) and list(written) == list(drawn)
