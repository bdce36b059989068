"""Base models: what a header tells, and files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from core.config.base_models import SCRIPTS, USUAL, inspect, list_models
from core.config.presets import draft, write_new
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_architecture_is_known_from_the_header(architecture: str, tmp_path: Path) -> None:
    """Names of tensors, and one shape, are enough."""
    found = inspect(checkpoint(tmp_path / "m.safetensors", SHAPES[architecture]))
    assert found.architecture == architecture
    assert found.precision == "fp16"
    assert found.problem is None


def test_v_prediction_is_seen(tmp_path: Path) -> None:
    """By the key that NoobAI's files carry, or by their metadata; else SDXL is epsilon and flow models are flow."""
    marked = checkpoint(tmp_path / "a.safetensors", {**SHAPES["SDXL"], "v_pred": [1]}, "BF16")
    said = checkpoint(tmp_path / "b.safetensors", SHAPES["SDXL"], **{"modelspec.prediction_type": "v"})
    plain = checkpoint(tmp_path / "c.safetensors", SHAPES["SDXL"])
    flux = checkpoint(tmp_path / "d.safetensors", SHAPES["FLUX.1"], "F8_E4M3")
    assert [inspect(path).prediction for path in (marked, said, plain, flux)] == ["v", "v", "epsilon", "flow"]
    assert inspect(marked).precision == "bf16"
    assert inspect(flux).precision == "fp8"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty or cut off"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (struct.pack("<Q", 1 << 40) + b"{}", "damaged"),
        (struct.pack("<Q", 2) + b"[]", "damaged"),
        (struct.pack("<Q", 3) + b"{{{", "damaged"),
    ],
)
def test_a_damaged_file_says_so(content: bytes, said: str, tmp_path: Path) -> None:
    """What was downloaded is often not what was wanted; the list says it and goes on."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert said in (inspect(path).problem or "")


def test_a_download_that_was_cut_off_is_seen(tmp_path: Path) -> None:
    """The header is whole, the weights are not."""
    path = checkpoint(tmp_path / "m.safetensors", SHAPES["SD1.5"])
    path.write_bytes(path.read_bytes()[:-100])
    assert "100 bytes are missing" in (inspect(path).problem or "")


def test_models_are_found_in_folders_and_behind_links(workspace: Workspace, tmp_path: Path) -> None:
    """Below models/ in any depth, through links, in natural order; a link in a circle does no harm."""
    checkpoint(workspace.models / "checkpoints" / "a10.safetensors", SHAPES["SD1.5"])
    checkpoint(workspace.models / "checkpoints" / "a9.safetensors", SHAPES["SDXL"])
    checkpoint(tmp_path / "elsewhere" / "x.safetensors", SHAPES["SD2"])
    (workspace.models / "link").symlink_to(tmp_path / "elsewhere")
    (workspace.models / "circle").symlink_to(workspace.models)
    (workspace.models / "old.ckpt").write_bytes(b"pickle")
    found = list_models(workspace)
    assert [model.path.name for model in found] == ["a9.safetensors", "a10.safetensors", "x.safetensors", "old.ckpt"]
    assert [model.architecture for model in found] == ["SDXL", "SD1.5", "SD2", None]
    assert found[0].as_json(workspace)["script"] == "sdxl_train_network.py"


def test_a_new_config_takes_the_model_that_fits(workspace: Workspace) -> None:
    """The first base model of the preset's architecture, not a v-prediction one for the eps preset."""
    checkpoint(workspace.models / "a-vpred.safetensors", {**SHAPES["SDXL"], "v_pred": [1]})
    checkpoint(workspace.models / "b.safetensors", SHAPES["SDXL"])
    checkpoint(workspace.models / "c.safetensors", SHAPES["SD1.5"])
    assert write_new(draft(workspace, "x", "sdxl-character")).effective()["pretrained_model_name_or_path"] == (
        "models/b.safetensors"
    )
    assert write_new(draft(workspace, "y")).effective()["pretrained_model_name_or_path"] == "models/c.safetensors"


def test_the_usual_models_can_be_trained() -> None:
    """Each has a repository, a file and a script."""
    assert all(model.architecture in SCRIPTS and model.repo.count("/") == 1 for model in USUAL)
