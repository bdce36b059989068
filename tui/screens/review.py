"""The Review screen: one picture, its tags, and a key for everything that is done to them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from textual import getters, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget

from core.dataset import captions
from core.problems import Problem, UserError
from core.text import human_age, printable
from tui import opening
from tui.caption_edits import keep_tokens_of
from tui.collection import Row
from tui.screens.base import FIND
from tui.screens.review_edits import TagKeys
from tui.theme import Cells
from tui.widgets.dataset_rows import token_cells, wrap
from tui.widgets.film import film_cells
from tui.widgets.image_view import REST, ImageView
from tui.widgets.line import Line, Lines
from tui.widgets.tag_editor import TagEditor

SLIM = 60
"""Below this width there is no room for the picture beside the tags."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the caption that is shown, for what other programs write."""
SUGGEST_FROM = 0.25
"""Stored scores from here on are offered as suggestions."""


class ReviewScreen(TagKeys):
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
        Binding("m", "reviewed", "reviewed", id="list.reviewed", tooltip="Mark as reviewed and go on"),
        Binding("right_square_bracket", "untagged(1)", "next untagged", show=False, id="review.next-untagged"),
        Binding("left_square_bracket", "untagged(-1)", "previous untagged", show=False, id="review.previous-untagged"),
        Binding("z", "zoom", "zoom", show=False, id="review.zoom", tooltip="Picture over the whole screen, and back"),
        Binding("D", "trash", "to the trash", show=False, id="list.trash", tooltip="Move to the trash"),
        *FIND,
    ]

    where = getters.query_one("#where", Line)
    picture = getters.query_one(ImageView)
    film = getters.query_one("#film", Line)

    def __init__(self) -> None:
        super().__init__()
        self._rest: Timer | None = None
        self._tokens: int | None = None
        self._suggested: list[tuple[str, float]] = []

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        with Horizontal(id="panels"):
            yield ImageView(id="picture")
            with Vertical(id="side"):
                yield TagEditor(id="tags")
                yield Lines(id="below")
        yield Line(id="film")

    def on_mount(self) -> None:
        self.app.collection_signal.subscribe(self, self._collection_changed)
        self.app.dataset_changed.subscribe(self, lambda _: self._load_background())
        self.app.undo_signal.subscribe(self, lambda _: self._draw_again())
        self.watch(self.app, "active_dataset", self._opened, init=False)
        self.watch(self.app, "active_config", self._config_chosen, init=False)
        self.set_interval(LOOK_EVERY, self._look_again)
        self.tags.focus()

    def on_screen_resume(self) -> None:
        opening.ensure(self.app)
        collection = self.app.collection
        wanted, row = self.app.review_item, None
        if collection is not None and wanted is not None:
            row = collection.row_of(wanted)
        self._show(row if row is not None else self._row)
        self._load_background()

    def on_resize(self) -> None:
        self.set_class(self.size.width < SLIM, "-slim")
        if self._row is not None:
            self.call_after_refresh(self._draw, self._row)

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
        self.film.set(film_cells(rows, index, self.size.width))
        self._draw_below(row)

    def _draw_again(self) -> None:
        if self._row is not None:
            self._draw_below(self._row)

    def _draw_below(self, row: Row) -> None:
        lines: list[Cells] = []
        if row.error is not None:
            reason = row.error.replace(str(row.item.caption_path), row.item.caption_path.name)
            lines += [[("! ", "bad"), (text, "text")] for text in wrap(reason, self.below.size.width - 2)[:2]]
            if "not UTF-8" in row.error:
                lines.append([("F ", "accent"), ("saves it as UTF-8 (u undoes it)", "text")])
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
        if (group := self.app.undoing.next) is not None:
            age = f" ({human_age(time.time() - group.time)})"
            lines.append([("undo: ", "muted"), (self.app.undoing.label, "text"), (age, "muted")])
        from tui.widgets.line import cut

        self.below.show([cut(line, self.below.size.width or 50) for line in lines])

    # What follows when the key rests: tokens, scores, the next thumbnail

    def _follow(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)

    def _rested(self) -> None:
        if self._row is not None:
            self._look_again()
            self._read_more(self._row)
            rows, index = self._rows(), self._index()
            if 0 <= index < len(rows) - 1:
                self.picture.warm(rows[index + 1].item.path)

    def _look_again(self) -> None:
        if self.is_current:
            opening.look_again(self.app, self._row)

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
        """Tag categories, and keep_tokens of the config."""
        workspace, dataset = self.app.workspace, self.app.active_dataset
        if workspace is None or dataset is None:
            return
        categories: Mapping[str, str] = {}
        if (workspace.own / "scores").is_dir():
            from core.tagging.scores import tag_categories

            categories = tag_categories(workspace)
        keep = keep_tokens_of(workspace.root, dataset, self.app.active_config)
        self.app.call_from_thread(self._took_background, categories, keep)

    def _took_background(self, categories: Mapping[str, str], keep: int | None) -> None:
        rows = self.tags.tag_rows
        rows.categories, rows.keep_tokens = categories, keep
        self.tags.rows_changed()
        if self._row is not None:
            self._draw_below(self._row)

    # Going through the images

    def _row_before(self) -> Row | None:
        rows, index = self._rows(), self._index()
        return rows[index - 1] if index > 0 else None

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
        self.app.writer.submit(lambda: mark_reviewed(workspace, [row.key]), self.app.undoing.wrote, self.app.report)
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

    def go_to_problem(self, problem: Problem) -> None:
        collection = self.app.collection
        row = collection.find(problem.where) if collection is not None else None
        if row is not None:
            self._show(row)

    def problems(self) -> tuple[Problem, ...]:
        row = self._row
        found = self.app.collection.problems() if self.app.collection is not None else ()
        return tuple(problem for problem in found if row is not None and problem.where == row.key)
