"""Images that are not wanted: moved to `.kohya-tui/trash/` with their captions, as one group that `u` brings back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.text import count_of, printable

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup
    from tui.app import KohyaApp
    from tui.collection import Row


def trash_images(app: KohyaApp, rows: Sequence[Row]) -> None:
    """Takes them off the screen at once; what cannot be moved comes back and is told."""
    from core.dataset.changes import Move
    from tui import opening

    workspace, collection, journal = app.workspace, app.collection, app.journal
    assert workspace is not None and collection is not None
    moves = []
    for row in rows:
        for path in (row.item.path, row.item.caption_path):
            if path.exists():
                moves.append(Move(path, workspace.own / "trash" / "images" / workspace.key_of(path).lstrip("/")))
    label = f"move {count_of(len(rows), 'image')} to the trash"
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

    app.writer.submit(lambda: journal.apply(label, moves, kind="trash"), done, failed)
