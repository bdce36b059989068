"""Which files a journal may touch: one that came with a shared workspace is not believed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.dataset.changes import Change, Edit, Folder, Move
from core.dataset.model import IMAGE_EXTENSIONS, parse_folder_name
from core.dataset.sources import CAPTION_EXTENSIONS, CONVERTED
from core.problems import UserError
from core.settings import state_dir

_OUTSIDE = IMAGE_EXTENSIONS | CONVERTED | frozenset((*CAPTION_EXTENSIONS, ".npz"))
_CAPTIONS = tuple(CAPTION_EXTENSIONS)
_CONFIG_FILES = frozenset({"train.toml", "dataset.toml"})
"""`configs/` may be a link to another place; no other file that is read as a setting has these names."""


def check_places(changes: Iterable[Change], journal: Path, root: Path) -> None:
    """A workspace that somebody shared brings its journal along, which must not replace ~/.bashrc at the next start.

    Outside of the workspace a group touches images, what the trainer caches of them, and captions only: an import moves
    them, a tag run writes them. What is no usual caption lies beside an image of its name. A tag run outside of any
    workspace keeps its journal in the user's own state folder, which nobody shares.
    """
    if root.parent == state_dir() / "runs":
        return
    folders: dict[Path, bool] = {}
    stems: dict[Path, set[str]] = {}
    for change in changes:
        is_caption = isinstance(change, Edit) and os.fspath(change.path).endswith(_CAPTIONS)
        if is_caption and not os.path.islink(change.path):  # type: ignore[union-attr]  # noqa: PTH114 (100,000 times)
            continue
        if isinstance(change, Folder) or _is_renamed_subset(change, root):
            continue
        for path in (change.source, change.target) if isinstance(change, Move) else (change.path,):
            real = path.resolve() if path.is_symlink() else path
            if real.suffix.lower() in _OUTSIDE or real.name in _CONFIG_FILES:
                continue
            if real.parent not in folders:
                folders[real.parent] = real.parent.resolve().is_relative_to(root.resolve())
                stems[real.parent] = set() if folders[real.parent] else _image_stems(real.parent)
            if not folders[real.parent] and not any(name in stems[real.parent] for name in _stems(real.name)):
                raise UserError(
                    f"The journal file {journal} would change {real}, which is no file of this workspace",
                    "Nothing was done. Move that journal file away, unless you know who wrote it.",
                )


def _is_renamed_subset(change: Change, root: Path) -> bool:
    """`10_rinni` → `5_rinni` of a dataset, which may be a link to another place."""
    if not isinstance(change, Move) or change.source.parent != change.target.parent:
        return False
    names = (parse_folder_name(change.source.name), parse_folder_name(change.target.name))
    return root / "train_data" in change.source.parents and None not in names


def _image_stems(folder: Path) -> set[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return set()
    return {stem for stem, suffix in map(os.path.splitext, names) if suffix.lower() in IMAGE_EXTENSIONS}


def _stems(name: str) -> Iterator[str]:
    """`a.b`, `a` of `a.b.tags`: the images that a caption of this name may belong to."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
