"""One run on the Monitor screen: head, chart, gauges, samples, checkpoints and log, arranged for the size."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input

from core.text import count_of
from tui.screens.monitor_parts import (
    ENDED,
    checkpoint_lines,
    head_line,
    is_tagging,
    marks_of,
    progress_line,
    reason_lines,
    result_lines,
    sample_label,
    saved_line,
)
from tui.theme import Cells
from tui.widgets.chart import LossChart
from tui.widgets.gauges import Gauges
from tui.widgets.lines import LiveLines
from tui.widgets.log_view import LogTitle, LogView
from tui.widgets.tiles import Tile, TileGrid

if TYPE_CHECKING:
    from core.runs.artifacts import SampleImage
    from tui.screens.monitor_feed import News

HEAD_SECONDS = 0.9
"""Numbers that only go on are drawn about once a second."""


class RunView(Vertical):
    """`show` takes what a poll found; `fit_to` chooses the layout."""

    chart = getters.query_one("#chart", LossChart)
    log_view = getters.query_one("#log", LogView)
    gauges = getters.query_one("#gauges", Gauges)
    strip = getters.query_one("#strip", TileGrid)
    finder = getters.query_one("#find", Input)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._head_shown: tuple[object, float] = (None, 0.0)

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
        self._head_shown = (None, 0.0)
        self.chart.reset("loss")
        self.log_view.clear()
        for name in ("head", "why", "saved", "checkpoints", "samples-title", "results"):
            self.lines(name).show([])
        self.strip.set_tiles([], [])
        self.remove_class("-saved", "-ended")

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
        self.gauges.few_lines = stacked
        side = min(64, max(46, width * 2 // 5)) if width < 180 else 72
        self.query_one("#side").styles.width = "100%" if stacked else side
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
        if news.lines:
            self.log_view.extend(news.lines)
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
        key = (run.id, run.status.state, run.status.stop_after_checkpoint, run.supervised, doing, width)
        if key == self._head_shown[0] and now - self._head_shown[1] < HEAD_SECONDS:
            return
        self._head_shown = (key, now)
        head = [head_line(news.snapshot, width, now, len(news.failed)), progress_line(news.snapshot, width)]
        self.lines("head").show(head)
        why = self.lines("why")
        lines = reason_lines(news.snapshot, width, states=len(news.states))
        why.show(lines)
        why.styles.height = len(lines)

    def _show_chart(self, news: News) -> None:
        snapshot = news.snapshot
        if news.curve is not None:
            news.curve.smoothing = self.chart.curve.smoothing
            self.chart.series = "loss" if "loss/current" in snapshot.series else "average loss"
            self.chart.replace(news.curve)
        elif news.points:
            self.chart.extend(news.points)
        ended = str(snapshot.run.state) in ENDED
        self.chart.empty_text = (
            "no loss was recorded"
            if ended
            else "the curve begins with the first step"
            if snapshot.run.live
            else "waiting"
        )
        rates = snapshot.series.get("lr/unet") or snapshot.series.get("lr/textencoder")
        note = [("lr ", "muted"), (f"{rates.last:.3g}", "text")] if rates is not None and rates.last is not None else []
        own = snapshot.total_steps - snapshot.steps_before if snapshot.total_steps else None
        self.chart.set_frame(total_steps=own, ended=ended, marks=marks_of(snapshot), note=note)

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
