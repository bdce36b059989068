"""Folders inside the folder of a subset: each with images is a subset of its own, named by its path in the dataset.

sd-scripts looks into none of them (train_util.py, `glob_images`: no recursion), but trains on each as a subset that a
config names. Links are followed, and a folder that was met before is not gone into again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.dataset.model import Subset, is_image_name, parse_folder_name
from core.files import is_folder, natural_key
from core.problems import Problem, Severity

Met = set[tuple[int, int]]
"""Device and inode of the folders that were gone into."""
_ASIDE = frozenset(
    {"@eadir", "__macosx", "sample", "samples", "log", "logs", "cache", "mask", "masks", "backup", "backups", "trash"}
)
"""Folders that tools leave beside images (in lower case); they hold no training images."""


def below(parent: Subset, names: Iterable[str], met: Met) -> tuple[list[Subset], list[Problem]]:
    """The folders called `names` in that of `parent`, in natural order, whether there are images in them or not.

    One without a number in its name has the repeats of `parent`. What is set aside, hidden or in `met` is left out.
    """
    found: list[Subset] = []
    problems: list[Problem] = []
    for name in sorted(names, key=natural_key):
        path = parent.path / name
        if name.startswith("."):
            continue
        if (problem := aside(path)) is not None:
            problems.append(problem)
        elif meet(path, met):
            repeats, word = parse_folder_name(name) or (parent.repeats, parent.class_name)
            found.append(Subset(path, f"{parent.name}/{name}", repeats, word))
    return found, problems


def meet(path: Path, met: Met) -> bool:
    """Whether a folder was not met before; it is now. False for one that cannot be looked at."""
    try:
        facts = path.stat()
    except OSError:
        return False
    key = (facts.st_dev, facts.st_ino)
    is_new = key not in met
    met.add(key)
    return is_new


def told(subset: Subset) -> Problem:
    """What is to be known of a subset inside another."""
    return Problem(
        Severity.WARNING,
        "KT110",
        str(subset.path),
        "is a subset of its own here: sd-scripts does not look into folders inside a subset",
        f"New configs name it as an image_dir ({subset.repeats} repeats); a train_data_dir leaves it out. "
        "Or move its images up.",
    )


def aside(path: Path) -> Problem | None:
    """That a folder is no subset for its name; a hidden one is not even worth a line."""
    name = path.name.casefold()
    if name.startswith("."):
        return None
    if name in _ASIDE or name.startswith("backup") or name.endswith(("_backup", "-backup", ".bak")):
        what = "is a backup" if "backup" in name or name.endswith(".bak") else "holds no training images"
        return Problem(Severity.INFO, "KT104", str(path), f"{what} and is left out")
    return None


def walked(parent: Subset, met: Met) -> Iterator[Subset | Problem]:
    """Every subset below `parent` that has images, depth first, with what is to be told; reads names only."""
    found, problems = below(parent, _folders_in(parent.path), met)
    yield from problems
    for subset in found:
        if has_image(subset.path):
            yield subset
            yield told(subset)
        yield from walked(subset, met)


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            # of 200,000 files the kernel says that they are none, which is cheaper than to look at their names
            some = [entry for entry in entries if entry.is_symlink() or entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [entry.name for entry in some if not is_image_name(entry.name) and is_folder(entry)]


def has_image(folder: Path) -> bool:
    """Whether there is an image in a folder itself."""
    if folder.name.startswith("."):
        return False
    try:
        with os.scandir(folder) as entries:
            return any(is_image_name(entry.name) for entry in entries)
    except OSError:
        return False
