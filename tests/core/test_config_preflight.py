"""The preflight: every check with a config that trips it, and configs that ran to success without a false alarm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.check_machine import LiveRun
from core.config.documents import Config, FileName
from core.config.fixes import fix
from core.config.guide import convert, default_answers, read_guide
from core.config.preflight import check, check_dataset
from core.config.presets import draft
from core.config.resolved import resolve
from core.hardware import GpuReading, GpuSnapshot
from core.problems import Problem, Severity
from core.settings import Settings
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint, picture

DATA = Path(__file__).parents[1] / "data"
RECORDED: dict[str, Any] = json.loads((DATA / "configs" / "recorded.json").read_text("utf-8"))
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
MODEL = "models/sd15.safetensors"


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    """Thirty captioned pictures of rinni and a base model."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    for number in range(30):
        picture(folder / f"{number}.png", 768, 768)
        (folder / f"{number}.txt").write_text(f"rinni, 1girl, solo, tag {number}\n")
    checkpoint(workspace.root / MODEL, SHAPES["SD1.5"])
    return workspace


def good(workspace: Workspace, preset: str = "sd15-character", **overrides: Any) -> Config:
    return draft(workspace, "rinni", preset, "rinni", overrides)


def found(config: Config, workspace: Workspace, **more: Any) -> list[Problem]:
    settings = more.pop("settings", Settings())
    return check(config, workspace, settings, **more)


def with_mistake(config: Config, values: dict[str, Any]) -> None:
    """The values written raw, as somebody could; None leaves the key out."""
    lines = [line for line in config.text("train").splitlines() if line.split(" = ")[0] not in values]
    added = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    config.set_text("train", "\n".join([*added, *lines]) + "\n")


def one(problems: list[Problem], code: str) -> Problem:
    matching = [problem for problem in problems if problem.code == code]
    assert matching, [f"{problem.code} {problem.where} {problem.message}" for problem in problems]
    return matching[0]


def test_the_preset_has_no_problem(ready: Workspace) -> None:
    """A config made here for a captioned dataset and a model that is there: nothing to complain about."""
    assert found(good(ready), ready) == []


TRAIN_CASES: list[tuple[str, Severity, dict[str, Any], str]] = [
    ("KT202", WARNING, {"netwrok_dim": 4}, "network_dim"),
    ("KT202", WARNING, {"nois_offset": 0.05}, "noise_offset"),
    ("KT225", WARNING, {"num_repeats": 4}, "dataset.toml"),
    ("KT203", ERROR, {"mixed_precision": "fp32"}, "no, fp16, bf16"),
    ("KT203", ERROR, {"learning_rate": "1e-4"}, "number"),
    ("KT203", ERROR, {"max_train_epochs": "10"}, "whole number"),
    ("KT203", ERROR, {"network_dim": 4.5}, "whole number"),
    ("KT203", ERROR, {"sdpa": "false"}, "true or false"),
    ("KT203", WARNING, {"sdpa": 1}, "true or false"),
    ("KT203", INFO, {"max_token_length": 75}, "Remove"),
    ("KT203", ERROR, {"resolution": 512}, "text"),
    ("KT216", ERROR, {"network_args": "conv_dim=4"}, "list"),
    ("KT216", ERROR, {"network_args": ["conv_dim"]}, "key=value"),
    ("KT216", ERROR, {"optimizer_args": ["betas=a b"]}, "Python"),
    ("KT305", WARNING, {"network_args": ["conv_dm=4"]}, "conv_dim"),
    ("KT217", ERROR, {"network_module": None}, "networks.lora"),
    ("KT232", WARNING, {"network_alpha": None}, "64"),
    ("KT246", WARNING, {"network_alpha": 320}, "by 2.5"),
    ("KT246", WARNING, {"network_dim": None, "network_alpha": 8}, "network_alpha = 4"),
    ("KT228", WARNING, {"max_train_epochs": None}, "1600"),
    ("KT213", ERROR, {"persistent_data_loader_workers": True}, "max_data_loader_n_workers"),
    ("KT220", ERROR, {"adaptive_noise_scale": 0.1}, "noise_offset"),
    ("KT220", ERROR, {"scale_v_pred_loss_like_noise_pred": True}, "v_parameterization"),
    ("KT220", ERROR, {"v_pred_like_loss": 0.1, "v_parameterization": True}, "Remove"),
    ("KT307", WARNING, {"zero_terminal_snr": True}, "v_parameterization"),
    ("KT241", ERROR, {"full_bf16": True}, "bf16"),
    ("KT241", ERROR, {"fp8_base": True, "mixed_precision": "no"}, "mixed_precision"),
    ("KT242", ERROR, {"network_train_unet_only": True, "network_train_text_encoder_only": True}, "one"),
    ("KT226", WARNING, {"lr_warmup_steps": 100.0}, "100"),
    ("KT231", WARNING, {"optimizer_type": "Prodigy"}, "1.0"),
    ("KT243", ERROR, {"lr_scheduler": "adafactor:1e-3"}, "Adafactor"),
    ("KT301", INFO, {"sample_every_n_steps": 100}, "epochs"),
    ("KT309", INFO, {"max_train_steps": 100}, "epochs"),
    ("KT302", WARNING, {"train_data_dir": "train_data"}, "dataset"),
    ("KT303", INFO, {"keep_tokens": 3}, "dataset.toml"),
    ("KT312", INFO, {"lr_scheduler": "constant"}, "cosine_with_restarts"),
    ("KT206", ERROR, {"pretrained_model_name_or_path": None}, MODEL),
    ("KT206", ERROR, {"pretrained_model_name_or_path": "models/x/sd15.safetensors"}, MODEL),
    ("KT206", ERROR, {"pretrained_model_name_or_path": "models/sd_xl_base_1.0.safetensors"}, "models base download"),
    ("KT206", WARNING, {"pretrained_model_name_or_path": "org/name"}, "Hugging Face"),
    ("KT206", ERROR, {"network_weights": "a.safetensors"}, "relative"),
    ("KT234", ERROR, {"v2": True}, "v2"),
    ("KT224", WARNING, {"v_parameterization": True}, "Remove"),
    ("KT204", WARNING, {"sample_prompts": "rinni, 1girl, solo"}, "prompts.txt"),
    ("KT403", WARNING, {"xformers": True}, "sdpa"),
    ("KT404", WARNING, {"optimizer_type": "AdamW8bit"}, "bitsandbytes"),
    ("KT320", WARNING, {"save_last_n_epochs": 3}, "Remove"),
    ("KT401", ERROR, {"network_dim": 100_000_000}, "Free"),
]


@pytest.mark.parametrize(("code", "severity", "values", "words"), TRAIN_CASES)
def test_a_mistake_in_train_toml_is_named(
    code: str, severity: Severity, values: dict[str, Any], words: str, ready: Workspace
) -> None:
    """The code, how much it weighs, the key, and a remedy that helps."""
    config = good(ready)
    with_mistake(config, values)
    problem = one(found(config, ready), code)
    assert problem.severity is severity
    assert words in f"{problem.message} {problem.hint}"
    assert problem.where


@pytest.mark.parametrize(("code", "severity", "values", "words"), TRAIN_CASES)
def test_a_fix_that_is_offered_helps(
    code: str, severity: Severity, values: dict[str, Any], words: str, ready: Workspace
) -> None:
    """`F` in the app: the problem is gone afterwards and no error is new; what is not safe is not offered."""
    config = good(ready)
    with_mistake(config, values)
    before = found(config, ready)
    problem = one(before, code)
    changed = fix(config, ready, problem)
    assert changed is problem.fixable
    if changed:
        after = found(config, ready)
        assert problem not in after
        assert [each for each in after if each.severity is ERROR and each not in before] == []


def test_an_alpha_above_dim_says_what_it_multiplies_by(ready: Workspace) -> None:
    """The scale in numbers; `F` makes it 1. Alpha up to dim is no matter, nor is 0, nor what OFT calls alpha."""
    config = good(ready, network_dim=32, network_alpha=64)
    problem = one(found(config, ready), "KT246")
    assert (problem.where, problem.message) == (
        "configs/rinni/train.toml: network_alpha",
        "64 with dim 32 multiplies what is learnt by 2",
    )
    assert problem.hint == "Set network_alpha = 32 for a scale of 1; 16 is usual."
    assert fix(config, ready, problem) and config.get("train", "network_alpha") == 32
    for values in ({}, {"network_alpha": 0}, {"network_alpha": 64, "network_module": "networks.oft"}):
        with_mistake(config, values)
        assert "KT246" not in {each.code for each in found(config, ready)}


DATASET_CASES: list[tuple[str, Severity, str, str, str]] = [
    ("KT208", ERROR, "num_repeats = 10", "num_repeat = 10", "num_repeats"),
    ("KT208", ERROR, "[general]", "[training_args]\nseed = 1\n[general]", "train.toml"),
    ("KT208", ERROR, 'image_dir = "train_data/rinni/10_rinni"', "", "image_dir"),
    ("KT208", ERROR, "batch_size = 1", "image_dir = 'x'", "subsets"),
    ("KT209", ERROR, "num_repeats = 10", "num_repeats = 2.0", "whole number"),
    ("KT209", ERROR, "batch_size = 1", "validation_split = 0", "0.0"),
    ("KT209", ERROR, "keep_tokens = 1 ", 'keep_tokens = "1" ', "whole number"),
    ("KT210", ERROR, "resolution = 768", "", "resolution"),
    ("KT211", ERROR, "resolution = 768", "resolution = 192", "min_bucket_reso"),
    ("KT211", ERROR, "max_bucket_reso = 1024", "max_bucket_reso = 512", "768"),
    ("KT212", ERROR, "bucket_reso_steps = 64", "bucket_reso_steps = 48", "64"),
    ("KT207", ERROR, "[[datasets", "#[[datasets", "no [[datasets]]"),
    ("KT120", WARNING, "10_rinni", "10_nobody", "relative"),
    ("KT207", ERROR, "10_rinni", "10_nobody", "exit code 0"),
    ("KT121", WARNING, "train_data/rinni/10_rinni", "train_data/rinni", "10_rinni"),
    ("KT130", WARNING, "num_repeats = 10", "num_repeats = 0", "1 or more"),
    ("KT123", WARNING, 'caption_extension = ".txt"', "", ".txt"),
    ("KT131", WARNING, "keep_tokens = 1 ", "keep_tokens = 0 ", "keep_tokens = 1"),
    ("KT218", ERROR, "shuffle_caption = true", "color_aug = true", "cache_latents"),
    ("KT306", WARNING, "shuffle_caption = true", 'keep_tokens_separator = "|||"', "shuffle_caption"),
    ("KT310", WARNING, "shuffle_caption = true", 'caption_prefix = "rinni"', "comma"),
    ("KT304", INFO, "max_bucket_reso = 1024", "max_bucket_reso = 1536\nbucket_no_upscale = true", "ignored"),
    ("KT314", WARNING, "shuffle_caption = true", 'caption_separator = ";"', "comma"),
    ("KT214", ERROR, "shuffle_caption = true", "face_crop_aug_range = [1, 2.5]", "one kind"),
]


@pytest.mark.parametrize(("code", "severity", "old", "new", "words"), DATASET_CASES)
def test_a_mistake_in_dataset_toml_is_named(
    code: str, severity: Severity, old: str, new: str, words: str, ready: Workspace
) -> None:
    """What the trainer's strict schema refuses is an error; what it would train otherwise is a warning."""
    config = good(ready)
    assert old in config.text("dataset")
    config.set_text("dataset", config.text("dataset").replace(old, new))
    problem = one([each for each in found(config, ready) if each.severity is severity], code)
    text = config.text("dataset")
    assert fix(config, ready, problem) is problem.fixable
    if problem.fixable:
        assert problem not in found(config, ready)
    else:
        assert config.text("dataset") == text
    assert words in f"{problem.where} {problem.message} {problem.hint}"


def test_one_folder_named_twice(ready: Workspace) -> None:
    """The trainer drops the second one."""
    config = good(ready)
    block = config.text("dataset").partition("  [[datasets.subsets]]")
    config.set_text("dataset", "".join(block) + "\n" + block[1] + block[2])
    assert one(found(config, ready), "KT129").severity is WARNING


CAPTION_CASES: list[tuple[str, Severity, Callable[[Path], object], str]] = [
    ("KT122", WARNING, lambda folder: (folder / "3.txt").unlink(), "3.png"),
    ("KT124", ERROR, lambda folder: (folder / "3.txt").write_bytes(b""), "3.txt"),
    ("KT125", WARNING, lambda folder: (folder / "3.txt").write_text("\nrinni, solo\n"), "3.txt"),
    ("KT126", ERROR, lambda folder: (folder / "3.txt").write_bytes(b"caf\xe9"), "UTF-8"),
    ("KT127", WARNING, lambda folder: (folder / "3.txt").write_bytes(b"\xef\xbb\xbfrinni"), "BOM"),
    ("KT128", WARNING, lambda folder: (folder / "3.txt").write_text("rinni\nsecond\n"), "enable_wildcard"),
    ("KT118", WARNING, lambda folder: (folder / "3.txt").write_text("rinni, " + "a, " * 200), "225"),
    ("KT106", WARNING, lambda folder: picture(folder / "3.jpg", 64, 64), "pair"),
    ("KT107", WARNING, lambda folder: picture(folder / "x.Png", 64, 64), "x.Png"),
    ("KT108", WARNING, lambda folder: (folder / "x.gif").write_bytes(b"GIF89a"), "x.gif"),
    ("KT133", ERROR, lambda folder: (folder / "x.png").write_bytes(b""), "x.png"),
]


@pytest.mark.parametrize(("code", "severity", "change", "words"), CAPTION_CASES)
def test_a_fault_in_the_folder_is_named(
    code: str, severity: Severity, change: Callable[[Path], object], words: str, ready: Workspace
) -> None:
    """Files that the trainer stops at are errors; those that it reads otherwise than meant are warnings."""
    change(ready.train_data / "rinni" / "10_rinni")
    problem = one(found(good(ready), ready), code)
    assert problem.severity is severity
    assert words in f"{problem.where} {problem.message} {problem.hint}"


def test_an_old_cache_is_seen(ready: Workspace) -> None:
    """The picture was changed after its latents were cached: the trainer would train the old one."""
    folder = ready.train_data / "rinni" / "10_rinni"
    cache = folder / "3_0768x0768_sd.npz"
    cache.write_bytes(b"")
    os.utime(cache, (1, 1))
    problems = found(good(ready, cache_latents_to_disk=True), ready)
    assert "3_0768x0768_sd.npz" in one(problems, "KT136").message
    assert not [problem for problem in found(good(ready), ready) if problem.code == "KT136"]


def test_large_pictures_need_buckets_or_a_cache(ready: Workspace) -> None:
    """Without either, the trainer stops at the first picture that is larger than the resolution."""
    config = good(ready, cache_latents=False, enable_bucket=False, resolution=512)
    assert one(found(config, ready), "KT236").severity is ERROR
    config.set("train", "cache_latents", True)
    assert not [problem for problem in found(config, ready) if problem.code == "KT236"]


def test_the_trigger_word_of_the_settings_is_looked_for(ready: Workspace) -> None:
    """As a tag: rinnifer is not rinni."""
    (ready.train_data / "rinni" / "10_rinni" / "3.txt").write_text("rinnifer, solo")
    problem = one(found(good(ready), ready, settings=Settings(trigger="Rinni")), "KT134")
    assert "1 caption" in problem.message and "3.txt" in problem.message


def test_files_that_cannot_be_read(ready: Workspace) -> None:
    """A TOML error with its line, a byte order mark, a missing file: errors, and the other checks still run."""
    config = good(ready)
    config.save()
    train = config.path("train")
    text = train.read_text()
    train.write_text("seed = \n")
    assert "line 1" in one(found(Config.load(config.folder), ready), "KT201").message
    train.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert one(found(Config.load(config.folder), ready), "KT215").severity is ERROR
    train.unlink()
    assert one(found(Config.load(config.folder), ready), "KT201").severity is ERROR


def test_one_key_in_two_sections(ready: Workspace) -> None:
    """The last one wins, whatever its section is called."""
    config = good(ready)
    config.set_text("train", config.text("train") + "\n[more]\nnetwork_dim = 8\n")
    assert "8 of [more] wins over 128" in one(found(config, ready), "KT230").message


def test_datasets_in_the_training_config(ready: Workspace) -> None:
    """The guides' one file: the trainer ignores them there."""
    config = good(ready)
    config.set_text("train", config.text("train") + "\n[[datasets]]\nresolution = 512\n")
    assert one(found(config, ready), "KT225").severity is WARNING


def test_sampling_without_prompts(ready: Workspace) -> None:
    """The trainer dies at the first sampling, after an epoch; own prompts in prompts.txt are enough for a run here."""
    config = good(ready, sample_prompts=None)
    assert found(config, ready) == []
    config.prompts = "# nothing\n"
    assert one(found(config, ready), "KT205").severity is ERROR


def test_the_model_must_fit(ready: Workspace) -> None:
    """A LoRA, a damaged file, a v-prediction model without its flag, SDXL with clip_skip."""
    config = good(ready)
    path = ready.root / MODEL
    checkpoint(path, SHAPES["LoRA"])
    assert "is a LoRA" in one(found(config, ready), "KT222").message
    path.write_bytes(b"<html>")
    assert one(found(config, ready), "KT206").severity is ERROR
    checkpoint(path, {**SHAPES["SDXL"], "v_pred": [1]})
    problems = found(config, ready)
    assert one(problems, "KT224").severity is WARNING
    assert one(problems, "KT311").severity is INFO
    assert "sdxl_train_network.py" in one(problems, "KT222").message


def test_cached_text_encoder_outputs(ready: Workspace) -> None:
    """They cannot go with shuffling, nor with training the text encoder."""
    checkpoint(ready.root / MODEL, SHAPES["SDXL"])
    config = good(ready, "sdxl-character", cache_text_encoder_outputs=True)
    problems = [problem for problem in found(config, ready) if problem.code == "KT219"]
    assert [problem.severity for problem in problems] == [ERROR, ERROR]
    config.set("train", "network_train_unet_only", True)
    config.set("dataset", "shuffle_caption", False)
    assert not [problem for problem in found(config, ready) if problem.code == "KT219"]


def test_packages_are_looked_for_in_the_trainers_python(ready: Workspace, tmp_path: Path) -> None:
    """Known to be missing is an error, known to be there is nothing, not knowable is a warning."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    (packages / "torch").mkdir(parents=True)
    settings = Settings(sd_python=tmp_path / "venv" / "bin" / "python")
    config = good(ready, xformers=True, optimizer_type="AdamW8bit")
    assert one(found(config, ready, settings=settings), "KT403").severity is ERROR
    assert one(found(config, ready, settings=settings), "KT404").severity is ERROR
    for name in ("xformers", "bitsandbytes"):
        (packages / name).mkdir()
    assert found(config, ready, settings=settings) == []


def test_sdxl_has_its_own_traps(ready: Workspace) -> None:
    """Black pictures in fp16, and samples of 512 pixels that look broken."""
    checkpoint(ready.root / MODEL, SHAPES["SDXL"])
    config = good(ready, "sdxl-character", no_half_vae=False, mixed_precision="fp16")
    config.prompts = "rinni, 1girl\n"
    problems = found(config, ready)
    assert one(problems, "KT244").severity is WARNING
    assert one(problems, "KT315").where == "configs/rinni/prompts.txt: line 1"
    assert one(problems, "KT316").severity is INFO
    assert fix(config, ready, one(problems, "KT244"))
    assert not [problem for problem in found(config, ready) if problem.code == "KT244"]


def test_files_that_would_be_overwritten(ready: Workspace) -> None:
    """The trainer asks nobody; without output_dir every run has its own folder."""
    (ready.output / "mine").mkdir()
    (ready.output / "mine" / "rinni.safetensors").write_bytes(b"")
    assert one(found(good(ready, output_dir="output/mine"), ready), "KT402").severity is WARNING
    assert found(good(ready), ready) == []


def test_the_machine(ready: Workspace) -> None:
    """Another run, no GPU, a GPU without bf16."""
    same, other = LiveRun("20260101-rinni", "rinni"), LiveRun("20260101-mika", "mika")
    assert one(found(good(ready), ready, live_runs=(same,)), "KT409").severity is WARNING
    assert one(found(good(ready), ready, live_runs=(other,)), "KT405").severity is WARNING
    assert one(found(good(ready), ready, gpus=GpuReading(message="no driver")), "KT406").severity is WARNING
    old = GpuReading(gpus=(GpuSnapshot(0, name="NVIDIA GeForce RTX 2080 Ti"),))
    assert one(found(good(ready, mixed_precision="bf16"), ready, gpus=old), "KT408").severity is WARNING
    new = GpuReading(gpus=(GpuSnapshot(0, name="NVIDIA GeForce RTX 4090"),))
    assert found(good(ready, mixed_precision="bf16"), ready, gpus=new) == []


TRAINED = [name for name, row in RECORDED.items() if row["returncode"] <= 0 and "train.toml" in row]
"""Recordings that trained to the end, or until a signal ended them."""
NOT_SHIPPED = {"KT206", "KT120", "KT121", "KT207", "KT204"}
NO_PICTURES = "sd15_no_data"


def recorded(name: str, workspace: Workspace) -> Config:
    row = RECORDED[name]
    texts: dict[FileName, str] = {
        "train": row["train.toml"],
        "dataset": row.get("dataset.toml", ""),
        "prompts": row.get("prompts.txt", ""),
    }
    return Config(workspace.configs / name, texts)


@pytest.mark.parametrize("name", TRAINED)
def test_no_false_alarm_for_what_the_real_trainer_ran(name: str, workspace: Workspace) -> None:
    """Configs that the trainer took give no error but for the files that are not here."""
    problems = check(recorded(name, workspace), workspace, Settings())
    assert [problem for problem in problems if problem.severity is ERROR and problem.code not in NOT_SHIPPED] == []


@pytest.mark.parametrize("name", [name for name in TRAINED if name != NO_PICTURES])
def test_no_false_alarm_with_the_pictures_in_place(name: str, workspace: Workspace) -> None:
    """The same with captioned pictures of the trained size where the config looks for them: only models are missing."""
    config = recorded(name, workspace)
    for dataset in resolve(config, workspace):
        width, height = dataset.resolution or (64, 64)
        for subset in dataset.subsets:
            assert subset.folder is not None
            for number in range(6):
                picture(subset.folder / f"{number}.png", width, height)
                caption = subset.folder / f"{number}{subset.values['caption_extension']}"
                caption.write_text("a red circle")
    errors = [problem for problem in check(config, workspace, Settings()) if problem.severity is ERROR]
    assert {problem.code for problem in errors} <= {"KT206"}


def test_every_recording_is_looked_at() -> None:
    """None is forgotten: a config that ran is in the list, whatever ended it but the trainer itself."""
    assert len(TRAINED) >= 30 and {"guide_fixed", "sd15_ok_pty", "sd15_sigterm"} <= set(TRAINED)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("sd15_bad_precision", "KT203"),
        ("sd15_network_args_str", "KT216"),
        ("sd15_persistent_workers0", "KT213"),
        ("sd15_model_missing", "KT206"),
    ],
)
def test_what_the_real_trainer_died_of_is_an_error(name: str, code: str, workspace: Workspace) -> None:
    """Recorded failures are refused before the start."""
    texts: dict[FileName, str] = {
        "train": RECORDED[name]["train.toml"],
        "dataset": RECORDED[name]["dataset.toml"],
    }
    assert one(check(Config(workspace.configs / name, texts), workspace, Settings()), code).severity is ERROR


def test_the_guide_is_told_what_is_left_to_do(ready: Workspace) -> None:
    """After the import: the base model to fetch, xformers, the checkpoint that would be deleted; nothing else."""
    guide = read_guide((DATA / "guide" / "kohya-character-lora-guide.md").read_text("utf-8"))
    result = convert(guide, default_answers(guide, ready), None, ready)
    config = Config(
        ready.configs / result.name, {"train": result.train, "dataset": result.dataset, "prompts": result.prompts}
    )
    assert [(problem.code, problem.severity) for problem in found(config, ready)] == [
        ("KT206", ERROR),
        ("KT403", WARNING),
        ("KT320", WARNING),
    ]


def test_a_dataset_is_checked_without_a_config(ready: Workspace) -> None:
    """Names, captions, tokens; a missing trigger when it is asked for."""
    assert check_dataset(ready, "rinni") == []
    (ready.train_data / "rinni" / "10_rinni" / "3.txt").write_bytes(b"")
    assert [problem.code for problem in check_dataset(ready, "rinni", "rinni")] == ["KT124"]
    (ready.train_data / "empty").mkdir()
    assert [problem.code for problem in check_dataset(ready, "empty")] == ["KT121"]
