"""Images with an EXIF orientation, saved as viewers show them.

The trainer and the taggers read the pixels as they are stored, so a picture that was taken with the camera on its side
is learned on its side. core.dataset.saving says what saving costs.
"""

from __future__ import annotations

import contextlib
import secrets
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.pictures import open_picture
from core.dataset.saving import ORIENTATION, obstacle, save_changed
from core.files import TEMP_PREFIX
from core.problems import UserError
from core.text import count_of

if TYPE_CHECKING:
    from PIL import Image

    from core.dataset.groups import EditGroup
    from core.workspace import Workspace

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
            orientation, reason = _facts(path)
            if reason is not None:
                skipped.append((path, reason))
            elif orientation is not None:
                found.append(TurnedImage(path, orientation))
    return UprightPlan(f"Turn {target} upright", tuple(found), tuple(skipped), looked_at)


def run_upright(workspace: Workspace, plan: UprightPlan) -> Generator[UprightProgress, None, None]:
    """Save the images of `plan` as they are seen, as one undoable group; a latents cache beside one goes with it.

    An image that cannot be read or written is named in `skipped` and stays as it is. Closing the generator ends the
    work between two images and keeps what was done. Raises UserError when nothing can be written at all.
    """
    from PIL.ImageOps import exif_transpose

    from core.dataset.companions import Companions
    from core.dataset.edits import Journal

    beside = Companions()
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
                save_changed(item.path, temp, exif_transpose, "turned")
                for cache in beside.latents(item.path):
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
            return orientation, obstacle(image, path, "turned")
    except UserError:
        return None, None


def _orientation(image: Image.Image, path: Path) -> int | None:
    if image.format == "PNG" and not _png_has_exif(path):
        return None  # else Pillow would decode the whole picture to look behind it
    try:
        value = int(image.getexif().get(ORIENTATION, 1))
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
