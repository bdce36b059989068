"""Small pictures with captions, for the tests of what is read of a dataset."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of any size: a header is all that is read."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def draw(path: Path, caption: str | bytes | None = None, size: tuple[int, int] = (64, 64)) -> Path:
    """An image file, and its caption (None: no file)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(*size))
    if caption is not None:
        path.with_suffix(".txt").write_bytes(caption.encode() if isinstance(caption, str) else caption)
    return path
