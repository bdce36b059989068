"""A chart as lines of cells: rows of braille, the axes, and what is marked on them. Pure functions of a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tui.theme import Cells
from tui.widgets.plot import Dots, Picture, log_ticks, thinned, tick_label, ticks


@dataclass(frozen=True, slots=True)
class Marks:
    """Steps worth a mark: ends of epochs as (step, epoch), checkpoints `◆`, sample pictures `▴`, resumptions `↻`."""

    epochs: tuple[tuple[int, int], ...] = ()
    checkpoints: tuple[int, ...] = ()
    samples: tuple[int, ...] = ()
    resumed: tuple[int, ...] = ()


@dataclass(slots=True)
class Frame:
    """What one drawing needs: the window of steps, the cells that there are, and what lies in them."""

    first: float
    last: float
    plot: int
    """Cells from the value axis to the right edge."""
    rows: int
    gutter: int
    picture: Picture
    others: Sequence[tuple[Dots, str]]
    """Further curves with their roles; the first one lies in front."""
    marks: Marks
    raw_role: str
    labels: Mapping[int, str] = field(default_factory=dict)
    """Row → label of the value axis."""

    def cell_of(self, step: float) -> int:
        """The cell column of a step; one outside of the window lies outside of the plot."""
        if step == self.last:
            return self.plot - 1
        return math.floor((step - self.first) * self.plot / (self.last - self.first))

    def inside(self, step: float) -> bool:
        return self.first <= step <= self.last


def value_ticks(low: float, high: float, count: int, log: bool) -> dict[float, str]:
    """Round values on the axis and their labels."""
    if log:
        found = log_ticks(low, high)
        if len(found) >= 2:
            return {value: tick_label(value, value) for value in thinned(found, count)}
    found = ticks(low, high, count)
    step = min((two - one for one, two in pairwise(found)), default=high - low)
    return {value: tick_label(value, step) for value in found}


def lines_of(frame: Frame, *, labelled: bool) -> list[Cells]:
    """The rows of the plot, the axis below and, when `labelled`, the numbers of its steps."""
    borders = _borders(frame)
    lines: list[Cells] = []
    for y in range(frame.rows):
        label = frame.labels.get(y)
        edge = f"{label or '':>{frame.gutter}} {'┤' if label else '│'}"
        lines.append([(edge, "muted"), *_row(frame, y, borders)])
    lines.append(_axis(frame, set(borders)))
    if labelled:
        lines.append(_steps(frame))
    return lines


def _borders(frame: Frame) -> dict[int, str]:
    """Cell column of each epoch's end → its label; labels are thinned out where they would touch."""
    shown = [(frame.cell_of(step), epoch) for step, epoch in frame.marks.epochs if step > 0 and frame.inside(step)]
    if not shown:
        return {}
    room = len(f"e{shown[-1][1]}") + 2
    for every in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        kept = [(x, epoch) for x, epoch in shown if epoch % every == 0]
        if all(right - left >= room for (left, _), (right, _) in pairwise(kept)):
            return {x: f"e{epoch}" for x, epoch in kept}
    return {}


def _row(frame: Frame, y: int, borders: dict[int, str]) -> Cells:
    """One row of the plot, runs of the same style joined."""
    picture, plot, rows = frame.picture, frame.plot, frame.rows
    offset = y * plot
    stop = offset + plot
    raw, smooth = picture.raw.cells[offset:stop], picture.smooth.cells[offset:stop]
    others = [(dots.cells[offset:stop], role) for dots, role in frame.others]
    others = [(cells, role) for cells, role in others if any(cells)]
    top_labels: dict[int, str] = {}
    if y == 0:
        for x, label in borders.items():
            for index, character in enumerate(label, 1):
                if x + index < plot:
                    top_labels[x + index] = character
    resumed = {frame.cell_of(step) for step in frame.marks.resumed if step > 0 and frame.inside(step)}
    spans: Cells = []
    run, style = "", "text"
    for x in range(plot):
        if y == 0 and x in picture.above and x not in top_labels:
            character, kind = "↑", "caution"
        elif smooth[x]:
            character, kind = chr(0x2800 + smooth[x]), "accent"
        elif others and (found := next(((cells[x], role) for cells, role in others if cells[x]), None)):
            character, kind = chr(0x2800 + found[0]), found[1]
        elif x in top_labels:
            character, kind = top_labels[x], "muted"
        elif y == rows - 1 and x in picture.below:
            character, kind = "↓", "caution"
        elif raw[x]:
            character, kind = chr(0x2800 + raw[x]), frame.raw_role
        elif y == rows - 1 and x in picture.broken:
            character, kind = ("×" if x - 1 not in picture.broken else "╌"), "bad"
        elif x in resumed:
            character, kind = ("↻" if y == 0 else "┊"), "caution"
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


def _axis(frame: Frame, borders: set[int]) -> Cells:
    plot = frame.plot
    axis: Cells = [("┴" if x in borders else "─", "muted") for x in range(plot)]
    taken = {frame.cell_of(step) for step in frame.marks.checkpoints if step > 0 and frame.inside(step)}
    for x in taken:
        axis[x] = ("◆", "second")
    for step in frame.marks.samples:
        x = frame.cell_of(step)
        if x in taken:  # saved and sampled at the same step: side by side
            x = x - 1 if x + 1 >= plot or x + 1 in taken else x + 1
        if frame.inside(step) and x not in taken and 0 <= x < plot:
            axis[x] = ("▴", "caution")
    spans: Cells = [(f"{'':>{frame.gutter}} └", "muted")]
    for character, style in axis:
        if spans[-1][1] == style:
            spans[-1] = (spans[-1][0] + character, style)
        else:
            spans.append((character, style))
    return spans


def _steps(frame: Frame) -> Cells:
    plot = frame.plot
    row = [" "] * plot
    end = -2
    for value in ticks(frame.first, frame.last, max(2, plot // 14)):
        label = f"{value:,.0f}"
        start = min(plot - len(label), max(0, frame.cell_of(value) - len(label) // 2))
        if start > end + 1 and value == int(value):
            row[start : start + len(label)] = label
            end = start + len(label)
    text = "".join(row)
    if text.endswith(" " * 6):
        text = text[:-6] + " steps"
    return [(" " * (frame.gutter + 2) + text, "muted")]
