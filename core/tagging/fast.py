"""Quicker decoding with imagecodecs (the extra `fast`), only where its pixels are Pillow's.

That is: 8-bit RGB without transparency, one frame; PNG by libspng, JPEG by libjpeg-turbo, WEBP by libwebp. What it does
not like, it leaves to Pillow, whose error is the one that people see.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Decoder = Callable[[bytes], Any]
_LATE = (b"eXIf", b"XML:com.adobe.xmp")
"""What a PNG may hold behind its pixels, where Pillow finds it only when it decodes them itself."""


def decode_fast(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """The pixels uint8 [height, width, 3] of the opened `image` with the file content `data`; None where Pillow has to
    do it.
    """
    kind = image.format or ""
    if image.mode != "RGB" or "transparency" in image.info or getattr(image, "n_frames", 1) != 1:
        return None
    if kind == "JPEG" and not data.endswith(b"\xff\xd9"):
        return None  # cut off: libjpeg would fill up with grey, Pillow refuses
    if kind == "PNG" and any(mark in data for mark in _LATE) and not {"exif", "XML:com.adobe.xmp"} & image.info.keys():
        return None
    decoder = _decoder(kind)
    if decoder is None:
        return None
    try:
        pixels = np.asarray(decoder(data))
    except Exception:  # each codec has its own class; Pillow decides
        return None
    return pixels if pixels.dtype == np.uint8 and pixels.shape == (image.height, image.width, 3) else None


@cache
def _decoder(kind: str) -> _Decoder | None:
    """The codec, once it has shown that it decodes a small picture as the installed Pillow does."""
    if kind not in ("PNG", "JPEG", "WEBP"):
        return None
    try:
        import imagecodecs

        decoder: _Decoder = {
            "PNG": imagecodecs.spng_decode,
            "JPEG": imagecodecs.jpeg8_decode,
            "WEBP": imagecodecs.webp_decode,
        }[kind]
        file = BytesIO()
        y, x = np.mgrid[0:37, 0:53]
        drawing = np.stack((x * 4 + y, y * 6, 255 - x * 2 - (x * y) % 90), axis=2).astype(np.uint8)
        Image.fromarray(drawing).save(file, kind, quality=80)
        with Image.open(BytesIO(file.getvalue())) as small:
            return decoder if np.array_equal(np.asarray(small), decoder(file.getvalue())) else None
    except Exception:  # not installed, or built without this codec
        return None
