"""The dialog for the repeats of a subset: its folder is renamed, configs follow; one group that `u` takes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Static

from core.text import count_of, printable
from tui.screens.planned import PlannedDialog, Steps, Stop, did, wrap
from tui.theme import Cells

if TYPE_CHECKING:
    from core.config.moved_folders import FollowedFolder
    from core.dataset.groups import EditGroup
    from core.dataset.model import Subset
    from core.dataset.relocate import RepeatsPlan
    from core.workspace import Workspace
    from tui.app import KohyaApp
    from tui.collection import Row

RenamePlan: TypeAlias = "tuple[RepeatsPlan, FollowedFolder]"


class RepeatsDialog(PlannedDialog["RenamePlan"]):
    """How often the images of a subset come in an epoch: its folder gets another name, and configs follow."""

    def __init__(self, workspace: Workspace, dataset: str, subset: str, repeats: int) -> None:
        steps = Steps(self._make_plan, self._plan_lines, self._carry_out)
        super().__init__(f"Repeats of {dataset}/{subset}", "⏎ do it   Esc back", steps)
        self._workspace, self._target, self._repeats = workspace, f"{dataset}/{subset}", repeats

    def compose_dialog(self) -> Iterable[Widget]:
        field = Input(str(self._repeats), restrict="[0-9]*", max_length=5, id="repeats")
        yield Horizontal(Static("Repeats", classes="label"), field, classes="field")
        yield from self.compose_plan()

    def _make_plan(self) -> Callable[[Stop], RenamePlan] | None:
        text = self.query_one("#repeats", Input).value
        return None if not text else lambda _: _plan_repeats(self._workspace, self._target, int(text))

    def _plan_lines(self, plan: RenamePlan) -> tuple[list[Cells], bool]:
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
            lines += [[("! " if at == 0 else "  ", "caution"), (part, "text")] for at, part in enumerate(wrap(note))]
        lines.append([("⏎ does it", "accent")])
        return lines, True

    def _carry_out(self, plan: RenamePlan) -> None:
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
            did(app, group, printable(label))

        app.writer.submit(work, done, app.report)
        self.dismiss(None)


def _plan_repeats(workspace: Workspace, target: str, number: int) -> RenamePlan:
    from core.config.moved_folders import follow_folder
    from core.dataset.relocate import plan_repeats

    plan = plan_repeats(workspace, target, number)
    return plan, follow_folder(workspace, plan.old, plan.new, number)


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
