"""The side of Review: the tags of one image, what else is known of it, and everything that is done to its caption."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from textual import getters, on, work
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from core.dataset import captions
from core.problems import UserError
from core.text import human_age, printable
from core.workspace import Workspace
from tui.caption_edits import CaptionEdits, Clash, label_of
from tui.caption_limits import Limits, limits_of
from tui.collection import Row
from tui.theme import Cells
from tui.widgets.dataset_rows import token_cells, wrap
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines, cut, width_of
from tui.widgets.tag_editor import TagEditor
from tui.widgets.tag_input import TagInput
from tui.wiring import OurApp

SUGGEST_FROM = 0.25
"""Stored scores from here on are offered as suggestions."""


class TagSide(Vertical):
    """Each change is one undoable edit, written behind the screen. The keys are the screen's: they work in zoom too."""

    app = OurApp()
    tags = getters.query_one(TagEditor)
    below = getters.query_one("#below", Lines)

    class Edited(Message):
        """The image has other tags now."""

    def __init__(self) -> None:
        super().__init__(id="side")
        self.row: Row | None = None
        """The image that is shown; None before the first one, and when there is none."""
        self.is_quick = False
        """Digits switch the quick tags."""
        self._edits = CaptionEdits(self.app, self._edited, self._ask_about)
        self._tokens: int | None = None
        self._suggested: list[tuple[str, float]] = []
        self._renaming: int | None = None
        self._was_read = False
        """What is drawn came from the files: with no tags on it, the cursor stands where one is added."""

    def compose(self) -> Iterable[Widget]:
        yield TagEditor(id="tags")
        yield Lines(id="below")

    def on_show(self) -> None:
        if self.screen.focused is None:
            self.tags.focus()  # Textual takes it from what is hidden, and does not give it back

    # What is shown

    def show(self, row: Row | None) -> None:
        """Another image, or the same from its first tag on."""
        if row is not self.row:
            self._tokens, self._suggested = None, []
            self.tags.tag_rows.scores, self.tags.tag_rows.ends = {}, ()
        self.row = row
        self.draw()
        if row is not None:
            self.tags.put(0)

    def take(self, row: Row) -> None:
        """The same image with other facts; the cursor stays on its place."""
        place, was_read, self.row = self.tags.place, self._was_read, row
        self.draw()
        if place is None and was_read:
            self.tags.rows_changed(len(self.tags.tag_rows) - 1)
        else:
            self.tags.put(place or 0)

    def draw(self) -> None:
        """What is known of the image, for the width there is."""
        if self.row is not None:
            self._was_read = self.row.is_read
            tags = self.tags.tag_rows
            tags.tags = self.row.tags
            tags.trigger = frozenset(map(captions.tag_key, captions.split(self.app.settings.trigger or "")))
        self.draw_below()

    def draw_below(self) -> None:
        """The lines below the tags: what is wrong, the quick tags, tokens and suggestions, the next undo."""
        row, undoing, width = self.row, self.app.undoing, self.below.size.width
        if row is None:
            return
        lines: list[Cells] = []
        if row.error is not None:
            reason = row.error.replace(str(row.item.caption_path), row.item.caption_path.name)
            lines += [[("! ", "bad"), (text, "text")] for text in wrap(reason, width - 2)[:2]]
            if "not UTF-8" in row.error:
                lines.append([("F ", "accent"), ("saves it as UTF-8 (u undoes it)", "text")])
        elif row.caption is not None and "\n" in row.caption.strip():
            lines.append([("! ", "caution"), ("more lines follow: E shows them", "muted")])
        quick = self._quick_lines(row, width or 50) if self.is_quick else []
        lines += quick
        cells = token_cells(self._tokens, self.tags.tag_rows.limits.tokens)[1:]
        if self._suggested:
            cells.append(("  suggested: " if cells else "suggested: ", "muted"))
            for tag, score in self._suggested:
                cells += [(printable(tag), "text"), (f" {score:.2f}  ", "muted")]
        lines.append(cells)
        if (group := undoing.next) is not None:
            age = f" ({human_age(time.time() - group.time)})"
            lines.append([("undo: ", "muted"), (undoing.label, "text"), (age, "muted")])
        self.below.show([cut(line, width or 50) for line in lines])
        if len(quick) > 1:
            self.below.styles.height = len(quick) + 2  # tokens and undo
        else:
            self.below.styles.height = None

    def _quick_lines(self, row: Row, width: int) -> list[Cells]:
        """All of them, on as many lines as they take; those that the image has stand out."""
        lines: list[Cells] = [[]]
        for digit, tag in enumerate(self.quick_tags, 1):
            there = captions.tag_key(tag) in row.tag_keys
            piece: Cells = [(f"{digit} ", "accent"), (f"{printable(tag)}  ", "good bold" if there else "muted")]
            if lines[-1] and width_of([*lines[-1], *piece]) > width + 2:
                lines.append([])
            lines[-1] += piece
        return lines

    # What is read of files: tokens and scores when the key rests, categories and keep_tokens for the whole dataset

    @work(thread=True, exclusive=True, group="more", exit_on_error=False, description="read more of a caption")
    def read_more(self, row: Row) -> None:
        from core.dataset.tokens import count_tokens, tag_ends

        line = captions.first_line(row.caption or "")
        tokens, ends = count_tokens(line), tag_ends(line)
        scores: list[tuple[str, str, float]] = []
        workspace = self.app.workspace
        if workspace is not None and (workspace.own / "scores").is_dir():
            from core.tagging.scores import read_scores, stamp_of

            scores = read_scores(workspace, row.key, stamp_of(row.item.path))
        self.app.call_from_thread(self._took_more, row, tokens, ends, scores)

    def _took_more(self, row: Row, tokens: int, ends: list[int], scores: list[tuple[str, str, float]]) -> None:
        if row is not self.row:
            return
        self._tokens, have, place = tokens, row.tag_keys, self.tags.place
        self.tags.tag_rows.ends = ends
        self.tags.tag_rows.scores = {captions.tag_key(tag): score for tag, _, score in scores}
        self._suggested = [
            (captions.spelled_like(tag.replace("_", " "), row.tags), score)
            for tag, category, score in scores
            if score >= SUGGEST_FROM and category in {"general", "character"} and captions.tag_key(tag) not in have
        ][:4]
        self._redraw(place)
        if not self.app.vocabulary.is_ready:
            self.app.vocabulary.load(self._took_words)

    def _took_words(self) -> None:
        self.tags.tag_rows.categories = self.app.vocabulary.categories
        self.tags.refresh()

    def load_background(self) -> None:
        workspace, dataset = self.app.workspace, self.app.active_dataset
        if workspace is not None and dataset is not None:
            self._read_background(workspace, dataset, self.app.active_config)

    @work(thread=True, exclusive=True, group="background", exit_on_error=False, description="read the background")
    def _read_background(self, workspace: Workspace, dataset: str, config: str | None) -> None:
        categories: Mapping[str, str] = {}
        if (workspace.own / "scores").is_dir():
            from core.tagging.scores import tag_categories

            categories = tag_categories(workspace)
        limits = limits_of(workspace.root, dataset, config)
        self.app.call_from_thread(self._took_background, categories, limits)

    def _took_background(self, categories: Mapping[str, str], limits: Limits) -> None:
        rows, place = self.tags.tag_rows, self.tags.place
        rows.categories = {**categories, **self.app.vocabulary.categories}
        rows.limits, rows.keep_tokens = limits, limits.keep_tokens
        self._redraw(place)

    def _redraw(self, place: int | None) -> None:
        """The bars may stand elsewhere now; the cursor stays on its tag."""
        rows = self.tags.tag_rows
        self.tags.rows_changed(len(rows) - 1 if place is None else rows.row_of(place))
        self.draw_below()

    # Edits

    def _edited(self, row: Row) -> None:
        if row is self.row:
            self.take(row)
            self.post_message(self.Edited())

    @work(exit_on_error=False, description="ask about a clash")
    async def _ask_about(self, clash: Clash) -> None:
        from tui.screens.text_dialog import choose_text

        text = await choose_text(self.app, clash)
        if text is not None:
            self._edits.take(clash, text)

    def _change(self, tags: Sequence[str], label: str, place: int | None = None, *, again: bool = True) -> bool:
        row = self.row
        if row is None:
            return False
        if row.error is not None:
            self.app.report(UserError(row.error, "Repair the file first; nothing was changed."))
            return False
        changed = self._edits.set_tags(row, tags, label, again=again)
        if changed and place is not None:
            self.tags.put(place)
        return changed

    def action_remove(self) -> None:
        place, row = self.tags.place, self.row
        if row is not None and place is not None:
            label = label_of("remove", row.tags[place], "from", row)
            self._change([*row.tags[:place], *row.tags[place + 1 :]], label, place)

    def action_shift(self, by: int) -> None:
        place = self.tags.place
        if place is not None:
            self._move(place, place + by, "in")

    def action_front(self) -> None:
        if self.tags.place:
            self._move(self.tags.place, 0, "to the front in")

    def _move(self, place: int, to: int, where: str) -> None:
        row = self.row
        if row is not None and 0 <= to < len(row.tags):
            tags = list(row.tags)
            tags.insert(to, tags.pop(place))
            self._change(tags, label_of("move", row.tags[place], where, row), to)

    def tag_like(self, other: Row) -> None:
        """Give the image the tags of another."""
        if self.row is not None:
            label = f"tags of {printable(other.name)} for {printable(self.row.name)}"
            self._change(other.tags, label, 0, again=False)

    # Quick tags

    @property
    def quick_tags(self) -> tuple[str, ...]:
        return self.app.settings.quick_tags[:9]

    def action_quick(self) -> None:
        self.is_quick = not self.is_quick
        self.screen.refresh_bindings()
        self.draw_below()

    def action_quick_tag(self, digit: int) -> None:
        row, tag = self.row, self.quick_tags[digit - 1]
        if row is None:
            return
        rest = [each for each in row.tags if captions.tag_key(each) != captions.tag_key(tag)]
        if len(rest) < len(row.tags):
            self._change(rest, label_of("remove", tag, "from", row))
        else:
            tag = captions.spelled_like(tag, row.tags)
            self._change([*row.tags, tag], label_of("add", tag, "to", row))

    # Adding and renaming

    def _have(self) -> Sequence[str]:
        return self.row.tags if self.row is not None else ()

    async def _type(self, label: str, value: str = "") -> None:
        await self.query(TagInput).remove()
        field = TagInput(label, value, self._have, lambda: () if value else self._suggested)
        await self.mount(field, before=self.below)

    async def action_add(self) -> None:
        if self.row is not None:
            self._renaming = None
            await self._type("⏎ adds (a, b too), ⏎ again closes")

    async def action_rename(self) -> None:
        place, row = self.tags.place, self.row
        if row is not None and place is not None:
            self._renaming = place
            await self._type("the tag's other name", row.tags[place])

    @on(ItemList.Opened, "#tags")
    async def _opened(self) -> None:
        await (self.action_add() if self.tags.place is None else self.action_rename())

    async def on_tag_input_entered(self, event: TagInput.Entered) -> None:
        row, place = self.row, self._renaming
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

    # The caption as a text

    @work(exit_on_error=False)
    async def action_text(self) -> None:
        from tui.screens.text_dialog import EditText

        row = self.row
        if row is not None and row.error is None:
            dialog = EditText(f"Caption of {row.name}", row.caption or "")
            self._retype(row, await self.app.push_screen_wait(dialog))

    @work(exit_on_error=False)
    async def action_editor(self) -> None:
        from tui.editor import edit_text

        row = self.row
        if row is not None and row.error is None:
            self._retype(row, await edit_text(self.app, row.caption or "", row.item.caption_path.name))

    def _retype(self, row: Row, text: str | None) -> None:
        if text is not None:
            self._edits.set_text(row, text, f"edit the caption of {printable(row.name)}")

    @work(exit_on_error=False)
    async def action_fix(self) -> None:
        from tui.screens.text_dialog import save_as_utf8

        if self.row is None or self.row.error is None:
            self.notify("This caption needs no mending.")
        else:
            await save_as_utf8(self.app, self.row)

    def action_copy(self) -> None:
        if self.row is not None:
            self.app.copy_to_clipboard(self.row.caption or "")
            self.notify("caption copied", timeout=2)
