"""A bare app for one widget, with what line-drawn widgets take from the real one."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.signal import Signal
from textual.widget import Widget

from tui import theme
from tui.graphics import Choice
from tui.trim import trim


class Stage(App[None]):
    """Shows one widget in the night theme."""

    CSS = "Screen > * { height: 1fr; }"

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget
        self.graphics = Choice("blocks", "a test")
        self.pictures_hidden = False
        self.pictures_changed: Signal[None] = Signal(self, "pictures")
        for each in theme.THEMES:
            self.register_theme(each)
        self.theme = "night"

    @property
    def paint(self) -> theme.Paint:
        return theme.Paint(self.theme_variables)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults(self.theme)

    def get_default_screen(self) -> Screen[None]:
        screen: Screen[None] = super().get_default_screen()
        trim(screen)
        return screen

    def compose(self) -> ComposeResult:
        yield self.widget

    def rows(self) -> list[str]:
        """The screen as text."""
        return [
            "".join(segment.text for segment in strip).rstrip() for strip in self.screen._compositor.render_strips()
        ]
