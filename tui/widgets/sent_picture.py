"""Pictures that the terminal draws itself, as lines of a widget: encoded by textual-image, sent once, taken back.

The library's own widgets send a picture again with each repaint, past Textual's writer (and so into the middle of its
sequences), and lay the screen out anew for each. Imported with the first picture, after `tui.pictures.introduce`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rich.control import Control
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.strip import Strip
from textual_image.renderable.tgp import Image as Renderable

if TYPE_CHECKING:
    from PIL import Image

    from tui.pictures import Ready

Write = Callable[[str], object]


class _Line:
    """Stands for the terminal in textual-image: what it writes goes through Textual's writer, in its turn."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)

    def flush(self) -> None:
        """The library means well."""

    def take(self) -> str:
        text, self.parts = "".join(self.parts), []
        return text


_line = _Line()
_tgp: Any = import_module("textual_image.renderable.tgp")
_tgp.sys = SimpleNamespace(__stdout__=_line)


class _Data:
    """What stands for the pixels in the renderable: scaled and encoded already."""

    def __init__(self, image: Image.Image, data: str) -> None:
        self.width, self.height = image.size
        self._data = data

    def scaled(self, width: int, height: int) -> _Data:
        return self

    def to_base64(self) -> str:
        return self._data


class KittyPicture(Renderable):
    """A picture in the terminal's memory from `send` to `free`, and the cells that show it."""

    def __init__(self, ready: Ready) -> None:
        super().__init__(ready.image)
        self._image_data: Any = _Data(ready.image, ready.data)
        self.cells = ready.cells

    def send(self, write: Write) -> None:
        """Give it to the terminal."""
        width, height = self.cells
        self._send_image_to_terminal(width, height)
        self._create_virtual_placement(width, height)
        write(_line.take())

    def free(self, write: Write) -> None:
        """The terminal may forget it (the library's `cleanup` takes away what is in sight of it only)."""
        if self.terminal_image_id:
            _tgp._send_tgp_message(a="d", d="I", i=self.terminal_image_id, q=2)
            write(_line.take())
            self.terminal_image_id = None

    def lines(self) -> list[Segment]:
        """Its cells, a segment a line."""
        return [Segment(text.rstrip("\n"), style) for text, style, _ in self._render_diacritics(*self.cells)]


def sixel_line(ready: Ready, width: int, x: int, y: int, behind: Style) -> Strip:
    """The last of the blank lines below the picture, and the picture; `x`, `y`: its place on the screen."""
    columns, rows = ready.cells
    picture = [
        Segment(text, Style.null(), ((ControlType.CURSOR_FORWARD, 0),))
        for text in (
            Control.move_to(x, y).segment.text,
            ready.data,
            Control.move_to(x + columns, y + rows - 1).segment.text,
        )
    ]
    return Strip([Segment(" " * width, behind), *picture], width)
