"""Thumbnails for the screen."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from core.dataset import thumbs
from core.dataset.thumbs import thumbnail
from core.problems import UserError
from core.settings import cache_dir


def cached() -> list[Path]:
    return sorted((cache_dir() / "thumbs").rglob("*.jpg"))


def test_a_thumbnail_fits_and_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture is scaled into the box once, then comes from the cache; a small one is not blown up."""
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 100), (200, 30, 40)).save(path)
    first = thumbnail(path, (80, 80))
    assert (first.size, first.mode) == ((80, 20), "RGB")
    assert len(cached()) == 1
    monkeypatch.setattr("core.dataset.thumbs._pixels", None)  # making it again would fail
    again = thumbnail(path, (80, 80))
    assert again.size == (80, 20)
    assert all(abs(a - b) <= 4 for a, b in zip(again.getpixel((5, 5)), (200, 30, 40), strict=True))  # type: ignore[arg-type]
    monkeypatch.undo()
    Image.new("RGB", (10, 5)).save(tmp_path / "small.png")
    assert thumbnail(tmp_path / "small.png", (80, 80)).size == (10, 5)


def test_a_changed_picture_gets_a_new_thumbnail(tmp_path: Path) -> None:
    """Painting over a file shows the new picture."""
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(path)
    thumbnail(path, (8, 8))
    Image.new("RGB", (40, 30), "blue").save(path)
    assert thumbnail(path, (8, 8)).getpixel((3, 3)) == (0, 0, 254) or thumbnail(path, (8, 8)).size == (8, 6)


def test_a_broken_cache_is_made_again(tmp_path: Path) -> None:
    """Half a thumbnail after a power cut, or one that is a folder, costs time and nothing else."""
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 400), "red").save(path)
    thumbnail(path, (64, 64))
    (file,) = cached()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert thumbnail(path, (64, 64)).size == (64, 64)
    assert file.read_bytes() == whole
    file.write_bytes(b"")
    assert thumbnail(path, (64, 64)).size == (64, 64)
    file.unlink()
    file.mkdir()
    assert thumbnail(path, (64, 64)).size == (64, 64)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "F", "CMYK", "YCbCr"])
def test_every_kind_of_pixel_is_shown(tmp_path: Path, mode: str) -> None:
    """Palettes, alpha, 16 bits, CMYK: all come out as RGB."""
    path = tmp_path / ("a.tif" if mode in {"F", "CMYK", "YCbCr"} else "a.png")
    Image.new(mode, (30, 30)).save(path)
    image = thumbnail(path, (10, 10))
    assert (image.mode, image.size) == ("RGB", (10, 10))


def test_sixteen_bits_keep_their_brightness_and_alpha_shows_a_checker(tmp_path: Path) -> None:
    """Middle grey stays middle grey; what is transparent shows two greys."""
    Image.new("I;16", (30, 30), 0x8000).save(tmp_path / "grey.png")
    assert abs(thumbnail(tmp_path / "grey.png", (10, 10)).getpixel((5, 5))[0] - 127) <= 2  # type: ignore[index]
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    colours = {thumbnail(tmp_path / "clear.png", (64, 64)).getpixel(at) for at in ((3, 3), (11, 3))}
    assert len(colours) == 2


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    """Text, nothing, a cut-off file, 50000×50000 pixels: a sentence each, nothing is decoded."""
    (tmp_path / "text.png").write_text("1girl")
    (tmp_path / "empty.png").touch()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0"))]
    (tmp_path / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    Image.effect_noise((300, 300), 90).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 3])
    for name, words in (
        ("text.png", "text file"),
        ("empty.png", "0 bytes"),
        ("huge.png", "megapixels"),
        ("cut.png", "damaged"),
        ("gone.png", "Cannot read"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            thumbnail(tmp_path / name, (10, 10))
        assert name in caught.value.message
        assert caught.value.hint
    assert cached() == []


def test_the_cache_has_a_limit_and_what_was_long_not_used_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one folder here: after 40 pictures those stay that were made, or looked at, last."""
    monkeypatch.setattr(thumbs, "_EVERY", 1)
    monkeypatch.setattr(thumbs, "_FOLDERS", 1)
    monkeypatch.setattr(thumbs, "LIMIT", 20_000)
    place = tmp_path / "one"
    monkeypatch.setattr(thumbs, "_cache_file", lambda path, facts, side: place / f"{path.stem:0>8}{side}.jpg")
    for number in range(40):
        path = tmp_path / f"{number}.png"
        Image.effect_noise((60, 60), 90).save(path)
        thumbnail(path, (40, 40))
        made = place / f"{number:0>8}96.jpg"
        os.utime(made, (1_000_000 + number, 1_000_000 + number))
        if number < 39:
            thumbnail(tmp_path / "0.png", (40, 40))  # somebody looks at this one again and again
    kept = sorted(file.name for file in place.iterdir())
    assert sum(file.stat().st_size for file in place.iterdir()) <= 20_000 + made.stat().st_size
    assert kept[0] == "0000000096.jpg" and kept[-1] == "0000003996.jpg"
    assert len(kept) < 12
