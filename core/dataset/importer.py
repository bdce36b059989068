"""Bringing images and the captions beside them into a dataset: planned first, then done as one undoable group.

Nothing is ever overwritten. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.dataset.changes import publish
from core.dataset.edits import EditGroup, Journal, OpenGroup
from core.dataset.model import CAPTION_EXTENSION, is_image_name, parse_folder_name
from core.dataset.pictures import decode, open_picture
from core.dataset.sources import Skipped, collect, target_name
from core.files import TEMP_PREFIX, content_hash, write_error
from core.problems import UserError
from core.text import count_of, human_bytes, printable
from core.workspace import Workspace

__all__ = ["ImportPlan", "ImportProgress", "ImportStep", "Skipped", "plan_import", "run_import"]

MODES = ("copy", "link", "move")


@dataclass(frozen=True, slots=True)
class ImportStep:
    """One file to bring in. `kind` is "image" or "caption"; `converts`: written as PNG, the original stays."""

    source: Path
    target: Path
    kind: str
    bytes: int = 0
    converts: bool = False


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would do. `notes` are sentences for the user (conversions, a link that will be a copy)."""

    name: str
    target: Path
    steps: tuple[ImportStep, ...]
    skipped: tuple[Skipped, ...]
    bytes: int
    mode: str
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        return sum(step.kind == "image" for step in self.steps)


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is. `group` stands in the last one (None when nothing came in); `skipped` grows on the way."""

    done: int
    total: int
    bytes_done: int
    current: Path | None
    imported: int
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    group: EditGroup | None = None


def plan_import(
    workspace: Workspace,
    name: str,
    sources: Sequence[Path | str],
    repeats: int | None = None,
    mode: str = "copy",
    *,
    recursive: bool = False,
) -> ImportPlan:
    """Look at the sources and say what would come in; nothing is written.

    The target is `train_data/<name>/<repeats>_<name>`; without `repeats` the subset of that name that exists already,
    else 10. Image headers are read, pixels only when the import runs. Raises UserError for a name that cannot be a
    folder and for sources that do not exist.
    """
    if mode not in MODES:
        raise UserError(f"{mode!r} is no way to import", f"Choose one of {', '.join(MODES)}.")
    target = _target_folder(workspace, name, repeats)
    found = collect(sources, recursive=recursive)
    skipped = list(found.skipped)
    steps: list[ImportStep] = []
    taken = _Taken(target)
    for source in found.images:
        try:
            if source.parent.samefile(target):
                skipped.append(Skipped(source, "lies in the dataset already", True))
                continue
        except OSError:
            pass  # the target is not there yet
        try:
            image = _check_header(source)
        except UserError as error:
            skipped.append(Skipped(source, _reason(error, source)))
            continue
        file_name, converts = target_name(source, image)
        step = ImportStep(source, target / file_name, "image", _size(source), converts)
        refusal = taken.refuse(step)
        if refusal is None:
            steps.append(step)
        else:
            skipped.append(Skipped(source, refusal, refusal == _THERE))
        caption = found.captions.get(source)
        if caption is not None and (refusal is None or refusal == _THERE):
            step = ImportStep(caption, step.target.with_suffix(CAPTION_EXTENSION), "caption", _size(caption))
            refusal = taken.refuse(step)
            if refusal is None:
                steps.append(step)
            else:
                skipped.append(Skipped(caption, refusal, refusal == _THERE))
    notes = []
    converted = sum(step.converts for step in steps)
    if converted:
        notes.append(f"{count_of(converted, 'image')} will be converted to PNG; the originals stay where they are.")
    if mode == "link" and any(not _same_file_system(step.source, target) for step in steps):
        notes.append("The sources lie on another file system: they are copied instead of linked.")
    total = sum(step.bytes for step in steps)
    return ImportPlan(name, target, tuple(steps), tuple(skipped), total, mode, tuple(notes))


def run_import(workspace: Workspace, plan: ImportPlan) -> Iterator[ImportProgress]:
    """Do what was planned, one progress value for each file; the caller may stop between two.

    Every image is decoded before it comes in; a damaged one is skipped with its caption. What came in until a stop, an
    error or a kill stays and is one undoable group. Raises UserError when the disk is full.
    """
    _check_room(plan)
    skipped, notes = plan.skipped, list(plan.notes)
    imported = bytes_done = 0
    left_out: set[Path] = set()
    group = Journal(workspace).begin(f"Import into {plan.name}", kind="import")
    with group:
        for done, step in enumerate(plan.steps):
            yield ImportProgress(done, len(plan.steps), bytes_done, step.source, imported, skipped, tuple(notes))
            if step.kind == "caption" and step.source.with_suffix("") in left_out:
                skipped += (Skipped(step.source, "its image was left out"),)
                continue
            try:
                _bring(group, plan.mode, step, notes)
                imported += step.kind == "image"
                bytes_done += step.bytes
            except _SkipError as error:
                skipped += (Skipped(step.source, str(error)),)
                left_out.add(step.source.with_suffix(""))
            except UserError as error:
                so_far = f"{count_of(imported, 'image')} came in before; kohya-tui undo takes them out again."
                raise UserError(error.message, f"{error.hint or ''} {so_far}".strip()) from error
        committed = group.commit()
    yield ImportProgress(
        len(plan.steps),
        len(plan.steps),
        bytes_done,
        None,
        imported,
        skipped,
        tuple(notes),
        committed if committed.id else None,
    )


class _SkipError(Exception):
    """This file stays out; the import goes on."""


_THERE = "is there already, with the same content"
_COPIED = "Hard links are not possible there: the files were copied."


class _Taken:
    """The names in the target folder, those that the plan gives away included."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            names = os.listdir(folder)  # noqa: PTH208 (names only)
        except OSError:
            names = []
        self._stems = {Path(name).stem: name for name in names if is_image_name(name)}
        self._planned: dict[Path, Path] = {}

    def refuse(self, step: ImportStep) -> str | None:
        """Why a step cannot be done, None when it can; then its name is taken."""
        target = step.target
        if (other := self._planned.get(target)) is not None:
            if _same_content(step.source, other):
                return f"is the same as {other}"
            return f"has the name of {other}, which comes in as well: rename one of them"
        if os.path.lexists(target):
            if not step.converts and _same_content(step.source, target):
                return _THERE
            if step.converts:
                return f"{target.name} is in {target.parent.name} already: rename one if they differ"
            what = "caption" if step.kind == "caption" else "image"
            return f"another {what} of that name is in {target.parent.name}: rename it, or remove the other first"
        if step.kind == "image":
            other_name = self._stems.get(target.stem)
            if other_name is not None:
                return (
                    f"would share the caption {target.stem}{CAPTION_EXTENSION} with {other_name}: rename one of them "
                    "(and its caption)"
                )
            self._stems[target.stem] = target.name
        self._planned[target] = step.source
        return None


def _target_folder(workspace: Workspace, name: str, repeats: int | None) -> Path:
    usable = name and name == name.strip() and not name.startswith(".") and "/" not in name and name.isprintable()
    if not usable or len(name.encode("utf-8", "replace")) > 200:
        raise UserError(
            f"{printable(name)!r} cannot be the name of a dataset",
            "Use a plain word, the character's name for example.",
        )
    folder = workspace.train_data / name
    if repeats is None:
        with contextlib.suppress(OSError):
            there = [parsed for entry in folder.iterdir() if (parsed := parse_folder_name(entry.name))]
            same = [number for number, class_name in there if class_name == name]
            repeats = same[0] if len(same) == 1 else None
        repeats = 10 if repeats is None else repeats
    if repeats < 1:
        raise UserError(f"{repeats} repeats would leave the images out of the training", "Use 1 or more; 10 is usual.")
    return folder / f"{repeats}_{name}"


def _check_header(source: Path) -> str | None:
    with open_picture(source) as image:
        return image.format


def _reason(error: UserError, source: Path) -> str:
    """The message without the path that stands beside it anyway."""
    text = error.message.replace(f"{source} ", "", 1).replace(f" {source}", "", 1)
    return f"{text}. {error.hint}" if error.hint else text


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _same_content(one: Path, other: Path) -> bool:
    try:
        if one.stat().st_size != other.stat().st_size:
            return False
        return one.samefile(other) or content_hash(one) == content_hash(other)
    except OSError:
        return False


def _same_file_system(source: Path, target: Path) -> bool:
    while not target.exists():
        target = target.parent
    try:
        return source.stat().st_dev == target.stat().st_dev
    except OSError:
        return True


def _check_room(plan: ImportPlan) -> None:
    folder = plan.target
    while not folder.exists():
        folder = folder.parent
    needed = sum(
        step.bytes
        for step in plan.steps
        if plan.mode == "copy" or step.converts or not _same_file_system(step.source, folder)
    )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The import needs {human_bytes(needed)}, and {human_bytes(free)} are free on the disk of {folder}",
            "Free some space, or import with --link when the images lie on the same disk. Nothing was changed.",
        )


def _bring(group: OpenGroup, mode: str, step: ImportStep, notes: list[str]) -> None:
    if os.path.lexists(step.target):
        raise _SkipError("a file of that name appeared meanwhile: nothing is overwritten")
    if not step.source.is_file():
        raise _SkipError("is gone")
    if step.kind == "image":
        _check_pixels(step.source)
    group.folder(step.target.parent)
    # A link is not moved: one that is relative would lead nowhere from its new place.
    if mode == "move" and not step.converts and not step.source.is_symlink():
        group.move(step.source, step.target)
    elif step.converts:
        _place(group, step.target, lambda temp: _convert(step.source, temp))
    elif mode == "link":
        _place(group, step.target, lambda temp: _link(step.source, temp, notes))
    else:
        _place(group, step.target, lambda temp: _copy(step.source, temp))


def _check_pixels(source: Path) -> None:
    try:
        with open_picture(source) as image:
            image.draft(
                None, (max(1, image.width // 8), max(1, image.height // 8))
            )  # reads all of a JPEG, at an eighth
            decode(image, source)
    except UserError as error:
        raise _SkipError(_reason(error, source)) from error


def _place(group: OpenGroup, target: Path, make: Callable[[Path], None]) -> None:
    """Make a file under a temporary name, record it, and only then let it appear."""
    temp = target.with_name(f"{TEMP_PREFIX}{secrets.token_hex(6)}")
    try:
        make(temp)
        group.added(target, like=temp)
        publish(temp, target)
    except FileExistsError as error:
        raise _SkipError("a file of that name appeared meanwhile: nothing is overwritten") from error
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink()


def _copy(source: Path, temp: Path) -> None:
    shutil.copyfile(source, temp)
    facts = source.stat()
    os.utime(temp, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _link(source: Path, temp: Path, notes: list[str]) -> None:
    try:
        os.link(source.resolve(), temp)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        if _COPIED not in notes:
            notes.append(_COPIED)
        _copy(source, temp)


def _convert(source: Path, temp: Path) -> None:
    from PIL import Image

    with open_picture(source) as image:
        decode(image, source)
        picture: Image.Image = image
        if image.mode not in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}:
            picture = image.convert("RGBA" if "A" in image.getbands() else "RGB")
        picture.save(temp, "PNG")
