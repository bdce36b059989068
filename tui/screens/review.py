"""The Review screen: one picture, its tags, and a key for everything that is done to them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget

from core.dataset import captions
from core.problems import Problem, UserError
from core.text import human_age, printable
from tui import opening
from tui.caption_edits import CaptionEdits, Clash, keep_tokens_of, label_of
from tui.collection import Row
from tui.screens.base import FIND, ModeScreen
from tui.theme import Cells
from tui.widgets.dataset_rows import token_cells
from tui.widgets.image_view import REST, ImageView
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line, Lines
from tui.widgets.tag_editor import TagEditor
from tui.widgets.tag_input import Suggestion, TagInput, complete

SUGGEST_FROM = 0.25
"""Stored scores from here on are offered as suggestions."""


class ReviewScreen(ModeScreen):
    """Goes through `app.collection.shown`; what it changes is on disk, and undoable, with each key."""

    MODE = "review"
    CSS_PATH = "review.tcss"
    HELP = """
    ## Review

    `h` `l` go through the images, `j` `k` through the tags. `a` adds, `x` removes, `r` renames, `J` `K` move a tag, `f`
    puts it first, `"` takes the tags of the image before. `E` edits the caption as text, `e` in your $EDITOR.

    `m` marks the image as reviewed and goes on; `]` and `[` look for the next without tags. `t` opens quick tags:
    digits switch them. Everything is written at once; `u` undoes it.
    """
    BINDINGS = [
        Binding("l,right", "go(1)", "next image", id="review.next-image", group=Binding.Group("image")),
        Binding("h,left", "go(-1)", "previous image", id="review.previous-image", group=Binding.Group("image")),
        Binding("a", "add", "add", id="review.add", tooltip="Add a tag"),
        Binding("x", "remove", "remove", id="review.remove", tooltip="Remove the tag"),
        Binding("r", "rename", "rename", id="review.rename", tooltip="Rename the tag"),
        Binding("f", "front", "to front", id="review.front", tooltip="Move the tag to the front"),
        Binding("m", "reviewed", "reviewed", id="list.reviewed", tooltip="Mark as reviewed and go on"),
        Binding("J", "shift(1)", "move down", show=False, id="review.move-down", tooltip="Move the tag down"),
        Binding("K", "shift(-1)", "move up", show=False, id="review.move-up", tooltip="Move the tag up"),
        Binding("right_square_bracket", "untagged(1)", "next untagged", show=False, id="review.next-untagged"),
        Binding("left_square_bracket", "untagged(-1)", "previous untagged", show=False, id="review.previous-untagged"),
        Binding("quotation_mark", "same", "as previous", show=False, id="review.same", tooltip="Same tags as before"),
        Binding("t", "quick", "quick tags", id="review.quick-tags"),
        Binding("E", "text", "edit as text", show=False, id="review.text", tooltip="Edit the caption as text"),
        Binding("e", "editor", "$EDITOR", show=False, id="edit.editor", tooltip="Edit the caption in $EDITOR"),
        Binding("z", "zoom", "zoom", show=False, id="review.zoom", tooltip="Picture over the whole screen, and back"),
        Binding("y", "copy", "copy", show=False, id="list.copy", tooltip="Copy the caption to the clipboard"),
        Binding("D", "trash", "to the trash", show=False, id="list.trash", tooltip="Move to the trash"),
        *FIND,
        *(
            Binding(str(digit), f"quick_tag({digit})", f"quick tag {digit}", show=False, id=f"review.quick-{digit}")
            for digit in range(1, 10)
        ),
    ]

    where = getters.query_one("#where", Line)
    tags = getters.query_one("#tags", TagEditor)
    picture = getters.query_one(ImageView)
    below = getters.query_one("#below", Lines)
    film = getters.query_one("#film", Line)

    def __init__(self) -> None:
        super().__init__()
        self._row: Row | None = None
        self._rest: Timer | None = None
        self._tokens: int | None = None
        self._suggested: list[tuple[str, float]] = []
        self._last: tuple[str, float] | None = None
        self._quick = False
        self._renaming: int | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        with Horizontal(id="panels"):
            yield ImageView(id="picture")
            with Vertical(id="side"):
                yield TagEditor(id="tags")
                yield Lines(id="below")
        yield Line(id="film")

    def on_mount(self) -> None:
        self._edits = CaptionEdits(self.app, self._row_changed, self._written, self._clash)
        self.app.collection_signal.subscribe(self, self._collection_changed)
        self.app.dataset_changed.subscribe(self, lambda _: self._load_background())
        self.watch(self.app, "active_dataset", self._opened, init=False)
        self.watch(self.app, "active_config", self._config_chosen, init=False)
        self.tags.focus()

    def on_screen_resume(self) -> None:
        opening.ensure(self.app)
        collection = self.app.collection
        wanted, row = self.app.review_item, None
        if collection is not None and wanted is not None:
            row = collection.row_of(wanted)
        self._show(row if row is not None else self._row)
        self._load_background()

    def _config_chosen(self) -> None:
        self._load_background()

    def _opened(self) -> None:
        opening.ensure(self.app)
        self._show(None)

    # What is shown

    def _rows(self) -> list[Row]:
        return self.app.collection.shown if self.app.collection is not None else []

    def _index(self) -> int:
        rows = self._rows()
        for index, row in enumerate(rows):
            if row is self._row:
                return index
        return -1

    def _collection_changed(self, what: str) -> None:
        collection = self.app.collection
        row = self._row
        if collection is None or row is None or (now := collection.row_of(row.item.path)) is None:
            self._show(None)
        else:
            self._row = now
            self._refresh(now)

    def _show(self, row: Row | None) -> None:
        """Another image: tags in this frame, the picture when the key rests."""
        rows = self._rows()
        if row is None and rows:
            row = rows[0]
        if row is not self._row:
            self._tokens, self._suggested = None, []
            self.tags.tag_rows.scores = {}
        self._row = row
        self.app.review_item = row.item.path if row is not None else None
        self.query_one("#side").set_class(row is None, "-off")
        if row is None:
            self.picture.show(None)
            self.film.set([])
            self.where.set([(" No image to review. ", "text bold"), ("Import some in Dataset (1, then i).", "muted")])
            return
        self._draw(row)
        self.tags.put(0)
        self.picture.show(row.item.path)
        self._follow()

    def _refresh(self, row: Row) -> None:
        """The same image with other facts."""
        place = self.tags.place
        at_end = place is None
        self._draw(row)
        self.tags.rows_changed()
        if at_end and row.tags:
            self.tags.move(len(self.tags.tag_rows) - 1)
        self.picture.show(row.item.path)
        self._follow()

    def _draw(self, row: Row) -> None:
        rows, index, collection = self._rows(), self._index(), self.app.collection
        assert collection is not None
        tags = self.tags.tag_rows
        tags.tags = row.tags
        trigger = self.app.settings.trigger
        tags.trigger = frozenset(map(captions.tag_key, captions.split(trigger or "")))
        left: Cells = [(f" {index + 1:,}", "accent bold"), (f" of {len(rows):,}", "text")]
        if untagged := collection.untagged():
            left.append((f" · untagged {untagged:,}", "caution"))
        if collection.query:
            left += [(" · / ", "accent"), (printable(collection.query), "text")]
        right: Cells = [(printable(row.name), "text bold")]
        if row.reviewed:
            right += [("  ● ", "good"), ("reviewed", "muted")]
        self.where.set(left, [*right, (" ", "text")])
        self._draw_film(rows, index)
        self._draw_below(row)

    def _draw_below(self, row: Row) -> None:
        lines: list[Cells] = []
        if row.error is not None:
            lines.append([("! ", "bad"), (printable(row.error), "text")])
        elif row.caption is not None and "\n" in row.caption.strip():
            lines.append([("! ", "caution"), ("more lines follow: E shows them", "muted")])
        if self._quick:
            lines.append(self._quick_cells(row))
        cells: Cells = token_cells(self._tokens)[1:] if self._tokens is not None else []
        if self._suggested:
            cells.append(("  suggested: " if cells else "suggested: ", "muted"))
            for tag, score in self._suggested:
                cells += [(printable(tag), "text"), (f" {score:.2f}  ", "muted")]
        lines.append(cells)
        if self._last is not None:
            label, when = self._last
            lines.append([("undo: ", "muted"), (label, "text"), (f" ({human_age(time.time() - when)})", "muted")])
        from tui.widgets.line import cut

        self.below.show([cut(line, self.below.size.width or 50) for line in lines])

    def _draw_film(self, rows: list[Row], index: int) -> None:
        """The neighbours by what differs in their names; as many as fit."""
        reach = max(2, (self.size.width - 20) // 26)
        near = rows[max(0, index - reach) : index + reach + 1]
        stems = [printable(row.item.path.stem) for row in near]
        shared = _shared(stems)
        cells: Cells = [(" ◂ " if index > reach else "   ", "muted")]
        for row, stem in zip(near, stems, strict=True):
            name = stem[shared:][-14:]
            role = "good" if row.reviewed else "caution" if row.is_untagged else "muted"
            mark = "✱" if row.marked else ""
            cells.append((f"[{mark}{name}]", "accent bold") if row is self._row else (f" {mark}{name} ", role))
            cells.append((" ", "text"))
        cells.append(("▸" if index + reach + 1 < len(rows) else "", "muted"))
        self.film.set(cells)

    # What follows when the key rests: tokens, scores, the next thumbnail

    def _follow(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)

    def _rested(self) -> None:
        if self._row is not None:
            self._read_more(self._row)
            rows, index = self._rows(), self._index()
            if 0 <= index < len(rows) - 1:
                self.picture.warm(rows[index + 1].item.path)

    @work(thread=True, exclusive=True, group="more", exit_on_error=False)
    def _read_more(self, row: Row) -> None:
        from core.dataset.tokens import count_tokens

        tokens = count_tokens(captions.first_line(row.caption or ""))
        scores: list[tuple[str, str, float]] = []
        workspace = self.app.workspace
        if workspace is not None and (workspace.own / "scores").is_dir():
            from core.tagging.scores import read_scores, stamp_of

            scores = read_scores(workspace, row.key, stamp_of(row.item.path))
        self.app.call_from_thread(self._took_more, row, tokens, scores)

    def _took_more(self, row: Row, tokens: int, scores: list[tuple[str, str, float]]) -> None:
        if row is not self._row:
            return
        self._tokens = tokens
        have = row.tag_keys
        rows = self.tags.tag_rows
        rows.scores = {captions.tag_key(tag): score for tag, _, score in scores}
        self._suggested = [
            (tag.replace("_", " "), score)
            for tag, category, score in scores
            if score >= SUGGEST_FROM and category in {"general", "character"} and captions.tag_key(tag) not in have
        ][:4]
        self.tags.refresh()
        self._draw_below(row)

    @work(thread=True, exclusive=True, group="background", exit_on_error=False)
    def _load_background(self) -> None:
        """Tag categories, keep_tokens of the config, and the last undoable action."""
        workspace, dataset = self.app.workspace, self.app.active_dataset
        if workspace is None or dataset is None:
            return
        categories: Mapping[str, str] = {}
        if (workspace.own / "scores").is_dir():
            from core.tagging.scores import tag_categories

            categories = tag_categories(workspace)
        keep = keep_tokens_of(workspace.root, dataset, self.app.active_config)
        groups = self.app.journal.history(5) if (workspace.own / "journal").is_dir() else []
        last = next(((group.label, group.time) for group in groups if group.state == "done"), None)
        self.app.call_from_thread(self._took_background, categories, keep, last)

    def _took_background(self, categories: Mapping[str, str], keep: int | None, last: tuple[str, float] | None) -> None:
        rows = self.tags.tag_rows
        rows.categories, rows.keep_tokens = categories, keep
        self._last = (printable(last[0]), last[1]) if last is not None else None
        self.tags.rows_changed()
        if self._row is not None:
            self._draw_below(self._row)

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

    def _written(self, label: str) -> None:
        self._last = (label, time.time())
        if self._row is not None:
            self._draw_below(self._row)

    def _clash(self, clash: Clash) -> None:
        self._ask_about(clash)

    @work(exit_on_error=False)
    async def _ask_about(self, clash: Clash) -> None:
        from tui.screens.dialogs import Choose

        theirs = "(the file is gone)" if clash.theirs is None else clash.theirs
        answer = await self.app.push_screen_wait(
            Choose(
                f"{clash.row.item.caption_path.name} was changed by somebody else",
                [
                    ("theirs", "Keep theirs", "leave the file as it is now"),
                    ("ours", "Write mine", "u brings theirs back"),
                ],
                f"theirs   {theirs}\n\nmine     {clash.ours}",
            )
        )
        if answer == "ours":
            self._edits.take_ours(clash)

    def _change(self, tags: Iterable[str], label: str, place: int | None = None) -> bool:
        row = self._row
        if row is None:
            return False
        if row.error is not None:
            raise UserError(row.error, "Repair the file first; nothing was changed.")
        changed = self._edits.set_tags(row, list(tags), label)
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
        rows, index = self._rows(), self._index()
        if self._row is not None and index > 0:
            before = rows[index - 1]
            self._change(before.tags, f"tags of {printable(before.name)} for {printable(self._row.name)}", 0)

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
            await self._type("tag to add, or several with commas")

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
            self._change([*row.tags, *new], label_of("add", captions.join(new), "to", row))
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

    # Going through the images

    def action_go(self, by: int) -> None:
        rows, index = self._rows(), self._index()
        if rows:
            self._show(rows[min(max(index + by, 0), len(rows) - 1)])

    def action_untagged(self, by: int) -> None:
        rows, index = self._rows(), self._index()
        order = rows[index + 1 :] if by > 0 else rows[: max(0, index)][::-1]
        found = next((row for row in order if row.is_untagged), None)
        if found is not None:
            self._show(found)
        else:
            self.notify("no other image without tags " + ("after this one" if by > 0 else "before it"), timeout=3)

    def action_reviewed(self) -> None:
        from core.dataset.marks import mark_reviewed

        row, workspace = self._row, self.app.workspace
        if row is None or workspace is None:
            return
        row.reviewed = True
        self.app.writer.submit(lambda: mark_reviewed(workspace, [row.key]), None, self.app.report)
        rows, index = self._rows(), self._index()
        if index + 1 < len(rows):
            self._show(rows[index + 1])
        else:
            self._draw(row)
            self.notify("that was the last one", timeout=3)

    def action_next_match(self) -> None:
        self.action_go(1)

    def action_previous_match(self) -> None:
        self.action_go(-1)

    @work(exit_on_error=False)
    async def action_find(self) -> None:
        from core.dataset import filters
        from tui.screens.dialogs import Ask

        collection = self.app.collection
        if collection is None:
            return

        def check(query: str) -> str | None:
            try:
                filters.parse(query)
            except UserError as error:
                return str(error)
            return None

        hint = 'Words in name or caption, tag:"blue eyes", missing:rinni, is:untagged, NOT smile'
        query = await self.app.push_screen_wait(Ask("Filter", hint, collection.query, check=check))
        if query is not None:
            collection.choose(query)
            self.app.collection_signal.publish("rows")
            if self._index() < 0:
                self._show(None)

    def action_zoom(self) -> None:
        self.query_one("#side").toggle_class("-off")

    @work(exit_on_error=False)
    async def action_trash(self) -> None:
        from tui.screens.dialogs import Confirm
        from tui.trash import trash_images

        row, index = self._row, self._index()
        if row is None:
            return
        text = f"{row.name} with its caption. u brings it back."
        if await self.app.push_screen_wait(Confirm("Move the image to the trash?", text, "Move to the trash")) == "yes":
            rows = self._rows()
            following = rows[index + 1] if index + 1 < len(rows) else rows[index - 1] if index > 0 else None
            trash_images(self.app, [row])
            self._show(following)

    def step_back(self) -> bool:
        if self._quick:
            self.action_quick()
            return True
        if self._row is not None and self.query_one("#side").has_class("-off"):
            self.action_zoom()
            return True
        return False

    def problems(self) -> tuple[Problem, ...]:
        row = self._row
        found = self.app.collection.problems() if self.app.collection is not None else ()
        return tuple(problem for problem in found if row is not None and problem.where == row.key)


def _shared(stems: list[str]) -> int:
    """How many characters all names begin with, their numbers not counted."""
    if len(stems) < 2:
        return 0
    first, last = min(stems), max(stems)
    same = next((at for at, letter in enumerate(first) if last[at : at + 1] != letter), len(first))
    return len(first[:same].rstrip("0123456789"))
