"""Opening pictures with Pillow, safely: a limit against decompression bombs, and one sentence for what is wrong."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 178_956_970
"""Pillow's own limit for an error (twice its MAX_IMAGE_PIXELS): above it a header is not believed and never decoded."""


def open_picture(path: Path) -> Image.Image:
    """The image in `path`, its header read and its pixels not. Raises UserError when it is none or far too large."""
    from PIL import Image, UnidentifiedImageError

    # Pillow warns on stderr (large images, odd EXIF), which would tear a full screen; set each time, since other code
    # may put the filters back
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image: {_what(path)}", _REPLACE) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path} claims to be larger than {MAX_PIXELS // 10**6} megapixels and is not opened",
            "Scale it down in an image editor, or leave it out.",
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}", "It was moved or deleted: scan the dataset again.") from error
    except (OSError, ValueError, SyntaxError, RuntimeError) as error:  # RuntimeError: AVIF
        raise UserError(f"Cannot open the image {path}: {_reason(error)}", _REPLACE) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise UserError(f"{path} is larger than {MAX_PIXELS // 10**6} megapixels and is not opened", "Scale it down.")
    return image


def decode(image: Image.Image, path: Path) -> None:
    """Read the pixels of an opened image. Raises UserError when they are damaged or cut off."""
    try:
        image.load()
    except _DAMAGED as error:
        raise UserError(f"The image {path} is damaged: {_reason(error)}", _REPLACE) from error


_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError, TypeError, KeyError, RuntimeError)
"""Pillow's decoders raise all of these on damaged files."""
_REPLACE = "Replace the file by a good copy, or leave it out."


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _what(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(256)
    except OSError as error:
        return error.strerror or str(error)
    if not head:
        return "it is empty (0 bytes)"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page"
    try:
        text = head.decode("utf-8", "strict" if len(head) < 256 else "ignore")
    except UnicodeDecodeError:
        return "Pillow does not know its format"
    return "it is a text file" if all(char.isprintable() or char in "\r\n\t" for char in text) else "unknown format"
