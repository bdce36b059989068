"""How far a training is and how long it still takes: counted the same way for everyone who shows it.

A resumed run counts its steps from 0 again while its total is that of the whole training (kohya.md section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


def first_epoch(argv: Sequence[str]) -> int:
    """The epoch that a run begins with: another than 1 when it was resumed."""
    try:
        return int(argv[argv.index("--initial_epoch") + 1])
    except (ValueError, IndexError):
        return 1


def steps_before(argv: Sequence[str], total_steps: int | None, epochs: int | None) -> int:
    """The steps of the epochs that were trained before the run began."""
    return round((first_epoch(argv) - 1) * total_steps / epochs) if total_steps and epochs else 0


def step_rate(times: Sequence[float]) -> float | None:
    """Steps a second by the times at which they ended; what took five times as long as usual was a pause."""
    gaps = [after - before for before, after in pairwise(times) if after > before]
    if len(gaps) < 3:
        return None
    usual = 5 * sorted(gaps)[len(gaps) // 2]
    steady = [gap for gap in gaps if gap <= usual]
    return len(steady) / sum(steady)


@dataclass(slots=True)
class Pace:
    """The time between the first and the newest step, with all pauses for samples and checkpoints."""

    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None

    def add(self, step: int, moment: float) -> None:
        """A step ended."""
        if self.first is None:
            self.first = step, moment
        self.last = step, moment

    def rate(self, at_least: float) -> float | None:
        """Steps a second over everything; None before so many steps (an epoch: before, no pause has been seen)."""
        if self.first is None or self.last is None:
            return None
        steps, seconds = self.last[0] - self.first[0], self.last[1] - self.first[1]
        return steps / seconds if steps >= at_least and steps > 0 and seconds > 0 else None
