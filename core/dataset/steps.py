"""How many optimisation steps a training really does: repeats, validation parts, batches, processes, accumulation.

Pure arithmetic on image sizes, in the order in which sd-scripts checks and draws (sd-scripts 48d368fa).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.dataset.buckets import (
    BucketChoice,
    BucketError,
    BucketSettings,
    Size,
    adjusted_limits,
    assign,
    bucket_list,
    check_step,
)


@dataclass(frozen=True, slots=True)
class SubsetSizes:
    """One subset: the sizes of its images in the order of their sorted file names."""

    sizes: tuple[Size, ...]
    repeats: int = 1
    is_reg: bool = False


@dataclass(frozen=True, slots=True)
class DatasetSizes:
    """One `[[datasets]]` of a dataset TOML."""

    settings: BucketSettings
    subsets: tuple[SubsetSizes, ...]
    batch_size: int = 1
    validation_split: float = 0.0
    validation_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The options that turn batches into steps. `divisor` of the bucket step: 64, or 32 for SDXL scripts."""

    max_train_epochs: int | None = None
    max_train_steps: int | None = None
    gradient_accumulation_steps: int = 1
    num_processes: int = 1
    seed: int | None = None
    divisor: int = 64


@dataclass(frozen=True, slots=True)
class Placed:
    """An image that is trained on: where it goes and how often an epoch shows it."""

    choice: BucketChoice
    repeats: int


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """One dataset in an epoch. `images[s][i]` is image i of subset s, None when it is not used."""

    images: tuple[tuple[Placed | None, ...], ...]
    buckets: Mapping[Size, int]
    """Images with repeats in each bucket, sorted."""
    batches: int
    limits: tuple[int, int] | None
    """min_bucket_reso and max_bucket_reso as corrected; None without buckets."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The numbers that sd-scripts prints before it trains, by its own names where it has one."""

    datasets: tuple[DatasetPlan, ...]
    validation: tuple[DatasetPlan, ...]
    num_train_images: int
    num_val_images: int
    num_reg_images: int
    """As printed, which is before regularisation images are repeated to balance the others."""
    batches: int
    """In an epoch over all processes."""
    batches_per_epoch: int
    """In an epoch of one process."""
    val_batches: int
    """Of one process."""
    steps_per_epoch: int
    total_steps: int
    epochs: int
    last_epoch_steps: int
    is_exact: bool
    """False when the validation part is drawn with a seed that is not fixed: counts hold, single buckets may differ."""


def count_steps(datasets: Sequence[DatasetSizes], schedule: Schedule) -> StepPlan:
    """What sd-scripts will do with these images and options.

    Raises BucketError where it would stop before the training: its `kind` is the trainer's exception, or "no_data".
    """
    for dataset in datasets:
        adjusted_limits(dataset.settings)
    drawer = random.Random(schedule.seed if schedule.seed is not None else 0)
    # NetworkTrainer.train: random.seed(args.seed), then all training datasets shuffle, then all validation datasets
    shares = [_training_share(dataset, drawer) for dataset in datasets]
    val_shares = [_validation_share(dataset, drawer) for dataset in datasets]
    plans = tuple(_plan(dataset, share) for dataset, share in zip(datasets, shares, strict=True))
    val_plans = tuple(_plan(dataset, share) for dataset, share in zip(datasets, val_shares, strict=True))
    batches = sum(plan.batches for plan in plans)
    if batches == 0:
        raise BucketError(
            "no_data",
            "No data found: there is no image to train on",
            "train",
            "Check the folders of the dataset and their repeats; sd-scripts would end here with exit code 0.",
        )
    for dataset in datasets:
        check_step(dataset.settings, schedule.divisor)
    per_process = math.ceil(batches / schedule.num_processes)
    per_epoch = math.ceil(per_process / schedule.gradient_accumulation_steps)
    if schedule.max_train_epochs is not None:
        total = schedule.max_train_epochs * per_epoch
    else:
        total = 1600 if schedule.max_train_steps is None else schedule.max_train_steps
    epochs = math.ceil(total / per_epoch)
    return StepPlan(
        plans,
        val_plans,
        sum(_images(dataset, plan) for dataset, plan in zip(datasets, plans, strict=True)),
        sum(sum(plan.buckets.values()) for plan in val_plans),
        sum(len(subset.sizes) * subset.repeats for dataset in datasets for subset in _used(dataset) if subset.is_reg),
        batches,
        per_process,
        math.ceil(sum(plan.batches for plan in val_plans) / schedule.num_processes),
        per_epoch,
        total,
        epochs,
        total - (epochs - 1) * per_epoch if epochs else 0,
        schedule.seed is not None or not any(_draws(dataset) for dataset in datasets),
    )


Share = dict[tuple[int, int], int]
"""(subset, image) → repeats."""


def _training_share(dataset: DatasetSizes, drawer: random.Random) -> Share:
    share: Share = {}
    for at, subset in enumerate(dataset.subsets):
        if subset.repeats < 1 or subset.is_reg:
            continue
        order = _shuffled(subset, dataset, drawer)
        if dataset.validation_split > 0:
            order = order[0 : math.ceil(len(order) * (1 - dataset.validation_split))]
        share.update({(at, image): subset.repeats for image in order})
    share.update(_balanced(dataset, sum(share.values())))
    return share


def _balanced(dataset: DatasetSizes, wanted: int) -> Share:
    """Regularisation images, repeated until they are as many (train_util.py, `DreamBoothDataset.__init__`)."""
    reg = [
        (at, image)
        for at, subset in enumerate(dataset.subsets)
        if subset.is_reg and subset.repeats >= 1
        for image in range(len(subset.sizes))
    ]
    share: Share = {}
    count = 0
    is_first = True
    while reg and count < wanted:
        for key in reg:
            more = dataset.subsets[key[0]].repeats if is_first else 1
            share[key] = share.get(key, 0) + more
            count += more
            if count >= wanted:
                break
        is_first = False
    return share


def _validation_share(dataset: DatasetSizes, drawer: random.Random) -> Share:
    share: Share = {}
    if not 0 < dataset.validation_split <= 1:
        return share
    for at, subset in enumerate(dataset.subsets):
        if subset.is_reg:
            continue
        order = _shuffled(subset, dataset, drawer)
        kept = len(order) - round(len(order) * dataset.validation_split)
        share.update({(at, image): 1 for image in order[kept:]})
    return share


def _shuffled(subset: SubsetSizes, dataset: DatasetSizes, drawer: random.Random) -> list[int]:
    """Indices in the order of train_util.py, `split_train_val`; in file order without a validation split."""
    order = list(range(len(subset.sizes)))
    if dataset.validation_split <= 0:
        return order
    if not order:
        raise BucketError(
            "ValueError",
            "not enough values to unpack (expected 2, got 0)",
            "split_train_val",
            "validation_split and a folder without images do not go together: remove the empty subset.",
        )
    if dataset.validation_seed is not None:
        random.Random(dataset.validation_seed).shuffle(order)
    else:
        drawer.shuffle(order)
    return order


def _plan(dataset: DatasetSizes, share: Share) -> DatasetPlan:
    counts: Counter[Size] = Counter()
    images: list[tuple[Placed | None, ...]] = []
    placed: dict[tuple[Size, int | None], Placed] = {}
    bucket_list(dataset.settings)  # made, and failed at, without a picture too
    for at, subset in enumerate(dataset.subsets):
        if not share:
            images.append((None,) * len(subset.sizes))
            continue
        repeats = [share.get((at, image)) for image in range(len(subset.sizes))]
        pairs = list(zip(subset.sizes, repeats, strict=True))
        for pair, count in Counter(pairs).items():  # pictures of one size go to one bucket: it is chosen once
            size, shown = pair
            if shown is not None:
                placed[pair] = Placed(assign(size, dataset.settings), shown)
                counts[placed[pair].choice.bucket] += shown * count
        images.append(tuple(map(placed.get, pairs)))
    batches = sum(math.ceil(count / dataset.batch_size) for count in counts.values())
    return DatasetPlan(tuple(images), dict(sorted(counts.items())), batches, adjusted_limits(dataset.settings))


def _used(dataset: DatasetSizes) -> Iterator[SubsetSizes]:
    return (subset for subset in dataset.subsets if subset.repeats >= 1)


def _images(dataset: DatasetSizes, plan: DatasetPlan) -> int:
    return sum(
        placed.repeats
        for subset, row in zip(dataset.subsets, plan.images, strict=True)
        if not subset.is_reg
        for placed in row
        if placed is not None
    )


def _draws(dataset: DatasetSizes) -> bool:
    return dataset.validation_split > 0 and dataset.validation_seed is None
