"""The Review screen: one picture, its tags, and a key for everything that is done to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widget import Widget

from core.dataset import captions
from core.problems import Problem, UserError
from core.text import count_of, printable
from tui import opening
from tui.collection import Row
from tui.crops import Crops, read_crops
from tui.screens.base import FIND, ModeScreen
from tui.screens.review_side import TagSide
from tui.screens.row_actions import ask_to_trash, mark_as_reviewed
from tui.theme import Cells
from tui.widgets.film import film_cells
from tui.widgets.image_view import REST, ImageView
from tui.widgets.line import Line
from tui.widgets.tag_editor import TagEditor

SLIM = 60
"""Below this width there is no room for the picture beside the tags."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the caption that is shown, for what other programs write."""


class ReviewScreen(ModeScreen):
    """Goes through `app.collection.shown`; what it changes is on disk, and undoable, with each key."""

    MODE = "review"
    CSS_PATH = "review.tcss"
    HELP = """
    ## Review

    `h` `l` go through the images, `j` `k` through the tags. `a` adds, `x` removes, `r` renames, `J` `K` move a tag, `f`
    puts it first, `"` takes the tags of the image before. `E` edits the caption as text, `e` in your $EDITOR.

    `z` shows the picture alone, `+` and `-` go closer and away (arrows move it then), `V` checks one tag on all images.
    What the bucket of the config cuts away is faded.

    `m` marks the image as reviewed and goes on; `]` and `[` look for the next without tags. `t` opens quick tags:
    digits switch them. Everything is written at once; `u` undoes it.
    """
    BINDINGS = [
        Binding("a", "side('add')", "add", id="review.add", tooltip="Add a tag"),
        Binding("x", "side('remove')", "remove", id="edit.remove", tooltip="Remove the tag"),
        Binding("r", "side('rename')", "rename", id="review.rename", tooltip="Rename the tag"),
        Binding("f", "side('front')", "to front", show=False, id="review.front", tooltip="Move the tag to the front"),
        Binding("J", "side('shift(1)')", "move down", show=False, id="review.move-down", tooltip="Move the tag down"),
        Binding("K", "side('shift(-1)')", "move up", show=False, id="review.move-up", tooltip="Move the tag up"),
        Binding("quotation_mark", "same", "as previous", show=False, id="review.same", tooltip="Same tags as before"),
        Binding("t", "side('quick')", "quick tags", id="review.quick-tags"),
        Binding("E", "side('text')", "edit as text", show=False, id="review.text", tooltip="Edit the caption as text"),
        Binding("e", "side('editor')", "$EDITOR", show=False, id="edit.editor", tooltip="Edit the caption in $EDITOR"),
        Binding("F", "side('fix')", "save as UTF-8", show=False, id="review.fix", tooltip="Mend a caption's encoding"),
        Binding("y", "side('copy')", "copy", show=False, id="list.copy", tooltip="Copy the caption to the clipboard"),
        *(
            Binding(str(digit), f"quick_tag({digit})", f"quick tag {digit}", show=False, id=f"review.quick-{digit}")
            for digit in range(1, 10)
        ),
        Binding("l,right", "go(1)", "next image", id="review.next-image", group=Binding.Group("image")),
        Binding("h,left", "go(-1)", "previous image", id="review.previous-image", group=Binding.Group("image")),
        Binding("m", "reviewed", "reviewed", id="list.reviewed", tooltip="Mark as reviewed and go on"),
        Binding("right_square_bracket", "untagged(1)", "next untagged", show=False, id="review.next-untagged"),
        Binding("left_square_bracket", "untagged(-1)", "previous untagged", show=False, id="review.previous-untagged"),
        Binding("z", "zoom", "zoom", show=False, id="review.zoom", tooltip="Picture over the whole screen, and back"),
        Binding("plus", "enlarge(1)", "closer", show=False, id="review.larger", key_display="+"),
        Binding("minus", "enlarge(-1)", "further away", show=False, id="review.smaller", key_display="-"),
        Binding("V", "check", "visual checker", show=False, id="review.visual-checker", tooltip="One tag, yes or no"),
        Binding("B", "batch", "edit captions", show=False, id="edit.batch", tooltip="Edit many captions at once"),
        Binding("number_sign", "tags_panel", "tags", show=False, id="review.tags-panel", tooltip="All tags"),
        Binding("D", "trash", "to the trash", show=False, id="list.trash", tooltip="Move to the trash"),
        *FIND,
    ]

    where = getters.query_one("#where", Line)
    picture = getters.query_one(ImageView)
    tags = getters.query_one(TagEditor)
    film = getters.query_one("#film", Line)

    def __init__(self) -> None:
        super().__init__()
        self.side = TagSide()
        self._rest: Timer | None = None
        self._crops = Crops()
        self._zoomed = False

    @property
    def _row(self) -> Row | None:
        return self.side.row

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        with Horizontal(id="panels"):
            yield ImageView(id="picture")
            yield self.side
        yield Line(id="film")

    def on_mount(self) -> None:
        self.app.collection_signal.subscribe(self, self._collection_changed)
        self.app.dataset_changed.subscribe(self, lambda _: self.side.load_background())
        self.app.undo_signal.subscribe(self, lambda _: self.side.draw_below())
        self.watch(self.app, "active_dataset", self._opened, init=False)
        self.watch(self.app, "active_config", self._config_chosen, init=False)
        self.set_interval(LOOK_EVERY, self._look_again)
        self.tags.focus()

    def on_screen_resume(self) -> None:
        collection, wanted = opening.ensure(self.app), self.app.review_item
        row = collection.row_of(wanted) if collection is not None and wanted is not None else None
        self._show(row if row is not None else self._row)
        self.side.load_background()
        read_crops(self, self._took_crops)

    def on_resize(self) -> None:
        self.set_class(self.size.width < SLIM, "-slim")
        self.call_after_refresh(self._draw)

    def _config_chosen(self) -> None:
        self.side.load_background()
        read_crops(self, self._took_crops)

    def _took_crops(self, crops: Crops) -> None:
        self._crops = crops
        if self._row is not None:
            self._picture_of(self._row)

    def _picture_of(self, row: Row) -> None:
        self.picture.show(row.item.path, kept=self._crops.kept(row.item.path, row.size))

    def _opened(self) -> None:
        opening.ensure(self.app)
        self._show(None)

    # What is shown

    def _rows(self) -> Sequence[Row]:
        return self.app.collection.shown if self.app.collection is not None else []

    def _index(self) -> int:
        collection, row = self.app.collection, self._row
        return collection.place_of(row) if collection is not None and row is not None else -1

    def _collection_changed(self, what: str) -> None:
        collection, row = self.app.collection, self._row
        if collection is None or row is None or (now := collection.row_of(row.item.path)) is None:
            self._show(None)
        else:
            self.side.take(now)
            self._draw_head()
            self._picture_of(now)
            self._follow()

    @on(TagSide.Edited)
    def _edited(self) -> None:
        self._draw_head()
        self._follow()

    def _show(self, row: Row | None) -> None:
        """Another image: tags in this frame, the picture when the key rests."""
        rows = self._rows()
        if row is None and rows:
            row = rows[0]
        self.side.show(row)
        self.side.set_class(row is None or self._zoomed, "-off")
        self.app.review_item = row.item.path if row is not None else None
        if row is None:
            self.picture.show(None)
            self.film.set([])
            self.where.set([(" No image to review. ", "text bold"), ("Import some in Dataset (1, then i).", "muted")])
            return
        self._draw_head()
        self._picture_of(row)
        self._follow()

    def _draw(self) -> None:
        self.side.draw()
        self._draw_head()

    def _draw_head(self) -> None:
        """The lines above and below the picture."""
        rows, index, row, collection = self._rows(), self._index(), self._row, self.app.collection
        if row is None or collection is None:
            return
        left: Cells = [(f" {index + 1:,}", "accent bold"), (f" of {len(rows):,}", "text")]
        if untagged := collection.untagged():
            left.append((f" · untagged {untagged:,}", "caution"))
        if collection.query:
            left += [(" · / ", "accent"), (printable(collection.query), "text")]
        reviewed: Cells = [("  ● ", "good"), ("reviewed", "muted")] if row.reviewed else []
        self.where.set(left, [(printable(row.name), "text bold"), *reviewed, (" ", "text")])
        self.film.set(film_cells(rows, index, self.size.width))

    # What follows when the key rests: tokens, scores, the next thumbnail; and what other programs write

    def _follow(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)

    def _rested(self) -> None:
        if self._row is not None:
            self._look_again()
            self.side.read_more(self._row)
            rows, index = self._rows(), self._index()
            if 0 <= index < len(rows) - 1:
                self.picture.warm(rows[index + 1].item.path)

    def _look_again(self) -> None:
        if self.is_current:
            opening.look_again(self.app, self._row)

    # Going through the images

    def action_go(self, by: int) -> None:
        rows, index = self._rows(), self._index()
        if rows:
            self._show(rows[min(max(index + by, 0), len(rows) - 1)])

    def action_untagged(self, by: int) -> None:
        collection, index = self.app.collection, self._index()
        found = collection.untagged_from(index, by) if collection is not None else None
        if found is not None:
            self._show(found)
        else:
            self.notify("no other image without tags " + ("after this one" if by > 0 else "before it"), timeout=3)

    def action_reviewed(self) -> None:
        row = self._row
        if row is None:
            return
        mark_as_reviewed(self.app, [row])
        rows, index = self._rows(), self._index()
        if index + 1 < len(rows):
            self._show(rows[index + 1])
        else:
            self._draw_head()
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
            opening.choose(self.app, query, then=self._filtered)

    def _filtered(self) -> None:
        self.app.collection_signal.publish("rows")
        if self._index() < 0:
            self._show(None)

    def action_zoom(self) -> None:
        self._zoomed = not self._zoomed
        self.side.set_class(self._zoomed or self._row is None, "-off")
        self.action_enlarge(-99)

    def action_enlarge(self, steps: int) -> None:
        """Closer or further away; while a part is enlarged the arrows move it."""
        self.picture.enlarge(steps)
        if self.picture.factor > 1:
            self.picture.can_focus = True
            self.picture.focus()
        elif self.picture.can_focus:
            self.picture.can_focus = False
            self.set_focus(None if self.side.has_class("-off") else self.tags)

    @work(exit_on_error=False)
    async def action_check(self) -> None:
        from tui.screens.checker import CheckerScreen
        from tui.screens.dialogs import Ask

        collection, row, place = self.app.collection, self._row, self.tags.place
        if collection is None or row is None:
            return
        counts = await asyncio.to_thread(collection.tag_counts)  # 60 ms for 100,000 images
        known = [tag for tag, _ in counts.most_common(5000)]
        here = row.tags[place] if place is not None and place < len(row.tags) else ""
        label = f"The tag to check on {count_of(len(collection.shown), 'image')}"
        answer = await self.app.push_screen_wait(Ask("Visual checker", label, here, known))
        if answer is not None and (tag := captions.clean_tag(answer)):
            self.app.push_screen(CheckerScreen(collection, tag, row))

    @work(exit_on_error=False)
    async def action_trash(self) -> None:
        row, index = self._row, self._index()
        if row is not None and await ask_to_trash(self.app, [row]):
            rows = self._rows()  # without it
            self._show(rows[min(index, len(rows) - 1)] if rows else None)

    @work(exit_on_error=False)
    async def action_batch(self) -> None:
        from tui.screens.batch import edit_many

        await edit_many(self.app, self._row, "this")

    def step_back(self) -> bool:
        if self.side.is_quick:
            self.side.action_quick()
            return True
        if self.picture.factor > 1:
            self.action_enlarge(-99)
            return True
        if self._zoomed:
            self.action_zoom()
            return True
        return False

    def go_to_problem(self, problem: Problem) -> None:
        collection = self.app.collection
        row = collection.find(problem.where) if collection is not None else None
        if row is not None:
            self._show(row)

    def problems(self) -> tuple[Problem, ...]:
        row = self._row
        found = self.app.collection.problems() if self.app.collection is not None else ()
        return tuple(problem for problem in found if row is not None and problem.where == row.key)

    # What the side does

    async def action_side(self, action: str) -> None:
        """One of its own actions, which it could not bind itself: without the focus (in zoom) it gets no keys."""
        await self.app.run_action(action, self.side)

    def action_same(self) -> None:
        rows, index = self._rows(), self._index()
        if index > 0:
            self.side.tag_like(rows[index - 1])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "quick_tag":
            return self.side.is_quick and isinstance(parameters[0], int) and parameters[0] <= len(self.side.quick_tags)
        return True

    def action_quick_tag(self, digit: int) -> None:
        self.side.action_quick_tag(digit)
