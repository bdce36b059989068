"""One operation on all captions that have a tag: planned on a thread, shown before it is done, one undo."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.widget import Widget

from core.text import count_of, printable
from tui.screens.dialogs import Confirm
from tui.theme import Cells
from tui.widgets.line import Lines

if TYPE_CHECKING:
    from core.dataset.batch import Plan
    from core.dataset.groups import EditGroup
    from core.dataset.operations import Operation
    from tui.collection import Collection
    from tui.screens.tags import TagsScreen

EXAMPLES = 4
EVERY = 0.1
_KINDS = {"same": "muted", "gone": "bad strike", "new": "good"}


class Preview(Confirm):
    """Yes or no, below some captions as they would be."""

    def __init__(self, title: str, made: Plan, yes: str) -> None:
        super().__init__(title, " · ".join([*made.summary(), "u brings it back"]), yes)
        from core.dataset.batch import pieces, shortened

        self._lines: list[Cells] = []
        for path, old, new in made.examples(EXAMPLES):
            self._lines.append([(printable(path.name), "text bold")])
            marked = shortened(pieces(old, new), 16)
            self._lines.append([("  ", "text"), *((printable(text), _KINDS[kind]) for kind, text in marked)])

    def compose_dialog(self) -> Iterable[Widget]:
        panel = Lines(self._lines, on="surface", id="examples")
        panel.styles.height = len(self._lines)
        panel.styles.margin = (0, 0, 1, 0)
        yield panel
        yield from super().compose_dialog()


async def change_everywhere(screen: TagsScreen, operation: Operation, tags: Sequence[str]) -> bool:
    """Do it in every caption of the dataset that has one of `tags`, after a yes. False when nothing was done."""
    from core.dataset import batch
    from core.dataset.operations import label_of
    from tui.bulk import carry_out

    app = screen.app
    collection = app.collection
    if collection is None:
        return False
    if not collection.is_complete:
        screen.notify("The captions are still being read: wait until all of them are known.", markup=False)
        return False
    made: Plan | None = None
    try:
        screen.say("looking at the captions…")
        made = await asyncio.to_thread(_planned, screen, collection, operation, tags)
    finally:
        screen.say("")
    what = printable(label_of(operation))
    for problem in made.problems[:3]:
        screen.notify(printable(f"{problem.where}: {problem.message}"), severity="warning", markup=False)
    if not made.edits:
        screen.notify(f"{what}: {', '.join(made.summary())}", markup=False)
        return False
    title = f"{what[:1].upper()}{what[1:]} in {count_of(len(made.edits), 'caption')}?"
    if await app.push_screen_wait(Preview(title, made, "Do it")) != "yes":
        return False
    plan, workspace, where = made, collection.workspace, printable(collection.name)

    def done(group: EditGroup) -> None:
        from tui.opening import files_changed

        screen.say("")
        app.undoing.wrote(group)
        for conflict in group.conflicts[:3]:
            app.notify(f"{printable(conflict.path.name)} {conflict.reason}", severity="warning", markup=False)
        files_changed(app, [edit.path for edit in plan.edits])

    def failed(error: Exception) -> None:
        screen.say("")
        app.report(error)

    screen.say("writing…")
    carry_out(app, what, lambda: batch.applying(workspace, plan, where), done, failed, lambda: screen.say(""))
    return True


def _planned(screen: TagsScreen, collection: Collection, operation: Operation, tags: Sequence[str]) -> Plan:
    from core.dataset import batch
    from core.dataset.tag_columns import IndexedTags

    index = collection.index
    paths = [index.caption_path(number) for number in IndexedTags(index).images_of(tags)]
    told = time.monotonic()
    for step in batch.plan(paths, operation):
        if isinstance(step, batch.Plan):
            return step
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            screen.app.call_from_thread(screen.say, f"looked at {step.done:,} of {step.total:,} captions")
    raise AssertionError("a plan ends with the Plan")
