"""textual-image, brought in with the first picture and never allowed to ask the terminal anything itself."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any


def picture_widget(protocol: str, cell: tuple[int, int]) -> type[Any]:
    """The widget class that draws `kitty` or `sixel`.

    Textual reads the keyboard by now, so the library's own questions would never be answered: from 0.14 it is told the
    answers beforehand, and 0.12 (Python 3.11) is imported while it believes that there is no terminal.
    """
    if "textual_image.widget" not in sys.modules:
        _introduce(protocol, cell)
    from textual_image.widget import SixelImage, TGPImage

    return TGPImage if protocol == "kitty" else SixelImage


def _introduce(protocol: str, cell: tuple[int, int]) -> None:
    terminal: Any = import_module("textual_image._terminal")

    size = terminal.CellSize(*cell)
    if hasattr(terminal, "probe_terminal"):
        terminal.probe_terminal._result = terminal.TerminalCapabilities(size, protocol == "sixel", protocol == "kitty")
    else:
        terminal.get_cell_size._result = size
    real = sys.__stdout__
    sys.__stdout__ = io.StringIO()  # type: ignore[assignment, misc]
    try:
        import_module("textual_image.widget")
    finally:
        sys.__stdout__ = real  # type: ignore[misc]


def size_in_cells(picture: tuple[int, int], room: tuple[int, int], cell: tuple[int, int]) -> tuple[int, int]:
    """The largest size in cells inside `room` that keeps the picture's shape."""
    width, height = picture
    scale = min(room[0] * cell[0] / width, room[1] * cell[1] / height)
    return max(1, int(width * scale / cell[0])), max(1, int(height * scale / cell[1]))
