"""What Dataset does to many images and Review to one: mark as reviewed, move to the trash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.text import count_of, printable

if TYPE_CHECKING:
    from core.dataset.edits import Stepwise
    from core.dataset.groups import EditGroup
    from tui.app import KohyaApp
    from tui.collection import Row


def mark_as_reviewed(app: KohyaApp, rows: Sequence[Row], on: bool = True) -> None:
    """Shown at once, written behind it."""
    from core.dataset.marks import mark_reviewed

    workspace, keys = app.workspace, [row.key for row in rows]
    if keys and workspace is not None:
        for row in rows:
            row.reviewed = on
        app.writer.submit(lambda: mark_reviewed(workspace, keys, on), app.undoing.wrote, app.report)


async def ask_to_trash(app: KohyaApp, rows: Sequence[Row]) -> bool:
    """Move the images to the trash after a yes; False when there are none, or for a no."""
    from tui.screens.dialogs import Confirm

    if not rows or app.workspace is None:
        return False
    names = ", ".join(row.name for row in rows[:3]) + (f" and {len(rows) - 3:,} more" if len(rows) > 3 else "")
    text = "with its caption. u brings it back." if len(rows) == 1 else "with their captions. u brings them back."
    title, yes = f"Move {count_of(len(rows), 'image')} to the trash?", "Move to the trash"
    if await app.push_screen_wait(Confirm(title, f"{names}, {text}", yes)) != "yes":
        return False
    _trash(app, rows)
    return True


def _trash(app: KohyaApp, rows: Sequence[Row]) -> None:
    """To `.kohya-tui/trash/` with their captions and caches, as one group that `u` brings back.

    They leave the screen at once; what cannot be moved comes back and is told.
    """
    from core.dataset.relocate import plan_trash, relocating
    from core.runs.in_use import refuse_in_use
    from tui import opening
    from tui.bulk import carry_out

    workspace, collection = app.workspace, app.collection
    assert workspace is not None and collection is not None
    images = [row.item.path for row in rows]
    collection.drop(rows)
    app.collection_signal.publish("rows")

    def done(group: EditGroup) -> None:
        app.undoing.wrote(group)
        for conflict in group.conflicts:
            app.notify(f"{printable(str(conflict.path))} {conflict.reason}", severity="warning", markup=False)
        opening.reload(app)
        opening.tell(app)

    def failed(error: Exception) -> None:
        app.report(error)
        opening.reload(app)

    def trash() -> Stepwise[EditGroup]:
        refuse_in_use(workspace, images)
        return relocating(workspace, plan_trash(workspace, images))

    title = f"{count_of(len(images), 'image')} to the trash"
    carry_out(app, title, trash, done, failed, lambda: opening.reload(app))
