"""The last gate before the terminal: no widget sends a control sequence that somebody wrote into a caption.

Text of our own widgets passes `core.text.printable`; what is edited in Textual's fields has to stay as it is.
"""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip

from core.text import visible
from tui.widgets.blocks import WrittenLine


def gated(strips: list[Strip]) -> list[Strip]:
    """The lines with `�` for control characters, as wide as they were. What a widget draws as such (sixel) passes."""
    return [strip if isinstance(strip, WrittenLine) or _is_plain(strip) else _plain(strip) for strip in strips]


def _is_plain(strip: Strip) -> bool:
    text = "".join([text for text, _, control in strip if control is None])
    return text.isprintable() or visible(text) == text


def _plain(strip: Strip) -> Strip:
    shown = [
        Segment(visible(text), style, control) if control is None else Segment(text, style, control)
        for text, style, control in strip
    ]
    return Strip(shown).adjust_cell_length(strip.cell_length)
