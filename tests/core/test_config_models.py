"""Model files: what a header, or the list of a .ckpt, tells; a LoRA about itself; files in the wrong place."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from core.config.base_models import inspect
from core.config.documents import Config
from core.config.lora_about import about
from core.config.preflight import check
from core.problems import Problem, Severity, UserError
from core.settings import Settings
from core.workspace import Workspace
from tests.core.cli_kit import Cli
from tests.core.config_kit import SHAPES, checkpoint

PARTS: dict[str, dict[str, list[int]]] = {
    "CLIP-L": {"text_model.encoder.layers.0.self_attn.q_proj.weight": [768, 768]},
    "CLIP-G": {"text_model.encoder.layers.0.self_attn.q_proj.weight": [4, 1280]},
    "T5-XXL": {"encoder.block.0.layer.0.SelfAttention.q.weight": [4, 4096], "shared.weight": [2, 4096]},
    "ByT5": {"encoder.block.0.layer.0.SelfAttention.q.weight": [4, 1472]},
    "Gemma 2": {"model.layers.0.self_attn.q_proj.weight": [4, 2304]},
    "Qwen3": {
        "model.layers.0.self_attn.q_proj.weight": [4, 1024],
        "model.layers.0.self_attn.q_norm.weight": [128],
    },
    "Qwen2.5-VL": {"model.layers.0.self_attn.q_proj.weight": [4, 8], "visual.blocks.0.attn.qkv.weight": [4, 4]},
    "VAE": {"decoder.conv_in.weight": [4, 16], "encoder.conv_in.weight": [4, 4]},
    "LoRA": {"diffusion_model.blocks.0.attn.lora_A.weight": [8, 64]},
}


class Code:
    """What a harmful .ckpt would run when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (str(self.path),)


def ckpt(path: Path, names: list[str], *harmful: Any) -> Path:
    """A .ckpt as torch saves it: a zip with a pickle that lists the tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listing = pickle.dumps({"state_dict": dict.fromkeys(names, "HalfStorage"), "more": list(harmful)}, 2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", listing)
        archive.writestr("archive/data/0", bytes(10))
    return path


@pytest.mark.parametrize("kind", PARTS)
def test_vaes_and_text_encoders_are_told_apart(kind: str, tmp_path: Path) -> None:
    """By the names of their tensors and one width."""
    assert inspect(checkpoint(tmp_path / "m.safetensors", PARTS[kind])).architecture == kind


def test_a_ckpt_is_known_without_running_it(tmp_path: Path) -> None:
    """Names and precision from its list; the code in it is not run; an old or damaged one is not looked into."""
    attention = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    for name, extra, wanted in (
        ("a", "cond_stage_model.transformer.text_model.x", "SD1.5"),
        ("b", "cond_stage_model.model.transformer.x", "SD2"),
        ("c", "conditioner.embedders.1.model.ln_final.weight", "SDXL"),
    ):
        found = inspect(ckpt(tmp_path / f"{name}.ckpt", [attention, extra], Code(tmp_path / "ran")))
        assert (found.architecture, found.precision, found.problem) == (wanted, "fp16", None)
    assert not (tmp_path / "ran").exists()
    old = tmp_path / "old.ckpt"
    old.write_bytes(b"\x80\x02}q\x00.")
    assert "not looked into" in (inspect(old).problem or "")


@pytest.fixture
def models(workspace: Workspace) -> Workspace:
    """One file of each kind."""
    for name, shapes in {**PARTS, **{key: SHAPES[key] for key in ("SD1.5", "SDXL", "FLUX.1")}}.items():
        checkpoint(workspace.models / f"{name}.safetensors", shapes)
    return workspace


def found(workspace: Workspace, text: str, code: str) -> list[Problem]:
    config = Config(workspace.configs / "x", {"train": text})
    problems = check(config, workspace, Settings(sd_scripts=Path("sd-scripts")))
    return [problem for problem in problems if problem.code == code]


@pytest.mark.parametrize(
    ("script", "model", "right"),
    [
        ("sdxl_train_network.py", "SD1.5", "train_network.py"),
        ("train_network.py", "SDXL", "sdxl_train_network.py"),
        ("sdxl_train_network.py", "FLUX.1", "flux_train_network.py"),
    ],
)
def test_a_script_for_another_model_is_an_error(script: str, model: str, right: str, models: Workspace) -> None:
    """The right one is named; the right one itself is no problem."""
    base = f'pretrained_model_name_or_path = "models/{model}.safetensors"\n'
    (wrong,) = found(models, f"# script: {script}\n{base}", "KT222")
    assert wrong.severity is Severity.ERROR and right in wrong.message and right in (wrong.hint or "")
    assert found(models, f"# script: {right}\n{base}", "KT222") == []


def test_a_lora_is_no_base_model(models: Workspace) -> None:
    """It is said what it is."""
    (wrong,) = found(models, 'pretrained_model_name_or_path = "models/LoRA.safetensors"\n', "KT222")
    assert wrong.severity is Severity.ERROR and "is a LoRA" in wrong.message


@pytest.mark.parametrize(
    ("key", "file", "place"),
    [
        ("clip_l", "T5-XXL", "t5xxl"),
        ("t5xxl", "CLIP-L", "clip_l"),
        ("ae", "SD1.5", "pretrained_model_name_or_path"),
        ("vae", "LoRA", "network_weights"),
        ("qwen3", "Gemma 2", "gemma2"),
        ("network_weights", "VAE", "ae or vae"),
    ],
)
def test_files_in_the_wrong_option(key: str, file: str, place: str, models: Workspace) -> None:
    """What it is, and where it belongs."""
    (wrong,) = found(models, f'{key} = "models/{file}.safetensors"\n', "KT261")
    assert wrong.severity is Severity.ERROR and key in wrong.where and place in (wrong.hint or "")


def test_files_in_the_right_option(models: Workspace) -> None:
    """And a whole checkpoint as VAE, which sd-scripts takes too."""
    right = {"clip_l": "CLIP-L", "t5xxl": "T5-XXL", "ae": "VAE", "gemma2": "Gemma 2", "network_weights": "LoRA"}
    text = "".join(f'{key} = "models/{name}.safetensors"\n' for key, name in right.items())
    assert found(models, f'{text}vae = "models/SD1.5.safetensors"\n', "KT261") == []


METADATA = {
    "ss_network_module": "networks.lora",
    "ss_network_dim": "8",
    "ss_network_alpha": "4.0",
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_epoch": "8",
    "ss_num_epochs": "10",
    "ss_steps": "240",
    "ss_learning_rate": "0.0001",
    "ss_text_encoder_lr": "None",
    "ss_datasets": json.dumps(
        [{"resolution": [1024, 1024], "subsets": [{"image_dir": "10_rinni", "img_count": 6, "num_repeats": 10}]}]
    ),
    "ss_tag_frequency": json.dumps({"10_rinni": {"rinni": 6, "1girl": 5}, "2_more": {"1girl": 2}}),
}
LAYERS = {
    "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": [8, 640],
    "lora_unet_input_blocks_4_1_proj_in.lora_up.weight": [640, 8],
    "lora_unet_input_blocks_4_1_proj_in.alpha": [],
    "lora_te1_text_model_x.lora_down.weight": [8, 768],
}


def test_a_lora_tells_how_it_was_trained(tmp_path: Path) -> None:
    """Network, steps, folders, and its captions' tags over all folders."""
    found = about(checkpoint(tmp_path / "l.safetensors", LAYERS, **METADATA))
    assert (found.kind, found.base, found.dim, found.alpha) == ("LoRA", "SDXL", 8, 4.0)
    assert (found.layers, found.text_encoder_layers) == (2, 1)
    assert found.tags == (("1girl", 7), ("rinni", 6))
    document = found.as_json()
    assert document["training"]["epoch"] == "8" and document["training"]["text_encoder_lr"] is None
    assert document["datasets"][0]["resolution"] == [1024, 1024]
    text = "\n".join(found.lines())
    assert "epoch 8 of 10, step 240 of ?" in text and "10_rinni: 6 images × 10, 1024×1024" in text


def test_a_lora_without_metadata(tmp_path: Path) -> None:
    """Its tensors still tell rank and what it was made for; broken metadata does no harm."""
    found = about(checkpoint(tmp_path / "l.safetensors", LAYERS))
    assert (found.dim, found.alpha, found.tags) == (8, None, ())
    assert "stripped" in "\n".join(found.lines())
    odd = about(checkpoint(tmp_path / "m.safetensors", LAYERS, ss_datasets="[{", ss_tag_frequency="[1]", ss_epoch="x"))
    assert odd.datasets == () and odd.lines()


def test_what_is_no_lora_is_refused(tmp_path: Path) -> None:
    """A base model, a cut-off file, none at all."""
    with pytest.raises(UserError, match="is SDXL, no LoRA"):
        about(checkpoint(tmp_path / "base.safetensors", SHAPES["SDXL"]))
    cut = checkpoint(tmp_path / "cut.safetensors", LAYERS)
    cut.write_bytes(cut.read_bytes()[:-4])
    with pytest.raises(UserError, match="cut off"):
        about(cut)
    with pytest.raises(UserError, match="There is no file"):
        about(tmp_path / "none.safetensors")


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    """In words and as JSON; a wrong file is exit status 1."""
    path = checkpoint(tmp_path / "l.safetensors", LAYERS, **METADATA)
    assert "LoRA for SDXL" in cli("lora", str(path)).out
    assert cli("lora", str(path), "--json").json["network"]["dim"] == 8
    assert "There is no file" in cli("lora", str(tmp_path / "x"), code=1).err
