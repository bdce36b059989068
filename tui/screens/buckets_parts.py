"""What the buckets screen lists: the buckets and their images, sorted and drawn as rows. Knows no widget."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.bucket_report import Columns, PlacedImage, PlacedImages
from core.text import printable
from tui.theme import Cells, fit

if TYPE_CHECKING:
    from core.config.bucket_view import DatasetBuckets

MUCH = 0.1
"""The part cropped away from which on it is worth a look."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A line of the list: one bucket with its images, the most cropped first; `size` None stands for all of them."""

    size: tuple[int, int] | None
    images: Sequence[PlacedImage]
    repeats: int
    batch: int = 1
    where: str = ""

    @property
    def is_small(self) -> bool:
        return self.repeats < self.batch


@dataclass(frozen=True, slots=True)
class Measured:
    """All that is shown: `source` is the config or the resolution in words."""

    source: str
    others: tuple[str, ...]
    """The configs that could be chosen."""
    parts: tuple[DatasetBuckets, ...]
    buckets: tuple[Bucket, ...]
    upscaled: int
    cropped: int


def measure(parts: Sequence[DatasetBuckets], source: str, others: Sequence[str]) -> Measured:
    """Sort the images into their buckets; all of them first, when there are several."""
    columns = parts[0].report.images.columns if len(parts) == 1 else _joined(parts)
    samples = [PlacedImage(_NOWHERE, size, choice, repeats) for size, choice, repeats in columns.kinds]
    rows: list[Bucket] = []
    first = 0
    for part in parts:
        inside: dict[tuple[int, int], array[int]] = {}
        after = first + len(part.report.images)
        for number in range(first, after):
            inside.setdefault(samples[columns.kind_of[number]].choice.bucket, array("I")).append(number)
        first, where = after, part.where if len(parts) > 1 else ""
        for row in part.report.buckets:
            size = (row.width, row.height)
            images = _most_cropped(columns, samples, inside[size])
            rows.append(Bucket(size, images, row.repeats, part.report.batch_size, where))
    if len(rows) > 1:
        everything = _most_cropped(columns, samples, range(len(columns.names)))
        rows.insert(0, Bucket(None, everything, sum(row.repeats for row in rows)))
    counts = Counter(columns.kind_of)
    upscaled = sum(counts[kind] for kind, each in enumerate(samples) if each.scale > 1)
    cropped = sum(counts[kind] for kind, each in enumerate(samples) if each.cropped >= MUCH)
    return Measured(source, tuple(others), tuple(parts), tuple(rows), upscaled, cropped)


def _joined(parts: Sequence[DatasetBuckets]) -> Columns:
    """The images of several datasets one after another."""
    found = Columns()
    for part in parts:
        columns = part.report.images.columns
        found.folder_of.extend(len(found.folders) + folder for folder in columns.folder_of)
        found.kind_of.extend(len(found.kinds) + kind for kind in columns.kind_of)
        found.folders += columns.folders
        found.names += columns.names
        found.kinds += columns.kinds
    return found


_NOWHERE = Path()


def _most_cropped(columns: Columns, samples: Sequence[PlacedImage], numbers: Sequence[int]) -> PlacedImages:
    """Of those that are cropped alike, what is scaled up first."""
    ranks = [-1000 * round(each.cropped, 3) - min(0.9, each.scale / 10 if each.scale > 1 else 0) for each in samples]
    kind_of = columns.kind_of
    by_rank: dict[float, array[int]] = {}
    for number in numbers:
        by_rank.setdefault(ranks[kind_of[number]], array("I")).append(number)
    found = array("I")
    for rank in sorted(by_rank):
        found += by_rank[rank]
    return PlacedImages(columns, found)


class BucketRows:
    """Size, images, how often they come with repeats, and a bar to compare them by."""

    def __init__(self, buckets: Sequence[Bucket] = ()) -> None:
        self.buckets = buckets
        self._most = max((each.repeats for each in buckets if each.size is not None), default=1) or 1

    def __len__(self) -> int:
        return len(self.buckets)

    def cells(self, index: int, width: int) -> Cells:
        bucket = self.buckets[index]
        if bucket.size is None:
            name, mark = "all", ("  ", "text")
        else:
            name, mark = f"{bucket.size[0]}×{bucket.size[1]}", ("! ", "caution") if bucket.is_small else ("  ", "text")
        cells: Cells = [mark, (fit(name, 10), "text"), (f"{len(bucket.images):>7,}", "text")]
        cells.append((f"{bucket.repeats:>9,} ", "caution" if bucket.is_small else "muted"))
        room = width - 31
        if bucket.is_small and room >= 24:
            cells.append((f" fewer than a batch of {bucket.batch}", "caution"))
        elif bucket.size is not None and room >= 4:
            cells += [(" ", "text"), ("█" * max(1, round(min(30, room) * bucket.repeats / self._most)), "second")]
        return cells


class PlacedRows:
    """The images of a bucket: name, size, scale, the part cropped away."""

    def __init__(self, images: Sequence[PlacedImage] = ()) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def cells(self, index: int, width: int) -> Cells:
        image = self.images[index]
        wide = width >= 42
        room = width - (30 if wide else 18)
        cells: Cells = [(f" {fit(printable(image.path.name), room - 1, middle=True)}", "text")]
        if wide:
            cells.append((fit(f"{image.size[0]}×{image.size[1]}", 12, right=True), "muted"))
        cells.append((f"{'×' + format(image.scale, '.2f'):>8}", "caution" if image.scale > 1 else "muted"))
        share = f"{100 * image.cropped:.1f} %" if image.cropped >= 0.0005 else "–"
        cells.append((f"{share:>9} ", "caution" if image.cropped >= MUCH else "muted"))
        return cells
