"""The Monitor screen: one run with its chart, gauges, samples, checkpoints and log; or the list of all runs.

It only reads files, so that opening the app the next day is the same as watching live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, getters, on, work
from textual.binding import Binding
from textual.widget import Widget

from core.problems import Problem, UserError
from core.text import printable
from tui.screens import monitor_actions, monitor_compare, monitor_queue
from tui.screens.base import ModeScreen
from tui.screens.monitor_curves import CurveFeed
from tui.screens.monitor_feed import News, RunFeed
from tui.screens.monitor_hardware import HardwareFeed, HardwareNews
from tui.screens.monitor_keys import Here, why_not
from tui.screens.monitor_list import AllRuns
from tui.screens.monitor_listing import Listing, read_list
from tui.screens.monitor_parts import is_stalled, stall_problem
from tui.screens.monitor_view import RunView
from tui.widgets.chart import LossChart
from tui.widgets.curve import Curve
from tui.widgets.item_list import ItemList
from tui.widgets.log_view import LogView

if TYPE_CHECKING:
    from core.runs.model import Run

LIST_EVERY = 5
"""Seconds between two looks at the list of runs."""


class MonitorScreen(ModeScreen):
    """`show_run` opens a run, Esc goes back to the list."""

    MODE = "monitor"
    CSS_PATH = "monitor.tcss"
    HELP = """\
    # Monitor
    A run goes on without this screen, without the app and without the connection; look again whenever you like.

    The chart shows the loss of every step (grey) and its moving average. `╎e3` is the end of epoch 3, `◆` a checkpoint,
    `▴` a sample picture, `×` a loss that was no number, `↻` where a run went on from another. `+` and `-` change the
    smoothing, `L` the scale, `%` shows outliers, `>` and `<` fewer or more steps, `.` and `,` learning rates and more,
    `O` lays another run over it. The loss does not tell which epoch is best: the samples (`S`) do; `E`
    changes what is drawn from the next sampling on. Enter lists the checkpoints with their pictures; `y` there copies
    the path of the file.

    `tab` goes to log, chart and GPUs; `z` gives that one the whole screen, `|` hides side and log.

    `X` asks before it stops anything.
    """
    BINDINGS = [
        Binding("escape", "show_runs", "runs", id="app.back", key_display="Esc", tooltip="Back to the list of runs"),
        Binding("X", "stop", "stop", id="run.stop", tooltip="Stop the run: now, or after the next checkpoint"),
        Binding("C", "resume", "continue", id="monitor.resume", tooltip="Go on from the last saved state"),
        Binding(
            "enter",
            "checkpoints",
            "checkpoints",
            id="list.open",
            key_display="⏎",
            tooltip="Checkpoints and their paths",
        ),
        Binding("S", "samples", "samples", id="monitor.samples", tooltip="Sample pictures of all epochs"),
        Binding("E", "edit_prompts", "prompts", show=False, id="monitor.text", tooltip="Change the sample prompts"),
        Binding("O", "overlay", "overlay a run", show=False, id="monitor.overlay"),
        Binding(
            "d", "diff", "config", show=False, id="monitor.diff", tooltip="The run's config, and its diff to others"
        ),
        Binding("R", "start_now", "start now", id="run.start", tooltip="Start what waits in the queue now"),
        Binding("Z", "hold", "hold or release", id="queue.hold", tooltip="Hold what waits, or let it go"),
        Binding("J", "move_run(1)", "later", id="queue.move-down", tooltip="One place down in the queue"),
        Binding("K", "move_run(-1)", "sooner", id="queue.move-up", tooltip="One place up in the queue"),
        Binding("ampersand", "compare", "compare", id="sweep.compare", key_display="&", tooltip="The runs of a sweep"),
        Binding("tab", "next_panel", "next panel", show=False, id="app.next-panel"),
    ]

    chart = getters.query_one("#chart", LossChart)
    log_view = getters.query_one("#log", LogView)
    view = getters.query_one(RunView)
    all_runs = getters.query_one(AllRuns)

    def __init__(self) -> None:
        super().__init__()
        self.news: News | None = None
        """The last poll of the run that is shown; None while the list is."""
        self._feed: RunFeed | None = None
        self._hardware = HardwareFeed()
        self._smoothing = 0.9
        self._lists = False
        self._beats = 0
        self._chosen = False
        self._keys_for: tuple[object, ...] = ()

    def compose_body(self) -> Iterable[Widget]:
        yield AllRuns(id="runs")
        yield RunView(id="run")

    def on_mount(self) -> None:
        self.view.display = False
        self.app.runs_changed.subscribe(self, lambda _: self._list_runs())

    # Coming and going

    def on_screen_resume(self) -> None:
        wanted = self.app.active_run
        if wanted is not None and (self._feed is None or self._feed.run_dir.name != wanted):
            self.show_run(wanted)
        elif not self._chosen and self.app.pulse.run_id is not None:
            self.show_run(self.app.pulse.run_id)
        self.app.beat.follow(self)
        self._list_runs()

    def on_screen_suspend(self) -> None:
        self.app.beat.leave(self)

    def step_back(self) -> bool:
        if self.view.finds:
            self.view.find("")
            return True
        if self._feed is not None and self.view.only:
            self.view.show_only("")
            return True
        if self._feed is not None:
            self.show_list()
            return True
        return False

    def problems(self) -> tuple[Problem, ...]:
        if self.news is None:
            return ()
        stalled = is_stalled(self.news.snapshot, self.view.hardware)
        more = (stall_problem(self.news.snapshot),) if stalled else ()
        return (*self.news.snapshot.problems, *more)

    def show_run(self, run_id: str) -> None:
        """Watch this run from now on."""
        from core.runs.store import runs_dir

        self._chosen = True
        self.app.active_run = run_id
        workspace = self.app.workspace
        self._feed = RunFeed(
            runs_dir(workspace) / run_id,
            CurveFeed(self._smoothing),
            configs=workspace.configs if workspace is not None else None,
        )
        self.news = None
        self._keys_for = ()  # the same run again has the same facts, but its keys were the list's meanwhile
        self.view.clear()
        self.all_runs.display = False
        self.view.display = True
        self.log_view.focus()
        self.view.fit_to(self.size)
        self.app.beat.ask()

    def show_list(self) -> None:
        """All runs, the newest first."""
        if self._feed is not None:
            self.all_runs.stand_on(self._feed.run_dir.name)
        self._chosen, self._feed, self.news = True, None, None
        self.app.active_run = None
        self.view.display = False
        self.all_runs.display = True
        self.all_runs.rows.focus()
        self.refresh_bindings()
        self._list_runs()

    # Reading: on the thread of the beat

    def read(self, whole: bool) -> Callable[[], None] | None:
        """The run that is shown and the machine, or now and again the list; in between only lines of a log."""
        feed = self._feed
        self._beats += whole
        if feed is None:
            return self._list_runs if whole and self._beats % LIST_EVERY == 0 else None
        if not (whole or (feed.goes_on and feed.has_new_line)):
            return None
        news: News | None = None
        error: Exception | None = None
        try:
            news = feed.read()
        except OSError as problem:
            error = UserError(f"The run in {feed.run_dir} cannot be read: {problem.strerror or problem}")
        except Exception as problem:  # told once, and the list is shown: every second it would bury the screen
            error = problem
        machine: HardwareNews | None = None
        if whole and news is not None:
            run = news.snapshot.run
            machine = self._hardware.read(self._disk(run), run)
        return partial(self._take, feed, news, machine, error)

    def _take(self, feed: RunFeed, news: News | None, machine: HardwareNews | None, error: Exception | None) -> None:
        if not self.is_attached or feed is not self._feed:
            return
        if news is None:
            if error is not None:
                self.app.report(error)
            self.show_list()
            return
        first = self.news is None
        self.news = news
        if news.snapshot.loading:  # a long history: its end is shown, the rest comes at once
            self.app.beat.ask()
        if machine is not None:
            self.view.show_hardware(machine)
        self._show_news(news)
        if first:
            self.chart.redraw()
            self.call_after_refresh(self._show_again)

    def _disk(self, run: Run | None) -> Path:
        """What fills up: the disk of the run's checkpoints, else that of the workspace."""
        if run is not None and run.output_dir is not None:
            return run.output_dir
        return self.app.workspace.root if self.app.workspace is not None else Path.home()

    def _list_runs(self) -> None:
        if self.is_active and not self._lists:
            self._lists = True
            self._read_list(self.all_runs.listing, self._feed is None)

    @work(thread=True, group="monitor-list", exit_on_error=False, description="list the runs")
    def _read_list(self, before: Listing, detailed: bool) -> None:
        try:
            found = read_list(self.app.workspace, before, detailed)
        finally:
            self._lists = False
        self.app.call_from_thread(self._list_was_read, found)

    def _list_was_read(self, found: Listing) -> None:
        if not self.is_attached:
            return
        live_now = next((run for run in found.runs if run.live), None)
        if live_now is not None and not self._chosen and self._feed is None:
            self.show_run(live_now.id)
        self.all_runs.take(found)

    def selected_run(self) -> Run | None:
        """The run that is shown, or the one under the cursor of the list."""
        if self.news is not None:
            return self.news.snapshot.run
        return self.all_runs.under_cursor if self._feed is None else None

    @on(ItemList.Opened, "#run-list")
    def _open_listed(self, event: ItemList.Opened) -> None:
        self.show_run(self.all_runs.runs[event.index].id)

    # Showing

    def _show_news(self, news: News) -> None:
        self.view.show(news)
        self.show_problem_count()
        run = news.snapshot.run
        facts = (run.id, run.state, bool(news.states), bool(news.snapshot.samples), bool(news.snapshot.checkpoints))
        if facts != self._keys_for:
            self._keys_for = facts
            self.refresh_bindings()

    def on_resize(self, event: events.Resize) -> None:
        self.view.fit_to(event.size)
        self.call_after_refresh(self._show_again)

    def _show_again(self) -> None:
        """What was known, in another size."""
        self.view.gauges.relayout()
        if self.news is not None:
            with self.app.batch_update():
                self._show_news(self.news.without_new())

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "show_runs":
            return self._feed is not None
        return True if why_not(action, self._here()) is None else None

    def _here(self) -> Here:
        run, news = self.selected_run(), self.news
        if run is None or news is None:
            return Here(run, leads_on=run is not None and run.id in self.all_runs.listing.leads_on)
        seen = news.snapshot
        return Here(run, True, bool(news.states), bool(seen.checkpoints), bool(seen.samples))

    def on_key(self, event: events.Key) -> None:
        """A key of ours that can do nothing here says why."""
        active = self.active_bindings.get(event.key)
        if active is not None and active.node is self and not active.enabled:
            event.stop()
            if (why := why_not(active.binding.action.partition("(")[0], self._here())) is not None:
                self.notify(why, timeout=6, markup=False)

    def action_next_panel(self) -> None:
        (self.log_view if self._feed is not None else self.all_runs.rows).focus()

    async def action_show_runs(self) -> None:
        await self.app.action_back()

    @on(RunView.Smoothed)
    def _smoothed(self, event: RunView.Smoothed) -> None:
        self._smoothing = event.smoothing
        if self._feed is not None:
            self._feed.curves.smoothing = event.smoothing

    @on(RunView.SeriesWanted)
    def _other_series(self, event: RunView.SeriesWanted) -> None:
        if self._feed is not None:
            self._feed.curves.wanted += event.by
            self.app.beat.ask()

    def action_samples(self) -> None:
        if self.news is not None:
            monitor_actions.show_samples(self.app, self.news.snapshot)

    def action_checkpoints(self) -> None:
        from tui.screens.monitor_checkpoints import CheckpointsDialog
        from tui.screens.monitor_resume import train_further

        def chosen(lora: Path | None) -> None:
            if lora is not None:
                train_further(self, snapshot.run, lora)

        if self.news is not None:
            snapshot = self.news.snapshot
            self.app.push_screen(CheckpointsDialog(snapshot), chosen)

    def action_stop(self) -> None:
        monitor_actions.stop(self)

    def action_resume(self) -> None:
        monitor_actions.resume(self)

    def action_start_now(self) -> None:
        if (run := self.selected_run()) is not None:
            monitor_queue.start_now(self, run)

    def action_hold(self) -> None:
        if (run := self.selected_run()) is not None:
            monitor_queue.hold_or_release(self, run)

    def action_move_run(self, by: int) -> None:
        if (run := self.selected_run()) is not None:
            monitor_queue.move(self, run, by)

    def action_compare(self) -> None:
        from tui.screens.sweep_compare import compare

        if (run := self.selected_run()) is not None:
            compare(self, run)

    def action_diff(self) -> None:
        monitor_compare.diff(self)

    def action_edit_prompts(self) -> None:
        monitor_actions.edit_prompts(self)

    def action_overlay(self) -> None:
        monitor_compare.overlay(self)

    def show_overlay(self, name: str, curve: Curve | None) -> None:
        """Lay another run's smoothed curve over the chart; None takes it away."""
        self.chart.set_overlay(printable(name), curve)
