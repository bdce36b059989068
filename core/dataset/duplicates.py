"""Groups of images that are the same, or nearly so, with the one to keep first.

The same means the same bytes. Nearly means that both hashes of the picture (core.dataset.hashes) differ in few bits.
Every image of a group is that near to the one to keep, not only to another of the group.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.dataset.hashes import HashCache, PictureHash, hash_images
from core.dataset.model import CAPTION_EXTENSION
from core.files import content_hash, natural_key
from core.problems import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DISTANCE = 8
"""Bits of 64 in which each of the two hashes may differ; unrelated pictures differ in about 32."""
MOST = 20
"""Beyond that unrelated pictures meet."""
_SECONDS = 0.1
_CELLS = 1 << 20
"""Pairs that are compared at once: 8 MiB a step."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image of a group. `distance` (bits, the larger of the two hashes) is that to the one to keep.

    `is_same`: byte for byte the same file; `is_mirrored`: it is near when one of the two is mirrored.
    """

    path: Path
    width: int
    height: int
    bytes: int
    distance: int = 0
    is_same: bool = False
    is_mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Images of one picture. The first is the one to keep: most pixels, no JPEG, a caption, most bytes."""

    images: tuple[Duplicate, ...]

    @property
    def keep(self) -> Duplicate:
        return self.images[0]

    @property
    def others(self) -> tuple[Duplicate, ...]:
        return self.images[1:]


@dataclass(frozen=True, slots=True)
class FindProgress:
    """How far it is. `groups` stand in the last one, with the images that could not be read and why."""

    done: int
    total: int
    groups: tuple[Group, ...] | None = None
    unread: tuple[tuple[Path, str], ...] = ()


def find(
    images: Iterable[Path],
    distance: int = DISTANCE,
    *,
    mirrored: bool = False,
    cache: HashCache | None = None,
) -> Generator[FindProgress, None, None]:
    """Look for duplicates. The pictures are decoded once; later searches take the hashes from the cache.

    `distance` 0 … 20; -1 looks for the same bytes only and decodes nothing. Raises UserError for any other.
    """
    if not -1 <= distance <= MOST:
        raise UserError(
            f"A distance of {distance} cannot be searched", f"Give 0 (alike) to {MOST} (loosely); 8 is usual."
        )
    return _find(list(dict.fromkeys(images)), distance, mirrored, cache or HashCache())


def _find(images: list[Path], distance: int, mirrored: bool, cache: HashCache) -> Generator[FindProgress, None, None]:
    unread: list[tuple[Path, str]] = []
    sizes: dict[Path, int] = {}
    for image in images:
        try:
            sizes[image] = image.stat().st_size
        except OSError as error:
            unread.append((image, error.strerror or str(error)))
    total = len(sizes)
    hashes: dict[Path, PictureHash] = {}
    if distance >= 0:
        due = 0.0
        for done, (image, value) in enumerate(hash_images(list(sizes), cache)):
            if isinstance(value, UserError):
                unread.append((image, value.message.replace(f" {image}", "")))
            else:
                hashes[image] = value
            if time.monotonic() >= due:
                yield FindProgress(done, total, None, tuple(unread))
                due = time.monotonic() + _SECONDS
    contents = yield from _contents(sizes, total, unread)
    alike = _alike(_ranked(sizes, hashes), hashes, contents)
    near = _near([hashes.get(some[0]) for some in alike], distance, mirrored) if distance >= 0 else {}
    groups = tuple(_groups(alike, near, sizes, hashes, contents))
    yield FindProgress(total, total, groups, tuple(unread))


def _contents(
    sizes: dict[Path, int], total: int, unread: list[tuple[Path, str]]
) -> Generator[FindProgress, None, dict[Path, str]]:
    """The content hash of every image that has the size of another: the others cannot be the same."""
    by_size: dict[int, list[Path]] = {}
    for image, size in sizes.items():
        by_size.setdefault(size, []).append(image)
    found: dict[Path, str] = {}
    due = time.monotonic() + _SECONDS
    for some in by_size.values():
        for image in some if len(some) > 1 else ():
            try:
                found[image] = content_hash(image)
            except OSError as error:
                unread.append((image, error.strerror or str(error)))
            if time.monotonic() >= due:
                yield FindProgress(total, total, None, tuple(unread))
                due = time.monotonic() + _SECONDS
    return found


def _ranked(sizes: dict[Path, int], hashes: dict[Path, PictureHash]) -> list[Path]:
    """The images, the best to keep first."""

    def rank(image: Path) -> tuple[Any, ...]:
        known = hashes.get(image)
        pixels = known.width * known.height if known is not None else 0
        is_lossy = image.suffix.lower() in {".jpg", ".jpeg"}
        has_caption = image.with_suffix(CAPTION_EXTENSION).exists()
        return -pixels, is_lossy, not has_caption, -sizes[image], natural_key(str(image))

    return sorted(sizes, key=rank)


def _alike(ranked: Iterable[Path], hashes: dict[Path, PictureHash], contents: dict[Path, str]) -> list[list[Path]]:
    """Images that cannot be told apart (equal hashes, or equal bytes where there are none), the best one first.

    They are compared as one, so that ten thousand black frames are no hundred million pairs.
    """
    found: dict[Any, list[Path]] = {}
    for image in ranked:
        known = hashes.get(image)
        found.setdefault(contents.get(image, image) if known is None else known.plain, []).append(image)
    return list(found.values())


_Near = dict[int, dict[int, tuple[int, bool]]]
"""Place of an image → {place of one behind it that is near: (bits, whether mirrored)}."""


def _near(hashes: Sequence[PictureHash | None], distance: int, mirrored: bool) -> _Near:
    import numpy as np

    places = [place for place, known in enumerate(hashes) if known is not None]
    plain = np.array([known.plain for known in hashes if known is not None], np.uint64).reshape(-1, 2)
    flipped = np.array([known.mirrored for known in hashes if known is not None], np.uint64).reshape(-1, 2)
    found: _Near = {}
    for is_mirrored in (False, True) if mirrored else (False,):
        for left, right, bits in near_pairs(plain, flipped if is_mirrored else plain, distance):
            one, other = sorted((places[left], places[right]))
            near = found.setdefault(one, {})
            if one != other and bits < near.get(other, (65, False))[0]:
                near[other] = (bits, is_mirrored)
    return found


def near_pairs(
    left: NDArray[np.uint64], right: NDArray[np.uint64], distance: int
) -> Generator[tuple[int, int, int], None, None]:
    """(i, j, bits) for rows i of `left` and j of `right` (uint64 [N, 2]) of which neither hash differs in more bits.

    `bits` is the larger of the two differences. When both are the same array every pair of two rows comes in one
    order only. A pair may come more than once: two numbers of 64 bits that differ in at most d have one of d + 1 bands
    in common, so only rows that share a band are compared.
    """
    bands = distance + 1
    for band in range(bands):
        low, high = 64 * band // bands, 64 * (band + 1) // bands
        mask = ((1 << high) - 1) ^ ((1 << low) - 1)
        for some, others in _sharing(left, right, mask):
            yield from _compared(left, right, some, others, distance)


def _sharing(
    left: NDArray[np.uint64], right: NDArray[np.uint64], mask: int
) -> Generator[tuple[NDArray[np.intp], NDArray[np.intp]], None, None]:
    """The rows of both sides that have one value below `mask` in common, value by value."""
    import numpy as np

    edges, orders = [], []
    sides = [side[:, 1] & np.uint64(mask) for side in (left, right)]
    values, counts = np.unique(sides[0], return_counts=True)
    values = values[counts > 1] if left is right else np.intersect1d(values, sides[1])
    for side in sides:
        orders.append(np.argsort(side, kind="stable"))
        edges += [np.searchsorted(side[orders[-1]], values, way).tolist() for way in ("left", "right")]
    for a, b, c, d in zip(*edges, strict=True):
        yield orders[0][a:b], orders[1][c:d]


def _compared(
    left: NDArray[np.uint64], right: NDArray[np.uint64], some: NDArray[np.intp], others: NDArray[np.intp], distance: int
) -> Generator[tuple[int, int, int], None, None]:
    """The near ones among these rows, in pieces that fit into the processor's cache."""
    import numpy as np

    step = max(1, _CELLS // max(1, len(others)))
    for start in range(0, len(some), step):
        rows = some[start : start + step]
        columns = others[start:] if left is right else others  # what stands before was compared with these
        waves = bit_count(left[rows, None, 1] ^ right[None, columns, 1])
        at, to = np.nonzero(waves <= distance)
        if left is right:
            at, to = at[at < to], to[at < to]
        steps = bit_count(left[rows[at], 0] ^ right[columns[to], 0])
        near = steps <= distance
        at, to, steps = at[near], to[near], steps[near]
        bits = np.maximum(steps, waves[at, to])
        yield from zip(rows[at].tolist(), columns[to].tolist(), bits.tolist(), strict=True)


def bit_count(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits of each number are set."""
    import numpy as np

    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    one, two, four = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f"))  # numpy 1: the bits in pairs
    values = values - ((values >> np.uint64(1)) & one)
    values = (values & two) + ((values >> np.uint64(2)) & two)
    values = (values + (values >> np.uint64(4))) & four
    return ((values * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)


def _groups(
    alike: Sequence[Sequence[Path]],
    near: _Near,
    sizes: dict[Path, int],
    hashes: dict[Path, PictureHash],
    contents: dict[Path, str],
) -> Generator[Group, None, None]:
    """The best image takes all that are near to it, then the best of the rest; in the order of the ones to keep."""
    taken: set[int] = set()
    for place, images in enumerate(alike):
        if place in taken:
            continue
        best = images[0]
        members = [
            _duplicate(image, sizes, hashes, 0, image in contents and contents[image] == contents.get(best))
            for image in images[1:]
        ]
        members.sort(key=lambda member: not member.is_same)
        others = {other: facts for other, facts in near.get(place, {}).items() if other not in taken}
        taken.update(others)
        for other, (bits, is_mirrored) in sorted(others.items(), key=lambda pair: (pair[1][0], pair[0])):
            members += (_duplicate(image, sizes, hashes, bits, False, is_mirrored) for image in alike[other])
        if members:
            yield Group((_duplicate(best, sizes, hashes), *members))


def _duplicate(
    image: Path,
    sizes: dict[Path, int],
    hashes: dict[Path, PictureHash],
    distance: int = 0,
    is_same: bool = False,
    is_mirrored: bool = False,
) -> Duplicate:
    known = hashes.get(image)
    width, height = (known.width, known.height) if known is not None else (0, 0)
    return Duplicate(image, width, height, sizes[image], distance, is_same, is_mirrored)
