"""What a picture looks like in 128 bits: a difference hash and a DCT hash, of it and of its mirror image.

Kept in the user's cache folder by path, change time and size; the file may be deleted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.pictures import decode, open_picture
from core.files import content_hash
from core.problems import UserError
from core.settings import cache_dir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_VERSION = 2
_SIDE = 32
_FLAT = 4
"""Grey levels between the darkest and the brightest of 32 × 32 places."""
_BATCH = 256
"""Pictures a transaction: what is lost by a kill."""


@dataclass(frozen=True, slots=True)
class PictureHash:
    """(difference hash, DCT hash) of a picture and of its mirror image, 64 bits each, and its size in pixels."""

    plain: tuple[int, int]
    mirrored: tuple[int, int]
    width: int
    height: int


def read_hash(path: Path) -> PictureHash:
    """Decode `path` and hash it. Transparency is put on white, as taggers do. Raises UserError for a damaged image."""
    import numpy as np

    with contextlib.closing(open_picture(path)) as image:
        size = image.size
        image.draft("L", (4 * _SIDE, 4 * _SIDE))
        decode(image, path)
        try:
            grey = _grey(image)
        except (ValueError, OSError, MemoryError) as error:
            raise UserError(f"The image {path} cannot be compared: {error}", "Save it as PNG.") from error
    pixels = np.asarray(grey, np.float32)
    return PictureHash(hash_pixels(pixels), hash_pixels(pixels[:, ::-1]), *size)


def hash_pixels(pixels: NDArray[np.float32]) -> tuple[int, int]:
    """(difference hash, DCT hash) of a grey picture: float32 [32, 32], 0 … 255.

    The first compares 9 × 8 means with their right neighbour, the second the 64 lowest frequencies with their median.
    A picture of one colour has nothing to compare: it is like others of its brightness only.
    """
    import numpy as np

    if float(np.ptp(pixels)) < _FLAT:
        level = int(content_hash(b"%d" % round(float(pixels.mean()) / 4))[:32], 16)
        return level >> 64, level & (1 << 64) - 1
    small = _means(9, 8)[0] @ pixels @ _means(9, 8)[1]
    # a plain background has no direction: noise of one grey level is not a difference
    differences = small[:, 1:] > small[:, :-1] + 1
    waves = _waves()
    low = (waves @ pixels @ waves.T).ravel()
    low[0] = 0  # the mean brightness
    return _bits(differences.ravel()), _bits(low > np.median(low))


def _grey(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        from core.dataset.thumbs import eight_bits

        image = eight_bits(image)
    if image.mode in {"PA", "LA", "La", "RGBa", "RGBA"} or "transparency" in image.info:
        image = image.convert("RGBA").reduce(max(1, min(image.size) // (4 * _SIDE)))
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)


@functools.cache
def _means(across: int, down: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matrices that average a square picture to `across` × `down` (left and right factor)."""
    import numpy as np

    def weights(count: int) -> NDArray[np.float32]:
        edges = np.linspace(0, _SIDE, count + 1)
        cells = np.arange(_SIDE)
        shared = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return np.asarray(np.clip(shared, 0, 1) * count / _SIDE, np.float32)

    return weights(down), weights(across).T


@functools.cache
def _waves() -> NDArray[np.float32]:
    """The eight lowest rows of the DCT-II of 32 points."""
    import numpy as np

    return np.asarray(np.cos(np.pi / _SIDE * (np.arange(_SIDE) + 0.5) * np.arange(8)[:, None]), np.float32)


def _bits(flags: NDArray[np.bool_]) -> int:
    import numpy as np

    return int.from_bytes(np.packbits(flags).tobytes(), "big")


class HashCache:
    """Hashes on disk. Whatever cannot be read or written only costs time."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_dir() / f"hashes-{_VERSION}.sqlite3"
        self._new: list[tuple[str, str, int, int, bytes]] = []

    def known(self, images: Iterable[Path]) -> dict[Path, PictureHash]:
        """The hashes of those images that are still as they were when they were hashed."""
        by_folder: dict[Path, list[Path]] = {}
        for image in images:
            by_folder.setdefault(image.parent, []).append(image)
        found: dict[Path, PictureHash] = {}
        with self._opened() as database:
            if database is None:
                return found
            for folder, some in by_folder.items():
                rows = database.execute("SELECT name, mtime, bytes, hash FROM hashes WHERE folder=?", (_text(folder),))
                there = {name: (mtime, size, data) for name, mtime, size, data in rows}
                for image in some:
                    row = there.get(_plain(image.name))
                    if row is not None and row[:2] == _stamp(image) and len(row[2]) == 40:
                        found[image] = _unpacked(row[2])
        return found

    def add(self, image: Path, value: PictureHash) -> None:
        """Keep one; written a batch at a time."""
        stamp = _stamp(image)
        if stamp is not None:
            self._new.append((_text(image.parent), _plain(image.name), *stamp, _packed(value)))
        if len(self._new) >= _BATCH:
            self.save()

    def save(self) -> None:
        """Write what was added."""
        with self._opened() as database:
            if database is not None and self._new:
                with contextlib.suppress(sqlite3.Error), database:
                    database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)", self._new)
        self._new.clear()

    @contextlib.contextmanager
    def _opened(self) -> Generator[sqlite3.Connection | None, None, None]:
        database = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, timeout=5)
            database.execute(
                "CREATE TABLE IF NOT EXISTS hashes (folder TEXT, name TEXT, mtime INTEGER, bytes INTEGER, hash BLOB, "
                "PRIMARY KEY (folder, name)) WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError):
            if database is not None:
                database.close()
            with contextlib.suppress(OSError):
                if not self._is_database():
                    self._path.unlink()  # damaged: the next run makes it anew
            yield None
            return
        try:
            yield database
        except sqlite3.Error:
            return
        finally:
            database.close()

    def _is_database(self) -> bool:
        with self._path.open("rb") as stream:
            return stream.read(16) in {b"", b"SQLite format 3\0"}


def hash_images(
    images: Sequence[Path], cache: HashCache, threads: int | None = None
) -> Generator[tuple[Path, PictureHash | UserError], None, None]:
    """The hash of every image, or what is wrong with it; decoded on threads (Pillow lets them run side by side).

    Those that are known come first. Closing the generator stops the work.
    """
    known = cache.known(images)
    yield from known.items()
    waiting = [image for image in images if image not in known]
    if not waiting:
        return
    from concurrent.futures import ThreadPoolExecutor

    workers = threads or min(8, os.cpu_count() or 1)
    stop = threading.Event()

    def work(image: Path) -> PictureHash | UserError | None:
        try:
            return None if stop.is_set() else read_hash(image)
        except UserError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        try:
            for start in range(0, len(waiting), _BATCH):  # so that a hundred thousand results do not pile up
                batch = waiting[start : start + _BATCH]
                for image, value in zip(batch, pool.map(work, batch), strict=True):
                    if isinstance(value, PictureHash):
                        cache.add(image, value)
                    if value is not None:
                        yield image, value
        finally:
            stop.set()
            cache.save()


def _stamp(image: Path) -> tuple[int, int] | None:
    try:
        facts = image.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


def _text(folder: Path) -> str:
    return _plain(str(folder.absolute()))


def _plain(name: str) -> str:
    """A file name need not be UTF-8; sqlite's text must."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _packed(value: PictureHash) -> bytes:
    numbers = b"".join(number.to_bytes(8, "big") for number in (*value.plain, *value.mirrored))
    return numbers + value.width.to_bytes(4, "big") + value.height.to_bytes(4, "big")


def _unpacked(data: bytes) -> PictureHash:
    numbers = [int.from_bytes(data[at : at + 8], "big") for at in range(0, 32, 8)]
    size = [int.from_bytes(data[at : at + 4], "big") for at in (32, 36)]
    return PictureHash((numbers[0], numbers[1]), (numbers[2], numbers[3]), *size)
