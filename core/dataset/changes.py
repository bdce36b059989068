"""One change to one file, done and undone on disk.

Doing and undoing look at the file first: a change that is already there is let be (so a replay after a kill is
harmless), and a file that somebody else changed meanwhile is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.dataset.captions import read_bytes
from core.dataset.replacing import Replacer
from core.files import TEMP_PREFIX, content_hash, sync_folder, write_atomic, write_error
from core.problems import UserError

_HASHED = 1 << 20
"""Up to this size an added file is recognised by its content, above it by size and change time."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The whole content of a small file (caption, config) before and after; None means that there is no file."""

    path: Path
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Move:
    """A file or folder under a new name; undone by renaming it back. Never overwrites."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Added:
    """A file that was copied or linked in; undo moves it to the trash of its group.

    `bytes`, `mtime_ns` and `digest` tell whether it is still what was added (`Added.of` fills them in).
    """

    path: Path
    bytes: int | None = None
    mtime_ns: int | None = None
    digest: str | None = None

    @classmethod
    def of(cls, path: Path, like: Path | None = None) -> Added:
        """`path` with the marks of `like` (default: `path` itself), which must be there."""
        facts = os.stat(like or path)  # noqa: PTH116 (the folder's own type has a field of that name)
        digest = content_hash(like or path) if facts.st_size <= _HASHED else None
        return cls(path, facts.st_size, facts.st_mtime_ns, digest)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was made; undo removes it when nothing lies in it."""

    path: Path


Change = Edit | Move | Added | Folder


@dataclass(frozen=True, slots=True)
class Conflict:
    """A file that was refused: `ours` is what would have been written, `theirs` what lies there.

    Both are None for what is no small text: images, folders, files that are gone or cannot be read.
    """

    path: Path
    ours: bytes | None
    theirs: bytes | None
    reason: str = "was changed by somebody else meanwhile"
    is_error: bool = False
    """Not somebody's change but a failed write or read; the same step may work later."""


def paths_of(change: Change) -> tuple[Path, ...]:
    """The files that a change touches; folders that were made for them do not count."""
    match change:
        case Move(_, target):
            return (target,)
        case Folder():
            return ()
        case _:
            return (change.path,)


def do(change: Change, trash: Path, replacer: Replacer | None = None) -> bool | Conflict:
    """Carry `change` out: True when the disk changed, False when it was so already. `trash` is the group's own folder.

    Files are replaced without fsync; the journal that holds them was synced before. A `replacer` is for groups of many
    edits. Raises UserError when a write fails.
    """
    if isinstance(change, Edit):
        return _replace(change.path, change.before, change.after, replacer)
    if replacer is not None:
        replacer.forget()
    match change:
        case Move(source, target):
            return _rename(source, target)
        case Added(path):
            return False if os.path.lexists(path) else _rename(_in_trash(path, trash), path)
        case Folder(path):
            return make_folder(path)


def undo(change: Change, trash: Path, replacer: Replacer | None = None) -> bool | Conflict:
    """Take `change` back; as `do`, the other way round."""
    if isinstance(change, Edit):
        return _replace(change.path, change.after, change.before, replacer)
    if replacer is not None:
        replacer.forget()
    match change:
        case Move(source, target):
            return _rename(target, source)
        case Added(path):
            if not os.path.lexists(path):
                return False
            if not _is_as_added(change):
                return Conflict(path, None, None, "was changed after it came in, so it stays")
            return _rename(path, _in_trash(path, trash))
        case Folder(path):
            with contextlib.suppress(OSError):  # not empty, or gone
                path.rmdir()
                return True
            return False


def make_folder(path: Path) -> bool:
    """Make a folder and those above it. True when it was not there before."""
    if path.is_dir():
        return False
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    return True


def missing_folders(path: Path) -> list[Folder]:
    """The folders above `path` that would have to be made, outermost first."""
    missing: list[Folder] = []
    for folder in path.parents:
        if folder.is_dir():
            break
        missing.append(Folder(folder))
    return missing[::-1]


def _replace(path: Path, old: bytes | None, new: bytes | None, replacer: Replacer | None) -> bool | Conflict:
    if replacer is not None and (outcome := replacer.replace(path, old, new)) is not None:
        return outcome
    try:
        current = read_bytes(path)
    except UserError as error:
        return Conflict(path, new, None, error.message, is_error=True)
    if current == new:
        return False
    if current != old:
        return Conflict(path, new, current)
    if new is not None:
        write_atomic(path, new, fsync=False)
        return True
    _unlink(path)
    return True


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise write_error(path, error) from error


def _rename(source: Path, target: Path) -> bool | Conflict:
    here, there = os.path.lexists(source), os.path.lexists(target)
    if there and not here:
        return False
    if not here:
        return Conflict(source, None, None, "is gone")
    if there and not _is_one_name(source, target):
        if not _is_same_file(source, target):
            return Conflict(target, None, None, "is in the way")
        _unlink(source)  # a move across file systems was cut off after its copy
        return True
    make_folder(target.parent)
    try:
        os.rename(source, target)  # noqa: PTH104 (a folder or a file, and EXDEV matters)
    except OSError as error:
        if error.errno != errno.EXDEV or source.is_dir():
            raise write_error(target, error) from error
        copy_new(source, target)
        try:
            _unlink(source)
        except UserError:  # a read-only stick: nothing was moved
            target.unlink(missing_ok=True)
            raise
    return True


def copy_new(source: Path, target: Path) -> None:
    """Copy a file under a name that is free, with its times, durably. Raises UserError; never overwrites."""
    temp = target.with_name(f"{TEMP_PREFIX}{secrets.token_hex(6)}")
    try:
        shutil.copyfile(source, temp)
        shutil.copystat(source, temp)
        descriptor = os.open(temp, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        publish(temp, target)
        sync_folder(target.parent)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink()


def publish(temp: Path, target: Path) -> None:
    """Give `temp` its final name; raises FileExistsError instead of replacing a file."""
    try:
        os.link(temp, target)
    except FileExistsError:
        raise
    except OSError:  # exFAT and some network shares know no hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        temp.replace(target)


def _is_as_added(change: Added) -> bool:
    if change.bytes is None:
        return True
    try:
        facts = change.path.stat()
        if facts.st_size != change.bytes:
            return False
        if facts.st_mtime_ns == change.mtime_ns:
            return True
        return change.digest is not None and content_hash(change.path) == change.digest
    except OSError:
        return False


def _is_one_name(source: Path, target: Path) -> bool:
    """Two spellings of one name, where the file system does not care about case."""
    try:
        return source.samefile(target) and source.stat().st_nlink == 1
    except OSError:  # a link that leads nowhere
        return False


def _is_same_file(source: Path, target: Path) -> bool:
    try:
        if source.samefile(target):
            return True
        both_files = source.is_file() and target.is_file()
        same_size = both_files and source.stat().st_size == target.stat().st_size
        return same_size and content_hash(source) == content_hash(target)
    except OSError:
        return False


def _in_trash(path: Path, trash: Path) -> Path:
    """Where an added file goes: its place below the workspace kept, so that two of one name do not meet."""
    root = trash.parents[2]
    try:
        inside = path.relative_to(root)
    except ValueError:
        inside = Path(*path.parts[1:])
    return trash / inside
