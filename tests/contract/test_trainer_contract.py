"""What a trainer prints, writes and returns: the same for the recordings, the demo trainer and a real sd-scripts."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from core.runs.diagnose import find_cause
from core.runs.progress import PHASES

Observe = Callable[[str], Any]

UNET_TAGS = {"loss/current", "loss/average", "loss/epoch_average", "lr/unet", "lr/group0"}


def finished(seen: Any) -> bool:
    """Whether it looks like a run that went to its end."""
    return seen.returncode == 0 and "model saved." in seen.log and "my_lora.safetensors" in seen.stdout


def no_traceback(seen: Any) -> bool:
    """Whether nothing was raised."""
    return "Traceback (most recent call last)" not in seen.stderr


def test_the_real_trainer_is_among_them(has_real_trainer: bool) -> None:
    """With sd-scripts at hand, every test below runs on it too."""
    if not has_real_trainer:
        pytest.skip("KOHYA_TUI_SD_SCRIPTS, KOHYA_TUI_SD_PYTHON and KOHYA_TUI_SD_MODEL point at no real trainer")


# A run that goes well


def test_a_run_ends_with_model_saved_and_the_file(observe: Observe) -> None:
    """Status 0, `saving checkpoint: …/my_lora.safetensors`, `model saved.`, and the file is there."""
    seen = observe("plain")
    assert finished(seen)
    assert no_traceback(seen)
    assert re.search(r"\nsaving checkpoint: \S+/out/my_lora\.safetensors\n", seen.stdout)
    assert "my_lora.safetensors" in seen.files


@pytest.mark.parametrize("case", ["plain", "long", "nan", "resume", "samples", "both_networks"])
def test_the_bar_shows_the_average_loss_of_every_step(observe: Observe, case: str) -> None:
    """`avr_loss` in the bar is loss/average of the events file, in three digits, for each step."""
    seen = observe(case)
    reader, _ = seen.progress()
    average = {step: f"{value:.3g}" for step, value in seen.scalars["loss/average"]}
    shown = {step: f"{float(text):.3g}" for step, text in reader.loss_texts.items()}
    assert shown == average


@pytest.mark.parametrize(
    ("case", "steps", "total"),
    [("plain", 6, 6), ("long", 300, 300), ("samples", 12, 12), ("resume", 12, 24), ("resume_within_epoch", 12, 24)],
)
def test_the_bar_counts_to_its_end(observe: Observe, case: str, steps: int, total: int) -> None:
    """The bar starts at 0 and its last state is the last step; a resumed run stops in the middle of it."""
    seen = observe(case)
    assert f"| 0/{total} [00:00<?, ?it/s]" in seen.bars[0]
    assert seen.last_step == (steps, total)
    assert [step for step, _ in seen.scalars["loss/current"]] == list(range(1, steps + 1))


def test_phases_come_in_order(observe: Observe) -> None:
    """The log leads from the data over the model and the network to training, saving and the end."""
    _, phases = observe("plain").progress()
    preparing = [phase for phase in phases if PHASES.index(phase) <= PHASES.index("training")]
    assert preparing == ["starting", "dataset", "model", "caching", "network", "training"]
    assert phases[-1] == "done"


def test_startup_lines_come_in_order(observe: Observe) -> None:
    """What a reader of the log waits for, one after the other."""
    wanted = (
        "Loading settings from",
        "Using v1 tokenizer",
        "Loading dataset config from",
        "prepare images.",
        "get image size from name of cache files",
        "contains 6 image files",
        "read caption: 100%",
        "6 train images with repeats.",
        "0 reg images with repeats.",
        "no regularization images",
        "[Dataset 0]",
        "[Subset 0 of Dataset 0]",
        "[Prepare dataset 0]",
        "loading image sizes.",
        "prepare dataset",
        "preparing accelerator",
        "loading model for process 0/1",
        "load StableDiffusion checkpoint",
        "loading u-net: <All keys matched successfully>",
        "loading text encoder: <All keys matched successfully>",
        "Enable SDPA for U-Net",
        "caching latents...",
        "create LoRA network. base dim (rank): 4, alpha: 2",
        "enable LoRA for U-Net:",
        "use AdamW optimizer | {}",
        "unet dtype:",
        "steps: 0%",
        "epoch is incremented. current_epoch: 0, epoch: 1",
    )
    log = observe("plain").log
    places = [log.find(text) for text in wanted]
    assert -1 not in places, wanted[places.index(-1)]
    assert places == sorted(places)


def test_totals_stand_on_stdout(observe: Observe) -> None:
    """The block `running training` with the numbers, then each epoch between blank lines."""
    seen = observe("long")
    out = seen.stdout
    assert (
        "override steps. steps for 10 epochs is / 指定エポックまでのステップ数: 300\nrunning training / 学習開始\n"
        in out
    )
    numbers = re.findall(
        r"^  (num [a-z]+ [a-z *]+|num epochs |gradient [a-z ]+|total [a-z ]+)/.*[:=] (\d+)$", out, re.M
    )
    assert [(name.strip(), int(value)) for name, value in numbers] == [
        ("num train images * repeats", 30),
        ("num validation images * repeats", 0),
        ("num reg images", 0),
        ("num batches per epoch", 30),
        ("num epochs", 10),
        ("gradient accumulation steps", 1),
        ("total optimization steps", 300),
    ]
    assert [int(epoch) for epoch in re.findall(r"\nepoch (\d+)/10\n\n", out)] == list(range(1, 11))


def test_buckets_are_listed(observe: Observe) -> None:
    """Which resolution has how many images, repeats counted."""
    log = observe("long").log
    assert "bucket 0: resolution (64, 64), count: 25" in log
    assert "bucket 1: resolution (128, 64), count: 5" in log


def test_scalars_have_their_names_and_steps(observe: Observe) -> None:
    """Losses and rates by step; the epoch's average by the number of the epoch."""
    scalars = observe("long").scalars
    assert set(scalars) == UNET_TAGS
    assert [step for step, _ in scalars["loss/epoch_average"]] == list(range(1, 11))
    assert {len(scalars[tag]) for tag in UNET_TAGS - {"loss/epoch_average"}} == {300}


def test_scalars_of_both_networks(observe: Observe) -> None:
    """With the text encoder trained too there are two rates."""
    scalars = observe("both_networks").scalars
    assert set(scalars) == UNET_TAGS - {"lr/group0"} | {"lr/textencoder", "lr/group1"}


def test_the_average_is_that_of_the_last_epoch(observe: Observe) -> None:
    """loss/average is the mean over as many losses as an epoch has batches."""
    scalars = observe("samples").scalars
    losses = [value for _, value in scalars["loss/current"]]
    for step, value in scalars["loss/average"]:
        window = losses[max(0, step - 6) : step]
        assert value == pytest.approx(sum(window) / len(window), rel=1e-4)


def test_the_rate_follows_its_schedule(observe: Observe) -> None:
    """cosine_with_restarts with one cycle, written down after each step."""
    for step, value in observe("plain").scalars["lr/unet"]:
        assert value == pytest.approx(1e-4 * 0.5 * (1 + math.cos(math.pi * step / 6)) if step < 6 else 0.0, abs=1e-9)


def test_without_logging_dir_there_are_no_scalars(observe: Observe) -> None:
    """Nothing for a chart but the bar, and the run still ends well."""
    seen = observe("no_logging_dir")
    assert finished(seen)
    assert seen.scalars == {}


# What is printed, in its form


def test_log_lines_are_as_wide_as_the_console(observe: Observe) -> None:
    """Time, level, message, source at the right edge: 80 columns where nothing says otherwise, 400 with COLUMNS."""
    for case, width in (("narrow", 80), ("plain", 400)):
        rows = [
            line for line in observe(case).lines if re.match(r"(?:[\d :-]{19}| {19}) (?:INFO |WARNING |ERROR )", line)
        ]
        assert len(rows) > 20
        for row in rows:
            assert sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in row) == width, row
            assert re.search(r" [\w]+\.py:\d+ *$", row), row


def test_each_step_is_drawn_with_the_old_loss_and_then_the_new(observe: Observe) -> None:
    """Two states of the bar for each step; the first one still shows the loss of the step before."""
    bars = observe("samples").bars
    second = [bar for bar in bars if " 2/12 [" in bar]
    assert len(second) in (1, 2)  # a step faster than 0.1 s is drawn once
    assert all(
        re.match(r"steps:  17%\|█▋        \| 2/12 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+(it/s|s/it), avr_loss=", bar)
        for bar in second
    )


def test_simple_log_goes_to_stdout(observe: Observe) -> None:
    """--console_log_simple: the words alone on stdout, the bars still on stderr."""
    seen = observe("simple_log")
    assert "\nprepare images.\n" in seen.stdout
    assert "model saved.\n" in seen.stdout
    assert "prepare images" not in seen.stderr
    assert seen.last_step == (6, 6)


def test_sampling_bars_nest(observe: Observe) -> None:
    """A bar below the step bar moves the cursor down and up again, also into a file."""
    assert re.search(r"\n\r  0%\|          \| 0/2 \[00:00<\?, \?it/s\]\x1b\[A", observe("samples").stderr)


# What is written


def test_checkpoints_and_states_are_named_by_epoch(observe: Observe) -> None:
    """Every second epoch a numbered file, at the end the name alone; of the states the last two and the final one."""
    seen = observe("long")
    assert {name for name in seen.files if name.endswith("safetensors") and "/" not in name} == {
        *(f"my_lora-{epoch:06}.safetensors" for epoch in (2, 4, 6, 8)),
        "my_lora.safetensors",
    }
    folders = {name.partition("/")[0] for name in seen.files if "-state/" in name}
    assert folders == {"my_lora-000006-state", "my_lora-000008-state", "my_lora-state"}
    for folder in folders:
        for name in ("train_state.json", "model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
            assert f"{folder}/{name}" in seen.files
    assert "removing old state: " in seen.log
    assert seen.states["my_lora-000006-state"] == {"current_epoch": 6, "current_step": 180}
    assert seen.states["my_lora-state"] == {"current_epoch": 10, "current_step": 300}


def test_a_state_begins_with_train_state_and_ends_with_random_states(observe: Observe) -> None:
    """The order by which an incomplete state is known."""
    log = observe("long").log
    names = (
        "train_state.json at epoch 2",
        "model.safetensors",
        "optimizer.bin",
        "scheduler.bin",
        "random_states_0.pkl",
    )
    assert re.search(".*?".join(re.escape(name.split(".")[0]) for name in names), log)


def test_a_checkpoint_tells_how_it_was_made(observe: Observe) -> None:
    """The header's keys are those of the real trainer, and its values those of this run."""
    header = observe("long").headers["my_lora-000002.safetensors"]
    wanted = {
        "ss_epoch": "2",
        "ss_steps": "60",
        "ss_num_epochs": "10",
        "ss_max_train_steps": "300",
        "ss_num_train_images": "30",
        "ss_num_batches_per_epoch": "30",
        "ss_network_dim": "4",
        "ss_network_alpha": "2",
        "ss_network_module": "networks.lora",
        "ss_learning_rate": "0.0001",
        "ss_lr_scheduler": "cosine_with_restarts",
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_seed": "42",
        "ss_output_name": "my_lora",
        "ss_base_model_version": "sd_v1",
        "ss_dataset_dirs": '{"shapes": {"n_repeats": 5, "img_count": 6}}',
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "my_lora",
    }
    assert {name: header.get(name) for name in wanted} == wanted
    assert '"character_name": 6' in header["ss_tag_frequency"]
    assert '"buckets": {"0": {"resolution": [64, 64], "count": 25}' in header["ss_datasets"]
    assert float(header["ss_training_started_at"]) < float(header["ss_training_finished_at"])


def test_every_trainer_writes_the_same_header_keys(observe: Observe, request: pytest.FixtureRequest) -> None:
    """No key is missing and none is made up."""
    recorded = _recorded_header(request)
    assert set(observe("long").headers["my_lora.safetensors"]) == recorded


def _recorded_header(request: pytest.FixtureRequest) -> set[str]:
    import json

    path = request.config.rootpath / "tests/data/recordings/sd15_long/artefacts/out/my_lora.safetensors.header.json"
    return set(json.loads(path.read_text("utf-8"))["__metadata__"])


def test_samples_are_named_by_epoch_prompt_time_and_seed(observe: Observe) -> None:
    """Before the first step and after each epoch, one picture for each prompt."""
    names = [name for name in observe("samples").files if name.startswith("sample/")]
    found = sorted(re.fullmatch(r"sample/my_lora_e(\d{6})_(\d\d)_\d{14}_(\d+)\.png", name).groups() for name in names)  # type: ignore[union-attr]
    assert found == [(f"{epoch:06}", f"{prompt:02}", f"{prompt + 1}") for epoch in range(3) for prompt in range(2)]


def test_sampling_says_what_it_draws(observe: Observe) -> None:
    """The prompt with its options."""
    log = observe("samples").log
    assert "generating sample images at step / サンプル画像生成 ステップ: 12" in log
    assert (
        "prompt: character_name, 1girl, solo, looking at viewer negative_prompt: low quality height: 64 width: 64 "
        "sample_steps: 2 scale: 7.0 sample_sampler: euler_a seed: 1"
    ) in log


def test_images_held_back_are_validated_on(observe: Observe) -> None:
    """4 images to train on, 2 held back, 4 timesteps each: bars below the step bar, scalars by step and by epoch."""
    seen = observe("validation")
    assert finished(seen)
    assert "  num train images * repeats / 学習画像の数×繰り返し回数: 4\n" in seen.stdout
    assert "  num validation images * repeats / 学習画像の数×繰り返し回数: 2\n" in seen.stdout
    assert "2 validation images with repeats." in seen.log
    assert "[Validation Dataset 0]" in seen.log
    steps = {tag: [step for step, _ in values] for tag, values in seen.scalars.items() if "validation" in tag}
    assert steps == {
        "loss/validation/step_average": [2, 4, 6, 8],
        "loss/validation/step_divergence": [2, 4, 6, 8],
        "loss/validation/epoch_average": [1, 2],
        "loss/validation/epoch_divergence": [1, 2],
    }
    assert re.search(r"validation steps: 100%\|█+\| 8/8 \[[^]]*, val_avg_loss=[\d.]+, timestep=800\]", seen.stderr)
    reader, phases = seen.progress()
    assert reader.state.step == 8
    assert "validating" in phases


# How it ends otherwise


def test_no_images_end_with_status_0(observe: Observe) -> None:
    """Only an ERROR line tells it from success."""
    seen = observe("no_data")
    assert seen.returncode == 0
    assert "No data found. Please verify arguments" in seen.log
    assert "ignore subset with image_dir=" in seen.log
    assert seen.files == frozenset()
    assert not finished(seen)


def test_an_unknown_option_ends_with_the_usage_and_status_2(observe: Observe) -> None:
    """Long usage on stderr, the reason on the last line."""
    seen = observe("bad_argument")
    assert seen.returncode == 2
    assert seen.stderr.startswith("usage: train_network.py [-h]")
    assert seen.lines[-1] == "train_network.py: error: unrecognized arguments: --netwrok_dim 8"


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("model_missing", r"OSError: Cannot load model models/nope\.safetensors"),
        ("bad_precision", r"ValueError: Unknown mixed_precision mode: fp32\. Choose between "),
        ("network_args_text", r"ValueError: not enough values to unpack \(expected 2, got 1\)"),
        ("workers_0", r"ValueError: persistent_workers option needs num_workers > 0"),
        ("too_large", r"AssertionError: image too large, but cropping and bucketing are disabled / "),
        (
            "samples_without_prompts",
            r"TypeError: stat: path should be string, bytes, os\.PathLike or integer, not NoneType",
        ),
        ("guide_as_written", r"AssertionError: resolution is required / resolution（解像度）指定は必須です"),
        ("resume_finished", r"AssertionError: max_train_steps should be greater than initial step / .*: 24 vs 24"),
    ],
)
def test_a_mistake_ends_with_a_traceback_and_status_1(observe: Observe, case: str, error: str) -> None:
    """The last exception names the reason."""
    seen = observe(case)
    assert seen.returncode == 1
    assert "Traceback (most recent call last):" in seen.stderr
    assert re.match(error, seen.last_error), seen.last_error
    assert not finished(seen)


@pytest.mark.unrecorded
def test_an_unknown_key_of_the_dataset_file_is_named_with_its_place(observe: Observe) -> None:
    """The dataset file is strict."""
    seen = observe("unknown_dataset_key")
    place = "data['datasets'][0]['subsets'][0]['num_repeat']"
    assert seen.returncode == 1
    assert seen.last_error == f"voluptuous.error.MultipleInvalid: extra keys not allowed @ {place}"


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("plain", None),
        ("no_data", "no-data"),
        ("bad_argument", "bad-option"),
        ("model_missing", "model-missing"),
        ("bad_precision", "precision"),
        ("network_args_text", "network-args"),
        ("workers_0", "workers"),
        ("too_large", "image-too-large"),
        ("samples_without_prompts", "sample-prompts"),
        ("sigterm", "signal"),
        ("sigint", "signal"),
        ("nan", "nan"),
        ("resume_finished", "resumed-finished"),
        ("guide_as_written", "resolution"),
    ],
)
def test_the_reason_is_found_in_the_output(observe: Observe, case: str, kind: str | None) -> None:
    """What our own diagnosis makes of the output and the status."""
    seen = observe(case)
    cause = find_cause(seen.stderr + seen.stdout, seen.returncode)
    assert (cause.kind if cause else None) == kind


def test_a_missing_model_is_named_in_an_error_line(observe: Observe) -> None:
    """Which file it looked for."""
    log = observe("model_missing").log
    assert "model is not found as a file or in Hugging Face, perhaps file name is wrong?" in log
    assert "models/nope.safetensors" in log


def test_after_a_late_traceback_the_bar_comes_once_more(observe: Observe) -> None:
    """The reason is not the last line of the output."""
    seen = observe("samples_without_prompts")
    assert seen.lines[-1].startswith("steps: 100%")
    assert seen.lines[-2] == seen.last_error


def test_sigterm_ends_at_once_and_saves_nothing(observe: Observe) -> None:
    """No word, no file."""
    seen = observe("sigterm")
    assert seen.returncode == -15
    assert no_traceback(seen)
    assert seen.last_step[0] >= 10
    assert seen.files == frozenset()


def test_sigint_ends_with_keyboard_interrupt_and_saves_nothing(observe: Observe) -> None:
    """A traceback, the bar once more, no file."""
    seen = observe("sigint")
    assert seen.returncode == -2
    assert seen.lines[-2] == "KeyboardInterrupt"
    assert seen.lines[-1].startswith("steps:")
    assert seen.files == frozenset()


def test_not_a_number_goes_on_to_the_end(observe: Observe) -> None:
    """A learning rate of 1e20: the loss is nan from the second step on, and the run ends as if all were well."""
    seen = observe("nan")
    assert finished(seen)
    assert "avr_loss=nan" in seen.bars[-1]
    assert not math.isnan(seen.scalars["loss/current"][0][1])
    assert all(math.isnan(value) for _, value in seen.scalars["loss/current"][1:])
    assert all(math.isnan(value) for _, value in seen.scalars["loss/average"][1:])


# Resuming


def test_a_resumed_run_counts_steps_anew_and_epochs_on(observe: Observe) -> None:
    """From the state of epoch 2 of 4: epochs 3 and 4, steps 1 to 12 of 24, checkpoints with the right epoch."""
    seen = observe("resume")
    assert finished(seen) or seen.returncode == 0
    assert re.findall(r"\nepoch (\d)/4\n", seen.stdout) == ["3", "4"]
    assert "resume training from local state: " in seen.log
    assert "All optimizer states loaded successfully" in seen.log
    state = next(value for name, value in seen.states.items() if "-000003-state" in name)
    assert state == {"current_epoch": 3, "current_step": 6}
    header = next(value for name, value in seen.headers.items() if name.endswith("-000003.safetensors"))
    assert (header["ss_epoch"], header["ss_steps"]) == ("3", "6")


def test_a_resumed_run_takes_up_the_schedule(observe: Observe) -> None:
    """The learning rate goes on where it stood after 12 of 24 steps."""
    for step, value in observe("resume").scalars["lr/unet"][:-1]:
        assert value == pytest.approx(1e-4 * 0.5 * (1 + math.cos(math.pi * (step + 12) / 24)), abs=1e-9)


def test_skipping_at_the_end_of_an_epoch_changes_nothing(observe: Observe) -> None:
    """--skip_until_initial_step at an epoch's border."""
    seen = observe("resume_skip")
    assert seen.returncode == 0
    assert "skipping 12 steps / 12ステップをスキップします" in seen.log
    assert "skipping epoch 2 because initial_step (multiplied) is 6" in seen.log
    assert seen.last_step == (12, 24)


def test_resuming_a_resumed_run_needs_the_epoch(observe: Observe) -> None:
    """With --initial_epoch 4 only the last epoch is trained."""
    seen = observe("resume_again")
    assert seen.returncode == 0
    assert "steps from the state is ignored because initial_step is specified" in seen.log
    assert re.findall(r"\nepoch (\d)/4\n", seen.stdout) == ["4"]
    assert seen.last_step == (6, 24)


def test_resuming_within_an_epoch_begins_it_again(observe: Observe) -> None:
    """Step 16 of 24, 12 an epoch: all of epoch 2 is trained."""
    seen = observe("resume_within_epoch")
    assert re.findall(r"\nepoch (\d)/2\n", seen.stdout) == ["2"]
    assert len(seen.scalars["loss/current"]) == 12


@pytest.mark.unrecorded
def test_skipping_within_an_epoch_trains_the_rest(observe: Observe) -> None:
    """8 of 20 in the bar, steps 5 to 12 in the events file, and an average that starts too low."""
    seen = observe("resume_skip_within_epoch")
    assert seen.returncode == 0
    assert seen.last_step == (8, 20)
    assert [step for step, _ in seen.scalars["loss/current"]] == list(range(5, 13))
    assert seen.scalars["loss/average"][0][1] == pytest.approx(seen.scalars["loss/current"][0][1] / 2, rel=1e-3)


@pytest.mark.unrecorded
def test_step_checkpoints_are_named_by_step(observe: Observe) -> None:
    """Every fourth step a file and a state, and both at the end."""
    seen = observe("step_states")
    files = {name for name in seen.files if "/" not in name}
    assert files == {*(f"my_lora-step{step:08}.safetensors" for step in range(4, 25, 4)), "my_lora.safetensors"}
    assert seen.states["my_lora-step00000016-state"] == {"current_epoch": 2, "current_step": 16}
    assert seen.states["my_lora-state"] == {"current_epoch": 2, "current_step": 24}
