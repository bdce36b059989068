"""What Dataset shows while there is no image: one sentence and two choices."""

from __future__ import annotations

from collections.abc import Iterable

from textual import getters, on
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines

CHOICES: list[Cells] = [
    [(" Import images here   ", "text"), ("a folder of pictures becomes the first dataset", "muted")],
    [(" Open the demo        ", "text"), ("drawn images, a small tagger and a small trainer", "muted")],
]


class Welcome(Vertical):
    """Hidden as soon as there is a dataset."""

    choices = getters.query_one("#choices", ItemList)

    class Chosen(Message):
        """Images are to be imported, or (False) the demo is to be opened."""

        def __init__(self, imports: bool) -> None:
            super().__init__()
            self.imports = imports

    def __init__(self) -> None:
        super().__init__(id="welcome", classes="-off")

    def compose(self) -> Iterable[Widget]:
        yield Lines([[("There are no images here yet.", "text bold")]], id="sentence")
        yield ItemList(Texts(CHOICES), id="choices")

    @on(ItemList.Opened)
    def _opened(self, event: ItemList.Opened) -> None:
        event.stop()
        self.post_message(self.Chosen(event.index == 0))
