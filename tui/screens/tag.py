"""The Tag screen: what the tagger shall do on the left, what it would change beside it, the run below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from core.problems import Problem, Severity, UserError
from tui.screens import tag_form, tag_memory, tag_values
from tui.screens.tag_changes import Changes
from tui.screens.tag_live import TagLive
from tui.screens.tag_models import OTHER, ModelList
from tui.screens.tag_parts import Known, Machine, look_around
from tui.screens.tag_progress import below
from tui.widgets.form import Form, choice_step
from tui.widgets.line import Lines

if TYPE_CHECKING:
    from core.tagging.options import TagRequest
    from core.tagging.probe import Probe

REST = 0.5
"""Seconds without a change before the options are kept."""
_PLANNED = ("target", "policy", "trigger", "caption_extension", "recursive", "output_path")
"""What decides which captions a run touches."""


class TagScreen(TagLive):
    """Fill in, try, `R`, watch; the run goes on without the app."""

    MODE = "tag"
    CSS_PATH = "tag.tcss"
    HELP = """\
# Tag

The fields are the options of sd-scripts' tagger, filled in as the community guide does. `⏎` edits a field or opens a
group, `←` `→` step through choices and thresholds. Options and model are remembered for this workspace.

`d` tries it out: the model looks at the images and keeps its scores, no caption is written. From then on the panel at
the right (`tab`) shows at once what another threshold adds and takes away. There `+` and `-` give a tag a threshold of
its own, `⏎` lists the images that it touches, `w` all images that change; `⏎` on an image opens it in Review.

`R` starts a detached run: it goes on when you leave the screen, quit the app or lose the connection. A model that is
not on disk is fetched first; `⏎` on Model and `i` fetch it now. `X` stops either; what was written stays, and `u`
takes the whole pass back. `!` lists the images that failed, `F` saves images upright that viewers turn, `y` copies the
command that repairs the GPU.
"""
    BINDINGS: ClassVar = [
        Binding("R", "start", "start", id="run.start", tooltip="Start tagging"),
        Binding("d", "diff", "dry run", id="tag.diff", tooltip="Try it out: make scores, write no caption"),
        Binding("X", "stop", "stop", id="run.stop", tooltip="Stop the tag run, or the download of a model"),
        Binding("tab", "next_panel", "preview", id="app.next-panel", tooltip="Form or preview"),
        Binding("F", "fix", "save upright", show=False, id="tag.fix", tooltip="Save turned images upright"),
        Binding("y", "copy", "copy the remedy", show=False, id="list.copy", tooltip="Copy the command that repairs it"),
    ]
    form = getters.query_one(Form)
    progress = getters.query_one("#tag-progress", Lines)

    def __init__(self) -> None:
        super().__init__()
        self._kept = tag_memory.Kept()
        self._tried: dict[str, Probe | UserError] = {}
        self._keep_timer: Timer | None = None
        self._dataset: str | None = None
        """The dataset that all screens were at when this one was."""
        self._folds: dict[str, bool] = {}
        """Groups that the user opened or folded."""

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
        self._begin_with(self.app.active_dataset)
        self.form.rows.focus()
        self.app.dataset_changed.subscribe(self, lambda _: self._files_changed())
        self.app.settings_changed.subscribe(self, lambda _: self._start_over())
        self.app.runs_changed.subscribe(self, lambda _: self._runs_changed())
        self.app.undo_signal.subscribe(self, lambda _: self._tick() if self.is_current else None)

    def on_screen_resume(self) -> None:
        dataset = self.app.active_dataset
        if self._request is not None and dataset and dataset != self._dataset:
            self._begin_with(dataset)
        self.call_after_refresh(self._look_around)  # its imports would hold up the first frame
        self._tick()
        self._timer = self.set_interval(0.5, self._tick_if_live)

    def on_screen_suspend(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _begin_with(self, dataset: str | None) -> None:
        """The remembered options, for this dataset."""
        self._dataset = dataset
        usual = tag_values.start_request(self.app.settings, dataset)
        if self.app.workspace is not None:
            self._kept = tag_memory.recall(self.app.workspace.root)
        self._request = self._kept.request(usual)
        self.outlook = replace(self.outlook, is_run_shown=True)
        self._show()

    def _start_over(self) -> None:
        self._begin_with(self.app.active_dataset)
        self.run.seen = None
        self.run.look_anew()
        self._previewer.scores_changed()

    def _files_changed(self) -> None:
        self._previewer.captions_changed()
        if self.is_current:
            self._look_around()
            self._tick()  # the pass may have been taken back

    def step_back(self) -> bool:
        if self.side.is_focused:
            if self.side.view == "images" and self.answer is not None:
                self.side.show_tags(self.side.tag)
            else:
                self._go(self.form.rows)
            return True
        return False

    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(Severity.ERROR, "KT513", path.rsplit("/", 1)[-1], reason) for path, reason in self.run.failed
        )

    # What is there

    @work(thread=True, exclusive=True, group="tag-known", exit_on_error=False)
    def _look_around(self) -> None:  # type: ignore[override]  # a worker instead of None
        known = look_around(self.app.workspace, self.app.settings, self._request)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_known, known)

    def _take_known(self, known: Known) -> None:
        self._known = self._with_trials(known)
        request = self._request
        is_elsewhere = request is not None and Path(request.target).is_absolute()
        if request is not None and request.target not in known.datasets and not is_elsewhere:
            self._begin_with(next(iter(known.datasets), ""))
        self._show()
        self._try_provider()
        self._tell_list()
        self._plan_soon()
        self._look_at_turns()
        self._ask_preview()

    def _with_trials(self, known: Known) -> Known:
        machine: Machine | None = known.machine
        return known if machine is None else replace(known, machine=replace(machine, tried=dict(self._tried)))

    def _try_provider(self) -> None:
        machine = self._known.machine
        if self._request is not None and machine is not None and machine.wants_trial(self._request.provider):
            self._try_on_thread(self._request.provider)

    @work(thread=True, exclusive=True, group="tag-trial", exit_on_error=False)
    def _try_on_thread(self, provider: str) -> None:
        from core.tagging import probe

        try:
            found: Probe | UserError = probe.probe(provider)
        except UserError as error:
            found = error
        self.app.call_from_thread(self._take_trial, provider, found)

    def _take_trial(self, provider: str, found: Probe | UserError) -> None:
        self._tried[provider] = found
        self._known = self._with_trials(self._known)
        self._show()

    # Drawing

    def _show(self) -> None:
        request = self._request
        if request is None:
            return
        machine, known = self._known.machine, self._known
        says = machine.says(request.provider) if machine is not None else None
        facts = tag_form.Facts(known.datasets, known.model(request.model), says)
        opened, airy = tag_form.fitting(
            self.form.size.height or max(1, self.app.size.height - (9 if self.has_class("-narrow") else 12)), request
        )
        if self._folds:
            opened = frozenset(
                group.key for group in tag_form.GROUPS if self._folds.get(group.key, group.key in opened)
            )
            airy = airy and len(tag_form.fields(request, facts, opened, True)) <= self.form.size.height
        self.form.show(tag_form.fields(request, facts, opened, airy))
        self._show_progress()

    def _show_progress(self) -> None:
        width, height = self.progress.size.width or self.app.size.width, self.progress.size.height or 4
        self.progress.show(below(self._request, self._known, self.run, self.outlook, width, height))

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        narrow = self.has_class("-narrow")
        for panel, is_seen in (
            (self.side, self.side.is_focused or not narrow),
            (self.form, not (narrow and self.side.is_focused)),
        ):
            if panel.display != is_seen:  # to set it again is another layout
                panel.display = is_seen
        self._show()

    @on(Changes.Resized)
    def _resized(self) -> None:
        self._show()
        self.side.show_head()

    def on_descendant_focus(self) -> None:
        self.side.show_head()

    def on_descendant_blur(self) -> None:
        self.side.show_head()

    def action_next_panel(self) -> None:
        if self.side.is_focused:
            self._go(self.form.rows)
        elif not self.side.is_empty:
            self._go(self.side.rows)
        else:
            self.notify("The preview needs scores: d makes them and writes no caption.", timeout=4)

    def _go(self, panel: Widget) -> None:
        is_side = panel is self.side.rows
        if self.has_class("-narrow"):
            self.side.display, self.form.display = is_side, not is_side
        panel.focus()
        self.call_after_refresh(self.side.show_head)

    def action_copy(self) -> None:
        machine = self._known.machine
        remedy = machine.remedy(self._request.provider) if machine is not None and self._request is not None else None
        if remedy is None:
            self.notify("There is nothing to repair.", timeout=3)
        else:
            self.app.copy_to_clipboard(remedy)
            self.notify("The command is in the clipboard.", timeout=3)

    # Changing fields

    def _set(self, request: TagRequest) -> None:
        before, self._request = self._request, request
        if before is None or before == request:
            return
        self.outlook = replace(self.outlook, is_run_shown=False)
        self._show()
        self._keep_soon()
        is_other_model = [before.model, before.more_models, before.revision, before.model_dir] != [
            request.model,
            request.more_models,
            request.revision,
            request.model_dir,
        ]
        if before.provider != request.provider:
            self._try_provider()
        if is_other_model:
            self._look_around()
        elif before.target != request.target:
            self._look_at_turns()
        if any(getattr(before, name) != getattr(request, name) for name in _PLANNED):
            self._plan_soon()
        self._ask_preview()

    def _keep_soon(self) -> None:
        if self._keep_timer is not None:
            self._keep_timer.stop()
        self._keep_timer = self.set_timer(REST, self._keep)

    def _keep(self) -> None:
        request, workspace, settings = self._request, self.app.workspace, self.app.settings
        if request is None or workspace is None or not request.target:
            return
        usual, kept = settings.trigger or request.target, self._kept

        def write() -> tag_memory.Kept:
            return tag_memory.remember(workspace.root, request, kept, settings.tagger, usual)

        self.app.writer.submit(write, lambda found: setattr(self, "_kept", found), self.app.report)

    @on(Form.Changed)
    def _changed(self, event: Form.Changed) -> None:
        if self._request is not None:
            try:
                self._set(tag_values.changed(self._request, event.key, event.text))
            except UserError as error:
                self.app.report(error)

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        request = self._request
        if request is None:
            return
        if event.key.startswith("group:"):
            self._fold(event.key, event.by > 0)
        elif event.key == "target":
            names = list(self._known.datasets)
            if names:
                self._choose_dataset(choice_step(names, request.target, event.by))
        elif event.key == "model":
            names = [model.name for model in self._known.models if model.is_on_disk]
            if names:
                self._set(replace(request, model=choice_step(names, request.model or "", event.by)))
        else:
            self._set(tag_values.stepped(request, event.key, event.by))

    def _fold(self, key: str, is_open: bool) -> None:
        self._folds[key.removeprefix("group:")] = is_open
        self._show()

    def _choose_dataset(self, name: str) -> None:
        """Another dataset; the other values stay, but for a trigger word that was the old one's."""
        request = self._request
        assert request is not None
        if name in self._known.datasets:
            self.app.active_dataset = self._dataset = name
        usual = self.app.settings.trigger or (name if name in self._known.datasets else None)
        self._set(replace(request, target=name, trigger=self._kept.triggers.get(name, usual)))

    @on(Form.Asked)
    def _asked(self, event: Form.Asked) -> None:
        key = event.key
        if self._request is None:
            return
        if key.startswith("group:"):
            field = next(field for field in self.form.fields if field.key == key)
            self._fold(key, field.raw == "▸")
        elif key in tag_values.CAPTION_FLAGS or key in tag_values.REQUEST_FLAGS:
            self._set(tag_values.switched(self._request, key))
        else:
            self._choose(key)

    @work(exit_on_error=False)
    async def _choose(self, key: str) -> None:
        from tui.screens import tag_dialogs

        request, known = self._request, self._known
        assert request is not None
        if key in {"also", "sets"}:
            marked = await tag_dialogs.choose_marks(self.app, request, key, known)
            if marked is not None and self._request is not None:
                if key == "also":
                    self._set(replace(self._request, more_models=marked))
                else:
                    self._set(tag_values.changed(self._request, "sets", ",".join(marked)))
            return
        if key == "model":
            models = ModelList(known.models, request.model, self._fetch, self.action_stop)
            found = await self.app.push_screen_wait(models)
            if found == OTHER:
                found = await tag_dialogs.ask_model(self.app, request.model or "")
        else:
            found = await tag_dialogs.choose_value(self.app, request, key, known)
        if found is None or self._request is None:
            return
        if key == "target":
            self._choose_dataset(found)
        else:
            self._set(tag_values.chosen(self._request, key, found))
