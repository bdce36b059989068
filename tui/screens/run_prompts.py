"""The sample prompts of a run that goes on: what is saved here is drawn at its next sampling."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on
from textual.binding import Binding
from textual.widget import Widget

from core.problems import UserError
from core.text import printable
from tui.screens.config_prompts import PromptSheet
from tui.screens.dialogs import Dialog

if TYPE_CHECKING:
    from core.runs.model import Run
    from tui.app import KohyaApp


class RunPrompts(Dialog[str]):
    """Changes stay here until `s` writes them; Esc leaves, and asks when something is not saved."""

    BINDINGS: ClassVar = [
        Binding("escape", "back", "one step back", show=False, id="app.back"),
        Binding("q", "back", "leave", show=False, id="app.leave"),
        Binding("s", "save", "save", show=False, id="config.save"),
        Binding("u", "undo", "undo", show=False, id="edit.undo"),
        Binding("U,ctrl+r", "redo", "redo", show=False, id="edit.redo"),
        Binding("x", "unset", "remove", show=False, id="edit.remove"),
    ]
    sheet = getters.query_one(PromptSheet)

    def __init__(self, run: Run, text: str, script: str) -> None:
        keys = '⏎ edit   a add   x remove   " copy   J K move   s save   u undo   Esc back'
        super().__init__(f"Sample prompts of {printable(run.id)}", keys)
        self._run, self._before, self._text, self._script = run, text, text, script
        self._past: list[tuple[str, str]] = []
        self._future: list[tuple[str, str]] = []

    def compose_dialog(self) -> Iterable[Widget]:
        yield PromptSheet(on="surface")

    def on_mount(self) -> None:
        self.query_one("#dialog").styles.width = min(120, self.app.size.width - 2)
        self.query_one("#dialog").styles.height = min(34, self.app.size.height - 2)
        self.sheet.table.focus()
        self.call_after_refresh(self._show)

    def _show(self, key: str | None = None) -> None:
        self.sheet.tell(self._text, self._script, key)

    @on(PromptSheet.Edited)
    def _edited(self, event: PromptSheet.Edited) -> None:
        if event.text != self._text:
            self._past.append((self._text, event.key))
            self._future.clear()
            self._text = event.text
            self._show(event.key)

    def action_undo(self) -> None:
        """The change before this one, saved or not."""
        self._step(self._past, self._future)

    def action_redo(self) -> None:
        self._step(self._future, self._past)

    def _step(self, source: list[tuple[str, str]], target: list[tuple[str, str]]) -> None:
        if source:
            text, key = source.pop()
            target.append((self._text, key))
            self._text = text
            self._show(key)

    def action_unset(self) -> None:
        self.sheet.unset()

    def action_save(self) -> None:
        """Put them where the trainer reads them."""
        from core.runs.prompts import save
        from core.runs.store import observe

        if self._text == self._before:
            self.app.notify("Nothing to save.", timeout=2)
            return
        text, before, folder = self._text, self._before, self._run.dir
        self.app.writer.submit(lambda: save(observe(folder), text, before), self._saved, self.app.report)

    def _saved(self, said: object) -> None:
        self._before = self._text
        self.app.notify(f"saved: {said}", timeout=4, markup=False)

    async def action_back(self) -> None:
        if self.sheet.step_back():
            return
        if self._text != self._before:
            self.run_worker(self._leave(), exit_on_error=False)
        else:
            self.dismiss(None)

    async def _leave(self) -> None:
        from tui.screens.dialogs import Choose

        choices = [("save", "Save them", "drawn at the next sampling"), ("drop", "Drop them", "")]
        found = await self.app.push_screen_wait(Choose("These prompts are not saved", choices))
        if found == "save":
            self.action_save()
            await self.app.writer.drain()
        if found == "drop" or (found == "save" and self._text == self._before):
            self.dismiss(None)


async def open_prompts(app: KohyaApp, config: str | None, run: Run | None = None) -> None:
    """The prompts of a run, or of the one of `config` that is under way or waits; says so when there is none."""
    from core.config.resolved import script_for
    from core.runs import prompts
    from core.runs.store import list_runs

    if run is None and app.workspace is not None and config is not None:
        run = prompts.running(await asyncio.to_thread(list_runs, app.workspace), config)
    if run is None:
        app.notify(
            "No run of this config is under way that draws samples; w shows the config's own prompts.", timeout=5
        )
        return
    try:
        text = await asyncio.to_thread(prompts.load, run)
    except UserError as error:
        app.report(error)
        return
    named = (item.rpartition("/")[2] for item in run.spec.argv)
    script = next((name for name in named if name.endswith("_train_network.py")), None) or script_for("", None)
    await app.push_screen_wait(RunPrompts(run, text, script))
