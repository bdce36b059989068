"""All runs on the Monitor screen, the newest first: a line each, and how many go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from textual import getters, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from core.text import count_of
from tui.screens import monitor_queue
from tui.screens.monitor_parts import ENDED
from tui.screens.monitor_queue import is_queued
from tui.theme import Cells
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line
from tui.widgets.run_list import RunRows

if TYPE_CHECKING:
    from core.runs.model import Run
    from tui.screens.monitor import MonitorScreen

_EMPTY = "No runs yet. R in Config (4) starts one, or in a shell: kohya-tui train NAME"


class AllRuns(Vertical):
    """`take` shows what was read; the cursor stays on its run."""

    BINDINGS = [
        Binding("J", "move_run(1)", "later", id="queue.move-down", tooltip="One place down in the queue"),
        Binding("K", "move_run(-1)", "sooner", id="queue.move-up", tooltip="One place up in the queue"),
        Binding("Z", "hold", "hold or release", id="queue.hold", tooltip="Hold what waits, or let it go"),
        Binding("ampersand", "compare", "compare", id="sweep.compare", key_display="&", tooltip="The runs of a sweep"),
    ]

    rows = getters.query_one("#run-list", ItemList)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.runs: list[Run] = []
        self.progress: dict[str, str] = {}
        """How far each run came, by id; those of runs that were looked into."""
        self._shown = RunRows()
        self._wanted: str | None = None
        """The run that the cursor is to stand on as soon as the list has it."""
        self._keys_for: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Line([(" Runs", "accent bold")], id="runs-title")
        yield ItemList(self._shown, id="run-list")

    @property
    def under_cursor(self) -> Run | None:
        """None while the list is empty."""
        index = self.rows.cursor
        return self.runs[index] if 0 <= index < len(self.runs) else None

    def stand_on(self, run_id: str) -> None:
        """Put the cursor on this run: what was just looked at is what the next key is about."""
        self._wanted = run_id
        place = next((index for index, run in enumerate(self.runs) if run.id == run_id), None)
        if place is not None:
            self.rows.move(place)

    def known(self) -> dict[str, str]:
        """What need not be read again: of a run that had not ended yet it is no longer true when it has."""
        ended: Iterable[str] = (run.id for run in self.runs if str(run.state) in ENDED)
        return {run_id: self.progress[run_id] for run_id in ended if run_id in self.progress}

    def take(self, runs: list[Run], progress: dict[str, str]) -> None:
        """Show these; only rows that look different are drawn."""
        here = self._wanted or (self.under_cursor.id if self.under_cursor is not None else None)
        self.runs, self.progress, self._wanted = runs, progress, None
        changed = self._shown.update(runs, progress, self.rows.size.width)
        for index in changed or ():
            self.rows.row_changed(index)
        if changed is None or not self.rows.empty:
            self.rows.empty = _EMPTY
            cursor = next((index for index, run in enumerate(runs) if run.id == here), 0)
            self.rows.rows_changed(cursor if runs else None)
        self._tell(runs)
        self._refresh_keys()

    def _tell(self, runs: list[Run]) -> None:
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

    # Keys

    @on(ItemList.Moved, "#run-list")
    def _moved(self, event: ItemList.Moved) -> None:
        self._refresh_keys()

    def _refresh_keys(self) -> None:
        """The footer names what can be done to the run under the cursor."""
        run = self.under_cursor
        facts = (
            None if run is None else str(run.state),
            is_queued(run),
            run is not None and run.spec.group is not None,
        )
        if facts != self._keys_for:
            self._keys_for = facts
            self.screen.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        run = self.under_cursor
        if action in {"move_run", "hold"}:
            return is_queued(run)
        if action == "compare":
            return run is not None and run.spec.group is not None
        return True

    def action_move_run(self, by: int) -> None:
        if (run := self.under_cursor) is not None:
            monitor_queue.move(cast("MonitorScreen", self.screen), run, by)

    def action_hold(self) -> None:
        if (run := self.under_cursor) is not None:
            monitor_queue.hold_or_release(cast("MonitorScreen", self.screen), run)

    def action_compare(self) -> None:
        from tui.screens.sweep_compare import compare

        if (run := self.under_cursor) is not None:
            compare(cast("MonitorScreen", self.screen), run)
