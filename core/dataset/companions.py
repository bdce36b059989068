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


@dataclass(slots=True)
class _Folder:
    images: dict[str, list[str]] = field(default_factory=dict)
    """Stem → the images of that stem; two share their caption and caches."""
    captions: dict[str, list[str]] = field(default_factory=dict)
    latents: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)


class Companions:
    """The captions and caches of images. Each folder is listed once, when it is first asked about."""

    def __init__(self) -> None:
        self._folders: dict[Path, _Folder] = {}

    def captions(self, image: Path) -> list[Path]:
        """The caption files of an image: `.txt` first, then `.caption`."""
        return self._paths(image, self._of(image.parent).captions)

    def latents(self, image: Path) -> list[Path]:
        """The latents that the trainer kept: they show the image as it was."""
        return self._paths(image, self._of(image.parent).latents)

    def caches(self, image: Path) -> list[Path]:
        """All that the trainer kept of an image and its caption."""
        return self.latents(image) + self._paths(image, self._of(image.parent).texts)

    def sharing(self, image: Path) -> list[Path]:
        """Other images of the same stem (a.png, a.jpg): they have the same caption and caches."""
        names = self._of(image.parent).images.get(image.stem, [])
        return [image.with_name(name) for name in names if name != image.name]

    def leftovers(self, folder: Path, stem: str) -> list[Path]:
        """What would become part of an image if one of this stem came into `folder`."""
        there = self._of(folder)
        found = (each.get(stem, []) for each in (there.images, there.captions, there.latents, there.texts))
        return [folder / name for names in found for name in names]

    @staticmethod
    def _paths(image: Path, names: dict[str, list[str]]) -> list[Path]:
        return [image.with_name(name) for name in names.get(image.stem, [])]

    def _of(self, folder: Path) -> _Folder:
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = _listed(folder)
        return found


def _listed(folder: Path) -> _Folder:
    found = _Folder()
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names only: a Path for each of 300,000 is slow)
    except OSError:
        return found
    caches = []
    for name in names:
        stem, extension = os.path.splitext(name)  # noqa: PTH122 (the same)
        if is_image_name(name):
            found.images.setdefault(stem, []).append(name)
        elif extension in CAPTION_EXTENSIONS:
            found.captions.setdefault(stem, []).append(name)
        elif extension == CACHE_EXTENSION:
            caches.append((stem, name))
    for listed in found.captions.values():
        listed.sort(key=lambda name: CAPTION_EXTENSIONS.index(os.path.splitext(name)[1]))  # noqa: PTH122
    for stem, name in sorted(caches):
        _assign(found, stem, name)
    return found


def _assign(found: _Folder, stem: str, name: str) -> None:
    """Give a cache to its image. Where no image fits it is kept under every stem that it may have been made for."""
    text, latents = _TEXT_ENCODER.fullmatch(stem), _LATENTS.fullmatch(stem)
    possible: Iterable[tuple[dict[str, list[str]], str]] = [(found.latents, stem)]
    if text is not None:
        possible = [(found.latents, stem), (found.texts, text[1])]
    elif latents is not None:
        possible = [(found.latents, stem), (found.latents, latents[1])]
    owners = [(kind, owner) for kind, owner in possible if owner in found.images]
    for kind, owner in owners[:1] or possible:
        kind.setdefault(owner, []).append(name)
