"""A caption as text: every line of it, with room to write prose."""

from __future__ import annotations

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import TextArea

from tui.screens.dialogs import Dialog


class EditText(Dialog[str]):
    """Esc closes it and takes the text: nothing that was typed is lost, and undo brings the old one back."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title, "Esc done (u undoes it)")
        self._text = text

    def compose_dialog(self) -> Iterable[Widget]:
        area = TextArea(self._text, soft_wrap=True, show_line_numbers=False, compact=True, highlight_cursor_line=False)
        area.styles.height = 12
        area.cursor_blink = False
        yield area

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor(area.document.end)

    def action_cancel(self) -> None:
        self.dismiss(self.query_one(TextArea).text)
