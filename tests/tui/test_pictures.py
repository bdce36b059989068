"""Pictures as half blocks."""

from __future__ import annotations

from PIL import Image

from tui.pictures import size_in_cells
from tui.widgets.blocks import half_blocks

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
