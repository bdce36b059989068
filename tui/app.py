"""The application: wiring of modes, themes, keys, palette and what crosses screens. No work is done here."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen
from textual.signal import Signal
from textual.widget import Widget

from core.problems import UserError
from core.settings import Settings
from core.workspace import Workspace
from tui import signals, theme
from tui.beat import Beat
from tui.faults import Faults
from tui.graphics import Choice, next_choice
from tui.navigation import Navigation
from tui.pulse import Pulse
from tui.telling import Telling
from tui.undoing import Undoing
from tui.vocabulary import Vocabulary
from tui.writer import Writer

if TYPE_CHECKING:
    from textual.command import Provider

    from core.dataset.groups import EditGroup


def _mode(name: str) -> Callable[[], Screen[None]]:
    def load() -> Screen[None]:
        screen: Screen[None] = getattr(import_module(f"tui.screens.{name}"), f"{name.capitalize()}Screen")()
        return screen

    return load


def _palette() -> type[Provider]:
    from tui.commands import Commands

    return Commands


class KohyaApp(Navigation):
    """`workspace` None: the first run, until the user imports images or opens the demo."""

    TITLE = "kohya-tui"
    MODES = {name: _mode(name) for name in ("dataset", "tag", "review", "config", "monitor")}
    DEFAULT_MODE = "dataset"
    COMMANDS = {_palette}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]
    CSS_PATH = ["app.tcss", "screens/dataset.tcss"]
    """The first screen's sheet comes with the app's: read on its own it costs another pass over all rules."""
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = 3.0
    BINDINGS = [
        Binding("1", "mode('dataset')", "Dataset", show=False, id="mode.dataset", tooltip="Go to Dataset"),
        Binding("2", "mode('tag')", "Tag", show=False, id="mode.tag", tooltip="Go to Tag"),
        Binding("3", "mode('review')", "Review", show=False, id="mode.review", tooltip="Go to Review"),
        Binding("4", "mode('config')", "Config", show=False, id="mode.config", tooltip="Go to Config"),
        Binding("5", "mode('monitor')", "Monitor", show=False, id="mode.monitor", tooltip="Go to Monitor"),
        Binding("u", "undo", "undo", id="edit.undo", tooltip="Undo the last change on disk"),
        Binding("U,ctrl+r", "redo", "redo", show=False, id="edit.redo", tooltip="Redo what was undone"),
        Binding("question_mark", "toggle_help", "help", id="app.help", key_display="?", tooltip="Keys, page by page"),
        Binding("f1", "toggle_help", "help", show=False, id="app.help", tooltip="Keys, page by page"),
        Binding("ctrl+p", "command_palette", "palette", id="app.palette", key_display="^p", priority=True),
        Binding("exclamation_mark", "problems", "problems", show=False, id="app.problems", key_display="!"),
        Binding("H", "hide_pictures", "hide pictures", show=False, id="app.hide-pictures"),
        Binding("I", "cycle_images", "next picture protocol", show=False, id="app.images"),
        Binding("escape", "back", "one step back", show=False, id="app.back"),
        Binding("q", "leave", "leave", show=False, id="app.leave", tooltip="Leave; on top: quit (a run goes on)"),
        Binding("ctrl+q", "quit", "quit", show=False, id="app.quit", priority=True, tooltip="Quit (a run goes on)"),
    ]

    start_folder: Path = Path()
    """Where the app was started: a first import makes its workspace here."""

    def __init__(self, workspace: Workspace | None, settings: Settings, graphics: Choice, demo: bool = False) -> None:
        super().__init__()
        self.faults = Faults(self)
        self.workspace, self.settings, self.graphics, self.demo = workspace, settings, graphics, demo
        self.pictures_hidden = settings.hide_pictures
        self.pulse = Pulse()
        self.beat = Beat(self)
        self.telling = Telling(self)
        self.writer = Writer(self)
        self.undoing = Undoing(self)
        self.vocabulary = Vocabulary(self)
        self.undo_signal: Signal[EditGroup | None] = Signal(self, "next undo")
        self.settings_changed: Signal[Settings] = Signal(self, "settings changed")
        self.dataset_changed: Signal[str] = Signal(self, "dataset changed")
        self.runs_changed: Signal[str | None] = Signal(self, "runs changed")
        self.pulse_signal: Signal[Pulse] = Signal(self, "pulse")
        self.pictures_changed: Signal[None] = Signal(self, "pictures changed")
        self.collection_signal: Signal[str] = Signal(self, "collection")
        """What the open dataset got: opened, items, facts, complete, rows (edited)."""
        self.knows_change = False
        self._journal: Any = None
        self._paint: tuple[str, theme.Paint] | None = None
        self.animation_level = "none"
        for each in theme.THEMES:
            self.register_theme(each)
        self._begin_in(settings.theme)
        self.set_keymap(settings.keys)

    def _begin_in(self, name: str) -> None:
        """The theme of the first frame, set without the watcher that would parse all style sheets twice more."""
        self.set_reactive(KohyaApp.theme, name)
        dark = self.current_theme.dark
        self.update_classes({f"-theme-{name}": True, "-dark-mode": dark, "-light-mode": not dark}, update=False)
        self._refresh_truecolor_filter(self.ansi_theme)
        self.stylesheet.set_variables(self.get_css_variables())

    def forget_workspace(self) -> None:
        """Close the journal and every mode but the one that is seen."""
        self._journal = self.collection = None
        self.active_dataset = self.active_config = self.active_run = None
        for name in [name for name in self._screen_stacks if name in self.MODES and name != self.current_mode]:
            self.remove_mode(name)
            self.add_mode(name, self.MODES[name])

    # What every screen reads

    @property
    def paint(self) -> theme.Paint:
        """Styles by role in the theme in force, for widgets that draw their own lines."""
        if self._paint is None or self._paint[0] != self.theme:
            self._paint = (self.theme, theme.Paint(self.theme_variables))
        return self._paint[1]

    @property
    def journal(self) -> Any:
        """The workspace's Journal, opened when first asked for. Use it through `writer`: it fsyncs."""
        if self._journal is None:
            if self.workspace is None:
                raise UserError("There is no workspace yet", "Import images or open the demo in Dataset (1).")
            from core.dataset.edits import Journal

            self._journal = Journal(self.workspace)
        return self._journal

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.variable_defaults(self.theme)

    # Start and end

    def on_load(self) -> None:
        self.faults.home = asyncio.current_task()

    def on_compose(self) -> None:
        self.faults.guard(self)

    def on_mount(self) -> None:
        signals.install(self)
        self.set_timer(0.3, self._settle_in)
        if self.workspace is not None and self.active_dataset is None:
            self.active_dataset = next(iter(self.workspace.dataset_names()), None)

    def on_ready(self) -> None:
        self.faults.is_up = True

    def _settle_in(self) -> None:
        """What may wait until the first frame is on the screen."""
        from tui import chores
        from tui.collector import Collector

        if not gc.isenabled():  # `open_app` switched it off
            Collector(self).start()

        for problem in self.settings.problems:
            self.notify(f"{problem.where}: {problem.message}", severity="warning", markup=False)
        chores.recover_journal(self)
        chores.offer_release(self)
        if self.demo:
            chores.start_demo(self)
        self.beat.start()

    async def drain_and_exit(self, code: int, message: str | None = None) -> None:
        """Leave when everything submitted is on disk."""
        await self.writer.drain()
        self.exit(return_code=code, message=message)

    async def action_quit(self) -> None:
        from tui.chores import way_back

        await self.drain_and_exit(0, way_back(self))

    # What changes for all screens

    def open_workspace(self, workspace: Workspace) -> None:
        """Work in another folder from now on; every mode starts afresh."""
        from tui import chores

        chores.change_workspace(self, workspace)

    def choose_theme(self, name: str) -> None:
        """Show it now and keep it in the user's settings."""
        from core.settings import save_user

        self.theme = name
        self.writer.submit(lambda: save_user("theme", name), None, self.report)

    def action_hide_pictures(self) -> None:
        self.pictures_hidden = not self.pictures_hidden
        self.pictures_changed.publish(None)

    def action_cycle_images(self) -> None:
        self.graphics = next_choice(self.graphics)
        self.notify(f"images: {self.graphics.protocol} — {self.graphics.reason}", markup=False)
        self.pictures_changed.publish(None)

    def action_undo(self) -> None:
        self.undoing.undo()

    def action_redo(self) -> None:
        self.undoing.redo()

    # Help and errors

    def report(self, error: BaseException) -> None:
        """Tell the user; what is not a UserError is a bug and goes to the log with its traceback."""
        self.faults.report(error)

    async def run_action(self, *arguments: Any, **keywords: Any) -> bool:
        try:
            return await super().run_action(*arguments, **keywords)
        except Exception as error:
            self.report(error)
            return True

    def _register_child(self, parent: DOMNode, child: Widget, before: int | None, after: int | None) -> None:
        self.faults.guard(child)
        super()._register_child(parent, child, before, after)

    def _handle_exception(self, error: Exception) -> None:
        if not self.faults.is_survived(error):
            super()._handle_exception(error)
