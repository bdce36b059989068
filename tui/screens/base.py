"""The frame that every mode shares: header, body, footer, and how a screen finds out what changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import getters
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from tui.trim import trim
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.wiring import OurApp

if TYPE_CHECKING:
    from core.problems import Problem

FIND = [
    Binding("slash", "find", "filter", id="find.open", key_display="/"),
    Binding("n", "next_match", "next match", show=False, id="find.next"),
    Binding("N", "previous_match", "previous match", show=False, id="find.previous"),
]
"""For the BINDINGS of a screen that has something to filter or find (it defines the three actions)."""


class ModeScreen(Screen[None]):
    """One of the five modes. A subclass sets `MODE` and composes its body in `compose_body`."""

    MODE: ClassVar[str]
    AUTO_FOCUS = None
    app = OurApp()
    footer = getters.query_one(Footer)
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """Textual's own repaints the whole screen (13-21 kB) when the focus moves; what looks different does so itself."""

    DEFAULT_CSS = """
    ModeScreen { background: $background; color: $foreground; layout: vertical; scrollbar-size-vertical: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        trim(self)
        # Textual takes a new screen to be older than the theme and parses every sheet again for it, twice in a mode.
        self._css_update_count = self.app._css_update_count
        # Textual finds out how wide it is after the first frame, and lays all out again for it.
        self.add_class(*self._get_breakpoint_classes(self.app.size.width, self.app.HORIZONTAL_BREAKPOINTS or []))

    def compose(self) -> ComposeResult:
        yield Header(self.MODE)
        yield from self.compose_body()
        yield Footer()

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """What help, palette and footer list: the keys of ours. Those of Textual's own widgets have no id."""
        return {key: active for key, active in super().active_bindings.items() if active.binding.id is not None}

    def go_to_problem(self, problem: Problem) -> None:
        """Enter on a problem that `!` listed."""

    def on_screen_suspend(self) -> None:
        self.call_later(self.footer.update)

    def on_screen_resume(self) -> None:
        self.call_later(self.footer.update)

    def compose_body(self) -> Iterable[Widget]:
        """The widgets between the two rules."""
        return ()

    def step_back(self) -> bool:
        """One step back inside the screen (close a filter, fold a panel); False when there is none left."""
        return False

    def problems(self) -> tuple[Problem, ...]:
        """What `!` lists here; the footer counts them after `show_problem_count`."""
        return ()

    def action_tags_panel(self) -> None:
        """The tags of the open dataset, over this screen (`#` of Dataset and Review)."""
        if self.app.collection is not None:
            from tui.screens.tags import TagsScreen

            self.app.push_screen(TagsScreen(self.MODE))

    def show_problem_count(self) -> None:
        """Let the footer count `problems()` again."""
        self.footer.problems(len(self.problems()))
