"""The loss chart: what is drawn for points that come one by one, with outliers, gaps and borders."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tui.theme import Cells
from tui.widgets.chart import LossChart, Marks
from tui.widgets.curve import Curve
from tui.widgets.lines import changed_stretches
from tui.widgets.plot import tick_label, ticks, value_range

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"


def recorded() -> list[tuple[int, float]]:
    """The losses of a real training of 300 steps."""
    document = json.loads((RECORDINGS / "sd15_long" / "scalars.json").read_text())
    (series,) = (tags["loss/current"] for tags in document.values())
    return [(step, value) for step, _, value in series]


def text_of(lines: list[Cells]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def same(one: float, two: float) -> bool:
    return one == two or (math.isnan(one) and math.isnan(two))


def test_the_average_does_not_start_at_zero() -> None:
    """With losses near 1 the smoothed curve is near 1 from the first step on, and equal to the textbook's formula."""
    curve = Curve(0.9)
    curve.extend([(1, 1.0), (2, 1.2), (3, 0.8)])
    mean = weight = 0.0
    for value, smooth in zip((1.0, 1.2, 0.8), curve.smooth, strict=True):
        mean = 0.9 * mean + 0.1 * value
        weight = 0.9 * weight + 0.1
        assert smooth == pytest.approx(mean / weight)
    assert curve.smooth[0] == pytest.approx(1.0)


def test_another_smoothing_gives_what_a_fresh_curve_gives() -> None:
    """`+` and `-` show the same line as if it had been chosen from the start, also over thousands of points and NaN."""
    generator = random.Random(1)
    points = [(step, math.nan if step == 700 else generator.random()) for step in range(1, 3000)]
    changed, fresh = Curve(0.9), Curve(0.5)
    changed.extend(points)
    changed.columns(0, 3000, 20)
    changed.smoothing = 0.5
    fresh.extend(points)
    assert list(changed.smooth) == pytest.approx(list(fresh.smooth))
    for one, two in zip(changed.columns(0, 3000, 20).smooth, fresh.columns(0, 3000, 20).smooth, strict=True):
        assert one == pytest.approx(two)


def test_a_new_point_changes_its_column_as_drawing_everything_anew_would() -> None:
    """Points that come one at a time and points that were there before the screen opened give the same picture."""
    generator = random.Random(2)
    points = [(step, generator.random()) for step in range(1, 20_001)]
    live, later = Curve(), Curve()
    live.columns(0, 20_000, 140)
    live.extend(points)
    later.extend(points)
    one, two = live.columns(0, 20_000, 140), later.columns(0, 20_000, 140)
    for column in range(140):
        # Blocks of 16 points may lie on a border between two columns.
        assert abs(one.low[column] - two.low[column]) < 0.1
        assert abs(one.high[column] - two.high[column]) < 0.1


def test_a_recorded_training_has_axes_epochs_and_marks() -> None:
    """Values on the left, steps below, e1 … e9 at the borders, diamonds for checkpoints, triangles for samples."""
    chart = LossChart()
    chart.curve.extend(recorded())
    chart.total_steps = 300
    chart.marks = Marks(tuple((30 * epoch, epoch) for epoch in range(1, 11)), (60, 120), (60, 180))
    lines = text_of(chart.build(72, 16))
    assert len(lines) == 16
    assert all(len(line) <= 72 for line in lines)
    assert lines[0].startswith("loss 1.209  ema 1.145")
    assert [label for label in ("1.0", "1.2", "1.4") if any(line.lstrip().startswith(label) for line in lines)]
    assert all(f"e{epoch}" in lines[1] for epoch in range(1, 10))
    assert lines[-2].count("◆") == 2
    assert lines[-2].count("▴") == 2
    assert "◆▴" in lines[-2]
    assert lines[-1].split() == ["0", "100", "200", "300"]


def test_an_outlier_does_not_flatten_the_curve() -> None:
    """One loss of 50 among losses of 1: it has an arrow at the top, and the axis does not go up to it."""
    chart = LossChart()
    chart.curve.extend((step, 50.0 if step == 500 else 1 + 0.1 * math.sin(step)) for step in range(1, 1001))
    found = value_range(chart.curve, log=False)
    assert found is not None
    assert found[1] < 5
    chart.total_steps = 1000
    assert "↑" in text_of(chart.build(80, 14))[1]


def test_a_loss_that_is_no_number_is_a_red_gap() -> None:
    """From the NaN on there is a red cross at the foot of the chart and no line; the title says NaN in red."""
    chart = LossChart()
    chart.curve.extend((step, math.nan if step >= 50 else 1.0 + step / 100) for step in range(1, 100))
    chart.total_steps = 100
    lines = chart.build(60, 12)
    foot = [(text, role) for text, role in lines[9] if role == "bad"]
    assert foot
    assert foot[0][0].startswith("×")
    assert (" NaN", "bad") in lines[0]


def test_only_nan_says_so_instead_of_an_empty_frame() -> None:
    """A training that is broken from its first step has a sentence where the curve would be."""
    chart = LossChart()
    chart.curve.extend((step, math.nan) for step in range(1, 10))
    assert "every value so far is NaN" in "\n".join(text_of(chart.build(60, 12)))


def test_a_logarithmic_axis_has_round_labels_and_leaves_zero_out() -> None:
    """From 100 down to 0.001, every power of ten has its label; a loss of 0 does not break the scale."""
    chart = LossChart()
    chart.curve.extend((step, 0.0 if step == 3 else 100 * 10 ** (-step / 20)) for step in range(1, 101))
    chart.toggle_log()
    chart.total_steps = 100
    labels = {line.split()[0] for line in text_of(chart.build(60, 24))[1:-2] if "┤" in line}
    assert {"10", "1", "0.1", "0.01"} <= labels


def test_the_scale_is_logarithmic_by_itself_only_where_a_linear_one_shows_nothing() -> None:
    """A loss that falls from 400 to 0.05 gets the logarithmic scale, the usual one does not; `L` has the last word."""
    falling, usual = LossChart(), LossChart()
    falling.curve.extend((step, max(0.05, 400 * 0.9**step)) for step in range(1, 301))
    usual.curve.extend(recorded())
    falling.build(60, 14)
    usual.build(60, 14)
    assert (falling.log_scale, usual.log_scale) == (True, False)
    falling.toggle_log()
    falling.build(60, 14)
    assert not falling.log_scale


def test_the_axis_of_steps_grows_in_halves() -> None:
    """The chart does not shift with every point: its right end is an eighth, a quarter … of the run's total."""
    chart = LossChart()
    chart.total_steps = 800
    ends = []
    for step in range(1, 801):
        chart.curve.append(step, 1.0)
        ends.append(chart._step_span()[1])
    assert sorted(set(ends)) == [100, 200, 400, 800]
    assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("low", "high", "count", "labels"),
    [
        (0.081, 0.142, 4, ["0.10", "0.12", "0.14"]),
        (0.9, 3.2, 3, ["1", "2", "3"]),
        (0.9, 1.4, 3, ["1.0", "1.2", "1.4"]),
        (120, 980, 4, ["500"]),
        (2e-5, 9.9e-5, 4, ["2e-5", "4e-5", "6e-5", "8e-5"]),
    ],
)
def test_axis_labels_have_as_many_digits_as_tell_them_apart(
    low: float, high: float, count: int, labels: list[str]
) -> None:
    """0.10 and 0.12, not 0.1 and 0.12000000000000001."""
    found = ticks(low, high, count)
    step = found[1] - found[0] if len(found) > 1 else high - low
    assert [tick_label(value, step) for value in found] == labels


def test_a_new_point_sends_a_few_cells() -> None:
    """With one more step in the same frame, less than a tenth of the chart's cells differ."""
    chart = LossChart()
    points = recorded()
    chart.curve.extend(points[:200])
    chart.total_steps = 300
    before = chart.build(90, 18)
    chart.curve.extend(points[200:202])
    after = chart.build(90, 18)
    changed = sum(size for one, two in zip(before, after, strict=True) for _, size in changed_stretches(one, two, 90))
    assert 0 < changed < 90 * 18 / 10


def test_an_equal_picture_sends_nothing() -> None:
    """Drawing the same points again marks no cell."""
    chart = LossChart()
    chart.curve.extend(recorded())
    one, two = chart.build(90, 18), chart.build(90, 18)
    assert [changed_stretches(a, b, 90) for a, b in zip(one, two, strict=True)] == [[]] * 18


def test_another_run_lies_behind_in_the_second_colour() -> None:
    """The overlay is named in the title and drawn in the second colour; the run's own line stays in front."""
    chart = LossChart()
    chart.curve.extend((step, 1.0) for step in range(1, 100))
    other = Curve()
    other.extend((step, 0.5 + step / 100) for step in range(1, 100))
    chart.total_steps = 100
    chart.set_overlay("rinni-v2", other)
    chart.curve.append(100, 0.4)
    lines = chart.build(60, 14)
    assert "rinni-v2" in text_of(lines)[0]
    roles = {role for line in lines[1:-2] for text, role in line if any("⠀" < mark <= "⣿" for mark in text)}
    assert {"accent", "second"} <= roles


def test_drawing_needs_no_numpy() -> None:
    """numpy costs a third of a second at the start: the chart does without."""
    code = "import sys, tui.widgets.chart; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
