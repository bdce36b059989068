"""The Config screen: a form over the files that sd-scripts reads, the plan and the problems beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import TextArea

from core.problems import Problem, Severity, UserError
from core.text import printable
from tui.screens.base import ModeScreen
from tui.screens.config_dialogs import ask_new, choose_option, confirm_start
from tui.theme import Cells
from tui.widgets.form import Form
from tui.widgets.line import Line, Lines
from tui.wiring import OurApp

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.config.plan import Plan

VIEWS: tuple[FileName | None, ...] = (None, "train", "dataset", "prompts")
MARKS = {Severity.ERROR: ("✗", "bad"), Severity.WARNING: ("!", "caution"), Severity.INFO: ("·", "muted")}
EMPTY = "No config yet. ctrl+n makes one from a preset, i imports a guide (Markdown or TOML)."


class Raw(TextArea):
    """The raw editor: Esc leaves it, as it leaves everything (Textual would move the focus)."""

    app = OurApp()

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            await self.app.action_back()


class ConfigScreen(ModeScreen):
    """Form and raw editor are two views of the same documents."""

    MODE = "config"
    CSS_PATH = "config.tcss"
    HELP = """\
# Config

Every option of the training script and of the dataset file; muted values are the trainer's own defaults. `⏎` edits, `x`
removes an option from the file, `/` finds any option by name or word. `ctrl+t` changes to the raw text of train.toml,
dataset.toml and prompts.txt, and back. `s` saves, `u` takes that back, `R` starts the training.
"""
    BINDINGS: ClassVar = [
        Binding("R", "start", "start", id="run.start"),
        Binding("s", "save", "save", id="config.save"),
        Binding("slash", "find", "find", id="find.open", key_display="/"),
        Binding("n", "next_match", "next problem", show=False, id="find.next"),
        Binding("N", "previous_match", "previous problem", show=False, id="find.previous"),
        Binding("ctrl+t", "next_view", "raw", id="config.raw", key_display="^t", priority=True),
        Binding("x", "unset", "remove", show=False, id="tag.remove"),
        Binding("d", "diff", "diff", show=False, id="config.diff"),
        Binding("c", "check", "check", show=False, id="config.check"),
        Binding("e", "editor", "$EDITOR", show=False, id="caption.editor"),
        Binding("ctrl+n", "new", "new", id="config.new", key_display="^n"),
        Binding("ctrl+o", "open", "open", show=False, id="config.open", key_display="^o"),
        Binding("i", "import", "import a guide", show=False, id="dataset.import"),
    ]
    form = getters.query_one(Form)
    head = getters.query_one("#config-head", Line)
    side = getters.query_one("#config-side", Lines)
    about = getters.query_one("#config-about", Lines)

    def __init__(self) -> None:
        super().__init__()
        self.config: Config | None = None
        self.plan: Plan | None = None
        self._problems: tuple[Problem, ...] = ()
        self._extra: frozenset[str] = frozenset()
        self._view: FileName | None = None
        self._wrong: UserError | None = None
        self._timer: Timer | None = None
        self._matches: list[str] = []

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="config-body"):
            yield Line(id="config-head")
            with Horizontal(id="config-main"):
                with Vertical(id="config-left"):
                    yield Form(label_width=30)
                    yield Lines(id="config-about")
                yield Lines(id="config-side")

    def on_mount(self) -> None:
        self.form.rows.empty = EMPTY
        self.form.rows.focus()
        self.app.dataset_changed.subscribe(self, lambda _: self._reload())

    def on_screen_resume(self) -> None:
        self._reload()

    def problems(self) -> tuple[Problem, ...]:
        return self._problems

    def step_back(self) -> bool:
        if self._view is None:
            return False
        self._show_view(None)
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
            self.config = None
            self._show()
            return
        if self.config is None or self.config.folder != workspace.configs / wanted:
            self._open(wanted)
        elif self.config.changed_on_disk() and not self.config.changed:
            self.config.reload()
            self._changed()
        else:
            self._check_soon()

    def _open(self, name: str) -> None:
        from core.config.documents import Config

        assert self.app.workspace is not None
        try:
            self.config = Config.load(self.app.workspace.configs / name)
        except UserError as error:
            self.app.report(error)
            return
        self.app.active_config = name
        self._extra = frozenset()
        self.plan, self._problems = None, ()
        self._changed()

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
        """Ask what becomes of unsaved changes, if there are any."""
        from tui.screens.dialogs import Choose

        if self.config is None or not self.config.changed:
            return True
        found = await self.app.push_screen_wait(
            Choose(f"{self.config.name} has unsaved changes", [("save", "Save them", ""), ("drop", "Drop them", "")])
        )
        if found == "save":
            self._save()
            await self.app.writer.drain()
        return found is not None

    @work(exit_on_error=False)
    async def action_new(self) -> None:
        if self.app.workspace is None or not await self._may_leave():
            return
        name = await ask_new(self.app)
        if name is not None:
            self._open(name)

    @work(exit_on_error=False)
    async def action_import(self) -> None:
        from tui.screens.config_dialogs import import_guide

        if self.app.workspace is None or not await self._may_leave():
            return
        result = await import_guide(self.app)
        if result is not None:
            self._open(result)

    # Drawing

    def _changed(self) -> None:
        """The documents are others: show them, and check them soon."""
        self._show()
        self._check_soon()

    def _show(self) -> None:
        from tui.screens.config_form import shown

        config = self.config
        if config is None:
            self.head.set([(" Config", "accent")])
            self.form.show([])
            self.side.show([])
            self.about.show([])
            return
        file = f"{self._view}.{'txt' if self._view == 'prompts' else 'toml'}" if self._view else "form"
        left: Cells = [(f" {printable(config.name)}", "accent"), (f"  {file}", "muted")]
        if config.changed:
            left.append(("  changed", "caution"))
        self.head.set(left, [(f"{config.script} ", "muted")])
        if config.broken:
            self.form.rows.empty = "A file is not TOML: ctrl+t opens it as text."
            self.form.show([])
        else:
            self.form.show(shown(config, self._extra))
        self._show_about()
        self._show_side()

    def _show_about(self) -> None:
        from tui.screens.config_form import options

        key = self.form.key
        config = self.config
        if config is None or key is None:
            self.about.show([])
            return
        option = options(config).get(key)
        if option is None:
            self.about.show([])
            return
        where = f"{config.home(key)}.toml"
        default = "" if option.default in (None, "") else f" · default {option.default}"
        lines: list[Cells] = [[(" " + option.help, "text")], [(f" {key} · {where}{default}", "muted")]]
        self.about.show(wrapped(lines, self.about.size.width))

    def _show_side(self) -> None:
        lines: list[Cells] = [[(" Plan", "accent")]]
        if self._wrong is not None:
            lines += [[(f" ✗ {printable(self._wrong.message)}", "bad")]]
        if self.plan is not None:
            lines += [[(f" {text}", "text")] for text in self.plan.lines()]
        lines += [[], [(" Problems", "accent")]]
        if not self._problems:
            lines.append([(" none", "muted")])
        for problem in sorted(self._problems, key=lambda each: list(MARKS).index(each.severity)):
            glyph, role = MARKS[problem.severity]
            lines.append([(f" {glyph} ", role), (f"{problem.code} ", "muted"), (printable(problem.message), "text")])
        self.side.show(wrapped(lines, self.side.size.width))

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    # Checking

    def _check_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(0.15, self.action_check)

    def action_check(self) -> None:
        if self.config is not None and self.app.workspace is not None:
            texts: dict[FileName, str] = {file: self.config.text(file) for file in ("train", "dataset", "prompts")}
            self._check(self.config.folder, texts, dict(self.config.broken))

    @work(thread=True, exclusive=True, group="config-check", exit_on_error=False)
    def _check(self, folder: Any, texts: dict[FileName, str], broken: dict[FileName, UserError]) -> None:
        from core.config.documents import Config
        from core.config.plan import plan
        from core.config.preflight import check

        workspace = self.app.workspace
        assert workspace is not None
        config = Config(folder, {file: text for file, text in texts.items() if file not in broken})
        config.broken.update(broken)
        problems = tuple(check(config, workspace, self.app.settings))
        found = plan(config, workspace) if not broken else None
        self.app.call_from_thread(self._take_check, folder, found, problems)

    def _take_check(self, folder: Any, found: Plan | None, problems: tuple[Problem, ...]) -> None:
        if self.config is None or self.config.folder != folder:
            return
        own = found.problems if found is not None else ()
        known = {(problem.code, problem.where) for problem in problems}
        self._problems = (*problems, *(each for each in own if (each.code, each.where) not in known))
        self.plan = found
        self._show_side()
        self.show_problem_count()

    # Changing

    @on(Form.Moved)
    def _moved(self) -> None:
        self._show_about()

    @on(Form.Changed)
    def _typed(self, event: Form.Changed) -> None:
        from tui.screens.config_form import put

        if self.config is not None:
            self._apply(lambda config: put(config, event.key, event.text))

    def _apply(self, change: Any) -> None:
        try:
            change(self.config)
        except UserError as error:
            self.app.report(error)
        self._changed()

    @on(Form.Asked)
    def _asked(self, event: Form.Asked) -> None:
        from tui.screens.config_form import options, switch

        if self.config is None:
            return
        if event.key == "prompts":
            self._show_view("prompts")
            return
        option = options(self.config).get(event.key)
        if option is not None and option.type == "bool":
            self._apply(lambda config: switch(config, event.key))
        else:
            self._choose(event.key)

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        from tui.screens.config_form import options, put
        from tui.widgets.form import choice_step

        if self.config is None:
            return
        option = options(self.config).get(event.key)
        if option is not None and option.choices:
            values = [str(value) for value in option.choices]
            now = self.config.get(self.config.home(event.key), event.key)
            text = choice_step(values, str(option.default if now is None else now), event.by)
            self._apply(lambda config: put(config, event.key, text))

    @work(exit_on_error=False)
    async def _choose(self, key: str) -> None:
        from tui.screens.config_dialogs import choose_value
        from tui.screens.config_form import put

        if self.config is None:
            return
        text = await choose_value(self.app, self.config, key)
        if text is not None:
            self._apply(lambda config: put(config, key, text))

    def action_unset(self) -> None:
        key = self.form.key
        if self.config is not None and key is not None and self._view is None:
            self._apply(lambda config: config.unset(config.home(key), key))

    @work(exit_on_error=False)
    async def action_find(self) -> None:
        if self.config is None:
            return
        name = await choose_option(self.app, self.config)
        if name is not None:
            self._extra |= {name}
            self._show_view(None)
            self._show()
            self.form.go_to(name)
            self.form.rows.focus()

    def action_next_match(self) -> None:
        self._jump(1)

    def action_previous_match(self) -> None:
        self._jump(-1)

    def _jump(self, by: int) -> None:
        """The next option that a problem names."""
        keys = [field.key for field in self.form.fields if field.editable]
        named = [
            key
            for key in keys
            if any(key in (*problem.where.split(), *problem.message.split()) for problem in self._problems)
        ]
        if named:
            at = named.index(self.form.key) if self.form.key in named else -1
            self.form.go_to(named[(at + by) % len(named)])

    # Raw text

    def action_next_view(self) -> None:
        if self.config is not None:
            self._show_view(VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)])

    def _show_view(self, view: FileName | None) -> None:
        if self.config is None or view == self._view or not self._take_raw():
            return
        self._view = view
        old = self.query("#config-raw")
        if view is None:
            old.remove()
            self.form.display = True
            self.form.rows.focus()
        else:
            self.form.display = False
            text = self.config.text(view)
            if old:
                area = old.first(TextArea)
                area.load_text(text)
                area.language = None if view == "prompts" else "toml"
                area.focus()
            else:
                area = Raw.code_editor(
                    text, language=None if view == "prompts" else "toml", id="config-raw", soft_wrap=view == "prompts"
                )
                self.query_one("#config-left").mount(area, before=0)
                area.focus()
        self._show()

    @on(TextArea.Changed)
    def _raw_typed(self) -> None:
        self._take_raw(quiet=True)
        self._show_side()

    def _take_raw(self, *, quiet: bool = False) -> bool:
        """Put the raw text into the documents; False when it is not TOML, which is said."""
        found = self.query("#config-raw")
        if not found or self._view is None or self.config is None:
            return True
        text = found.first(TextArea).text
        if text == self.config.text(self._view) and self._wrong is None:
            return True
        try:
            self.config.set_text(self._view, text)
        except UserError as error:
            self._wrong = error
            if not quiet:
                self.app.report(error)
            return False
        self._wrong = None
        self._check_soon()
        return True

    @work(exit_on_error=False)
    async def action_editor(self) -> None:
        """The file of the current view in $EDITOR; the form stands for train.toml."""
        from tui.screens.config_dialogs import edit_outside

        if self.config is not None and await self._may_leave():
            edit_outside(self.app, self.config.path(self._view or "train"))
            self.config.reload()
            self._changed()

    @work(exit_on_error=False)
    async def action_diff(self) -> None:
        """What saving would change."""
        from tui.screens.config_dialogs import show_diff

        if self.config is not None:
            await show_diff(self.app, self.config)

    # Saving and starting

    def action_save(self) -> None:
        if self.config is not None and self._take_raw():
            if not self.config.changed:
                self.notify("Nothing to save.", timeout=2)
                return
            self._save()

    def _save(self) -> None:
        config, journal = self.config, self.app.journal
        assert config is not None

        def done(_: Any) -> None:
            self._show()
            self._check_soon()
            self.notify(f"saved {printable(config.name)}", timeout=2, markup=False)

        self.app.writer.submit(lambda: config.save(journal), done, self.app.report)

    @work(exit_on_error=False)
    async def action_start(self) -> None:
        if self.config is None or self.app.workspace is None or not self._take_raw():
            return
        if self.config.changed:
            self._save()
            await self.app.writer.drain()
        name = self.config.name
        if await confirm_start(self.app, name, self.plan, self._problems):
            self._start(name)

    @work(thread=True, group="config-start", exit_on_error=False)
    def _start(self, name: str) -> None:
        from core.runs.launch import start, train_spec
        from core.runs.store import create

        workspace = self.app.workspace
        assert workspace is not None
        spec, files = train_spec(workspace, name, self.app.settings, launcher=self.app.settings.launcher)
        run = start(create(workspace.runs, spec, files))
        self.app.call_from_thread(self._started, run.id)

    def _started(self, run_id: str) -> None:
        self.app.runs_changed.publish(run_id)
        self.run_worker(self.app.open_run(run_id))


def wrapped(lines: list[Cells], width: int) -> list[Cells]:
    """Each line broken at blanks to `width` cells; what follows is indented as its first line."""
    import textwrap

    result: list[Cells] = []
    for cells in lines:
        text = "".join(piece for piece, _ in cells)
        if len(text) <= width or width < 8 or not cells:
            result.append(cells)
            continue
        *lead, (last, role) = cells
        taken = sum(len(piece) for piece, _ in lead)
        indent = taken + len(last) - len(last.lstrip())
        parts = textwrap.wrap(last.strip(), max(8, width - indent))
        result.append([*lead, (last[: len(last) - len(last.lstrip())] + parts[0], role)])
        result += [[(" " * indent + part, role)] for part in parts[1:]]
    return result
