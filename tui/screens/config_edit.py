"""The Config screen's keys that change something: fields, fixes, undo, the raw text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.widget import Widget
from textual.widgets import TextArea

from core.problems import Problem, UserError
from core.text import printable
from tui.screens.config_disk import OnDisk
from tui.screens.config_files import Edits
from tui.screens.config_form import PROMPTS, key_of, options, put, switch
from tui.screens.config_parts import Groups, Raw, Side
from tui.widgets.form import Form, choice_step

if TYPE_CHECKING:
    from core.config.documents import Config, FileName

VIEWS: tuple[FileName | None, ...] = (None, "train", "dataset", "prompts")


class Editing(OnDisk):
    """The part of the Config screen that changes documents; `ConfigScreen` lays out and shows."""

    form = getters.query_one(Form)
    side = getters.query_one(Side)
    groups = getters.query_one(Groups)

    def __init__(self) -> None:
        super().__init__()
        self._worst: dict[str, Problem] = {}
        self._extra: frozenset[str] = frozenset()
        self._before_raw: dict[FileName, str] | None = None

    @property
    def config(self) -> Config | None:
        """The one that is open."""
        return self.edits.config if self.edits is not None else None

    # What the other part does

    def _show(self) -> None:
        raise NotImplementedError

    def _show_about(self) -> None:
        raise NotImplementedError

    def _show_side(self) -> None:
        raise NotImplementedError

    def _check_soon(self) -> None:
        raise NotImplementedError

    def _reveal(self, key: str) -> None:
        raise NotImplementedError

    def _go(self, panel: Widget) -> None:
        raise NotImplementedError

    # Changing

    @on(Form.Moved)
    def _moved(self) -> None:
        self.groups.follow(self.form.key)
        self._show_about()

    @on(Form.Changed)
    def _typed(self, event: Form.Changed) -> None:
        self._apply(lambda config: put(config, event.key, event.text), event.key)

    def _apply(self, change: Callable[[Config], None], key: str) -> None:
        if self.edits is None:
            return
        try:
            self.edits.change(change, key)
        except UserError as error:
            self.app.report(error)
            return
        self._restored = False
        self._changed()

    @on(Form.Asked)
    def _asked(self, event: Form.Asked) -> None:
        if self.config is None:
            return
        option = options(self.config).get(event.key)
        if event.key == PROMPTS:
            self._show_view("prompts")
        elif option is not None and option.type == "bool":
            self._apply(lambda config: switch(config, event.key), event.key)
        else:
            self._choose(event.key)

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        if self.config is None:
            return
        option = options(self.config).get(event.key)
        if option is not None and option.choices:
            values = [str(value) for value in option.choices]
            now = self.config.get(self.config.home(event.key), event.key)
            text = choice_step(values, str(option.default if now is None else now), event.by)
            self._apply(lambda config: put(config, event.key, text), event.key)

    @work(exit_on_error=False)
    async def _choose(self, key: str) -> None:
        from tui.screens.config_dialogs import choose_value

        if self.config is not None:
            text = await choose_value(self.app, self.config, key)
            if text is not None:
                self._apply(lambda config: put(config, key, text), key)

    def action_unset(self) -> None:
        key = self.form.key
        if key is not None and key != PROMPTS and self._view is None:
            self._apply(lambda config: config.unset(config.home(key), key), key)

    def action_undo(self) -> None:
        self._undo(back=True)

    def action_redo(self) -> None:
        self._undo(back=False)

    def _undo(self, *, back: bool) -> None:
        """Unsaved changes first, then what is on disk."""
        found, key = self.edits.step(back=back) if self.edits is not None and self._view is None else (False, None)
        if not found:
            self.app.action_undo() if back else self.app.action_redo()
            return
        self._changed()
        if key is not None:
            self.form.go_to(key)

    def action_fix(self) -> None:
        if self.config is None or self._view is not None:
            return
        problem = self.side.problem if self.side.has_focus else self._worst.get(self.form.key or "")
        copied = self._copy()
        if problem is None or copied is None:
            self.notify("There is no problem here; n goes to the next one.", timeout=4)
        elif not problem.fixable:
            self.notify(f"That is yours to decide. {problem.hint or ''}", timeout=6, markup=False)
        else:
            self._fix(copied, problem)

    @work(thread=True, exclusive=True, group="config-fix", exit_on_error=False)
    def _fix(self, config: Config, problem: Problem) -> None:
        from core.config.fixes import fix

        assert self.app.workspace is not None
        before = Edits(config).texts()
        if fix(config, self.app.workspace, problem):
            after = Edits(config).texts()
            self.app.call_from_thread(self._take_fix, before, after, problem)
        else:
            self.app.call_from_thread(self.notify, f"No safe fix was found. {problem.hint or ''}", markup=False)

    def _take_fix(self, before: dict[FileName, str], after: dict[FileName, str], problem: Problem) -> None:
        if self.edits is None or self.edits.texts() != before:
            return  # changed meanwhile: the key works again
        edits = self.edits
        self._apply(lambda _: edits.put(after), key_of(edits.config, problem) or "")
        self.notify(f"fixed: {printable(problem.hint or problem.message)}  (u undoes it)", timeout=4, markup=False)

    # Finding

    @work(exit_on_error=False)
    async def action_find(self) -> None:
        from tui.screens.config_dialogs import choose_option

        if self.config is not None and not self.config.broken:
            name = await choose_option(self.app, self.config)
            if name is not None:
                self._reveal(name)

    def action_next_match(self) -> None:
        self._jump(1)

    def action_previous_match(self) -> None:
        self._jump(-1)

    def _jump(self, by: int) -> None:
        """The next field that a problem is about; those that are not in the form come behind the others."""
        order = [field.key for field in self.form.fields if field.editable]
        named = [key for key in order if key in self._worst] + [key for key in self._worst if key not in order]
        if not named:
            self.notify("No problem with any field.", timeout=3)
            return
        here = self.form.key
        at = named.index(here) if here in named else None
        if at is None and here in order:
            before = [index for index, key in enumerate(named) if key in order and order.index(key) < order.index(here)]
            at = (before[-1] if before else -1) if by > 0 else (before[-1] + 1 if before else 0)
        self._reveal(named[((at or 0) + by) % len(named)])

    @work(exit_on_error=False)
    async def action_problems(self) -> None:
        from tui.screens.dialogs import ProblemList

        found = await self.app.push_screen_wait(ProblemList(self._problems))
        if found is not None:
            self._go_to_problem(found)

    # Raw text

    def action_next_view(self) -> None:
        if self.config is not None:
            self._show_view(VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)])

    def _show_view(self, view: FileName | None, *, taken: bool = False) -> None:
        """Form or a file as text; `taken`: what stands in the editor belongs to nobody any more."""
        if view == self._view or not (taken or self._take_raw()):
            return
        config, edits = self.config, self.edits
        if config is not None and edits is not None and self._before_raw is not None and not taken:
            edits.note(self._before_raw, None)
        self._before_raw = None if view is None or edits is None else edits.texts()
        self._view = view
        old = self.query(Raw)
        if view is None or config is None or edits is None:
            old.remove()
            if not taken:
                self._show()
                self._focus_form()
            return
        text = edits.raw.get(view, config.text(view))
        language = None if view == "prompts" else "toml"
        if old:
            area: TextArea = old.first(Raw)
            area.language = language
            area.load_text(text)
        else:
            area = Raw.code_editor(text, language=language, id="config-raw", soft_wrap=True)
            self.query_one("#config-left").mount(area, before=0)
        if view in config.broken:
            self._wrong = config.broken[view]
            line = re.search(r"line (\d+)", self._wrong.message)
            if line is not None:
                self.call_after_refresh(area.move_cursor, (int(line[1]) - 1, 0))
        self._show()
        self._go(area)

    @on(TextArea.Changed)
    def _raw_typed(self) -> None:
        self._take_raw(quiet=True)
        self._show_about()
        self._show_side()

    def _take_raw(self, *, quiet: bool = False) -> bool:
        """Put the raw text into the documents; False when it is not TOML, which is said."""
        found, view, edits = self.query(Raw), self._view, self.edits
        if not found or view is None or edits is None:
            return True
        text = found.first(Raw).text
        if text == edits.config.text(view) and view not in edits.config.broken:
            edits.raw.pop(view, None)
            self._wrong = None
            return True
        try:
            edits.config.set_text(view, text)
        except UserError as error:
            self._wrong = error
            edits.raw[view] = text
            if not quiet:
                self.app.report(error)
            self._keep_draft()
            return False
        self._wrong = None
        edits.raw.pop(view, None)
        self._keep_draft()
        self._check_soon()
        return True

    @work(exit_on_error=False)
    async def action_editor(self) -> None:
        """The file of the current view in $EDITOR; the form stands for train.toml."""
        from tui.editor import edit_text

        edits = self.edits
        if edits is None:
            return
        view: FileName = self._view or "train"
        before = edits.texts()
        text = await edit_text(self.app, edits.config.text(view), edits.config.path(view).name)
        if text is not None and self.edits is edits:
            self._show_view(None, taken=True)
            edits.put({view: text})
            edits.note(before, None)
            self._changed()
            if view in edits.raw:
                self._show_view(view)
            else:
                self._focus_form()

    @work(exit_on_error=False)
    async def action_diff(self) -> None:
        from tui.screens.config_dialogs import show_diff

        if self.config is not None:
            await show_diff(self.app, self.config)
