"""The Tag screen: what the tagger shall do on the left, what it would change beside it, the run below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from core.problems import Problem, Severity, UserError
from core.text import printable
from tui.screens import tag_form
from tui.screens.base import ModeScreen
from tui.screens.tag_parts import NO_IMAGES, Changes, Known, below, look_around
from tui.screens.tag_run import Reading, WatchedRun, start_run, stop_run
from tui.widgets.form import Form, choice_step
from tui.widgets.line import Lines

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.tagging.models import TaggerModel
    from core.tagging.options import TagRequest
    from core.tagging.preview import Preview


class TagScreen(ModeScreen):
    """Fill in, `R`, watch; the run goes on without the app."""

    MODE = "tag"
    CSS_PATH = "tag.tcss"
    HELP = """\
# Tag

The fields are the options of sd-scripts' tagger, filled in as the community guide does. `⏎` edits a field, `←` `→` step
through choices and thresholds.

`R` starts a detached run: it goes on when you leave the screen, quit the app or lose the connection. A model that is
not on disk is fetched first, as part of the run. `X` stops it; what was written stays, and `u` takes the whole pass
back. `!` lists the images that failed.

After a first run the scores are stored: then the panel at the right (`tab`) shows what other thresholds would change.
"""
    BINDINGS: ClassVar = [
        Binding("R", "start", "start", id="run.start", tooltip="Start tagging"),
        Binding("X", "stop", "stop", id="run.stop", tooltip="Stop the tag run"),
        Binding("tab", "next_panel", "preview", id="app.next-panel", tooltip="Form or preview"),
    ]
    form = getters.query_one(Form)
    side = getters.query_one(Changes)
    progress = getters.query_one("#tag-progress", Lines)

    def __init__(self) -> None:
        super().__init__()
        self.run = WatchedRun()
        self._request: TagRequest | None = None
        self._known = Known({}, {}, (), None)
        self._preview: Preview | None = None
        self._preview_timer: Timer | None = None
        self._timer: Timer | None = None
        self._busy = False
        self._starting: str | None = None

    @property
    def request(self) -> TagRequest | None:
        """What `R` would start."""
        return self._request

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="tag-body"):
            with Horizontal(id="tag-top"):
                yield Form(label_width=13)
                yield Changes(id="tag-side")
            yield Lines(id="tag-progress")

    def on_mount(self) -> None:
        self._request = tag_form.start_request(self.app.settings, self.app.active_dataset)
        self.form.rows.focus()
        self._show()
        self.app.dataset_changed.subscribe(self, lambda _: self._files_changed())
        self.app.settings_changed.subscribe(self, lambda _: self._start_over())
        self.app.runs_changed.subscribe(self, lambda _: self._runs_changed())

    def on_screen_resume(self) -> None:
        dataset = self.app.active_dataset
        if self._request is not None and dataset and dataset != self._request.target:
            self._request = tag_form.start_request(self.app.settings, dataset)
            self._show()
        self.call_after_refresh(self._look_around)  # its imports would hold up the first frame
        self._tick()
        self._timer = self.set_interval(0.5, self._tick_if_live)

    def on_screen_suspend(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _start_over(self) -> None:
        self._request = tag_form.start_request(self.app.settings, self.app.active_dataset)
        self.run.seen = None
        self.run.look_anew()
        self._show()

    def _files_changed(self) -> None:
        if self.is_current:
            self._look_around()

    def step_back(self) -> bool:
        if self.side.has_focus:
            self._go(self.form.rows)
            return True
        return False

    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(Severity.ERROR, "KT513", path.rsplit("/", 1)[-1], reason) for path, reason in self.run.failed
        )

    # What is there

    @work(thread=True, exclusive=True, group="tag-known", exit_on_error=False)
    def _look_around(self) -> None:
        model = self._request.model if self._request is not None else None
        known = look_around(self.app.workspace, self.app.settings, model)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_known, known)

    def _take_known(self, known: Known) -> None:
        self._known = known
        if self._request is not None and self._request.target not in known.datasets:
            first = next(iter(known.datasets), "")
            self._request = tag_form.start_request(self.app.settings, first)
        self._show()
        self._preview_soon()

    def _model(self) -> TaggerModel | None:
        wanted = self._request.model if self._request is not None else None
        return next((model for model in self._known.models if model.name == wanted), None)

    # Drawing

    def _show(self) -> None:
        if self._request is None:
            return
        machine = self._known.machine
        says = machine.says(self._request.provider) if machine is not None else None
        self.form.show(tag_form.fields(self._request, self._known.datasets, self._model(), says))
        self._show_progress()

    def _show_progress(self) -> None:
        width, height = self.progress.size.width or self.app.size.width, self.progress.size.height or 4
        self.progress.show(below(self._request, self._known, self.run, self._starting, width, height))

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        narrow = self.has_class("-narrow")
        self.side.display = self.side.has_focus or not narrow
        self.form.display = not (narrow and self.side.has_focus)
        self._show_progress()
        self._show_preview()

    def action_next_panel(self) -> None:
        if self.side.has_focus:
            self._go(self.form.rows)
        elif self._preview is not None:
            self._go(self.side)
        else:
            self.notify("The preview needs scores: it is there after a first run of this model.", timeout=4)

    def _go(self, panel: Widget) -> None:
        if self.has_class("-narrow"):
            self.side.display = panel is self.side
            self.form.display = panel is not self.side
        panel.focus()
        self.call_after_refresh(self._show_preview)

    # The preview

    def _preview_soon(self) -> None:
        if self._preview_timer is not None:
            self._preview_timer.stop()
        self._preview_timer = self.set_timer(0.15, self._begin_preview)

    def _begin_preview(self) -> None:
        request, model = self._request, self._model()
        if request is None or not request.target or model is None or not model.is_on_disk or self.run.is_live:
            self._take_preview(request, None)
        else:
            self._read_preview(request, model)

    @work(thread=True, exclusive=True, group="tag-preview", exit_on_error=False)
    def _read_preview(self, request: TagRequest, model: TaggerModel) -> None:
        from core.tagging.preview import preview

        workspace, worker = self.app.workspace, get_current_worker()
        if workspace is not None:
            try:
                found = preview(workspace, request, model, lambda: worker.is_cancelled)
            except UserError:
                found = None  # R says what is wrong with the target
            if not worker.is_cancelled:
                self.app.call_from_thread(self._take_preview, request, found)

    def _take_preview(self, request: TagRequest | None, found: Preview | None) -> None:
        if request == self._request:
            self._preview = found
            self._show_preview()

    def _show_preview(self) -> None:
        request = self._request
        value = None if request is None else request.caption.general_threshold
        self.side.tell(self._preview, "off" if value is not None and value > 1 else f"{value or 0.35:.2f}")

    # Changing fields

    def _set(self, request: TagRequest) -> None:
        model_changed = self._request is not None and request.model != self._request.model
        self._request = request
        self._show()
        if model_changed and self._model() is None:
            self._look_around()
        else:
            self._preview_soon()

    @on(Form.Changed)
    def _changed(self, event: Form.Changed) -> None:
        if self._request is not None:
            try:
                self._set(tag_form.changed(self._request, event.key, event.text))
            except UserError as error:
                self.app.report(error)

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        request = self._request
        if request is None:
            return
        if event.key == "target":
            names = list(self._known.datasets)
            if names:
                self._choose_dataset(choice_step(names, request.target, event.by))
        elif event.key == "model":
            names = [model.name for model in self._known.models]
            if names:
                self._set(replace(request, model=choice_step(names, request.model or "", event.by)))
        else:
            self._set(tag_form.stepped(request, event.key, event.by))

    def _choose_dataset(self, name: str) -> None:
        """Another dataset; the other values stay, but for a trigger word that was the old one's name."""
        request = self._request
        assert request is not None
        self.app.active_dataset = name
        trigger = name if request.trigger == request.target else request.trigger
        self._set(replace(request, target=name, trigger=trigger))

    @on(Form.Asked)
    def _asked(self, event: Form.Asked) -> None:
        if self._request is None:
            return
        if event.key in {"first", "underscore", "compat"}:
            self._set(tag_form.switched(self._request, event.key))
        else:
            self._choose(event.key)

    @work(exit_on_error=False)
    async def _choose(self, key: str) -> None:
        from tui.screens.tag_dialogs import choose_value

        request = self._request
        assert request is not None
        found = await choose_value(self.app, request, key, self._known)
        if found is None or self._request is None:
            return
        if key == "target":
            self._choose_dataset(found)
        else:
            self._set(tag_form.chosen(self._request, key, found))

    # The run

    @work(exit_on_error=False)
    async def action_start(self) -> None:
        request = self._request
        if request is None or not request.target:
            self.notify(NO_IMAGES, severity="warning")
            return
        if self.run.is_live or self._starting is not None:
            self.notify("A tag run is going on; X stops it.", severity="warning")
            return
        self._starting = f"starting to tag {printable(request.target)} …"
        self._show_progress()
        await self.app.writer.drain()
        self._start_run(request)

    @work(thread=True, group="tag-start", exit_on_error=False)
    def _start_run(self, request: TagRequest) -> None:
        try:
            run_id = start_run(self.app.workspace, request)
        except BaseException:
            self.app.call_from_thread(self._not_started)
            raise
        self.app.call_from_thread(self._started, run_id)

    def _not_started(self) -> None:
        self._starting = None
        self._show_progress()

    def _started(self, run_id: str) -> None:
        self.run.begun()
        self.app.active_run = run_id
        self.app.runs_changed.publish(run_id)
        self._tick()

    def action_stop(self) -> None:
        run = self.run.stoppable
        if run is not None:
            self._stop_run(run)
        else:
            self.notify("No tag run is going on.", timeout=3)

    @work(thread=True, group="tag-start", exit_on_error=False)
    def _stop_run(self, run: Run) -> None:
        stop_run(run)

    def _runs_changed(self) -> None:
        if not self.run.is_live:
            self.run.look_anew()
        if self.is_current:
            self._tick()

    def _tick_if_live(self) -> None:
        if self.run.is_live:
            self._tick()

    def _tick(self) -> None:
        if not self._busy:
            self._busy = True
            self._read_run()

    @work(thread=True, group="tag-run", exit_on_error=False)
    def _read_run(self) -> None:
        try:
            while not self.app.call_from_thread(self._take_run, self.run.read(self.app.workspace)):
                pass  # another run is meant by now: read that one
        finally:
            self._busy = False

    def _take_run(self, reading: Reading | None) -> bool:
        """Show what was read; False when it is about a run that is not watched any more."""
        if reading is not None and self.run.is_stale(reading):
            return False
        if reading is None:
            self._show_progress()
            return True
        ended = self.run.take(reading)
        self._starting = None
        self._show_progress()
        self.show_problem_count()
        if ended:
            self.app.dataset_changed.publish(reading.seen.run.spec.dataset or "")
        return True
