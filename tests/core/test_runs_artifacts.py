"""Checkpoints, states and samples in an output folder, named as the trainer names them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from core.problems import UserError
from core.runs.artifacts import checkpoints, is_complete, read_header, samples, states
from core.runs.model import Run, RunKind, RunSpec, RunStatus
from tests.core.runs_kit import RECORDINGS, write_safetensors


def run_with(folder: Path, name: str | None = "my_lora", started: float | None = None) -> Run:
    spec = RunSpec("x", RunKind.TRAIN, "x", 0, (), str(folder), output_dir="out", output_name=name)
    return Run(folder, spec, RunStatus(started=started))


def test_checkpoints_are_listed_with_epoch_step_and_completeness(tmp_path: Path) -> None:
    """Epochs, steps, the final file last; a cut-off file is listed as incomplete; what others saved is not."""
    for number, name in enumerate(["my_lora-000002", "my_lora-step00000004", "my_lora-000004", "my_lora"]):
        path = write_safetensors(tmp_path / "out" / f"{name}.safetensors", cut=3 if "step" in name else 0)
        os.utime(path, (100 + number, 100 + number))
    for name in ("my_lora2.safetensors", "my_lora-extra.safetensors", "my_lora.txt", ".kt-1.safetensors"):
        write_safetensors(tmp_path / "out" / name)
    found = checkpoints(run_with(tmp_path))
    assert [(item.name, item.epoch, item.step, item.complete, item.final) for item in found] == [
        ("my_lora-000002.safetensors", 2, None, True, False),
        ("my_lora-step00000004.safetensors", None, 4, False, False),
        ("my_lora-000004.safetensors", 4, None, True, False),
        ("my_lora.safetensors", None, None, True, True),
    ]
    later = checkpoints(run_with(tmp_path, started=102), {item.path: item for item in found})
    assert [item.name for item in later] == ["my_lora-step00000004.safetensors", *[item.name for item in found[2:]]]
    assert later[1] is found[2]


def test_a_file_that_goes_while_it_is_listed_is_passed_over(tmp_path: Path) -> None:
    """The trainer removes old checkpoints and pictures while the Monitor looks."""
    folder = tmp_path / "out" / "sample"
    folder.mkdir(parents=True)
    (folder / "my_lora_e000001_00_20261122102806_1.png").symlink_to("gone.png")
    (folder / "my_lora_e000002_00_20261122102806_1.png").touch()
    assert [item.epoch for item in samples(run_with(tmp_path))] == [2]


def test_step_and_epoch_come_from_the_header_where_the_name_is_silent(tmp_path: Path) -> None:
    """The step of an epoch's file, both of the final one; a step's file lies inside an epoch; nonsense is nothing."""
    for name, epoch, steps in (("-000002", "2", "24"), ("-step00000030", "2", "30"), ("", "4", "48")):
        path = tmp_path / "out" / f"my_lora{name}.safetensors"
        write_safetensors(path, {"ss_epoch": epoch, "ss_steps": steps})
    found = {item.name: (item.epoch, item.step) for item in checkpoints(run_with(tmp_path))}
    assert found == {
        "my_lora-000002.safetensors": (2, 24),
        "my_lora-step00000030.safetensors": (None, 30),
        "my_lora.safetensors": (4, 48),
    }
    write_safetensors(tmp_path / "out" / "my_lora.safetensors", {"ss_epoch": "None", "ss_steps": "9" * 40})
    last = checkpoints(run_with(tmp_path))[-1]
    assert (last.epoch, last.step, last.complete) == (None, None, True)


def test_without_an_output_name_the_trainer_uses_words_of_its_own(tmp_path: Path) -> None:
    """epoch-000001, at-step00000002, last."""
    for name in ("epoch-000001", "at-step00000002", "last"):
        write_safetensors(tmp_path / "out" / f"{name}.safetensors")
    found = {item.name: (item.epoch, item.step, item.final) for item in checkpoints(run_with(tmp_path, None))}
    assert found == {
        "epoch-000001.safetensors": (1, None, False),
        "at-step00000002.safetensors": (None, 2, False),
        "last.safetensors": (None, None, True),
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05\0\0\0", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{}x", b"\x02\0\0\0\0\0\0\0[]", b"\x09\0\0\0\0\0\0\0{}"],
)
def test_what_is_no_whole_safetensors_is_incomplete(tmp_path: Path, data: bytes) -> None:
    """Empty, cut off, garbage, too long."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert not is_complete(path)


def test_metadata_of_a_lora_is_read_without_its_weights(tmp_path: Path) -> None:
    """All values are text; a damaged or missing file is told."""
    path = write_safetensors(tmp_path / "a.safetensors", {"ss_epoch": "3", "ss_network_dim": "32"})
    assert read_header(path) == {"ss_epoch": "3", "ss_network_dim": "32"}
    assert read_header(write_safetensors(tmp_path / "b.safetensors")) == {}
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="not a complete"):
        read_header(path)
    with pytest.raises(UserError, match="no file"):
        read_header(tmp_path / "c.safetensors")


def test_a_state_without_its_last_file_is_incomplete(tmp_path: Path) -> None:
    """random_states_0.pkl is written last."""
    for number, (name, whole) in enumerate((("my_lora-000001-state", True), ("my_lora-step00000009-state", False))):
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True)
        (folder / "train_state.json").write_text("{}")
        if whole:
            (folder / "random_states_0.pkl").write_text("x")
        os.utime(folder, (number + 100, number + 100))
    found = states(run_with(tmp_path))
    assert [(item.name, item.epoch, item.step, item.complete) for item in found] == [
        ("my_lora-000001-state", 1, None, True),
        ("my_lora-step00000009-state", None, 9, False),
    ]


def test_sample_pictures_of_the_real_trainer_are_read_from_their_names(tmp_path: Path) -> None:
    """Epoch, prompt and seed; steps and missing seeds too; in the order of training."""
    meta = json.loads((RECORDINGS / "sd15_samples" / "meta.json").read_text())
    names = [Path(path).name for path in meta["files_at_end"] if path.endswith(".png")]
    folder = tmp_path / "out" / "sample"
    folder.mkdir(parents=True)
    for name in [*reversed(names), "my_lora_000006_00_20261122102806.png", "other_e000001_00_20261122102806_1.png"]:
        (folder / name).touch()
        os.utime(folder / name, (100, 100))
    found = samples(run_with(tmp_path))
    assert [(item.epoch, item.step, item.prompt_index, item.seed) for item in found] == [
        (0, None, 0, 1),
        (0, None, 1, 2),
        (None, 6, 0, None),
        (1, None, 0, 1),
        (1, None, 1, 2),
        (2, None, 0, 1),
        (2, None, 1, 2),
    ]
    assert samples(run_with(tmp_path / "nowhere")) == ()
