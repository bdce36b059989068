"""One run on the Monitor screen: head, chart, gauges, samples, checkpoints and log, arranged for the size."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import getters, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import get_current_worker

from core.text import count_of
from tui.screens.base import FIND
from tui.screens.monitor_parts import (
    ENDED,
    checkpoint_lines,
    head_line,
    is_stalled,
    is_tagging,
    marks_of,
    progress_line,
    reason_lines,
    result_lines,
    sample_label,
    saved_line,
    waiting_lines,
)
from tui.theme import Cells
from tui.widgets.chart import LossChart, coloured
from tui.widgets.gauges import Gauges
from tui.widgets.lines import LiveLines
from tui.widgets.log_view import LogTitle, LogView
from tui.widgets.tiles import Tile, TileGrid

if TYPE_CHECKING:
    from core.runs.artifacts import SampleImage
    from tui.screens.monitor_feed import News
    from tui.screens.monitor_hardware import HardwareNews

HEAD_SECONDS = 0.9
"""Numbers that only go on are drawn about once a second."""
PANES = ((), ("-no-side",), ("-no-log",), ("-no-side", "-no-log"))
"""What `|` goes through: everything, without the machine's side, without the log, the chart alone."""
ONLY = ("-only-chart", "-only-side", "-only-log")
_OF_A_TRAINING = frozenset({"smooth", "log_scale", "clip", "zoom_axis", "series"})


class RunView(Vertical):
    """`show` takes what a poll found; `fit_to` chooses the layout."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "find", "find", id="find.open", key_display="/", tooltip="Find in the log"),
        *FIND[1:],
        Binding("p", "pause", "pause", id="monitor.pause", tooltip="Stop or resume following the log"),
        Binding(
            "z", "only", "zoom", id="monitor.zoom", tooltip="The panel with the focus on the whole screen, and back"
        ),
        Binding("L", "log_scale", "log scale", show=False, id="monitor.log-scale", tooltip="Logarithmic value axis"),
        Binding("plus", "smooth(1)", "smoother", show=False, id="monitor.smoother", key_display="+"),
        Binding("minus", "smooth(-1)", "less smooth", show=False, id="monitor.rougher", key_display="-"),
        Binding("percent_sign", "clip", "outliers", show=False, id="monitor.outliers", key_display="%"),
        Binding("greater_than_sign", "zoom_axis(1)", "fewer steps", show=False, id="monitor.closer", key_display=">"),
        Binding("less_than_sign", "zoom_axis(-1)", "more steps", show=False, id="monitor.further", key_display="<"),
        Binding("0", "zoom_axis(0)", "all steps", show=False, id="monitor.whole"),
        Binding("full_stop", "series(1)", "next curves", show=False, id="monitor.next-series", key_display="."),
        Binding("comma", "series(-1)", "curves before", show=False, id="monitor.previous-series", key_display=","),
        Binding("W", "level", "warnings", show=False, id="monitor.level", tooltip="Warnings, errors, or the whole log"),
        Binding(
            "vertical_line", "panes", "panels", show=False, id="monitor.panes", key_display="|", tooltip="Side and log"
        ),
        Binding("tab", "next_panel", "next panel", show=False, id="app.next-panel"),
    ]

    class SeriesWanted(Message):
        """Other curves are wanted: the next ones (+1) or those before (-1)."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class Smoothed(Message):
        """Another smoothing was chosen."""

        def __init__(self, smoothing: float) -> None:
            super().__init__()
            self.smoothing = smoothing

    chart = getters.query_one("#chart", LossChart)
    log_view = getters.query_one("#log", LogView)
    gauges = getters.query_one("#gauges", Gauges)
    strip = getters.query_one("#strip", TileGrid)
    finder = getters.query_one("#find", Input)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._head_shown: tuple[object, float] = (None, 0.0)
        self._panes = 0
        self._log_file: Path | None = None
        self.hardware: HardwareNews | None = None
        """The last reading of the machine."""

    def compose(self) -> ComposeResult:
        yield LiveLines(id="head")
        yield LiveLines(id="why")
        with Container(id="body"):
            with Vertical(id="side"):
                yield from self._side()
            yield LossChart(id="chart")
            yield LiveLines(id="results")
        yield LogTitle(id="log-title")
        yield LogView(id="log")
        yield Input(placeholder="find in the log", id="find")

    def _side(self) -> Iterable[Widget]:
        yield Gauges(id="gauges")
        yield LiveLines(id="saved")
        yield LiveLines(id="samples-title")
        yield TileGrid(id="strip")
        yield LiveLines(id="checkpoints")

    def lines(self, name: str) -> LiveLines:
        """The panel of lines with this id."""
        return self.query_one(f"#{name}", LiveLines)

    def clear(self) -> None:
        """Forget the run that was shown; smoothing and scale stay."""
        self._head_shown, self._log_file = (None, 0.0), None
        self.chart.reset("loss")
        self.log_view.clear()
        for name in ("head", "why", "saved", "checkpoints", "samples-title", "results"):
            self.lines(name).show([])
        self.strip.set_tiles([], [])
        self.remove_class("-saved", "-ended")

    # Panels

    @property
    def only(self) -> str:
        """The panel that has the whole screen: `-only-chart`, `-only-side`, `-only-log`, or none."""
        return next((name for name in ONLY if self.has_class(name)), "")

    def show_only(self, name: str) -> None:
        """Give one panel the whole screen; none brings all back."""
        for each in ONLY:
            self.set_class(each == name, each)
        self.gauges.whole = name == "-only-side"
        self._arranged()

    def _arranged(self) -> None:
        self.fit_to(self.screen.size)
        self.call_after_refresh(self.gauges.relayout)

    def action_only(self) -> None:
        focused = self.screen.focused
        wanted = "-only-chart" if focused is self.chart else "-only-side" if focused is self.gauges else "-only-log"
        self.show_only("" if self.only else wanted)

    def action_panes(self) -> None:
        self._panes = (self._panes + 1) % len(PANES)
        for name in ("-no-side", "-no-log"):
            self.set_class(name in PANES[self._panes], name)
        if self.screen.focused is not None and not self.screen.focused.display:
            self.action_next_panel()
        self._arranged()

    def action_next_panel(self) -> None:
        every: list[Widget] = [self.log_view, self.chart, self.gauges]
        panels = [panel for panel in every if panel.region.height > 0]
        focused = self.screen.focused
        at = panels.index(focused) if focused in panels and focused is not None else -1
        if panels:
            panels[(at + 1) % len(panels)].focus()

    # Keys of chart and log

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action in _OF_A_TRAINING and self.has_class("-tagging"))

    def action_smooth(self, direction: int) -> None:
        if self.chart.smoothes:
            self.post_message(self.Smoothed(self.chart.smoother(direction)))

    def action_log_scale(self) -> None:
        self.chart.toggle_log()

    def action_clip(self) -> None:
        self.chart.toggle_clip()

    def action_zoom_axis(self, direction: int) -> None:
        self.chart.zoom({1: True, -1: False}.get(direction))

    def action_series(self, by: int) -> None:
        self.post_message(self.SeriesWanted(by))

    def action_pause(self) -> None:
        self.log_view.toggle_follow()

    def action_level(self) -> None:
        shown = self.log_view.next_level()
        self.notify(f"The log shows {shown} only." if shown else "The log shows everything.", timeout=3)

    def action_find(self) -> None:
        self.open_finder()

    def action_next_match(self) -> None:
        self.log_view.go_to_match(1)

    def action_previous_match(self) -> None:
        self.log_view.go_to_match(-1)

    @on(Input.Submitted, "#find")
    def _find(self, event: Input.Submitted) -> None:
        self.find(event.value)

    @on(LogView.Wanted)
    def _page_wanted(self, event: LogView.Wanted) -> None:
        if self._log_file is not None:
            log = event.log
            self._read_page(self._log_file, event.what, log.lines.begin, log.lines.end, log.query_text)

    @work(thread=True, exclusive=True, group="log-page", exit_on_error=False, description="read a page of the log")
    def _read_page(self, path: Path, what: str, begin: int, end: int, query: str) -> None:
        from core.runs.log_pages import find_before, page_after, page_before

        worker = get_current_worker()
        found: int | None = 0
        if what == "find":
            found = find_before(path, query, begin, lambda: worker.is_cancelled)
            page = page_after(path, found or 0)
        elif what == "before":
            page = page_before(path, begin)
        elif what == "newest":
            page = page_before(path)
        else:
            page = page_after(path, end if what == "after" else 0)

        def show() -> None:
            if path != self._log_file or not self.is_attached:
                return
            if found is None:
                self.log_view.not_found()
                self.notify("Nowhere before.", timeout=3)
            else:
                self.log_view.take(what, page)

        self.app.call_from_thread(show)

    # Finding in the log

    @property
    def finds(self) -> bool:
        """Is the line for the text to find open?"""
        return self.finder.has_class("-open")

    def open_finder(self) -> None:
        """With the text of the last time."""
        self.finder.add_class("-open")
        self.finder.value = self.log_view.query_text
        self.finder.focus()

    def find(self, query: str) -> None:
        """Close the line and go to the newest match; without a text nothing is marked any more."""
        self.finder.remove_class("-open")
        self.log_view.focus()
        self.log_view.find(query)

    @on(LogView.Changed)
    def _log_changed(self, event: LogView.Changed) -> None:
        self.query_one(LogTitle).tell(event.log, focused=event.log.has_focus)

    # Showing

    def fit_to(self, size: Size) -> None:
        """Beside each other, above each other, or three lines."""
        width, height = size
        stacked, tiny = width < 100 or height < 20, height < 16 or width < 50
        self.query_one("#body").set_class(stacked, "-stacked")
        self.set_class(tiny, "-tiny")
        only = self.only
        self.gauges.few_lines = stacked and only != "-only-side"
        side = min(64, max(46, width * 2 // 5)) if width < 180 else 72
        self.query_one("#side").styles.width = "100%" if stacked or only == "-only-side" else side
        body = (height - 7) * 3 // 5  # without header, footer, head and the log's title
        tall = 4 if body < 17 else 6 if body < 24 else 9 if body < 32 else 11
        self.strip.tile_size = (2 * tall, tall)
        self.strip.styles.height = tall + 1

    def show(self, news: News) -> None:
        """Only what differs is sent."""
        snapshot, now = news.snapshot, time.time()
        tagging = is_tagging(snapshot.run)
        self.set_class(tagging, "-tagging")
        self._show_head(news, now)
        self._log_file = snapshot.run.log_file
        if news.lines:
            if not len(self.log_view) and not self.log_view.lines.end:
                self.log_view.lines.begin = snapshot.log_begin
            self.log_view.extend(news.lines, snapshot.log_end)
        if tagging:
            results = self.lines("results")
            results.show(result_lines(news.failed, news.tagged, *results.size))
        else:
            self._show_chart(news)
            self._show_samples(news)
            self._show_checkpoints(news, now)

    def _show_head(self, news: News, now: float) -> None:
        """Numbers that only go on are drawn once a second; another state or phase at once."""
        width, run = self.screen.size.width, news.snapshot.run  # its own is 0 until it is laid out
        doing = (news.snapshot.phase, news.snapshot.sample)
        stalled = is_stalled(news.snapshot, self.hardware)
        key = (run.id, run.status.state, run.status.stop_after_checkpoint, run.supervised, doing, width, stalled)
        if key == self._head_shown[0] and now - self._head_shown[1] < HEAD_SECONDS:
            return
        self._head_shown = (key, now)
        head = [
            head_line(news.snapshot, width, now, len(news.failed), stalled=stalled),
            progress_line(news.snapshot, width),
        ]
        self.lines("head").show(head)
        why = self.lines("why")
        lines = reason_lines(news.snapshot, width, states=len(news.states))
        if news.waits:
            lines += waiting_lines(run, news.waits, width, now)
        why.show(lines)
        why.styles.height = len(lines)

    def _show_chart(self, news: News) -> None:
        snapshot, chart = news.snapshot, news.chart
        smoothes = chart.view.smoothes if chart.view is not None else self.chart.smoothes
        ended = str(snapshot.run.state) in ENDED
        self.chart.empty_text = (
            "no loss was recorded"
            if ended
            else "the curve begins with the first step"
            if snapshot.run.live
            else "it has not begun"
        )
        note: Cells = []
        rates = snapshot.series.get("lr/unet") or snapshot.series.get("lr/textencoder")
        if rates is not None and rates.last is not None and smoothes:
            note = [("lr ", "muted"), (f"{rates.last:.3g}", "text")]
        self.chart.advice = smoothes and (ended or bool(snapshot.samples))
        marks = marks_of(snapshot, news.parts)
        self.chart.set_frame(total_steps=snapshot.total_steps, ended=ended, marks=marks, note=note)
        if chart.curves:
            self.chart.series, self.chart.smoothes = chart.names[0], smoothes
            self.chart.replace(chart.curves[0], coloured(list(zip(chart.names, chart.curves, strict=True))[1:]))
        for index, points in enumerate(chart.points):
            if points:
                self.chart.extend(points, index - 1 if index else None)

    def show_hardware(self, news: HardwareNews) -> None:
        """A reading of the machine."""
        self.hardware = news
        self.gauges.update(news.reading, news.host, news.own, full_in=news.full_in, shares_hidden=news.shares_hidden)

    def _show_samples(self, news: News) -> None:
        first: dict[str, SampleImage] = {}
        for sample in news.snapshot.samples:
            first.setdefault(sample_label(sample), sample)
        for sample in news.snapshot.samples:  # the first prompt of each epoch, its newest picture
            if sample.prompt_index == first[sample_label(sample)].prompt_index:
                first[sample_label(sample)] = sample
        title = self.lines("samples-title")
        count = len(news.snapshot.samples)
        hint: Cells = [(count_of(count, "picture"), "text"), ("   ", "text"), ("S", "accent"), (" all", "muted")]
        title.show([[(f"{'samples':<13}", "muted"), *(hint if count else [("none yet", "muted")])]])
        self.strip.set_tiles(list(first), [[Tile(sample.path, sample.mtime) for sample in first.values()]])

    def _show_checkpoints(self, news: News, now: float) -> None:
        snapshot = news.snapshot
        self.set_class(bool(snapshot.checkpoints), "-saved")
        self.set_class(str(snapshot.run.state) in ENDED, "-ended")
        saved = self.lines("saved")
        saved.show([saved_line(snapshot, saved.size.width or self.screen.size.width - 2, now)])
        panel = self.lines("checkpoints")
        panel.show(checkpoint_lines(news.snapshot.checkpoints, panel.size.width, panel.size.height, now))
