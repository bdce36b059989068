"""One-file guides split into the files that sd-scripts reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.config.documents import Config
from core.config.guide import convert, default_answers, read_guide
from core.config.presets import write_config
from core.config.reading import flatten, read_toml
from core.config.schema import dataset_names, fields
from core.config.split import GuideResult
from core.problems import Severity, UserError
from core.workspace import Workspace

DATA = Path(__file__).parents[1] / "data"
GUIDE = (DATA / "guide" / "kohya-character-lora-guide.md").read_text("utf-8")
RECORDED: dict[str, Any] = json.loads((DATA / "configs" / "recorded.json").read_text("utf-8"))


@pytest.fixture
def rinni(workspace: Workspace) -> Workspace:
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"")
    return workspace


def converted(text: str, workspace: Workspace, **answers: str) -> GuideResult:
    guide = read_guide(text)
    return convert(guide, {**default_answers(guide, workspace), **answers}, None, workspace)


def train_of(result: GuideResult) -> dict[str, Any]:
    return flatten(read_toml(result.train, "train.toml"))


def test_the_guide_is_read_with_its_script_and_placeholders() -> None:
    """One TOML block, the options of train_character.sh with $MODEL_PATH filled in, two placeholders to ask for."""
    guide = read_guide(GUIDE)
    assert len(guide.toml) == 1
    assert guide.script == "train_network.py"
    assert dict(guide.options)["pretrained_model_name_or_path"] == (
        "./models/checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
    )
    assert dict(guide.options)["enable_bucket"] == ()
    assert set(guide.placeholders) == {"/path/to/kohya_ss", "character_name"}


def test_placeholders_have_likely_answers(rinni: Workspace) -> None:
    """The workspace for the path, the only dataset for the name."""
    assert default_answers(read_guide(GUIDE), rinni) == {
        "/path/to/kohya_ss": str(rinni.root),
        "character_name": "rinni",
    }


def test_the_guide_becomes_three_files_that_kohya_reads(rinni: Workspace) -> None:
    """Every value of the guide and of its script, each in the file where the trainer looks for it."""
    result = converted(GUIDE, rinni)
    assert result.name == "rinni"
    assert read_toml(result.dataset, "dataset.toml") == {
        "general": {
            "enable_bucket": True,
            "keep_tokens": 0,
            "min_bucket_reso": 256,
            "max_bucket_reso": 1024,
            "bucket_reso_steps": 64,
        },
        "datasets": [
            {
                "resolution": 768,
                "batch_size": 1,
                "subsets": [
                    {"image_dir": "train_data/rinni/10_rinni", "caption_extension": ".txt", "num_repeats": 10},
                ],
            }
        ],
    }
    assert train_of(result) == {
        "pretrained_model_name_or_path": "models/checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
        "dataset_config": "configs/rinni/dataset.toml",
        "sample_prompts": "configs/rinni/prompts.txt",
        "logging_dir": "logs",
        "network_module": "networks.lora",
        "network_dim": 128,
        "network_alpha": 64,
        "learning_rate": 1e-4,
        "lr_scheduler": "cosine_with_restarts",
        "lr_warmup_steps": 0,
        "lr_scheduler_num_cycles": 1,
        "max_train_epochs": 10,
        "save_every_n_epochs": 2,
        "save_model_as": "safetensors",
        "save_last_n_epochs": 3,
        "clip_skip": 2,
        "prior_loss_weight": 1.0,
        "max_token_length": 225,
        "xformers": True,
        "max_data_loader_n_workers": 0,
        "persistent_data_loader_workers": False,
        "seed": 42,
        "mixed_precision": "fp16",
        "sample_every_n_epochs": 1,
        "output_name": "rinni_lora",
        "save_precision": "fp16",
    }
    assert "rinni, 1girl, solo, looking at viewer --w 768 --h 768 --d 42" in result.prompts
    assert "network_dim = 128  # 32-128 for characters" in result.train


def test_every_key_is_one_that_the_trainer_takes(rinni: Workspace) -> None:
    """Nothing in train.toml that train_network.py would ignore, nothing in dataset.toml that it would refuse."""
    result = converted(GUIDE, rinni)
    assert train_of(result).keys() <= fields().keys()
    data = read_toml(result.dataset, "dataset.toml")
    assert data["general"].keys() <= dataset_names("general")
    assert data["datasets"][0].keys() <= dataset_names("datasets") | {"subsets"}
    assert data["datasets"][0]["subsets"][0].keys() <= dataset_names("subsets")


def test_every_move_is_told_with_its_reason(rinni: Workspace) -> None:
    """What stands elsewhere than in the guide, and why: the list that the command prints."""
    moved = {move.key: move for move in converted(GUIDE, rinni).moved}
    assert "dataset file only" in moved["[[datasets]]"].why
    assert "mean nothing" in moved["[network_args]"].why
    assert "too" in moved["enable_bucket"].why
    assert moved["min_bucket_reso"].from_ == "script --min_bucket_reso"
    assert moved["min_bucket_reso"].to == "dataset.toml"
    assert moved["keep_tokens"].to == "dataset.toml"
    assert moved["sample_prompts"].to == "prompts.txt"
    assert "1.0" in moved["prior_loss_weight"].why
    assert "relative to the workspace" in moved["image_dir"].why
    assert moved["output_dir"].to == ""
    assert "overwrites" in moved["output_dir"].why
    assert all(move.why for move in moved.values())


def test_xformers_stays_with_a_warning(rinni: Workspace) -> None:
    """It may not be installed, and sdpa does the same."""
    problems = converted(GUIDE, rinni).problems
    assert [(problem.severity, problem.code) for problem in problems] == [(Severity.WARNING, "KT403")]


def test_an_open_placeholder_is_a_problem(workspace: Workspace) -> None:
    """Without an answer the files would name folders that nobody has."""
    problems = convert(read_guide(GUIDE), {}, "x", workspace).problems
    assert [problem.where for problem in problems if problem.code == "KT240"] == ["character_name"]


def test_the_result_equals_the_split_that_the_real_trainer_ran(workspace: Workspace) -> None:
    """The recorded guide, which fails as it was written, becomes what was recorded to train to the end."""
    written, fixed = RECORDED["guide_as_written"], RECORDED["guide_fixed"]
    script = "python train_network.py " + " ".join(f"'{word}'" for word in written["argv"][2:])
    text = f"```toml\n{written['guide.toml']}\n```\n```bash\n{script}\n```\n"
    result = convert(read_guide(text), {}, "guide_fixed", workspace)
    ours, theirs = train_of(result), flatten(read_toml(fixed["train.toml"], "train.toml"))
    changed_by_hand = {"max_train_epochs", "mixed_precision", "sdpa", "xformers", "cache_latents"}
    paths = {"dataset_config", "sample_prompts", "output_dir", "logging_dir"}
    keys = (ours.keys() | theirs.keys()) - changed_by_hand - paths
    assert {key: ours.get(key) for key in keys} == {key: theirs.get(key) for key in keys}
    data, wanted = read_toml(result.dataset, "ours"), read_toml(fixed["dataset.toml"], "theirs")
    sizes = {"min_bucket_reso", "max_bucket_reso", "resolution"}
    assert {key: value for key, value in data["general"].items() if key not in sizes} == {
        key: value for key, value in wanted["general"].items() if key not in sizes
    }
    assert data["datasets"][0]["subsets"] == wanted["datasets"][0]["subsets"]
    assert "character_name, 1girl, solo, looking at viewer" in result.prompts


def test_the_toml_block_alone_is_enough(rinni: Workspace) -> None:
    """Pasted without the Markdown around it, with CRLF and a byte order mark."""
    block = read_guide(GUIDE).toml[0].text
    result = converted("\ufeff" + block.replace("\n", "\r\n"), rinni)
    assert read_toml(result.dataset, "dataset.toml")["datasets"][0]["resolution"] == 768
    assert train_of(result)["network_dim"] == 128
    assert "pretrained_model_name_or_path" not in train_of(result)


def test_a_script_alone_is_enough(rinni: Workspace) -> None:
    """A command line with everything on it; accelerate in front, abbreviated options, lists."""
    script = """
    export BASE=models/sdxl.safetensors
    accelerate launch --num_cpu_threads_per_process 1 sd-scripts/sdxl_train_network.py \\
      --pretrained_model_name_or_path "${BASE}" --train_data_dir train_data/rinni --resolution 1024,1024 \\
      --network_module networks.lora --network_di 16 --network_args "conv_dim=4" "conv_alpha=1" \\
      --train_batch_size 2 --caption_extension .txt --cache_text_encoder_outputs --optimizer_args weight_decay=0.1
    """
    result = converted(script, rinni)
    train = train_of(result)
    assert train["pretrained_model_name_or_path"] == "models/sdxl.safetensors"
    assert train["network_dim"] == 16
    assert train["network_args"] == ["conv_dim=4", "conv_alpha=1"]
    assert train["cache_text_encoder_outputs"] is True
    assert "# script: sdxl_train_network.py" in result.train
    data = read_toml(result.dataset, "dataset.toml")
    assert data["datasets"][0]["subsets"] == [
        {"image_dir": "train_data/rinni/10_rinni", "num_repeats": 10, "class_tokens": "rinni"}
    ]
    assert data["datasets"][0]["resolution"] == [1024, 1024]
    assert data["datasets"][0]["batch_size"] == 2
    assert "train_data_dir" not in train


def test_tables_become_lists_and_slips_are_named(rinni: Workspace) -> None:
    """[network_args] conv_dim = 4 does nothing as it stands; a misspelled key gets its name."""
    text = """
    [network_args]
    network_module = "networks.lora"
    conv_dim = 4
    [optimizer_args]
    weight_decay = 0.1
    [training_args]
    netwrok_dim = 8
    max_train_epochs = 3
    [[datasets]]
    resolution = 512
      [[datasets.subsets]]
      image_dir = "train_data/rinni/10_rinni"
    """
    result = converted(text, rinni)
    train = train_of(result)
    assert train["network_args"] == ["conv_dim=4"]
    assert train["optimizer_args"] == ["weight_decay=0.1"]
    assert train["netwrok_dim"] == 8
    slips = [problem for problem in result.problems if problem.code == "KT202"]
    assert [problem.hint for problem in slips] == ["Did you mean network_dim?"]


def test_the_script_wins_over_the_toml(rinni: Workspace) -> None:
    """As the trainer's parser has it, and it is said."""
    text = (
        "```toml\nnetwork_dim = 4\nseed = 1\nlearning_rate = 1e-3\n```\n```sh\npython train_network.py --seed 2\n```\n"
    )
    result = converted(text, rinni)
    assert train_of(result)["seed"] == 2
    assert any(move.key == "seed" and "wins" in move.why for move in result.moved)


def test_a_toml_error_is_placed(rinni: Workspace) -> None:
    """The line in the block, and the line on which the block begins."""
    with pytest.raises(UserError, match=r"TOML block from line 4, line 2"):
        read_guide("# Guide\n\n```toml\nseed = 1\nsdpa = True\n```\n")
    with pytest.raises(UserError, match="No settings"):
        read_guide("# Nothing here\n```python\nprint(1)\n```\n")


def test_what_was_converted_can_be_saved_and_read(rinni: Workspace) -> None:
    """The three files lie in configs/rinni; a second import does not overwrite them."""
    result = converted(GUIDE, rinni)
    write_config(rinni, result.name, result.train, result.dataset, result.prompts)
    config = Config.load(rinni.configs / "rinni")
    assert not config.broken
    assert config.get("dataset", "num_repeats") == 10
    with pytest.raises(UserError, match="already"):
        write_config(rinni, result.name, result.train, result.dataset, result.prompts)
