"""Which field of the form a problem is about."""

from __future__ import annotations

from core.config.presets import draft, write_new
from core.problems import Problem, Severity
from core.workspace import Workspace
from tests.tui.kit import make_dataset
from tui.screens.config_form import PROMPTS, key_of


def test_a_problem_finds_its_field(workspace: Workspace) -> None:
    """By the file and the key in it, whatever the config is called; a caption's folder leads to image_dir."""
    make_dataset(workspace, captions={"rinni_0.png": "rinni, 1girl"})
    config = write_new(draft(workspace, "rinni", "demo", "rinni"))

    def field(where: str) -> str | None:
        return key_of(config, Problem(Severity.ERROR, "KT999", where, "is wrong"))

    assert field("configs/rinni/train.toml: network_dim") == "network_dim"
    assert field("configs/a: b/dataset.toml: datasets[0].subsets[0].num_repeats") == "num_repeats"
    assert field("configs/rinni/prompts.txt: line 2") == PROMPTS
    assert field("train_data/rinni/10_rinni") == "image_dir"
    assert field("configs/rinni/train.toml") is None and field("sd-scripts") is None
