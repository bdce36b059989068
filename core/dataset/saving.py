"""Saving a changed picture in the format and with the quality of the file that it was read from.

PNG and lossless WEBP keep every pixel; JPEG, lossy WEBP and AVIF are encoded once more, at quality 95 or with the
tables of the original where those are finer. Colour profile, EXIF data and texts come along.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.dataset.pictures import decode, open_picture
from core.files import write_error
from core.problems import UserError

if TYPE_CHECKING:
    from PIL import Image

_QUALITY = 95
_TABLE_95 = 369
"""The sum of libjpeg's luminance table at quality 95."""
ORIENTATION = 0x0112
"""The EXIF tag."""


def obstacle(image: Image.Image, path: Path, word: str) -> str | None:
    """What keeps an opened image from being saved `word` (turned, resized), None when nothing does."""
    if image.format not in ("JPEG", "MPO", "PNG", "WEBP", "AVIF"):
        return f"{image.format} files are not {word}: convert it to PNG"
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        return f"an animation is not {word}: save the frame that you want as PNG"
    if image.format == "PNG" and image.mode != "I;16" and _png_bits(path) == 16:
        return f"16 bits a colour would be lost: it is not {word}, use an image editor"
    return None


def save_changed(path: Path, temp: Path, change: Callable[[Image.Image], Image.Image], word: str) -> None:
    """Write what `change` makes of the picture in `path` to `temp`. Raises UserError; `path` is only read."""
    with contextlib.closing(open_picture(path)) as image:
        options = _options(image, path)  # from the opened file: decoding loses some of it
        decode(image, path)
        try:
            changed = change(image)
            for key in ("exif", "xmp", "icc_profile", "dpi"):
                if changed.info.get(key):
                    options[key] = changed.info[key]
            changed.save(temp, "JPEG" if image.format == "MPO" else image.format, **options)
            shutil.copymode(path, temp)
        except OSError as error:
            raise (
                write_error(temp, error)
                if error.errno
                else UserError(f"{path} cannot be saved {word}: {error}", "Use an image editor.")
            ) from error
        except (ValueError, TypeError, SyntaxError, MemoryError, struct.error) as error:
            raise UserError(f"{path} cannot be saved {word}: {error}", "Use an image editor.") from error


def _png_bits(path: Path) -> int:
    with path.open("rb") as stream:
        head = stream.read(26)
    return head[24] if len(head) > 24 else 8


def _options(image: Image.Image, path: Path) -> dict[str, Any]:
    if image.format in ("JPEG", "MPO"):
        return _jpeg_options(image)
    if image.format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()  # the prompt of a generated picture lies there
        image.load()
        for key, text in getattr(image, "text", {}).items():
            if not key.startswith(("Raw profile type", "XML:com.adobe.xmp")):
                texts.add_itxt(key, text) if not text.isascii() else texts.add_text(key, text)
        return {"pnginfo": texts}
    if image.format == "WEBP":
        is_lossless = _is_lossless_webp(path)
        return {"lossless": is_lossless, "quality": 100 if is_lossless else _QUALITY, "exact": True, "method": 4}
    return {"quality": _QUALITY}


def _jpeg_options(image: Image.Image) -> dict[str, Any]:
    from PIL.JpegImagePlugin import get_sampling

    options: dict[str, Any] = {"quality": _QUALITY, "progressive": bool(image.info.get("progressive"))}
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    if tables and sum(tables[min(tables)]) < _TABLE_95:
        del options["quality"]
        options["qtables"] = tables
    sampling = get_sampling(image)
    if sampling == 1 and image.getexif().get(ORIENTATION) in (5, 6, 7, 8):
        sampling = 0  # half the colour across would become half the colour down, which Pillow cannot write
    if sampling >= 0:
        options["subsampling"] = sampling
    return options


def _is_lossless_webp(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(12)
        while len(head := stream.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind in (b"VP8L", b"VP8 "):
                return bool(kind == b"VP8L")
            stream.seek(length + length % 2, 1)
    return False
