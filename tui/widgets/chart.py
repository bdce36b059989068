"""The chart of a run: raw and smoothed loss or other scalars in braille; epochs, checkpoints and samples marked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, work
from textual.binding import Binding, BindingType
from textual.timer import Timer

from tui.theme import Cells
from tui.widgets.chart_lines import Frame, lines_of, value_ticks
from tui.widgets.chart_lines import Marks as Marks
from tui.widgets.curve import BULK, Curve
from tui.widgets.line import cut, spread
from tui.widgets.lines import SOON, LiveLines, width_of
from tui.widgets.plot import Dots, Picture, Scale, draw, percentile, value_range

SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
REDRAW_SECONDS = 2.0
ADVICE = "loss cannot tell which epoch is best: compare the samples (S)"
_CLOSEST = 16.0
"""Steps in the closest zoom."""
_PALETTE = ("second", "good", "caution", "muted")


@dataclass(slots=True)
class Layer:
    """One more curve of the chart, drawn as a line of its own colour."""

    name: str
    curve: Curve
    role: str = "second"


class LossChart(LiveLines, can_focus=True):
    """One curve over the steps of a run, others beside it. New points are drawn at once or at most every two seconds.

    The x axis grows with the run in halves of its total (an eighth, a quarter …), so that a new point moves nothing but
    the end of the line; only the changed cells are sent.
    """

    HELP = """\
    ## Chart
    `h` and `l` move along the steps when it is zoomed, `g` and `G` go to the first and to the newest ones.
    `>` and `<` show fewer or more steps, `0` all of them. `.` and `,` go through loss, epochs, learning rates and what
    else the trainer records. `%` shows outliers, too.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "pan(-1)", "earlier", show=False, id="list.left"),
        Binding("right,l", "pan(1)", "later", show=False, id="list.right"),
        Binding("g,home", "pan(-1000000)", "first steps", show=False, id="list.first"),
        Binding("G,end", "pan(1000000)", "newest steps", show=False, id="list.last"),
    ]

    def __init__(self, *, averages: bool = False, on: str = "background", id: str | None = None) -> None:
        """`averages`: only the smoothed lines, for several runs beside each other."""
        super().__init__(on=on, id=id)
        self._averages = averages
        self.series = "loss"
        self.curve = Curve()
        self.beside: list[Layer] = []
        self.total_steps: int | None = None
        self.ended = False
        self.log_scale = False
        self.clip = True
        self.span: tuple[float, float] | None = None
        """The steps that are shown; None: all."""
        self.smoothes = True
        """A learning rate is shown as it is."""
        self.advice = False
        self._log_by_user = False
        self.marks = Marks()
        self.note: Cells = []
        self.overlay: tuple[str, Curve] | None = None
        self.empty_text = "no points yet"
        self._follows = False
        """The window shows the newest steps and goes on with them."""
        self._wanted: float | None = None
        self._drawn = 0.0
        self._pending: Timer | None = None
        self._range: tuple[float, float, bool] | None = None

    # What changes it

    @property
    def smoothing(self) -> float:
        """What the user chose; a long curve follows a moment later."""
        return self.curve.smoothing if self._wanted is None else self._wanted

    def reset(self, series: str | None = None) -> None:
        """Forget the points, for another run; smoothing stays, and the scale that the user chose."""
        self.series = series or self.series
        self.curve = Curve(self.smoothing)
        self.beside, self.span, self._wanted = [], None, None
        self.marks, self.note, self._range = Marks(), [], None
        self.total_steps, self.ended, self.overlay = None, False, None
        self.redraw()

    def replace(self, curve: Curve, layers: Sequence[Layer] = ()) -> None:
        """Show curves that were built elsewhere, on a thread."""
        self.curve, self.beside, self._range = curve, list(layers), None
        if self._wanted is not None and self.smoothes:
            self._smooth_to(self._wanted)
        self.redraw()

    def set_overlay(self, name: str, curve: Curve | None) -> None:
        """Draw the smoothed line of another run too; None takes it away."""
        self.overlay = (name, curve) if curve is not None and len(curve) else None
        self._range = None
        self.redraw()

    def extend(self, points: Iterable[tuple[float, float]], layer: int | None = None) -> None:
        """Append (step, value) points, of the curve or of one of the others, and draw them soon."""
        curve = self.curve if layer is None else self.beside[layer].curve
        before = len(curve)
        curve.extend(points)
        if len(curve) != before:
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
        nearest = min(range(len(SMOOTHINGS)), key=lambda index: abs(SMOOTHINGS[index] - self.smoothing))
        wanted = SMOOTHINGS[min(len(SMOOTHINGS) - 1, max(0, nearest + direction))]
        self._smooth_to(wanted)
        self.redraw()
        return wanted

    def _smooth_to(self, wanted: float) -> None:
        curves = [self.curve, *([self.overlay[1]] if self.overlay is not None else [])]
        if max(map(len, curves)) < BULK or not self.is_mounted:
            for curve in curves:
                curve.smoothing = wanted
            self._wanted = None
        else:
            self._wanted = wanted
            self._smooth_elsewhere(curves, wanted)

    @work(thread=True, exclusive=True, group="smoothing", exit_on_error=False, description="smooth")
    def _smooth_elsewhere(self, curves: list[Curve], wanted: float) -> None:
        found = [curve.smoothed(wanted) for curve in curves]

        def take() -> None:
            if self._wanted == wanted:
                for curve, average in zip(curves, found, strict=True):
                    curve.take(average)
                self._wanted = None
                self.redraw()

        self.app.call_from_thread(take)

    def toggle_log(self) -> bool:
        """Logarithmic or linear value axis; returns whether it is logarithmic now."""
        self.log_scale, self._log_by_user = not self.log_scale, True
        self._range = None
        self.redraw()
        return self.log_scale

    def toggle_clip(self) -> bool:
        """Leave outliers out of the value axis, or show them; returns whether they are left out now."""
        self.clip, self._range = not self.clip, None
        self.redraw()
        return self.clip

    # Which steps are shown

    def zoom(self, closer: bool | None) -> None:
        """Half as many steps, twice as many, or (None) all of them."""
        if not len(self.curve):
            return
        whole = self._whole_span()
        first, last = self._step_span()
        reached = float(self.curve.steps[-1])
        width = (last - first) / 2 if closer else (last - first) * 2
        if closer is None or width >= whole[1] - whole[0]:
            self.span = None
        else:
            width = max(_CLOSEST, width)
            # The newest steps stay in sight when they were.
            last = reached + width / 20 if last >= reached else (first + last + width) / 2
            self.span = self._inside(last - width, width)
            self._follows = self.span[1] >= reached
        self._range = None
        self.redraw()

    def action_pan(self, by: int) -> None:
        """By quarters of what is shown."""
        if self.span is None:
            return
        first, last = self.span
        self.span, self._range = self._inside(first + by * (last - first) / 4, last - first), None
        self._follows = self.span[1] >= self.curve.steps[-1]
        self.redraw()

    def _inside(self, first: float, width: float) -> tuple[float, float]:
        end = max(self._whole_span()[1] if self.ended else self.curve.steps[-1] + width / 20, width)
        first = max(0.0, min(first, end - width))
        return first, first + width

    def _whole_span(self) -> tuple[float, float]:
        reached = max([self.curve.steps[-1], *(layer.curve.steps[-1] for layer in self.beside if len(layer.curve))])
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

    def _step_span(self) -> tuple[float, float]:
        if self.span is None:
            return self._whole_span()
        first, last = self.span
        reached = self.curve.steps[-1]
        width = last - first
        if self._follows and reached > last:  # by quarters: less moves than with every point
            by = math.ceil((reached - last) / (width / 4)) * width / 4
            self.span = first, last = first + by, last + by
        return first, last

    # Drawing

    def redraw_soon(self) -> None:
        """Draw now, or when two seconds have passed since the last time."""
        if not self.is_mounted:
            return
        wait = self._drawn + REDRAW_SECONDS - time.monotonic()
        if wait <= SOON:
            self.redraw()
        elif self._pending is None:
            self._pending = self.set_timer(wait + SOON, self.redraw)

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

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
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
        advised = self.advice and height >= 14 and width >= len(ADVICE) + 8
        rows = height - (3 if labelled else 2) - advised
        labels = value_ticks(low, high, max(3, rows // 3), self.log_scale)
        gutter = max((len(label) for label in labels.values()), default=3)
        plot = width - gutter - 2
        first, last = self._step_span()
        scale = Scale(low, high, 4 * rows, self.log_scale)

        def lines_for(each: Curve) -> Dots:
            return draw(each.columns(first, last, 2 * plot), scale, plot, rows).smooth

        picture = draw(curve.columns(first, last, 2 * plot), scale, plot, rows)
        if self._averages:
            picture = Picture(Dots(plot, rows), picture.smooth, set(), set(), picture.broken)
        frame = Frame(
            first,
            last,
            plot,
            rows,
            gutter,
            picture,
            [(lines_for(layer.curve), layer.role) for layer in self._others()],
            self.marks,
            "muted dim" if self.curve.smoothing else "accent",
            {min(rows - 1, scale.row(value) // 4): label for value, label in labels.items()},
        )
        lines = [self._title(width), *lines_of(frame, labelled=labelled)]
        if advised:
            lines.append([(" " * (gutter + 2), "text"), (ADVICE, "muted")])
        return lines

    def _others(self) -> list[Layer]:
        found = list(self.beside)
        if self.overlay is not None:
            found.insert(0, Layer(*self.overlay))
        return found

    def _title(self, width: int) -> Cells:
        values, smooth = self.curve.values, self.curve.smooth
        spans: Cells = [(self.series, "accent bold" if self.has_focus else "text bold")]
        if values and not self._averages:
            last = values[-1]
            spans.append((f" {_number(last)}", "text" if math.isfinite(last) else "bad"))
        if values and self.curve.smoothing and smooth[-1] == smooth[-1]:
            spans += [("  ema ", "muted"), (_number(smooth[-1]), "accent")]
        for layer in self._others():
            spans += [("  ⠒ ", layer.role), (layer.name, layer.role)]
            if len(layer.curve) and layer in self.beside:
                last = (layer.curve.smooth if self._averages else layer.curve.values)[-1]
                spans.append((f" {_number(last)}", "text"))
        right: Cells = []
        if self.smoothes:
            right = [(f"smoothing {self.smoothing:g}" if self.smoothing else "not smoothed", "muted")]
        facts = [*(["log"] if self.log_scale else []), *([] if self.clip else ["all values"])]
        if self.span is not None:
            facts.append(f"{self.span[0]:,.0f}–{self.span[1]:,.0f}")
        for fact in facts:
            right.append((f" · {fact}" if right else fact, "muted"))
        if self.note and width_of([*spans, *self.note, *right]) + 4 <= width:
            spans += [("  ", "text"), *self.note]
        if width_of([*spans, *right]) + 2 > width:
            right = []
        return spread(spans, right, width)

    def _choose_scale(self) -> None:
        """Until the user presses `L`: logarithmic where a linear axis would show only the first steps."""
        if self._log_by_user:
            return
        if not self.smoothes:  # a learning rate that falls to nothing is a curve on a linear axis only
            self.log_scale = False
            return
        _, smooth = self.curve.sample(200)
        if not smooth or smooth[0] <= 0:
            self.log_scale = False
            return
        ratio = percentile(smooth, 0.98) / percentile(smooth, 0.02)
        self.log_scale = ratio > (20 if self.log_scale else 60)

    def _range_of(self, curve: Curve, span: tuple[float, float] | None = None) -> tuple[float, float] | None:
        return value_range(curve, self.log_scale, span, clip=self.clip, averages=self._averages)

    def _value_span(self) -> tuple[float, float] | None:
        """The range of the value axis; it stays while the data fit it well, so that nothing jumps."""
        wanted = self._range_of(self.curve, self.span)
        if wanted is None and self.span is not None:
            wanted = self._range_of(self.curve)
        if wanted is None:
            return None
        low, high = wanted
        for layer in self._others():
            other = self._range_of(layer.curve, self.span)
            if other is not None:
                low, high = min(low, other[0]), max(high, other[1])
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


def coloured(names: Sequence[tuple[str, Curve]]) -> list[Layer]:
    """Layers in the order of our colours."""
    return [Layer(name, curve, _PALETTE[index % len(_PALETTE)]) for index, (name, curve) in enumerate(names)]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "NaN" if math.isnan(value) else "∞"
