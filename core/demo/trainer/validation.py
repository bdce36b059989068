"""Validation: the loss on images that are not trained on, at four fixed timesteps and with the same noise each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.demo.trainer import data
from core.demo.trainer.log import Bar
from core.demo.trainer.model import TIMESTEPS, measure
from core.demo.trainer.run import LossRecorder, Run

STEPS = tuple(int(step) for step in np.linspace(0, TIMESTEPS, 6)[1:-1])


class Validator:
    """Measures after steps and after epochs, each with a mean of its own, as train_network.py does."""

    def __init__(self, run: Run, datasets: Sequence[data.Dataset]) -> None:
        args = run.args
        batches = data.plain_batches(datasets)
        limit = args.max_validation_steps
        self._run = run
        self._batches = batches if limit is None else batches[:limit]
        self._means = {"step": LossRecorder(), "epoch": LossRecorder()}
        self._bars: dict[str, Bar] = {}
        self._seed = args.validation_seed if args.validation_seed is not None else args.seed

    def after_step(self, epoch: int, step: int, average: float) -> bool:
        """Measure if it is due after this step; `epoch` counts from 0, `average` is the training loss."""
        every = self._run.args.validate_every_n_steps
        if not self._batches or every is None or step % every != 0:
            return False
        self._measure("step", "validation steps", "val_avg_loss", epoch, step, average)
        return True

    def after_epoch(self, epoch: int, average: float) -> bool:
        """Measure if it is due after this epoch (from 0)."""
        every = self._run.args.validate_every_n_epochs
        if not self._batches or (every is not None and (epoch + 1) % every != 0):
            return False
        self._measure("epoch", "epoch validation steps", "val_epoch_avg_loss", epoch, epoch + 1, average)
        return True

    def _measure(self, kind: str, title: str, name: str, epoch: int, at: int, average: float) -> None:
        run = self._run
        mean = self._means[kind]
        rng = np.random.default_rng(self._seed)
        bar = Bar(len(self._batches) * len(STEPS), title)
        if kind in self._bars:
            self._bars[kind].close()  # the last one stayed open below the step bar until now, as in the real one
        self._bars[kind] = bar
        count = 0
        for _, batch in self._batches:
            features = np.stack(
                [
                    run.base.features(caption, pose, batch.bucket)
                    for caption, pose in zip(batch.captions, batch.poses, strict=True)
                ]
            )
            wanted = data.pixels(batch)
            for step in STEPS:
                times = np.full(len(features), step)
                with np.errstate(all="ignore"):
                    each = measure(run.base, run.network, features, wanted, times, rng).each
                mean.add(epoch, count, float(np.mean(each)))
                count += 1
                bar.update()
                bar.set_postfix(**{name: mean.average, "timestep": step})
        if run.events is not None:
            values = {f"loss/validation/{kind}_average": mean.average}
            run.events.add(at, values | {f"loss/validation/{kind}_divergence": mean.average - average})
