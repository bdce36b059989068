"""Decoding with imagecodecs: the same pixels as Pillow, or Pillow itself."""

from __future__ import annotations

import random
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from core.problems import UserError
from core.tagging.descriptors import WD
from core.tagging.preprocess import as_image, decode, is_turned, open_image, prepare

IMAGES = Path(__file__).parent.parent / "data" / "goldens" / "images"
FILES = sorted(path for path in IMAGES.rglob("*") if path.is_file() and not path.name.startswith("bomb"))
Result = tuple[np.ndarray, bool] | str


def result(data: bytes, *, fast: bool) -> Result:
    """The pixels and whether viewers turn them, or that there are none."""
    try:
        with open_image(Path("x"), data) as image:
            pixels = decode(image, Path("x"), data=data if fast else None)
            return np.asarray(as_image(pixels)), is_turned(image)
    except UserError:
        return "unreadable"


def are_equal(one: Result, other: Result) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str)
    return np.array_equal(one[0], other[0]) and one[1] == other[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_picture_has_the_same_pixels(path: Path) -> None:
    """All goldens, the broken ones included: with and without imagecodecs the same picture, or none."""
    data = path.read_bytes()
    assert are_equal(result(data, fast=True), result(data, fast=False))


def test_imagecodecs_is_used_where_it_may_be() -> None:
    """8-bit RGB as PNG, JPEG and WEBP comes as an array and is prepared to the same input; the rest is Pillow's."""
    pytest.importorskip("imagecodecs")
    for name, is_fast in (
        ("rgb_square.jpg", True),
        ("progressive.jpg", True),
        ("screentone.png", True),
        ("sdxl_bucket.webp", True),
        ("rgb_trns.png", False),
        ("rgb48.png", False),
        ("cmyk.jpg", False),
        ("anim.png", False),
        ("rgba_cutout.png", False),
        ("bitmap.bmp", False),
    ):
        path = IMAGES / "good" / name
        data = path.read_bytes()
        with open_image(path, data) as image, open_image(path) as again:
            pixels = decode(image, path, data=data)
            assert isinstance(pixels, np.ndarray) == is_fast, name
            assert np.array_equal(prepare(pixels, WD, 448), prepare(decode(again, path), WD, 448)), name


def test_a_rotation_behind_the_pixels_is_seen() -> None:
    """A PNG may say behind its pixels that viewers turn it: the warning is given all the same."""
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = BytesIO()
    Image.new("RGB", (40, 30), "red").save(plain, "PNG")
    chunk = BytesIO()
    PngImagePlugin.putchunk(chunk, b"eXIf", exif.tobytes()[6:])
    end = plain.getvalue().rindex(b"IEND") - 4
    data = plain.getvalue()[:end] + chunk.getvalue() + plain.getvalue()[end:]
    for fast in (True, False):
        found = result(data, fast=fast)
        assert not isinstance(found, str) and found[1]


def test_damaged_files_are_judged_alike() -> None:
    """Changed, missing and cut-off bytes: never a picture with the extra that there is not without it, or another."""
    pytest.importorskip("imagecodecs")
    dice = random.Random(3)
    small = [
        path for path in FILES if path.suffix.lower() in (".png", ".jpg", ".webp") and path.stat().st_size < 40_000
    ]
    seen = 0
    for _ in range(400):
        data = bytearray(dice.choice(small).read_bytes() or b"\0")
        kind, at = dice.random(), dice.randrange(len(data))
        if kind < 0.6:
            data[at] = dice.randrange(256)
        elif kind < 0.8:
            del data[at:]
        else:
            del data[at : at + dice.randrange(50)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = result(bytes(data), fast=False)
            assert are_equal(result(bytes(data), fast=True), plain)
        seen += not isinstance(plain, str)
    assert seen > 20
