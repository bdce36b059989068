"""Images with an EXIF orientation, saved as viewers show them.

The trainer and the taggers read the pixels as they are stored, so a picture that was taken with the camera on its side
is learned on its side. PNG and lossless WEBP keep every pixel; JPEG, lossy WEBP and AVIF are encoded once more, at
quality 95 or with the tables of the original where those are finer.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import struct
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.dataset.pictures import decode, open_picture
from core.files import TEMP_PREFIX, write_error
from core.problems import UserError
from core.text import count_of

if TYPE_CHECKING:
    from PIL import Image

    from core.dataset.groups import EditGroup
    from core.workspace import Workspace

_ORIENTATION = 0x0112
_QUALITY = 95
_LATENTS = re.compile(r"(?:_\d{4,5}x\d{4,5}(?:_\w+)?)?\.npz")
_MAY_BE_TURNED = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif"})


@dataclass(frozen=True, slots=True)
class TurnedImage:
    """An image that viewers turn or mirror. `orientation` is EXIF's: 3 upside down, 6 and 8 on its side, 2, 4, 5 and 7
    mirrored.
    """

    path: Path
    orientation: int


@dataclass(frozen=True, slots=True)
class UprightPlan:
    """What `run_upright` would do. `skipped` names images that viewers turn and this program does not, with why."""

    label: str
    images: tuple[TurnedImage, ...]
    skipped: tuple[tuple[Path, str], ...]
    looked_at: int


@dataclass(frozen=True, slots=True)
class UprightProgress:
    """How far it is. The last one has the `group` of the journal, None when nothing was changed."""

    done: int
    total: int
    current: Path | None = None
    turned: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()
    group: EditGroup | None = None


def plan_upright(
    workspace: Workspace | None, target: str, should_stop: Callable[[], bool] = lambda: False
) -> UprightPlan:
    """Look at every image of a dataset, `NAME/SUBSET` or folder; only headers are read, about 0.2 ms an image.

    Raises UserError when there is no such folder, or no image in it.
    """
    from core.dataset.scan import resolve_dir

    found: list[TurnedImage] = []
    skipped: list[tuple[Path, str]] = []
    looked_at = 0
    for folder in resolve_dir(workspace, target):
        for path in sorted(folder.iterdir()):
            if should_stop():
                break
            if path.suffix.lower() not in _MAY_BE_TURNED or not path.is_file():
                continue
            looked_at += 1
            orientation, obstacle = _facts(path)
            if obstacle is not None:
                skipped.append((path, obstacle))
            elif orientation is not None:
                found.append(TurnedImage(path, orientation))
    return UprightPlan(f"Turn {target} upright", tuple(found), tuple(skipped), looked_at)


def run_upright(workspace: Workspace, plan: UprightPlan) -> Generator[UprightProgress, None, None]:
    """Save the images of `plan` as they are seen, as one undoable group; a latents cache beside one goes with it.

    An image that cannot be read or written is named in `skipped` and stays as it is. Closing the generator ends the
    work between two images and keeps what was done. Raises UserError when nothing can be written at all.
    """
    from core.dataset.edits import Journal

    total = len(plan.images)
    if not total:
        yield UprightProgress(0, 0)
        return
    skipped: list[tuple[Path, str]] = []
    turned = 0
    with Journal(workspace).begin(plan.label, "upright") as group:
        for number, item in enumerate(plan.images):
            yield UprightProgress(number, total, item.path, turned, tuple(skipped))
            temp = item.path.with_name(f"{TEMP_PREFIX}{secrets.token_hex(6)}{item.path.suffix}")
            try:
                _save_upright(item.path, temp)
                for cache in _caches(item.path):
                    group.discard(cache)
                group.replace(item.path, temp)
            except UserError as error:
                skipped.append((item.path, error.message if error.hint is None else f"{error.message}. {error.hint}"))
            else:
                turned += 1
            finally:
                with contextlib.suppress(OSError):
                    temp.unlink()
        done = group.commit()
    yield UprightProgress(total, total, None, turned, tuple(skipped), done if done.id else None)


def summary(plan: UprightPlan) -> str:
    """`3 of 120 images are turned by viewers, and not by the trainer`."""
    verb = "is" if len(plan.images) == 1 else "are"
    return (
        f"{len(plan.images):,} of {count_of(plan.looked_at, 'image')} {verb} turned by viewers, and not by the trainer"
    )


def _facts(path: Path) -> tuple[int | None, str | None]:
    """The orientation when viewers turn the image, and what keeps it from being saved so. Unreadable files are none."""
    try:
        with contextlib.closing(open_picture(path)) as image:
            orientation = _orientation(image, path)
            if orientation is None:
                return None, None
            return orientation, _obstacle(image, path)
    except UserError:
        return None, None


def _orientation(image: Image.Image, path: Path) -> int | None:
    if image.format == "PNG" and not _png_has_exif(path):
        return None  # else Pillow would decode the whole picture to look behind it
    try:
        value = int(image.getexif().get(_ORIENTATION, 1))
    except (ValueError, TypeError, SyntaxError, OSError, struct.error):  # broken EXIF data turns nothing
        return None
    return value if value in range(2, 9) else None


def _png_has_exif(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            stream.seek(8)
            while len(head := stream.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind == b"eXIf":
                    return True
                if kind in (b"tEXt", b"zTXt", b"iTXt"):
                    word = stream.read(min(length, 32))
                    if word.startswith((b"Raw profile type exif", b"XML:com.adobe.xmp")):
                        return True
                    length -= len(word)
                stream.seek(length + 4, 1)
    except OSError:
        pass
    return False


def _obstacle(image: Image.Image, path: Path) -> str | None:
    if image.format not in ("JPEG", "MPO", "PNG", "WEBP", "AVIF"):
        return f"{image.format} files are not turned: convert it to PNG"
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        return "an animation is not turned: save the frame that you want as PNG"
    if image.format == "PNG" and image.mode != "I;16" and _png_bits(path) == 16:
        return "16 bits a colour would be lost: turn it in an image editor"
    return None


def _png_bits(path: Path) -> int:
    with path.open("rb") as stream:
        head = stream.read(26)
    return head[24] if len(head) > 24 else 8


def _save_upright(path: Path, temp: Path) -> None:
    """Write the turned picture of `path` to `temp`, with its colour profile and without its orientation."""
    from PIL import ImageOps

    with contextlib.closing(open_picture(path)) as image:
        options = _options(image, path)  # from the opened file: decoding loses some of it
        decode(image, path)
        try:
            upright = ImageOps.exif_transpose(image)
            for key in ("exif", "xmp", "icc_profile", "dpi"):
                if upright.info.get(key):
                    options[key] = upright.info[key]
            upright.save(temp, "JPEG" if image.format == "MPO" else image.format, **options)
            shutil.copymode(path, temp)
        except OSError as error:
            raise (
                write_error(temp, error)
                if error.errno
                else UserError(f"{path} cannot be saved turned: {error}", "Turn it in an image editor.")
            ) from error
        except (ValueError, TypeError, SyntaxError, MemoryError, struct.error) as error:
            raise UserError(f"{path} cannot be saved turned: {error}", "Turn it in an image editor.") from error


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
    if sampling == 1 and _is_on_its_side(image):
        sampling = 0  # half the colour across would become half the colour down, which Pillow cannot write
    if sampling >= 0:
        options["subsampling"] = sampling
    return options


_TABLE_95 = 369
"""The sum of libjpeg's luminance table at quality 95."""


def _is_on_its_side(image: Image.Image) -> bool:
    return image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)


def _is_lossless_webp(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(12)
        while len(head := stream.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind in (b"VP8L", b"VP8 "):
                return bool(kind == b"VP8L")
            stream.seek(length + length % 2, 1)
    return False


def _caches(image: Path) -> Iterable[Path]:
    """The latents that the trainer kept of an image: they show it as it was."""
    for path in image.parent.glob(f"{_escaped(image.stem)}*.npz"):
        if _LATENTS.fullmatch(path.name[len(image.stem) :]):
            yield path


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)
