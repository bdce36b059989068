"""The dialog that moves or copies images into another subset: one group that `u` takes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState, get_current_worker

from core.problems import UserError
from core.text import count_of, printable
from tui.screens.planned import PlannedDialog, Steps, Stop, did, wrap
from tui.theme import Cells
from tui.widgets.gauges import bar, wrapped
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.path_input import PathInput

if TYPE_CHECKING:
    from core.dataset.edits import Stepwise
    from core.dataset.groups import EditGroup
    from core.dataset.relocate import CopyProgress, Relocation
    from core.workspace import Workspace
    from tui.app import KohyaApp
    from tui.collection import Collection, Row

WAYS = (("move", "with captions and caches"), ("copy", "the originals stay where they are"))


class _Ways(Texts):
    """A dot before the way that is chosen."""

    def __init__(self) -> None:
        super().__init__([[(f"{way:<8}", "text"), (why, "muted")] for way, why in WAYS])
        self.chosen = 0

    def cells(self, index: int, width: int) -> Cells:
        return [("● " if index == self.chosen else "  ", "accent"), *super().cells(index, width)]


class MoveDialog(PlannedDialog["Relocation"]):
    """Into which subset the images (numbers of the collection's index) go, moved or copied."""

    def __init__(self, collection: Collection, numbers: Sequence[int]) -> None:
        super().__init__(
            f"Move {count_of(len(numbers), 'image')}",
            "tab completes, then next field   ⏎ do it   Esc back",
            Steps(self._make_plan, self._plan_lines, self._carry_out),
        )
        self._collection, self._numbers = collection, numbers
        self._ways = _Ways()
        self._copying: Worker[None] | None = None
        self._places: list[str] = []

    def compose_dialog(self) -> Iterable[Widget]:
        field = PathInput(placeholder="DATASET/10_SUBSET", id="to")
        yield Horizontal(Static("To", classes="label"), field, classes="field")
        ways = ItemList(self._ways, id="mode", on="surface")
        ways.styles.height = len(WAYS)
        yield ways
        yield from self.compose_plan()

    def on_mount(self) -> None:
        super().on_mount()
        workspace = self._collection.workspace
        self.run_worker(lambda: self._read_places(workspace), thread=True, group="places", exit_on_error=False)

    def _read_places(self, workspace: Workspace) -> None:
        self.app.call_from_thread(self._take_places, _places(workspace))

    def _take_places(self, places: list[str]) -> None:
        if self.is_attached:
            self._places = places
            self.query_one("#to", Input).suggester = SuggestFromList(places, case_sensitive=False)
            self._list_places()

    @on(ItemList.Moved)
    def _way_changed(self, event: ItemList.Moved) -> None:
        if event.index != self._ways.chosen:
            self._ways.chosen = event.index
            event.list.refresh()
            self.plan_anew()

    def _make_plan(self) -> Callable[[Stop], Relocation] | None:
        from core.dataset.relocate import plan_move, target_folder

        to, is_copy = self.query_one("#to", Input).value.strip(), self._ways.chosen == 1
        workspace, index, numbers = self._collection.workspace, self._collection.index, self._numbers
        if not to:
            self.call_after_refresh(self._list_places)
            return None

        def plan(stop: Stop) -> Relocation:
            target = target_folder(workspace, to)
            return plan_move(workspace, map(index.path, numbers), target, copy=is_copy, stop=stop)

        return plan

    def _list_places(self) -> None:
        """Where they could go, as long as nothing is typed."""
        if self._places and not self.query_one("#to", Input).value.strip():
            text = ", ".join(map(printable, self._places))
            lines = wrapped(f"There are {text}. A new one begins with its repeats: rinni/10_rinni.", 70, 4)
            self.say([[(line, "muted")] for line in lines])

    def _plan_lines(self, plan: Relocation) -> tuple[list[Cells], bool]:
        images = len(plan.images)
        lines: list[Cells] = []
        if images:
            others = len(plan.files) + len(plan.captions) - images
            where = self._collection.workspace.key_of(plan.images[0][1].parent).removeprefix("train_data/")
            lines.append(
                [
                    (count_of(images, "image"), "text bold"),
                    (f" and {count_of(others, 'caption or cache', 'captions and caches')} → ", "text"),
                    (f"{printable(where)}/", "second"),
                ]
            )
        for skip in plan.skipped[:4]:
            parts = wrap(f"{skip.path.name}: {skip.reason}")
            lines += [[("not " if at == 0 else "    ", "caution"), (part, "text")] for at, part in enumerate(parts)]
        if len(plan.skipped) > 4:
            lines.append([(f"and {len(plan.skipped) - 4:,} more that stay", "muted")])
        lines.append(
            [(f"⏎ {'copies' if plan.way == 'copy' else 'moves'} them" if images else "Nothing to do.", "accent")]
        )
        return lines, images > 0

    def _carry_out(self, plan: Relocation) -> None:
        if plan.way == "copy":
            self._copying = self.run_worker(
                lambda: self._copy(plan), thread=True, exclusive=True, group="copy", exit_on_error=False
            )
            return
        from core.dataset.relocate import relocating
        from core.runs.in_use import refuse_in_use
        from tui.bulk import carry_out

        app, workspace, title = self.app, self._collection.workspace, printable(plan.label)

        def steps() -> Stepwise[EditGroup]:
            refuse_in_use(workspace, [source for source, _ in plan.images])
            return relocating(workspace, plan)

        self.dismiss(None)
        carry_out(app, title, steps, lambda group: did(app, group, title), app.report)

    # Copying: a file at a time, until Esc

    def _copy(self, plan: Relocation) -> None:
        from core.dataset.relocate import copy

        worker = get_current_worker()
        steps = copy(self._collection.workspace, plan)
        due, last = 0.0, None
        try:
            import time

            for last in steps:
                if worker.is_cancelled:
                    break
                if time.monotonic() >= due:
                    self.app.call_from_thread(self._progress, last)
                    due = time.monotonic() + 0.1
        finally:
            steps.close()  # what came in so far is one group
            self.app.call_from_thread(self._copied, plan, last)

    def _progress(self, step: CopyProgress) -> None:
        share = step.done / step.total if step.total else 1.0
        self.say(
            [
                [*bar([(share, "accent")], 40), (f" {step.done:,}/{step.total:,}", "text")],
                [(printable(step.current.name) if step.current is not None else "", "muted")],
                [("Esc stops; what is copied stays, and u takes it out again", "muted")],
            ]
        )

    def _copied(self, plan: Relocation, last: CopyProgress | None) -> None:
        self._copying = None
        done = printable(plan.label) if last is not None and last.group is not None else "copying stopped"
        did(self.app, last.group if last is not None else None, done)
        if self.is_attached:
            self.dismiss(None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        super().on_worker_state_changed(event)
        if event.worker.group == "copy" and event.state is WorkerState.ERROR and event.worker.error is not None:
            self.app.report(event.worker.error)

    def action_cancel(self) -> None:
        if self._copying is not None:
            self._copying.cancel()
        else:
            super().action_cancel()


def _places(workspace: Workspace) -> list[str]:
    """`DATASET/SUBSET` of all there are."""
    from core.dataset.scan import LOOSE, subsets

    found = []
    for name in workspace.dataset_names():
        try:
            found += [f"{name}/{each.name}" for each in subsets(workspace.train_data / name) if each.name != LOOSE]
        except UserError:  # it went away
            continue
    return found


def ask_to_move(app: KohyaApp, row: Row | None) -> None:
    """Ask where the marked images of the list go, or the one of `row`."""
    collection = app.collection
    if collection is None:
        return
    numbers = collection.marked_numbers()
    if not numbers and row is not None:
        numbers.append(row.number)
    if numbers:
        app.push_screen(MoveDialog(collection, numbers))
