"""The import dialog: what to bring in and how, then the plan, then the copying with its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState, get_current_worker

from core.problems import UserError
from core.text import count_of, human_bytes, printable
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut
from tui.widgets.path_input import PathInput, Paths

if TYPE_CHECKING:
    from core.dataset.importer import ImportPlan, ImportProgress
    from tui.app import KohyaApp

REST = 0.4
"""Seconds without a key before the plan is made anew."""
MODES = (
    ("copy", "copy", "the originals stay where they are"),
    ("link", "hard link", "no extra space; same disk only"),
    ("move", "move", "the originals go into the workspace"),
)


class Ways(Texts):
    """How the files come in: a dot before the one that is chosen, which stays where the cursor was."""

    def __init__(self) -> None:
        super().__init__([[(f"{label:<12}", "text"), (why, "muted")] for _, label, why in MODES])
        self.chosen = 0

    def cells(self, index: int, width: int) -> Cells:
        return [("● " if index == self.chosen else "  ", "accent"), *super().cells(index, width)]


class ImportDialog(Dialog[str]):
    """Dismisses with the name of the dataset when images came in, else with None."""

    def __init__(self, name: str = "") -> None:
        super().__init__("Import images", "tab completes, then next field   ⏎ what would come in   Esc back")
        self._name_at_start = name
        self._ways = Ways()
        self._plan: ImportPlan | None = None
        self._work: Worker[None] | None = None
        self._imports = False
        self._shown: list[Cells] = []
        self._soon: Timer | None = None

    def compose_dialog(self) -> Iterable[Widget]:
        folders = Paths(self.app.start_folder, ())  # no files: in a folder of images Tab goes on to the next field
        yield from self._field(
            "Folder or file", PathInput(placeholder="~/pictures/rinni", suggester=folders, id="source")
        )
        yield from self._field("Dataset", Input(self._name_at_start, placeholder="rinni", id="name"))
        yield from self._field("Repeats", Input(placeholder="10", id="repeats"))
        choices = ItemList(self._ways, id="mode", on="surface")
        choices.styles.height = len(MODES)
        yield choices
        yield Static(id="wrong")
        yield Lines(id="plan", on="surface")

    def _field(self, label: str, field: Input) -> Iterable[Widget]:
        yield Horizontal(Static(label, classes="label"), field, classes="field")

    def on_mount(self) -> None:
        self.query_one("#source").focus()

    def _value(self, field: str) -> str:
        return self.query_one(field, Input).value.strip()

    # Steps

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input.id == "source":
            # The folder's name is the usual name; `10_rinni` says the repeats too.
            folder = Path(event.value.strip()).name
            number, _, rest = folder.partition("_")
            self.query_one("#name", Input).placeholder = (rest if number.isdecimal() and rest else folder) or "rinni"
            self._plan = None
            self._rest()
            if self._work is not None and not self._imports:
                self._work.cancel()
            self._say([])
        else:
            self._plan_anew()

    @on(ItemList.Moved)
    def _mode_changed(self, event: ItemList.Moved) -> None:
        self._ways.chosen = event.index
        event.list.refresh()
        self._plan_anew()

    def _plan_anew(self) -> None:
        """The files are the same: the plan stays in sight until the new one takes its place."""
        if self._shown and not self._imports:
            self._plan = None
            self._rest()
            self._soon = self.set_timer(REST, self._look)

    def _rest(self) -> None:
        if self._soon is not None:
            self._soon.stop()
            self._soon = None

    @on(Input.Submitted)
    @on(ItemList.Opened)
    def _next(self) -> None:
        if self._imports:
            return
        if self._plan is not None:
            self._start(self._plan)
        elif self._work is None:
            self._look()

    def _look(self) -> None:
        self._rest()
        source, name = self._value("#source"), self._value("#name") or self.query_one("#name", Input).placeholder
        repeats = self._value("#repeats")
        if not source:
            self._wrong("Name the folder that holds the images.", "#source")
            return
        if repeats and not (repeats.isdecimal() and int(repeats) > 0):
            self._wrong(f"{repeats} is not a number of repeats; 10 is usual.", "#repeats")
            return
        self._wrong("")
        if not self._shown:
            self._say([[("looking at the files…", "muted")]])
        mode = MODES[self._ways.chosen][0]
        self._begin(lambda: self._make_plan(source, name, int(repeats) if repeats else None, mode))

    def _make_plan(self, source: str, name: str, repeats: int | None, mode: str) -> None:
        from core.dataset.importer import plan_import

        workspace = self.app.workspace
        assert workspace is not None
        place = Path(source).expanduser()
        if not place.is_absolute():
            place = self.app.start_folder / place
        worker = get_current_worker()
        plan = plan_import(workspace, name, [place], repeats, mode)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._planned, plan)

    def _planned(self, plan: ImportPlan) -> None:
        images = sum(step.kind == "image" for step in plan.steps)
        workspace = self.app.workspace
        assert workspace is not None
        lines: list[Cells] = [
            [
                (count_of(images, "image"), "text bold"),
                (f", {count_of(len(plan.steps) - images, 'caption')} · {human_bytes(plan.bytes)} → ", "text"),
                (f"{printable(workspace.key_of(plan.target))}/", "second"),
            ]
        ]
        for skipped in plan.skipped[:4]:
            lines.append(
                [("not ", "caution"), (printable(skipped.path.name), "text"), (f"  {skipped.reason}", "muted")]
            )
        if len(plan.skipped) > 4:
            lines.append([(f"and {len(plan.skipped) - 4:,} more that stay out", "muted")])
        lines += [[(printable(note), "muted")] for note in plan.notes[:3]]
        if images:
            self._plan = plan
            lines.append([("⏎ brings them in", "accent")])
        else:
            lines.append([("Nothing to bring in.", "caution")])
        self._say(lines)

    def _start(self, plan: ImportPlan) -> None:
        workspace = self.app.workspace
        assert workspace is not None

        def run() -> None:
            from core.dataset.importer import run_import

            worker = get_current_worker()
            last: ImportProgress | None = None
            for last in run_import(workspace, plan):
                self.app.call_from_thread(self._progress, last)
                if worker.is_cancelled:
                    break
            self.app.call_from_thread(self._finished, plan, last)

        self._imports = True
        self._begin(run)

    def _progress(self, progress: ImportProgress) -> None:
        share = progress.done / progress.total if progress.total else 1.0
        full = round(share * 40)
        current = printable(progress.current.name) if progress.current is not None else ""
        self._say(
            [
                [
                    ("█" * full, "accent"),
                    ("░" * (40 - full), "rule"),
                    (f" {progress.done:,}/{progress.total:,}", "text"),
                ],
                [(current, "muted")],
                [("Esc stops; what came in stays, and u takes it out again", "muted")],
            ]
        )

    def _finished(self, plan: ImportPlan, last: ImportProgress | None) -> None:
        self._work = None
        imported = last.imported if last is not None else 0
        skipped = len(last.skipped) if last is not None else 0
        more = f", {skipped:,} left out" if skipped else ""
        self.app.notify(f"{count_of(imported, 'image')} brought into {plan.name}{more}", markup=False)
        self.dismiss(plan.name if imported else None)

    # Workers

    def _begin(self, work: Callable[[], None]) -> None:
        self._work = self.run_worker(work, thread=True, exclusive=True, group="import", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is not self._work or event.state in {WorkerState.PENDING, WorkerState.RUNNING}:
            return
        if event.state is WorkerState.CANCELLED and self._imports:
            return  # it stops after the file that it is at, and says so
        self._work, self._imports = None, False
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._say([])
            error = event.worker.error
            if isinstance(error, UserError):
                self._wrong(str(error))
            else:
                self.app.report(error)

    def _wrong(self, text: str, field: str = "") -> None:
        """Say it, and go to the field that it is about."""
        self.query_one("#wrong", Static).update(Content(printable(text, newlines=True)))
        if field:
            self.query_one(field).focus()

    def _say(self, lines: list[Cells]) -> None:
        self._shown = lines
        panel = self.query_one("#plan", Lines)
        lines = [cut(line, panel.size.width or 60) for line in lines]
        panel.styles.height = len(lines)
        panel.show(lines)

    def action_cancel(self) -> None:
        if self._imports and self._work is not None:
            self._work.cancel()
        else:
            self.dismiss(None)


async def import_images(app: KohyaApp) -> bool:
    """Ask what to bring in, into a workspace that is made when there is none; true when images came and are open."""
    if app.workspace is None:
        from core.workspace import create

        app.open_workspace(create(app.start_folder))
    name = await app.push_screen_wait(ImportDialog())
    if name is not None:
        app.active_dataset = name
    return name is not None
