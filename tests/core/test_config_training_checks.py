"""Checks of optimizer, schedule, network and numbers: each with what trips it, and with what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.config.documents import Config
from core.config.fixes import fix
from core.config.preflight import check
from core.problems import Problem, Severity
from core.settings import Settings
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint
from tests.core.test_config_preflight import good, one, ready, with_mistake

__all__ = ["ready"]
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
MODEL = "models/sd15.safetensors"


def found(config: Config, workspace: Workspace) -> list[Problem]:
    return check(config, workspace, Settings())


def codes(config: Config, workspace: Workspace) -> set[str]:
    return {problem.code for problem in found(config, workspace)}


CASES: list[tuple[str, Severity, dict[str, Any], str, dict[str, Any]]] = [
    ("KT252", ERROR, {"network_dim": -4}, "network of that size", {"network_dim": 4, "network_alpha": 2}),
    ("KT252", ERROR, {"network_dim": 0, "network_alpha": 0}, "is 0", {"network_dim": 1, "network_alpha": 1}),
    ("KT252", WARNING, {"network_alpha": -1}, "opposite", {"network_alpha": 0}),
    ("KT252", ERROR, {"network_dropout": 1.5}, "share", {"network_dropout": 0.1}),
    ("KT252", ERROR, {"train_batch_size": 0}, "1 or more", {"train_batch_size": 1}),
    ("KT252", ERROR, {"gradient_accumulation_steps": 0}, "1 or more", {"gradient_accumulation_steps": 2}),
    ("KT252", ERROR, {"max_train_epochs": 0}, "nothing", {"max_train_epochs": 1}),
    ("KT252", ERROR, {"max_train_epochs": None, "max_train_steps": 0}, "nothing", {"max_train_epochs": 1}),
    ("KT252", ERROR, {"learning_rate": -1e-4}, "optimizer", {"learning_rate": 1e-4}),
    ("KT252", ERROR, {"text_encoder_lr": [-1e-5]}, "optimizer", {"text_encoder_lr": [1e-5]}),
    ("KT252", ERROR, {"save_every_n_epochs": 0}, "remove", {"save_every_n_epochs": 1}),
    ("KT252", ERROR, {"save_every_n_steps": 0}, "remove", {"save_every_n_steps": 500}),
    ("KT252", WARNING, {"clip_skip": 0}, "usual", {"clip_skip": 2}),
    ("KT252", ERROR, {"seed": -1}, "random", {"seed": 0}),
    ("KT252", ERROR, {"seed": 2**32}, "numpy", {"seed": 2**32 - 1}),
    ("KT252", ERROR, {"max_timestep": 1001}, "1000", {"max_timestep": 1000}),
    (
        "KT252",
        WARNING,
        {"min_timestep": 800, "max_timestep": 200},
        "same noise",
        {"min_timestep": 200, "max_timestep": 800},
    ),
    ("KT252", ERROR, {"max_data_loader_n_workers": -1}, "torch", {"max_data_loader_n_workers": 0}),
    ("KT203", ERROR, {"resolution": "512x512"}, "768,512", {"resolution": "768"}),
    ("KT203", ERROR, {"face_crop_aug_range": "4.0,2.0"}, "smaller", {"face_crop_aug_range": "2.0,4.0"}),
    ("KT216", ERROR, {"optimizer_args": ["x=a=1"]}, "two equal", {"optimizer_args": ["weight_decay=0.1"]}),
    ("KT247", WARNING, {"conv_dim": 4}, 'network_args = ["conv_dim=4"]', {"network_args": ["conv_dim=4"]}),
    (
        "KT247",
        WARNING,
        {"betas": "(0.9, 0.99)"},
        'optimizer_args = ["betas=(0.9, 0.99)"]',
        {"optimizer_args": ["betas=(0.9, 0.99)"]},
    ),
    ("KT249", ERROR, {"lr_scheduler": "cosin"}, "Did you mean cosine?", {"lr_scheduler": "cosine"}),
    ("KT249", ERROR, {"lr_scheduler": "Cosine"}, "Did you mean cosine?", {"lr_scheduler": "linear"}),
    ("KT249", ERROR, {"lr_scheduler": "wavy"}, "constant_with_warmup", {"lr_scheduler": "inverse_sqrt"}),
    (
        "KT249",
        ERROR,
        {"lr_scheduler": "reduce_lr_on_plateau", "lr_warmup_steps": 0},
        "Use cosine",
        {"lr_scheduler": "warmup_stable_decay"},
    ),
    (
        "KT249",
        ERROR,
        {"lr_scheduler": "cosine_with_min_lr"},
        "min_lr_ratio = 0.1",
        {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1},
    ),
    (
        "KT249",
        ERROR,
        {"lr_scheduler": "piecewise_constant"},
        "step_rules",
        {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ["step_rules='1:10,0.1'"]},
    ),
    (
        "KT249",
        ERROR,
        {"lr_scheduler_type": "CosineAnnealing", "lr_warmup_steps": 0},
        "CosineAnnealingLR",
        {"lr_scheduler_type": "CosineAnnealingLR", "lr_warmup_steps": 0},
    ),
    (
        "KT250",
        ERROR,
        {"lr_scheduler": "constant", "lr_warmup_steps": 100},
        "constant_with_warmup",
        {"lr_scheduler": "constant", "lr_warmup_steps": 0},
    ),
    (
        "KT250",
        ERROR,
        {"lr_scheduler": None, "lr_warmup_steps": 0.05},
        "constant_with_warmup",
        {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 0.05},
    ),
    (
        "KT250",
        ERROR,
        {"optimizer_type": "Adafactor", "lr_warmup_steps": 100},
        "Remove lr_warmup_steps",
        {"optimizer_type": "Adafactor", "optimizer_args": ["relative_step=False"], "lr_warmup_steps": 100},
    ),
    ("KT251", ERROR, {"optimizer_type": "AdamW8bits"}, "AdamW8bit", {"optimizer_type": "adamw"}),
    ("KT251", ERROR, {"optimizer_type": "CAME"}, "package.Class", {"optimizer_type": "torch.optim.Adagrad"}),
    ("KT251", ERROR, {"optimizer_type": "adagrad"}, "Adagrad", {"optimizer_type": "Adagrad"}),
    ("KT253", ERROR, {"use_8bit_adam": True, "optimizer_type": "AdamW"}, "optimizer_type", {"optimizer_type": "AdamW"}),
    ("KT253", ERROR, {"fused_backward_pass": True}, "Adafactor", {"optimizer_type": "AdamW"}),
    ("KT253", ERROR, {"dim_from_weights": True}, "network_weights", {"dim_from_weights": False}),
    ("KT206", ERROR, {"base_weights": ["a.safetensors"]}, "relative", {"base_weights": [MODEL]}),
    ("KT206", ERROR, {"vae": "a.safetensors"}, "relative", {"vae": MODEL}),
    ("KT254", ERROR, {"network_module": "lora"}, "networks.lora", {"network_module": "my_own.lora_like"}),
    ("KT254", ERROR, {"network_module": "networks/lora.py"}, "networks.lora", {"network_module": "lycoris.kohya"}),
    ("KT252", WARNING, {"save_every_n_steps": -1}, "sign", {"save_every_n_steps": 1}),
    ("KT254", ERROR, {"network_module": "networks.lroa"}, "networks.lora", {"network_module": "networks.lora"}),
    ("KT254", ERROR, {"network_module": "networks.lora_flux"}, "networks.lora", {"network_module": "networks.dylora"}),
    ("KT259", ERROR, {"network_args": ["conv_dim=four"]}, "whole number", {"network_args": ["conv_dim=4"]}),
    (
        "KT259",
        ERROR,
        {"network_args": ["block_dims=4,4,4"]},
        "25 numbers, not 3",
        {"network_args": ["block_dims=" + ",".join(["4"] * 25)]},
    ),
    (
        "KT248",
        WARNING,
        {"optimizer_type": "Prodigy", "unet_lr": 1.0, "text_encoder_lr": 0.5},
        "same rate",
        {"optimizer_type": "Prodigy", "unet_lr": 1.0, "text_encoder_lr": 1.0},
    ),
    ("KT231", WARNING, {"learning_rate": 1.0, "unet_lr": None}, "Prodigy", {"learning_rate": 1e-4}),
    (
        "KT317",
        INFO,
        {"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "cosine"},
        "ignored",
        {"optimizer_type": "AdamWScheduleFree", "lr_scheduler": None},
    ),
]


@pytest.mark.parametrize(("code", "severity", "bad", "words", "right"), CASES)
def test_a_mistake_is_named_and_what_is_right_is_not(
    code: str, severity: Severity, bad: dict[str, Any], words: str, right: dict[str, Any], ready: Workspace
) -> None:
    """The code, its weight, a remedy; the same key with a value that works gives nothing of that code."""
    config = good(ready)
    with_mistake(config, bad)
    problem = next(each for each in found(config, ready) if each.code == code and each.severity is severity)
    assert words in f"{problem.message} {problem.hint}" and problem.where.startswith("configs/rinni/train.toml: ")
    if problem.fixable:
        assert fix(config, ready, problem)
        assert problem not in found(config, ready)
        config.text("train").encode("utf-8")
    config = good(ready)
    with_mistake(config, right)
    assert [each for each in found(config, ready) if each.code == code] == []


@pytest.mark.parametrize(
    ("old", "new", "is_bad"),
    [
        ("batch_size = 1", "batch_size = 0", True),
        ("batch_size = 1", "batch_size = 2", False),
        ("shuffle_caption = true", "caption_dropout_rate = 10.0", True),
        ("shuffle_caption = true", "caption_dropout_rate = 0.1", False),
        ("batch_size = 1", "validation_split = 1.5", True),
        ("batch_size = 1", "validation_split = 0.1", False),
    ],
)
def test_numbers_of_the_dataset_file(old: str, new: str, is_bad: bool, ready: Workspace) -> None:
    """A batch of nothing, ten for a tenth."""
    config = good(ready)
    config.set_text("dataset", config.text("dataset").replace(old, new))
    assert ("KT252" in codes(config, ready)) is is_bad


def test_what_moves_into_a_list_keeps_what_is_there(ready: Workspace) -> None:
    """`F` on a stray conv_dim: the list that was there gains an item."""
    config = good(ready, network_args=["conv_alpha=1"])
    with_mistake(config, {"conv_dim": 4})
    assert fix(config, ready, one(found(config, ready), "KT247"))
    assert config.get("train", "network_args") == ["conv_alpha=1", "conv_dim=4"]
    assert config.get("train", "conv_dim") is None


def test_a_module_is_not_judged_by_a_guessed_script(ready: Workspace) -> None:
    """While the base model is not there nobody knows which script will run."""
    config = good(ready, network_module="networks.lora_flux", pretrained_model_name_or_path="models/flux.safetensors")
    assert "KT254" not in codes(config, ready)


FLUX: dict[str, Any] = {
    "pretrained_model_name_or_path": MODEL,
    "network_module": "networks.lora_flux",
    "network_train_unet_only": True,
    "mixed_precision": "bf16",
    "cache_text_encoder_outputs": True,
}


def test_flux_needs_its_other_files_and_may_train_clip_beside_a_cache(ready: Workspace) -> None:
    """sd-scripts loads clip_l, t5xxl and ae without asking; only SDXL and Anima refuse CLIP beside cached outputs."""
    checkpoint(ready.root / MODEL, SHAPES["FLUX.1"])
    config = good(ready, **FLUX)
    config.set("dataset", "general.shuffle_caption", False)
    missing = {problem.where.split(": ")[1] for problem in found(config, ready) if problem.code == "KT256"}
    assert missing == {"clip_l", "t5xxl", "ae"}
    for key in missing:
        (ready.root / f"models/{key}.safetensors").write_bytes(b"")
        config.set("train", key, f"models/{key}.safetensors")
    config.set("train", "network_train_unet_only", None)
    assert not {"KT256", "KT254", "KT219"} & codes(config, ready)
    config.set("train", "blocks_to_swap", 18)
    assert "KT253" not in codes(config, ready)
    config.set("train", "cpu_offload_checkpointing", True)
    assert one(found(config, ready), "KT253").severity is ERROR


def test_cached_text_does_not_go_with_dropout_but_in_anima(ready: Workspace) -> None:
    """Also when only the cache on disk is asked for, which switches the other on."""
    checkpoint(ready.root / MODEL, SHAPES["SDXL"])
    config = good(ready, "sdxl-character", cache_text_encoder_outputs_to_disk=True, network_train_unet_only=True)
    config.set("dataset", "general.shuffle_caption", False)
    assert "KT219" not in codes(config, ready)
    config.set("dataset", "general.caption_dropout_rate", 0.1)
    assert one(found(config, ready), "KT219").severity is ERROR
    config.set_text("train", "# script: anima_train_network.py\n" + config.text("train"))
    assert "KT219" not in codes(config, ready)


def test_packages_of_other_optimizers_networks_and_logs(ready: Workspace, tmp_path: Path) -> None:
    """What is named as package.Class, LyCORIS and wandb are looked for as well; another's Prodigy is not prodigyopt."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    (packages / "torch").mkdir(parents=True)
    settings = Settings(sd_python=tmp_path / "venv" / "bin" / "python")
    config = good(ready, optimizer_type="pytorch_optimizer.Prodigy", network_module="lycoris.kohya", log_with="wandb")
    problems = [each for each in check(config, ready, settings) if each.code == "KT404"]
    assert {each.where.split(": ")[1] for each in problems} == {"optimizer_type", "network_module", "log_with"}
    assert all(each.severity is ERROR for each in problems)
    for name in ("pytorch_optimizer", "lycoris"):
        (packages / name).mkdir()
    (packages / "wandb.py").touch()
    assert "KT404" not in {each.code for each in check(config, ready, settings)}


def test_choices_of_the_dataset_file(ready: Workspace) -> None:
    """sd-scripts asserts the name of the interpolation."""
    config = good(ready)
    config.set("dataset", "general.resize_interpolation", "box")
    assert "KT209" not in codes(config, ready)
    config.set("dataset", "general.resize_interpolation", "lanczos")
    assert "KT209" not in codes(config, ready)
    config.set_text("dataset", config.text("dataset").replace('"lanczos"', '"lanczoss"'))
    assert "one of" in one(found(config, ready), "KT209").message


@pytest.mark.parametrize("resolution", ["0", "-64", "[64, 0]"])
def test_a_resolution_of_nothing(resolution: str, ready: Workspace) -> None:
    """Said, and nothing divides by it."""
    config = good(ready)
    config.set_text("dataset", config.text("dataset").replace("resolution = 768", f"resolution = {resolution}"))
    assert "cannot be trained" in one(found(config, ready), "KT209").message


def test_the_demo_is_not_given_advice(ready: Workspace) -> None:
    """Its pictures are few and small on purpose."""
    for path in (ready.train_data / "rinni" / "10_rinni").glob("1*.png"):
        path.unlink()
    config = good(ready)
    assert "KT150" in codes(config, ready)
    assert "KT150" not in {problem.code for problem in check(config, ready, Settings(trainer="demo"))}
