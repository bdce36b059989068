"""The line to type a filter in, with what the word under the cursor may become listed below it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on, work
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input

from core.dataset.filter_tree import FilterError
from core.problems import UserError
from core.text import printable
from tui.theme import Cells, fit
from tui.widgets.line import Lines, cut
from tui.wiring import OurApp

if TYPE_CHECKING:
    from core.dataset.completion import Completer
    from core.dataset.filter_complete import Offer


class FilterBar(Vertical):
    """The input posts `Changed` and `Submitted` as any other. Tab takes the first offer, or the one that the arrows
    chose; so does Enter on a chosen one.
    """

    DEFAULT_CSS = """
    FilterBar { height: auto; background: $surface; }
    FilterBar Lines { height: 0; }
    """
    app = OurApp()
    BINDINGS: ClassVar = [
        Binding("tab", "take", "complete", show=False, id="path.next", tooltip="Take what is offered"),
        Binding("down", "turn(1)", "next offer", show=False, id="list.down"),
        Binding("up", "turn(-1)", "offer before", show=False, id="list.up"),
    ]

    def __init__(self, query: str) -> None:
        super().__init__(id="filter-bar")
        self._query = query
        self._offers: list[Offer] = []
        self._chosen = -1
        self._tags: Completer | None = None
        self._saved: tuple[str, ...] = ()
        self._taken = query
        self._wrong: str | None = None
        """The query of which it is said what is wrong: nothing is offered over that."""

    def compose(self) -> ComposeResult:
        example = 'words, tag:"blue eyes", tags:>20, is:untagged, NOT smile'
        yield FilterInput(self._query, placeholder=example, id="filter", select_on_focus=False)
        yield Lines(on="surface")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if event.value == self._wrong:
            return
        if event.value == self._taken:
            self._show([])
        else:
            self._complete(event.value, self.query_one(Input).cursor_position)

    @work(exclusive=True, group="offers", exit_on_error=False)
    async def _complete(self, query: str, cursor: int) -> None:
        offers = await asyncio.to_thread(self._found, query, cursor)
        field = self.query_one(Input)
        if field.value == query != self._wrong:
            self._show(offers)

    def _found(self, query: str, cursor: int) -> list[Offer]:
        """On a thread: the first time all tags are gone through."""
        from core.dataset import saved_filters
        from core.dataset.filter_complete import complete

        if self._tags is None:
            from core.dataset.completion import Completer, of_counts

            collection, workspace = self.app.collection, self.app.workspace
            self._saved = tuple(saved_filters.load(workspace)) if workspace is not None else ()
            self._tags = Completer([of_counts(collection.tag_counts() if collection is not None else {})])
        tags = self._tags

        def known(typed: str, limit: int) -> Iterable[tuple[str, int]]:
            return ((found.tag, found.count) for found in tags.complete(typed, limit))

        return complete(query, known, self._saved, cursor=cursor)

    def _show(self, offers: list[Offer]) -> None:
        self._offers, self._chosen = offers, -1
        self._draw()

    def tell(self, error: UserError) -> None:
        """What is wrong with the query, with a mark below the place; until something else is typed."""
        if not isinstance(error, FilterError) or not self.is_attached:
            self.app.report(error)
            return
        field = self.query_one(Input)
        at = field.styles.padding.left + cell_len(field.value[: error.column - 1]) - round(field.scroll_offset.x)
        said: Cells = [(f" {printable(error.message)}", "text")]
        if error.hint:
            said.append((f"  {printable(error.hint)}", "muted"))
        self._offers, self._wrong = [], field.value
        self._list([[(" " * max(0, at) + "^", "bad bold")], cut(said, self.size.width)])

    def _draw(self) -> None:
        lines: list[Cells] = []
        width = max(20, min(48, self.size.width - 12))
        for index, offer in enumerate(self._offers):
            here = index == self._chosen
            name = (fit(printable(offer.text), width), "text bold" if here else "text")
            lines.append([(" ▸ " if here else "   ", "accent"), name, (f"{offer.note:>8}", "muted")])
        self._list(lines)

    def _list(self, lines: list[Cells]) -> None:
        panel = self.query_one(Lines)
        panel.styles.height = len(lines)
        panel.show(lines)

    @property
    def is_chosen(self) -> bool:
        """The arrows are on an offer."""
        return 0 <= self._chosen < len(self._offers)

    def action_take(self) -> None:
        """The word becomes what is offered."""
        if not self._offers:
            raise SkipAction
        offer = self._offers[max(0, self._chosen)]
        field = self.query_one(Input)
        self._taken = offer.query
        field.value = offer.query
        field.cursor_position = offer.cursor

    def action_turn(self, by: int) -> None:
        """Choose another offer."""
        if not self._offers:
            raise SkipAction
        self._chosen = (max(self._chosen, -1) + by) % len(self._offers) if self.is_chosen or by > 0 else -1
        self._draw()


class FilterInput(Input):
    """Enter on a chosen offer takes it."""

    async def action_submit(self) -> None:
        bar = self.parent
        if isinstance(bar, FilterBar) and bar.is_chosen:
            bar.action_take()
        else:
            await super().action_submit()
