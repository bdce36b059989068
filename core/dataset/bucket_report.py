"""Which bucket each image goes to, and what of it the trainer will see."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from core.dataset.buckets import BucketChoice, BucketSettings, Size, assign


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """One image. `scale` is that of the training picture against the file; `cropped` the share cut off (0 … 1)."""

    path: Path
    size: Size
    choice: BucketChoice
    repeats: int

    @property
    def scale(self) -> float:
        return self.choice.resized[0] / self.size[0] if self.size[0] else 0.0

    @property
    def cropped(self) -> float:
        return self.choice.cropped


class Columns:
    """Many images by number; a PlacedImage is made when one is asked for: 100,000 of them would be 60 MB of objects.

    All images of one size and the same repeats share a `kind`.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.names: list[str] = []
        self.folder_of: array[int] = array("I")
        self.kind_of: array[int] = array("I")
        self.kinds: list[tuple[Size, BucketChoice, int]] = []
        """(size, choice, repeats)"""

    def at(self, number: int) -> PlacedImage:
        size, choice, repeats = self.kinds[self.kind_of[number]]
        return PlacedImage(self.folders[self.folder_of[number]] / self.names[number], size, choice, repeats)


class PlacedImages(Sequence[PlacedImage]):
    """Some of the images of `columns`, by their numbers."""

    def __init__(self, columns: Columns, numbers: Sequence[int]) -> None:
        self.columns, self.numbers = columns, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> PlacedImage: ...
    @overload
    def __getitem__(self, index: slice) -> list[PlacedImage]: ...
    def __getitem__(self, index: int | slice) -> PlacedImage | list[PlacedImage]:
        if isinstance(index, slice):
            return [self.columns.at(number) for number in self.numbers[index]]
        return self.columns.at(self.numbers[index])

    def __iter__(self) -> Iterator[PlacedImage]:
        return map(self.columns.at, self.numbers)


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket. `repeats` counts every image as often as its subset says; `is_small`: they fill not one batch."""

    width: int
    height: int
    images: int
    repeats: int
    is_small: bool


@dataclass(frozen=True, slots=True)
class BucketReport:
    """The images in the order in which they came, and the buckets that are used, by width and height."""

    images: PlacedImages
    buckets: tuple[BucketRow, ...]
    batch_size: int


def report(images: Iterable[tuple[Path, Size, int]], settings: BucketSettings, batch_size: int = 1) -> BucketReport:
    """Place images (path, size, repeats). Raises BucketError where the trainer would stop."""
    columns = Columns()
    kinds: dict[tuple[Size, int], int] = {}
    folders: dict[Path, int] = {}
    for path, size, repeats in images:
        kind = kinds.get((size, repeats))
        if kind is None:
            kind = kinds[size, repeats] = len(columns.kinds)
            columns.kinds.append((size, assign(size, settings), repeats))
        parent = path.parent
        folder = folders.setdefault(parent, len(folders))
        if folder == len(columns.folders):
            columns.folders.append(parent)
        columns.names.append(path.name)
        columns.folder_of.append(folder)
        columns.kind_of.append(kind)
    counts: dict[Size, tuple[int, int]] = {}
    of_kind = Counter(columns.kind_of)
    for kind, (_, choice, repeats) in enumerate(columns.kinds):
        here = of_kind[kind]
        number, times = counts.get(choice.bucket, (0, 0))
        counts[choice.bucket] = (number + here, times + here * repeats)
    rows = (BucketRow(*size, *counts[size], counts[size][1] < batch_size) for size in sorted(counts))
    return BucketReport(PlacedImages(columns, range(len(columns.names))), tuple(rows), batch_size)


def crop_box(size: Size, choice: BucketChoice) -> tuple[float, float, float, float]:
    """What is left of an image of `size`: left, top, right, bottom in its own pixels.

    train_util.py, `trim_and_resize_if_required`: scaled first, then cut around the middle (random_crop cuts elsewhere).
    Where the picture is smaller than the bucket (no_upscale) the whole of it is left.
    """
    width, height = size
    across, down = (
        min(1.0, bucket / resized if resized else 1.0)
        for bucket, resized in zip(choice.bucket, choice.resized, strict=True)
    )
    left, top = width * (1 - across) / 2, height * (1 - down) / 2
    return left, top, width - left, height - top
