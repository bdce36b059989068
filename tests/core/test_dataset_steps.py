"""Buckets and steps: the numbers that the real trainer printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.dataset.buckets import BucketError, BucketSettings, assign, bucket_list
from core.dataset.steps import DatasetPlan, DatasetSizes, Schedule, SubsetSizes, count_steps

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "steps" / "given.jsonl").read_text("utf-8").splitlines()
]


def datasets_of(row: dict[str, Any]) -> list[DatasetSizes]:
    found = []
    for given in row["datasets"]:
        resolution = given["resolution"]
        settings = BucketSettings(
            (resolution, resolution) if isinstance(resolution, int) else tuple(resolution),
            given.get("enable_bucket", False),
            given.get("min_bucket_reso", 256),
            given.get("max_bucket_reso", 1024),
            given.get("bucket_reso_steps", 64),
            given.get("bucket_no_upscale", False),
        )
        subsets = tuple(
            SubsetSizes(
                tuple((w, h) for w, h, _, _, place in given["images"] if place == at),
                subset["num_repeats"],
                subset["is_reg"],
            )
            for at, subset in enumerate(given["subsets"])
        )
        found.append(
            DatasetSizes(
                settings,
                subsets,
                given.get("batch_size", 1),
                given.get("validation_split", row["train"].get("validation_split", 0.0)),
                given.get("validation_seed", row["train"].get("validation_seed")),
            )
        )
    return found


def schedule_of(row: dict[str, Any]) -> Schedule:
    names = ("max_train_epochs", "max_train_steps", "seed")
    return Schedule(
        **{name: row["train"][name] for name in names if name in row["train"]},
        gradient_accumulation_steps=row["train"].get("gradient_accumulation_steps", 1),
        num_processes=row["train"].get("num_processes", 1),
        divisor=32 if row["trainer"].startswith("sdxl") else 64,
    )


def images_of(given: dict[str, Any], plan: DatasetPlan) -> list[list[int] | None]:
    rows = [iter(subset) for subset in plan.images]
    found: list[list[int] | None] = []
    for *_, place in given["images"]:
        placed = next(rows[place])
        found.append(None if placed is None else [*placed.choice.bucket, *placed.choice.resized, placed.repeats])
    return found


def shown(buckets: Any) -> dict[str, int]:
    return {f"{width}x{height}": count for (width, height), count in buckets.items()}


def test_every_recorded_configuration_gives_the_trainers_own_numbers() -> None:
    """The plan shows the steps, batches and buckets that sd-scripts printed, for all 300 configurations."""
    assert len(ROWS) == 300
    for row in ROWS:
        expected = row["expect"]
        try:
            plan = count_steps(datasets_of(row), schedule_of(row))
        except BucketError as error:
            if expected["outcome"] == "no_data":
                assert error.kind == "no_data", row["id"]
            else:
                told = expected["error"]
                assert (error.kind, error.message, error.where) == (told["type"], told["message"], told["where"]), row[
                    "id"
                ]
            assert error.hint, row["id"]
            continue
        assert expected["outcome"] == "ok", row["id"]
        assert {
            "num_train_images": plan.num_train_images,
            "num_val_images": plan.num_val_images,
            "num_reg_images": plan.num_reg_images,
            "batches_all_processes": plan.batches,
            "batches_per_epoch": plan.batches_per_epoch,
            "val_batches_per_process": plan.val_batches,
            "num_update_steps_per_epoch": plan.steps_per_epoch,
            "max_train_steps": plan.total_steps,
            "num_train_epochs": plan.epochs,
            "last_epoch_steps": plan.last_epoch_steps,
        }.items() <= expected.items(), row["id"]
        for given, told, got in zip(row["datasets"], expected["datasets"], plan.datasets, strict=True):
            assert shown(got.buckets) == told["buckets"], row["id"]
            assert got.batches == told["batches"], row["id"]
            assert images_of(given, got) == told["images"], row["id"]
            assert (list(got.limits) if got.limits else [None, None]) == [
                told["min_bucket_reso"],
                told["max_bucket_reso"],
            ], row["id"]
        told_validation = {told["dataset"]: told for told in expected["val_datasets"] or [] if told["images"]}
        for at, (given, got) in enumerate(zip(row["datasets"], plan.validation, strict=True)):
            told = told_validation.get(at, {"buckets": {}, "batches": 0, "images": [None] * len(given["images"])})
            assert shown(got.buckets) == told["buckets"], row["id"]
            assert got.batches == told["batches"], row["id"]
            assert images_of(given, got) == told["images"], row["id"]


def test_the_bucket_list_of_sd15_is_the_known_one() -> None:
    """512 px with buckets 256…1024: nineteen buckets, the square first among equals."""
    buckets = bucket_list(BucketSettings((512, 512), enable=True))
    assert (512, 512) in buckets
    assert buckets[0] == (256, 832)
    assert buckets[-1] == (1024, 256)
    assert len(buckets) == len(set(buckets))


def test_what_is_cropped_away_is_told() -> None:
    """A 1000×667 image in a 512 px training loses a little at its sides."""
    choice = assign((1000, 667), BucketSettings((512, 512), enable=True))
    assert choice.bucket == (640, 384)
    assert 0 < choice.cropped < 0.12
    assert assign((512, 512), BucketSettings((512, 512))).cropped == 0


def test_a_validation_part_without_a_seed_is_an_estimate() -> None:
    """The plan says that it cannot know which image goes where when the seed is left to chance."""
    sizes = SubsetSizes(((512, 512),) * 10, 2)
    dataset = DatasetSizes(BucketSettings((512, 512), enable=True), (sizes,), 2, validation_split=0.2)
    assert not count_steps([dataset], Schedule()).is_exact
    assert count_steps([dataset], Schedule(seed=1)).is_exact
    assert count_steps([dataset], Schedule()).num_val_images == 2


def test_an_empty_folder_with_a_validation_split_stops_the_trainer() -> None:
    """sd-scripts fails on it before training; so the plan says it, with the remedy."""
    dataset = DatasetSizes(BucketSettings((512, 512)), (SubsetSizes(()),), validation_split=0.1)
    with pytest.raises(BucketError, match="not enough values") as caught:
        count_steps([dataset], Schedule())
    assert "empty subset" in (caught.value.hint or "")
