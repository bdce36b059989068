"""Which bucket an image goes to, and what of it is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dataset.bucket_report import crop_box, report
from core.dataset.buckets import BucketSettings, assign

SETTINGS = BucketSettings((512, 512), enable=True, min_reso=256, max_reso=1024)


def test_small_buckets_are_flagged() -> None:
    """Three wide images of two repeats fill a batch of six; one square image does not."""
    images = [(Path(f"{at}.png"), (1024, 512), 2) for at in range(3)] + [(Path("s.png"), (500, 500), 1)]
    found = report(images, SETTINGS, batch_size=6)
    assert [(row.width, row.height, row.images, row.repeats, row.is_small) for row in found.buckets] == [
        (512, 512, 1, 1, True),
        (704, 320, 3, 6, False),
    ]
    assert [image.path.name for image in found.images] == ["0.png", "1.png", "2.png", "s.png"]
    assert found.images[3].scale == pytest.approx(1.024) and found.images[3].cropped == 0
    assert report([], SETTINGS).buckets == ()


def test_the_crop_is_cut_around_the_middle() -> None:
    """1024×512 goes to 704×320, which is wider: nothing is lost at the sides, the same above and below."""
    choice = assign((1024, 512), SETTINGS)
    left, top, right, bottom = crop_box((1024, 512), choice)
    assert (left, right) == (pytest.approx(0), pytest.approx(1024))
    assert top > 20 and top == pytest.approx(512 - bottom)


@given(st.integers(1, 5000), st.integers(1, 5000), st.booleans())
def test_the_crop_lies_inside_and_has_the_share_that_is_told(width: int, height: int, upscale: bool) -> None:
    """For any size: the box is in the picture, and what it leaves out is `cropped`."""
    settings = BucketSettings((512, 768), enable=True, no_upscale=not upscale and width > 64 and height > 64)
    if settings.no_upscale and (width / height > 7 or height / width > 7):
        settings = BucketSettings((512, 768), enable=True)
    choice = assign((width, height), settings)
    left, top, right, bottom = crop_box((width, height), choice)
    assert -1e-6 <= left <= right <= width + 1e-6 and -1e-6 <= top <= bottom <= height + 1e-6
    kept = (right - left) * (bottom - top) / (width * height)
    assert kept == pytest.approx(1 - choice.cropped, abs=1e-6)
