"""The dataset that is open: its images in order, what was read of them so far, what is filtered and marked.

Dataset and Review look at the same one. Plain data: no screen is known here, and the files stay the truth.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from core.dataset import chunks, scan
from core.dataset.index import Index
from core.dataset.model import Subset, is_image_name
from core.dataset.pictures import MAX_PIXELS
from core.dataset.reading import Piece
from core.problems import Problem, Severity, UserError
from core.workspace import Workspace
from tui.rows import Facts, Order, Row, Rows, newer_facts, read_facts

if TYPE_CHECKING:
    from core.dataset.filter_match import Sources
    from core.dataset.filter_tree import Node

__all__ = ["Collection", "Facts", "Row", "Rows", "newer_facts", "read_facts"]


@dataclass(frozen=True, slots=True)
class View:
    """Which images are asked for, and in which order."""

    query: str = ""
    node: Node | None = None
    order: str = "name"
    subset: str = ""

    @property
    def is_whole(self) -> bool:
        """All of them by name: nothing has to be worked out."""
        return self.node is None and self.order == "name"


class Collection:
    """`shown` are the rows that pass the filter, in the order chosen."""

    def __init__(self, workspace: Workspace, name: str, reviewed: Iterable[str] = ()) -> None:
        self.workspace, self.name = workspace, name
        self.index = Index(workspace, name)
        self.is_complete = False
        """Every caption has been read."""
        self.is_gone = False
        """The folder of the image that was looked at last is not there."""
        self.marked, self.reviewed = bytearray(), bytearray()
        self.view = self.asked = View()
        """What is shown, and what was asked for last: they differ while it is worked out."""
        self.sources: Callable[[Collection], Sources] | None = None
        """Where the filter finds what the files do not say: scores, buckets, saved filters."""
        self._all = self._shown = Order(range(0))
        self._gone: set[int] = set()
        self._made: WeakValueDictionary[int, Row] = WeakValueDictionary()
        self._reviewed = set(reviewed)

    # `Rows` know their collection; kept here they would be a circle, and 100 MB would wait for Python's collector.

    @property
    def rows(self) -> Rows:
        """All images."""
        return Rows(self, self._all)

    @property
    def shown(self) -> Rows:
        """Those that the view shows."""
        return Rows(self, self._shown)

    @property
    def query(self) -> str:
        return self.view.query

    @property
    def order(self) -> str:
        return self.view.order

    @property
    def subset(self) -> str:
        return self.view.subset

    @property
    def scanned(self) -> list[Problem]:
        """What is wrong with folders and names."""
        return self.index.problems

    def row(self, number: int) -> Row:
        """The image of this number in the index."""
        row = self._made.get(number)
        if row is None:
            row = self._made[number] = Row(self, number)
        return row

    # Reading: `pieces` runs on a thread, the others on the screen's

    def pieces(self, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[Piece]:
        """What the files say, as it is read; from a process of its own when there are many."""
        from core.dataset.reading_process import following

        return following(self.workspace, self.name, is_wanted)

    def add(self, piece: Piece) -> None:
        """More is known."""
        self.index.add(piece)
        if isinstance(piece, chunks.Names):
            new = range(len(self.marked), len(self.index))
            self.marked += bytes(len(new))
            if self._reviewed:
                prefix = self.index.prefix(piece.subset)
                self.reviewed += bytes(prefix + name in self._reviewed for name in piece.names)
            else:
                self.reviewed += bytes(len(new))
            self._all = Order(range(len(self.index)))
            if self.view.is_whole:
                self._shown = self._whole(self.view)

    def complete(self) -> None:
        """All is read: filter and order hold for every image now."""
        self.index.complete()
        self.is_complete = True

    def reread(self, paths: Iterable[Path]) -> list[Row]:
        """Read the captions at `paths` again (after an undo, or a change by somebody else)."""
        changed = [self.row(number) for number in self.index.ids_of(paths)]
        self.take((row, read_facts(row.item)) for row in changed)
        return changed

    def take(self, batch: Iterable[tuple[Row, Facts]]) -> None:
        """Their files were read."""
        for row, facts in batch:
            row.take(facts)

    # The view

    def ask(self, query: str | None = None, *, order: str | None = None, subset: str | None = None) -> View:
        """Another filter, order or subset than was asked for last. Raises FilterError and leaves all as it was."""
        view = self.asked
        if query is not None:
            from core.dataset import filters

            query = query.strip()
            view = replace(view, query=query, node=filters.parse(query) if query else None)
        self.asked = replace(view, order=order or view.order, subset=view.subset if subset is None else subset)
        return self.asked

    def answer(self, view: View, stop: Callable[[], bool] = lambda: False) -> range | array[int]:
        """The numbers of the images that `view` means. May run on a thread.

        Raises FilterError for what cannot be answered, GivenUp when `stop` said so.
        """
        if view.is_whole and not self._gone:
            return self._whole(view).numbers
        import numpy as np

        from core.dataset.arrays import arrays_of
        from core.dataset.filter_match import Matcher, Sources
        from core.dataset.orders import in_order

        index = self.index
        arrays = arrays_of(index)
        sources = self.sources(self) if self.sources is not None else Sources()
        sources = replace(
            sources, stop=stop, reviewed=lambda: _set_in(self.reviewed), marked=lambda: _set_in(self.marked)
        )
        mask = np.ones(arrays.n, np.bool_) if view.node is None else Matcher(index, sources).match(view.node)
        if view.subset:
            inside = index.range_of(view.subset)
            mask[: inside.start] = mask[inside.stop :] = False
        mask[[number for number in self._gone if number < arrays.n]] = False
        numbers = in_order(index, np.flatnonzero(mask).astype(np.uint32), view.order, sources)
        return array("I", numbers.tobytes())

    def show(self, view: View, numbers: range | array[int]) -> None:
        """This is what is shown from now on."""
        self.view = view
        self._shown = self._whole(view) if isinstance(numbers, range) else Order(numbers)

    def choose(self, query: str | None = None, *, order: str | None = None, subset: str | None = None) -> None:
        """`ask`, `answer` and `show` at once. Raises FilterError and leaves the view as it was."""
        before = self.asked
        view = self.ask(query, order=order, subset=subset)
        try:
            self.show(view, self.answer(view))
        except UserError:
            self.asked = before
            raise

    def _whole(self, view: View) -> Order:
        return Order(self.index.range_of(view.subset) if view.subset else range(len(self.index)))

    def place_of(self, row: Row) -> int:
        """Where the row stands among the shown ones, -1 when the filter hides it."""
        return self.shown.place_of(row.number)

    def row_of(self, path: Path) -> Row | None:
        """The row of an image file."""
        number = self.index.id_of(path)
        return None if number is None or number in self._gone else self.row(number)

    def find(self, where: str) -> Row | None:
        """The row that a problem's `where` names: an image, its caption, or the first one in a folder."""
        path = self.workspace.root / where
        number = self.index.id_of(path)
        if number is None:
            inside = (self.index.range_of(subset.name) for subset in self.index.subsets if subset.path == path)
            number = next((numbers[0] for numbers in inside if numbers), None)
        return None if number is None else self.row(number)

    # Facts about the whole

    def untagged(self) -> int:
        """Images without a tag, as far as that is known."""
        return self.index.untagged

    def untagged_from(self, place: int, by: int) -> Row | None:
        """The next shown image without tags after `place` (`by` 1), or before it (-1)."""
        index, numbers = self.index, self.shown.numbers
        places = range(place + 1, len(numbers)) if by > 0 else range(place - 1, -1, -1)
        flags, read, is_untagged = index.flags, index.read, chunks.IS_UNTAGGED
        for at in places:  # no Row for each: a hundred thousand may stand between
            number = numbers[at]
            if flags[number] & is_untagged if number < read else not index.captioned[number]:
                return self.row(number)
        return None

    def marked_count(self) -> int:
        """Images that are marked."""
        return self.marked.count(1)

    def marked_numbers(self) -> array[int]:
        """Those of the shown ones that are marked, by their numbers."""
        if not self.marked.count(1):
            return array("I")
        import numpy as np

        numbers = _array_of(self._shown.numbers).astype(np.uint32)
        return array("I", numbers[np.frombuffer(bytes(self.marked), np.bool_)[numbers]].tobytes())

    def marked_rows(self) -> list[Row]:
        """Those of the shown ones that are marked."""
        return [self.row(number) for number in self.marked_numbers()]

    def mark(self, places: Sequence[int], on: bool | None) -> None:
        """Mark the shown rows at `places`, or take the marks off; None: the other way, off when all are marked."""
        shown = self._shown.numbers
        if len(places) == 1:
            number = shown[places[0]]
            self.marked[number] = not self.marked[number] if on is None else on
            return
        import numpy as np

        numbers = _array_of(shown)[_array_of(places)]
        marked = np.frombuffer(self.marked, np.uint8)
        marked[numbers] = not marked[numbers].all() if on is None else on

    def tag_counts(self) -> Counter[str]:
        """How often each tag stands in the captions, most first."""
        return self.index.tag_counts()

    def problems(self) -> tuple[Problem, ...]:
        """What the folders, the captions and the image files have against being trained on."""
        found = list(self.scanned)
        index = self.index
        for number in sorted(index.suspects - self._gone):
            width, height = index.size(number) or (0, 0)
            key = index.key(number)
            if (error := index.error(number)) is not None:
                found.append(Problem(Severity.ERROR, "KT141", key, error, "Save the caption as UTF-8 text."))
            if not width * height:
                hint = "Replace it, or move it to the trash (D)."
                found.append(Problem(Severity.ERROR, "KT142", key, "is not an image that can be read", hint))
            elif width * height > MAX_PIXELS:
                message = f"claims to have {width:,}×{height:,} pixels and is never decoded"
                found.append(Problem(Severity.ERROR, "KT143", key, message, "Scale it down, or leave it out."))
        return tuple(found)

    def mark_reviewed(self, keys: Iterable[str]) -> None:
        """These images, and no others, are marked as reviewed."""
        self._reviewed = set(keys)
        self.reviewed[:] = bytes(len(self.reviewed))
        for number in self.index.ids_of(self.workspace.root / key for key in self._reviewed):
            self.reviewed[number] = 1

    def drop(self, rows: Iterable[Row]) -> None:
        """These images are gone."""
        self._gone.update(row.number for row in rows)
        for number in self._gone:
            self.marked[number] = 0
        self._all, self._shown = self._without(self._all), self._without(self._shown)

    def _without(self, order: Order) -> Order:
        import numpy as np

        stays = np.ones(len(self.index), np.bool_)
        stays[list(self._gone)] = False
        numbers = _array_of(order.numbers).astype(np.uint32)
        return Order(array("I", numbers[stays[numbers]].tobytes()))


def _array_of(numbers: Sequence[int]) -> Any:
    """int64 or uint32 [n]; a range without going through it."""
    import numpy as np

    if isinstance(numbers, range):
        return np.arange(numbers.start, numbers.stop, numbers.step)
    return np.array(numbers, np.uint32 if isinstance(numbers, array) else np.int64)


def _set_in(states: bytearray) -> Iterator[int]:
    return (number for number, is_set in enumerate(bytes(states)) if is_set)


def subsets_with_counts(workspace: Workspace, name: str) -> list[tuple[Subset, int]]:
    """The subsets of a dataset, each with the number of its images; none when the folder cannot be read."""
    try:
        found = scan.subsets(workspace.train_data / name)
    except UserError:
        return []
    return [(subset, _count(subset.path)) for subset in found]


def _count(folder: Path) -> int:
    import os

    try:
        with os.scandir(folder) as entries:
            return sum(is_image_name(entry.name) for entry in entries)
    except OSError:
        return 0
