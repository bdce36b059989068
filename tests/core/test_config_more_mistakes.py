"""Mistakes that were tried with the real sd-scripts 48d368fa, up to where it loads its model, and what is said here."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.documents import Config
from core.config.fixes import fix
from core.config.preflight import check
from core.problems import Problem, Severity
from core.settings import Settings
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint, picture

TRAIN = """
network_module = "networks.lora"
network_dim = 8
network_alpha = 4
learning_rate = 1e-4
max_train_epochs = 2
pretrained_model_name_or_path = "m.safetensors"
"""
DATASET = """
[general]
caption_extension = ".txt"
[[datasets]]
resolution = 512
enable_bucket = true
  [[datasets.subsets]]
  image_dir = "img"
  num_repeats = 2
"""


@pytest.fixture
def trained(workspace: Workspace) -> Workspace:
    """Four pictures with captions and a model."""
    for number in range(4):
        picture(workspace.root / "img" / f"{number}.png", 512, 640)
        (workspace.root / "img" / f"{number}.txt").write_text("a, b")
    checkpoint(workspace.root / "m.safetensors", SHAPES["SD1.5"])
    return workspace


def errors(
    workspace: Workspace, train: str = "", old: str = "", new: str = "", dataset: str = DATASET
) -> list[Problem]:
    config = Config(workspace.configs / "x", {"train": TRAIN + train, "dataset": dataset.replace(old, new, 1)})
    problems = check(config, workspace, Settings(sd_scripts=Path("sd")))
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def test_the_base_has_no_error(trained: Workspace) -> None:
    """What follows differs from this in one thing each."""
    assert errors(trained) == []


@pytest.mark.parametrize(
    ("train", "old", "new", "code"),
    [
        ("", "num_repeats = 2", 'num_repeats = 2\nconditioning_data_dir = "masks"', "KT208"),
        ("", "num_repeats = 2", 'num_repeats = 2\nmetadata_file = "none.json"', "KT206"),
        ("", "num_repeats = 2", "num_repeats = 2\nface_crop_aug_range = [1, 2]", "KT209"),
        ("", "[[datasets.subsets]]", "[datasets.subsets]", "KT208"),
        ("", "enable_bucket = true", "enable_bucket = true\nvalidation_split = 1.0", "KT207"),
        ("", "enable_bucket = true", "enable_bucket = true\nvalidation_split = 2.0", "KT207"),
        ("debug_dataset = true\n", "", "", "KT262"),
    ],
)
def test_what_stops_the_trainer_is_an_error(train: str, old: str, new: str, code: str, trained: Workspace) -> None:
    """Each stopped the real one, or made it end without training."""
    assert code in {problem.code for problem in errors(trained, train, old, new)}


@pytest.mark.parametrize(
    ("train", "old", "new"),
    [
        ("masked_loss = true\n", "num_repeats = 2", 'num_repeats = 2\nconditioning_data_dir = "masks"'),
        ("", "num_repeats = 2", "num_repeats = 2\nface_crop_aug_range = [1.0, 2.0]"),
        ("max_token_length = 300\n", "", ""),
        ("", "num_repeats = 2", 'num_repeats = 2\nsecondary_separator = ";;;"\nenable_wildcard = true'),
        ("", "num_repeats = 2", 'num_repeats = 2\nkeep_tokens_separator = ""'),
        ("noise_offset = 0.05\nmultires_noise_iterations = 6\n", "", ""),
        ("sample_every_n_epochs = 0\n", "", ""),
        ("cache_latents = true\n", "num_repeats = 2", "num_repeats = 2\nalpha_mask = true"),
    ],
)
def test_what_the_trainer_takes_is_no_error(train: str, old: str, new: str, trained: Workspace) -> None:
    """Odd, and taken by the real one: a false alarm would be a bug."""
    assert errors(trained, train, old, new) == []


def test_a_dataset_file_in_json(trained: Workspace) -> None:
    """sd-scripts reads it, so it counts here."""
    subset = '{"image_dir": "img", "caption_extension": ".txt"}'
    text = f'{{"datasets": [{{"resolution": 512, "enable_bucket": true, "subsets": [{subset}]}}]}}'
    (trained.root / "d.json").write_text(text)
    assert errors(trained, 'dataset_config = "d.json"\n', dataset="") == []
    (trained.root / "d.json").write_text(text.replace("image_dir", "image_dri"))
    assert "KT208" in {problem.code for problem in errors(trained, 'dataset_config = "d.json"\n', dataset="")}


def test_debugging_is_switched_off_by_its_fix(trained: Workspace) -> None:
    """F removes it."""
    config = Config(trained.configs / "x", {"train": f"{TRAIN}debug_dataset = true\n", "dataset": DATASET})
    problem = next(each for each in check(config, trained, Settings()) if each.code == "KT262")
    assert fix(config, trained, problem)
    assert config.get("train", "debug_dataset") is None
