"""Presets of the user's own: values of a config that worked, for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.documents import Config
from core.config.own_presets import folder, load_preset, own_names, save_preset
from core.config.presets import draft, is_composed, list_presets, write_new
from core.problems import UserError
from core.workspace import Workspace
from tests.core.cli_kit import Cli
from tests.core.config_kit import SHAPES, checkpoint

DATASET = """
[general]
caption_extension = ".txt"
shuffle_caption = true  # as always
keep_tokens = 1

[[datasets]]
resolution = 896
batch_size = 3

  [[datasets.subsets]]
  image_dir = "train_data/rinni/10_rinni"
  num_repeats = 10
  class_tokens = "rinni"
  keep_tokens = 2
"""
TRAIN = """
# script: sdxl_train_network.py
[model]
pretrained_model_name_or_path = "models/xl.safetensors"
vae = 'C:\\models\\vae.safetensors'
[rest]
dataset_config = "configs/rinni/dataset.toml"
output_dir = "/home/me/out"
output_name = "rinni"
metadata_author = "me"
huggingface_token = "hf_secret"
network_module = "lycoris.kohya"
network_dim = 24  # tried 16: too little "detail" #2
network_args = ["algo=lokr", "factor=8"]
learning_rate = 1e-4
sample_prompts = "configs/rinni/prompts.txt"
own_key = 3
"""


@pytest.fixture
def config(workspace: Workspace) -> Config:
    """A config with a path, a token and a name in it."""
    checkpoint(workspace.models / "xl.safetensors", SHAPES["SDXL"])
    texts = {"train": TRAIN, "dataset": DATASET, "prompts": "rinni, 1girl --d 1\nrinnia, solo --d 2\n"}
    return write_new(Config(workspace.configs / "rinni", texts))  # type: ignore[arg-type]


def test_values_and_their_comments_are_kept(config: Config, workspace: Workspace) -> None:
    """For another config they stand again with the reasons that somebody wrote beside them."""
    save_preset(config, "my lokr", workspace, trigger="rinni")
    assert own_names() == ["my lokr"]
    made = draft(workspace, "mika", "my lokr", trigger="mika")
    assert made.script == "sdxl_train_network.py"
    assert made.get("train", "network_args") == ["algo=lokr", "factor=8"]
    assert 'network_dim = 24  # tried 16: too little "detail" #2' in made.text("train").replace("   ", "  ")
    assert made.get("dataset", "resolution") == 896
    assert made.get("dataset", "keep_tokens") == 2  # of the first subset, as the trainer would take it
    assert made.get("train", "pretrained_model_name_or_path") == "models/xl.safetensors"
    assert made.get("train", "dataset_config") == "configs/mika/dataset.toml"
    assert made.prompts == "mika, 1girl --d 1\nrinnia, solo --d 2\n"


def test_paths_names_and_tokens_are_left_out(config: Config, workspace: Workspace) -> None:
    """A preset can be given to somebody else."""
    text = save_preset(config, "mine", workspace, trigger="rinni").read_text("utf-8")
    for secret in (
        "hf_secret",
        "/home/me",
        "vae",
        "train_data",
        "metadata",
        "own_key",
        "output_name",
        "xl.safetensors",
    ):
        assert secret not in text


def test_a_name_that_is_taken_is_not_overwritten(config: Config, workspace: Workspace) -> None:
    """Nor one of ours, nor one that is no file name."""
    save_preset(config, "mine", workspace)
    with pytest.raises(UserError, match="already"):
        save_preset(config, "mine", workspace)
    save_preset(config, "mine", workspace, force=True)
    for name in ("sdxl-character", "flux", "demo", "a/b"):
        with pytest.raises(UserError):
            save_preset(config, name, workspace, force=True)


def test_a_broken_preset_is_listed_and_said(config: Config, workspace: Workspace) -> None:
    """The others still work."""
    save_preset(config, "mine", workspace)
    (folder() / "torn.toml").write_text("a = [")
    (folder() / "strange.toml").write_text("a = 1")
    listed = {preset.name: preset for preset in list_presets() if preset.is_own}
    assert listed.keys() == {"mine", "strange", "torn"}
    assert "torn.toml" in listed["torn"].description
    with pytest.raises(UserError, match="is no preset"):
        load_preset("strange")
    with pytest.raises(UserError, match="There is no preset 'nope'"):
        draft(workspace, "x", "nope")


def test_it_has_its_own_optimizer(config: Config, workspace: Workspace) -> None:
    """--optimizer and --vram are for presets that are composed."""
    save_preset(config, "mine", workspace)
    assert not is_composed("mine")
    with pytest.raises(UserError, match="its own optimizer"):
        draft(workspace, "x", "mine", optimizer="lion")


def test_the_commands_make_and_use_one(cli: Cli) -> None:
    """save-preset, presets, new."""
    name = cli("config", "--json").json["configs"][0]["name"]
    answer = cli("config", "save-preset", "mine", "--from", name, "--json").json
    assert Path(answer["file"]).is_file()
    assert "mine" in {
        preset["name"] for preset in cli("config", "presets", "--json").json["presets"] if preset["yours"]
    }
    cli("config", "new", "next", "--preset", "mine")
    assert cli("config", "show", "next", "max_train_epochs", "--json").json["value"] == 10
    assert "already" in cli("config", "save-preset", "mine", "--from", name, code=1).err


def test_optimizer_and_memory_are_taken_by_new(cli: Cli) -> None:
    """And refused with a sentence where they are none."""
    cli("config", "new", "small", "--preset", "flux-style", "--optimizer", "adafactor", "--vram", 12, "--json")
    assert cli("config", "show", "small", "blocks_to_swap", "--json").json["value"] == 16
    assert cli("config", "show", "small", "optimizer_type", "--json").json["value"] == "Adafactor"
    assert "too few" in cli("config", "new", "tiny", "--preset", "flux-style", "--vram", 6, code=1).err
    assert "There are: AdamW8bit" in cli("config", "new", "tiny", "--optimizer", "sgdd", code=1).err
