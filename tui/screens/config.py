"""The Config screen: a form over the files that sd-scripts reads, the plan and the problems beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.widget import Widget

from core.problems import Problem
from tui.screens.base import ModeScreen
from tui.screens.config_disk import EMPTY, ConfigFiles
from tui.screens.config_finding import ConfigFinding
from tui.screens.config_form import EXTENTS, FOLDERS, PROMPTS
from tui.screens.config_parts import Groups, Side
from tui.screens.config_raw import ConfigRaw
from tui.screens.config_values import ConfigValues
from tui.screens.config_view import PAGES, ConfigView, Page, head
from tui.screens.config_watch import ConfigWatch
from tui.widgets.form import Form
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from tui.screens.config_folders import FolderSheet
    from tui.screens.config_open import OpenConfig
    from tui.screens.config_prompts import PromptSheet

_OF_A_CONFIG = frozenset(
    {"save", "find", "check", "fix", "next_view", "unset", "diff", "editor", "next_panel", "next_page", "extent"}
    | {"keep_preset", "measure"}
)


class ConfigScreen(ModeScreen):
    """Routes between what is open (`OpenConfig`) and what is seen of it (`ConfigView`)."""

    MODE = "config"
    CSS_PATH = "config.tcss"
    HELP = """\
# Config

Every option of the training script and of the dataset file. Muted values are the trainer's own defaults: they are not
in the file. `•` is set otherwise than the default, `~` is not saved yet. `⏎` edits a field, `←` `→` step through
choices, `x` removes an option from the file, `/` finds any option by name or word and opens it. `o` shows the usual
options, only what is set, or all. In a path `tab` takes what is offered, `↑` `↓` offer another.

`w` goes on to the folders (every dataset and subset, with what it inherits) and to the sample prompts, and back.
There `a` adds, `x` removes, `"` copies, `J` `K` move. `E` changes the prompts of a run that goes on.

`n` `N` go from problem to problem, `F` mends the one under the cursor where that is safe, `c` shows plan and problems.
`ctrl+t` changes to the raw text at the same place, and back; `e` opens $EDITOR. `d` compares with what is saved, a
preset, another config or a run.

`ctrl+n` makes a config from a preset, `P` keeps this one as a preset of yours.

`s` saves. `u` takes back what is not saved yet, then what was saved. Unsaved changes are kept when you quit.
`R` shows the plan and starts the training; `$` trains three steps before, which says how long all of them take and how
much GPU memory they need.
"""
    BINDINGS: ClassVar = [
        Binding("R", "start", "start", id="run.start", tooltip="Start the training: shows the plan first"),
        Binding("s", "save", "save", id="config.save", tooltip="Save the config"),
        Binding("slash", "find", "find", id="find.open", key_display="/", tooltip="Find an option by name or word"),
        Binding("c", "check", "check", id="config.check", tooltip="Check again, and show plan and problems"),
        Binding("n", "next_match", "next problem", show=False, id="find.next"),
        Binding("N", "previous_match", "previous problem", show=False, id="find.previous"),
        Binding("F", "fix", "fix", show=False, id="config.fix", tooltip="Mend the problem under the cursor"),
        Binding(
            "ctrl+t", "next_view", "raw", id="config.raw", key_display="^t", priority=True, tooltip="Form or raw text"
        ),
        Binding("x", "unset", "remove", show=False, id="edit.remove", tooltip="Remove the option from the file"),
        Binding("d", "diff", "diff", show=False, id="config.diff", tooltip="Compare: saved, preset, config, run"),
        Binding("w", "next_page", "view", id="config.list-or-grid", tooltip="Form, folders, or sample prompts"),
        Binding(
            "dollar_sign",
            "measure",
            "measure",
            id="config.measure",
            key_display="$",
            tooltip="What a step takes and needs: trains three on the largest bucket",
        ),
        Binding(
            "o", "extent", "only set", show=False, id="list.order", tooltip="Usual options, only what is set, or all"
        ),
        Binding(
            "E",
            "run_prompts",
            "run's prompts",
            show=False,
            id="config.text",
            tooltip="The prompts of a run that goes on",
        ),
        Binding("e", "editor", "$EDITOR", show=False, id="edit.editor", tooltip="Open the file in $EDITOR"),
        Binding("ctrl+n", "new", "new", id="config.new", key_display="^n", tooltip="New config from a preset"),
        Binding(
            "ctrl+o", "open", "open", show=False, id="config.open", key_display="^o", tooltip="Open another config"
        ),
        Binding(
            "P", "keep_preset", "save as preset", show=False, id="config.preset", tooltip="Keep the values as a preset"
        ),
        Binding("i", "import", "import", show=False, id="dataset.import", tooltip="Import a guide, kohya_ss, a script"),
        Binding("u", "undo", "undo", id="edit.undo"),
        Binding("U,ctrl+r", "redo", "redo", show=False, id="edit.redo"),
        Binding("tab", "next_panel", "next panel", show=False, id="app.next-panel"),
    ]
    view = getters.query_one(ConfigView)
    form = getters.query_one("#config-form", Form)
    side = getters.query_one(Side)
    groups = getters.query_one(Groups)

    def __init__(self) -> None:
        super().__init__()
        self.files = ConfigFiles(self)
        self.values = ConfigValues(self, self.files)
        self.raw = ConfigRaw(self)
        self.finding = ConfigFinding(self)
        self.watching = ConfigWatch(self)
        self._was_empty = False

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="config-body"):
            yield Line(id="config-head")
            yield ConfigView(id="config-main")

    def on_mount(self) -> None:
        self.form.rows.focus()
        self.app.dataset_changed.subscribe(self, lambda _: self.files.take_news())
        self.app.settings_changed.subscribe(self, lambda _: self.watching.read_checkout())
        self.watching.begin()

    def on_screen_resume(self) -> None:
        self.files.follow()
        self.watching.resume()

    def on_screen_suspend(self) -> None:
        self.watching.rest()

    @property
    def opened(self) -> OpenConfig | None:
        """What is open, with what was found out about it."""
        return self.files.opened

    @property
    def config(self) -> Config | None:
        """The one that is open."""
        return self.opened.config if self.opened is not None else None

    def problems(self) -> tuple[Problem, ...]:
        return self.opened.problems if self.opened is not None else ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # Without a config only its beginnings are offered; `start` says so itself.
        return self.opened is not None or action not in _OF_A_CONFIG

    def step_back(self) -> bool:
        if self.view.file is None or self.side.has_focus:
            return self.view.step_back()
        if not self.raw.show(None):
            self.view.go(self.side)  # where keys are keys again: no text may hold its user
        return True

    # Which config

    @work(exit_on_error=False)
    async def action_open(self) -> None:
        await self.files.choose()

    @work(exit_on_error=False)
    async def action_new(self) -> None:
        from tui.screens.config_make import ask_new

        await self.files.make(ask_new)

    @work(exit_on_error=False)
    async def action_keep_preset(self) -> None:
        from tui.screens.config_make import keep_preset

        if self.config is not None and self.take_raw():
            await keep_preset(self.app, self.config)

    @work(exit_on_error=False)
    async def action_import(self) -> None:
        from tui.screens.config_import import import_settings

        await self.files.make(import_settings)

    @work(exit_on_error=False)
    async def action_save(self) -> None:
        if self.opened is not None and self.take_raw():
            if self.opened.config.changed:
                await self.files.save()
            else:
                self.notify("Nothing to save.", timeout=2)

    def on_app_focus(self) -> None:
        self.watching.look()

    @work(exit_on_error=False)
    async def action_measure(self) -> None:
        if self.opened is not None and self.take_raw():
            await self.files.measure(self.opened)

    @work(exit_on_error=False)
    async def action_start(self) -> None:
        opened = self.opened
        if opened is None:
            self.notify(EMPTY, markup=False)
        elif self.take_raw():
            problem = await self.files.start(opened)
            if problem is not None:
                self.finding.go_to_problem(problem)

    # Drawing

    def changed(self, key: str | None = None) -> None:
        """The documents are others, in `key`: show them, keep them, and check them soon."""
        self.show(key)
        self.files.keep_draft()
        self.watching.check_soon()

    def replaced(self, file: FileName | None) -> None:
        """Other texts: what stands in the raw editor belongs to nobody. Show `file` as text, or the form."""
        if self.opened is not None:
            self.opened.end_raw(counts=False)
        self.view.close_file()
        self.changed()
        self.show_problem_count()
        if file is not None:
            self.raw.show(file)
        elif self.is_current and not self.form.is_editing:
            self.view.go()

    def show(self, key: str | None = None) -> None:
        """Draw what is open; the cursor goes to `key`."""
        if (self.opened is None) != self._was_empty:
            self._was_empty = self.opened is None
            self.refresh_bindings()
        if self.app.workspace is not None:
            self.view.root = self.app.workspace.root
        has_images = self.app.workspace is not None and bool(self.app.workspace.dataset_names())
        self.view.show(self.opened, has_images=has_images, key=key)
        self.show_head()

    def show_head(self) -> None:
        """The line above the body."""
        self.query_one("#config-head", Line).set(*head(self.opened, self.view))

    def action_next_panel(self) -> None:
        self.view.next_panel()

    @on(ItemList.Opened, "#config-side")
    def _problem_opened(self) -> None:
        if self.side.problem is not None:
            self.go_to_problem(self.side.problem)

    def go_to_problem(self, problem: Problem) -> None:
        self.finding.go_to_problem(problem)

    # Changing

    @on(Form.Changed)
    def _typed(self, event: Form.Changed) -> None:
        self.values.type(event.key, event.text)

    @on(Form.Asked)
    def _asked(self, event: Form.Asked) -> None:
        if event.key in {PROMPTS, FOLDERS}:
            self._turn("prompts" if event.key == PROMPTS else "folders")
        elif not self.values.switch(event.key):
            self._choose(event.key)

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        self.values.step(event.key, event.by)

    @work(exit_on_error=False)
    async def _choose(self, key: str) -> None:
        await self.values.choose(key)

    def action_unset(self) -> None:
        if self.view.file is None and self.view.page == "prompts":
            self.view.prompts.unset()
        elif self.view.file is None:
            self.values.remove(self.view.now.key)

    @work(exit_on_error=False, description="change the folders")
    async def on_folder_sheet_wanted(self, event: FolderSheet.Wanted) -> None:
        await self.values.change_folders(event.wish, event.node)

    def on_prompt_sheet_edited(self, event: PromptSheet.Edited) -> None:
        self.values.set_prompts(event.text, event.key)

    @work(exit_on_error=False)
    async def action_run_prompts(self) -> None:
        from tui.screens.run_prompts import open_prompts

        if self.config is not None:
            await open_prompts(self.app, self.config.name)

    # Pages

    def action_next_page(self) -> None:
        self._turn(PAGES[(PAGES.index(self.view.page) + 1) % len(PAGES)])

    def _turn(self, page: Page) -> None:
        if self.opened is not None:
            self.raw.show(None)
            self.view.turn(page)
            self.show_head()

    def action_extent(self) -> None:
        """The usual options, only what is set, every option."""
        self.view.extent = EXTENTS[(EXTENTS.index(self.view.extent) + 1) % len(EXTENTS)]
        self._turn("form")

    def action_undo(self) -> None:
        if not self._step(back=True):
            self.app.action_undo()

    def action_redo(self) -> None:
        if not self._step(back=False):
            self.app.action_redo()

    def _step(self, *, back: bool) -> bool:
        """Unsaved changes come before what is on disk; False when there is none."""
        if self.opened is None or self.view.file is not None:
            return False
        found, key = self.opened.step(back=back)
        if found:
            self.changed()
        if key:
            self.finding.reveal(key)
        return found

    @work(exclusive=True, group="config-fix", exit_on_error=False)
    async def action_fix(self) -> None:
        if self.opened is not None and self.view.file is None:
            worst = self.opened.worst.get(self.view.now.key or "")
            await self.files.mend(self.side.problem if self.side.has_focus else worst)

    # Finding, and raw text

    @work(exit_on_error=False)
    async def action_find(self) -> None:
        await self.finding.ask()

    def action_next_match(self) -> None:
        self.finding.jump(1)

    def action_previous_match(self) -> None:
        self.finding.jump(-1)

    def action_next_view(self) -> None:
        """The raw text at the place of the cursor, or the form at the place of the raw text's."""
        self.raw.flip()

    def on_text_area_changed(self) -> None:
        self.take_raw(quiet=True)
        self.show_head()
        self.view.show_about()
        self.view.show_side()

    def take_raw(self, *, quiet: bool = False) -> bool:
        """Put the raw text into the documents; False when it is not TOML, which is said."""
        taken = self.raw.take(quiet=quiet)
        if taken is not None:
            self.files.keep_draft()
        if taken:
            self.watching.check_soon()
        return taken is None or taken

    @work(exit_on_error=False)
    async def action_editor(self) -> None:
        """The file of the current view in $EDITOR; the form stands for train.toml."""
        await self.files.edit(self.view.file or self.view.raw_file)

    @work(exit_on_error=False)
    async def action_diff(self) -> None:
        from tui.screens.config_diff import show_diff

        if self.opened is not None and self.take_raw():
            await show_diff(self.app, self.opened.config)

    def action_check(self) -> None:
        """Check now, and look at what came out."""
        self.watching.check()
        self.view.go(self.side)
