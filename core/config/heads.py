"""What the first kilobytes of a picture tell: its size, whether viewers turn it, whether it has an alpha channel."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from core.dataset.sizes import size_in

HEAD = 2048
ALPHA = 16
"""Of the flags; the lower bits are EXIF's orientation, 1 for none."""
_EXIF_IN_WEBP = 0x08
_LARGEST_EXIF = 1 << 16


def look(name: str, folder: int, path: str) -> tuple[int, int, int]:
    """(width, height, flags) of the picture `name` in the open folder; a width of 0 when it is none that can be read.

    `path` is the same file, for the formats that are asked of Pillow.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return 0, 0, 1
    try:
        head = os.read(descriptor, HEAD)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 26:
            width, height = struct.unpack(">II", head[16:24])
            return (width, height, _png_flags(head)) if width and height else (0, 0, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
        size = size_in(descriptor, path)
        if size is None:
            return 0, 0, 1
        return *size, _flags(head, descriptor)
    except OSError:
        return 0, 0, 1
    finally:
        os.close(descriptor)


def look_at(path: Path) -> tuple[int, int, int]:
    """`look` of one file."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return 0, 0, 1
    try:
        return look(path.name, folder, str(path))
    finally:
        os.close(folder)


def _png_flags(head: bytes) -> int:
    # colour types 4 and 6 have an alpha channel; tRNS and, as a rule, eXIf stand before the pixels
    before = head.partition(b"IDAT")[0]
    alpha = ALPHA if head[25:26] in (b"\x04", b"\x06") or b"tRNS" in before else 0
    at = before.find(b"eXIf")
    return alpha | (_orientation(before[at + 4 :]) if at > 0 else 1)


def _flags(head: bytes, descriptor: int) -> int:
    if head.startswith(b"\xff\xd8"):
        start = head.find(b"Exif\0\0")
        return _orientation(head[start + 6 :]) if start >= 0 else 1
    if head[:4] == b"RIFF" and head[12:16] == b"VP8X":
        alpha = ALPHA if head[20] & 0x10 else 0
        return alpha | (_orientation(_webp_exif(descriptor)) if head[20] & _EXIF_IN_WEBP else 1)
    if head[:4] == b"RIFF" and head[12:16] == b"VP8L" and len(head) >= 25:
        return 1 | (ALPHA if head[24] & 0x10 else 0)  # the lossless header's own alpha_is_used
    return 1


def _webp_exif(descriptor: int) -> bytes:
    """The EXIF chunk, which stands behind the pixels; b"" when there is none."""
    at, end = 12, os.fstat(descriptor).st_size
    for _ in range(10_000):
        head = os.pread(descriptor, 8, at)
        if len(head) < 8 or at >= end:
            break
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            return os.pread(descriptor, min(size, _LARGEST_EXIF), at + 8).removeprefix(b"Exif\0\0")
        at += 8 + size + (size & 1)
    return b""


def _orientation(tiff: bytes) -> int:
    """EXIF's orientation, 1 when there is none in these bytes."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for number in range(min(count, 100)):
            tag, _kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * number)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
