"""The demo trainer by itself: does it really learn, and do the parts that nobody can see from outside hold?"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from core.demo.drawings import demo_images, draw, tags
from core.demo.trainer import arguments, dataset_config, model, optim, samples
from core.demo.trainer.base import write_base
from core.demo.trainer.buckets import Bucketing, adjusted_limits
from core.demo.trainer.data import Picture, shown_caption
from core.demo.trainer.dataset_config import SubsetConfig
from core.demo.trainer.events import masked_crc
from core.demo.trainer.log import clock, gauge, short
from core.demo.trainer.weights import unpack
from core.runs.artifacts import is_complete, read_header
from core.runs.events import EventFile, find_events

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
TRAIN = """
pretrained_model_name_or_path = "base.safetensors"
dataset_config = "dataset.toml"
output_dir = "out"
output_name = "rinni"
logging_dir = "logs"
network_module = "networks.lora"
network_dim = 16
network_alpha = 8
learning_rate = 1e-4
save_precision = "fp16"
seed = 1
cache_latents = true
max_data_loader_n_workers = 0
[other]
sample_prompts = "prompts.txt"
"""
DATASET = """
[general]
caption_extension = ".txt"
shuffle_caption = true
keep_tokens = 1
enable_bucket = true
[[datasets]]
resolution = 512
batch_size = 2
  [[datasets.subsets]]
  image_dir = "images"
  num_repeats = 10
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four drawings of rinni with captions, a base, and the three files of a configuration."""
    (tmp_path / "images").mkdir()
    drawn = (entry for entry in demo_images() if entry[0] == "rinni")
    for number, (_, _, spec, _) in zip(range(4), drawn, strict=False):
        draw(spec, (160, 160)).convert("RGB").save(tmp_path / "images" / f"{number}.png")
        caption = ", ".join(["rinni", *(tag.replace("_", " ") for tag in tags(spec))])
        (tmp_path / "images" / f"{number}.txt").write_text(caption)
    write_base(tmp_path / "base.safetensors")
    (tmp_path / "train.toml").write_text(TRAIN)
    (tmp_path / "dataset.toml").write_text(DATASET)
    (tmp_path / "prompts.txt").write_text("rinni, 1girl --w 128 --h 128 --d 2 --s 4 --l 7\n")
    return tmp_path


def train(folder: Path, *options: str, **environment: str) -> tuple[int, str, str]:
    """Run the trainer in `folder`; (status, stdout, stderr)."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "300"} | environment
    command = [sys.executable, "-P", "-m", "core.demo.trainer", "--config_file", "train.toml", *options]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, timeout=120, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def losses(folder: Path) -> list[float]:
    """loss/current of the newest run."""
    newest = find_events(folder / "logs")[-1]
    return [scalar.value for scalar in EventFile(newest).read() if scalar.tag == "loss/current"]


def distance(sample: Path, picture: Path) -> float:
    """Mean squared difference of two pictures, 0..1."""
    sides = [Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BOX) for path in (sample, picture)]
    first, second = (np.asarray(side, dtype=np.float64) / 255 for side in sides)
    return float(np.mean((first - second) ** 2))


# It learns


def test_loss_falls_and_samples_come_nearer_to_the_pictures(folder: Path) -> None:
    """Epoch by epoch the sample looks more like the drawing of its pose; the loss ends far below its start."""
    options = ("--max_train_epochs", "8", "--sample_every_n_epochs", "1", "--sample_at_first")
    options += ("--lr_scheduler", "cosine", "--learning_rate", "5e-4", "--network_dim", "32", "--network_alpha", "16")
    status, _, log = train(folder, *options)
    assert status == 0, log
    found = sorted((folder / "out" / "sample").iterdir())
    assert len(found) == 9
    far = [distance(path, folder / "images" / "2.png") for path in found]
    assert far[0] > far[2] > far[4] > far[8]
    assert far[8] < far[0] / 8
    values = losses(folder)
    assert len(values) == 160
    assert np.mean(values[-40:]) < 0.6 * np.mean(values[:10])


def test_rank_decides_how_much_can_be_learned(folder: Path) -> None:
    """A network of rank 1 ends with a higher loss than one of rank 16: the matrices are what they say."""
    ends = []
    for rank in ("1", "16"):
        assert train(folder, "--max_train_epochs", "4", "--network_dim", rank, "--network_alpha", rank)[0] == 0
        ends.append(np.mean(losses(folder)[-20:]))
        (header,) = [read_header(path) for path in (folder / "out").glob("rinni.safetensors")]
        assert header["ss_network_dim"] == rank
    assert ends[1] < ends[0]


def test_training_goes_on_from_network_weights(folder: Path) -> None:
    """--network_weights takes up a LoRA where it was left."""
    assert train(folder, "--max_train_epochs", "4")[0] == 0
    first = losses(folder)
    (folder / "out" / "rinni.safetensors").rename(folder / "before.safetensors")
    status, out, _ = train(folder, "--max_train_epochs", "1", "--network_weights", "before.safetensors")
    assert status == 0
    assert "load network weights from before.safetensors: 34 matrices" in out
    assert np.mean(losses(folder)[:10]) < 0.7 * np.mean(first[:10])


def test_the_same_seed_gives_the_same_run(folder: Path) -> None:
    """Losses to the last digit."""
    runs = []
    for _ in range(2):
        assert train(folder, "--max_train_epochs", "1")[0] == 0
        runs.append(losses(folder))
        for path in find_events(folder / "logs"):
            path.unlink()
    assert runs[0] == runs[1]


def test_gradients_are_those_of_the_error() -> None:
    """Moving a weight by a little changes the error as its gradient says; all four matrices."""

    class Quiet(np.random.Generator):
        def standard_normal(self, *args: object, **keywords: object) -> np.ndarray:  # type: ignore[override]
            return np.zeros(args[0], np.float32)  # type: ignore[arg-type]

    rng = np.random.default_rng(3)
    base = model.Base(rng.standard_normal((model.TILES, model.PIXELS)).astype(np.float32) * 0.1, model.make_words(1))
    network = model.make_network(3, 1.5, text_encoder=True, unet=True, seed=4)
    for name, value in network.weights.items():
        value += rng.standard_normal(value.shape).astype(np.float32) * 0.01 if name.endswith("up") else 0
    features = np.stack([base.features("rinni, smile", pose, (512, 512)) for pose in (0, 1)])
    wanted = rng.standard_normal((2, model.TILES, model.PIXELS)).astype(np.float32) * 0.3

    def loss() -> float:
        return model.learn(base, network, features, wanted, Quiet(np.random.PCG64(7)))

    loss()
    gradients = dict(network.gradients)
    for name, value in network.weights.items():
        place = np.unravel_index(np.argmax(np.abs(gradients[name])), value.shape)
        before = value[place]
        step = 1e-3
        value[place] = before + step
        above = loss()
        value[place] = before - step
        below = loss()
        value[place] = before
        assert (above - below) / (2 * step) == pytest.approx(float(gradients[name][place]), rel=0.02), name


# What it says and writes


def test_it_says_what_it_is(folder: Path) -> None:
    """One of the first lines of the log, and the header of what it saves."""
    status, _, log = train(folder, "--max_train_epochs", "1")
    assert status == 0
    assert "This is kohya-tui's demo trainer: a small stand-in for sd-scripts" in log[:1500]
    assert (
        read_header(folder / "out" / "rinni.safetensors")["modelspec.implementation_version"]
        == "kohya-tui demo trainer"
    )


def test_a_step_lasts_as_long_as_the_pace_says(folder: Path) -> None:
    """KOHYA_TUI_DEMO_STEP_SECONDS holds every step back."""
    assert train(folder, "--max_train_steps", "5", KOHYA_TUI_DEMO_STEP_SECONDS="0.05")[0] == 0
    found = EventFile(find_events(folder / "logs")[0]).read()
    times = [scalar.wall_time for scalar in found if scalar.tag == "loss/current"]
    assert len(times) == 5
    assert all(later - earlier >= 0.049 for earlier, later in pairwise(times))


def test_files_are_named_without_output_name_too(folder: Path) -> None:
    """`epoch-`, `at-step` and `last`, whole files; older ones are removed."""
    text = (folder / "train.toml").read_text().replace('output_name = "rinni"\n', "")
    (folder / "train.toml").write_text(text)
    often = ("--save_every_n_epochs", "1", "--save_every_n_steps", "10", "--save_last_n_steps", "20")
    status, out, _ = train(folder, "--max_train_epochs", "3", *often, "--save_precision", "float")
    assert status == 0
    names = sorted(path.name for path in (folder / "out").glob("*.safetensors"))
    assert names == [
        "at-step00000040.safetensors",
        "at-step00000050.safetensors",
        "at-step00000060.safetensors",
        "epoch-000001.safetensors",
        "epoch-000002.safetensors",
        "last.safetensors",
    ]
    assert all(is_complete(path) for path in (folder / "out").glob("*.safetensors"))
    assert "removing old checkpoint: out/at-step00000030.safetensors" in out


@pytest.mark.parametrize(("precision", "kind"), [("fp16", "F16"), ("bf16", "BF16"), ("float", "F32")])
def test_weights_are_saved_in_the_wanted_precision(folder: Path, precision: str, kind: str) -> None:
    """The kind stands in the file, the safetensors package reads it, and so does --network_weights."""
    assert train(folder, "--max_train_steps", "5", "--save_precision", precision)[0] == 0
    path = folder / "out" / "rinni.safetensors"
    with safe_open(str(path), framework="numpy") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - it is no dict
    assert kinds == {kind}
    tensors = unpack(path)
    assert len(tensors) == 17 * 3
    assert all(np.isfinite(value).all() for value in tensors.values())


def test_accumulated_gradients_make_fewer_steps(folder: Path) -> None:
    """20 batches with an accumulation of 8 are 3 steps an epoch."""
    status, out, _ = train(folder, "--max_train_epochs", "2", "--gradient_accumulation_steps", "8")
    assert status == 0
    assert "steps for 2 epochs is / 指定エポックまでのステップ数: 6\n" in out
    assert "gradient accumulation steps / 勾配を合計するステップ数 = 8\n" in out


def test_folders_with_repeats_can_stand_for_a_dataset_file(folder: Path) -> None:
    """--train_data_dir with `<repeats>_<name>` folders, as older guides have it."""
    (folder / "data").mkdir()
    (folder / "images").rename(folder / "data" / "3_rinni")
    text = (folder / "train.toml").read_text().replace('dataset_config = "dataset.toml"\n', "")
    (folder / "train.toml").write_text(
        text + 'train_data_dir = "data"\nresolution = "512"\ncaption_extension = ".txt"\n'
    )
    status, out, _ = train(folder, "--max_train_epochs", "1")
    assert status == 0
    assert "繰り返し回数: 12\n" in out


def test_captions_with_another_extension_are_warned_of(folder: Path) -> None:
    """The default is .caption: without it set every image is trained on with an empty caption."""
    (folder / "dataset.toml").write_text(DATASET.replace('caption_extension = ".txt"\n', ""))
    status, _, log = train(folder, "--max_train_epochs", "1")
    assert status == 0
    assert "No caption file found for 4 images." in log


def test_resuming_needs_a_state_that_fits(folder: Path) -> None:
    """A folder that is not there, and a state of another rank: said, not trained over."""
    status, _, log = train(folder, "--resume", "out/nope-state")
    assert status == 1
    assert log.splitlines()[-1] == "ValueError: Tried to find out/nope-state but folder does not exist"
    assert train(folder, "--max_train_steps", "5", "--save_state_on_train_end")[0] == 0
    status, _, log = train(folder, "--network_dim", "4", "--resume", "out/rinni-state")
    assert status == 1
    assert "RuntimeError: Error(s) in loading state_dict" in log.splitlines()[-1]


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", "AssertionError: caption file is empty"), (b"caf\xe9", "UnicodeDecodeError: 'utf-8' codec can't decode")],
)
def test_broken_captions_end_the_run(folder: Path, data: bytes, error: str) -> None:
    """An empty caption file and one that is not UTF-8."""
    (folder / "images" / "1.txt").write_bytes(data)
    status, _, log = train(folder)
    assert status == 1
    assert error in log


def test_any_safetensors_file_can_be_the_base(folder: Path) -> None:
    """A checkpoint that the demo did not write serves as well; one that is no checkpoint does not."""
    from safetensors.numpy import save_file

    save_file({"some.weight": np.zeros((2, 2), np.float32)}, str(folder / "base.safetensors"))
    assert train(folder, "--max_train_epochs", "1")[0] == 0
    (folder / "base.safetensors").write_text("nothing")
    status, _, log = train(folder)
    assert status == 1
    assert "SafetensorError" in log.splitlines()[-1]


def test_the_base_is_always_the_same(tmp_path: Path) -> None:
    """Written twice: equal bytes, below 300 kB, and its header says whose it is."""
    first, second = write_base(tmp_path / "a.safetensors"), write_base(tmp_path / "new" / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 300_000
    assert read_header(first)["modelspec.architecture"] == "kohya-tui-demo"


# The parts


def test_checksums_are_those_of_tensorboard() -> None:
    """The writer's checksum, on every record of an events file that TensorBoard wrote."""
    data = next((DATA / "recordings" / "sd15_long").rglob("events.out*")).read_bytes()
    position, count = 0, 0
    while position < len(data):
        (length, check) = struct.unpack_from("<QI", data, position)
        assert masked_crc(data[position : position + 8]) == check
        record = data[position + 12 : position + 12 + length]
        assert struct.unpack_from("<I", data, position + 12 + length)[0] == masked_crc(record)
        position += 16 + length
        count += 1
    assert count > 1000


def test_buckets_are_those_of_the_real_trainer() -> None:
    """Bucket and size of every image in the 300 real configurations."""
    compared = 0
    for line in (DATA / "steps" / "given.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["expect"]["outcome"] != "ok":
            continue
        for given, expected in zip(row["datasets"], row["expect"]["datasets"], strict=True):
            resolution = given["resolution"]
            size = (resolution, resolution) if isinstance(resolution, int) else (resolution[0], resolution[1])
            step = given.get("bucket_reso_steps", 64)
            low, high = None, None
            if given.get("enable_bucket", False):
                low, high = adjusted_limits(
                    size, given.get("min_bucket_reso", 256), given.get("max_bucket_reso", 1024), step
                )
            bucketing = Bucketing(size, low, high, step, not given.get("bucket_no_upscale", False))
            for (width, height, *_), wanted in zip(given["images"], expected["images"], strict=True):
                if wanted is not None:
                    placed = bucketing.place(width, height)
                    assert [*placed.bucket, *placed.resized] == wanted[:4], row["id"]
                    compared += 1
    assert compared > 1000


def test_command_line_wins_over_the_file_and_nothing_is_checked_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One level is flattened, unknown keys pass, the suffix may be left out, a flag cannot be taken back."""
    monkeypatch.chdir(tmp_path)
    Path("a.toml").write_text(
        '[x]\nnetwork_dim = 8\nnetwrok_dim = 4\nmixed_precision = "fp32"\nsdpa = true\n[x.deep]\nv2 = true\n'
    )
    args = arguments.parse(["--config_file", "a", "--network_di", "4", "--lr_warmup_steps", "10%"])
    assert (args.network_dim, args.netwrok_dim, args.mixed_precision, args.sdpa, args.v2) == (4, 4, "fp32", True, False)
    assert args.lr_warmup_steps == 0.1
    assert args.max_train_steps == 1600
    with pytest.raises(SystemExit, match="1"):
        arguments.parse(["--config_file", "nope"])
    with pytest.raises(SystemExit, match="2"):
        arguments.parse(["--mixed_precision", "fp32"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"network_args": {}}, "extra keys not allowed @ data['network_args']"),
        (
            {"datasets": [{"subsets": [{"num_repeats": 2}]}]},
            "required key not provided @ data['datasets'][0]['subsets'][0]['image_dir']",
        ),
        (
            {"datasets": [{"validation_split": 0, "subsets": []}]},
            "expected float for dictionary value @ data['datasets'][0]['validation_split']",
        ),
        ({"general": {"num_repeats": 2.0}}, "expected int for dictionary value @ data['general']['num_repeats']"),
    ],
)
def test_the_dataset_file_is_strict(tmp_path: Path, table: dict[str, object], message: str) -> None:
    """Names and kinds, with the place in the message."""
    path = tmp_path / "d.json"
    path.write_text(json.dumps(table))
    args = arguments.make_parser().parse_args(["--dataset_config", str(path)])
    with pytest.raises(dataset_config.MultipleInvalid) as raised:
        dataset_config.load(args)
    assert str(raised.value) == message


def test_a_setting_falls_back_from_subset_to_command_line(tmp_path: Path) -> None:
    """Subset, dataset, general, command line, default: the first that names it."""
    path = tmp_path / "d.toml"
    path.write_text(
        "[general]\nkeep_tokens = 2\nflip_aug = true\n[[datasets]]\nresolution = 256\nkeep_tokens = 3\n"
        '[[datasets.subsets]]\nimage_dir = "a"\nkeep_tokens = 4\n[[datasets.subsets]]\nimage_dir = "b"\n'
    )
    args = arguments.make_parser().parse_args(["--dataset_config", str(path), "--train_batch_size", "5"])
    (dataset,) = dataset_config.load(args)
    assert dataset.resolution == (256, 256)
    assert dataset.batch_size == 5
    assert [subset.keep_tokens for subset in dataset.subsets] == [4, 3]
    assert all(subset.flip_aug and subset.caption_extension == ".caption" for subset in dataset.subsets)


def _subset(**changes: object) -> SubsetConfig:
    args = arguments.make_parser().parse_args([])
    values: dict[str, object] = {name: getattr(args, name, None) for name in SubsetConfig.__dataclass_fields__}
    values |= {"image_dir": "x", "num_repeats": 1, "is_reg": False, "custom_attributes": {}, "image_count": 0}
    return SubsetConfig(**(values | changes))  # type: ignore[arg-type]


def test_kept_tags_stay_first_when_the_others_are_shuffled() -> None:
    """keep_tokens, and the separator that keeps at both ends."""
    picture = Picture("p", "rinni, a, b, c, d, e", _subset(shuffle_caption=True, keep_tokens=1), 1)
    shown = {shown_caption(picture, random.Random(seed), 1) for seed in range(20)}
    assert len(shown) > 5
    assert all(
        text.startswith("rinni, ") and sorted(text.split(", ")) == ["a", "b", "c", "d", "e", "rinni"] for text in shown
    )
    both = Picture("p", "k1, k2 ||| a, b ||| z", _subset(shuffle_caption=True, keep_tokens_separator="|||"), 1)
    assert {shown_caption(both, random.Random(seed), 1) for seed in range(20)} == {"k1, k2, a, b, z", "k1, k2, b, a, z"}
    dropped = Picture("p", "a, b", _subset(caption_dropout_every_n_epochs=2), 1)
    assert [shown_caption(dropped, random.Random(0), epoch) for epoch in (1, 2, 3)] == ["a, b", "", "a, b"]


def test_prompt_files_in_three_formats(tmp_path: Path) -> None:
    """Text lines with options, TOML with shared values, JSON; sizes are cut to multiples of 8."""
    text = tmp_path / "p.txt"
    text.write_text("# no\n\nrinni, smile --n bad, worse --w 515 --h 768 --d 7 --l 6.5 --s 5000 --ss euler\nmika\n")
    first, second = samples.read_prompts(str(text), "ddim")
    assert first == samples.Prompt("rinni, smile", "bad, worse", 512, 768, 1000, 6.5, 7, "euler")
    assert second == samples.Prompt("mika", None, 512, 512, 30, 7.5, None, "ddim")
    toml = tmp_path / "p.toml"
    toml.write_text(
        '[prompt]\nwidth = 256\n[[prompt.subset]]\nprompt = "a"\n[[prompt.subset]]\nprompt = "b"\nseed = 3\n'
    )
    assert [(prompt.text, prompt.width, prompt.seed) for prompt in samples.read_prompts(str(toml), None)] == [
        ("a", 256, None),
        ("b", 256, 3),
    ]
    (tmp_path / "p.json").write_text('["a --d 4", {"prompt": "b", "height": 256}]')
    prompts = samples.read_prompts(str(tmp_path / "p.json"), None)
    assert [(prompt.seed, prompt.height) for prompt in prompts] == [(4, 512), (None, 256)]
    with pytest.raises(UnboundLocalError):
        samples.read_prompts("prompts", None)


def _rates(name: str, total: int = 10, **options: object) -> list[float]:
    args = arguments.make_parser().parse_args(["--lr_scheduler", name])
    factor = optim.schedule(Namespace(**(vars(args) | options)), total)
    return [round(factor(step), 4) for step in range(total + 1)]


def test_schedules_are_those_of_diffusers() -> None:
    """The factor after each step."""
    assert _rates("constant") == [1.0] * 11
    assert _rates("linear", lr_warmup_steps=2) == [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]
    assert _rates("constant_with_warmup", lr_warmup_steps=0.4)[:6] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert _rates("cosine", 4) == [1.0, 0.8536, 0.5, 0.1464, 0.0]
    assert _rates("cosine_with_restarts", 4, lr_scheduler_num_cycles=2) == [1.0, 0.5, 1.0, 0.5, 0.0]
    assert _rates("polynomial", 4, lr_scheduler_power=2, learning_rate=1.0) == [1.0, 0.5625, 0.25, 0.0625, 0.0]
    with pytest.raises(ValueError, match="constant does not require `num_warmup_steps`"):
        _rates("constant", lr_warmup_steps=5)
    with pytest.raises(ValueError, match="'cosin' is not a valid SchedulerType"):
        _rates("cosin")


def test_numbers_look_as_tqdm_writes_them() -> None:
    """Bar, clock and loss, against tqdm's own words in the recordings."""
    assert gauge(10 / 60, 10) == "█▋        "
    assert gauge(1.0, 10) == "██████████"
    assert [clock(value) for value in (5, 198, 3723)] == ["00:05", "03:18", "1:02:03"]
    assert [short(value) for value in (1.2, 1.15432, 0.9941, float("nan"), 12345.678)] == [
        "1.2",
        "1.15",
        "0.994",
        "nan",
        "1.23e+4",
    ]
