"""Scaling large images down to a longest side, so that a dataset takes less room and is read faster.

The trainer scales to the bucket anyway; what is lost is what a later training at a higher resolution would see.
core.dataset.saving says what saving costs.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.model import is_image_name
from core.dataset.pictures import open_picture
from core.dataset.saving import obstacle, save_changed
from core.dataset.sizes import image_size
from core.files import TEMP_PREFIX, natural_key
from core.problems import UserError
from core.text import count_of

if TYPE_CHECKING:
    from PIL import Image

    from core.dataset.edits import EditGroup
    from core.workspace import Workspace

LEAST = 64
"""Pixels; a smaller side than one bucket step is a slip of the keyboard."""


@dataclass(frozen=True, slots=True)
class ResizedImage:
    """One image that is larger: (width, height) as it is and as it would be."""

    path: Path
    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ResizePlan:
    """What `run_resize` would do. `skipped` names larger images that are left as they are, with why."""

    label: str
    max_side: int
    images: tuple[ResizedImage, ...]
    skipped: tuple[tuple[Path, str], ...]
    looked_at: int


@dataclass(frozen=True, slots=True)
class ResizeProgress:
    """How far it is. The last one has the `group` of the journal, None when nothing was changed."""

    done: int
    total: int
    current: Path | None = None
    resized: int = 0
    bytes_saved: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()
    group: EditGroup | None = None


def images_of(workspace: Workspace | None, target: str) -> list[Path]:
    """The images of a dataset, `NAME/SUBSET` or folder in natural order. UserError when there are none."""
    from core.dataset.scan import resolve_dir

    return [
        path
        for folder in resolve_dir(workspace, target)
        for path in sorted(folder.iterdir(), key=lambda each: natural_key(each.name))
        if is_image_name(path.name) and path.is_file()
    ]


def plan_resize(
    images: Iterable[Path], max_side: int, name: str, should_stop: Callable[[], bool] = lambda: False
) -> ResizePlan:
    """Look for images with a side longer than `max_side` pixels; only headers are read. `name` is for the label."""
    if max_side < LEAST:
        raise UserError(f"{max_side} pixels are too few", f"Give a longest side of {LEAST} or more, such as 2048.")
    found: list[ResizedImage] = []
    skipped: list[tuple[Path, str]] = []
    looked_at = 0
    for path in images:
        if should_stop():
            break
        looked_at += 1
        size = image_size(path)
        if size is None or max(size) <= max_side:
            continue
        try:
            with contextlib.closing(open_picture(path)) as image:
                why = obstacle(image, path, "resized")
        except UserError as error:
            why = error.message
        if why is None:
            found.append(ResizedImage(path, size, scaled(size, max_side)))
        else:
            skipped.append((path, why))
    return ResizePlan(f"Resize {name} to {max_side}", max_side, tuple(found), tuple(skipped), looked_at)


def run_resize(workspace: Workspace, plan: ResizePlan) -> Generator[ResizeProgress, None, None]:
    """Scale the images of `plan`, as one undoable group; the latents cached of one go with the old image.

    An image that cannot be read or written is named in `skipped` and stays as it is. Closing the generator ends the
    work between two images and keeps what was done. Raises UserError when nothing can be written at all.
    """
    from core.dataset.companions import Companions
    from core.dataset.edits import Journal

    total = len(plan.images)
    if not total:
        yield ResizeProgress(0, 0)
        return
    beside = Companions()
    skipped: list[tuple[Path, str]] = []
    resized = saved = 0
    with Journal(workspace).begin(plan.label, "resize") as group:
        for number, item in enumerate(plan.images):
            yield ResizeProgress(number, total, item.path, resized, saved, tuple(skipped))
            temp = item.path.with_name(f"{TEMP_PREFIX}{secrets.token_hex(6)}{item.path.suffix}")
            try:
                save_changed(item.path, temp, lambda image: _shrunk(image, plan.max_side), "resized")
                gain = item.path.stat().st_size - temp.stat().st_size
                for cache in beside.latents(item.path):
                    group.discard(cache)
                group.replace(item.path, temp)
            except UserError as error:
                skipped.append((item.path, error.message if error.hint is None else f"{error.message}. {error.hint}"))
            except OSError as error:
                skipped.append((item.path, error.strerror or str(error)))
            else:
                resized += 1
                saved += gain
            finally:
                with contextlib.suppress(OSError):
                    temp.unlink()
        done = group.commit()
    yield ResizeProgress(total, total, None, resized, saved, tuple(skipped), done if done.id else None)


def summary(plan: ResizePlan) -> str:
    """`3 of 120 images are larger than 2048 pixels`."""
    verb = "is" if len(plan.images) == 1 else "are"
    return f"{len(plan.images):,} of {count_of(plan.looked_at, 'image')} {verb} larger than {plan.max_side} pixels"


def scaled(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """`size` with its longest side at `max_side`, the other rounded, never below 1; smaller ones stay."""
    longest = max(size)
    if longest <= max_side:
        return size
    return max(1, round(size[0] * max_side / longest)), max(1, round(size[1] * max_side / longest))


def _shrunk(image: Image.Image, max_side: int) -> Image.Image:
    from PIL import Image

    if image.mode == "1":
        image = image.convert("L")
    elif image.mode == "P" or "transparency" in image.info:
        has_alpha = "transparency" in image.info or (image.palette is not None and image.palette.mode == "RGBA")
        image = image.convert("RGBA" if has_alpha else "RGB")
    return image.resize(scaled(image.size, max_side), Image.Resampling.LANCZOS)
