"""Caption edits: shown in the same frame, written in order behind it, taken back when the disk says no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.dataset import captions
from core.problems import UserError
from core.text import printable
from tui.collection import Facts, Row

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup
    from tui.app import KohyaApp

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Clash:
    """Somebody else changed the file: what the edit would write, and what lies there now (None: no file)."""

    row: Row
    label: str
    ours: str
    theirs: str | None
    merged: str | None = None
    """The same change done on theirs; None when it is no change of tags, or would come to nothing."""


class CaptionEdits:
    """`on_change(row)` is called whenever a row shows something else, `on_clash` when the file is another by now."""

    def __init__(
        self,
        app: KohyaApp,
        on_change: Callable[[Row], None],
        on_clash: Callable[[Clash], object],
    ) -> None:
        self._app, self._on_change, self._on_clash = app, on_change, on_clash

    def set_tags(self, row: Row, tags: Sequence[str], label: str, *, again: bool = True) -> bool:
        """Other tags on the first line; the further lines stay. False when nothing changed.

        `again`: when the file is another by now, the change may be done on that one (it does not replace the whole).
        """
        try:
            text = captions.text_with_tags(row.caption or "", tags)
        except UserError as error:
            self._app.report(error)
            return False
        return self.set_text(row, text, label, again=again)

    def set_text(self, row: Row, text: str, label: str, *, again: bool = False) -> bool:
        """Another text. False when nothing changed, or the caption cannot be read and so must not be overwritten."""
        if row.error is not None or not row.is_read:
            return False
        before = row.caption
        if text == (before or "") and before is not None:
            return False
        if text == "" and before is None:
            return False
        self._show(row, text)
        self._write(row, before, text, label, again)
        return True

    def take(self, clash: Clash, text: str) -> None:
        """Write `clash.ours` or `clash.merged` over what the other program wrote; one undo brings theirs back."""
        self._show(clash.row, text)
        self._write(clash.row, clash.theirs, text, clash.label, again=False)

    def _show(self, row: Row, text: str | None) -> None:
        row.take(Facts(text, row.size))
        self._on_change(row)

    def _write(self, row: Row, before: str | None, text: str, label: str, again: bool) -> None:
        journal, path, image = self._app.journal, row.item.caption_path, row.item.path

        def write() -> EditGroup:
            from core.dataset.changes import Edit

            if not image.exists():  # a disk that was taken away: nothing is put into its empty place
                raise UserError(f"{printable(str(image))} is gone", "Bring it back, or open the dataset again.")
            data = captions.read_bytes(path)
            there = None if data is None else captions.decode(data, path)
            if there != before:
                raise _Changed(there)
            mark = _BOM if data is not None and data.startswith(_BOM) else b""
            group: EditGroup = journal.apply(label, [Edit(path, data, mark + text.encode("utf-8"))])
            for conflict in group.conflicts:
                raise _Changed(None if conflict.theirs is None else captions.decode(conflict.theirs, path))
            return group

        def done(group: EditGroup) -> None:
            from tui.opening import tell

            self._app.undoing.wrote(group)
            tell(self._app)

        def failed(error: Exception) -> None:
            if self._app.collection is not None:
                self._app.collection.reread([path])
            self._on_change(row)
            if isinstance(error, _Changed):
                merged = _merged(before, text, error.theirs) if again else None
                self._on_clash(Clash(row, label, text, error.theirs, merged))
            else:
                self._app.report(error)

        self._app.writer.submit(write, done, failed)


def _merged(before: str | None, ours: str, theirs: str | None) -> str | None:
    from core.dataset.merge import apply_again

    if theirs is None:
        return None
    tags = apply_again(captions.split(before or ""), captions.split(ours), captions.split(theirs))
    try:
        merged = captions.text_with_tags(theirs, tags)
    except UserError:
        return None
    return merged if merged not in {theirs, ours} else None


class _Changed(Exception):
    def __init__(self, theirs: str | None) -> None:
        super().__init__("changed by somebody else")
        self.theirs = theirs


def label_of(verb: str, tag: str, where: str, row: Row) -> str:
    """`remove "smile" from rinni_012.png`."""
    return f'{verb} "{printable(tag)}" {where} {printable(row.name)}'.replace("  ", " ")
