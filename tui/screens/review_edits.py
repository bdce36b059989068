"""What Review does to the tags of an image: each key is one undoable edit, written behind the screen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.binding import Binding

from core.dataset import captions
from core.problems import UserError
from core.text import printable
from tui.caption_edits import CaptionEdits, Clash, label_of
from tui.collection import Row
from tui.screens.base import ModeScreen
from tui.theme import Cells
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines
from tui.widgets.tag_editor import TagEditor
from tui.widgets.tag_input import Suggestion, TagInput, complete

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup


class TagKeys(ModeScreen):
    """The part of Review that edits; ReviewScreen shows the image and goes through them."""

    BINDINGS = [
        Binding("a", "add", "add", id="review.add", tooltip="Add a tag"),
        Binding("x", "remove", "remove", id="edit.remove", tooltip="Remove the tag"),
        Binding("r", "rename", "rename", id="review.rename", tooltip="Rename the tag"),
        Binding("f", "front", "to front", show=False, id="review.front", tooltip="Move the tag to the front"),
        Binding("J", "shift(1)", "move down", show=False, id="review.move-down", tooltip="Move the tag down"),
        Binding("K", "shift(-1)", "move up", show=False, id="review.move-up", tooltip="Move the tag up"),
        Binding("quotation_mark", "same", "as previous", show=False, id="review.same", tooltip="Same tags as before"),
        Binding("t", "quick", "quick tags", id="review.quick-tags"),
        Binding("E", "text", "edit as text", show=False, id="review.text", tooltip="Edit the caption as text"),
        Binding("e", "editor", "$EDITOR", show=False, id="edit.editor", tooltip="Edit the caption in $EDITOR"),
        Binding("F", "fix", "save as UTF-8", show=False, id="review.fix", tooltip="Save a caption of another encoding"),
        Binding("y", "copy", "copy", show=False, id="list.copy", tooltip="Copy the caption to the clipboard"),
        *(
            Binding(str(digit), f"quick_tag({digit})", f"quick tag {digit}", show=False, id=f"review.quick-{digit}")
            for digit in range(1, 10)
        ),
    ]

    tags = getters.query_one("#tags", TagEditor)
    below = getters.query_one("#below", Lines)

    def __init__(self) -> None:
        super().__init__()
        self._row: Row | None = None
        self._quick = False
        self._renaming: int | None = None

    def on_mount(self) -> None:
        self._edits = CaptionEdits(self.app, self._row_changed, self._clash)

    # What ReviewScreen does

    @abstractmethod
    def _draw(self, row: Row) -> None:
        """Draw the image and its tags."""

    @abstractmethod
    def _draw_below(self, row: Row) -> None:
        """Draw the lines below the tags."""

    @abstractmethod
    def _follow(self) -> None:
        """Let the picture and the film strip follow the cursor."""

    @abstractmethod
    def _row_before(self) -> Row | None:
        """The image before this one."""

    # Edits

    def _row_changed(self, row: Row) -> None:
        if row is self._row:
            place = self.tags.place
            self._draw(row)
            if place is None:
                self.tags.rows_changed(len(self.tags.tag_rows) - 1)
            else:
                self.tags.put(place)
            self._follow()

    def _clash(self, clash: Clash) -> None:
        self._ask_about(clash)

    @work(exit_on_error=False)
    async def _ask_about(self, clash: Clash) -> None:
        from tui.screens.dialogs import Choose

        theirs = "(the file is gone)" if clash.theirs is None else clash.theirs
        choices = [
            ("theirs", "Keep theirs", "leave the file as it is now"),
            ("ours", "Write mine", "u brings theirs back"),
        ]
        text = f"theirs   {theirs}\n\nmine     {clash.ours}"
        if clash.merged is not None:
            choices.append(("merged", "Do my change on theirs", "u brings theirs back"))
            text += f"\n\nboth     {clash.merged}"
        name = clash.row.item.caption_path.name
        answer = await self.app.push_screen_wait(Choose(f"{name} was changed by somebody else", choices, text))
        if answer == "ours":
            self._edits.take(clash, clash.ours)
        elif answer == "merged" and clash.merged is not None:
            self._edits.take(clash, clash.merged)

    def _change(self, tags: Iterable[str], label: str, place: int | None = None, *, again: bool = True) -> bool:
        row = self._row
        if row is None:
            return False
        if row.error is not None:
            self.app.report(UserError(row.error, "Repair the file first; nothing was changed."))
            return False
        changed = self._edits.set_tags(row, list(tags), label, again=again)
        if changed and place is not None:
            self.tags.put(place)
        return changed

    def action_remove(self) -> None:
        place, row = self.tags.place, self._row
        if row is not None and place is not None:
            tag = row.tags[place]
            self._change([*row.tags[:place], *row.tags[place + 1 :]], label_of("remove", tag, "from", row), place)

    def action_shift(self, by: int) -> None:
        place, row = self.tags.place, self._row
        if row is None or place is None or not 0 <= place + by < len(row.tags):
            return
        tags = list(row.tags)
        tags.insert(place + by, tags.pop(place))
        self._change(tags, label_of("move", row.tags[place], "in", row), place + by)

    def action_front(self) -> None:
        place, row = self.tags.place, self._row
        if row is not None and place:
            tags = list(row.tags)
            tags.insert(0, tags.pop(place))
            self._change(tags, label_of("move", row.tags[place], "to the front in", row), 0)

    def action_same(self) -> None:
        before = self._row_before()
        if self._row is not None and before is not None:
            label = f"tags of {printable(before.name)} for {printable(self._row.name)}"
            self._change(before.tags, label, 0, again=False)

    # Adding and renaming

    def _suggest(self, typed: str) -> list[Suggestion]:
        collection = self.app.collection
        return complete(typed, collection.tag_counts() if collection else {}, self.tags.tag_rows.categories)

    async def _type(self, label: str, value: str = "") -> None:
        await self.query(TagInput).remove()
        field = TagInput(label, value, self._suggest, self.tags.tag_rows.categories)
        await self.query_one("#side").mount(field, before=self.below)

    async def action_add(self) -> None:
        if self._row is not None:
            self._renaming = None
            await self._type("⏎ adds (a, b too), ⏎ again closes")

    async def action_rename(self) -> None:
        place, row = self.tags.place, self._row
        if row is not None and place is not None:
            self._renaming = place
            await self._type("the tag's other name", row.tags[place])

    @on(ItemList.Opened, "#tags")
    async def _opened_row(self) -> None:
        await (self.action_add() if self.tags.place is None else self.action_rename())

    async def on_tag_input_entered(self, event: TagInput.Entered) -> None:
        row, place = self._row, self._renaming
        words = [captions.clean_tag(tag) for tag in captions.split(event.text.replace("\n", " "))]
        if row is None or not words:
            await self._close_input()
            return
        if place is not None and place < len(row.tags):
            label = f'rename "{printable(row.tags[place])}" to "{printable(captions.join(words))}" in {row.name}'
            self._change([*row.tags[:place], *words, *row.tags[place + 1 :]], label, place)
            await self._close_input()
            return
        have = row.tag_keys
        new = [tag for tag in words if captions.tag_key(tag) not in have]
        if new:
            at_end = self.tags.place is None
            changed = self._change([*row.tags, *new], label_of("add", captions.join(new), "to", row))
            if changed and not at_end:
                self.tags.put(len(row.tags) - 1)  # in sight
        else:
            self.notify(f"{printable(captions.join(words))} is there already", markup=False, timeout=3)
        self.query_one(TagInput).clear()

    async def on_tag_input_left(self) -> None:
        await self._close_input()

    async def _close_input(self) -> None:
        await self.query(TagInput).remove()
        self.tags.focus()

    # Text

    @work(exit_on_error=False)
    async def action_text(self) -> None:
        from tui.screens.text_dialog import EditText

        row = self._row
        if row is None or row.error is not None:
            return
        text = await self.app.push_screen_wait(EditText(f"Caption of {row.name}", row.caption or ""))
        if text is not None:
            self._edits.set_text(row, text, f"edit the caption of {printable(row.name)}")

    @work(exit_on_error=False)
    async def action_editor(self) -> None:
        from tui.editor import edit_text

        row = self._row
        if row is not None and row.error is None:
            text = await edit_text(self.app, row.caption or "", row.item.caption_path.name)
            if text is not None:
                self._edits.set_text(row, text, f"edit the caption of {printable(row.name)}")

    @work(exit_on_error=False)
    async def action_fix(self) -> None:
        """A caption in another encoding becomes UTF-8; how it was written is for a person to see."""
        from core.dataset.changes import Edit
        from tui.opening import files_changed
        from tui.screens.dialogs import Choose

        row = self._row
        if row is None or row.error is None:
            self.notify("This caption needs no mending.")
            return
        path = row.item.caption_path
        data = captions.read_bytes(path) or b""
        found = captions.readings(data)
        if not found:
            raise UserError(
                f"{path.name} is no text in any encoding that is known here", "Write it anew, or remove it."
            )
        options = [(encoding, name, captions.first_line(text)[:60]) for encoding, name, text in found]
        answer = await self.app.push_screen_wait(
            Choose(f"Save {path.name} as UTF-8", options, "Which one reads right? u brings the old file back.")
        )
        text = next((text for encoding, _, text in found if encoding == answer), None)
        if text is None:
            return
        journal = self.app.journal

        def done(group: EditGroup) -> None:
            self.app.undoing.wrote(group)
            files_changed(self.app, [path])

        label = f"save {printable(path.name)} as UTF-8"
        edit = Edit(path, data, text.encode("utf-8"))
        self.app.writer.submit(lambda: journal.apply(label, [edit]), done, self.app.report)

    def action_copy(self) -> None:
        if self._row is not None:
            self.app.copy_to_clipboard(self._row.caption or "")
            self.notify("caption copied", timeout=2)

    # Quick tags

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "quick_tag":
            return self._quick and isinstance(parameters[0], int) and parameters[0] <= len(self._quick_tags())
        return True

    def _quick_tags(self) -> tuple[str, ...]:
        return self.app.settings.quick_tags[:9]

    def _quick_cells(self, row: Row) -> Cells:
        cells: Cells = []
        for digit, tag in enumerate(self._quick_tags(), 1):
            there = captions.tag_key(tag) in row.tag_keys
            cells += [(f"{digit} ", "accent"), (f"{printable(tag)}  ", "good bold" if there else "muted")]
        return cells

    def action_quick(self) -> None:
        self._quick = not self._quick
        self.refresh_bindings()
        if self._row is not None:
            self._draw_below(self._row)

    def action_quick_tag(self, digit: int) -> None:
        row, tag = self._row, self._quick_tags()[digit - 1]
        if row is None:
            return
        key = captions.tag_key(tag)
        rest = [each for each in row.tags if captions.tag_key(each) != key]
        if len(rest) < len(row.tags):
            self._change(rest, label_of("remove", tag, "from", row))
        else:
            self._change([*row.tags, tag], label_of("add", tag, "to", row))
