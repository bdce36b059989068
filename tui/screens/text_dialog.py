"""Dialogs about a caption as a text: edit it, mend its encoding, decide between two writers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import TextArea

from core.dataset import captions
from core.problems import UserError
from core.text import printable
from tui.screens.dialogs import Choose, Dialog

if TYPE_CHECKING:
    from core.dataset.changes import Conflict
    from core.dataset.groups import EditGroup
    from tui.app import KohyaApp
    from tui.caption_edits import Clash
    from tui.collection import Row

MOST = 400
"""Characters of a caption in a dialog."""


class EditText(Dialog[str]):
    """Esc closes it and takes the text: nothing that was typed is lost, and undo brings the old one back."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title, "Esc done (u undoes it)")
        self._text = text

    def compose_dialog(self) -> Iterable[Widget]:
        area = TextArea(self._text, soft_wrap=True, show_line_numbers=False, compact=True, highlight_cursor_line=False)
        area.styles.height = 12
        area.cursor_blink = False
        yield area

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor(area.document.end)

    def action_cancel(self) -> None:
        self.dismiss(self.query_one(TextArea).text)


async def choose_text(app: KohyaApp, clash: Clash) -> str | None:
    """The text that shall be written over what somebody else wrote; None to leave that."""
    theirs = "(the file is gone)" if clash.theirs is None else clash.theirs
    choices = [("theirs", "Keep theirs", "leave the file as it is now"), ("ours", "Write mine", "u brings theirs back")]
    text = f"theirs   {_short(theirs)}\n\nmine     {_short(clash.ours)}"
    if clash.merged is not None:
        choices.append(("merged", "Do my change on theirs", "u brings theirs back"))
        text += f"\n\nboth     {_short(clash.merged)}"
    name = clash.row.item.caption_path.name
    answer = await app.push_screen_wait(Choose(f"{name} was changed by somebody else", choices, text))
    return clash.ours if answer == "ours" else clash.merged if answer == "merged" else None


async def choose_version(app: KohyaApp, conflict: Conflict, said: str) -> bool:
    """Whether what an undo (or redo) would have written shall take the place of what somebody else wrote."""
    now, then = (
        "(no file)" if data is None else data.decode("utf-8", "replace") for data in (conflict.theirs, conflict.ours)
    )
    choices = [("theirs", "Leave it", "the file stays as it is now"), ("ours", f"Write what {said} is", "")]
    text = f"now      {_short(now)}\n\n{said:<8} {_short(then)}"
    answer = await app.push_screen_wait(Choose(f"{conflict.path.name} {conflict.reason}", choices, text))
    return answer == "ours"


def _short(text: str) -> str:
    return text if len(text) <= MOST else text[:MOST] + "…"


async def save_as_utf8(app: KohyaApp, row: Row) -> None:
    """A caption in another encoding becomes UTF-8; how it was written is for a person to see."""
    from core.dataset.changes import Edit
    from tui.opening import files_changed

    path, journal = row.item.caption_path, app.journal
    data = captions.read_bytes(path) or b""
    found = captions.readings(data)
    if not found:
        raise UserError(f"{path.name} is no text in any encoding that is known here", "Write it anew, or remove it.")
    options = [(encoding, name, captions.first_line(text)[:60]) for encoding, name, text in found]
    question = "Which one reads right? u brings the old file back."
    answer = await app.push_screen_wait(Choose(f"Save {path.name} as UTF-8", options, question))
    text = next((text for encoding, _, text in found if encoding == answer), None)
    if text is None:
        return
    edit = Edit(path, data, text.encode("utf-8"))

    def done(group: EditGroup) -> None:
        app.undoing.wrote(group)
        files_changed(app, [path])

    app.writer.submit(lambda: journal.apply(f"save {printable(path.name)} as UTF-8", [edit]), done, app.report)
