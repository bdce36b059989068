"""The Tag screen: what the tagger shall do on the left, what is known before it starts beside it, the run below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget

from core.text import count_of, human_bytes, human_seconds, printable
from tui.screens import tag_form
from tui.screens.base import ModeScreen
from tui.theme import Cells
from tui.widgets.form import Form, choice_step
from tui.widgets.line import Lines

if TYPE_CHECKING:
    from core.tagging.models import TaggerModel
    from core.tagging.options import TagRequest

BAR = 40
FAILURES = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What a thread found out for the panel at the right."""

    datasets: dict[str, str]
    models: tuple[TaggerModel, ...]
    wheels: dict[str, str]
    driver: int | None


class TagScreen(ModeScreen):
    """Fill in, `R`, watch; the run goes on without the app."""

    MODE = "tag"
    CSS_PATH = "tag.tcss"
    HELP = """\
# Tag

The fields are the options of sd-scripts' tagger. `⏎` edits a field, `←` `→` step through choices and thresholds.
`R` starts a detached run: it goes on when you leave the screen, quit the app or lose the connection. `X` stops it; what
was written stays, and `u` takes the whole pass back.
"""
    BINDINGS: ClassVar = [
        Binding("R", "start", "start", id="run.start"),
        Binding("X", "stop", "stop", id="run.stop"),
    ]
    form = getters.query_one(Form)
    side = getters.query_one("#tag-side", Lines)
    progress = getters.query_one("#tag-progress", Lines)

    def __init__(self) -> None:
        super().__init__()
        self._request: TagRequest | None = None
        self._known = Known({}, (), {}, None)
        self._timer: Timer | None = None
        self._busy = False
        self._watch: Any = None
        self._live = False

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="tag-body"):
            with Horizontal(id="tag-top"):
                yield Form(label_width=13)
                yield Lines(id="tag-side")
            yield Lines(id="tag-progress")

    def on_mount(self) -> None:
        self._request = tag_form.start_request(self.app.settings, self.app.active_dataset)
        self._show()
        self.form.rows.focus()
        self.app.dataset_changed.subscribe(self, lambda _: self._look_around())
        self.app.settings_changed.subscribe(self, lambda _: self._start_over())

    def on_screen_resume(self) -> None:
        dataset = self.app.active_dataset
        if self._request is not None and dataset and dataset != self._request.target:
            self._request = tag_form.start_request(self.app.settings, dataset)
        self._look_around()
        self._tick()
        self._timer = self.set_interval(0.5, self._tick)

    def on_screen_suspend(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _start_over(self) -> None:
        self._request = tag_form.start_request(self.app.settings, self.app.active_dataset)
        self._watch = None
        self._show()

    # What is there

    @work(thread=True, exclusive=True, group="tag-known", exit_on_error=False)
    def _look_around(self) -> None:
        from core.tagging.models import list_models
        from core.tagging.providers import driver_version, installed_wheels

        workspace = self.app.workspace
        notes: dict[str, str] = {}
        if workspace is not None:
            from core.dataset.scan import open_dataset

            for name in workspace.dataset_names():
                dataset = open_dataset(workspace, name)
                without = f", {dataset.uncaptioned:,} without caption" if dataset.uncaptioned else ""
                notes[name] = f"{count_of(len(dataset.items), 'image')}{without}"
        models = tuple(list_models(workspace, self.app.settings))
        known = Known(notes, models, installed_wheels(), driver_version())
        self.app.call_from_thread(self._take_known, known)

    def _take_known(self, known: Known) -> None:
        self._known = known
        if self._request is not None and not self._request.target and known.datasets:
            first = next(iter(known.datasets))
            self._request = tag_form.start_request(self.app.settings, first)
        self._show()

    # Drawing

    def _show(self) -> None:
        if self._request is None:
            return
        model = self._model()
        note = ""
        if model is not None:
            size = f" · {human_bytes(model.bytes)}" if model.bytes else ""
            note = f"{'on disk' if model.is_on_disk else 'not on disk yet'} · {model.licence}{size}"
        self.form.show(tag_form.fields(self._request, self._known.datasets, note))
        self.side.show(self._side_lines(model))

    def _side_lines(self, model: TaggerModel | None) -> list[Cells]:
        request = self._request
        assert request is not None
        lines: list[Cells] = [[("Before it starts", "accent")], []]
        if not self._known.datasets:
            lines.append([("No images yet. Import some in Dataset: 1, then i.", "text")])
        if not self._known.wheels:
            lines += [
                [("✗ onnxruntime is not installed", "bad")],
                [("  pip install 'kohya-tui[cuda]', or [cpu]", "muted")],
            ]
        elif self._known.driver is not None and "onnxruntime-gpu" not in self._known.wheels:
            lines += [
                [("✗ CPU: onnxruntime is built without CUDA", "bad")],
                [("  kohya-tui doctor shows the command", "muted")],
            ]
        else:
            gpu = "CUDA" if "onnxruntime-gpu" in self._known.wheels and self._known.driver else "CPU"
            version = next(iter(self._known.wheels.values()))
            lines.append([("✓ ", "good"), (f"{gpu} · onnxruntime {version}", "text")])
        if model is not None and not model.is_on_disk:
            lines += [
                [("! ", "caution"), ("the model is fetched first", "text")],
                [(f"  kohya-tui models download {printable(model.name)}"[:48], "muted")],
            ]
        elif model is not None:
            author = f" · the author's threshold is {model.threshold:.2f}" if model.threshold else ""
            lines.append([("✓ ", "good"), (f"the model is on disk{author}", "text")])
        if request.policy == "overwrite":
            lines.append([("· ", "muted"), ("captions are overwritten; u takes it back", "text")])
        return lines

    def _model(self) -> TaggerModel | None:
        wanted = self._request.model if self._request is not None else None
        return next((model for model in self._known.models if model.name == wanted), None)

    # Changing fields

    @on(Form.Changed)
    def _changed(self, event: Form.Changed) -> None:
        if self._request is not None:
            try:
                self._request = tag_form.changed(self._request, event.key, event.text)
            except Exception as error:
                self.app.report(error)
            self._show()

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        if self._request is None:
            return
        if event.key == "target":
            names = list(self._known.datasets)
            if names:
                self._choose_dataset(choice_step(names, self._request.target, event.by))
            return
        if event.key == "model":
            names = [model.name for model in self._known.models]
            if names:
                self._request = tag_form.chosen(
                    self._request, "model", choice_step(names, self._request.model or "", event.by)
                )
        else:
            self._request = tag_form.stepped(self._request, event.key, event.by)
        self._show()

    def _choose_dataset(self, name: str) -> None:
        self.app.active_dataset = name
        self._request = tag_form.start_request(self.app.settings, name)
        self._show()

    @on(Form.Asked)
    def _asked(self, event: Form.Asked) -> None:
        if self._request is None:
            return
        if event.key in {"first", "underscore", "compat"}:
            self._request = tag_form.switched(self._request, event.key)
            self._show()
        else:
            self._choose(event.key)

    @work
    async def _choose(self, key: str) -> None:
        from tui.screens.dialogs import Choose

        request = self._request
        assert request is not None
        if key == "target":
            options = [(name, printable(name), note) for name, note in self._known.datasets.items()]
            now = request.target
        elif key == "model":
            options = [(model.name, model.name, _model_note(model)) for model in self._known.models]
            now = request.model or ""
        else:
            values, now = tag_form.choices(request, key)
            options = [(value, value, tag_form.POLICY_NOTES.get(value, "")) for value in values]
        if not options:
            return
        found = await self.app.push_screen_wait(Choose(key.capitalize(), options, chosen=now))
        if found is None:
            return
        if key == "target":
            self._choose_dataset(found)
            return
        self._request = tag_form.chosen(request, key, found)
        self._show()

    # The run

    @work
    async def action_start(self) -> None:
        request = self._request
        if request is None or not request.target:
            self.notify("There are no images yet: import some in Dataset (1, then i).", severity="warning")
            return
        if self._live:
            self.notify("A tag run is going on; X stops it.", severity="warning")
            return
        await self.app.writer.drain()
        self._start_run(request)

    @work(thread=True, group="tag-start", exit_on_error=False)
    def _start_run(self, request: TagRequest) -> None:
        from core.runs.launch import start, tag_spec
        from core.runs.store import create, runs_dir

        spec, files = tag_spec(self.app.workspace, request)
        run = start(create(runs_dir(self.app.workspace), spec, files))
        self.app.call_from_thread(self._started, run.id)

    def _started(self, run_id: str) -> None:
        self._watch = None
        self.app.active_run = run_id
        self.app.runs_changed.publish(run_id)
        self._tick()

    def action_stop(self) -> None:
        if self._watch is not None and self._live:
            self._stop_run(self._watch.run)

    @work(thread=True, group="tag-start", exit_on_error=False)
    def _stop_run(self, run: Any) -> None:
        from core.runs.launch import stop

        stop(run, "stop-now")

    def _tick(self) -> None:
        if not self._busy:
            self._busy = True
            self._read_run()

    @work(thread=True, group="tag-run", exit_on_error=False)
    def _read_run(self) -> None:
        from core.runs.model import RunKind
        from core.runs.store import list_runs
        from core.runs.watch import RunWatch
        from core.tagging.results import read_results

        try:
            if self._watch is None:
                runs = list_runs(self.app.workspace)
                newest = next((run for run in runs if run.spec.kind is RunKind.TAG), None)
                if newest is None:
                    return
                self._watch = RunWatch(newest.dir)
            seen = self._watch.poll()
            self.app.call_from_thread(self._show_run, seen, read_results(seen.run.dir))
        finally:
            self._busy = False

    def _show_run(self, seen: Any, results: Any) -> None:
        from core.runs.model import LIVE_STATES

        was_live, self._live = self._live, seen.run.status.state in LIVE_STATES
        self.progress.show(run_lines(seen, results, self.progress.size.width))
        if was_live and not self._live:
            self._watch = None
            self.app.dataset_changed.publish(seen.run.spec.dataset or "")


def run_lines(seen: Any, results: Any, width: int) -> list[Cells]:
    """The newest tag run in five lines: bar, numbers, what limits or went wrong, the files that failed."""
    done, total = seen.step or 0, seen.total_steps or 0
    room = min(BAR, max(10, width - 70))
    filled = int(room * done / total) if total else 0
    state = str(seen.run.status.state)
    role = {"running": "accent", "finished": "good", "failed": "bad", "stopped": "caution"}.get(state, "muted")
    line: Cells = [
        (" ", "text"),
        ("█" * filled, role),
        ("░" * (room - filled), "rule"),
        (f"  {done:,}/{total:,}", "text"),
        (f"   {state}", role),
    ]
    if seen.rate:
        line.append((f"   {seen.rate:.1f} img/s", "muted"))
    if seen.eta_seconds is not None and state == "running":
        line.append((f"   {human_seconds(seen.eta_seconds)} left", "muted"))
    if results.failed:
        line.append((f"   {len(results.failed):,} failed", "bad"))
    about: Cells = [(f" {printable(seen.run.id)}", "muted")]
    if results.provider:
        on = results.provider.removesuffix("ExecutionProvider")
        about += [
            (f" · {on}", "bad" if results.fallback else "muted"),
            (f" · {printable(results.model or '')}", "muted"),
        ]
    lines = [line, about]
    if results.fallback:
        lines.append([(f" ✗ {printable(results.fallback)}", "bad")])
    elif seen.reason:
        lines.append([(f" {printable(seen.reason)}", "bad" if state == "failed" else "muted")])
    for path, reason in results.failed[-FAILURES:]:
        lines.append([(f" ✗ {printable(str(path).rsplit('/', 1)[-1])}  ", "bad"), (printable(reason), "muted")])
    return lines


def _model_note(model: TaggerModel) -> str:
    size = human_bytes(model.bytes) if model.bytes else ""
    return f"{'on disk' if model.is_on_disk else size}  {model.note}".strip()
