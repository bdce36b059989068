"""The Config screen's files: drafts, saving, what other programs changed, and the start of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events, on, work
from textual.timer import Timer

from core.problems import Problem, UserError
from core.text import printable
from tui.screens.base import ModeScreen
from tui.screens.config_files import Edits
from tui.widgets.form import Form

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.config.plan import Plan

EMPTY = "No config yet. ctrl+n makes one from a preset, i imports a guide (Markdown or TOML)."


class OnDisk(ModeScreen):
    """The half of the Config screen that reads and writes; `ConfigScreen` shows and changes."""

    def __init__(self) -> None:
        super().__init__()
        self.edits: Edits | None = None
        self.plan: Plan | None = None
        self._problems: tuple[Problem, ...] = ()
        self._view: FileName | None = None
        self._wrong: UserError | None = None
        self._looks: Timer | None = None
        self._asking = self._draft_waits = self._restored = False

    # What the other half does

    def _changed(self) -> None:
        raise NotImplementedError

    def _show_view(self, view: FileName | None, *, taken: bool = False) -> None:
        raise NotImplementedError

    def _take_raw(self, *, quiet: bool = False) -> bool:
        raise NotImplementedError

    def _copy(self) -> Config | None:
        raise NotImplementedError

    def _focus_form(self) -> None:
        raise NotImplementedError

    def _go_to_problem(self, problem: Problem) -> None:
        raise NotImplementedError

    # On disk

    def _keep_draft(self) -> None:
        """Unsaved changes outlive the program; one write at a time, of the newest state."""
        edits, workspace = self.edits, self.app.workspace
        if edits is None or workspace is None or self._draft_waits or not (edits.has_draft or edits.unsaved):
            return
        self._draft_waits = True

        def write() -> None:
            self._draft_waits = False
            edits.write_draft(workspace)

        self.app.writer.submit(write, None, self.app.report)

    @work(exit_on_error=False)
    async def action_save(self) -> None:
        if self.edits is not None and self._take_raw():
            if self.edits.config.changed:
                await self._save()
            else:
                self.notify("Nothing to save.", timeout=2)

    async def _save(self) -> bool:
        """Write the changed files; True when they are on disk. What another program changed is asked about."""
        edits = self.edits
        assert edits is not None
        foreign = edits.config.changed_on_disk() & edits.config.changed
        if foreign:
            await self._ask_whose(edits, {file: edits.config.text(file) for file in edits.config.changed})
            return not edits.config.changed
        journal = self.app.journal
        saved: list[object] = []
        self.app.writer.submit(lambda: edits.config.save(journal), saved.append, self.app.report)
        await self.app.writer.drain()
        if saved:
            edits.forget()
            self._restored = False
            self._changed()
            self.notify(f"saved {printable(edits.config.name)}", timeout=2, markup=False)
        return bool(saved)

    @on(events.AppFocus)
    def _look(self) -> None:
        """Did another program change the files?"""
        if self.edits is not None and not self._asking and not self.app.writer.pending and self.is_current:
            self._look_at(self.edits)

    @work(thread=True, exclusive=True, group="config-look", exit_on_error=False)
    def _look_at(self, edits: Edits) -> None:
        if edits.config.changed_on_disk():
            self.app.call_from_thread(self._files_may_differ)

    def _files_may_differ(self) -> None:
        """Take what is new on disk; where it meets unsaved changes, ask."""
        edits = self.edits
        if edits is None or self._asking or self.app.writer.pending:
            return
        theirs = edits.config.changed_on_disk()
        if not theirs:
            return
        mine = edits.unsaved
        if theirs & set(mine):
            self._settle(edits, mine)
            return
        view = self._view
        self._show_view(None, taken=True)
        edits.config.reload()
        edits.forget()
        edits.put(mine)
        self._wrong = None
        self._changed()
        broken = next(iter(edits.config.broken), None)
        if broken is not None or view is not None:
            self._show_view(broken or view)
        elif not self.query_one(Form).is_editing and self.is_current:
            self._focus_form()

    @work(exit_on_error=False)
    async def _settle(self, edits: Edits, mine: dict[FileName, str]) -> None:
        await self._ask_whose(edits, mine)

    async def _ask_whose(self, edits: Edits, mine: dict[FileName, str]) -> None:
        """Both versions are kept whatever is chosen: one on disk, the other one step of undo or redo away."""
        from tui.screens.config_dialogs import ask_whose
        from tui.screens.config_files import keep_mine, take_theirs

        if self._asking:
            return
        self._asking = True
        try:
            found = await ask_whose(self.app, edits.config, mine)
            if found is None or self.edits is not edits:
                return
            config, journal = edits.config, self.app.journal
            write = keep_mine if found == "mine" else take_theirs
            self.app.writer.submit(lambda: write(config, mine, journal), None, self.app.report)
            await self.app.writer.drain()
            self._show_view(None, taken=True)
            config.reload()
            edits.forget()
            self._wrong = None
            self._changed()
            self._focus_form()
            said = "saved yours; u brings the other back" if found == "mine" else "took the other; U brings yours back"
            self.notify(said, timeout=6)
        finally:
            self._asking = False

    # Starting

    @work(exit_on_error=False)
    async def action_start(self) -> None:
        from tui.screens.config_start import Start

        copied = self._copy() if self._take_raw() else None
        edits = self.edits
        if edits is None or copied is None:
            if edits is None:
                self.notify(EMPTY, markup=False)
            return
        dialog = Start(copied.name, self.plan, self._problems)
        self._look_before_start(copied, dialog)
        answer = await self.app.push_screen_wait(dialog)
        if isinstance(answer, Problem):
            self._go_to_problem(answer)
        elif answer == "start" and (not edits.config.changed or await self._save()):
            self._start(edits.config.name)

    @work(thread=True, exclusive=True, group="config-look-start", exit_on_error=False)
    def _look_before_start(self, config: Config, dialog: object) -> None:
        from tui.screens.config_start import Start, look

        assert isinstance(dialog, Start) and self.app.workspace is not None
        plan, problems, trainer = look(config, self.app.workspace, self.app.settings)
        self.app.call_from_thread(dialog.settle, plan, problems, trainer)

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
