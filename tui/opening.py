"""Opening a dataset for the screens: read on a thread, shown as it comes, read anew when files changed."""

from __future__ import annotations

import time
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.worker import get_current_worker

from core.dataset.chunks import Chunk, Names
from core.dataset.marks import marks_folder, read_reviewed
from core.dataset.model import is_image_name
from core.dataset.reading import Listed, Piece
from core.problems import UserError
from core.workspace import Workspace
from tui.collection import Collection, View
from tui.rows import Facts, Row, newer_facts, read_facts

if TYPE_CHECKING:
    from core.dataset.filter_match import Sources
    from tui.app import KohyaApp

TOGETHER = 16
"""Pieces that go to the screen in one message: each takes up to 1.5 ms of it."""
EVERY = 0.05
FEW = 50
"""Captions that are read again on the screen's thread."""
MANY = 2000
"""Changed files from which on the whole dataset is read anew, by a process of its own, instead of each of them."""


def ensure(app: KohyaApp) -> Collection | None:
    """The collection of the active dataset; begins to read it when it is not open yet. None without a dataset."""
    if app.workspace is None or app.active_dataset is None:
        app.collection = None
    elif app.collection is None or app.collection.name != app.active_dataset:
        app.collection = collection = new_collection(app, app.workspace, app.active_dataset)
        # A worker is a circle: what it holds stays until Python's collector comes by, here 100 MB.
        opened = weakref.ref(collection)
        app.run_worker(
            lambda: _read(app, opened()), thread=True, exclusive=True, group="collection", exit_on_error=False
        )
        app.collection_signal.publish("opened")
    return app.collection


def new_collection(app: KohyaApp, workspace: Workspace, name: str) -> Collection:
    """A dataset of which nothing is read yet."""
    collection = Collection(workspace, name, read_reviewed(workspace))

    def sources(collection: Collection) -> Sources:
        from core.cli.filter_sources import sources_of

        return sources_of(collection.index, app.active_config)

    collection.sources = sources
    return collection


def _read(app: KohyaApp, collection: Collection | None) -> None:
    worker = get_current_worker()
    if collection is None:
        return
    try:
        for some in _gathered(collection.pieces(lambda: not worker.is_cancelled)):
            if worker.is_cancelled:
                return
            app.call_from_thread(_took, app, collection, some)
    except UserError as error:  # the folder went away
        app.call_from_thread(app.report, error)
    app.call_from_thread(_completed, app, collection)
    from tui.warm import warm_up

    warm_up(lambda: not worker.is_cancelled)


def _gathered(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """At most some fifty messages a second to the screen, and the first at once."""
    waiting: list[Piece] = []
    due = 0.0
    for piece in pieces:
        waiting.append(piece)
        if len(waiting) == TOGETHER or (isinstance(piece, Names | Chunk) and time.monotonic() >= due):
            yield waiting
            waiting = []
            due = time.monotonic() + EVERY
    if waiting:
        yield waiting


def _took(app: KohyaApp, collection: Collection, pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        collection.add(piece)
    if app.collection is collection:
        if any(isinstance(piece, Names | Listed) for piece in pieces):
            app.collection_signal.publish("items")
        if any(isinstance(piece, Chunk) for piece in pieces):
            app.collection_signal.publish("facts")


def _completed(app: KohyaApp, collection: Collection) -> None:
    collection.complete()
    if app.collection is not collection:
        return
    if collection.asked.is_whole:
        app.collection_signal.publish("complete")
    else:
        choose(app, then=lambda: app.collection_signal.publish("complete"))


def choose(
    app: KohyaApp,
    query: str | None = None,
    *,
    order: str | None = None,
    subset: str | None = None,
    then: Callable[[], object] | None = None,
    failed: Callable[[UserError], object] | None = None,
) -> None:
    """`Collection.choose` on a thread: `then()` when it is shown, `failed` when it cannot be answered.

    What is asked for next takes the place of what is not answered yet. Raises FilterError at once for a query that
    cannot be read; the list stays as it was then.
    """
    collection = app.collection
    if collection is None:
        return
    view = collection.ask(query, order=order, subset=subset)

    def shown(numbers: range | array[int]) -> None:
        if app.collection is collection and collection.asked is view:
            collection.show(view, numbers)
            if then is not None:
                then()

    def refused(error: UserError) -> None:
        if collection.asked is view:
            collection.asked = collection.view
            (failed or app.report)(error)

    def work() -> None:
        from core.dataset.filter_match import GivenUp

        try:
            numbers = collection.answer(view, lambda: collection.asked is not view)
        except GivenUp:
            return
        except UserError as error:
            app.call_from_thread(refused, error)
            return
        app.call_from_thread(shown, numbers)

    if view.is_whole:
        shown(collection.answer(view))
    else:
        app.run_worker(work, thread=True, group="filter", exit_on_error=False)


def reload(app: KohyaApp) -> None:
    """Read the whole dataset again and put it in the place of the old one at once; marks, filter and order stay."""
    if app.collection is None or not app.collection.is_complete:
        return
    before = weakref.ref(app.collection)

    def read() -> None:
        worker, old = get_current_worker(), before()
        if old is None:
            return
        new = new_collection(app, old.workspace, old.name)
        try:
            for piece in new.pieces(lambda: not worker.is_cancelled):
                new.add(piece)
        except UserError as error:  # it went away while it was open: what is known of it stays in sight
            app.call_from_thread(app.report, error)
            return
        if worker.is_cancelled:
            return
        new.complete()
        marked = [key for number, key in _keys_of(old) if old.marked[number]]
        for number in new.index.ids_of(new.workspace.root / key for key in marked):
            new.marked[number] = 1
        new.asked = view = old.asked
        try:
            numbers = new.answer(view)
        except UserError:
            numbers = range(len(new.index))
        app.call_from_thread(_swap, app, old, new, view, numbers)

    app.run_worker(read, thread=True, exclusive=True, group="collection", exit_on_error=False)


def _swap(app: KohyaApp, old: Collection, new: Collection, view: View, numbers: range | array[int]) -> None:
    if app.collection is not old:
        return
    new.show(view, numbers)
    app.collection = new
    app.collection_signal.publish("complete")
    if old.asked != view:
        new.asked = old.asked
        choose(app, then=lambda: app.collection_signal.publish("complete"))


def _keys_of(collection: Collection) -> Iterator[tuple[int, str]]:
    return ((number, collection.index.key(number)) for number, is_set in enumerate(collection.marked) if is_set)


def files_changed(app: KohyaApp, paths: Iterable[Path]) -> None:
    """These files are others now because we wrote them: show it, and tell the other screens."""
    paths = tuple(paths)
    if len(paths) > MANY:
        if not settle(app):
            reload(app)
        tell(app)
        return
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
        if remarked:
            app.collection_signal.publish("rows")
        _reread(app, collection, paths)
    tell(app)


def _reread(app: KohyaApp, collection: Collection, paths: Sequence[Path]) -> None:
    """A few files at once, many on a thread: those of a whole dataset take seconds."""
    if len(paths) <= FEW:
        if collection.reread(paths):
            app.collection_signal.publish("rows")
        return

    def took(batch: list[tuple[Row, Facts]]) -> None:
        collection.take(batch)
        if app.collection is collection:
            app.collection_signal.publish("facts")

    def read() -> None:
        numbers = collection.index.ids_of(paths)
        for start in range(0, len(numbers), FEW):
            rows = [Row(collection, number) for number in numbers[start : start + FEW]]
            app.call_from_thread(took, [(row, read_facts(row.item)) for row in rows])
        app.call_from_thread(app.collection_signal.publish, "rows")

    app.run_worker(read, thread=True, group="reread", exit_on_error=False)


def look_again(app: KohyaApp, row: Row | None) -> None:
    """Show what somebody else wrote into the caption of the image that is seen; a `stat` on a thread when it is so."""
    collection = app.collection
    if row is None or collection is None or not row.is_read or app.writer.pending:
        return
    seen, of, shown, was_gone = weakref.ref(row), weakref.ref(collection), row.caption, collection.is_gone

    def look() -> None:
        if (row := seen()) is None:
            return
        folder = row.item.path.parent
        if (is_gone := not folder.is_dir()) != was_gone:
            app.call_from_thread(went, folder, is_gone)
        elif not is_gone and (facts := newer_facts(row)) is not None:
            app.call_from_thread(took, row, facts)

    def went(folder: Path, is_gone: bool) -> None:
        if (collection := of()) is None or collection.is_gone == is_gone:
            return
        collection.is_gone = is_gone
        if is_gone:
            hint = "It was moved, or its disk is not there; what was read of it stays in sight."
            app.report(UserError(f"{folder} is gone", hint))

    def took(row: Row, facts: Facts) -> None:
        collection = app.collection
        if collection is None or collection is not of() or row.caption is not shown or app.writer.pending:
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
