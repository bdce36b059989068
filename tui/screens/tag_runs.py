"""The Tag screen's part that starts and watches runs, fetches models and turns images upright."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.timer import Timer
from textual.worker import Worker, get_current_worker

from core.problems import UserError
from core.text import printable
from tui.screens.base import ModeScreen
from tui.screens.tag_models import Fetching, ModelList, fetch
from tui.screens.tag_parts import NO_IMAGES, Known
from tui.screens.tag_progress import Outlook
from tui.screens.tag_run import Reading, WatchedRun, start_run, stop_run

if TYPE_CHECKING:
    from core.dataset.upright import UprightPlan
    from core.runs.model import Run
    from core.tagging.descriptors import TaggerModel
    from core.tagging.options import TagRequest
    from core.tagging.plan import TagPlan

SOON = 0.15
"""Seconds without a key before folders are looked at anew."""


class TagRuns(ModeScreen):
    """What happens on disk and in other processes. The form and the preview are the subclass's."""

    def __init__(self) -> None:
        super().__init__()
        self.run = WatchedRun()
        self.outlook = Outlook()
        self._request: TagRequest | None = None
        self._known = Known({}, {}, (), None)
        self._timer: Timer | None = None
        self._plan_timer: Timer | None = None
        self._busy = self._again = False
        self._fetcher: Worker[None] | None = None

    def _show_progress(self) -> None:
        """Draw the lines under the form."""

    def _look_around(self) -> None:
        """Read models and datasets again."""

    def _run_ended(self, reading: Reading) -> None:
        """A run that was watched is over."""

    def _run_read(self) -> None:
        """Something new is known of the run."""

    def _expect(self, **facts: object) -> None:
        """Note something about the next start, and show it."""
        changed = replace(self.outlook, **facts)  # type: ignore[arg-type]
        if changed != self.outlook:
            self.outlook = changed
            self._show_progress()

    # What R would do

    def _plan_soon(self) -> None:
        if self._plan_timer is not None:
            self._plan_timer.stop()
        self._plan_timer = self.set_timer(SOON, self._plan)

    def _plan(self) -> None:
        if self._request is not None and self._request.target and not self.run.is_live:
            self._look_at_captions(self._request)

    @work(thread=True, exclusive=True, group="tag-plan", exit_on_error=False, description="look at the captions")
    def _look_at_captions(self, request: TagRequest) -> None:
        from core.tagging.plan import plan_tagging

        found: TagPlan | None = None
        refusal: UserError | None = None
        try:
            found = plan_tagging(self.app.workspace, request)
        except UserError as error:
            refusal = error
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_plan, request, found, refusal)

    def _take_plan(self, request: TagRequest, plan: TagPlan | None, refusal: UserError | None) -> None:
        if request == self._request:
            self._expect(plan=plan, refusal=None if self.run.is_live else refusal)

    @work(thread=True, exclusive=True, group="tag-upright", exit_on_error=False)
    def _look_at_turns(self) -> None:
        from core.dataset.upright import plan_upright

        worker, request = get_current_worker(), self._request
        plan: UprightPlan | None = None
        if request is not None and request.target:
            try:
                plan = plan_upright(self.app.workspace, request.target, lambda: worker.is_cancelled)
            except UserError:
                plan = None  # R says what is wrong with the target
        if not worker.is_cancelled:
            self.app.call_from_thread(self._expect, upright=plan)

    # Starting

    def action_start(self) -> None:
        self._start(False)

    def action_diff(self) -> None:
        self._start(True)

    @work(exit_on_error=False)
    async def _start(self, is_dry: bool) -> None:
        from core.tagging.plan import plan_tagging

        request, workspace = self._request, self.app.workspace
        if request is None or not request.target:
            self.notify(NO_IMAGES, severity="warning")
            return
        if self.run.is_live or self.outlook.starting is not None:
            self.notify(f"{self.run.name} goes on; X stops it.", severity="warning", markup=False)
            return
        if self.outlook.fetching is not None:
            self.notify("A model is being fetched; X stops it.", severity="warning")
            return
        machine = self._known.machine
        if request.require_gpu and machine is not None and machine.says(request.provider)[1] == "bad":
            raise UserError(f"A GPU is required. {machine.says(request.provider)[0]}", machine.remedy(request.provider))
        if is_dry and request.output_path:
            raise UserError("Captions in a file replace none", "There is nothing to try out: press R.")
        verb = "try out" if is_dry else "tag"
        self._expect(starting=f"starting to {verb} {printable(request.target)} …")
        try:
            await self.app.writer.drain()
            asked = replace(request, dry_run=is_dry)
            plan = await asyncio.to_thread(plan_tagging, workspace, asked)
            if plan.warning is not None:
                from tui.screens.tag_dialogs import ask_overwrite

                policy = await ask_overwrite(self.app, asked, plan)
                if policy is None:
                    return
                asked = replace(asked, policy=policy)
                plan = await asyncio.to_thread(plan_tagging, workspace, asked)
            if not plan.images:
                self.notify("There is nothing to tag: every image has a caption that is left alone.")
                return
            run_id = await asyncio.to_thread(start_run, workspace, asked)
            self.run.begun()
            self.app.active_run = run_id
            self.app.runs_changed.publish(run_id)
            self._tick()
        finally:
            if not self.run.is_live:
                self._expect(starting=None)

    def action_stop(self) -> None:
        run = self.run.stoppable
        if self._fetcher is not None:
            self._fetcher.cancel()
            self._fetched(None)
        elif run is not None:
            self._stop_run(run)
        else:
            self.notify("No tag run is going on.", timeout=3)

    @work(thread=True, group="tag-start", exit_on_error=False, description="stop the run")
    def _stop_run(self, run: Run) -> None:
        stop_run(run)

    # Watching

    def _runs_changed(self) -> None:
        if not self.run.is_live:
            self.run.look_anew()
        if self.is_current:
            self._tick()

    def _tick_if_live(self) -> None:
        if self.run.is_live:
            self._tick()

    def _tick(self) -> None:
        if self._busy:
            self._again = True  # what is read just now may be older than what this is about
        else:
            self._busy = True
            self._read_run()

    @work(thread=True, group="tag-run", exit_on_error=False)
    def _read_run(self) -> None:
        try:
            while not self.app.call_from_thread(self._take_run, self.run.read(self.app.workspace)):
                pass
        except BaseException:
            self._busy = False
            raise

    def _take_run(self, reading: Reading | None) -> bool:
        """Show what was read; False when it has to be read again."""
        is_last = not self._again and (reading is None or not self.run.is_stale(reading))
        self._again = False
        self._busy = not is_last
        if reading is None:
            self._show_progress()
        elif not self.run.is_stale(reading):
            ended = self.run.take(reading)
            self.outlook = replace(self.outlook, starting=None)
            self._run_read()
            self._show_progress()
            self.show_problem_count()
            if ended:
                self._run_ended(reading)
        return is_last

    # Fetching a model

    def _fetch(self, model: TaggerModel) -> None:
        if self._fetcher is not None:
            self.notify("One at a time: X stops the other.", severity="warning")
            return
        self._fetcher = self._fetch_on_thread(model)
        self._fetched(Fetching(model.name))

    @work(thread=True, group="tag-fetch", exit_on_error=False, description="fetch a model")
    def _fetch_on_thread(self, model: TaggerModel) -> None:
        worker, request = get_current_worker(), self._request
        folder = Path(request.model_dir).expanduser() if request is not None and request.model_dir else None
        is_forced = request is not None and request.force_download

        def told(fetching: Fetching) -> None:
            if not worker.is_cancelled:
                self.app.call_from_thread(self._fetched, fetching)

        done = False
        try:
            done = fetch(model, folder, is_forced, lambda: worker.is_cancelled, told)
        finally:
            if not worker.is_cancelled:
                self.app.call_from_thread(self._fetched, None, model.name if done else None)

    def _fetched(self, fetching: Fetching | None, complete: str | None = None) -> None:
        """How far it is; None: it is over."""
        self._expect(fetching=fetching)
        if fetching is None:
            self._fetcher = None
            if complete is not None:
                self.notify(f"{printable(complete)} is on disk now.", markup=False)
            self._look_around()
        self._tell_list()

    def _tell_list(self) -> None:
        """The model list, when it is open, shows the same."""
        if isinstance(self.app.screen, ModelList):
            self.app.screen.tell(self._known.models, self.outlook.fetching)

    # Turning upright

    @work(exit_on_error=False)
    async def action_fix(self) -> None:
        from tui.screens.tag_upright import UprightDialog

        plan, workspace = self.outlook.upright, self.app.workspace
        if plan is None or not plan.images or workspace is None:
            self.notify("No image is turned by viewers: all are upright.", timeout=3)
            return
        await self.app.writer.drain()
        group = await self.app.push_screen_wait(UprightDialog(workspace, plan))
        if group is not None:
            from tui.opening import files_changed

            self.app.undoing.wrote(group)
            files_changed(self.app, [each.path for each in plan.images])
        self._look_at_turns()
