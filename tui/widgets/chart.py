"""The loss chart: raw and smoothed curve in braille, epoch borders, checkpoints and samples on the axis."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from textual import events
from textual.timer import Timer

from tui.theme import Cells
from tui.widgets.line import cut, spread
from tui.widgets.lines import LiveLines, width_of
from tui.widgets.plot import Curve, Picture, Scale, draw, log_ticks, percentile, thinned, tick_label, ticks, value_range

SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
REDRAW_SECONDS = 2.0
_CellOf = Callable[[float], int]


@dataclass(frozen=True, slots=True)
class Marks:
    """Steps worth a mark: ends of epochs as (step, epoch), checkpoints `◆` and sample pictures `▴`."""

    epochs: tuple[tuple[int, int], ...] = ()
    checkpoints: tuple[int, ...] = ()
    samples: tuple[int, ...] = ()


class LossChart(LiveLines):
    """One series over the steps of a run. New points are drawn at once or at most every two seconds.

    The x axis grows with the run in halves of its total (an eighth, a quarter …), so that a new point moves nothing but
    the end of the line; only the changed cells are sent.
    """

    def __init__(self, *, series: str = "loss", id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.series = series
        self.curve = Curve()
        self.total_steps: int | None = None
        self.ended = False
        self.log_scale = False
        self._log_by_user = False
        self.marks = Marks()
        self.note: Cells = []
        self.overlay: tuple[str, Curve] | None = None
        self.empty_text = "no points yet"
        self._drawn = 0.0
        self._pending: Timer | None = None
        self._range: tuple[float, float, bool] | None = None

    # What changes it

    def reset(self, series: str | None = None) -> None:
        """Forget the points, for another run; smoothing stays, and the scale that the user chose."""
        self.series = series or self.series
        self.curve = Curve(self.curve.smoothing)
        self.marks, self.note, self._range = Marks(), [], None
        self.total_steps, self.ended, self.overlay = None, False, None
        self.redraw()

    def replace(self, curve: Curve) -> None:
        """Show a curve that was built elsewhere, on a thread."""
        self.curve = curve
        self.redraw()

    def set_overlay(self, name: str, curve: Curve | None) -> None:
        """Draw the smoothed line of another run too; None takes it away."""
        self.overlay = (name, curve) if curve is not None and len(curve) else None
        self.redraw()

    def extend(self, points: Iterable[tuple[float, float]]) -> None:
        """Append (step, value) points and draw them soon."""
        before = len(self.curve)
        self.curve.extend(points)
        if len(self.curve) != before:
            self.redraw_soon()

    def set_frame(
        self, *, total_steps: int | None, ended: bool = False, marks: Marks | None = None, note: Cells | None = None
    ) -> None:
        """What stands around the curve; draws soon when something differs."""
        marks, note = marks or self.marks, note or []
        if (total_steps, ended, marks, note) != (self.total_steps, self.ended, self.marks, self.note):
            self.total_steps, self.ended, self.marks, self.note = total_steps, ended, marks, note
            self.redraw_soon()

    def smoother(self, direction: int) -> float:
        """One step more (+1) or less (-1) smoothing; returns the new weight."""
        nearest = min(range(len(SMOOTHINGS)), key=lambda index: abs(SMOOTHINGS[index] - self.curve.smoothing))
        self.curve.smoothing = SMOOTHINGS[min(len(SMOOTHINGS) - 1, max(0, nearest + direction))]
        if self.overlay is not None:
            self.overlay[1].smoothing = self.curve.smoothing
        self.redraw()
        return self.curve.smoothing

    def toggle_log(self) -> bool:
        """Logarithmic or linear value axis; returns whether it is logarithmic now."""
        self.log_scale, self._log_by_user = not self.log_scale, True
        self._range = None
        self.redraw()
        return self.log_scale

    # Drawing

    def redraw_soon(self) -> None:
        """Draw now, or when two seconds have passed since the last time."""
        if self._pending is not None or not self.is_mounted:
            return
        wait = self._drawn + REDRAW_SECONDS - time.monotonic()
        if wait <= 0:
            self.redraw()
        else:
            self._pending = self.set_timer(wait, self.redraw)

    def redraw(self) -> None:
        """Draw at once; only cells that differ are sent."""
        if self._pending is not None:
            self._pending.stop()
            self._pending = None
        self._drawn = time.monotonic()
        width, height = self.size
        if width and height:
            self.show(self.build(width, height))

    def on_resize(self, event: events.Resize) -> None:
        self._range = None
        self.redraw()

    def build(self, width: int, height: int) -> list[Cells]:
        """The chart as lines of `width` x `height` cells."""
        curve = self.curve
        if height < 3 or width < 16:
            return [cut(self._title(width), width)]
        self._choose_scale()
        span = self._value_span()
        if span is None:
            lines: list[Cells] = [self._title(width)]
            lines += [[]] * max(0, height // 2 - 1)
            text = "every value so far is NaN" if len(curve) else self.empty_text
            return [*lines, [(" " * max(0, (width - len(text)) // 2) + text, "bad" if len(curve) else "muted")]]
        low, high = span
        labelled = height >= 7
        rows = height - (3 if labelled else 2)
        labels = self._value_ticks(low, high, max(3, rows // 3))
        gutter = max((len(label) for label in labels.values()), default=3)
        plot = width - gutter - 2
        first, last = self._step_span()
        scale = Scale(low, high, 4 * rows, self.log_scale)
        columns = curve.columns(first, last, 2 * plot)
        picture = draw(columns, scale, plot, rows)
        if self.overlay is not None:
            picture.other = draw(self.overlay[1].columns(first, last, 2 * plot), scale, plot, rows).smooth
        at_rows = {min(rows - 1, scale.row(value) // 4): label for value, label in labels.items()}

        def cell_of(step: float) -> int:
            return min(plot - 1, int((step - first) * plot / (last - first)))

        borders = self._borders(cell_of, plot)
        lines = [self._title(width)]
        for y in range(rows):
            label = at_rows.get(y)
            edge = f"{label or '':>{gutter}} {'┤' if label else '│'}"
            lines.append([(edge, "muted"), *self._row(picture, y, plot, borders, rows)])
        lines.append(self._axis(gutter, plot, cell_of, set(borders)))
        if labelled:
            lines.append(self._steps(gutter, plot, first, last, cell_of))
        return lines

    def _title(self, width: int) -> Cells:
        values, smooth = self.curve.values, self.curve.smooth
        spans: Cells = [(self.series, "text bold")]
        if values:
            last = values[-1]
            spans.append((f" {_number(last)}", "text" if math.isfinite(last) else "bad"))
            if self.curve.smoothing and smooth[-1] == smooth[-1]:
                spans += [("  ema ", "muted"), (_number(smooth[-1]), "accent")]
        if self.overlay is not None:
            spans += [("  ⠒ ", "second"), (self.overlay[0], "second")]
        right: Cells = [(f"smoothing {self.curve.smoothing:g}", "muted")] if self.curve.smoothing else []
        if not self.curve.smoothing:
            right.append(("not smoothed", "muted"))
        if self.log_scale:
            right.append((" · log", "muted"))
        if self.note and width_of([*spans, *self.note, *right]) + 4 <= width:
            spans += [("  ", "text"), *self.note]
        if width_of([*spans, *right]) + 2 > width:
            right = []
        return spread(spans, right, width)

    def _choose_scale(self) -> None:
        """Until the user presses `L`: logarithmic where a linear axis would show only the first steps."""
        if self._log_by_user:
            return
        _, smooth = self.curve.sample(200)
        if not smooth or smooth[0] <= 0:
            self.log_scale = False
            return
        ratio = percentile(smooth, 0.98) / percentile(smooth, 0.02)
        self.log_scale = ratio > (20 if self.log_scale else 60)

    def _value_span(self) -> tuple[float, float] | None:
        """The range of the value axis; it stays while the data fit it well, so that nothing jumps."""
        wanted = value_range(self.curve, self.log_scale)
        if wanted is None:
            return None
        low, high = wanted
        if self._range is not None and self._range[2] == self.log_scale:
            old_low, old_high, _ = self._range
            if old_low <= low and high <= old_high and (old_high - old_low) < 1.6 * (high - low):
                return old_low, old_high
        room = 0.04 * (high - low)
        if self.log_scale:
            low, high = low / 1.03, high * 1.03
        else:
            low, high = (low - room if low - room > 0 or low <= 0 else low * 0.5), high + room
        self._range = (low, high, self.log_scale)
        return low, high

    def _value_ticks(self, low: float, high: float, count: int) -> dict[float, str]:
        """Round values on the axis and their labels."""
        if self.log_scale:
            found = log_ticks(low, high)
            if len(found) >= 2:
                return {value: tick_label(value, value) for value in thinned(found, count)}
        found = ticks(low, high, count)
        step = min((two - one for one, two in pairwise(found)), default=high - low)
        return {value: tick_label(value, step) for value in found}

    def _step_span(self) -> tuple[float, float]:
        reached = self.curve.steps[-1]
        total = self.total_steps
        if self.ended:
            return 0.0, max(1.0, reached)
        if total is not None and reached <= total:
            part = 8
            while part > 1 and reached > total / part * 0.95:
                part //= 2
            return 0.0, max(1.0, total / part)
        size = 64.0
        while size < reached:
            size *= 2
        return 0.0, size

    def _borders(self, cell_of: _CellOf, plot: int) -> dict[int, str]:
        """Cell column of each epoch's end -> its label; labels are thinned out where they would touch."""
        end = self._step_span()[1]
        shown = [(cell_of(step), epoch) for step, epoch in self.marks.epochs if 0 < step <= end]
        if not shown:
            return {}
        room = len(f"e{shown[-1][1]}") + 2
        for every in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
            kept = [(x, epoch) for x, epoch in shown if epoch % every == 0]
            if all(right - left >= room for (left, _), (right, _) in pairwise(kept)):
                return {x: f"e{epoch}" for x, epoch in kept}
        return {}

    def _row(self, picture: Picture, y: int, plot: int, borders: dict[int, str], rows: int) -> Cells:
        """One row of the plot, runs of the same style joined."""
        raw, smooth = picture.raw.cells, picture.smooth.cells
        other = picture.other.cells if picture.other is not None else None
        offset = y * plot
        top_labels: dict[int, str] = {}
        if y == 0:
            for x, label in borders.items():
                for index, character in enumerate(label, 1):
                    if x + index < plot:
                        top_labels[x + index] = character
        spans: Cells = []
        run, style = "", "text"
        for x in range(plot):
            if y == 0 and x in picture.above:
                character, kind = "↑", "caution"
            elif smooth[offset + x]:
                character, kind = chr(0x2800 + smooth[offset + x]), "accent"
            elif other is not None and other[offset + x]:
                character, kind = chr(0x2800 + other[offset + x]), "second"
            elif x in top_labels:
                character, kind = top_labels[x], "muted"
            elif y == rows - 1 and x in picture.below:
                character, kind = "↓", "caution"
            elif raw[offset + x]:
                character, kind = chr(0x2800 + raw[offset + x]), "muted dim" if self.curve.smoothing else "accent"
            elif y == rows - 1 and x in picture.broken:
                character, kind = ("×" if x - 1 not in picture.broken else "╌"), "bad"
            elif x in borders:
                character, kind = "╎", "rule"
            else:
                character, kind = " ", style
            if kind != style:
                if run:
                    spans.append((run, style))
                run, style = character, kind
            else:
                run += character
        spans.append((run, style))
        return spans

    def _axis(self, gutter: int, plot: int, cell_of: _CellOf, borders: set[int]) -> Cells:
        axis: Cells = [("┴" if x in borders else "─", "muted") for x in range(plot)]
        end = self._step_span()[1]
        taken = {cell_of(step) for step in self.marks.checkpoints if 0 < step <= end}
        for x in taken:
            axis[x] = ("◆", "second")
        for step in self.marks.samples:
            x = cell_of(step)
            if x in taken:  # saved and sampled at the same step: side by side
                x = x - 1 if x + 1 >= plot or x + 1 in taken else x + 1
            if 0 <= step <= end and x not in taken and x >= 0:
                axis[x] = ("▴", "caution")
        spans: Cells = [(f"{'':>{gutter}} └", "muted")]
        for character, style in axis:
            if spans[-1][1] == style:
                spans[-1] = (spans[-1][0] + character, style)
            else:
                spans.append((character, style))
        return spans

    def _steps(self, gutter: int, plot: int, first: float, last: float, cell_of: _CellOf) -> Cells:
        row = [" "] * plot
        end = -2
        for value in ticks(first, last, max(2, plot // 14)):
            label = f"{value:,.0f}"
            start = min(plot - len(label), max(0, cell_of(value) - len(label) // 2))
            if start > end + 1 and value == int(value):
                row[start : start + len(label)] = label
                end = start + len(label)
        text = "".join(row)
        if text.endswith(" " * 6):
            text = text[:-6] + " steps"
        return [(" " * (gutter + 2) + text, "muted")]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "NaN" if math.isnan(value) else "∞"
