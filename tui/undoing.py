"""What the next `u` takes back: known before the key, and asked about when it lies outside of what the screen shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.text import count_of, printable
from tui.bulk import carry_out

if TYPE_CHECKING:
    from core.dataset.changes import Conflict
    from core.dataset.edits import Stepwise
    from core.dataset.groups import EditGroup, UndoResult
    from core.workspace import Workspace
    from tui.app import KohyaApp

MANY = 50
"""Groups of more files are announced first, wherever they were made."""
ASK = 6.0
"""Seconds for the second `u`."""
HELD = 0.3
"""A key that is held down repeats faster than this: it does not count as the second `u`."""

TOLD = 3
"""So many refused files are named."""
_IMAGES = frozenset({"edit", "mark", "tag", "trigger", "import", "trash", "upright", "move", "copy", "repeats"})
KINDS = {"dataset": _IMAGES, "review": _IMAGES, "tag": frozenset({"tag", "upright"}), "config": frozenset({"config"})}
"""Mode → the kinds of groups whose undo is seen there."""


class Undoing:
    """Undo and redo for all screens. `next` is the group that `u` takes back, None when there is none (known)."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self.next: EditGroup | None = None
        self._asked: tuple[str, float] | None = None
        self._seen: tuple[object, int] | None = None

    # What is next

    def look(self, workspace: Workspace | None) -> EditGroup | bool | None:
        """On a thread, every second: one `stat`, and the group only when the journal changed (False: it did not)."""
        if workspace is None:
            stamp: tuple[object, int] = (None, 0)
        else:
            try:
                stamp = (workspace.root, (workspace.own / "journal").stat().st_mtime_ns)
            except OSError:
                stamp = (workspace.root, 0)
        if stamp == self._seen:
            return False
        self._seen = stamp
        if workspace is None or not stamp[1]:
            return None
        from core.dataset.edits import Journal

        return Journal(workspace).next_undo()

    def take(self, group: EditGroup | None) -> None:
        """This group is the next one; the screens say so."""
        if group != self.next:
            self.next = group
            self._app.undo_signal.publish(group)

    def wrote(self, group: EditGroup) -> None:
        """This group is on disk now."""
        if group.id:
            self.take(group)

    @property
    def label(self) -> str:
        """The next group in its own words, "" when there is none."""
        return printable(self.next.label) if self.next is not None else ""

    # The keys

    def undo(self) -> None:
        """Take back the newest group, after the writes that are still on their way; ask first when it is a far one."""
        app, journal = self._app, self._app.journal
        mode, now = app.current_mode, time.monotonic()
        asked = self._asked
        agreed = asked[0] if asked is not None and HELD <= now - asked[1] <= ASK else None

        def steps() -> Stepwise[EditGroup | UndoResult]:
            group: EditGroup | None = journal.next_undo()
            if group is not None and group.id != agreed and is_far(group, mode):
                return group
            return (yield from journal.undoing(group.id if group is not None else None))  # type: ignore[no-any-return]

        def done(result: Any) -> None:
            if hasattr(result, "changed"):
                self._asked = None
                if agreed is not None:
                    app.clear_notifications()  # the question
                self._did(result, "undone")
            else:
                self._asked = (result.id, time.monotonic())
                files = count_of(result.files, "file")
                text = f"next undo: {printable(result.label)} ({files}) — u again does it"
                app.notify(text, severity="warning", markup=False, timeout=ASK)

        def stopped() -> None:
            self._asked = None

        carry_out(app, f"undo {self.label}".rstrip(), steps, done, app.report, stopped)

    def redo(self) -> None:
        """Do again what was undone last."""
        app, journal = self._app, self._app.journal
        carry_out(app, "redo", journal.redoing, lambda result: self._did(result, "redone"), app.report)

    def _did(self, result: UndoResult, said: str) -> None:
        from tui.opening import files_changed

        app = self._app
        if result.changed or not result.conflicts:
            app.notify(f"{said}: {printable(result.group.label)}", markup=False, timeout=3)
        files_changed(app, result.changed)
        texts = [each for each in result.conflicts if (each.ours, each.theirs) != (None, None)]
        if len(texts) == len(result.conflicts) == 1:
            app.run_worker(self._decide(texts[0], said), group="undo clash", exit_on_error=False)
        else:
            tell_refused(app, result.conflicts)
        app.beat.look_at_journal()

    async def _decide(self, conflict: Conflict, said: str) -> None:
        """The one file that was refused: both versions, and the choice."""
        from core.dataset.changes import Edit
        from tui.opening import files_changed
        from tui.screens.text_dialog import choose_version

        app, journal, path = self._app, self._app.journal, conflict.path
        if await choose_version(app, conflict, said):
            edit = Edit(path, conflict.theirs, conflict.ours)

            def done(group: EditGroup) -> None:
                self.wrote(group)
                tell_refused(app, group.conflicts)
                files_changed(app, [path])

            app.writer.submit(lambda: journal.apply(f"write {printable(path.name)} anew", [edit]), done, app.report)


def tell_refused(app: KohyaApp, conflicts: Sequence[Conflict]) -> None:
    """Files that were left as they are, the first by name."""
    from tui.chores import app_path

    for conflict in conflicts[:TOLD]:
        text = f"{printable(app_path(app, conflict.path))} {conflict.reason}"
        app.notify(text, severity="warning", markup=False)
    if len(conflicts) > TOLD:
        app.notify(f"{len(conflicts) - TOLD:,} more files were left as they are", severity="warning")


def is_far(group: EditGroup, mode: str) -> bool:
    """Whether an undo of `group` would happen out of sight of `mode`, or touch many files."""
    return group.files > MANY or group.kind not in KINDS.get(mode, frozenset())
