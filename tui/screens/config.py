"""The Config screen: a form over the files that sd-scripts reads, the plan and the problems beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget

from core.config.documents import place_of
from core.problems import Problem, UserError
from core.text import printable
from tui.screens.config_disk import EMPTY
from tui.screens.config_edit import Editing
from tui.screens.config_files import Edits
from tui.screens.config_form import MARKS, key_of, options, shown, worst
from tui.screens.config_parts import Groups, Raw, Side, wrapped
from tui.theme import Cells
from tui.widgets.form import Form
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line, Lines

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.config.plan import Plan

WIDE = 116
"""From this width on the groups stand at the left."""
ABOUT: dict[FileName, str] = {
    "train": "train.toml: the options of the training script.",
    "dataset": "dataset.toml: which folders are trained on, how often, at which size.",
    "prompts": "prompts.txt: one sample picture a line.  --w --h size  --d seed  --s steps  --l guidance  --n negative",
}
_OF_A_CONFIG = frozenset({"save", "find", "check", "fix", "next_view", "unset", "diff", "editor", "next_panel"})


class ConfigScreen(Editing):
    """Form and raw editor are two views of the same documents."""

    MODE = "config"
    CSS_PATH = "config.tcss"
    HELP = """\
# Config

Every option of the training script and of the dataset file. Muted values are the trainer's own defaults: they are not
in the file. `⏎` edits a field, `←` `→` step through choices, `x` removes an option from the file, `/` finds any option
by name or word.

`n` `N` go from problem to problem, `F` mends the one under the cursor where that is safe, `c` shows plan and problems.
`ctrl+t` changes to the raw text of train.toml, dataset.toml and prompts.txt, and back; `e` opens $EDITOR.

`s` saves. `u` takes back what is not saved yet, then what was saved. Unsaved changes are kept when you quit.
`R` shows the plan and starts the training.
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
        Binding("d", "diff", "diff", show=False, id="config.diff", tooltip="What saving would change"),
        Binding("e", "editor", "$EDITOR", show=False, id="edit.editor", tooltip="Open the file in $EDITOR"),
        Binding("ctrl+n", "new", "new", id="config.new", key_display="^n", tooltip="New config from a preset"),
        Binding(
            "ctrl+o", "open", "open", show=False, id="config.open", key_display="^o", tooltip="Open another config"
        ),
        Binding("i", "import", "import a guide", show=False, id="dataset.import", tooltip="Import a guide"),
        Binding("u", "undo", "undo", id="edit.undo"),
        Binding("U,ctrl+r", "redo", "redo", show=False, id="edit.redo"),
        Binding("tab", "next_panel", "next panel", show=False, id="app.next-panel"),
        Binding("exclamation_mark", "problems", "problems", show=False, id="app.problems", key_display="!"),
    ]
    head = getters.query_one("#config-head", Line)
    about = getters.query_one("#config-about", Lines)
    empty = getters.query_one("#config-empty", Lines)

    def __init__(self) -> None:
        super().__init__()
        self._checked = False
        self._script = ""
        self._timer: Timer | None = None
        self._was_empty = False

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="config-body"):
            yield Line(id="config-head")
            with Horizontal(id="config-main"):
                yield Groups(id="config-groups")
                with Vertical(id="config-left"):
                    yield Form(label_width=29)
                    yield Lines(id="config-empty")
                    yield Lines(id="config-about")
                yield Side(id="config-side")

    def on_mount(self) -> None:
        self.form.rows.focus()
        self.app.dataset_changed.subscribe(self, lambda _: self._files_may_differ())

    def on_screen_resume(self) -> None:
        self._reload()
        self._looks = self.set_interval(2.0, self._look)

    def on_screen_suspend(self) -> None:
        if self._looks is not None:
            self._looks.stop()
            self._looks = None

    def problems(self) -> tuple[Problem, ...]:
        return self._problems

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # Without a config only its beginnings are offered; `start` says so itself.
        return self.edits is not None or action not in _OF_A_CONFIG

    def step_back(self) -> bool:
        if self._view is not None:
            self._show_view(None)
        elif self.side.has_focus or self.groups.has_focus:
            self._focus_form()
        else:
            return False
        return True

    # Which config

    def _reload(self) -> None:
        """Open the active config, or the newest state of the one that is open; unsaved changes are kept."""
        workspace = self.app.workspace
        names = workspace.config_names() if workspace is not None else []
        wanted = self.app.active_config
        if wanted not in names:
            wanted = self.app.active_dataset if self.app.active_dataset in names else (names[0] if names else None)
        if wanted is None or workspace is None:
            self.edits, self.plan, self._problems, self._worst = None, None, (), {}
            self._show()
            self.show_problem_count()
        elif self.config is None or self.config.folder != workspace.configs / wanted:
            self._open(wanted)
        else:
            self._files_may_differ()
            self._check_soon()

    def _open(self, name: str) -> None:
        from core.config.documents import Config
        from core.config.drafts import read

        workspace = self.app.workspace
        assert workspace is not None
        self._show_view(None, taken=True)
        try:
            config = Config.load(workspace.configs / name)
        except UserError as error:
            self.app.report(error)
            return
        self.edits = edits = Edits(config)
        self.app.active_config = name
        self._extra, self._wrong = frozenset(), None
        self.plan, self._problems, self._worst, self._checked = None, (), {}, False
        self._script, self._restored = config.script, False
        draft = read(workspace, config)
        if draft is not None:
            edits.has_draft = True
            edits.put(draft.texts)
            self._restored = draft.is_current
            if not draft.is_current:
                self._settle(edits, dict(draft.texts))
        self._changed()
        opened = next(iter(edits.raw or config.broken), None)
        if opened is not None:
            self._show_view(opened)

    @work(exit_on_error=False)
    async def action_open(self) -> None:
        from tui.screens.dialogs import Choose

        names = self.app.workspace.config_names() if self.app.workspace is not None else []
        if not names:
            self.notify(EMPTY, markup=False)
            return
        found = await self.app.push_screen_wait(
            Choose("Configs", [(name, printable(name), "") for name in names], chosen=self.app.active_config)
        )
        if found is not None and await self._may_leave():
            self._open(found)

    async def _may_leave(self) -> bool:
        """Ask what becomes of unsaved changes, if there are any; kept ones wait as a draft."""
        from tui.screens.dialogs import Choose

        edits = self.edits
        self._take_raw(quiet=True)
        if edits is None or not edits.unsaved:
            return True
        name = printable(edits.config.name)
        choices = [
            ("keep", "Keep them for later", f"they are here again when {name} is opened"),
            ("save", "Save them", ""),
            ("drop", "Drop them", ""),
        ]
        found = await self.app.push_screen_wait(Choose(f"{name} has unsaved changes", choices))
        if found == "save":
            if not self._take_raw():
                return False
            await self._save()
            return not edits.unsaved
        if found == "drop":
            edits.forget()
            edits.config.reload()
        self._keep_draft()
        await self.app.writer.drain()
        return found is not None

    @work(exit_on_error=False)
    async def action_new(self) -> None:
        from tui.screens.config_dialogs import ask_new

        if await self._has_workspace() and await self._may_leave():
            name = await ask_new(self.app)
            if name is not None:
                self._open(name)
                self._focus_form()

    @work(exit_on_error=False)
    async def action_import(self) -> None:
        from tui.screens.config_dialogs import import_guide

        if await self._has_workspace() and await self._may_leave():
            name = await import_guide(self.app)
            if name is not None:
                self._open(name)
                self._focus_form()

    async def _has_workspace(self) -> bool:
        if self.app.workspace is None:
            self.notify("There are no images yet: import some in Dataset first (1, then i).", severity="warning")
        return self.app.workspace is not None

    # Drawing

    def _changed(self) -> None:
        """The documents are others: show them, keep them, and check them soon."""
        self._show()
        self._keep_draft()
        self._check_soon()

    def _show(self) -> None:
        config = self.config
        wide = self.size.width >= WIDE and config is not None and self._view is None
        narrow = self.has_class("-narrow")
        self.groups.display = wide
        self.side.display = config is not None and (not narrow or self.side.has_focus)
        self.query_one("#config-left").display = not (narrow and self.side.display)
        self.empty.display = config is None
        self.form.display = config is not None and self._view is None
        self.about.display = config is not None
        if (config is None) != self._was_empty:
            self._was_empty = config is None
            self.refresh_bindings()
        if config is None:
            self.head.set([(" Config", "accent")])
            self.empty.show(self._empty_lines())
            return
        edits = self.edits
        assert edits is not None
        file = f"{self._view}.{'txt' if self._view == 'prompts' else 'toml'}" if self._view else ""
        left: Cells = [(f" {printable(config.name)}", "accent"), (f"  {file}" if file else "", "text")]
        if edits.unsaved:
            again = " since last time: d shows, s saves" if self._restored else ", not saved"
            left.append((f"  changed{again}", "caution"))
        self.head.set(left, [(f"{self._script} ", "muted")])
        if self._view is None:
            self.form.show([] if config.broken else shown(config, self._extra, self._worst))
            self.groups.tell(self.form.fields, self.form.key)
        self._show_about()
        self._show_side()

    def _empty_lines(self) -> list[Cells]:
        names = self.app.workspace.dataset_names() if self.app.workspace is not None else []
        lines: list[Cells] = [[("No config yet.", "text")], []]
        if not names:
            lines += [[("1  ", "accent"), ("and there i: import images first, then 2 tags them", "text")]]
        lines += [
            [("^n ", "accent"), ("make one from a preset", "text")],
            [("i  ", "accent"), ("import a guide (Markdown or TOML)", "text")],
        ]
        return lines

    def _show_about(self) -> None:
        config, key, width = self.config, self.form.key, self.about.size.width
        lines: list[Cells] = []
        if config is not None and self._view is not None:
            error = self._wrong or config.broken.get(self._view)
            if error is not None:
                path = config.path(self._view)
                lines = [[(" ✗ ", "bad"), (printable(error.message.replace(str(path), path.name)), "text")]]
            else:
                lines = [[(f" {ABOUT[self._view]}", "muted")], [(" Esc form · ^t next file", "muted")]]
        elif config is not None and key is not None:
            option, problem = options(config).get(key), self._worst.get(key)
            if problem is not None:
                glyph, role = MARKS[problem.severity]
                fix = "  fix: F" if problem.fixable else ""
                said = f"{problem.message}. {problem.hint or ''}".replace("..", ".").rstrip()
                lines = [[(f" {glyph} ", role), (printable(said) + fix, "text")]]
            elif option is not None:
                default = "" if option.default in (None, "") else f" · default {option.default}"
                where = f"{config.home(key)}.toml"
                lines = [[(f" {option.help or key}", "text")], [(f" {where}{default}", "muted")]]
        self.about.show(wrapped(lines, width))

    def _show_side(self) -> None:
        self.side.tell(self.plan, self._problems, self._wrong, self._checked)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    # Panels

    def action_next_panel(self) -> None:
        """Form, plan and problems, groups."""
        panels: list[Widget] = [self.form.rows if self._view is None else self.query_one(Raw), self.side]
        if self.groups.display:
            panels.insert(0, self.groups)
        now = next((index for index, panel in enumerate(panels) if panel.has_focus), 0)
        self._go(panels[(now + 1) % len(panels)])

    def _go(self, panel: Widget) -> None:
        if self.config is None:
            return
        if self.has_class("-narrow"):
            self.side.display = panel is self.side
            self.query_one("#config-left").display = panel is not self.side
        panel.focus()
        self.call_after_refresh(self._show_side)

    def _focus_form(self) -> None:
        self._go(self.form.rows)

    @on(ItemList.Moved, "#config-groups")
    def _group_chosen(self, event: ItemList.Moved) -> None:
        if self.groups.has_focus and 0 <= event.index < len(self.groups.firsts):
            self.form.go_to(self.groups.firsts[event.index])

    @on(ItemList.Opened, "#config-groups")
    def _group_opened(self) -> None:
        self._focus_form()

    @on(ItemList.Opened, "#config-side")
    def _problem_opened(self) -> None:
        if self.side.problem is not None:
            self._go_to_problem(self.side.problem)

    def _go_to_problem(self, problem: Problem) -> None:
        config = self.config
        key = key_of(config, problem) if config is not None else None
        if key is not None:
            self._reveal(key)
        elif config is not None:
            file, _ = place_of(problem.where)
            if file is not None:
                self._show_view(file)
            elif problem.hint:
                self.notify(f"{problem.where}: {problem.message}\n{problem.hint}", markup=False)

    def _reveal(self, key: str) -> None:
        """The cursor on a field, which is shown if it was not."""
        self._extra |= {key}
        self._show_view(None)
        self._show()
        self._focus_form()
        self.form.go_to(key)

    # Checking

    def _check_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(0.15, self._begin_check)

    def action_check(self) -> None:
        """Check now, and look at what came out."""
        if self.config is not None:
            self._begin_check()
            self._go(self.side)

    def _begin_check(self) -> None:
        copied = self._copy()
        if copied is not None:
            self._check(copied)

    def _copy(self) -> Config | None:
        """The config as it stands, for another thread."""
        from core.config.documents import Config

        if self.config is None or self.app.workspace is None:
            return None
        texts = {file: text for file, text in self.edits.texts().items() if file not in self.config.broken}  # type: ignore[union-attr]
        copied = Config(self.config.folder, texts)
        copied.broken.update(self.config.broken)
        return copied

    @work(thread=True, exclusive=True, group="config-check", exit_on_error=False)
    def _check(self, config: Config) -> None:
        from core.config.plan import plan
        from core.config.preflight import check
        from core.config.resolved import script_of

        workspace = self.app.workspace
        assert workspace is not None
        found = plan(config, workspace) if not config.broken else None
        problems = tuple(check(config, workspace, self.app.settings, planned=found))
        self.app.call_from_thread(self._take_check, config, found, problems, script_of(config, workspace))

    def _take_check(self, config: Config, found: Plan | None, problems: tuple[Problem, ...], script: str) -> None:
        if self.config is None or self.config.folder != config.folder:
            return
        self.plan, self._problems, self._script, self._checked = found, problems, script, True
        self._worst = worst(self.config, problems)
        self._show()
        self.show_problem_count()
