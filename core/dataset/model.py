"""The values of a dataset: images with their captions, the subsets they lie in, and the whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.problems import Problem
from core.workspace import Workspace

IMAGE_EXTENSIONS: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
"""What sd-scripts trains on (train_util.py, IMAGE_EXTENSIONS): all in lower or all in upper case, never mixed."""
CAPTION_EXTENSION = ".txt"


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One image file. Its identity is the path; `bytes` and `mtime_ns` are those of the image when it was scanned."""

    path: Path
    subset: str
    caption_path: Path
    has_caption: bool
    """A caption file is there; whether something stands in it is known when it is read."""
    bytes: int
    mtime_ns: int

    @property
    def name(self) -> str:
        return self.path.name

    def key(self, workspace: Workspace) -> str:
        """Identity across sessions: the path relative to the workspace, with `/`."""
        return workspace.key_of(self.path)


@dataclass(frozen=True, slots=True)
class Subset:
    """A folder of images with kohya's `<repeats>_<name>`.

    A folder without the number has repeats 1 and no class name. Images that lie in the dataset's own folder are the
    subset `.`, unless that folder itself is named `<repeats>_<name>` (the layout of sd-scripts' `train_data_dir`).
    """

    path: Path
    name: str
    repeats: int
    class_name: str | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything under `train_data/<name>`, as it was when it was scanned."""

    name: str
    path: Path
    subsets: tuple[Subset, ...]
    items: tuple[ImageItem, ...]
    problems: tuple[Problem, ...]

    @property
    def uncaptioned(self) -> int:
        """Images without a caption, or with one that has no tag in it. Reads the captions: call it once.

        A caption that cannot be read as text is not counted: it is a problem of its own.
        """
        from core.dataset.captions import has_no_tag

        return sum(not item.has_caption or has_no_tag(item.caption_path) for item in self.items)


def is_image_name(name: str) -> bool:
    """Whether sd-scripts takes a file of this name for an image (its `glob_images` does not see hidden ones)."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:] in TRAINED and name[0] != "."


TRAINED = IMAGE_EXTENSIONS | {extension.upper() for extension in IMAGE_EXTENSIONS}


def parse_folder_name(name: str) -> tuple[int, str] | None:
    """`10_rinni` → (10, "rinni"); None when the name does not begin with a number and an underscore.

    sd-scripts config_util.py, `extract_dreambooth_params`: the part before the first underscore as an integer.
    """
    number, underscore, rest = name.partition("_")
    if not underscore or not number.isascii() or not number.isdecimal():
        return None
    return int(number), rest
