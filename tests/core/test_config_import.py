"""Settings of other programs, and scripts, become the three files that sd-scripts reads; nothing is lost on the way."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from core.config.guide import convert
from core.config.presets import write_config
from core.config.reading import flatten
from core.config.source import read_source, read_text
from core.config.split import GuideResult
from core.problems import Severity, UserError
from core.workspace import Workspace
from tests.core.config_kit import picture

DATA = Path(__file__).parents[1] / "data" / "imports"
DATASET = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "i"\n'


@pytest.fixture
def rinni(workspace: Workspace) -> Workspace:
    """Two folders of images, named as the fixtures name them, and a model file."""
    picture(workspace.train_data / "rinni" / "10_rinni" / "a.png", 64, 64)
    picture(workspace.train_data / "other" / "5_rinni" / "a.png", 64, 64)
    workspace.models.mkdir(exist_ok=True)
    (workspace.models / "noobai.safetensors").write_bytes(b"")
    return workspace


def imported(name: str, workspace: Workspace | None = None) -> GuideResult:
    return convert(read_source(DATA / name), {}, "x", workspace)


def train_of(result: GuideResult) -> dict[str, Any]:
    return flatten(tomllib.loads(result.train))


def dataset_of(result: GuideResult) -> dict[str, Any]:
    return tomllib.loads(result.dataset)


def told(result: GuideResult) -> str:
    """Every key that the import says something about."""
    texts = [f"{move.key} {move.from_}" for move in result.moved]
    return " ".join([*texts, *(problem.where for problem in result.problems)])


# kohya_ss


def test_settings_of_kohya_ss_train_what_its_button_would(rinni: Workspace) -> None:
    """Names, percentages, epochs, the network's fields, the prompts: in sd-scripts' own words."""
    result = imported("kohya_ss.json", rinni)
    train = train_of(result)
    assert "# script: sdxl_train_network.py" in result.train
    assert train["network_module"] == "networks.lora"
    assert train["network_args"] == ["conv_dim=8", "conv_alpha=4", "rank_dropout=0.1"]
    assert train["optimizer_args"] == ["decouple=True", "weight_decay=0.01", "betas=0.9,0.99"]
    assert (train["max_train_epochs"], train["lr_warmup_steps"], train["lr_scheduler_num_cycles"]) == (12, 0.05, 12)
    assert (train["sdpa"], train["no_half_vae"], train["max_data_loader_n_workers"]) == (True, True, 0)
    assert (train["max_grad_norm"], train["zero_terminal_snr"]) == (0.0, True)  # of the additional parameters
    assert train["multires_noise_iterations"] == 6 and "noise_offset" not in train
    assert train["pretrained_model_name_or_path"] == "models/noobai.safetensors"
    assert "seed" not in train and "output_dir" not in train and "logging_dir" not in train
    dataset = dataset_of(result)
    assert dataset["datasets"][0]["resolution"] == [1024, 1024]
    assert dataset["datasets"][0]["batch_size"] == 4
    assert dataset["datasets"][0]["subsets"] == [
        {"image_dir": "train_data/rinni/10_rinni", "num_repeats": 10, "class_tokens": "rinni"}
    ]
    assert dataset["general"] == {
        "caption_dropout_rate": 0.05,
        "caption_extension": ".txt",
        "enable_bucket": True,
        "keep_tokens": 1,
        "max_bucket_reso": 2048,
        "shuffle_caption": True,
    }
    assert result.prompts.splitlines()[1] == "rinni, beach --w 832 --h 1216 --d 42"
    assert train["sample_prompts"] == "configs/x/prompts.txt"


def test_every_field_of_kohya_ss_is_answered_for(rinni: Workspace) -> None:
    """A field is in the files under its name, or stands in the list with a reason; a strange one is flagged."""
    source = json.loads((DATA / "kohya_ss.json").read_text())
    result = imported("kohya_ss.json", rinni)
    dataset = dataset_of(result)
    kept = train_of(result).keys() | dataset["general"].keys() | dataset["datasets"][0].keys()
    about = told(result)
    silent = [key for key in source if key not in kept and key not in about]
    assert silent == []
    assert train_of(result)["some_fork_option"] == "7"
    assert any(problem.code == "KT202" and "some_fork_option" in problem.where for problem in result.problems)
    assert any("--gpu 1" in move.why for move in result.moved)


def test_a_rate_of_nothing_switches_a_half_off() -> None:
    """kohya_ss trains no text encoder at a rate of 0; steps win over its epochs when both are there."""
    data = {"LoRA_type": "Standard", "unet_lr": 1e-4, "text_encoder_lr": 0, "epoch": 3, "max_train_steps": "800"}
    train = train_of(convert(read_text(json.dumps(data)), {}, "x", None))
    assert train["network_train_unet_only"] is True and "text_encoder_lr" not in train
    assert train["max_train_steps"] == 800 and "max_train_epochs" not in train


@pytest.mark.parametrize(
    ("kind", "more", "module", "args"),
    [
        ("LyCORIS/LoKr", {"factor": 8, "conv_dim": 4, "conv_alpha": 1}, "lycoris.kohya", ["algo=lokr", "factor=8"]),
        ("Kohya DyLoRA", {"unit": 4}, "networks.dylora", ["unit=4"]),
        ("Flux1", {"flux1_checkbox": True, "split_qkv": True}, "networks.lora_flux", ["split_qkv=True"]),
        ("Anima", {"anima_checkbox": True}, "networks.lora_anima", []),
    ],
)
def test_kinds_of_networks(kind: str, more: dict[str, Any], module: str, args: list[str]) -> None:
    """Each LoRA type is a module, and takes its own fields only."""
    data = {"LoRA_type": kind, "learning_rate": 1e-4, "block_dims": "1,2", **more}
    train = train_of(convert(read_text(json.dumps(data)), {}, "x", None))
    assert train["network_module"] == module
    assert set(args) <= set(train.get("network_args", []))
    assert not any("block_dims" in item for item in train.get("network_args", []) if module != "networks.dylora")


# LoRA Easy Training Scripts


def test_settings_of_easy_training_scripts(rinni: Workspace) -> None:
    """Tables become lists, its sections mean what they say, what only it has gets the nearest of sd-scripts."""
    result = imported("easy_training.toml", rinni)
    train = train_of(result)
    assert "# script: sdxl_train_network.py" in result.train
    assert train["network_module"] == "lycoris.kohya"
    assert train["network_args"] == ["algo=locon", "preset=full", "conv_dim=8", "conv_alpha=4.0", "dora_wd=True"]
    assert train["optimizer_args"] == ["weight_decay=0.04", "use_bias_correction=True"]
    assert (train["optimizer_type"], train["lr_scheduler"]) == ("came_pytorch.CAME", "cosine")
    assert (train["lr_warmup_steps"], train["output_name"]) == (0.05, "rinni_noob")
    assert train["debiased_estimation_loss"] is True
    assert "sdxl" not in train and "xformers" not in train and "lr_scheduler_type" not in train
    dataset = dataset_of(result)
    assert dataset["general"]["resolution"] == [1024, 1024] and dataset["general"]["keep_tokens_separator"] == "|||"
    first, second = dataset["datasets"][0]["subsets"]
    assert first["image_dir"] == "train_data/other/5_rinni"  # the only folder of that name here
    assert second["is_reg"] is True and "name" not in second
    codes = {problem.code for problem in result.problems}
    assert {"KT249", "KT202"} <= codes
    assert "min_lr=1e-06" in next(move.why for move in result.moved if move.key == "lr_scheduler_type")


def test_what_its_backend_gets_is_read_too() -> None:
    """[args.general_args] instead of [general_args.args]; a textual inversion is refused."""
    text = """
[args.general_args]
pretrained_model_name_or_path = "m.safetensors"
[args.network_args]
network_dim = 8
[dataset.general_args]
resolution = 768
[[dataset.subsets]]
image_dir = "a"
num_repeats = 2
"""
    result = convert(read_text(text), {}, "x", None)
    assert train_of(result)["network_dim"] == 8
    assert dataset_of(result)["datasets"][0]["subsets"] == [{"image_dir": "a", "num_repeats": 2}]
    with pytest.raises(UserError, match="textual inversion"):
        read_text('[general_args.args]\nseed = 1\n[train_mode]\ntrain_mode = "textual_inversion"\n')


# Scripts


def test_a_shell_script_is_followed(rinni: Workspace) -> None:
    """Variables, arrays, conditions, sums and here-documents; abbreviations as argparse takes them."""
    result = imported("train.sh", rinni)
    train = train_of(result)
    assert "# script: sdxl_train_network.py" in result.train
    assert train["network_alpha"] == 16.0 and train["optimizer_type"] == "AdamW8bit"
    assert train["network_args"] == ["conv_dim=8", "conv_alpha=4"]
    assert train["text_encoder_lr"] == [5e-5, 5e-5]
    assert train["output_name"] == "rinni_v1" and train["xformers"] is True
    assert train["old_option_of_a_fork"] == 3
    assert "reg_data_dir" not in train
    assert dataset_of(result)["datasets"][0]["subsets"][0]["image_dir"] == "train_data/rinni/10_rinni"
    whys = {move.key: move.why for move in result.moved}
    assert "--gpu 1" in whys["CUDA_VISIBLE_DEVICES 1"]
    assert "its own mixed_precision" in whys["mixed_precision bf16"]
    assert any(problem.code == "KT260" and "activate" in problem.message for problem in result.problems)


def test_a_name_too_short_for_the_trainer_is_an_error() -> None:
    """--network_d is network_dim or network_dropout: argparse stops; the value is kept for a person to place."""
    text = "python train_network.py --network_d=8 --max_train_ep 3 --learning_rate 1e-4"
    result = convert(read_text(text), {}, "x", None)
    assert train_of(result)["network_d"] == 8 and train_of(result)["max_train_epochs"] == 3
    ambiguous = next(problem for problem in result.problems if problem.where == "script --network_d")
    assert ambiguous.severity is Severity.ERROR and "network_dim" in ambiguous.message


def test_a_batch_file_keeps_its_backslashes(rinni: Workspace, tmp_path: Path) -> None:
    """%NAME%, ^ and %~dp0; the dataset file beside the script is taken over, and missed when it is not there."""
    alone = imported("train.bat", rinni)
    assert train_of(alone)["clip_l"] == r"D:\models\clip_l.safetensors"
    assert train_of(alone)["output_name"] == "rinni"
    assert any(problem.code == "KT207" and "dataset_flux.toml" in problem.message for problem in alone.problems)
    (tmp_path / "train.bat").write_bytes((DATA / "train.bat").read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "dataset_flux.toml").write_text(
        '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "i"\n'
    )
    beside = convert(read_source(tmp_path / "train.bat"), {}, "x", rinni)
    assert dataset_of(beside)["datasets"][0] == {"resolution": 512, "subsets": [{"image_dir": "i"}]}
    assert not any(problem.code == "KT207" for problem in beside.problems)


def test_a_powershell_script(rinni: Workspace) -> None:
    """$name, backticks, lists that conditions fill; relative paths get slashes."""
    train = train_of(imported("train.ps1", rinni))
    assert train["clip_skip"] == 2 and "lowram" not in train and "v2" not in train
    assert train["train_data_dir"] == "train/style"
    assert train["resolution"] == "512,768"


def test_a_pasted_command_line() -> None:
    """One line as it stands in a forum, with a config file that is not there."""
    text = "accelerate launch --num_processes=2 sdxl_train_network.py --config_file=my.toml --network_dim 8 # mine\n"
    result = convert(read_text(text), {}, "x", None)
    assert train_of(result)["network_dim"] == 8
    assert any(problem.code == "KT206" and "my.toml" in problem.message for problem in result.problems)
    assert any("several GPUs" in move.why for move in result.moved)


def test_files_that_a_script_names_are_found_beside_it(tmp_path: Path, workspace: Workspace) -> None:
    """config_file, its dataset_config and its prompts; the command line wins over the file."""
    (tmp_path / "train.sh").write_text("python sd-scripts/train_network.py --config_file c.toml --network_dim=8\n")
    names = 'dataset_config = "d.toml"\nsample_prompts = "p.txt"\n'
    (tmp_path / "c.toml").write_text(f'[a]\nnetwork_dim = 4\nnetwork_module = "networks.lora"\n{names}')
    (tmp_path / "d.toml").write_text(DATASET)
    (tmp_path / "p.txt").write_text("1girl --d 1\n")
    result = convert(read_source(tmp_path / "train.sh"), {}, "x", workspace)
    assert train_of(result)["network_dim"] == 8
    assert train_of(result)["dataset_config"] == "configs/x/dataset.toml"
    assert dataset_of(result)["datasets"][0]["resolution"] == 512
    assert result.prompts == "1girl --d 1\n"


def test_unknown_variables_are_asked_for(workspace: Workspace) -> None:
    """$1 and %1 are placeholders, as /path/to is; once answered they are filled in."""
    guide = read_text('train_network.py --output_name "$1" --pretrained_model_name_or_path=$MODEL --learning_rate=1e-4')
    assert set(guide.placeholders) == {"$1", "$MODEL"}
    result = convert(guide, {"$1": "rinni", "$MODEL": "models/a.safetensors"}, None, workspace)
    assert train_of(result)["output_name"] == "rinni"


# Bad files


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "nothing in it"),
        (b"{\n  'a': 1}", "line 2, column 3"),
        (b'{"a": 1}', "not what the LoRA tab of kohya_ss saves"),
        (b"[" * 5_000, "line 1"),
        (b'{"a": ' * 50_000, "nested too deeply|column"),
        (b'{"optimizer": "a", "epoch": 1, "lr_warmup": 0, "train_data_dir": "x", "save_model_as": "y"}', "whole model"),
        (b"\x00\x01\x02\x03", "no text"),
        (b"caf\xe9 = 1", r"not UTF-8 \(line 1\)"),
        (b'a = "unclosed\n', "line 1"),
        (b'python train_network.py --network_dim "8\n', 'line 1: a " is not closed'),
        (b"accelerate launch sdxl_train.py --learning_rate 1", "trains no LoRA"),
        (b"a = 1\nb = 2\n", "No settings"),
        (b" " * 5_000_001, "no settings are as long"),
    ],
    ids=range(13),
)
def test_a_bad_file_is_refused_with_its_reason(
    content: bytes, sentence: str, tmp_path: Path, workspace: Workspace
) -> None:
    """Name of the file, and the line where there is one; nothing is written."""
    path = tmp_path / "strange"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as refused:
        read_source(path)
    assert str(path) in refused.value.message
    assert workspace.config_names() == []


def test_folders_and_missing_files(tmp_path: Path) -> None:
    """Each says what it is."""
    with pytest.raises(UserError, match="is a folder"):
        read_source(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        read_source(tmp_path / "none.toml")


def test_text_as_powershell_writes_it(tmp_path: Path, workspace: Workspace) -> None:
    """UTF-16 with a mark, CRLF: `> train.toml` in PowerShell 5."""
    path = tmp_path / "config.toml"
    path.write_bytes('network_dim = 4\r\nnetwork_module = "networks.lora"\r\n'.encode("utf-16"))
    assert train_of(convert(read_source(path), {}, "x", workspace))["network_dim"] == 4


@pytest.mark.parametrize("name", ["kohya_ss.json", "easy_training.toml", "train.sh", "train.bat", "train.ps1"])
def test_what_is_imported_can_be_written_and_read(name: str, rinni: Workspace) -> None:
    """The files are TOML with keys in their places; a second import is refused, the first one stays."""
    result = convert(read_source(DATA / name), {}, "mine", rinni)
    config = write_config(rinni, result.name, result.train, result.dataset, result.prompts)
    assert not config.broken
    with pytest.raises(UserError, match="already"):
        write_config(rinni, result.name, result.train, result.dataset, result.prompts)
