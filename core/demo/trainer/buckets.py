"""Which resolution class an image falls into, with the warnings and errors of the real trainer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from core.dataset.buckets import BucketError, BucketSettings, Size, assign
from core.demo.trainer.log import logger


@dataclass(frozen=True)
class Placement:
    """Where an image goes: its bucket, the size it is scaled to before cropping, and the error of the aspect ratio."""

    bucket: Size
    resized: Size
    error: float


def adjusted_limits(resolution: Size, low: int, high: int, step: int) -> tuple[int, int]:
    """The limits as multiples of the step; raises AssertionError where they exclude the resolution."""
    if low % step:
        fixed = low - low % step
        logger.warning(
            "min_bucket_reso is adjusted to be multiple of bucket_reso_steps / "
            f"min_bucket_resoがbucket_reso_stepsの倍数になるように調整されました: {low} -> {fixed}"
        )
        low = fixed
    if high % step:
        fixed = high + step - high % step
        logger.warning(
            "max_bucket_reso is adjusted to be multiple of bucket_reso_steps / "
            f"max_bucket_resoがbucket_reso_stepsの倍数になるように調整されました: {high} -> {fixed}"
        )
        high = fixed
    assert min(resolution) >= low, (
        "min_bucket_reso must be equal or less than resolution / "
        "min_bucket_resoは最小解像度より大きくできません。解像度を大きくするかmin_bucket_resoを小さくしてください"
    )
    assert max(resolution) <= high, (
        "max_bucket_reso must be equal or greater than resolution / "
        "max_bucket_resoは最大解像度より小さくできません。解像度を小さくするかmin_bucket_resoを大きくしてください"
    )
    return low, high


@dataclass(frozen=True)
class Bucketing:
    """The rules for one dataset; `low` is None where buckets are off."""

    resolution: Size
    low: int | None = None
    high: int | None = None
    step: int = 64
    upscale: bool = True

    @cached_property
    def settings(self) -> BucketSettings:
        """The same for core.dataset.buckets, which knows the rules."""
        if self.low is None or self.high is None:
            return BucketSettings(self.resolution)
        return BucketSettings(self.resolution, True, self.low, self.high, self.step, not self.upscale)

    def place(self, width: int, height: int) -> Placement:
        """The bucket of an image; ZeroDivisionError for a size of 0 as in the real one."""
        ratio = width / height
        try:
            choice = assign((width, height), self.settings)
        except BucketError as error:
            raise (ZeroDivisionError if error.kind == "ZeroDivisionError" else AssertionError)(error.message) from None
        return Placement(choice.bucket, choice.resized, abs(choice.bucket[0] / choice.bucket[1] - ratio))
