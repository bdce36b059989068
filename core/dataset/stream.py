"""A group of changes that is written over time, by a tag run or an import."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import EllipsisType, TracebackType

from core.dataset import changes as _changes
from core.dataset.captions import read_bytes
from core.dataset.changes import Added, Change, Conflict, Edit, Folder, Move
from core.dataset.groups import EditGroup, group_of, shown_paths
from core.dataset.journal import Head, Record, hold, lines_of, read_body
from core.dataset.replacing import Replacer
from core.files import write_error
from core.problems import UserError
from core.workspace import Workspace

_SYNC_SECONDS = 1.0
"""A stream is made durable at least so often; a power cut costs no more."""


class OpenGroup:
    """A group that is being written: every change is recorded just before it is done.

    A context manager: it commits at the end, also after an exception, since what was written stays and must be
    undoable.
    """

    def __init__(
        self, workspace: Workspace, head: Head, record: Record, trash: Path, done: Sequence[Change] = ()
    ) -> None:
        self.id = head.id
        self._workspace = workspace
        self._trash = trash
        self._head = head
        self._record = record
        self._paths: set[Path] = set(shown_paths(done))
        self._synced = time.monotonic()
        self._group: EditGroup | None = None
        self._replacer = Replacer()
        self._is_held = False

    def write(self, path: Path, data: str | bytes | None, before: bytes | EllipsisType | None = ...) -> bool:
        """Replace the content of a file (text as UTF-8; None removes it). False when it was so already.

        The old content is recorded first; `before` is what the caller read of it just now. Raises UserError when the
        file cannot be read or written, and when it holds something else than `before`.
        """
        after = data.encode("utf-8") if isinstance(data, str) else data
        if self._is_held:
            return self._write(path, after, before)
        with hold(self._workspace):
            return self._write(path, after, before)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is written meanwhile is written under one lock, which costs as much as a small file. Keep it short: all
        others wait.
        """
        with hold(self._workspace):
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False
                self._replacer.forget()

    def _write(self, path: Path, after: bytes | None, before: bytes | EllipsisType | None) -> bool:
        if before is ...:
            before = read_bytes(path)
        if before == after:
            return False
        if before is None:
            self._make_missing(path)
        self._do(Edit(path, before, after))
        return True

    def added(self, path: Path, like: Path | None = None) -> None:
        """Record a file that was brought in. Called before it appears, `like` is the finished temporary file."""
        with hold(self._workspace):
            try:
                change = Added.of(path, like)
            except OSError as error:
                raise write_error(path, error) from error
            self._record_one(change)

    def move(self, source: Path, target: Path) -> None:
        """Rename a file, across file systems too. Raises UserError when it is gone or the target exists."""
        with hold(self._workspace):
            if not source.exists():
                raise UserError(f"{source} is gone", "It was moved or deleted meanwhile.")
            if target.exists():
                raise UserError(f"{target} exists already", "Nothing is overwritten: rename one of them.")
            self._make_missing(target)
            self._do(Move(source, target))

    def replace(self, path: Path, temp: Path) -> None:
        """Put the finished file `temp` (in the same folder) in the place of an image; an undo brings the old one back.

        The old one goes to the trash of the group, and a file of that name is there at any moment. Raises UserError.
        """
        with hold(self._workspace):
            kept = self._kept(path)
            try:
                added = Added.of(path, temp)
                kept.parent.mkdir(parents=True, exist_ok=True)
                self._record_one(Move(path, kept), added)
                try:
                    os.link(path, kept, follow_symlinks=False)
                except OSError:  # another file system, or one without hard links
                    _changes.copy_new(path, kept)
                temp.replace(path)
            except OSError as error:
                raise write_error(path, error) from error

    def discard(self, path: Path) -> None:
        """Move a file into the trash of the group."""
        self.move(path, self._kept(path))

    def folder(self, path: Path) -> None:
        """Make a folder (and those above it); undo removes what is empty then."""
        with hold(self._workspace):
            self._make_missing(path)
            if not path.is_dir():
                self._do(Folder(path))

    def flush(self) -> None:
        """Make the record of everything so far durable; call it once a batch."""
        self._record.sync()
        self._synced = time.monotonic()

    def commit(self) -> EditGroup:
        """Close the group. A second call returns the same group; one without any change leaves nothing behind."""
        if self._group is None:
            with hold(self._workspace):
                try:
                    self._group = self._commit()
                finally:
                    self._record.release()
                    self._replacer.forget()
        return self._group

    def __enter__(self) -> OpenGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.commit()
        except UserError:
            if error is None:
                raise  # else the first failure is the one to tell; recover() closes the group later

    def _commit(self) -> EditGroup:
        if not self._paths:
            for change in reversed(read_body(self._record.path, self._workspace).changes):
                _changes.undo(change, self._trash)
            self._record.discard()
            return group_of(self._head, "", 0, "done")
        self._record.mark("commit", len(self._paths))
        self._record.close()
        return group_of(self._head, self.id, len(self._paths), "done")

    def _kept(self, path: Path) -> Path:
        """Where the old version of a file lies; an undo that takes the new one out uses the trash's own places."""
        return self._trash / "before" / self._workspace.key_of(path).lstrip("/")

    def _record_one(self, *changes: Change) -> None:
        self._record.append(lines_of(changes, self._workspace))
        self._paths.update(shown_paths(changes))
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.flush()

    def _make_missing(self, path: Path) -> None:
        for folder in _changes.missing_folders(path):
            self._do(folder)

    def _do(self, change: Change) -> None:
        new = set(shown_paths([change])) - self._paths
        self._record_one(change)
        try:
            outcome = _changes.do(change, self._trash, self._replacer)
        except UserError:
            self._paths -= new  # recorded, but not done: undo finds the old content and lets it be
            raise
        if isinstance(outcome, Conflict):
            self._paths -= new
            raise UserError(f"{outcome.path} {outcome.reason}", "It was left as it is.")
