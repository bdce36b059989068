"""Undo and redo on disk: every user action is one EditGroup in the workspace's journal.

What the journal holds is durable before the first file is replaced, so a kill at any moment loses nothing: a bulk that
was recorded whole is finished at the next start, one that was not has touched nothing, and a stream (tag run, import)
is kept as far as it went, undoable.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.dataset import changes as _changes
from core.dataset.changes import Added, Change, Conflict, Edit, Folder, Move
from core.dataset.groups import EditGroup, UndoResult, count_files, group_of, read_group, shown_paths
from core.dataset.journal import (
    OPEN,
    VERSION,
    Body,
    Head,
    Record,
    hold,
    lines_of,
    listing,
    read_body,
    read_head,
    read_mark,
    refused_line,
)
from core.dataset.replacing import Replacer
from core.dataset.replay import replay
from core.dataset.stream import OpenGroup
from core.problems import UserError
from core.text import count_of
from core.workspace import Workspace

__all__ = ["Added", "Conflict", "Edit", "EditGroup", "Folder", "Journal", "Move", "OpenGroup", "Step", "UndoResult"]

STEP = 500
"""Changes between two values of a generator."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Step:
    """How many changes of a group are on the disk; 0 while they are recorded."""

    done: int
    total: int


Stepwise = Generator[Step, None, Result]
"""Does a group step by step and returns what became of it. Closed before its end, or interrupted, it leaves nothing
behind: what it did so far is taken back, and the files are as they were.
"""


def finished(steps: Stepwise[Result]) -> Result:
    """What it returns, without a look at the steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


class Journal:
    """The EditGroups of a workspace. Holds no state: the app and a command may use one each at the same time."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.own / "journal"

    def apply(self, label: str, edits: Sequence[Change], kind: str = "edit") -> EditGroup:
        """Do all of `edits` as one group: recorded and synced first, then the files replaced.

        A file that is not as an edit expects is refused and listed in `conflicts`; the others go on. When a write fails
        (disk full) everything is taken back and UserError raised.
        """
        return finished(self.applying(label, edits, kind))

    def applying(self, label: str, edits: Sequence[Change], kind: str = "edit") -> Stepwise[EditGroup]:
        """`apply`, step by step."""
        wanted = list(_with_folders(edits))
        with hold(self.workspace):
            self._recover()
            head = Head.new(self.folder, label, kind, streamed=False)
            if not wanted:
                return group_of(head, "", 0, "done")
            record = Record.create(self.folder, head)
            try:
                for start in range(0, len(wanted), STEP):
                    yield Step(0, len(wanted))
                    record.append(lines_of(wanted[start : start + STEP], self.workspace))
                record.mark("ready")
                record.sync()
            except BaseException:
                record.discard()
                raise
            try:
                return (yield from self._finish_bulk(head, record, wanted))
            finally:
                record.release()

    def begin(self, label: str, kind: str = "edit") -> OpenGroup:
        """A group that is written to over time (tag run, import). The workspace is locked for each write only."""
        with hold(self.workspace):
            self._recover()
            head = Head.new(self.folder, label, kind, streamed=True)
            record = Record.create(self.folder, head)
            record.sync()
        return OpenGroup(self.workspace, head, record, self.trash(head.id))

    def resume(self, group_id: str) -> OpenGroup | None:
        """The group of a stream that was killed, open again; None unless it is the newest action and so interrupted.

        What follows becomes part of it: one undo takes back both.
        """
        with hold(self.workspace):
            self._recover()
            groups = listing(self.folder)
            if not groups or groups[-1][0] != group_id:
                return None
            path = groups[-1][1]
            head, mark = read_head(path), read_mark(path)
            if head is None or head.version > VERSION or not mark.get("interrupted") or "commit" not in mark:
                return None
            record = Record.reopen(path)
            if record is None:
                return None
            try:
                done = read_body(record.path, self.workspace).changes
            except UserError:
                record.release()
                return None
        return OpenGroup(self.workspace, head, record, self.trash(head.id), done)

    def history(self, limit: int | None = None) -> list[EditGroup]:
        """The groups, newest first. Reads the first and the last line of each, however large it is."""
        found: list[EditGroup] = []
        for _, path in reversed(listing(self.folder)):
            if limit is not None and len(found) >= limit:
                break
            if (group := read_group(path)) is not None:
                found.append(group)
        return found

    def next_undo(self) -> EditGroup | None:
        """The group that `undo` would take back now, None when there is none."""
        try:
            return self._newest_done()[0]
        except UserError:
            return None

    def undo(self, group_id: str | None = None) -> UndoResult:
        """Take back the newest group that is done, or the named one (its id or the beginning of it).

        Files that somebody changed since are refused and listed. Raises UserError when there is nothing to undo.
        """
        return finished(self.undoing(group_id))

    def undoing(self, group_id: str | None = None) -> Stepwise[UndoResult]:
        """`undo`, step by step."""
        with hold(self.workspace):
            self._recover()
            group, path = self._named(group_id) if group_id is not None else self._newest_done()
            if group.state == "undone":
                raise UserError(f"{group.label} is undone already", "kohya-tui redo brings it back.")
            return (yield from self._replay(group, path, "undo"))

    def redo(self) -> UndoResult:
        """Do again what was undone last, unless something new was done since. Raises UserError when there is none."""
        return finished(self.redoing())

    def redoing(self) -> Stepwise[UndoResult]:
        """`redo`, step by step."""
        with hold(self.workspace):
            self._recover()
            group, path = self._last_undone()
            return (yield from self._replay(group, path, "redo"))

    def recover(self) -> list[EditGroup]:
        """Finish or close what killed writers left open (as every other method does first). Living ones are let be."""
        if not self.folder.is_dir():
            return []
        with hold(self.workspace):
            return self._recover()

    def trash(self, group_id: str) -> Path:
        """Where the files go that an undo of this group takes out."""
        return self.workspace.own / "trash" / group_id

    # Everything below runs under the workspace's lock.

    def _finish_bulk(self, head: Head, record: Record, wanted: Sequence[Change]) -> Stepwise[EditGroup]:
        trash = self.trash(head.id)
        conflicts: list[Conflict] = []
        refused: list[int] = []
        done: list[Change] = []
        change = None
        try:
            with Replacer() as replacer:
                for at, change in enumerate(wanted):
                    if at % STEP == 0:
                        yield Step(at, len(wanted))
                    outcome = _changes.do(change, trash, replacer)
                    if isinstance(outcome, Conflict):
                        conflicts.append(outcome)
                        refused.append(at)
                    else:
                        done.append(change)
            files = count_files(done)
            if not files:  # folders may have been made for files that were refused
                self._take_back(record, done, trash)
                return group_of(head, "", 0, "done", conflicts)
            if refused:
                record.append([refused_line(refused)])
            record.mark("commit", files)
        except UserError as error:
            self._take_back(record, done, trash)
            raise UserError(f"{error.message}. Nothing was changed.", error.hint) from error
        except BaseException:  # closed, or interrupted in the midst of a change
            self._take_back(record, [*done, *([change] if change is not None else [])], trash)
            raise
        record.close()
        return group_of(head, head.id, files, "done", conflicts)

    def _take_back(self, record: Record, done: Sequence[Change], trash: Path) -> None:
        try:
            with Replacer() as replacer:
                for change in reversed(done):
                    _changes.undo(change, trash, replacer)
        except UserError:
            return  # the record stays open: the next start finishes the group, when there is room again
        record.discard()

    def _recover(self) -> list[EditGroup]:
        recovered: list[EditGroup] = []
        for _, path in listing(self.folder):
            if path.name.endswith(OPEN) and (group := self._recover_one(path)) is not None:
                recovered.append(group)
        return recovered

    def _recover_one(self, path: Path) -> EditGroup | None:
        head = read_head(path)
        if head is not None and head.version > VERSION:
            return None
        record = Record.reopen(path)
        if record is None:
            return None
        try:
            if head is None:
                if record.is_empty:
                    record.discard()  # killed within the first line
                return None  # else damaged: left for a person to look at
            try:
                body = read_body(record.path, self.workspace)
            except UserError:
                return None
            if not body.changes or not (head.streamed or body.is_ready):
                record.discard()  # killed before the first file was touched
                return None
            last = body.last
            if "undoing" in last or "redoing" in last:
                return finished(self._run(head, record, body.changes, "undo" if "undoing" in last else "redo")).group
            if "undone" in last:
                record.close()
                return group_of(head, head.id, int(last["files"]), "undone")
            if "commit" in last or "redone" in last:
                record.close()
                return group_of(head, head.id, int(last["files"]), "done")
            if head.streamed:
                files = count_files(body.changes)
                record.mark("commit", files, interrupted=True)
                record.close()
                return group_of(head, head.id, files, "done")
            return self._finish_recovered(head, record, body)
        finally:
            record.release()

    def _finish_recovered(self, head: Head, record: Record, body: Body) -> EditGroup:
        outcomes = replay(body.changes, self.trash(head.id), backwards=False)
        conflicts = {at: outcome for at, outcome in outcomes if isinstance(outcome, Conflict)}
        if conflicts:
            record.append([refused_line(body.places[at] for at in conflicts)])
        files = count_files(change for at, change in enumerate(body.changes) if at not in conflicts)
        record.mark("commit", files, recovered=True)
        record.close()
        return group_of(head, head.id, files, "done", tuple(conflicts.values()))

    def _replay(self, group: EditGroup, path: Path, way: str) -> Stepwise[UndoResult]:
        head = read_head(path)
        if head is None or head.version > VERSION:
            raise UserError(
                f"{path} was written by a newer kohya-tui",
                "Update kohya-tui, or undo with the version that wrote it.",
            )
        body = read_body(path, self.workspace)
        record = Record.reopen(path)
        if record is None:
            raise UserError(f"{group.label} is being written just now", "Wait for it, or stop its run.")
        try:
            record.mark(f"{way}ing", group.files)
            return (yield from self._run(head, record, body.changes, way))
        finally:
            record.release()

    def _run(self, head: Head, record: Record, all_changes: Sequence[Change], way: str) -> Stepwise[UndoResult]:
        changed: dict[str, Path] = {}
        conflicts: dict[Path, Conflict] = {}
        trash, backwards = self.trash(head.id), way == "undo"
        total, reached = len(all_changes), 0
        try:
            for count, (at, outcome) in enumerate(replay(all_changes, trash, backwards=backwards)):
                reached = count + 1
                if isinstance(outcome, Conflict):
                    conflicts.setdefault(outcome.path, outcome)
                elif outcome:
                    changed.update((os.fspath(path), path) for path in _shown(all_changes[at], way))
                if count % STEP == 0:
                    yield Step(count, total)
        except BaseException:  # closed, or interrupted in the midst of a change: as it was before this undo or redo
            reached = min(total, reached + 1)
            some = all_changes[total - reached :] if backwards else all_changes[:reached]
            for _ in replay(some, trash, backwards=not backwards):
                pass
            record.mark("redone" if backwards else "undone", count_files(all_changes))
            record.close()
            raise
        files = count_files(all_changes)
        failed = any(conflict.is_error for conflict in conflicts.values())
        # After a failed write the group stays as it was, so that the same step can be tried again.
        if way == "undo":
            state = "done" if failed else "undone"
        else:
            state = "undone" if failed else "done"
        record.mark("undone" if state == "undone" else "redone", files)
        record.close()
        group = group_of(head, head.id, files, state)
        return UndoResult(group, tuple(changed.values()), tuple(conflicts.values()))

    def _newest_done(self) -> tuple[EditGroup, Path]:
        for _, path in reversed(listing(self.folder)):
            group = read_group(path)
            if group is not None and group.state == "done":
                return group, path
        raise UserError("Nothing to undo", "kohya-tui history lists what was done in this workspace.")

    def _last_undone(self) -> tuple[EditGroup, Path]:
        groups = [(group, path) for _, path in listing(self.folder) if (group := read_group(path)) is not None]
        newest = max((group.time for group, _ in groups), default=0.0)
        undone = [
            (when, group, path)
            for group, path in groups
            if group.state == "undone" and (when := float(read_mark(path).get("undone", 0.0))) >= newest
        ]
        if not undone:
            raise UserError("Nothing to redo", "A new action after an undo ends what could be redone.")
        _, group, path = max(undone, key=lambda entry: entry[0])
        return group, path

    def _named(self, group_id: str) -> tuple[EditGroup, Path]:
        paths = [path for found, path in listing(self.folder) if group_id and found.startswith(group_id)]
        groups = [(group, path) for path in paths if (group := read_group(path)) is not None]
        if len(groups) == 1:
            return groups[0]
        what = f"{count_of(len(groups), 'action')} begin with" if groups else "There is no action with the id"
        raise UserError(f"{what} {group_id!r}", "kohya-tui history lists the ids.")


def _with_folders(edits: Iterable[Change]) -> Iterable[Change]:
    known: set[Path] = set()
    for change in edits:
        if isinstance(change, Edit) and change.before == change.after:
            continue
        target = change.target if isinstance(change, Move) else change.path
        is_new = isinstance(change, Move) or (isinstance(change, Edit) and change.before is None)
        if is_new and target.parent not in known:
            missing = [folder for folder in _changes.missing_folders(target) if folder.path not in known]
            known.update(folder.path for folder in missing)
            known.add(target.parent)
            yield from missing
        yield change


def _shown(change: Change, way: str) -> tuple[Path, ...]:
    if isinstance(change, Edit):
        return (change.path,)
    return (change.source,) if isinstance(change, Move) and way == "undo" else tuple(shown_paths([change]))
