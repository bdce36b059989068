"""What the chart of the Monitor shows: views of the scalars (loss, epochs, learning rates …), built on a thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.text import printable
from tui.widgets.curve import Curve

if TYPE_CHECKING:
    from core.runs.lineage import Part
    from core.runs.scalars import Series
    from core.runs.snapshot import RunSnapshot

SERIES = ("loss/current", "loss/average")
"""What is charted: the loss of every step, or its average where the trainer writes no events."""
MANY = 4000
"""More new points than this are not appended on the screen's thread: the curve is built anew."""
_NAMES = {
    "loss/current": "loss",
    "loss/average": "average loss",
    "loss/epoch_average": "loss of each epoch",
    "loss/validation/epoch_average": "validation",
    "loss/validation/step_average": "validation loss",
    "loss/validation/step_divergence": "validation apart from training",
    "loss/validation/epoch_divergence": "of each epoch",
}
_VALIDATION = "loss/validation/epoch_average"
Points = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class View:
    """One view of the chart: the tag that is drawn, those beside it, and whether a moving average makes sense."""

    name: str
    tags: tuple[str, ...]
    smoothes: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ChartNews:
    """What is new for the chart: whole curves (`names` with them), or points for those that it has."""

    view: View | None = None
    views: int = 0
    names: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    points: tuple[Points, ...] = ()


def name_of(tag: str) -> str:
    """A tag as a person reads it: `lr/d*lr/unet` → `d*lr unet`."""
    if tag in _NAMES:
        return _NAMES[tag]
    text = tag.removeprefix("loss/").removeprefix("lr/") if tag.startswith(("loss/", "lr/d*lr/")) else tag
    return printable(text.replace("/", " "))


def views_of(tags: Iterable[str]) -> list[View]:
    """The views that these tags give, the loss first; learning rates that an optimizer really uses have their own."""
    left = dict.fromkeys(tags)
    views: list[View] = []

    def view(name: str, wanted: Sequence[str], *, smoothes: bool = False) -> None:
        if wanted:
            views.append(View(name, tuple(wanted), smoothes))

    main = next((tag for tag in SERIES if tag in left), None)
    if main is not None:
        view("loss", [main, *([_VALIDATION] if _VALIDATION in left else [])], smoothes=True)
    epochs = [tag for tag in ("loss/epoch_average", _VALIDATION) if tag in left]
    view("epochs", epochs if "loss/epoch_average" in left else [])
    apart = [tag for tag in left if tag.startswith("loss/validation/") and tag.endswith("divergence")]
    view("validation", [tag for tag in left if tag.startswith("loss/validation/step") and tag not in apart])
    view("divergence", apart)  # about zero: beside the loss both would be flat
    rates = [tag for tag in left if tag.startswith("lr/") and not tag.startswith("lr/group")]
    rates = rates or [tag for tag in left if tag.startswith("lr/")]
    rates.sort(key=lambda tag: not tag.endswith("unet"))
    real = [tag for tag in rates if "d*lr" in tag]
    view("learning rate", [tag for tag in rates if tag not in real][:5])
    view("d*lr", real[:5])
    shown = {tag for each in views for tag in each.tags} | {*SERIES, *rates}
    groups: dict[str, list[str]] = {}
    for tag in left:
        if tag not in shown and not tag.startswith(("lr/", "loss/")):
            groups.setdefault(tag.rpartition("/")[0] or tag, []).append(tag)
    for name, found in groups.items():
        view(name, found[:5])
    return views


@dataclass(slots=True, repr=False)
class CurveFeed:
    """Turns growing series into what a chart has to take in. `wanted` is the number of the view, counted round."""

    smoothing: float = 0.9
    wanted: int = 0
    _built: tuple[object, ...] = ()
    _taken: list[tuple[Series, int]] = field(default_factory=list)

    def read(self, snapshot: RunSnapshot, parts: Sequence[Part]) -> ChartNews:
        """What came since the last call, for the view that is wanted."""
        views = views_of(snapshot.series)
        if not views:
            return ChartNews()
        view = views[self.wanted % len(views)]
        each = snapshot.steps_per_epoch
        found = [snapshot.series[tag] for tag in view.tags]
        key = (view, tuple(map(id, found)), snapshot.steps_before, each, len(parts))
        if key == self._built:
            points = []
            for tag, (series, count) in zip(view.tags, self._taken, strict=True):
                points.append(_new_points(series, count, _scale(tag, each), snapshot.steps_before))
            grown = all(len(series) >= count for series, count in self._taken)
            if grown and max(map(len, points)) <= MANY:
                self._taken = [(series, len(series)) for series in found]
                return ChartNews(view, len(views), points=tuple(points))
        self._built = key
        self._taken = [(series, len(series)) for series in found]
        curves = [
            curve_of(tag, series, snapshot.steps_before, each, parts, self.smoothing if view.smoothes else 0.0)
            for tag, series in zip(view.tags, found, strict=True)
        ]
        return ChartNews(view, len(views), tuple(map(name_of, view.tags)), tuple(curves))


def curve_of(
    tag: str, series: Series, before: int, each: float | None, parts: Sequence[Part] = (), smoothing: float = 0.9
) -> Curve:
    """The curve of a tag on the steps of the whole training, with what the runs before recorded of it."""
    curve = Curve(smoothing)
    scale = _scale(tag, each)
    for part in parts:
        old = part.points(tag)
        if scale is None:
            curve.fill(old.steps, old.values)
        else:
            curve.extend((round(step * scale), value) for step, value in old)
    if scale is None:
        curve.fill(series.steps, series.values, before)
    else:
        curve.extend((round(step * scale), value) for step, value in series)
    return curve


def _scale(tag: str, each: float | None) -> float | None:
    """Steps of an epoch for a tag that counts epochs; None for one that counts steps."""
    from core.runs.scalars import counts_epochs

    return (each or 1.0) if counts_epochs(tag) else None


def _new_points(series: Series, start: int, scale: float | None, before: int) -> Points:
    steps, values = series.steps[start:], series.values[start:]
    if scale is not None:
        return [(round(step * scale), value) for step, value in zip(steps, values, strict=True)]
    return [(step + before, value) for step, value in zip(steps, values, strict=True)]


def main_tag(series: Mapping[str, Series]) -> str | None:
    """The loss that is charted."""
    return next((tag for tag in SERIES if tag in series), None)
