"""A dataset of many small, valid images of many sizes, with captions whose tags are spread as those of Danbooru are.

Images are written without Pillow: PNGs of one colour, palette images whose pixels are shared by all of a size. The same
number gives the same bytes.
"""

from __future__ import annotations

import bisect
import itertools
import random
import struct
import zlib
from pathlib import Path

_SIZES = ((1024, 1024), (832, 1216), (1216, 832), (768, 1344), (512, 768), (768, 512), (640, 960), (1000, 667))
_FIRST = (
    "1girl",
    "solo",
    "long hair",
    "blush",
    "smile",
    "open mouth",
    "short hair",
    "bangs",
    "blue eyes",
    "blonde hair",
)
_HEAD = ("red", "blue", "green", "black", "white", "long", "short", "torn", "wet", "dark", "striped", "frilled", "open")
_TAIL = ("hair", "eyes", "hat", "coat", "boots", "ribbon", "collar", "sky", "tree", "lamp", "sword", "book", "window")
TAGS = 8000


def vocabulary() -> list[str]:
    """Tags, the most used first."""
    chance = random.Random(1)
    found = dict.fromkeys(_FIRST)
    for number in itertools.count():
        if len(found) >= TAGS:
            return list(found)
        tag = f"{chance.choice(_HEAD)} {chance.choice(_TAIL)}"
        found.setdefault(tag if tag not in found else f"{tag} ({chance.choice(_TAIL)} {number})")
    raise AssertionError


def make(folder: Path, images: int) -> None:
    """`images` images with about 30 tags each; a hundredth without a caption, two in a thousand cut off."""
    folder.mkdir(parents=True)
    tags = vocabulary()
    shares = list(itertools.accumulate(1 / (place + 1.5) for place in range(len(tags))))
    bodies = {size: zlib.compress(bytes(size[0] + 1) * size[1], 1) for size in _SIZES}
    chance = random.Random(2)
    for number in range(images):
        stem = f"{chance.choice(('img', 'danbooru', 'Frame', '画像'))}_{number:06d}"
        size = chance.choice(_SIZES)
        data = _png(size, chance.randbytes(3), bodies[size])
        if chance.random() < 0.002:
            data = data[: chance.randrange(30)]
        (folder / f"{stem}.png").write_bytes(data)
        if chance.random() < 0.01:
            continue
        wanted = max(1, int(chance.gauss(30, 8)))
        own = {
            tags[min(len(tags) - 1, bisect.bisect(shares, chance.random() * shares[-1]))]: None for _ in range(wanted)
        }
        (folder / f"{stem}.txt").write_text(", ".join(own) + "\n" * (number % 2), "utf-8")


def _png(size: tuple[int, int], colour: bytes, body: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", *size, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", colour), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
