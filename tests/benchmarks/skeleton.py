"""The bare limit: a Textual app with a list, a side panel and a footer, and nothing else."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Footer, OptionList, Static


class Skeleton(App[None]):
    """As much as any app of this shape must load."""

    CSS = "OptionList { width: 2fr; } Static { width: 1fr; }"
    BINDINGS = [Binding("q", "quit", "Quit"), Binding("slash", "filter", "Filter")]

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield OptionList(*(f"picture_{number:02}.png" for number in range(24)))
            yield Static("picture_00.png\n512x640\n12 tags")
        yield Footer()


if __name__ == "__main__":
    Skeleton().run()
