"""Which files of a folder a tag run takes, and which of them write which caption."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from core.dataset.captions import CaptionError, decode, read_bytes, split, tag_key, trigger_tags
from core.dataset.model import IMAGE_EXTENSIONS

EXTENSIONS = IMAGE_EXTENSIONS | {".avif", ".gif", ".jxl"}
"""Beside what the trainer reads: formats that Pillow may read (sd-scripts takes .avif and .jxl with a plugin)."""
_SD_EXTENSIONS = frozenset(
    form for extension in (IMAGE_EXTENSIONS | {".avif"}) for form in (extension, extension.upper())
)


def find_images(folder: Path, *, recursive: bool = False, sd_compat: bool = False) -> list[Path]:
    """The image files in `folder`, sorted as sd-scripts sorts them (part by part, capitals first).

    Endings count without regard to case; `sd_compat` takes all-lower or all-upper ones only, and no GIF. A link that
    leads nowhere is in the list, so that the run can name it. Hidden files are images like others.
    """

    def is_image(name: str) -> bool:
        dot = name.rfind(".")
        ending = name[dot:] if dot > 0 else ""
        return ending in _SD_EXTENSIONS if sd_compat else ending.lower() in EXTENSIONS

    return list(_walk(folder, recursive, is_image, set()))


@lru_cache(maxsize=1 << 14)  # a run asks four times an image, at 10 microseconds each
def caption_path(image: Path, extension: str) -> Path:
    """The caption file of an image: its name with `extension` in place of its ending."""
    if extension == ".txt" and not image.name.startswith("."):
        return image.with_suffix(extension)  # a third of the cost under Python 3.11
    return Path(os.path.splitext(image)[0] + extension)  # noqa: PTH122 (with_suffix refuses endings such as `_tags.txt`)


def wanted(images: Iterable[Path], policy: str, extension: str, triggers: Iterable[str] = ()) -> list[Path]:
    """The images that a run with this policy tags: all, or those without a caption.

    For `skip` any text is a caption, for `only-untagged` one with a tag beside the `triggers`
    (TagRequest.trigger_words). What cannot be read is one.
    """
    if policy == "skip":
        return [image for image in images if not _has_text(caption_path(image, extension))]
    if policy == "only-untagged":
        known = {tag_key(tag) for word in triggers for tag in trigger_tags(word)}
        return [image for image in images if not _has_tags(caption_path(image, extension), known)]
    return list(images)


def _has_text(path: Path) -> bool:
    try:
        return bool((read_bytes(path) or b"").strip())
    except CaptionError:
        return True


def _has_tags(path: Path, known: set[str]) -> bool:
    try:
        return any(tag_key(tag) not in known for tag in split(decode(read_bytes(path) or b"", path)))
    except CaptionError:
        return True


def last_of_each(images: Sequence[Path], extension: str) -> dict[Path, Path]:
    """Caption file → the image that writes it: the last one where several share a stem, as with sd-scripts."""
    return {caption_path(image, extension): image for image in images}


def _walk(
    folder: Path, recursive: bool, is_wanted: Callable[[str], bool], seen: set[tuple[int, int]]
) -> Iterator[Path]:
    """Files below `folder` with names that are wanted, as a list of paths sorts them; links to folders are followed
    once.
    """
    try:
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            return
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in listed:
        if entry.name.startswith("._"):
            continue  # macOS leaves one beside every file it copies to a foreign disk; it holds no picture
        if entry.is_dir():
            if recursive:
                yield from _walk(Path(entry.path), recursive, is_wanted, seen)
        elif is_wanted(entry.name):
            yield folder / entry.name


def shared_stems(images: Iterable[Path], extension: str) -> dict[Path, list[Path]]:
    """Caption files that more than one image would write, with those images in order."""
    groups: dict[str, list[Path]] = {}
    for image in images:
        groups.setdefault(os.path.splitext(image)[0], []).append(image)  # noqa: PTH122 (a Path each costs 6 us)
    return {caption_path(group[0], extension): group for group in groups.values() if len(group) > 1}
