"""The panel that follows the cursor of Dataset: an image's picture and its facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, work
from textual.containers import Vertical
from textual.timer import Timer
from textual.widget import Widget

from tui.crops import Crops, read_crops
from tui.theme import Cells
from tui.widgets.dataset_rows import facts_of
from tui.widgets.image_view import FAR, FAR_REST, REST, ImageView
from tui.widgets.lines import LiveLines
from tui.wiring import OurApp

if TYPE_CHECKING:
    from tui.collection import Row

LATER = 0.5
"""Seconds until the config is read, which imports much: the first frame and the first pictures come before it."""


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
        self._crops = Crops()
        self._tokens: int | None = None

    def compose(self) -> Iterable[Widget]:
        yield ImageView(top=True, id="picture")
        yield LiveLines(id="facts")

    def on_mount(self) -> None:
        self.watch(self.app, "active_dataset", self._config_changed)
        self.watch(self.app, "active_config", self._config_changed, init=False)
        self.app.dataset_changed.subscribe(self, lambda _: self._config_changed())

    def _config_changed(self) -> None:
        self.set_timer(LATER, lambda: read_crops(self, self._took_crops))

    def _took_crops(self, crops: Crops) -> None:
        self._crops = crops
        if self.display and self._row is not None and self.picture.source == self._row.item.path:
            self._show_picture(self._row)
            self._show_facts(self._row)

    def _show_picture(self, row: Row) -> None:
        self.picture.show(row.item.path, now=True, kept=self._crops.kept(row.item.path, row.size))

    def _show_facts(self, row: Row) -> None:
        lines = facts_of(row, self.facts.size.width, self._tokens)
        choice = self._crops.choice(row.item.path, row.size)
        if choice is not None and row.size is not None:
            scale = choice.resized[0] / row.size[0]
            bucket: Cells = [(f"→ {choice.bucket[0]}×{choice.bucket[1]}", "text"), ("  ·  ", "muted")]
            bucket += [(f"×{scale:.2f}", "caution" if scale > 1 else "text"), ("  ·  ", "muted")]
            bucket.append((f"{choice.cropped:.0%} cut", "text"))
            lines.insert(2, bucket)
        self.facts.show(lines)

    def follow(self, row: Row | None) -> None:
        """The cursor is on `row`, or its facts are others."""
        self._row = row
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(FAR_REST if FAR else REST, self._rested)

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
        self._show_picture(row)
        if row.caption:
            self._count_tokens(row)
        if not (row.caption and self._counter_loaded):  # else the count is there at once: one paint for both
            self._tokens = None
            self._show_facts(row)

    @work(thread=True, exclusive=True, group="tokens", exit_on_error=False, description="count tokens")
    def _count_tokens(self, row: Row) -> None:
        from core.dataset.tokens import count_tokens

        tokens = count_tokens(row.caption or "")
        self.app.call_from_thread(self._counted, row, tokens)

    def _counted(self, row: Row, tokens: int) -> None:
        self._counter_loaded = True
        if row is self._row:
            self._tokens = tokens
            self._show_facts(row)
