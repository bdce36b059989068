"""Checks of the folders that a config trains on: the pictures in them, their captions, what was cached of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.check_caches import check_caches
from core.config.check_options import DATASET, error, first_names, warning
from core.config.check_pictures import check_pictures
from core.config.resolved import ResolvedSubset, images_in, resolve
from core.config.values import shown
from core.dataset import captions
from core.dataset.model import IMAGE_EXTENSIONS, is_image_name, parse_folder_name
from core.problems import Problem, UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

_TOKENS_AT_MOST = 20_000
"""Captions whose tokens are counted; beyond, counting would take seconds."""
_CHOICE = re.compile(r"\{[^{}]*\|[^{}]*\}")
_OTHERS = frozenset({".gif", ".tif", ".tiff", ".avif", ".jxl", ".heic", ".tga", ".jfif"})


def check_folders(config: Config, workspace: Workspace, trigger: str | None, script: str) -> Iterator[Problem]:
    """The folders of all subsets with their images and captions."""
    train = config.effective()
    subsets = [subset for dataset in resolve(config, workspace) for subset in dataset.subsets]
    counts: list[int] = []
    found: list[Problem] = []
    for subset in subsets:
        names = images_in(subset.folder) if subset.folder is not None else None
        counts.append(len(names or []) if subset.repeats > 0 and not subset.values.get("is_reg") else 0)
        found.extend(_folder(subset, names, workspace))
        if names and subset.folder is not None:
            found.extend(check_captions(subset.folder, names, subset.values, workspace, train, trigger))
            extension = str(subset.values.get("caption_extension") or ".caption")
            found.extend(check_caches(subset.folder, names, extension, workspace, train, script))
            found.extend(check_pictures(subset.folder, names, subset.values, workspace, train))
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


def _folder(subset: ResolvedSubset, names: list[str] | None, workspace: Workspace) -> Iterator[Problem]:
    where = f"{DATASET}: {subset.where}"
    if subset.folder is None:
        return
    place = workspace.key_of(subset.folder)
    if names is None:
        hint = f"Paths are relative to {workspace.root}. The trainer would leave this subset out."
        yield warning("KT120", f"{where}.image_dir", f"there is no folder {place}", hint)
        return
    if subset.repeats < 1:
        yield warning(
            "KT130", f"{where}.num_repeats", "is below 1: the trainer leaves this subset out", "Write 1 or more."
        )
    if not names:
        inner = [path.name for path in sorted(subset.folder.iterdir()) if path.is_dir() and images_in(path)]
        hint = (
            f"Its folder {inner[0]} has some: name that one, sub-folders are not read."
            if inner
            else "Import some: kohya-tui import NAME FOLDER"
        )
        yield warning("KT121", f"{where}.image_dir", f"there is no picture in {place}", hint)
        return
    yield from _names(subset.folder, names, place)


def _names(folder: Path, names: Sequence[str], place: str) -> Iterator[Problem]:
    stems = Counter(name.rpartition(".")[0] for name in names)
    shared = [stem for stem, count in stems.items() if count > 1]
    if shared:
        message = f"{count_of(len(shared), 'pair')} of pictures share one caption: {first_names(shared)}"
        yield warning("KT106", place, message, "Rename one of each pair.")
    mixed, others = [], []
    for path in folder.iterdir():
        name, ending = path.name, path.suffix.lower()
        if ending in IMAGE_EXTENSIONS and not is_image_name(name):
            mixed.append(name)
        elif ending in _OTHERS:
            others.append(name)
    if mixed:
        message = f"{count_of(len(mixed), 'picture')} ignored for the mixed case of the ending: {first_names(mixed)}"
        yield warning("KT107", place, message, "Write the ending in small letters.")
    if others:
        message = f"{count_of(len(others), 'picture')} in a format that the trainer ignores: {first_names(others)}"
        yield warning("KT108", place, message, "Bring them in with kohya-tui import, which converts them to PNG.")


def check_captions(
    folder: Path,
    images: Sequence[str],
    values: Mapping[str, Any],
    workspace: Workspace,
    train: Mapping[str, Any],
    trigger: str | None = None,
) -> Iterator[Problem]:
    """The caption files of one folder as the trainer would read them (train_util.py, `read_caption`)."""
    where = workspace.key_of(folder)
    extension = str(values.get("caption_extension") or ".caption")
    texts, missing, faults = _read_captions(folder, images, extension)
    strange = faults.get("KT135", [])
    if strange:
        message = f"{count_of(len(strange), 'picture')} without a caption take that of another: {first_names(strange)}"
        hint = "Give them captions of their own: four parts are cut off a name with many underscores."
        yield warning("KT135", where, message, hint)
    yield from _marks(where, texts, values)
    yield from _missing(where, folder, images, missing, extension, values)
    for code, (message, hint, is_error) in _FAULTS.items():
        names = faults.get(code, [])
        if code == "KT128" and values.get("enable_wildcard"):
            continue
        if names:
            make = error if is_error else warning
            yield make(code, where, f"{count_of(len(names), 'caption')} {message}: {first_names(names)}", hint)
    yield from _shuffle(where, texts, values)
    if trigger and texts:
        wanted = [captions.tag_key(tag) for tag in captions.split(trigger)]
        without = [
            name
            for name, text in texts.items()
            if [captions.tag_key(tag) for tag in captions.split(text)[: len(wanted)]] != wanted
        ]
        if without:
            hint = f"Put it first everywhere: kohya-tui trigger DATASET '{trigger}'"
            message = f"{count_of(len(without), 'caption')} without {printable(trigger)} as the first tag"
            yield warning("KT134", where, f"{message}: {first_names(without)}", hint)
    yield from _tokens(where, texts, train)


_FAULTS: dict[str, tuple[str, str, bool]] = {
    "KT124": ("with nothing in it, at which the trainer stops", "Tag them again, or delete the empty files.", True),
    "KT126": ("not in UTF-8, at which the trainer stops", "Save them as UTF-8.", True),
    "KT125": ("whose first line is blank: they train without a caption", "Put the tags on the first line.", False),
    "KT127": ("with a byte order mark, which becomes part of the first tag", "Save them as UTF-8 without BOM.", False),
    "KT128": ("of several lines: only the first is read", "Put all tags on one line, or set enable_wildcard.", False),
}


def _read_captions(
    folder: Path, images: Sequence[str], extension: str
) -> tuple[dict[str, str], list[str], dict[str, list[str]]]:
    """Texts by image name, images without a file, and names by fault."""
    texts: dict[str, str] = {}
    missing: list[str] = []
    faults: dict[str, list[str]] = {}
    for image in images:
        name = image[: image.rindex(".")] + extension
        try:
            raw = captions.read_bytes(folder / name)
        except UserError:
            raw = None
        if raw is None and (other := _cropped_name(folder, image, extension)) is not None:
            faults.setdefault("KT135", []).append(f"{image} ({other.name})")
            continue
        if raw is None:
            missing.append(image)
            continue
        if not raw:
            faults.setdefault("KT124", []).append(name)
            continue
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            faults.setdefault("KT126", []).append(name)
            continue
        if text.startswith("\ufeff"):
            faults.setdefault("KT127", []).append(name)
            text = text[1:]
        line = captions.first_line(text)
        if not line.strip():
            faults.setdefault("KT125", []).append(name)
        elif text[len(line) :].strip():
            faults.setdefault("KT128", []).append(name)
        texts[name] = line
    return texts, missing, faults


def _cropped_name(folder: Path, image: str, extension: str) -> Path | None:
    """The caption file of the name without its last four parts (train_util.py, read_caption, base_name_face_det)."""
    parts = image[: image.rindex(".")].split("_")
    path = folder / ("_".join(parts[:-4]) + extension)
    return path if len(parts) >= 5 and path.is_file() else None


def _marks(where: str, texts: Mapping[str, str], values: Mapping[str, Any]) -> Iterator[Problem]:
    """Signs that mean something only with an option, and are trained as text without it."""
    if not values.get("keep_tokens_separator"):
        bars = [name for name, text in texts.items() if "|||" in text]
        if bars:
            message = f"{count_of(len(bars), 'caption')} with |||, which is trained as text: {first_names(bars)}"
            yield warning("KT139", where, message, 'Set keep_tokens_separator = "|||" in dataset.toml.')
    if not values.get("enable_wildcard"):
        choices = [name for name, text in texts.items() if "{" in text and _CHOICE.search(text)]
        if choices:
            message = (
                f"{count_of(len(choices), 'caption')} with {{a|b}}, which is trained as text: {first_names(choices)}"
            )
            yield warning("KT139", where, message, "Set enable_wildcard = true in dataset.toml.")


def _missing(
    where: str, folder: Path, images: Sequence[str], missing: list[str], extension: str, values: Mapping[str, Any]
) -> Iterator[Problem]:
    if not missing:
        return
    instead = (
        f"they train on {shown(values['class_tokens'])}" if values.get("class_tokens") else "they train without one"
    )
    usual = next((end for end in (".txt", ".caption") if end != extension and _has_caption(folder, missing, end)), None)
    if usual is not None:
        hint = f'Set caption_extension = "{usual}" in dataset.toml.'
        message = (
            f"{count_of(len(missing), 'picture')} with a {usual} caption that is not read (the setting is {extension})"
        )
        yield warning("KT123", where, f"{message}: {instead}", hint, fixable=True)
        return
    hint = "Tag them: kohya-tui tag DATASET"
    message = (
        f"{len(missing)} of {count_of(len(images), 'picture')} without a caption, {instead}: {first_names(missing)}"
    )
    yield warning("KT122", where, message, hint)


def _has_caption(folder: Path, images: Iterable[str], extension: str) -> bool:
    return any((folder / (name[: name.rindex(".")] + extension)).is_file() for name in images)


def _shuffle(where: str, texts: Mapping[str, str], values: Mapping[str, Any]) -> Iterator[Problem]:
    if not values.get("shuffle_caption") or values.get("keep_tokens") or values.get("keep_tokens_separator"):
        return
    firsts = Counter(captions.tag_key(tags[0]) for text in texts.values() if (tags := captions.split(text)))
    if not firsts:
        return
    word, count = firsts.most_common(1)[0]
    if count >= 2 and count >= 0.8 * len(texts):
        message = f"{printable(word)} is the first tag of {count_of(count, 'caption')}, and shuffling will move it"
        yield warning("KT131", where, message, "Set keep_tokens = 1 in dataset.toml.", fixable=True)


def _tokens(where: str, texts: Mapping[str, str], train: Mapping[str, Any]) -> Iterator[Problem]:
    limit = train.get("max_token_length")
    limit = limit if isinstance(limit, int) and limit > 0 else 75
    suspects = [(name, text) for name, text in texts.items() if len(text.encode()) > limit][:_TOKENS_AT_MOST]
    if not suspects:
        return
    from core.dataset.tokens import count_tokens

    long = [name for name, text in suspects if count_tokens(text) > limit]
    if long:
        larger = next((each for each in (150, 225) if each > limit), None)
        hint = f"Set max_token_length = {larger}." if larger else "Shorten them; what comes last is cut off."
        message = f"{count_of(len(long), 'caption')} longer than {limit} tokens: {first_names(long)}"
        yield warning("KT118", where, message, hint, fixable=larger is not None)
