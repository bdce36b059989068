"""A dialog that shows what would happen while it is filled in, and what such a dialog says once it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from textual import on
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState, get_current_worker

from core.dataset.relocate import GivenUp
from core.problems import UserError
from core.text import printable
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.gauges import wrapped
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines, cut

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup
    from tui.app import KohyaApp

Plan = TypeVar("Plan")
Stop = Callable[[], bool]
REST = 0.25
"""Seconds without a key before the plan is made anew."""


@dataclass(frozen=True, slots=True)
class Steps(Generic[Plan]):
    """What a dialog plans, and how."""

    make: Callable[[], Callable[[Stop], Plan] | None]
    """What to do on a thread for the fields as they are (it raises GivenUp when its argument says so); None while there
    is nothing to plan."""
    lines: Callable[[Plan], tuple[list[Cells], bool]]
    """What is shown of the plan, and whether there is anything to carry out."""
    carry_out: Callable[[Plan], None]
    """Enter on a plan."""


class PlannedDialog(Dialog[None], Generic[Plan]):
    """A dialog whose plan is made on a thread while its fields change; Enter carries it out."""

    def __init__(self, title: str, keys: str, steps: Steps[Plan]) -> None:
        super().__init__(title, keys)
        self._steps = steps
        self._soon: Timer | None = None
        self._planning: Worker[None] | None = None
        self._plan: Plan | None = None

    def compose_plan(self) -> Iterable[Widget]:
        """The last two widgets of the dialog."""
        yield Static(id="wrong")
        yield Lines(id="plan", on="surface")

    def on_mount(self) -> None:
        self.query(Input).first().focus()
        self._look()

    def on_unmount(self) -> None:
        self._plan = None  # of 100,000 files it is 200 MB, and the dialog stays until Python's collector comes by

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.plan_anew()

    def plan_anew(self) -> None:
        """A field is another one: what was planned no longer holds."""
        self._plan = None
        if self._planning is not None:
            self._planning.cancel()
        if self._soon is not None:
            self._soon.stop()
        self._soon = self.set_timer(REST, self._look)

    def _look(self) -> None:
        make = self._steps.make()
        self._plan = None
        if self._planning is not None:
            self._planning.cancel()
        if make is None:
            self.wrong("")
            self.say([])
            return

        def work() -> None:
            worker = get_current_worker()
            try:
                plan = make(lambda: worker.is_cancelled)
            except GivenUp:
                return
            if not worker.is_cancelled:
                self.app.call_from_thread(self._planned, worker, plan)

        self._planning = self.run_worker(work, thread=True, exclusive=True, group="plan", exit_on_error=False)

    def _planned(self, worker: Worker[None], plan: Plan) -> None:
        if worker is self._planning and self.is_attached:
            lines, is_any = self._steps.lines(plan)
            self._plan = plan if is_any else None
            self.wrong("")
            self.say(lines)

    @on(Input.Submitted)
    @on(ItemList.Opened)
    def _take(self) -> None:
        if self._plan is not None:
            plan, self._plan = self._plan, None
            self._steps.carry_out(plan)
        else:
            self._look()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is not self._planning or event.state is not WorkerState.ERROR:
            return
        event.stop()
        self.say([])
        if isinstance(event.worker.error, UserError):
            self.wrong(str(event.worker.error))
        elif event.worker.error is not None:
            self.app.report(event.worker.error)

    def wrong(self, text: str) -> None:
        """Say what is wrong with the fields, or nothing."""
        self.query_one("#wrong", Static).update(Content(printable(text, newlines=True)))

    def say(self, lines: list[Cells]) -> None:
        """What would happen."""
        panel = self.query_one("#plan", Lines)
        lines = [cut(line, panel.size.width or 60) for line in lines]
        panel.styles.height = len(lines)
        panel.show(lines)


def wrap(text: str) -> list[str]:
    """A sentence of a plan, in lines."""
    return wrapped(printable(text), 68, 3)


def did(app: KohyaApp, group: EditGroup | None, label: str) -> None:
    """Tell it, and read the files anew. `group` None: whatever the journal has."""
    from tui import opening

    if group is not None:
        app.undoing.wrote(group)
        for conflict in group.conflicts:
            app.notify(f"{printable(str(conflict.path))} {conflict.reason}", severity="warning", markup=False)
    else:
        app.beat.look_at_journal()
    app.notify(f"done: {label}; u takes it back", markup=False, timeout=3)
    opening.reload(app)
    opening.tell(app)
