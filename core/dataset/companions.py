"""What lies beside an image and belongs to it: its captions, and what the trainer cached of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from core.dataset.model import is_image_name
from core.dataset.sources import CAPTION_EXTENSIONS

CACHE_EXTENSION = ".npz"
_LATENTS = re.compile(r"(.+)_\d{4,5}x\d{4,5}(?:_[a-z0-9]+)?")
"""`IMG_0512x0768_sd.npz`; sd-scripts library/strategy_*.py. The old `IMG.npz` has the image's own stem."""
_TEXT_ENCODER = re.compile(r"(.+)_(?:te_outputs|(?:anima|flux|hi|lumina|sd3)_te)")
"""Text encoder outputs: they hold the caption, not the picture."""


Names = dict[str, str]
"""Stem → the files of that stem with `/` between them: 100,000 lists would hold the screen up when they go."""


@dataclass(slots=True)
class _Folder:
    images: Names = field(default_factory=dict)
    """Two of one stem share their caption and caches."""
    captions: Names = field(default_factory=dict)
    latents: Names = field(default_factory=dict)
    texts: Names = field(default_factory=dict)


class Companions:
    """The captions and caches of images. Each folder is listed once, when it is first asked about."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        self._last: tuple[Path | None, _Folder, str] = (None, _Folder(), "")
        """An image, its folder and its stem: several questions are asked about one."""

    def captions(self, image: Path) -> list[Path]:
        """The caption files of an image: `.txt` first, then `.caption`."""
        folder, stem = self._at(image)
        return [image.with_name(name) for name in _of_stem(folder.captions, stem)]

    def latents(self, image: Path) -> list[Path]:
        """The latents that the trainer kept: they show the image as it was."""
        folder, stem = self._at(image)
        return [image.with_name(name) for name in _of_stem(folder.latents, stem)]

    def caches(self, image: Path) -> list[Path]:
        """All that the trainer kept of an image and its caption."""
        folder, stem = self._at(image)
        return self.latents(image) + [image.with_name(name) for name in _of_stem(folder.texts, stem)]

    def sharing(self, image: Path) -> list[Path]:
        """Other images of the same stem (a.png, a.jpg): they have the same caption and caches."""
        folder, stem = self._at(image)
        names = _of_stem(folder.images, stem)
        return [image.with_name(name) for name in names if name != image.name] if len(names) > 1 else []

    def leftovers(self, folder: Path, stem: str) -> list[Path]:
        """What would become part of an image if one of this stem came into `folder`."""
        there = self._of(os.fspath(folder))
        found = (_of_stem(each, stem) for each in (there.images, there.captions, there.latents, there.texts))
        return [folder / name for names in found for name in names]

    def _at(self, image: Path) -> tuple[_Folder, str]:
        last, folder, stem = self._last
        if image is not last:
            folder, stem = self._of(os.path.dirname(image)), image.stem  # noqa: PTH120 (no Path for each of 100,000)
            self._last = image, folder, stem
        return folder, stem

    def _of(self, folder: str) -> _Folder:
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = _listed(folder)
        return found


def _listed(folder: str) -> _Folder:
    found = _Folder()
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names only: a Path for each of 300,000 is slow)
    except OSError:
        return found
    caches = []
    for name in names:
        stem, extension = os.path.splitext(name)  # noqa: PTH122 (the same)
        if is_image_name(name):
            _add(found.images, stem, name)
        elif extension in CAPTION_EXTENSIONS:
            _add(found.captions, stem, name)
        elif extension == CACHE_EXTENSION:
            caches.append((stem, name))
    for stem, listed in found.captions.items():
        if "/" in listed:
            some = sorted(listed.split("/"), key=lambda name: CAPTION_EXTENSIONS.index(os.path.splitext(name)[1]))  # noqa: PTH122
            found.captions[stem] = "/".join(some)
    for stem, name in sorted(caches):
        _assign(found, stem, name)
    return found


def _assign(found: _Folder, stem: str, name: str) -> None:
    """Give a cache to its image. Where no image fits it is kept under every stem that it may have been made for."""
    text, latents = _TEXT_ENCODER.fullmatch(stem), _LATENTS.fullmatch(stem)
    possible: Iterable[tuple[Names, str]] = [(found.latents, stem)]
    if text is not None:
        possible = [(found.latents, stem), (found.texts, text[1])]
    elif latents is not None:
        possible = [(found.latents, stem), (found.latents, latents[1])]
    owners = [(kind, owner) for kind, owner in possible if owner in found.images]
    for kind, owner in owners[:1] or possible:
        _add(kind, owner, name)


def _add(names: Names, stem: str, name: str) -> None:
    names[stem] = f"{names[stem]}/{name}" if stem in names else name


def _of_stem(names: Names, stem: str) -> list[str]:
    return found.split("/") if (found := names.get(stem)) else []
