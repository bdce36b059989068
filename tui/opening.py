"""Opening a dataset for the screens: read on a thread, shown as it comes, read anew when files changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.worker import get_current_worker

from core.dataset.marks import marks_folder, read_reviewed
from core.dataset.model import is_image_name
from tui.collection import Collection, Facts, Row, newer_facts

if TYPE_CHECKING:
    from tui.app import KohyaApp


def ensure(app: KohyaApp) -> Collection | None:
    """The collection of the active dataset; begins to read it when it is not open yet. None without a dataset."""
    if app.workspace is None or app.active_dataset is None:
        app.collection = None
    elif app.collection is None or app.collection.name != app.active_dataset:
        app.collection = collection = Collection(app.workspace, app.active_dataset, read_reviewed(app.workspace))
        app.run_worker(
            lambda: _read(app, collection), thread=True, exclusive=True, group="collection", exit_on_error=False
        )
        app.collection_signal.publish("opened")
    return app.collection


def _read(app: KohyaApp, collection: Collection) -> None:
    worker = get_current_worker()
    for items in collection.items():
        if worker.is_cancelled:
            return
        app.call_from_thread(_took, app, collection, collection.add, items, "items")
    for facts in collection.facts(list(collection.rows)):
        if worker.is_cancelled:
            return
        app.call_from_thread(_took, app, collection, collection.take, facts, "facts")
    app.call_from_thread(_took, app, collection, lambda _: collection.complete(), None, "complete")


def _took(app: KohyaApp, collection: Collection, take: Callable[[Any], None], value: Any, what: str) -> None:
    take(value)
    if app.collection is collection:
        app.collection_signal.publish(what)


def reload(app: KohyaApp) -> None:
    """Read the whole dataset again and put it in the place of the old one at once; marks, filter and order stay."""
    old = app.collection
    if old is None or not old.is_complete:
        return
    new = Collection(old.workspace, old.name, read_reviewed(old.workspace))

    def read() -> None:
        worker = get_current_worker()
        for items in new.items():
            new.add(items)
            if worker.is_cancelled:
                return
        for facts in new.facts(new.rows):
            new.take(facts)
            if worker.is_cancelled:
                return
        app.call_from_thread(swap)

    def swap() -> None:
        if app.collection is not old:
            return
        marked = {row.key for row in old.rows if row.marked}
        for row in new.rows:
            row.marked = row.key in marked
        new.choose(old.query, order=old.order, subset=old.subset)
        new.is_complete = True
        app.collection = new
        app.collection_signal.publish("complete")

    app.run_worker(read, thread=True, exclusive=True, group="collection", exit_on_error=False)


def files_changed(app: KohyaApp, paths: Iterable[Path]) -> None:
    """These files are others now because we wrote them: show it, and tell the other screens."""
    paths = tuple(paths)
    if any(is_image_name(path.name) for path in paths) and settle(app):
        tell(app)
        return
    collection = app.collection
    if collection is None:
        return
    marks = marks_folder(collection.workspace)
    if any(is_image_name(path.name) for path in paths):
        reload(app)
    else:
        if remarked := any(path.parent == marks for path in paths):
            collection.mark_reviewed(read_reviewed(collection.workspace))
        if collection.reread(paths) or remarked:
            app.collection_signal.publish("rows")
    tell(app)


def look_again(app: KohyaApp, row: Row | None) -> None:
    """Show what somebody else wrote into the caption of the image that is seen; a `stat` on a thread when it is so."""
    collection = app.collection
    if row is None or collection is None or not row.is_read or app.writer.pending:
        return
    shown = row.caption

    def look() -> None:
        if (facts := newer_facts(row)) is not None:
            app.call_from_thread(took, facts)

    def took(facts: Facts) -> None:
        if app.collection is not collection or row.caption is not shown or app.writer.pending:
            row.stamp = None  # we changed it ourselves meanwhile: look again later
            return
        collection.take([(row, facts)])
        app.collection_signal.publish("rows")

    app.run_worker(look, thread=True, group="look again", exit_on_error=False)


def settle(app: KohyaApp) -> bool:
    """Go to the nearest dataset when the open one is gone, or to the first when none was open. True when it moved."""
    from core.files import natural_key

    if app.workspace is None:
        return False
    names, old = app.workspace.dataset_names(), app.active_dataset
    if old in names or (old is None and not names):
        return False
    after = [name for name in names if old is None or natural_key(name) > natural_key(old)]
    near = after[0] if after else names[-1] if names else None
    if near is None:
        app.collection = None
    app.active_dataset = near
    return True


def tell(app: KohyaApp) -> None:
    """Publish `dataset_changed` for what our own collection knows already."""
    app.knows_change = True
    app.dataset_changed.publish(app.active_dataset or "")
    app.knows_change = False
