"""Which bucket each image goes to, and what of it the trainer will see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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

    images: tuple[PlacedImage, ...]
    buckets: tuple[BucketRow, ...]
    batch_size: int


def report(images: Iterable[tuple[Path, Size, int]], settings: BucketSettings, batch_size: int = 1) -> BucketReport:
    """Place images (path, size, repeats). Raises BucketError where the trainer would stop."""
    placed = tuple(PlacedImage(path, size, assign(size, settings), repeats) for path, size, repeats in images)
    counts: dict[Size, tuple[int, int]] = {}
    for each in placed:
        number, repeats = counts.get(each.choice.bucket, (0, 0))
        counts[each.choice.bucket] = (number + 1, repeats + each.repeats)
    rows = (BucketRow(*size, *counts[size], counts[size][1] < batch_size) for size in sorted(counts))
    return BucketReport(placed, tuple(rows), batch_size)


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
