"""Checks of the folders that a config trains on: the pictures in them, their captions, what was cached of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.check_caches import check_caches
from core.config.check_captions import check_captions
from core.config.check_options import DATASET, error, first_names, warning
from core.config.check_pictures import check_pictures
from core.config.resolved import ResolvedSubset, images_in, resolve
from core.config.survey import FolderFacts, Survey
from core.dataset.model import IMAGE_EXTENSIONS, TRAINED, parse_folder_name
from core.problems import Problem
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

_OTHERS = frozenset({".gif", ".tif", ".tiff", ".avif", ".jxl", ".heic", ".tga", ".jfif"})


def check_folders(
    config: Config, workspace: Workspace, trigger: str | None, script: str, survey: Survey
) -> Iterator[Problem]:
    """The folders of all subsets with their images and captions."""
    train = config.effective()
    subsets = [subset for dataset in resolve(config, workspace) for subset in dataset.subsets]
    counts: list[int] = []
    found: list[Problem] = []
    for subset in subsets:
        facts = survey.folder(subset.folder) if subset.folder is not None else None
        count = len(facts.images) if facts is not None else 0
        counts.append(count if subset.repeats > 0 and not subset.values.get("is_reg") else 0)
        found.extend(_folder(subset, facts, workspace))
        if facts is not None and facts.images:
            extension = str(subset.values.get("caption_extension") or ".caption")
            known = survey.captions(facts, extension)
            found.extend(check_captions(facts, known, subset.values, workspace, train, trigger))
            found.extend(check_caches(facts, known, workspace, train, script))
            found.extend(check_pictures(facts, subset.values, workspace, train))
            found.extend(_repeats_in_the_name(config, subset))
    yield from found
    if not subsets and isinstance(train.get("train_data_dir"), str) and not train.get("dataset_config"):
        yield _no_numbered_folder(str(train["train_data_dir"]), workspace)
    if subsets and not any(counts):
        hint = "See the lines above; the trainer would end at once, with exit code 0."
        yield error("KT207", DATASET, "there is no picture to train on", hint)


def _no_numbered_folder(name: str, workspace: Workspace) -> Problem:
    """config_util.py, generate_dreambooth_subsets_config_by_subdirs: only folders named `<repeats>_<name>` count."""
    folder = workspace.root / Path(name).expanduser()
    where = "train.toml: train_data_dir"
    if images_in(folder):
        hint = f"Name its parent, {Path(name).parent.as_posix()}, with the pictures in a folder such as 10_name."
        return error("KT207", where, "is the folder of the pictures, and must be the one above it", hint)
    if images_in(folder) is None:
        return error("KT207", where, f"there is no folder {name}", f"Paths are relative to {workspace.root}.")
    hint = "Name them <repeats>_<name>, such as 10_rinni; all others are left out."
    return error("KT207", where, "has no folder named <repeats>_<name>: the trainer would end at once", hint)


def _repeats_in_the_name(config: Config, subset: ResolvedSubset) -> Iterator[Problem]:
    parsed = parse_folder_name(subset.folder.name) if subset.folder is not None else None
    if parsed is None or parsed[0] < 2 or not config.text("dataset").strip() or subset.repeats != 1:
        return
    places = (subset.where, subset.where.partition(".")[0], "general")
    if all(config.get("dataset", f"{place}.num_repeats") is None for place in places):
        message = f"the {parsed[0]} of {printable(subset.folder.name if subset.folder else '')} is not read here"
        hint = f"Set num_repeats = {parsed[0]}; without it every picture is shown once."
        yield warning("KT132", f"{DATASET}: {subset.where}.num_repeats", message, hint, fixable=True)


def _folder(subset: ResolvedSubset, facts: FolderFacts | None, workspace: Workspace) -> Iterator[Problem]:
    where = f"{DATASET}: {subset.where}"
    listed = subset.values.get("metadata_file")
    if isinstance(listed, str) and listed and not (workspace.root / Path(listed).expanduser()).is_file():
        hint = f"Paths are relative to {workspace.root}; without it, pictures and captions of image_dir are read."
        yield error("KT206", f"{where}.metadata_file", f"there is no {listed}: the trainer stops", hint)
    if subset.folder is None:
        return
    place = workspace.key_of(subset.folder)
    if facts is None:
        hint = f"Paths are relative to {workspace.root}. The trainer would leave this subset out."
        yield warning("KT120", f"{where}.image_dir", f"there is no folder {place}", hint)
        return
    if subset.repeats < 1:
        yield warning(
            "KT130", f"{where}.num_repeats", "is below 1: the trainer leaves this subset out", "Write 1 or more."
        )
    if not facts.images:
        inner = [path.name for path in sorted(subset.folder.iterdir()) if path.is_dir() and images_in(path)]
        hint = (
            f"Its folder {inner[0]} has some: name that one, sub-folders are not read."
            if inner
            else "Import some: kohya-tui import NAME FOLDER"
        )
        yield warning("KT121", f"{where}.image_dir", f"there is no picture in {place}", hint)
        return
    yield from facts.remembered("names", lambda: tuple(_names(facts, place)))


def _names(facts: FolderFacts, place: str) -> Iterator[Problem]:
    stems = Counter(name[: name.rindex(".")] for name in facts.images)
    shared = [stem for stem, count in stems.items() if count > 1] if len(stems) < len(facts.images) else []
    if shared:
        message = f"{count_of(len(shared), 'pair')} of pictures share one caption: {first_names(shared)}"
        yield warning("KT106", place, message, "Rename one of each pair.")
    mixed, others = [], []
    for name in facts.listing:
        ending = name[name.rfind(".") :]
        if ending in TRAINED or ending == ".txt":
            continue
        ending = ending.lower()
        if ending in IMAGE_EXTENSIONS and name[0] != ".":
            mixed.append(name)
        elif ending in _OTHERS:
            others.append(name)
    if mixed:
        message = f"{count_of(len(mixed), 'picture')} ignored for the mixed case of the ending: {first_names(mixed)}"
        yield warning("KT107", place, message, "Write the ending in small letters.")
    if others:
        message = f"{count_of(len(others), 'picture')} in a format that the trainer ignores: {first_names(others)}"
        yield warning("KT108", place, message, "Bring them in with kohya-tui import, which converts them to PNG.")
