"""All runs on the Monitor screen, the newest first: a line each, and how many go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Vertical

from core.text import count_of
from tui.screens.monitor_listing import Listing
from tui.screens.monitor_queue import is_queued
from tui.theme import Cells
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line
from tui.widgets.run_list import RunRows

if TYPE_CHECKING:
    from core.runs.model import Run

_EMPTY = "No runs yet. R in Config (4) starts one, or in a shell: kohya-tui train NAME"


class AllRuns(Vertical):
    """`take` shows what was read; the cursor stays on its run."""

    rows = getters.query_one("#run-list", ItemList)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.listing = Listing()
        self._shown = RunRows()
        self._wanted: str | None = None
        """The run that the cursor is to stand on as soon as the list has it."""
        self._keys_for: object = None

    def compose(self) -> ComposeResult:
        yield Line([(" Runs", "accent bold")], id="runs-title")
        yield ItemList(self._shown, id="run-list")

    @property
    def under_cursor(self) -> Run | None:
        """None while the list is empty."""
        index = self.rows.cursor
        return self.runs[index] if 0 <= index < len(self.runs) else None

    @property
    def runs(self) -> Sequence[Run]:
        """What is listed, from the top."""
        return self.listing.runs

    def stand_on(self, run_id: str) -> None:
        """Put the cursor on this run: what was just looked at is what the next key is about."""
        self._wanted = run_id
        place = next((index for index, run in enumerate(self.runs) if run.id == run_id), None)
        if place is not None:
            self.rows.move(place)

    def take(self, found: Listing) -> None:
        """Show these; only rows that look different are drawn."""
        here = self._wanted or (self.under_cursor.id if self.under_cursor is not None else None)
        self.listing, self._wanted = found, None
        changed = self._shown.update(found.runs, found.progress, found.notes, self.rows.size.width)
        for index in changed or ():
            self.rows.row_changed(index)
        if changed is None or not self.rows.empty:
            self.rows.empty = _EMPTY
            cursor = next((index for index, run in enumerate(found.runs) if run.id == here), 0)
            self.rows.rows_changed(cursor if found.runs else None)
        self._tell(found.runs)
        self._refresh_keys()

    def _tell(self, runs: Sequence[Run]) -> None:
        live, lost = (sum(1 for run in runs if run.live), sum(1 for run in runs if run.is_abandoned))
        waiting = sum(1 for run in runs if is_queued(run)) - lost
        title: Cells = [(" Runs", "accent bold")]
        if runs:
            title.append((f"   {len(runs):,}", "text"))
        if live:
            title += [("   ▶ ", "good"), (count_of(live, "run is", "runs are") + " going", "text")]
        if waiting:
            title += [("   ◌ ", "caution"), (count_of(waiting, "waits", "wait"), "text")]
        if lost:
            title += [("   ", "text"), (f"{count_of(lost, 'waits', 'wait')} in vain: Z", "caution")]
        self.query_one("#runs-title", Line).set(title, [("⏎ opens ", "muted")] if runs else [])

    @on(ItemList.Moved, "#run-list")
    def _moved(self, event: ItemList.Moved) -> None:
        self._refresh_keys()

    def _refresh_keys(self) -> None:
        """The footer names what can be done to the run under the cursor."""
        run = self.under_cursor
        facts = run is None or (str(run.state), is_queued(run), run.spec.group is None, run.id in self.listing.leads_on)
        if facts != self._keys_for:
            self._keys_for = facts
            self.screen.refresh_bindings()
