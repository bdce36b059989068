"""Going from screen to screen: modes, the way back, and what is open in all of them."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.app import App
from textual.reactive import var
from textual.screen import Screen

from tui.keyboard import Keyboard
from tui.screens.base import ModeScreen

if TYPE_CHECKING:
    from core.problems import Problem
    from tui.collection import Collection


class Navigation(App[None]):
    """The part of the app that goes about."""

    active_dataset: var[str | None] = var(None)
    active_config: var[str | None] = var(None)
    active_run: var[str | None] = var(None)
    collection: Collection | None = None
    """The open dataset as far as it is read."""
    review_item: Path | None = None
    """The image that Review opens at."""

    def __init__(self) -> None:
        super().__init__()
        self._keyboard = Keyboard(self, self._is_answered)
        self._came_from: str | None = None
        """Where Esc goes back to after something was opened in another mode."""

    @property
    def last_key(self) -> float:
        """When a key came last (monotonic)."""
        return self._keyboard.at

    def _is_answered(self) -> bool:
        return self.collection is None or self.collection.asked is self.collection.view

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded and self._keyboard.holds(event):
            return
        await super().on_event(event)

    def _load_screen_css(self, screen: Screen[object]) -> None:
        """A screen's sheet speaks of that screen only: the rules of all others are not parsed and applied anew."""
        new = [path for path in screen.css_path if not self.stylesheet.has_source(str(path), "")]
        if new and self.css_monitor is None and not screen.CSS:
            self.stylesheet.read_all(new)
            self.stylesheet.parse()
        else:
            super()._load_screen_css(screen)

    async def action_mode(self, name: str) -> None:
        self._came_from = None
        if name != self.current_mode:
            self.clear_notifications()
            await self.switch_mode(name)

    async def _open_in(self, mode: str) -> None:
        here = self.current_mode
        await self.action_mode(mode)
        self._came_from = here if here != mode else None

    async def open_review(self, item: Path) -> None:
        """Review at this image."""
        self.review_item = item
        await self._open_in("review")

    async def open_run(self, run_id: str) -> None:
        """Monitor at this run."""
        self.active_run = run_id
        await self._open_in("monitor")

    async def action_back(self) -> None:
        if self.screen.query("HelpPanel"):  # by its name: to import it takes 140 ms
            self.action_hide_help_panel()
        elif isinstance(self.screen, ModeScreen) and self.screen.step_back():
            return
        elif len(self.screen_stack) > 1:
            self.pop_screen()
        elif self._came_from is not None:
            await self.action_mode(self._came_from)

    async def action_leave(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            await self.action_quit()

    def action_toggle_help(self) -> None:
        """Open the help, turn its pages, and close it after the last: without the focus no other key scrolls it."""
        for panel in self.screen.query("HelpPanel"):
            if panel.scroll_offset.y < panel.max_scroll_y:
                panel.scroll_page_down(animate=False)
            else:
                self.action_hide_help_panel()
            break
        else:
            choice = self.screen.app.graphics if isinstance(self.screen, ModeScreen) else None
            if choice is not None:
                text = cleandoc(type(self.screen).HELP or "")
                pictures = f"Pictures: **{choice.protocol}** — {choice.reason}."
                self.screen.HELP = f"{text}\n\n{pictures}"  # type: ignore[misc]  # Textual reads the instance
            self.action_show_help_panel()

    def open_help(self, name: str) -> None:
        from tui.screens.dialogs import Page

        self.push_screen(Page(name))

    def action_problems(self) -> None:
        from tui.screens.dialogs import ProblemList

        if isinstance(self.screen, ModeScreen):
            screen = self.screen

            def chosen(problem: Problem | None) -> None:
                if problem is not None:
                    screen.go_to_problem(problem)

            self.push_screen(ProblemList(screen.problems()), chosen)
