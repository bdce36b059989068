"""Duplicates: the same bytes, the same picture scaled, encoded anew or mirrored; the largest to keep."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from core.dataset.duplicates import FindProgress, Group, bit_count, find, near_pairs
from core.dataset.hashes import HashCache, read_hash
from core.problems import UserError
from core.settings import cache_dir


def drawing(seed: int, size: tuple[int, int] = (320, 480)) -> Image.Image:
    """A picture of ellipses that no other seed resembles."""
    dice = random.Random(seed)
    image = Image.new("RGB", size, tuple(dice.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = dice.randrange(size[0]), dice.randrange(size[1])
        box = (x, y, x + dice.randrange(30, 200), y + dice.randrange(30, 200))
        pen.ellipse(box, fill=tuple(dice.randrange(256) for _ in range(3)))
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve different pictures, and of the first a copy, a smaller one, a JPEG and a mirrored one."""
    for seed in range(12):
        drawing(seed).save(tmp_path / f"p{seed}.png")
    first = drawing(0)
    shutil.copyfile(tmp_path / "p0.png", tmp_path / "copy.png")
    first.resize((160, 240)).save(tmp_path / "small.png")
    first.save(tmp_path / "lossy.jpg", quality=40)
    ImageOps.mirror(first.resize((200, 300))).save(tmp_path / "mirror.png")
    return tmp_path


def groups(folder: Path, distance: int = 8, *, mirrored: bool = False) -> list[list[str]]:
    return [[each.path.name for each in group.images] for group in search(folder, distance, mirrored=mirrored)]


def search(folder: Path, distance: int = 8, *, mirrored: bool = False) -> tuple[Group, ...]:
    last = list(find(sorted(folder.iterdir()), distance, mirrored=mirrored))[-1]
    assert last.groups is not None
    return last.groups


def test_copies_of_all_kinds_are_grouped(folder: Path) -> None:
    """Scaled and encoded anew by default, mirrored when asked; the other eleven stand alone."""
    (found,) = groups(folder)
    assert found[0] in {"copy.png", "p0.png"}  # the largest in pixels, and no JPEG
    assert set(found) == {"p0.png", "copy.png", "small.png", "lossy.jpg"}
    (group,) = search(folder, mirrored=True)
    assert {each.path.name for each in group.images} == set(found) | {"mirror.png"}
    facts = {each.path.name: each for each in group.others}
    assert group.others[0].is_same and not facts["small.png"].is_same
    assert facts["mirror.png"].is_mirrored and not facts["small.png"].is_mirrored
    assert (facts["small.png"].width, facts["small.png"].height) == (160, 240)
    assert all(each.distance <= 8 for each in group.images)


def test_the_same_bytes_only(folder: Path) -> None:
    """-1 decodes nothing, so a file that is no image counts too; one with a caption is kept before one without."""
    (folder / "copy.txt").write_text("1girl")
    (folder / "x.png").write_bytes(b"no image")
    (folder / "y.png").write_bytes(b"no image")
    assert groups(folder, -1) == [["copy.png", "p0.png"], ["x.png", "y.png"]]
    assert not (cache_dir() / "hashes-2.sqlite3").exists()


def test_pictures_of_one_colour_are_not_all_alike(tmp_path: Path) -> None:
    """White and grey have nothing to compare but their brightness; see-through is white, as taggers see it."""
    for name, colour in (("a.png", "white"), ("b.png", "#808080"), ("c.png", "white"), ("d.png", "black")):
        Image.new("RGB", (64, 64 if name != "c.png" else 96), colour).save(tmp_path / name)
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "e.png")
    assert groups(tmp_path) == [["c.png", "a.png", "e.png"]]


def test_what_cannot_be_read_is_told(folder: Path) -> None:
    """A damaged file and one that is gone; the search goes on."""
    (folder / "bad.png").write_bytes((folder / "p1.png").read_bytes()[:200])
    paths = [*sorted(folder.iterdir()), folder / "gone.png"]
    last = list(find(paths))[-1]
    assert {path.name for path, _ in last.unread} == {"bad.png", "gone.png"}
    assert last.groups is not None and len(last.groups) == 1
    with pytest.raises(UserError, match="distance of 64"):
        find(paths, 64)


def test_modes_and_formats_have_one_look(tmp_path: Path) -> None:
    """Palette, grey, 16 bit and transparent versions of one picture are near each other."""
    first = drawing(3).convert("L")
    first.save(tmp_path / "grey.png")
    first.convert("P").save(tmp_path / "palette.png")
    first.convert("RGBA").save(tmp_path / "alpha.webp", lossless=True)
    Image.fromarray(np.asarray(first).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    (found,) = groups(tmp_path, 4)
    assert len(found) == 4


def test_hashes_are_read_from_the_cache(folder: Path) -> None:
    """A second search decodes nothing; a changed file is hashed again; a damaged cache is made anew."""
    first = groups(folder)
    image = folder / "p3.png"
    facts = image.stat()
    image.write_bytes(b"x" * facts.st_size)
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    steps = list(find(sorted(folder.iterdir())))
    assert steps[-1].unread == () and groups(folder) == first
    os.utime(image)
    assert [path.name for path, _ in list(find(sorted(folder.iterdir())))[-1].unread] == ["p3.png"]
    (cache_dir() / "hashes-2.sqlite3").write_bytes(b"damaged " * 1000)
    assert groups(folder) == first
    assert groups(folder) == first
    value = read_hash(folder / "p5.png")
    cache = HashCache()
    assert cache.known([folder / "p5.png", folder / "gone.png"]) == {folder / "p5.png": value}


def test_a_search_can_be_stopped(folder: Path) -> None:
    """Between two values; what was hashed is kept."""
    running = find(sorted(folder.iterdir()))
    assert isinstance(next(running), FindProgress)
    running.close()
    assert groups(folder)


def test_many_frames_of_one_look_are_one_group(tmp_path: Path) -> None:
    """Three hundred equal pictures are compared as one."""
    drawing(1).save(tmp_path / "0.png")
    for number in range(1, 300):
        shutil.copyfile(tmp_path / "0.png", tmp_path / f"{number}.png")
    (found,) = groups(tmp_path)
    assert found == [f"{number}.png" for number in range(300)]


NUMBERS = st.integers(0, 2**64 - 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=6), st.integers(0, 20), st.randoms(use_true_random=False))
def test_no_near_pair_is_missed(bases: list[int], distance: int, dice: random.Random) -> None:
    """For any hashes with any few bits changed: the bands find what a plain loop finds."""
    rows = []
    for base in bases:
        for _ in range(4):
            wave, step = base, base * 3 & 2**64 - 1
            for _ in range(dice.randrange(distance + 3)):
                wave ^= 1 << dice.randrange(64)
                step ^= 1 << dice.randrange(64)
            rows.append((step, wave))
    values = np.array(rows, np.uint64)

    def bits(one: tuple[int, int], other: tuple[int, int]) -> int:
        return max((a ^ b).bit_count() for a, b in zip(one, other, strict=True))

    wanted = {
        (i, j, bits(one, other))
        for i, one in enumerate(rows)
        for j, other in enumerate(rows)
        if bits(one, other) <= distance
    }
    found = {(min(i, j), max(i, j), number) for i, j, number in near_pairs(values, values, distance)}
    assert found == {triple for triple in wanted if triple[0] < triple[1]}
    assert set(near_pairs(values, values.copy(), distance)) == wanted


def test_bits_are_counted_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy 1.26 has no bitwise_count."""
    values = np.array([0, 1, 2**64 - 1, 0xF0F0, 2**63], np.uint64)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bit_count(values).tolist() == [0, 1, 64, 8, 1]
