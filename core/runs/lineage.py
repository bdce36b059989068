"""A training over several runs: what came before a resumed run, on the steps of the whole training.

Each run counts its steps from 0; what joins them is the epoch that it began with (core/help/trainer.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.problems import UserError
from core.runs import store
from core.runs.artifacts import Checkpoint, SampleImage
from core.runs.model import Run
from core.runs.scalars import Series, counts_epochs
from core.runs.watch import whole

_MOST = 50


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a training: `before` are the steps of the whole training before its first one, `until` those at which
    the next run took over (None: it is the last). `epochs_before` is the same in epochs.
    """

    run: Run
    before: int = 0
    until: int | None = None
    epochs_before: int = 0
    epochs_until: int | None = None
    series: Mapping[str, Series] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    samples: tuple[SampleImage, ...] = ()

    def points(self, tag: str) -> Series:
        """Its points of a tag on the steps (or epochs) of the whole training, without those that were trained anew."""
        own, found = self.series.get(tag), Series()
        if own is None:
            return found
        epochs = counts_epochs(tag)
        offset = 0 if epochs else self.before
        limit = self.epochs_until if epochs else self.until
        for step, value in own:
            if limit is not None and step + offset > limit:
                break
            found.add(step + offset, value)
        return found


def ancestors(run: Run) -> list[Run]:
    """The runs that this one goes on from, the oldest first; those whose folder is gone end the chain."""
    found: list[Run] = []
    seen = {run.id}
    wanted = run.spec.resumed_from
    while wanted and wanted not in seen and len(found) < _MOST and Path(wanted).name == wanted:
        seen.add(wanted)
        try:
            one = store.observe(run.dir.parent / wanted)
        except UserError:
            break
        found.append(one)
        wanted = one.spec.resumed_from
    return found[::-1]


def parts_before(run: Run, steps_before: int, first_epoch: int) -> list[Part]:
    """What was trained before `run` took over at `steps_before`, the oldest first. Reads whole histories."""
    parts: list[Part] = []
    until, epochs_until = steps_before, first_epoch - 1
    for one in reversed(ancestors(run)):
        seen = whole(one)
        before, epochs_before = seen.steps_before, seen.first_epoch - 1
        parts.append(Part(one, before, until, epochs_before, epochs_until, seen.series, seen.checkpoints, seen.samples))
        until, epochs_until = min(until, before), min(epochs_until, epochs_before)
    return parts[::-1]


def stitched(parts: Sequence[Part], tag: str) -> Series:
    """The points of a tag over all parts."""
    whole = Series()
    for part in parts:
        points = part.points(tag)
        whole.steps.extend(points.steps)
        whole.values.extend(points.values)
    return whole
