"""Small versions of images for the screen, kept in the user's cache folder up to a limit. All may be deleted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from core.dataset.pictures import decode, open_picture
from core.files import write_atomic
from core.problems import UserError
from core.settings import cache_dir

if TYPE_CHECKING:
    from PIL import Image

Wanted = TypeVar("Wanted")
_VERSION = 2
_SIDES = (96, 256, 640, 1280)
"""A picture is kept in these sizes, whatever box is asked for: another size of the window needs no other file."""
LIMIT = 2_000_000_000
"""Bytes that all of them may take; those that were not looked at for the longest go first."""
_FOLDERS = 256
_EVERY = 16
"""So many are kept in a folder between two looks at what it takes: 8 MB, a few hundred files, 2 ms."""
_USED = 3600
"""Seconds after which a use is noted again, in the time of the file."""
_WHOLE = 24_000_000
"""Pixels of a picture that is held to look at its parts; larger ones are halved."""
_CHECKS = ((204, 204, 204), (154, 154, 154))
"""Two neutral greys behind what is transparent, in squares of 8 pixels."""


class Requests(Generic[Wanted]):
    """What is wanted next, for the threads that make it: what a newer call does not name again is dropped."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[Wanted] = []

    def want(self, wanted: Sequence[Wanted]) -> None:
        """These and no others, the first of them first."""
        with self._lock:
            self._waiting = list(reversed(wanted))

    def take(self) -> Wanted | None:
        """The next one, which is no longer waiting then; None when there is none."""
        with self._lock:
            return self._waiting.pop() if self._waiting else None


def thumbnail(path: Path, box: tuple[int, int]) -> Image.Image:
    """`path` scaled down to fit into `box` (width, height in pixels), RGB, proportions kept; never enlarged.

    Pixels as sd-scripts takes them: the first frame, an EXIF rotation not applied. Raises UserError when the file is no
    image, damaged, or claims more pixels than Pillow's limit. A cache that cannot be read or written only costs time.
    """
    return _scaled(about(path, box), box)


def about(path: Path, box: tuple[int, int]) -> Image.Image:
    """As `thumbnail`, but in the next larger size that is kept, for whoever scales it anyway (15 ms of 640 pixels)."""
    cached, side = _kept(path, box)
    if cached is None:
        return _scaled(_pixels(path, box), box)
    image = _load(cached, box)
    if image is None:
        image = _scaled(_pixels(path, (side, side)), (side, side))
        _store(cached, image)
    return _plain(image)


def prepare(path: Path, box: tuple[int, int]) -> None:
    """Have at hand what `thumbnail` and `about` will want; a `stat` where that is so."""
    cached, _ = _kept(path, box)
    if cached is not None and not cached.is_file():
        about(path, box)


def whole(path: Path) -> Image.Image:
    """All of `path`'s pixels, for a close look; a picture of more than 24 megapixels is made smaller. Raises as
    `thumbnail` does.
    """
    image = _pixels(path, None)
    while image.width * image.height > _WHOLE:
        image = image.reduce(2)
    return _plain(image)


def _kept(path: Path, box: tuple[int, int]) -> tuple[Path | None, int]:
    """Where the size for a box is kept, and its longer side; None for a box that is larger than all."""
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror or error}", "It was moved or deleted: scan the dataset again."
        ) from error
    side = next((side for side in _SIDES if side >= max(box)), 0)
    return (_cache_file(path, facts, side) if side else None), side


def _cache_file(path: Path, facts: os.stat_result, side: int) -> Path:
    name = f"{_VERSION}\0{path.absolute()}\0{facts.st_mtime_ns}\0{facts.st_size}\0{side}"
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return cache_dir() / "thumbs" / digest[:2] / f"{digest}.jpg"


def _load(cached: Path, box: tuple[int, int]) -> Image.Image | None:
    if not cached.is_file():
        return None
    try:
        image = open_picture(cached)
        image.draft("RGB", box)
        decode(image, cached)
    except UserError:
        return None  # half a file after a power cut: made again
    with contextlib.suppress(OSError):
        if time.time() - cached.stat().st_mtime > _USED:
            os.utime(cached)
    return image


def _store(cached: Path, image: Image.Image) -> None:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, subsampling=0)
    with contextlib.suppress(OSError, UserError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(cached, stream.getvalue(), fsync=False)
        if int(cached.name[2:8], 16) % _EVERY == 0:
            trim(cached.parent, LIMIT // _FOLDERS)


def trim(folder: Path, limit: int) -> None:
    """Remove what was not used for the longest until nine tenths of `limit` bytes are left, when there are more.

    Names are spread evenly over the folders, so each has its share of the whole.
    """
    found: list[tuple[float, int, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                facts = entry.stat()
                found.append((facts.st_mtime, facts.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 (names come as text)
        total -= size
        if total <= limit * 9 // 10:
            return


def _pixels(path: Path, box: tuple[int, int] | None) -> Image.Image:
    """What is in the file as RGB, RGBA or L; at least twice as large as `box`, if the file is."""
    with open_picture(path) as image:
        if box is not None:
            # a JPEG is decoded at half, a quarter or an eighth: ten times faster for large ones
            image.draft("RGB", (box[0] * 2, box[1] * 2))
        decode(image, path)
        picture: Image.Image = image
        if picture.mode.startswith(("I", "F")):
            picture = eight_bits(picture)
        if picture.mode in {"P", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
            picture = picture.convert("RGBA")
        return picture if picture.mode in {"RGB", "RGBA", "L"} else picture.convert("RGB")


def _scaled(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    from PIL import Image

    scale = min(box[0] / picture.width, box[1] / picture.height, 1.0)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return _plain(picture)


def _plain(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGBA":
        return _on_checks(picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit and float greys at their own range; Pillow would cut them at 255."""
    low, high = picture.convert("F").getextrema()
    if not isinstance(low, float) or not isinstance(high, float):
        return picture.convert("L")
    top = 65535.0 if high > 255 else 255.0 if high > 1 or low < 0 else 1.0
    return picture.convert("F").point(lambda value: value * (255.0 / top) + 0.0).convert("L")


def _on_checks(picture: Image.Image) -> Image.Image:
    from PIL import Image, ImageDraw

    light, dark = _CHECKS
    ground = Image.new("RGB", picture.size, light)
    pen = ImageDraw.Draw(ground)
    for top in range(0, picture.height, 8):
        for left in range(top // 8 % 2 * 8, picture.width, 16):
            pen.rectangle((left, top, left + 7, top + 7), fill=dark)
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground
