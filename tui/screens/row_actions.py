"""What Dataset does to many images and Review to one: mark as reviewed, move to the trash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.text import count_of

if TYPE_CHECKING:
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
    from tui.trash import trash_images

    if not rows or app.workspace is None:
        return False
    names = ", ".join(row.name for row in rows[:3]) + (f" and {len(rows) - 3:,} more" if len(rows) > 3 else "")
    text = "with its caption. u brings it back." if len(rows) == 1 else "with their captions. u brings them back."
    title, yes = f"Move {count_of(len(rows), 'image')} to the trash?", "Move to the trash"
    if await app.push_screen_wait(Confirm(title, f"{names}, {text}", yes)) != "yes":
        return False
    trash_images(app, rows)
    return True
