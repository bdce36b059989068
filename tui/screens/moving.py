"""The dialogs that move files about: images into another subset, and a subset to other repeats.

Each shows what would happen while it is filled in. What is done is one group that `u` takes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState, get_current_worker

from core.problems import UserError
from core.text import count_of, printable
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.gauges import bar, wrapped
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut
from tui.widgets.path_input import PathInput

if TYPE_CHECKING:
    from core.config.moved_folders import FollowedFolder
    from core.dataset.groups import EditGroup
    from core.dataset.model import Subset
    from core.dataset.relocate import CopyProgress, Relocation, RepeatsPlan
    from core.workspace import Workspace
    from tui.app import KohyaApp
    from tui.collection import Collection, Row

REST = 0.25
"""Seconds without a key before the plan is made anew."""
WAYS = (("move", "with captions and caches"), ("copy", "the originals stay where they are"))


class _Ways(Texts):
    """A dot before the way that is chosen."""

    def __init__(self) -> None:
        super().__init__([[(f"{way:<8}", "text"), (why, "muted")] for way, why in WAYS])
        self.chosen = 0

    def cells(self, index: int, width: int) -> Cells:
        return [("● " if index == self.chosen else "  ", "accent"), *super().cells(index, width)]


class _Planned(Dialog[None]):
    """A dialog whose plan is made on a thread while its fields change; Enter carries it out."""

    def __init__(self, title: str, keys: str) -> None:
        super().__init__(title, keys)
        self._soon: Timer | None = None
        self._planning: Worker[None] | None = None
        self._plan: Any = None

    def make_plan(self) -> Callable[[], Any] | None:
        """What to do on a thread for the fields as they are; None while there is nothing to plan."""
        raise NotImplementedError

    def plan_lines(self, plan: Any) -> tuple[list[Cells], bool]:
        """What is shown of the plan, and whether there is anything to carry out."""
        raise NotImplementedError

    def carry_out(self, plan: Any) -> None:
        """Enter on a plan."""
        raise NotImplementedError

    def compose_plan(self) -> Iterable[Widget]:
        """The last two widgets of the dialog."""
        yield Static(id="wrong")
        yield Lines(id="plan", on="surface")

    def on_mount(self) -> None:
        self.query(Input).first().focus()
        self._look()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.plan_anew()

    def plan_anew(self) -> None:
        """A field is another one: what was planned no longer holds."""
        self._plan = None
        if self._soon is not None:
            self._soon.stop()
        self._soon = self.set_timer(REST, self._look)

    def _look(self) -> None:
        make = self.make_plan()
        self._plan = None
        if make is None:
            if self._planning is not None:
                self._planning.cancel()
            self.wrong("")
            self.say([])
            return

        def work() -> None:
            worker = get_current_worker()
            plan = make()
            if not worker.is_cancelled:
                self.app.call_from_thread(self._planned, worker, plan)

        self._planning = self.run_worker(work, thread=True, exclusive=True, group="plan", exit_on_error=False)

    def _planned(self, worker: Worker[None], plan: Any) -> None:
        if worker is self._planning and self.is_attached:
            lines, is_any = self.plan_lines(plan)
            self._plan = plan if is_any else None
            self.wrong("")
            self.say(lines)

    @on(Input.Submitted)
    @on(ItemList.Opened)
    def _take(self) -> None:
        if self._plan is not None:
            plan, self._plan = self._plan, None
            self.carry_out(plan)
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


class MoveDialog(_Planned):
    """Into which subset the images (numbers of the collection's index) go, moved or copied."""

    def __init__(self, collection: Collection, numbers: Sequence[int]) -> None:
        super().__init__(
            f"Move {count_of(len(numbers), 'image')}", "tab completes, then next field   ⏎ do it   Esc back"
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

    def make_plan(self) -> Callable[[], Relocation] | None:
        from core.dataset.relocate import plan_move, target_folder

        to, is_copy = self.query_one("#to", Input).value.strip(), self._ways.chosen == 1
        workspace, index, numbers = self._collection.workspace, self._collection.index, self._numbers
        if not to:
            self.call_after_refresh(self._list_places)
            return None

        def plan() -> Relocation:
            target = target_folder(workspace, to)
            return plan_move(workspace, [index.path(number) for number in numbers], target, copy=is_copy)

        return plan

    def _list_places(self) -> None:
        """Where they could go, as long as nothing is typed."""
        if self._places and not self.query_one("#to", Input).value.strip():
            text = ", ".join(map(printable, self._places))
            lines = wrapped(f"There are {text}. A new one begins with its repeats: rinni/10_rinni.", 70, 4)
            self.say([[(line, "muted")] for line in lines])

    def plan_lines(self, plan: Relocation) -> tuple[list[Cells], bool]:
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
            parts = _wrap(f"{skip.path.name}: {skip.reason}")
            lines += [[("not " if at == 0 else "    ", "caution"), (part, "text")] for at, part in enumerate(parts)]
        if len(plan.skipped) > 4:
            lines.append([(f"and {len(plan.skipped) - 4:,} more that stay", "muted")])
        lines.append(
            [(f"⏎ {'copies' if plan.way == 'copy' else 'moves'} them" if images else "Nothing to do.", "accent")]
        )
        return lines, images > 0

    def carry_out(self, plan: Relocation) -> None:
        if plan.way == "copy":
            self._copying = self.run_worker(
                lambda: self._copy(plan), thread=True, exclusive=True, group="copy", exit_on_error=False
            )
            return
        from core.dataset.relocate import relocate
        from core.runs.in_use import refuse_in_use

        app, workspace = self.app, self._collection.workspace

        def work() -> EditGroup:
            refuse_in_use(workspace, [source for source, _ in plan.images])
            return relocate(workspace, plan)

        def done(group: EditGroup) -> None:
            _did(app, group, printable(plan.label))

        app.notify(f"{printable(plan.label)}…", markup=False, timeout=2)
        app.writer.submit(work, done, app.report)
        self.dismiss(None)

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
        _did(self.app, last.group if last is not None else None, done)
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


class RepeatsDialog(_Planned):
    """How often the images of a subset come in an epoch: its folder gets another name, and configs follow."""

    def __init__(self, workspace: Workspace, dataset: str, subset: str, repeats: int) -> None:
        super().__init__(f"Repeats of {dataset}/{subset}", "⏎ do it   Esc back")
        self._workspace, self._target, self._repeats = workspace, f"{dataset}/{subset}", repeats

    def compose_dialog(self) -> Iterable[Widget]:
        field = Input(str(self._repeats), restrict="[0-9]*", max_length=5, id="repeats")
        yield Horizontal(Static("Repeats", classes="label"), field, classes="field")
        yield from self.compose_plan()

    def make_plan(self) -> Callable[[], tuple[RepeatsPlan, FollowedFolder]] | None:
        text = self.query_one("#repeats", Input).value
        return None if not text else lambda: _plan_repeats(self._workspace, self._target, int(text))

    def plan_lines(self, plan: tuple[RepeatsPlan, FollowedFolder]) -> tuple[list[Cells], bool]:
        folder, followed = plan
        is_renamed = folder.old != folder.new
        if not is_renamed and not followed.edits:
            return [
                [(f"{printable(folder.old.name)} has {count_of(folder.repeats, 'repeat')} already", "muted")]
            ], False
        lines: list[Cells] = []
        if is_renamed:
            old, new = printable(folder.old.name), printable(folder.new.name)
            lines.append([(f"{old} → ", "text"), (new, "second")])
        lines += [[(f"configs/{printable(name)} follows", "text")] for name in followed.configs[:4]]
        if len(followed.configs) > 4:
            lines.append([(f"and {len(followed.configs) - 4} more configs", "text")])
        for note in followed.notes[:3]:
            lines += [[("! " if at == 0 else "  ", "caution"), (part, "text")] for at, part in enumerate(_wrap(note))]
        lines.append([("⏎ does it", "accent")])
        return lines, True

    def carry_out(self, plan: tuple[RepeatsPlan, FollowedFolder]) -> None:
        from core.dataset.relocate import change_repeats
        from core.runs.in_use import refuse_in_use

        app, workspace, target, number = self.app, self._workspace, self._target, plan[0].repeats

        def work() -> tuple[EditGroup, str, str]:
            folder, followed = _plan_repeats(workspace, target, number)
            refuse_in_use(workspace, [folder.old / "any"], waiting=True)
            return change_repeats(workspace, folder, followed.edits), folder.old.name, folder.label

        def done(result: tuple[EditGroup, str, str]) -> None:
            group, old, label = result
            if app.collection is not None and app.collection.asked.subset == old:
                from tui import opening

                opening.choose(app, subset="")  # a subset of that name is no longer there
            _did(app, group, printable(label))

        app.writer.submit(work, done, app.report)
        self.dismiss(None)


def _wrap(text: str) -> list[str]:
    return wrapped(printable(text), 68, 3)


def _plan_repeats(workspace: Workspace, target: str, number: int) -> tuple[RepeatsPlan, FollowedFolder]:
    from core.config.moved_folders import follow_folder
    from core.dataset.relocate import plan_repeats

    plan = plan_repeats(workspace, target, number)
    return plan, follow_folder(workspace, plan.old, plan.new, number)


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


def _did(app: KohyaApp, group: EditGroup | None, label: str) -> None:
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


def ask_to_move(app: KohyaApp, row: Row | None) -> None:
    """Ask where the marked images of the list go, or the one of `row`."""
    collection = app.collection
    if collection is None:
        return
    numbers: list[int] = []
    if collection.marked_count():
        numbers = [number for number in collection.shown.numbers if collection.marked[number]]
    if not numbers and row is not None:
        numbers = [row.number]
    if numbers:
        app.push_screen(MoveDialog(collection, numbers))


async def ask_repeats(app: KohyaApp, row: Row | None, entry: tuple[str, Subset | None, int] | None) -> None:
    """Ask for the repeats of a row of the tree (dataset, subset), or else of the subset that the image is in.

    A dataset stands for its first subset.
    """
    workspace, collection = app.workspace, app.collection
    if workspace is None or collection is None:
        return
    name, subset = collection.name, None
    if entry is not None:
        import asyncio

        from core.dataset.scan import subsets

        name, subset, _ = entry
        if subset is None:
            subset = next(iter(await asyncio.to_thread(subsets, workspace.train_data / name)), None)
    elif row is not None:
        subset = collection.index.subset_of(row.number)
    if subset is not None:
        app.push_screen(RepeatsDialog(workspace, name, subset.name, subset.repeats))
