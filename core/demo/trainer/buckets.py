"""Which resolution class an image falls into: the rules of sd-scripts' BucketManager (library/train_util.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from core.demo.trainer.log import logger

Size = tuple[int, int]


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
    def sizes(self) -> list[Size]:
        """The predefined buckets, sorted."""
        if self.low is None or self.high is None:
            return [self.resolution]
        area = self.resolution[0] * self.resolution[1]
        side = int(math.sqrt(area)) // self.step * self.step
        found = {(side, side)}
        for width in range(self.low, self.high + 1, self.step):
            height = min(self.high, area // width // self.step * self.step)
            if height >= self.low:
                found |= {(width, height), (height, width)}
        return sorted(found)

    def place(self, width: int, height: int) -> Placement:
        """The bucket of an image; ZeroDivisionError for a size of 0 as in the real one."""
        ratio = width / height
        if self.low is not None and not self.upscale:
            return self._without_upscale(width, height, ratio)
        if (width, height) in self.sizes:
            bucket = (width, height)
        else:
            bucket = min(self.sizes, key=lambda size: abs(size[0] / size[1] - ratio))
        bucket_ratio = bucket[0] / bucket[1]
        scale = bucket[1] / height if ratio > bucket_ratio else bucket[0] / width
        resized = (int(width * scale + 0.5), int(height * scale + 0.5))
        return Placement(bucket, resized, abs(bucket_ratio - ratio))

    def _without_upscale(self, width: int, height: int, ratio: float) -> Placement:
        area = self.resolution[0] * self.resolution[1]
        resized = (width, height)
        if width * height > area:
            real_width = math.sqrt(area * ratio)
            real_height = area / real_width
            by_width = self._down(real_width), self._down(self._down(real_width) / ratio)
            by_height = self._down(self._down(real_height) * ratio), self._down(real_height)
            if abs(by_width[0] / by_width[1] - ratio) < abs(by_height[0] / by_height[1] - ratio):
                resized = (by_width[0], int(by_width[0] / ratio + 0.5))
            else:
                resized = (int(by_height[1] * ratio + 0.5), by_height[1])
        bucket = (resized[0] - resized[0] % self.step, resized[1] - resized[1] % self.step)
        return Placement(bucket, resized, abs(bucket[0] / bucket[1] - ratio))

    def _down(self, value: float) -> int:
        whole = int(value + 0.5)
        return whole - whole % self.step
