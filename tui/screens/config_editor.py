"""The raw editor of the Config screen. Imported when it is first opened: Textual's text area takes 40 ms to import."""

from __future__ import annotations

from rich.style import Style
from textual import events
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

from tui.wiring import OurApp


class Raw(TextArea):
    """The raw editor in the colours of the app. Esc leaves it (Textual would move the focus)."""

    app = OurApp()

    def on_mount(self) -> None:
        self.cursor_blink = False
        self.update_highlight_query("toml", _HIGHLIGHTS)
        self.watch(self.app, "theme", self._paint, init=False)
        self._paint()

    def _paint(self) -> None:
        """Colours of the syntax by role; everything else comes from the sheet."""
        name = f"kohya-{self.app.theme}"
        styles = {token: Style(color=self.app.paint(role).color, bold=bold) for token, (role, bold) in _SYNTAX.items()}
        self.register_theme(TextAreaTheme(name, syntax_styles=styles))
        self.theme = name

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        # Textual does not know what the keys with names write.
        return len(key) == 1 or super().check_consume_key(key, character or _WRITTEN.get(key))

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            await self.app.action_back()


_HIGHLIGHTS = """
(bare_key) @toml.type
(quoted_key) @string
(pair (bare_key) @property)
(boolean) @boolean
(string) @string
(integer) @number
(float) @float
[(offset_date_time) (local_date_time) (local_date) (local_time)] @toml.datetime
["." ","] @punctuation.delimiter
"=" @operator
["[" "]" "[[" "]]" "{" "}"] @punctuation.bracket
(comment) @comment
(ERROR) @toml.error
"""
"""Textual's own takes a pair for a property as a whole, with the comment behind it."""
_WRITTEN = {"slash": "/", "question_mark": "?", "exclamation_mark": "!"}
_SYNTAX = {
    "comment": ("muted", False),
    "string": ("good", False),
    "number": ("caution", False),
    "float": ("caution", False),
    "boolean": ("caution", True),
    "property": ("second", False),
    "toml.type": ("accent", True),
    "toml.datetime": ("caution", False),
    "toml.error": ("bad", True),
    "operator": ("muted", False),
    "punctuation.bracket": ("muted", False),
    "punctuation.delimiter": ("muted", False),
}
