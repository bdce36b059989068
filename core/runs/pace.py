"""How far a training is and how long it still takes: counted the same way for everyone who shows it.

A resumed run counts its steps from 0 again while its total is that of the whole training (kohya.md section 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from core.runs.vigil import STALL_MINUTES

LONGEST_PAUSE = 3600.0
"""Seconds between two steps that still count as a pause for samples; more is a machine that slept, or another clock."""
_MARKS = 512


def first_epoch(argv: Sequence[str]) -> int:
    """The epoch that a run begins with: another than 1 when it was resumed."""
    try:
        return int(argv[argv.index("--initial_epoch") + 1])
    except (ValueError, IndexError):
        return 1


def steps_before(first: int, each: float | None) -> int:
    """The steps of the epochs before the `first` one of a run, with `each` steps an epoch."""
    return round((first - 1) * each) if each else 0


def steps_in_all(total: int | None, epochs: int | None, first: int, each: float | None) -> int | None:
    """With which step the training ends.

    A run that was resumed trains its epochs whole, also the last one that max_train_steps would have cut short
    (sd-scripts train_network.py: the steps before its `first` epoch are not counted against the total).
    """
    if total is None or not epochs or not each or first == 1:
        return total
    return steps_before(first, each) + min(total, round((epochs - first + 1) * each))


def step_rate(times: Sequence[float]) -> float | None:
    """Steps a second by the times at which they ended; what took five times as long as usual was a pause."""
    gaps = [after - before for before, after in pairwise(times) if after > before]
    if len(gaps) < 3:
        return None
    usual = 5 * sorted(gaps)[len(gaps) // 2]
    steady = [gap for gap in gaps if gap <= usual]
    return len(steady) / sum(steady)


def has_stalled(
    quiet_seconds: float | None,
    utilization: float | None,
    usual_step: float | None = None,
    alerts: Mapping[str, float] | None = None,
) -> bool:
    """Whether a run that showed nothing new for so long stands still, with a device that does nothing (`utilization` in
    %; None where it cannot be read, then silence decides).

    So long is the `stall_minutes` of the run's `alerts` (0: never), or ten of its steps when these are longer.
    """
    minutes = (alerts or {}).get("stall_minutes", STALL_MINUTES)
    if quiet_seconds is None or utilization or minutes <= 0:
        return False
    return quiet_seconds >= max(60 * minutes, 10 * (usual_step or 0.0))


@dataclass(slots=True)
class Pace:
    """Steps against the time that they took, with the pauses for samples and checkpoints: what time left is made of.

    The last two epochs count, so that a machine that became slower is believed. A clock that jumps adds nothing.
    """

    marks: list[tuple[int, float]] = field(default_factory=list)
    """(step, seconds so far), thinned out to a few hundred."""
    _seconds: float = 0.0
    _step: int | None = None
    _moment: float = 0.0
    _every: int = 1

    def add(self, step: int, moment: float) -> None:
        """A step ended."""
        gap = moment - self._moment
        if self._step is None:
            self.marks.append((step, 0.0))
        elif 0 < gap <= LONGEST_PAUSE:
            self._seconds += gap
        self._step, self._moment = step, moment
        if step >= self.marks[-1][0] + self._every:
            self.marks.append((step, self._seconds))
            if len(self.marks) > _MARKS:
                self._every *= 2
                del self.marks[1:-1:2]

    def add_many(self, steps: Sequence[int], moments: Sequence[float]) -> None:
        """The same for many steps: as many of them at once as lie between two marks, where the clock did not jump."""
        begin = 0
        while begin < len(steps):
            end = min(begin + self._every, len(steps))
            if self._step is not None and 0 < moments[end - 1] - self._moment <= LONGEST_PAUSE:
                begin = end - 1
            for index in range(begin, end):
                self.add(steps[index], moments[index])
            begin = end

    def rate(self, at_least: float) -> float | None:
        """Steps a second over the last 2 x `at_least` steps; None before so many steps (an epoch: before, no pause has
        been seen).
        """
        if self._step is None or self._step - self.marks[0][0] < at_least:
            return None
        wanted = self._step - 2 * at_least
        first = next((mark for mark in reversed(self.marks) if mark[0] <= wanted), self.marks[0])
        steps, seconds = self._step - first[0], self._seconds - first[1]
        return steps / seconds if steps > 0 and seconds > 0 else None
