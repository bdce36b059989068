"""From an image file to the pixels that a tagger sees, as sd-scripts prepares them.

White under transparency, first frame, padded to a square with white, then OpenCV's area resize downwards or Pillow's
LANCZOS upwards (sd-scripts tag_images_by_wd14_tagger.py, preprocess_image, and library/utils.py, resize_image). EXIF
rotation is not applied: the trainer does not apply it either, so tags and training see the same picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.problems import UserError
from core.tagging.area import shrink_to_square
from core.tagging.descriptors import WHITE, InputFormat
from core.tagging.fast import decode_fast

_NEEDS_NEWER = frozenset({".avif", ".jxl", ".heic"})
"""Real images that a given Pillow may not know."""
_ORIENTATION = 0x0112
_LARGE = 4_000_000
"""Pixels from which a picture goes to numpy in strips: a tenth quicker there, at half the memory; a third slower for
small ones.
"""
_CANVAS = 200_000_000
"""Most pixels of a padded or enlarged picture: one of 1 x 60,000 would become a square of 3.6 gigapixels."""
_REMEDY = "Open it in an image program and save it again as PNG, or remove it."


def open_image(path: Path, data: bytes | None = None) -> Image.Image:
    """The image with its header read and no pixel decoded. The caller closes it. `data` is the file's content where it
    was read before.

    Raises UserError for what is no readable image: empty, not an image, a link to nothing, a bomb.
    """
    try:
        return Image.open(path if data is None else BytesIO(data))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error


Pixels = Image.Image | NDArray[np.uint8]
"""A picture: Pillow's (a large one as it is in the file, else RGB), or uint8 [height, width, 3]."""


def decode(image: Image.Image, path: Path, *, clip_16_bit: bool = False, data: bytes | None = None) -> Pixels:
    """The first frame as RGB on white (a large one becomes that in `prepare`). `path` only names the file in the
    UserError of a broken one.

    Pictures of 16 bits per pixel are scaled to 8 bits; `clip_16_bit` cuts them off at 255 as sd-scripts does (they
    turn white). With the file's content in `data`, imagecodecs decodes where it is installed and gives the same pixels.
    """
    try:
        if data is not None:
            pixels = decode_fast(image, data)
            if pixels is not None:
                return pixels
        image.load()
        if _stays(image):
            return image
        return _on_white(image if clip_16_bit else _eight_bits(image))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error


_SOURCE: Mapping[str, int] = {
    # Bytes of a pixel as Pillow keeps it, in modes that turn into RGB pixel by pixel.
    **dict.fromkeys(("1", "L", "P"), 1),
    **dict.fromkeys(("LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr"), 4),
}
_HELD: Mapping[str, int] = {
    # As Pillow keeps it, and the RGB that is made of it: four bytes a pixel of colour, one of grey.
    **dict.fromkeys(("1", "L", "P"), 5),
    **dict.fromkeys(("RGBA", "CMYK", "YCbCr", "LAB", "HSV"), 8),
    **dict.fromkeys(("LA", "PA"), 12),
    "RGB": 4,
    "I;16": 14,  # scaled by numpy, which copies
    "I": 22,
    "F": 22,
}


def decoding_bytes(image: Image.Image, forms: Iterable[tuple[InputFormat, int]] = ()) -> int:
    """Most memory that `decode` takes, and `prepare` for each of `forms` (with its size) after it, for the pixels of an
    opened image, as far as its header tells.
    """
    pixels, side = image.width * image.height, max(image.size)
    each = _HELD.get(image.mode, 14)
    if "transparency" in image.info:
        each += 8 if image.mode == "RGB" else 4
    if _stays(image):
        needs = [pixels * _SOURCE[image.mode]]
    else:  # a small picture is copied to numpy, through a list of its pieces
        needs = [pixels * max(each, 4 if pixels > _LARGE else 10)]
    for form, size in forms:
        if form.fit == "pad" and form.resample == "area" and side >= size and form.align is None:
            continue
        canvas = side * side if form.fit == "pad" and side * side <= _CANVAS else 0
        needs.append(pixels * each + 4 * canvas)
    return max(needs)


def _stays(image: Image.Image) -> bool:
    """Whether a picture is too large to be turned into RGB as a whole: that is done strip by strip."""
    return image.mode in _SOURCE and image.width * image.height > _LARGE


def load_image(path: Path, *, clip_16_bit: bool = False) -> Image.Image:
    """`open_image` and `decode` in one: RGB, first frame, white under transparency."""
    with closing(open_image(path)) as image:
        picture = as_image(decode(image, path, clip_16_bit=clip_16_bit))
        return picture.copy() if picture is image else picture


def as_image(pixels: Pixels) -> Image.Image:
    """As Pillow's RGB image on white; an array is copied."""
    return _on_white(pixels) if isinstance(pixels, Image.Image) else Image.fromarray(pixels)


def prepare(image: Pixels, form: InputFormat, size: int) -> NDArray[np.uint8]:
    """An RGB picture as uint8 [size, size, 3] in the model's own channel order (`form.channels`), fitted as its author
    does; scale and shift are the session's. With `form.mask` a fourth channel: 255 where there is padding.
    """
    if form.align is not None:
        image = _aligned(as_image(image), *form.align, form.pad)
    width, height = _size_of(image)
    if form.fit == "pad" and form.resample == "area" and max(width, height) >= size:
        square = shrink_to_square(_rows_of(image), height, width, size, form.pad)
    else:
        square = _FITS[form.fit](as_image(image), form, size)
    square = square[:, :, ::-1] if form.channels == "BGR" else square
    if form.mask is not None:
        padding = np.full((size, size, 1), 255, np.uint8)
        across, down = _letterbox((width, height), size)
        left, top = (size - across) // 2, (size - down) // 2
        padding[top : top + down, left : left + across] = 0
        square = np.concatenate([square, padding], axis=2)
    return np.ascontiguousarray(square)


def _padded(image: Image.Image, form: InputFormat, size: int) -> NDArray[np.uint8]:
    """To a square, then to `size`; one too narrow for its square to fit into memory is made small first."""
    side = max(image.size)
    if side * side > _CANVAS:
        return _padded_after(image, form, size)
    canvas = _centred(image, side, form.pad)
    return np.asarray(canvas if side == size else canvas.resize((size, size), _filter(form)))


def _squashed(image: Image.Image, form: InputFormat, size: int) -> NDArray[np.uint8]:
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), _filter(form)))


def _padded_after(image: Image.Image, form: InputFormat, size: int) -> NDArray[np.uint8]:
    """The longer side to `size`, the other rounded down as Camie's authors write it, then to a square."""
    ratio = image.width / image.height
    fitted = (size, max(1, int(size / ratio))) if ratio > 1 else (max(1, int(size * ratio)), size)
    small = image if image.size == fitted else image.resize(fitted, _filter(form))
    return np.asarray(_centred(small, size, form.pad))


def _letterboxed(image: Image.Image, form: InputFormat, size: int) -> NDArray[np.uint8]:
    """The longer side to `size`, the other rounded, then to a square."""
    fitted = _letterbox(image.size, size)
    small = image if image.size == fitted else image.resize(fitted, _filter(form))
    return np.asarray(_centred(small, size, form.pad))


def _letterbox(picture: tuple[int, int], size: int) -> tuple[int, int]:
    """Width and height of a picture inside the square of its `letterbox`."""
    ratio = min(size / picture[0], size / picture[1])
    return max(1, round(picture[0] * ratio)), max(1, round(picture[1] * ratio))


def _cropped(image: Image.Image, form: InputFormat, size: int) -> NDArray[np.uint8]:
    """The shorter side to `size`, then the middle, as torchvision's Resize and CenterCrop."""
    width, height = image.size
    fitted = (size, int(size * height / width)) if width < height else (int(size * width / height), size)
    if fitted[0] * fitted[1] > _CANVAS:
        side, left, top = min(width, height), max(0, width - height) // 2, max(0, height - width) // 2
        return np.asarray(image.crop((left, top, left + side, top + side)).resize((size, size), _filter(form)))
    small = image if image.size == fitted else image.resize(fitted, _filter(form))
    left, top = (small.width - size) // 2, (small.height - size) // 2
    return np.asarray(small.crop((left, top, left + size, top + size)))


def _aligned(image: Image.Image, side: int, resample: str, colour: tuple[int, int, int]) -> Image.Image:
    """Fitted into a padded square (dghs-imgutils, PillowPadToSize)."""
    ratio = min(side / image.width, side / image.height)
    fitted = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    return _centred(image.resize(fitted, Image.Resampling[resample.upper()]), side, colour)


_FITS: Mapping[str, Callable[[Image.Image, InputFormat, int], NDArray[np.uint8]]] = {
    "pad": _padded,
    "squash": _squashed,
    "pad-after": _padded_after,
    "letterbox": _letterboxed,
    "crop": _cropped,
}


def _centred(image: Image.Image, side: int, colour: tuple[int, int, int]) -> Image.Image:
    """On a square of one colour; left and top get the smaller half."""
    if image.size == (side, side):
        return image
    canvas = Image.new("RGB", (side, side), colour)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _filter(form: InputFormat) -> Image.Resampling:
    """Pillow's filter; `area` comes here only where a picture grows."""
    name = "LANCZOS" if form.resample == "area" else form.resample.upper()
    return Image.Resampling[name]


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF data of a decoded image asks viewers to rotate or mirror it."""
    if "exif" not in image.info and not image.info.get("XML:com.adobe.xmp"):
        return False
    try:
        return int(image.getexif().get(_ORIENTATION, 1)) in range(2, 9)
    except (ValueError, TypeError, SyntaxError, OSError):  # broken EXIF data turns nothing
        return False


def _size_of(image: Pixels) -> tuple[int, int]:
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def _rows_of(image: Pixels) -> Callable[[int, int], NDArray[np.uint8]]:
    """Access to the rows of an RGB image: all at once, or strip by strip for one that numpy should not hold a second
    time.
    """
    if isinstance(image, Image.Image) and image.width * image.height > _LARGE:
        return lambda start, stop: np.asarray(_on_white(image.crop((0, start, image.width, stop))))
    pixels = np.asarray(image)
    return lambda start, stop: pixels[start:stop]


def unreadable(path: Path, error: BaseException) -> UserError:
    """The sentence for a file that is no readable image, with what helps."""
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        return UserError(
            f"{path} is larger than {limit} million pixels and is not opened",
            "Make it smaller first; a trainer never uses more than a few million pixels.",
        )
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return UserError(f"{path} is a link to a file that does not exist", "Correct or remove the link.")
        return UserError(f"{path} does not exist (any more)", "Import it again, or remove its caption.")
    if isinstance(error, PermissionError):
        return UserError(f"{path} may not be read", "Check the owner and the permissions of the file.")
    if isinstance(error, MemoryError):
        return UserError(f"{path} does not fit into memory", "Make it smaller first.")
    if isinstance(error, UnidentifiedImageError):
        try:
            is_empty = path.stat().st_size == 0
        except OSError:
            is_empty = False
        if is_empty:
            return UserError(f"{path} is empty (0 bytes)", "Copy the picture again, or remove the file.")
        if path.suffix.lower() in _NEEDS_NEWER:
            return UserError(f"{path} cannot be read by the installed Pillow", "Convert it to PNG, or update Pillow.")
        return UserError(f"{path} is not an image", "Its name says so, its content does not: remove or replace it.")
    return UserError(f"{path} is damaged: {error}", _REMEDY)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits scaled to 8; everything else as it is (Pillow itself scales 16-bit RGB)."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        values = values * 255.0 if float(values.max(initial=0.0)) <= 1.0 else values
    elif image.mode.startswith("I;16") or int(values.max(initial=0)) > 255:
        values = values >> 8
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        clear = image if image.mode == "RGBA" else image.convert("RGBA")
        canvas = Image.new("RGB", image.size, WHITE)
        canvas.paste(clear, mask=clear)
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")
