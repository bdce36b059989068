"""What an import is asked to bring in: folders, files and patterns turned into images and the captions beside them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.dataset.model import CAPTION_EXTENSION, IMAGE_EXTENSIONS, is_image_name
from core.files import TEMP_PREFIX, is_folder, natural_key
from core.problems import UserError
from core.text import printable

CAPTION_EXTENSIONS = (CAPTION_EXTENSION, ".caption")
"""Captions beside an image, the first one found wins; both become `.txt`."""
CONVERTED = frozenset(
    {".gif", ".tif", ".tiff", ".avif", ".tga", ".jfif", ".jpe", ".ppm", ".pgm", ".jp2", ".ico", ".dib"}
)
"""Other images that Pillow reads, or may read; of the FOREIGN ones only their names are known."""
FOREIGN = frozenset({".heic", ".heif", ".jxl", ".psd", ".svg", ".kra", ".clip", ".cr2", ".dng", ".nef"})
_HEAD_FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "MPO": ".jpg"}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not imported, and why (with the remedy)."""

    path: Path
    reason: str
    is_there: bool = False
    """The dataset has it already: nothing is missing."""


@dataclass(slots=True)
class Found:
    """Images in the order in which they were named, the caption of each, and what was left out."""

    images: list[Path] = field(default_factory=list)
    captions: dict[Path, Path] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def collect(sources: Sequence[Path | str], *, recursive: bool = False) -> Found:
    """The images that `sources` mean: files, folders (with the folders below when `recursive`), or patterns.

    Raises UserError when a source does not exist.
    """
    found = Found()
    files: dict[Path, None] = {}
    named: set[Path] = set()
    for source in sources:
        for path in _expand(source):
            if path.is_dir():
                files.update(dict.fromkeys(_listing(path, found, recursive=recursive)))
            else:
                files[path] = None
                named.add(path)
    texts = [path for path in files if path.suffix.lower() in CAPTION_EXTENSIONS]
    used: set[Path] = set()
    for path in files:
        if path.suffix.lower() in CAPTION_EXTENSIONS:
            continue
        if not is_candidate(path.name):
            if path.suffix.lower() in FOREIGN:
                found.skipped.append(Skipped(path, "is in a format that cannot be read here: save it as PNG first"))
            elif path in named:
                found.skipped.append(Skipped(path, "is neither an image nor a caption"))
            continue
        found.images.append(path)
        beside = [text for text in (path.with_suffix(each) for each in CAPTION_EXTENSIONS) if text.is_file()]
        used.update(beside)
        if beside:
            found.captions[path] = beside[0]
            found.skipped.extend(
                Skipped(text, f"the caption {beside[0].name} beside it is taken") for text in beside[1:]
            )
    found.skipped.extend(
        Skipped(text, "there is no image of that name among the sources") for text in texts if text not in used
    )
    return found


def is_candidate(name: str) -> bool:
    """Whether a file of this name is worth a look: an image by its extension, in whatever case."""
    extension = Path(name).suffix.lower()
    return extension in IMAGE_EXTENSIONS or extension in CONVERTED


def target_name(source: Path, image_format: str | None) -> tuple[str, bool]:
    """The name that an image gets, and whether it has to be converted.

    Names that sd-scripts reads stay; an extension in mixed case is lowered; a JPEG, PNG, WebP or BMP under another
    extension gets its own; everything else becomes PNG.
    """
    if is_image_name(source.name):
        return source.name, False
    extension = source.suffix.lower()
    if extension in IMAGE_EXTENSIONS:
        return source.stem + extension, False
    known = _HEAD_FORMATS.get(image_format or "")
    return source.stem + (known or ".png"), known is None


def _expand(source: Path | str) -> Iterable[Path]:
    text = os.path.expanduser(source)  # noqa: PTH111 (a pattern is no path yet)
    path = Path(text).absolute()
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True), key=natural_key)  # noqa: PTH207 (absolute patterns too)
        if matches:
            return [Path(match).absolute() for match in matches]
        raise UserError(f"Nothing matches {printable(text)}", "Check the pattern; quote it if the shell changes it.")
    raise UserError(f"There is no {printable(text)}", "Name images, or a folder with images.")


def _listing(folder: Path, found: Found, *, recursive: bool) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(
                ((entry.name, is_folder(entry)) for entry in entries if not entry.name.startswith((".", TEMP_PREFIX))),
                key=lambda pair: natural_key(pair[0]),
            )
    except OSError as error:
        raise UserError(
            f"Cannot read {folder}: {error.strerror or error}", "Check the rights of the folder."
        ) from error
    files = [folder / name for name, is_dir in listed if not is_dir]
    folders = [folder / name for name, is_dir in listed if is_dir]
    if recursive:
        for inner in folders:
            if not inner.is_symlink():  # a link upwards would never end
                files.extend(_listing(inner, found, recursive=True))
    elif folders and not any(is_candidate(path.name) for path in files):
        found.skipped.append(
            Skipped(folder, "holds no images itself, only folders: name those, or bring them in too (--recursive)")
        )
    return files
