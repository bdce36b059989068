"""The plan: the steps that the real trainer counted, on real folders, and what stays on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.config.documents import Config
from core.config.plan import Plan, lora_bytes, plan
from core.config.presets import draft, list_presets, write_new
from core.problems import Severity, UserError
from core.workspace import Workspace
from tests.core.config_kit import picture

DATA = Path(__file__).parents[1] / "data"
ROWS = [json.loads(line) for line in (DATA / "steps" / "given.jsonl").read_text("utf-8").splitlines()]


def config_of(row: dict[str, Any], workspace: Workspace) -> Config:
    """The row as a workspace would hold it: folders of pictures and the two files."""
    lines: list[str] = []
    for index, dataset in enumerate(row["datasets"]):
        lines.append("[[datasets]]")
        for key, value in dataset.items():
            if key not in {"subsets", "images"}:
                lines.append(f"{key} = {json.dumps(value)}")
        for number, subset in enumerate(dataset["subsets"]):
            folder = f"train_data/{row['id']}/d{index}s{number}"
            (workspace.root / folder).mkdir(parents=True)
            lines += ["[[datasets.subsets]]", f"image_dir = {json.dumps(folder)}"]
            lines += [f"num_repeats = {subset['num_repeats']}", f"is_reg = {json.dumps(subset['is_reg'])}"]
            images = [image for image in dataset["images"] if image[4] == number]
            for place, image in enumerate(images):
                picture(workspace.root / folder / f"{place:04}.png", image[0], image[1])
    script = "# script: sdxl_train_network.py\n" if row["trainer"].startswith("sdxl") else ""
    train = {key: value for key, value in row["train"].items() if key != "num_processes"}
    text = script + "".join(f"{key} = {json.dumps(value)}\n" for key, value in train.items())
    return Config(workspace.configs / row["id"], {"train": text, "dataset": "\n".join(lines) + "\n"})


@pytest.mark.parametrize("row", ROWS[::4], ids=lambda row: row["id"])
def test_the_plan_equals_the_trainers_own_count(row: dict[str, Any], workspace: Workspace) -> None:
    """Every fourth of the recorded configurations, laid out as files: steps, epochs, batches and buckets are equal."""
    found = plan(config_of(row, workspace), workspace, row["train"].get("num_processes", 1))
    expected = row["expect"]
    if expected["outcome"] != "ok":
        assert found.total_steps == 0
        assert any(problem.severity is Severity.ERROR for problem in found.problems)
        return
    assert found.total_steps == expected["max_train_steps"]
    assert found.steps_per_epoch == expected["num_update_steps_per_epoch"]
    assert found.epochs == expected["num_train_epochs"]
    assert found.batches_per_epoch == expected["batches_per_epoch"]
    assert found.repeats == expected["num_train_images"]
    buckets: dict[tuple[int, int], int] = {}
    for dataset in expected["datasets"]:
        for size, count in dataset["buckets"].items():
            width, height = map(int, size.split("x"))
            buckets[width, height] = buckets.get((width, height), 0) + count
    if found.is_exact:
        assert dict(found.buckets) == buckets


def made(workspace: Workspace, preset: str = "sd15-character", **overrides: Any) -> Plan:
    if not workspace.dataset_names():
        for number in range(12):
            picture(workspace.train_data / "rinni" / "10_rinni" / f"{number}.png", 768, 768 + 64 * (number % 2))
    config = write_new(draft(workspace, f"c{len(workspace.config_names())}", preset, "rinni", overrides))
    return plan(config, workspace)


def test_a_character_on_sd15(workspace: Workspace) -> None:
    """12 pictures ten times, ten epochs, a file every second epoch and all of them kept; what the user sees."""
    found = made(workspace, output_name="rinni")
    assert (found.images, found.repeats, found.steps_per_epoch, found.total_steps) == (12, 120, 120, 1200)
    assert [item.name for item in found.kept] == [
        "rinni-000002.safetensors",
        "rinni-000004.safetensors",
        "rinni-000006.safetensors",
        "rinni-000008.safetensors",
        "rinni.safetensors",
    ]
    assert found.samples == 30
    assert "1,200 steps in all" in found.lines()
    assert "5 checkpoints of 151 MB" in "\n".join(found.lines())
    document = found.as_json()
    assert document["total_steps"] == 1200
    assert document["steps_per_epoch"] == 120
    json.dumps(document)


def test_the_guides_own_setting_loses_epoch_two(workspace: Workspace) -> None:
    """save_last_n_epochs = 3 with a file every second epoch: epoch 2 is deleted when epoch 8 is saved."""
    found = made(workspace, save_last_n_epochs=3)
    assert [(item.epoch, item.kept) for item in found.checkpoints] == [
        (2, False),
        (4, True),
        (6, True),
        (8, True),
        (10, True),
    ]
    assert "1 checkpoint will be deleted on the way" in found.lines()


def test_checkpoints_by_steps(workspace: Workspace) -> None:
    """A file every 300 steps, those of the last 300 kept: as the trainer's own arithmetic has it."""
    found = made(workspace, save_every_n_epochs=None, save_every_n_steps=300, save_last_n_steps=300, output_name="a")
    assert [(item.name, item.kept) for item in found.checkpoints] == [
        ("a-step00000300.safetensors", False),
        ("a-step00000600.safetensors", False),
        ("a-step00000900.safetensors", True),
        ("a-step00001200.safetensors", True),
        ("a.safetensors", True),
    ]


def test_without_epochs_it_is_1600_steps(workspace: Workspace) -> None:
    """The trainer's default, whatever the dataset."""
    assert made(workspace, max_train_epochs=None).total_steps == 1600


def test_a_share_of_warmup_is_told_in_steps(workspace: Workspace) -> None:
    """0.05 is a twentieth of all steps, 100 is 100 steps."""
    assert made(workspace, lr_warmup_steps=0.05).warmup_steps == 60
    assert made(workspace, lr_warmup_steps=100).warmup_steps == 100


def test_the_size_of_a_lora_follows_from_its_rank() -> None:
    """SD1.5 at 128 in fp16 is 151 MB, SDXL at 32 is 228 MB; half without the text encoders or in fp32 double."""
    assert lora_bytes({"network_dim": 128, "save_precision": "fp16"}, "SD1.5") == pytest.approx(151e6, rel=0.01)
    assert lora_bytes({"network_dim": 32, "save_precision": "bf16"}, "SDXL") == pytest.approx(228e6, rel=0.01)
    assert lora_bytes({"network_dim": 128}, "SD1.5") == pytest.approx(302e6, rel=0.01)
    alone = lora_bytes({"network_dim": 128, "save_precision": "fp16", "network_train_unet_only": True}, "SD1.5")
    assert alone == pytest.approx(108.6e6, rel=0.01)
    assert lora_bytes({"network_dim": 8, "network_module": "lycoris.kohya"}, "SD1.5") is None


def test_a_picture_that_cannot_be_read_is_named(workspace: Workspace) -> None:
    """The trainer stops at it; the plan says which one and counts the others."""
    made(workspace)
    (workspace.train_data / "rinni" / "10_rinni" / "broken.png").write_text("no picture")
    found = made(workspace)
    assert [(problem.code, problem.where) for problem in found.problems] == [
        ("KT133", "train_data/rinni/10_rinni/broken.png")
    ]
    assert found.images == 12


@pytest.mark.parametrize("preset", [preset.name for preset in list_presets()])
def test_every_preset_can_be_planned(preset: str, workspace: Workspace) -> None:
    """Each one is whole: ten epochs, steps, no problem."""
    found = made(workspace, preset)
    assert found.epochs == 10
    assert found.problems == ()


def test_a_preset_is_made_for_the_dataset(workspace: Workspace) -> None:
    """Folders with their repeats, the class name in the prompts, comments that say why, values from KEY=VALUE text."""
    for name in ("10_rinni", "2_rinni swimsuit"):
        picture(workspace.train_data / "vtuber" / name / "a.png", 64, 64)
    config = write_new(draft(workspace, "v1", "sd15-character", "vtuber", {"network_dim": "32", "keep_tokens": "2"}))
    rows = config.plain("dataset")["datasets"][0]["subsets"]
    assert rows == [
        {"image_dir": "train_data/vtuber/2_rinni swimsuit", "num_repeats": 2},
        {"image_dir": "train_data/vtuber/10_rinni", "num_repeats": 10},
    ]
    assert config.get("train", "network_dim") == 32
    assert config.get("dataset", "keep_tokens") == 2
    assert config.get("train", "output_name") == "v1"
    assert config.get("train", "dataset_config") == "configs/v1/dataset.toml"
    assert "sdpa = true " in config.text("train") and "xformers" in config.text("train")
    assert "rinni" in config.prompts
    assert Config.load(workspace.configs / "v1").changed == frozenset()


def test_a_preset_does_not_overwrite(workspace: Workspace) -> None:
    """Refused: a name that is taken, one that cannot be a folder, an unknown preset, an unknown dataset."""
    write_new(draft(workspace, "v1"))
    with pytest.raises(UserError, match="already"):
        write_new(draft(workspace, "v1"))
    with pytest.raises(UserError, match="cannot be the name"):
        write_new(draft(workspace, "../v1"))
    with pytest.raises(UserError, match="no preset"):
        write_new(draft(workspace, "v2", "nothing"))
    with pytest.raises(UserError, match="no dataset"):
        write_new(draft(workspace, "v2", "demo", "nobody"))
    with pytest.raises(UserError, match="network_dim must be"):
        write_new(draft(workspace, "v2", "demo", None, {"network_dim": "many"}))
    assert workspace.config_names() == ["v1"]


def test_folders_named_in_train_toml_count_without_a_dataset_file(workspace: Workspace) -> None:
    """sd-scripts' other way: train_data_dir with N_name folders, whose names give the repeats; others are left out."""
    for name in ("3_rinni", "no_number"):
        picture(workspace.train_data / "rinni" / name / "a.png", 512, 512)
    picture(workspace.root / "reg" / "1_girl" / "b.png", 512, 512)
    text = 'train_data_dir = "train_data/rinni"\nreg_data_dir = "reg"\nresolution = "512,512"\nmax_train_epochs = 2\n'
    found = plan(Config(workspace.configs / "x", {"train": text + "train_batch_size = 2\n"}), workspace)
    assert (found.images, found.repeats, found.steps_per_epoch, found.total_steps) == (2, 3, 3, 6)


def test_a_dataset_file_elsewhere_counts_when_the_config_has_none(workspace: Workspace) -> None:
    """`dataset_config` may name any file of the workspace."""
    picture(workspace.train_data / "a" / "1_a" / "a.png", 512, 512)
    (workspace.root / "mine.toml").write_text(
        '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "train_data/a/1_a"\nnum_repeats = 4\n'
    )
    config = Config(workspace.configs / "x", {"train": 'dataset_config = "mine.toml"\nmax_train_epochs = 1\n'})
    assert plan(config, workspace).total_steps == 4


def test_an_empty_dataset_still_makes_its_buckets(workspace: Workspace) -> None:
    """sd-scripts divides by a smallest side that rounds to 0, whether or not there is a picture to sort."""
    picture(workspace.root / "b" / "a.png", 64, 64)
    (workspace.root / "empty").mkdir()
    text = """
[[datasets]]
resolution = 100
enable_bucket = true
min_bucket_reso = 100
bucket_reso_steps = 128
[[datasets.subsets]]
image_dir = "empty"
[[datasets]]
resolution = 64
[[datasets.subsets]]
image_dir = "b"
"""
    config = Config(workspace.configs / "x", {"train": "max_train_epochs = 1\n", "dataset": text})
    found = plan(config, workspace)
    assert found.total_steps == 0
    assert [problem.severity for problem in found.problems] == [Severity.ERROR]


def test_a_folder_that_was_left_out_may_come_again(workspace: Workspace) -> None:
    """Without repeats it is left out, and its second mention is no repetition: that one counts."""
    for name in ("a", "b", "c"):
        picture(workspace.root / "b" / f"{name}.png", 64, 64)
    subsets = "".join(f'[[datasets.subsets]]\nimage_dir = "b"\nnum_repeats = {repeats}\n' for repeats in (0, 2, 5))
    config = Config(
        workspace.configs / "x",
        {"train": "max_train_epochs = 1\n", "dataset": f"[[datasets]]\nresolution = 64\n{subsets}"},
    )
    assert plan(config, workspace).repeats == 6
