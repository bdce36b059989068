"""Moving, copying and trashing images with all that belongs to them, and changing the repeats of a subset.

Planned first, then done as one undoable group. Nothing is overwritten: what stands in the way is told and left.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.dataset.changes import Change, Edit, Move, publish
from core.dataset.companions import Companions
from core.dataset.marks import moved_marks
from core.dataset.model import Subset, parse_folder_name
from core.dataset.scan import LOOSE, dataset_dir, subsets
from core.dataset.sources import Skipped
from core.files import TEMP_PREFIX, write_error
from core.problems import UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.dataset.edits import EditGroup, OpenGroup, Stepwise
    from core.workspace import Workspace

Way = Literal["move", "copy", "trash"]
_THERE = "lies there already"
_LOOK = 200
"""Images between two looks at whether the plan is still wanted."""


class GivenUp(Exception):
    """The plan is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """What would be done. `files` are all of them (source, target), captions and caches included.

    `captions` are written anew at their target, since another image still needs the old one. `label` names the group.
    """

    way: Way
    label: str
    images: tuple[tuple[Path, Path], ...]
    files: tuple[tuple[Path, Path], ...]
    captions: tuple[tuple[Path, bytes], ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """How far a copy is. `group` stands in the last one, None when nothing was copied."""

    done: int
    total: int
    current: Path | None = None
    group: EditGroup | None = None


@dataclass(frozen=True, slots=True)
class RepeatsPlan:
    """A subset folder under another name; `old` and `new` are the same when it has these repeats already."""

    label: str
    repeats: int
    old: Path
    new: Path


def target_folder(workspace: Workspace, text: str) -> Path:
    """The subset folder that `NAME` (its only subset, or a new `10_NAME`) or `NAME/N_SUBSET` means; it may be new, also
    inside a folder that is there (`NAME/N_SUBSET/M_OTHER`).

    Raises UserError where that is not clear.
    """
    name, _, subset = text.strip("/").partition("/")
    for part in (name, *subset.split("/")):
        if part.startswith(".") or not part.isprintable() or (subset and not part):
            raise UserError(f"{printable(text)!r} names no subset", "Write DATASET or DATASET/10_SUBSET.")
    if not name:
        raise UserError("No dataset is named", "Write DATASET or DATASET/10_SUBSET.")
    folder = workspace.train_data / name
    if subset:
        target = folder / subset
        is_new_place = parse_folder_name(target.name) is not None and ("/" not in subset or target.parent.is_dir())
        if not target.is_dir() and not is_new_place:
            hint = f"For a new one begin with the repeats: {printable(name)}/10_{printable(target.name)}"
            raise UserError(f"There is no subset {printable(subset)!r} in {printable(name)}", hint)
        return target
    there = subsets(folder) if folder.is_dir() else ()
    if len(there) > 1:
        names = ", ".join(printable(each.name) for each in there)
        raise UserError(f"{printable(name)} has several subsets: {names}", "Say which: DATASET/SUBSET.")
    return there[0].path if there else folder / f"10_{name}"


def plan_move(
    workspace: Workspace,
    images: Iterable[Path],
    target: Path,
    *,
    copy: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Relocation:
    """Images into the folder `target`, with captions and caches; only names are read.

    One is skipped when its name, or a caption or cache of its name, is there already. Raises GivenUp when `stop` says
    so.
    """
    wanted = list(dict.fromkeys(_until(stop, images)))
    taken: dict[str, Path] = {}
    beside = Companions()
    parents = dict.fromkeys(map(os.path.dirname, wanted))
    there = {parent for parent in parents if _is_one_folder(Path(parent), target)}

    def place(image: Path) -> Path | str:
        if os.path.dirname(image) in there:  # noqa: PTH120
            return _THERE
        if not copy and os.path.islink(image) and not os.path.isabs(os.readlink(image)):  # noqa: PTH114, PTH115, PTH117
            return "is a relative link, which would lead nowhere from there: copy it, or move what it points to"
        stem = image.stem
        if (other := taken.get(stem)) is not None:
            return f"has the name of {other}, which comes there as well: rename one of them"
        if leftovers := beside.leftovers(target, stem):
            names = ", ".join(path.name for path in leftovers[:3])
            return f"{names} is in {target.parent.name}/{target.name} already: rename one of them"
        taken[stem] = image
        return target

    way: Way = "copy" if copy else "move"
    where = workspace.key_of(target).removeprefix("train_data/")
    return _planned(_until(stop, wanted), set(wanted), way, lambda number: f"{way} {number} to {where}", place, beside)


def plan_trash(workspace: Workspace, images: Iterable[Path]) -> Relocation:
    """Images into the trash folder of the workspace, with captions and caches."""
    trash = workspace.own / "trash"
    wanted = list(dict.fromkeys(images))
    number = 1
    while any(os.path.lexists(_in(_round(trash, number), workspace, image)) for image in wanted):
        number += 1  # an image of that name was thrown away before
    root = _round(trash, number)
    return _planned(
        wanted,
        set(wanted),
        "trash",
        lambda count: f"move {count} to the trash",
        lambda image: _in(root, workspace, image).parent,
        Companions(),
    )


def relocate(workspace: Workspace, plan: Relocation) -> EditGroup:
    """Do a move or a trashing, as one group of the journal; its `conflicts` were refused. Raises UserError."""
    from core.dataset.edits import finished

    return finished(relocating(workspace, plan))


def relocating(workspace: Workspace, plan: Relocation) -> Stepwise[EditGroup]:
    """`relocate`, step by step: closed before its end, it leaves every file where it was."""
    from core.dataset.edits import Journal

    keys = {
        workspace.key_of(source): None if plan.way == "trash" else workspace.key_of(target)
        for source, target in plan.images
    }
    changes: list[Change] = [Move(source, target) for source, target in plan.files]
    changes += [Edit(path, None, data) for path, data in plan.captions]
    changes += moved_marks(workspace, lambda key: keys.get(key, key))
    return Journal(workspace).applying(plan.label, changes, kind=plan.way)


def copy(workspace: Workspace, plan: Relocation) -> Generator[CopyProgress, None, None]:
    """Do a copy, one progress value a file; what came in until a stop stays and is one undoable group.

    A file that is gone, or whose name was taken meanwhile, is left out. Raises UserError when the disk is full.
    """
    from core.dataset.edits import Journal

    total = len(plan.files)
    with Journal(workspace).begin(plan.label, kind="copy") as group:
        for done, (source, target) in enumerate(plan.files):
            yield CopyProgress(done, total, source)
            _copy_one(group, source, target)
        committed = group.commit()
    yield CopyProgress(total, total, None, committed if committed.id else None)


def plan_repeats(workspace: Workspace, target: str, repeats: int) -> RepeatsPlan:
    """The folder of `NAME` (when it has one subset) or `NAME/SUBSET` under its name with other repeats.

    Raises UserError when it is not clear which subset is meant, or the new name is taken.
    """
    if repeats < 1:
        raise UserError(f"{repeats} repeats would leave the images out of the training", "Use 1 or more; 10 is usual.")
    name, _, wanted = target.strip("/").partition("/")
    there = subsets(dataset_dir(workspace, name))
    chosen = [each for each in there if each.name == wanted] if wanted else list(there)
    if not chosen:
        names = ", ".join(printable(each.name) for each in there) or "none"
        raise UserError(f"There is no subset {printable(wanted)!r} in {printable(name)}", f"Its subsets: {names}.")
    if len(chosen) > 1:
        names = ", ".join(printable(f"{name}/{each.name}") for each in chosen)
        raise UserError(f"{printable(name)} has {len(chosen)} subsets", f"Say which one: {names}.")
    (subset,) = chosen
    new = _with_repeats(subset, repeats)
    label = f"set the repeats of {name}/{subset.name} to {repeats}"
    if new != subset.path and os.path.lexists(new):
        raise UserError(f"{new} exists already", "Move the images of one folder into the other: kohya-tui move.")
    return RepeatsPlan(label, repeats, subset.path, new)


def change_repeats(workspace: Workspace, plan: RepeatsPlan, configs: Sequence[Edit] = ()) -> EditGroup:
    """Rename the folder, with `configs` (the files that name it, changed) in the same group.

    All of it or nothing: raises UserError when the folder or a config was changed meanwhile.
    """
    from core.dataset.edits import Journal

    journal = Journal(workspace)
    old, new = (f"{workspace.key_of(path)}/" for path in (plan.old, plan.new))

    def moved(key: str) -> str:
        return new + key.removeprefix(old) if key.startswith(old) else key

    changes: list[Change] = [*configs]
    if plan.old != plan.new:
        changes = [Move(plan.old, plan.new), *changes, *moved_marks(workspace, moved)]
    group = journal.apply(plan.label, changes, kind="repeats")
    needed = {plan.old, plan.new, *(edit.path for edit in configs)}
    refused = [conflict for conflict in group.conflicts if conflict.path in needed]
    if refused:
        if group.id:
            journal.undo(group.id)
        raise UserError(f"{refused[0].path} {refused[0].reason}", "Nothing was changed. Try it again.")
    return group


def _with_repeats(subset: Subset, repeats: int) -> Path:
    if subset.name == LOOSE:
        raise UserError(
            f"The images of {subset.path} lie in no subset folder, so they have no repeats",
            f"Move them into one: kohya-tui move {printable(subset.path.name)} --to "
            f"{printable(subset.path.name)}/{repeats}_{printable(subset.path.name)}",
        )
    own = parse_folder_name(subset.path.name)
    return subset.path.with_name(f"{repeats}_{own[1] if own is not None else subset.path.name}")


def _until(stop: Callable[[], bool], images: Iterable[Path]) -> Iterator[Path]:
    for at, image in enumerate(images):
        if at % _LOOK == 0 and stop():
            raise GivenUp
        yield image


def _planned(
    images: Iterable[Path],
    going: set[Path],
    way: Way,
    label: Callable[[str], str],
    place: Callable[[Path], Path | str],
    beside: Companions,
) -> Relocation:
    """`place` gives the folder for an image, or why it cannot go."""
    moved: list[tuple[Path, Path]] = []
    files: list[tuple[Path, Path]] = []
    captions: list[tuple[Path, bytes]] = []
    skipped: list[Skipped] = []
    for image in images:
        if not os.path.lexists(image):
            skipped.append(Skipped(image, "is gone"))
            continue
        folder = place(image)
        if isinstance(folder, str):
            skipped.append(Skipped(image, folder, folder == _THERE))
            continue
        moved.append((image, folder / image.name))
        files.append(moved[-1])
        partners = [path for path in beside.sharing(image) if way != "trash" or path not in going]
        if way != "copy" and partners:  # the caption stays with the other image of this name
            if way == "move":
                captions += _copies(beside.captions(image), folder, skipped)
            continue
        companions = [*beside.captions(image), *beside.caches(image)]
        files += ((path, folder / path.name) for path in companions)
    files = list(dict.fromkeys(files))  # two images that go together share their caption
    return Relocation(
        way, label(count_of(len(moved), "image")), tuple(moved), tuple(files), tuple(captions), tuple(skipped)
    )


def _copies(paths: Iterable[Path], folder: Path, skipped: list[Skipped]) -> list[tuple[Path, bytes]]:
    from core.dataset.captions import read_bytes

    found = []
    for path in paths:
        try:
            if (data := read_bytes(path)) is not None:
                found.append((folder / path.name, data))
        except UserError as error:
            skipped.append(Skipped(path, error.message))
    return found


def _copy_one(group: OpenGroup, source: Path, target: Path) -> None:
    temp = target.with_name(f"{TEMP_PREFIX}{secrets.token_hex(6)}")
    group.folder(target.parent)
    try:
        shutil.copyfile(source, temp)
        facts = source.stat()
        os.utime(temp, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        if not os.path.lexists(target):
            group.added(target, like=temp)
            publish(temp, target)
    except (FileNotFoundError, FileExistsError):
        return  # gone, or taken meanwhile
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink()


def _is_one_folder(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _round(trash: Path, number: int) -> Path:
    return trash / ("images" if number == 1 else f"images-{number}")


def _in(root: Path, workspace: Workspace, image: Path) -> Path:
    return root / workspace.key_of(image).lstrip("/")
