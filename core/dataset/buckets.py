"""Aspect-ratio buckets exactly as sd-scripts makes them (sd-scripts 48d368fa, library/train_util.py, model_util.py).

Pure arithmetic on sizes: no file is touched. All sizes are (width, height) in pixels.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from core.problems import UserError

Size = tuple[int, int]


class BucketError(UserError):
    """sd-scripts would end here, in its function `where`; `kind` is its exception, or "no_data" (exit code 0)."""

    def __init__(self, kind: str, message: str, where: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.where = where


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """The bucket options of one dataset. Defaults are those of the dataset TOML."""

    resolution: Size
    enable: bool = False
    min_reso: int = 256
    max_reso: int = 1024
    step: int = 64
    no_upscale: bool = False


@dataclass(frozen=True, slots=True)
class BucketChoice:
    """Where one image goes: it is scaled to `resized`, which covers `bucket`, and the rest is cropped away."""

    bucket: Size
    resized: Size

    @property
    def cropped(self) -> float:
        """Share of the scaled image that is cut off, 0 … 1."""
        width, height = self.resized
        kept = min(self.bucket[0], width) * min(self.bucket[1], height)
        return 1 - kept / (width * height) if width and height else 0.0


def adjusted_limits(settings: BucketSettings) -> tuple[int, int] | None:
    """min and max of the bucket sides as sd-scripts corrects them, None without buckets.

    train_util.py, `BaseDataset.adjust_min_max_bucket_reso_by_steps`: min is rounded down and max up to the step. Raises
    BucketError when the resolution lies outside.
    """
    if not settings.enable:
        return None
    where = "adjust_min_max_bucket_reso_by_steps"
    if settings.step < 1:
        raise BucketError("ZeroDivisionError", "bucket_reso_steps is 0", where, "Set bucket_reso_steps to 64.")
    low = settings.min_reso - settings.min_reso % settings.step
    high = settings.max_reso + -settings.max_reso % settings.step
    if low > min(settings.resolution):
        raise BucketError(
            "AssertionError",
            "min_bucket_reso must be equal or less than resolution",
            where,
            f"Lower min_bucket_reso to {min(settings.resolution)} or less.",
        )
    if high < max(settings.resolution):
        raise BucketError(
            "AssertionError",
            "max_bucket_reso must be equal or greater than resolution",
            where,
            f"Raise max_bucket_reso to {max(settings.resolution)} or more.",
        )
    return low, high


def check_step(settings: BucketSettings, divisor: int = 64) -> None:
    """`verify_bucket_reso_steps`: with buckets the step must be divisible by 64 (SDXL: 32). Raises BucketError.

    The trainer checks this last, after all buckets were made.
    """
    if settings.enable and settings.step % divisor:
        raise BucketError(
            "AssertionError",
            f"bucket_reso_steps is {settings.step}. it must be divisible by {divisor}.",
            "verify_bucket_reso_steps",
            f"Set bucket_reso_steps to {divisor}.",
        )


@functools.lru_cache(maxsize=64)
def bucket_list(settings: BucketSettings) -> tuple[Size, ...]:
    """Every bucket there can be, sorted; empty with no_upscale, where each image makes its own.

    model_util.py, `make_bucket_resolutions`. Raises BucketError as the trainer would.
    """
    limits = adjusted_limits(settings)
    if limits is None:
        return (settings.resolution,)
    if settings.no_upscale:
        return ()
    low, high = limits
    if low < 1:
        raise BucketError(
            "ZeroDivisionError",
            "integer division or modulo by zero",
            "make_bucket_resolutions",
            f"min_bucket_reso is rounded down to 0: set it to {settings.step} or more.",
        )
    step = settings.step
    area = settings.resolution[0] * settings.resolution[1]
    square = int(math.sqrt(area) // step) * step
    found = {(square, square)}
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


@functools.lru_cache(maxsize=16384)
def assign(size: Size, settings: BucketSettings) -> BucketChoice:
    """The bucket of an image of `size`; train_util.py, `BucketManager.select_bucket`.

    Raises BucketError where the trainer stops: settings that do not fit, or an image so flat that its bucket has no
    height. An image narrower than the step gets a bucket of width 0 (no_upscale), at which the training dies later.
    """
    if settings.enable and settings.no_upscale:
        adjusted_limits(settings)
        return _without_upscale(size, settings)
    buckets = bucket_list(settings)
    if size in buckets:
        return BucketChoice(size, size)
    width, height = size
    ratio = width / height
    bucket = min(buckets, key=lambda each: abs(each[0] / each[1] - ratio))
    scale = bucket[1] / height if ratio > bucket[0] / bucket[1] else bucket[0] / width
    return BucketChoice(bucket, (int(width * scale + 0.5), int(height * scale + 0.5)))


def _without_upscale(size: Size, settings: BucketSettings) -> BucketChoice:
    width, height = size
    step = settings.step
    area = settings.resolution[0] * settings.resolution[1]
    resized = size
    try:
        if width * height > area:
            ratio = width / height
            wide = math.sqrt(area * ratio)
            by_width = _cut(wide, step)
            its_height = _cut(by_width / ratio, step)
            by_height = _cut(area / wide, step)
            its_width = _cut(by_height * ratio, step)
            if abs(by_width / its_height - ratio) < abs(its_width / by_height - ratio):
                resized = (by_width, int(by_width / ratio + 0.5))
            else:
                resized = (int(by_height * ratio + 0.5), by_height)
        bucket = (resized[0] - resized[0] % step, resized[1] - resized[1] % step)
        bucket[0] / bucket[1]
    except ZeroDivisionError:
        raise BucketError(
            "ZeroDivisionError",
            "division by zero",
            "select_bucket",
            f"An image of {width}×{height} is too flat for bucket_no_upscale with steps of {step}: leave it out.",
        ) from None
    return BucketChoice(bucket, resized)


def _cut(value: float, step: int) -> int:
    whole = int(value + 0.5)
    return whole - whole % step
