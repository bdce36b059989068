"""Which config is open, and what takes its time: reading, checking, saving, what other programs changed, the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from core.problems import Problem, UserError
from core.text import printable
from tui.screens.config_form import key_of
from tui.screens.config_open import OpenConfig, Texts, check, mend

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.settings import Settings
    from tui.app import KohyaApp

EMPTY = "No config yet. ctrl+n makes one from a preset, i imports a guide, settings of kohya_ss, or a script."


class Owner(Protocol):
    """Who shows what is open."""

    @property
    def app(self) -> KohyaApp: ...

    @property
    def is_current(self) -> bool: ...

    def take_raw(self, *, quiet: bool = False) -> bool:
        """Put what stands in the raw editor into the documents; False when it is not TOML, which is said."""

    def changed(self, key: str | None = None) -> None:
        """The open config is other than it was, in `key`."""

    def replaced(self, file: FileName | None) -> None:
        """Other texts: what stands in the raw editor belongs to nobody. Show `file` as text, or the form."""


class ConfigFiles:
    """Opens, keeps, saves and reloads; asks where that is the user's choice. Knows no widget."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.opened: OpenConfig | None = None
        self.is_asking = False

    @property
    def _app(self) -> KohyaApp:
        return self._owner.app

    # Which config

    def follow(self) -> None:
        """Open the active config, or the newest state of the one that is open; unsaved changes are kept."""
        workspace = self._app.workspace
        names = workspace.config_names() if workspace is not None else []
        dataset, wanted = self._app.active_dataset, self._app.active_config
        if wanted not in names:
            wanted = dataset if dataset in names else (names[0] if names else None)
        if wanted is None or workspace is None:
            self.opened = None
            self._owner.replaced(None)
        elif self.opened is None or self.opened.config.folder != workspace.configs / wanted:
            self.open(wanted)
        else:
            self.take_news()

    def open(self, name: str) -> None:
        """Open a config of the workspace, with its draft."""
        assert self._app.workspace is not None
        try:
            self.opened = opened = OpenConfig.load(self._app.workspace, name)
        except UserError as error:
            self._app.report(error)
            return
        self._app.active_config = name
        self._owner.replaced(next(iter(opened.raw or opened.config.broken), None))
        if opened.disputed:
            self._settle_soon(opened, opened.disputed)

    async def choose(self) -> None:
        """Open another one."""
        from tui.screens.dialogs import Choose

        names = self._app.workspace.config_names() if self._app.workspace is not None else []
        if not names:
            self._app.notify(EMPTY, markup=False)
            return
        entries = [(name, printable(name), "") for name in names]
        found = await self._app.push_screen_wait(Choose("Configs", entries, chosen=self._app.active_config))
        if found is not None and await self._may_leave():
            self.open(found)

    async def make(self, ask: Callable[[KohyaApp], Awaitable[str | None]]) -> bool:
        """Open the one that `ask` makes; True when it is open."""
        if self._app.workspace is None:
            self._app.notify("There are no images yet: import some in Dataset first (1, then i).", severity="warning")
            return False
        name = await ask(self._app) if await self._may_leave() else None
        if name is not None:
            self.open(name)
        return name is not None

    async def _may_leave(self) -> bool:
        """Ask what becomes of unsaved changes, if there are any; kept ones wait as a draft."""
        from tui.screens.dialogs import Choose

        opened = self.opened
        self._owner.take_raw(quiet=True)
        if opened is None or not opened.unsaved:
            return True
        name = printable(opened.config.name)
        choices = [
            ("keep", "Keep them for later", f"they are here again when {name} is opened"),
            ("save", "Save them", ""),
            ("drop", "Drop them", ""),
        ]
        found = await self._app.push_screen_wait(Choose(f"{name} has unsaved changes", choices))
        if found == "save":
            return self._owner.take_raw() and await self.save() and not opened.unsaved
        if found == "drop":
            opened.take_disk({})
            self._owner.replaced(None)
        self.keep_draft()
        await self._app.writer.drain()
        return found is not None

    # Drafts and saving

    def keep_draft(self) -> None:
        """Unsaved changes outlive the program; one write at a time, of the newest state."""
        opened, workspace = self.opened, self._app.workspace
        job = opened.draft_job(workspace) if opened is not None and workspace is not None else None
        if job is not None:
            self._app.writer.submit(job, None, self._app.report)

    async def save(self) -> bool:
        """Write the changed files; True when they are on disk. What another program changed is asked about."""
        opened = self.opened
        assert opened is not None
        config = opened.config
        if config.changed_on_disk() & config.changed:
            await self._settle(opened, {file: config.text(file) for file in config.changed})
            return not config.changed
        journal = self._app.journal
        saved: list[object] = []
        self._app.writer.submit(lambda: config.save(journal), saved.append, self._app.report)
        await self._app.writer.drain()
        if saved:
            opened.forget()
            opened.is_restored = False
            self._owner.changed()
            self._app.notify(f"saved {printable(config.name)}", timeout=2, markup=False)
        return bool(saved)

    # What other programs changed

    async def look(self) -> None:
        """Look at the files on a thread, and take what is new."""
        opened = self.opened
        if opened is None or self._is_busy or not self._owner.is_current:
            return
        if await asyncio.to_thread(opened.config.changed_on_disk):
            self.take_news()

    @property
    def _is_busy(self) -> bool:
        """Files that we write ourselves just now are nobody's news."""
        return self.is_asking or self._app.writer.pending

    def take_news(self) -> None:
        """Take what is new on disk; where it meets unsaved changes, ask."""
        opened = self.opened
        if opened is None or self._is_busy:
            return
        theirs, mine = opened.config.changed_on_disk(), opened.unsaved
        if theirs & set(mine):
            self._settle_soon(opened, mine)
        elif theirs:
            opened.take_disk(mine)
            self._owner.replaced(next(iter(opened.config.broken), opened.in_raw))

    def _settle_soon(self, opened: OpenConfig, mine: Texts) -> None:
        self._app.run_worker(self._settle(opened, mine), group="config-settle", exit_on_error=False)

    async def _settle(self, opened: OpenConfig, mine: Texts) -> None:
        """Both versions are kept whatever is chosen: one on disk, the other one step of undo or redo away."""
        from tui.screens.config_dialogs import ask_whose

        if self.is_asking:
            return
        self.is_asking = True
        try:
            found = await ask_whose(self._app, opened.config, mine)
            if found is None or self.opened is not opened:
                return
            journal = self._app.journal
            write = opened.keep_mine if found == "mine" else opened.take_theirs
            self._app.writer.submit(lambda: write(mine, journal), None, self._app.report)
            await self._app.writer.drain()
            opened.take_disk({})
            self._owner.replaced(next(iter(opened.config.broken), None))
            said = "saved yours; u brings the other back" if found == "mine" else "took the other; U brings yours back"
            self._app.notify(said, timeout=6)
        finally:
            self.is_asking = False

    # Looking and mending

    async def check(self) -> bool:
        """Plan and problems of what is open; False when something else was opened meanwhile."""
        opened, workspace = self.opened, self._app.workspace
        if opened is None or workspace is None:
            return False
        opened.take_findings(await asyncio.to_thread(check, opened.copy(), workspace, self._app.settings))
        return self.opened is opened

    async def mend(self, problem: Problem | None) -> None:
        """Do what a problem's hint says, where that is safe; says what came of it."""
        opened, workspace = self.opened, self._app.workspace
        if problem is None or opened is None or workspace is None:
            self._app.notify("There is no problem here; n goes to the next one.", timeout=4)
            return
        hint = problem.hint or ""
        if not problem.fixable:
            self._app.notify(f"That is yours to decide. {hint}", timeout=6, markup=False)
            return
        mended = await asyncio.to_thread(mend, opened.copy(), workspace, problem)
        if mended is None:
            self._app.notify(f"No safe fix was found. {hint}", markup=False)
        elif self.opened is opened and opened.texts() == mended[0]:  # else the key works again
            opened.change(lambda _: opened.put(mended[1]), key_of(opened.config, problem) or "")
            self._owner.changed()
            self._app.notify(f"fixed: {printable(hint or problem.message)}  (u undoes it)", timeout=4, markup=False)

    async def edit(self, file: FileName) -> None:
        """A file in $EDITOR; what it wrote is an unsaved change."""
        from tui.editor import edit_text

        opened = self.opened
        if opened is None:
            return
        text = await edit_text(self._app, opened.config.text(file), opened.config.path(file).name)
        if text is not None and self.opened is opened:
            opened.edit(file, text)
            self._owner.replaced(file if file in opened.raw else None)

    # Measuring and starting

    async def measure(self, opened: OpenConfig) -> None:
        """Three steps of what is open; what they say is part of the plan from then on."""
        from tui.screens.config_measure import Measure

        workspace = self._app.workspace
        assert workspace is not None
        if await self._app.push_screen_wait(Measure(opened.copy(), opened.plan, workspace, self._app.settings)):
            self._owner.changed()

    async def start(self, opened: OpenConfig) -> Problem | None:
        """Ask with plan and problems, save, start a run and go there; or the problem that the user wants to see first.

        The dialog opens before the trainer was looked at, which takes a second.
        """
        from tui.screens.config_start import Start, look
        from tui.screens.start_ways import Way, begin, with_launcher, with_time

        workspace, settings, copied = self._app.workspace, self._app.settings, opened.copy()
        assert workspace is not None
        dialog = Start(copied.name, opened.plan, opened.problems, settings.launcher)

        async def settle() -> None:
            dialog.settle(*await asyncio.to_thread(look, copied, workspace, settings))

        self._app.run_worker(settle(), group="config-look-start", exclusive=True, exit_on_error=False)
        answer = await self._app.push_screen_wait(dialog)
        if isinstance(answer, Way) and answer.asks_time:
            answer = await with_time(self._app, answer)
        if isinstance(answer, Way) and (not opened.config.changed or await self.save()):
            if answer.asks_values:
                await self._sweep(opened.copy(), with_launcher(settings, answer))
                return None
            run_id, said = await asyncio.to_thread(begin, workspace, opened.config.name, settings, answer)
            self._app.runs_changed.publish(run_id)
            if said:
                self._app.notify(said, timeout=5, markup=False)
            await self._app.open_run(run_id)
        return answer if isinstance(answer, Problem) else None

    async def _sweep(self, config: Config, settings: Settings) -> None:
        from tui.screens.sweep_start import start_sweep

        assert self._app.workspace is not None
        run_id = await start_sweep(self._app, self._app.workspace, config, settings)
        if run_id is not None:
            self._app.runs_changed.publish(run_id)
            await self._app.open_run(run_id)
