"""The panel that follows the cursor of Dataset: an image's picture and its facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, work
from textual.containers import Vertical
from textual.timer import Timer
from textual.widget import Widget

from tui.widgets.dataset_rows import facts_of
from tui.widgets.image_view import REST, ImageView
from tui.widgets.lines import LiveLines
from tui.wiring import OurApp

if TYPE_CHECKING:
    from tui.collection import Row


class ImageSide(Vertical):
    """Shows an image when the cursor has rested on it; from then on it is the one that Review opens."""

    app = OurApp()
    picture = getters.query_one(ImageView)
    facts = getters.query_one(LiveLines)

    def __init__(self) -> None:
        super().__init__(id="side")
        self._row: Row | None = None
        self._rest: Timer | None = None
        self._counter_loaded = False

    def compose(self) -> Iterable[Widget]:
        yield ImageView(top=True, id="picture")
        yield LiveLines(id="facts")

    def follow(self, row: Row | None) -> None:
        """The cursor is on `row`, or its facts are others."""
        self._row = row
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)

    def look_again(self) -> None:
        """Find out whether another program wrote the caption."""
        from tui import opening

        if self.screen.is_current:
            opening.look_again(self.app, self._row)

    def _rested(self) -> None:
        row = self._row
        if row is not None:
            self.app.review_item = row.item.path
        self.look_again()
        if not self.display:
            return
        if row is None:
            self.picture.show(None)
            self.facts.show([])
            return
        self.picture.show(row.item.path, now=True)
        if row.caption:
            self._count_tokens(row)
        if not (row.caption and self._counter_loaded):  # else the count is there at once: one paint for both
            self.facts.show(facts_of(row, self.facts.size.width, None))

    @work(thread=True, exclusive=True, group="tokens", exit_on_error=False)
    def _count_tokens(self, row: Row) -> None:
        from core.dataset.tokens import count_tokens

        tokens = count_tokens(row.caption or "")
        self.app.call_from_thread(self._counted, row, tokens)

    def _counted(self, row: Row, tokens: int) -> None:
        self._counter_loaded = True
        if row is self._row:
            self.facts.show(facts_of(row, self.facts.size.width, tokens))
