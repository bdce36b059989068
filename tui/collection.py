"""The dataset that is open: its images in order, what was read of them so far, what is filtered and marked.

Dataset and Review look at the same one. Plain data: no screen is known here, and the files stay the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING

from core.dataset import captions, scan
from core.dataset.model import ImageItem, Subset, is_image_name
from core.files import natural_key
from core.problems import Problem, Severity, UserError
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.dataset import filters

CHUNK = 250
"""Images read between two messages to the screen."""
ORDERS = {
    "name": "by folder and name",
    "tags": "fewest tags first",
    "size": "fewest pixels first",
    "bytes": "smallest file first",
    "changed": "newest first",
}


class Row:
    """One image as it is shown. `caption` and `size` are None until they were read (`is_read`)."""

    __slots__ = ("caption", "error", "is_read", "item", "key", "marked", "reviewed", "size", "stamp", "tags")

    def __init__(self, item: ImageItem, key: str, reviewed: bool) -> None:
        self.item, self.key, self.reviewed = item, key, reviewed
        self.caption: str | None = None
        self.tags: tuple[str, ...] = ()
        self.size: tuple[int, int] | None = None
        self.error: str | None = None
        self.is_read = False
        self.marked = False
        self.stamp: tuple[int, int, int] | None = None
        """Of the caption file when `newer_facts` looked at it last."""

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def tag_keys(self) -> frozenset[str]:
        return frozenset(map(captions.tag_key, self.tags))

    @property
    def is_untagged(self) -> bool:
        """Nothing to train on in its caption, as far as that is known (`captions.has_no_tag`)."""
        return not self.tags and self.error is None and (self.is_read or not self.item.has_caption)

    @property
    def states(self) -> tuple[str, ...]:
        facts = (
            ("untagged", self.is_untagged),
            ("reviewed", self.reviewed),
            ("marked", self.marked),
            ("broken", self.error is not None or (self.is_read and self.size is None)),
        )
        return tuple(name for name, holds in facts if holds)

    def take(self, facts: Facts) -> None:
        """What was read of the files becomes what is shown."""
        self.caption, self.size, self.error, self.is_read = facts.caption, facts.size, facts.error, True
        self.tags = tuple(map(intern, captions.split(facts.caption))) if facts.caption else ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files of one image say: the caption (None: no file), the size in pixels (None: unreadable)."""

    caption: str | None
    size: tuple[int, int] | None
    error: str | None = None


def read_facts(item: ImageItem) -> Facts:
    """Reads a caption and an image's header; never raises for what is in the files."""
    caption, error = _read_caption(item)
    return Facts(caption, scan.image_size(item.path), error)


def _read_caption(item: ImageItem) -> tuple[str | None, str | None]:
    try:
        data = captions.read_bytes(item.caption_path)
        return None if data is None else captions.decode(data, item.caption_path), None
    except UserError as problem:
        return None, problem.message


def newer_facts(row: Row) -> Facts | None:
    """What the caption says when somebody changed its file since it was read, None when it is as it was.

    One `stat` when nothing changed; a thread may do it.
    """
    import os

    path = row.item.caption_path
    try:
        facts = os.stat(path)  # noqa: PTH116 (called for each rest of the cursor)
        stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    except OSError:
        stamp = (0, 0, 0)
    if stamp == row.stamp:
        return None
    row.stamp = stamp
    caption, error = _read_caption(row.item)
    return Facts(caption, row.size, error) if (caption, error) != (row.caption, row.error) else None


class Collection:
    """`shown` are the rows that pass the filter, in the order chosen."""

    def __init__(self, workspace: Workspace, name: str, reviewed: Iterable[str] = ()) -> None:
        self.workspace, self.name = workspace, name
        self.rows: list[Row] = []
        self.shown: list[Row] = []
        self.scanned: list[Problem] = []
        self.is_complete = False
        """Every caption has been read."""
        self.query, self.order, self.subset = "", "name", ""
        self._test: filters.Test | None = None
        self._reviewed = set(reviewed)
        self._by_caption: dict[Path, Row] = {}
        self._counts: Counter[str] | None = None

    # Reading; `items` and `facts` run on a thread, the others on the screen's

    def items(self) -> Iterator[scan.ScanBatch]:
        """The images by name, as fast as the folders can be listed."""
        return scan.scan(self.workspace, self.name)

    def facts(self, rows: Sequence[Row]) -> Iterator[list[tuple[Row, Facts]]]:
        """What is in the files, some hundred images at a time."""
        for start in range(0, len(rows), CHUNK):
            yield [(row, read_facts(row.item)) for row in rows[start : start + CHUNK]]

    def add(self, batch: scan.ScanBatch) -> None:
        """More images are known by name."""
        self.scanned.extend(batch.problems)
        new = [Row(item, key, key in self._reviewed) for item in batch.items for key in (item.key(self.workspace),)]
        self.rows.extend(new)
        self._by_caption.update((row.item.caption_path, row) for row in new)
        if self._test is None and not self.subset and self.order == "name":
            self.shown.extend(new)

    def take(self, batch: Iterable[tuple[Row, Facts]]) -> None:
        """Their files were read."""
        for row, facts in batch:
            row.take(facts)
        self._counts = None

    def complete(self) -> None:
        """All is read: filter and order hold for every image now."""
        self.is_complete = True
        self.arrange()

    def reread(self, paths: Iterable[Path]) -> list[Row]:
        """Read the captions at `paths` again (after an undo, or a change by somebody else)."""
        changed = [row for path in paths if (row := self._by_caption.get(path)) is not None]
        self.take((row, read_facts(row.item)) for row in changed)
        return changed

    # The view

    def choose(self, query: str | None = None, *, order: str | None = None, subset: str | None = None) -> None:
        """Another filter, order or subset. Raises FilterError and leaves the view as it was."""
        if query is not None:
            from core.dataset import filters

            self._test = filters.parse(query) if query.strip() else None
            self.query = query.strip()
        self.order = order or self.order
        self.subset = self.subset if subset is None else subset
        self.arrange()

    def arrange(self) -> None:
        """Filter and sort again."""
        rows = [row for row in self.rows if not self.subset or row.item.subset == self.subset]
        if self._test is not None:
            rows = list(filter(self._test, rows))
        match self.order:
            case "tags":
                rows.sort(key=lambda row: len(row.tags))
            case "size":
                rows.sort(key=lambda row: row.size[0] * row.size[1] if row.size else 0)
            case "bytes":
                rows.sort(key=lambda row: row.item.bytes)
            case "changed":
                rows.sort(key=lambda row: -row.item.mtime_ns)
        self.shown = rows

    def place_of(self, row: Row) -> int:
        """Where the row stands among the shown ones, -1 when the filter hides it."""
        try:
            return self.shown.index(row)
        except ValueError:
            return -1

    def row_of(self, path: Path) -> Row | None:
        """The row of an image file."""
        return self._by_caption.get(path.with_suffix(".txt"))

    def find(self, where: str) -> Row | None:
        """The row that a problem's `where` names: an image, its caption, or the first one in a folder."""
        path = self.workspace.root / where
        return next((row for row in self.rows if path in (row.item.path, row.item.caption_path)), None) or next(
            (row for row in self.rows if row.item.path.parent == path), None
        )

    # Facts about the whole

    def untagged(self) -> int:
        """Images without a tag, as far as that is known."""
        return sum(row.is_untagged for row in self.rows)

    def tag_counts(self) -> Counter[str]:
        """How many images have each tag (as first spelled)."""
        if self._counts is None:
            spelled: dict[str, str] = {}
            counts: Counter[str] = Counter()
            for row in self.rows:
                for tag in row.tags:
                    counts[spelled.setdefault(captions.tag_key(tag), tag)] += 1
            self._counts = counts
        return self._counts

    def problems(self) -> tuple[Problem, ...]:
        """What the folders, the captions and the image files have against being trained on."""
        found = list(self.scanned)
        for row in self.rows:
            if row.error is not None:
                found.append(Problem(Severity.ERROR, "KT141", row.key, row.error, "Save the caption as UTF-8 text."))
            if row.is_read and row.size is None:
                hint = "Replace it, or move it to the trash (D)."
                found.append(Problem(Severity.ERROR, "KT142", row.key, "is not an image that can be read", hint))
        return tuple(found)

    def mark_reviewed(self, keys: Iterable[str]) -> None:
        """These images, and no others, are marked as reviewed."""
        self._reviewed = set(keys)
        for row in self.rows:
            row.reviewed = row.key in self._reviewed

    def forget_counts(self) -> None:
        """A caption changed."""
        self._counts = None

    def drop(self, rows: Iterable[Row]) -> None:
        """These images are gone."""
        gone = set(map(id, rows))
        self.rows = [row for row in self.rows if id(row) not in gone]
        self.shown = [row for row in self.shown if id(row) not in gone]
        self._counts = None


def subsets_with_counts(workspace: Workspace, name: str) -> list[tuple[Subset, int]]:
    """The subsets of a dataset, each with the number of its images; none when the folder cannot be read."""
    try:
        found = scan.subsets(workspace.train_data / name)
    except UserError:
        return []
    return [(subset, _count(subset.path)) for subset in sorted(found, key=lambda each: natural_key(each.name))]


def _count(folder: Path) -> int:
    import os

    try:
        with os.scandir(folder) as entries:
            return sum(is_image_name(entry.name) for entry in entries)
    except OSError:
        return 0
