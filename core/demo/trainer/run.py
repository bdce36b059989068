"""What a run holds on to while it trains, and how it saves and draws."""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.demo.trainer import metadata, samples, state
from core.demo.trainer.data import Dataset
from core.demo.trainer.events import EventWriter
from core.demo.trainer.log import say
from core.demo.trainer.model import Base, Network
from core.demo.trainer.optim import Optimizer

STEP_SECONDS = "KOHYA_TUI_DEMO_STEP_SECONDS"
"""The environment variable that holds a step back to at least so many seconds, so that a demo can be watched."""


@dataclass(slots=True)
class LossRecorder:
    """The mean over the last epoch's worth of losses; a slot that was skipped counts as 0, one NaN stays for ever."""

    losses: list[float] = field(default_factory=list)
    total: float = 0.0

    def add(self, epoch: int, step: int, loss: float) -> None:
        """`epoch` and `step` count from 0."""
        if epoch == 0:
            self.losses.append(loss)
        else:
            self.losses += [0.0] * (step + 1 - len(self.losses))
            self.total -= self.losses[step]
            self.losses[step] = loss
        self.total += loss

    @property
    def average(self) -> float:
        """0 before the first loss."""
        return self.total / len(self.losses) if self.losses else 0.0


@dataclass(slots=True)
class Run:
    """Everything that the loop holds on to."""

    args: Namespace
    datasets: Sequence[Dataset]
    held_back: Sequence[Dataset]
    base: Base
    network: Network
    optimizer: Optimizer
    factor: Callable[[int], float]
    rng: np.random.Generator
    metadata: dict[str, str]
    events: EventWriter | None
    pace: float
    tag_rng: random.Random
    step: int = 0
    state_step: int = 0
    epoch: int = 0

    def save(self, name: str, epoch: int) -> None:
        """Write a checkpoint under its final name."""
        path = Path(self.args.output_dir) / f"{name}.safetensors"
        say(f"\nsaving checkpoint: {path}")
        values = metadata.finish(self.metadata, self.args, self.network.tensors(), epoch, self.step)
        state.write_checkpoint(path, self.network, self.args.save_precision, values)

    def save_state(self, name: str) -> None:
        """Write the state beside the checkpoint of that name."""
        folder = Path(self.args.output_dir) / f"{name}-state"
        state.save_state(folder, self.network, self.optimizer, self.rng, self.epoch, self.state_step + 1)

    def sample(self, epoch: int | None) -> None:
        """Draw the prompts if samples are due."""
        samples.sample(self.args, self.base, self.network, epoch, self.step, self.pace / 10)
