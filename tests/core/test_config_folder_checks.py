"""Checks of caches, pictures, names and the way pictures fill batches: each with what trips it, and what is right."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from core.config.documents import Config
from core.config.fixes import fix
from core.config.preflight import check
from core.problems import Problem, Severity
from core.settings import Settings
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint, picture
from tests.core.test_config_preflight import good, one, ready

__all__ = ["ready"]
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


def found(config: Config, workspace: Workspace) -> list[Problem]:
    return check(config, workspace, Settings())


def codes(config: Config, workspace: Workspace) -> set[str]:
    return {problem.code for problem in found(config, workspace)}


def folder_of(workspace: Workspace) -> Path:
    return workspace.train_data / "rinni" / "10_rinni"


def npz(path: Path) -> Path:
    """As numpy writes it: a zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("latents.npy", b"x" * 50)
    path.write_bytes(buffer.getvalue())
    return path


def test_a_damaged_cache_is_an_error(ready: Workspace) -> None:
    """The trainer dies of BadZipFile; a whole one is fine, and one of another model is not read at all."""
    config = good(ready, cache_latents_to_disk=True)
    cache = npz(folder_of(ready) / "3_0768x0768_sd.npz")
    npz(folder_of(ready) / "3_0768x0768_sdxl.npz").write_bytes(b"")
    assert found(config, ready) == []
    cache.write_bytes(cache.read_bytes()[:-30])
    assert cache.name in one(found(config, ready), "KT138").message
    config.set("train", "cache_latents_to_disk", None)
    assert found(config, ready) == []


def test_a_cache_without_the_option_still_tells_the_size(ready: Workspace) -> None:
    """sd-scripts sorts pictures by the size in the names of caches, also when it does not read them."""
    cache = npz(folder_of(ready) / "3_0512x0512_sd.npz")
    os.utime(cache, (1, 1))
    assert "by the size of an old cache" in one(found(good(ready), ready), "KT136").message
    cache.rename(cache.with_name("3_0768x0768_sd.npz"))
    assert "KT136" not in codes(good(ready), ready)


def test_a_caption_that_changed_after_its_outputs_were_cached(ready: Workspace) -> None:
    """The old text would be trained."""
    checkpoint(ready.root / "models/sd15.safetensors", SHAPES["SDXL"])
    cache = npz(folder_of(ready) / "3_te_outputs.npz")
    config = good(
        ready,
        "sdxl-character",
        cache_text_encoder_outputs=True,
        cache_text_encoder_outputs_to_disk=True,
        network_train_unet_only=True,
    )
    config.set("dataset", "general.shuffle_caption", False)
    assert not {"KT137", "KT138"} & codes(config, ready)
    os.utime(cache, (1, 1))
    assert cache.name in one(found(config, ready), "KT137").message
    config.set("train", "cache_text_encoder_outputs_to_disk", None)
    assert "KT137" not in codes(config, ready)


def turned(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (768, 768)).save(path, exif=exif)


def test_what_viewers_turn_and_the_trainer_does_not(ready: Workspace) -> None:
    """EXIF is ignored by sd-scripts."""
    path = folder_of(ready) / "x.jpg"
    path.with_suffix(".txt").write_text("rinni, x")
    turned(path, 1)
    assert found(good(ready), ready) == []
    turned(path, 6)
    problem = one(found(good(ready), ready), "KT145")
    assert "x.jpg" in problem.message and "kohya-tui upright" in (problem.hint or "")


@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_an_alpha_channel_is_a_hint(ending: str, ready: Workspace) -> None:
    """What is transparent trains as whatever lies below it; a picture without the channel says nothing."""
    path = folder_of(ready) / f"x{ending}"
    path.with_suffix(".txt").write_text("rinni, x")
    Image.new("RGB", (768, 768)).save(path)
    assert found(good(ready), ready) == []
    Image.new("RGBA", (768, 760), (9, 9, 9, 50)).save(path)
    assert one(found(good(ready), ready), "KT144").severity is INFO
    config = good(ready)
    config.set("dataset", "datasets[0].subsets[0].alpha_mask", True)
    assert "KT144" not in codes(config, ready)


NAMES: list[tuple[str, Callable[[Path], object], Callable[[Path], object]]] = [
    (
        "KT135",
        lambda folder: picture(folder / "3_1_2_3_4.png", 768, 768),
        lambda folder: (picture(folder / "3_1_2_3_4.png", 768, 768), (folder / "3_1_2_3_4.txt").write_text("rinni")),
    ),
    (
        "KT139",
        lambda folder: (folder / "3.txt").write_text("rinni ||| 1girl"),
        lambda folder: (folder / "3.txt").write_text("rinni, |_|"),
    ),
    (
        "KT139",
        lambda folder: (folder / "3.txt").write_text("rinni, {red|blue} hair"),
        lambda folder: (folder / "3.txt").write_text("rinni, {hair}"),
    ),
]


@pytest.mark.parametrize(("code", "bad", "right"), NAMES)
def test_names_and_marks(
    code: str, bad: Callable[[Path], object], right: Callable[[Path], object], ready: Workspace
) -> None:
    """Names that sd-scripts takes for cut-out faces; signs that need an option."""
    bad(folder_of(ready))
    assert one(found(good(ready), ready), code).severity is WARNING
    right(folder_of(ready))
    assert found(good(ready), ready) == []


def test_marks_with_their_options(ready: Workspace) -> None:
    """With the option they mean what was meant."""
    (folder_of(ready) / "3.txt").write_text("rinni ||| {red|blue} hair")
    config = good(ready)
    config.set("dataset", "general.keep_tokens_separator", "|||")
    config.set("dataset", "general.enable_wildcard", True)
    assert "KT139" not in codes(config, ready)


def test_a_face_crop_needs_numbers_in_the_names(ready: Workspace) -> None:
    """The last four of five parts are read as numbers then."""
    path = folder_of(ready) / "my_nice_old_cat_picture.png"
    picture(path, 768, 768)
    path.with_suffix(".txt").write_text("rinni, cat")
    config = good(ready)
    assert found(config, ready) == []
    config.set("dataset", "general.face_crop_aug_range", [2.0, 4.0])
    assert "my_nice" in one(found(config, ready), "KT146").message
    path.rename(path.with_name("cat_10_10_50_50.png"))
    assert "KT146" not in codes(config, ready)


def test_repeats_in_the_name_are_not_read_in_a_dataset_file(ready: Workspace) -> None:
    """10_rinni means ten only below train_data_dir; `F` writes it."""
    config = good(ready)
    assert "KT132" not in codes(config, ready)
    config.set_text("dataset", config.text("dataset").replace("num_repeats = 10", ""))
    problem = one(found(config, ready), "KT132")
    assert "num_repeats = 10" in (problem.hint or "")
    assert fix(config, ready, problem) and config.get("dataset", "datasets[0].subsets[0].num_repeats") == 10
    config.set("dataset", "datasets[0].subsets[0].num_repeats", 1)
    assert "KT132" not in codes(config, ready)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train_data/rinni/10_rinni", "Name its parent, train_data/rinni"),
        ("train_data", "10_rinni"),
        ("no", "no folder"),
    ],
)
def test_a_train_data_dir_without_numbered_folders(name: str, words: str, ready: Workspace) -> None:
    """sd-scripts says "No data found" and ends with exit code 0; the right folder is no error."""
    config = good(ready, train_data_dir="train_data/rinni", resolution="768", caption_extension=".txt")
    config.set_text("dataset", "")
    config.set("train", "dataset_config", None)
    assert "KT207" not in codes(config, ready)
    config.set("train", "train_data_dir", name)
    problem = one(found(config, ready), "KT207")
    assert problem.severity is ERROR and words in f"{problem.message} {problem.hint}"


def test_small_buckets_and_a_warm_up_that_never_ends(ready: Workspace) -> None:
    """A bucket with one picture and a batch of eight; more warm-up than steps."""
    path = folder_of(ready) / "wide.png"
    picture(path, 1500, 500)
    path.with_suffix(".txt").write_text("rinni, wide")
    config = good(ready)
    config.set("dataset", "datasets[0].subsets[0].num_repeats", 2)
    assert not {"KT119", "KT258"} & codes(config, ready)
    config.set_text("dataset", config.text("dataset").replace("batch_size = 1", "batch_size = 8"))
    config.set("train", "lr_warmup_steps", 100_000)
    problems = found(config, ready)
    assert "fewer pictures than a batch of 8" in one(problems, "KT119").message
    assert "never reached" in one(problems, "KT258").message


def test_a_suffix_is_joined_with_a_blank(ready: Workspace) -> None:
    """As the prefix is."""
    config = good(ready)
    config.set("dataset", "general.caption_suffix", "best quality")
    assert one(found(config, ready), "KT310").where.endswith("caption_suffix")
    config.set("dataset", "general.caption_suffix", ", best quality")
    assert "KT310" not in codes(config, ready)


def test_a_state_must_be_whole(ready: Workspace) -> None:
    """Random states are written last; a LoRA file is no state; its weights win over network_weights."""
    state = ready.output / "rinni-000002-state"
    state.mkdir(parents=True)
    (state / "train_state.json").write_text("{}")
    config = good(ready, resume="output/rinni-000002-state")
    assert "cut off" in (one(found(config, ready), "KT257").hint or "")
    (state / "random_states_0.pkl").write_bytes(b"")
    assert "KT257" not in codes(config, ready)
    lora = checkpoint(ready.output / "rinni.safetensors", SHAPES["LoRA"])
    config.set("train", "network_weights", ready.key_of(lora))
    assert one(found(config, ready), "KT318").severity is INFO
    config.set("train", "resume", ready.key_of(lora))
    assert "network_weights" in (one(found(config, ready), "KT257").hint or "")


def test_the_guides_advice_is_a_hint(ready: Workspace) -> None:
    """Few pictures, small pictures, a large network: said, and nothing is refused for it."""
    config = good(ready)
    assert not {"KT150", "KT151", "KT152"} & codes(config, ready)
    for number in range(20):
        (folder_of(ready) / f"{number}.png").unlink()
    config = good(ready, network_dim=256, network_alpha=128)
    config.set("dataset", "datasets[0].resolution", 384)
    problems = found(config, ready)
    assert {problem.severity for problem in problems if problem.code in {"KT150", "KT151", "KT152"}} == {INFO}
    assert {"KT150", "KT151", "KT152"} <= {problem.code for problem in problems}


def test_every_code_has_its_line_in_the_help() -> None:
    """`kohya-tui help problems` explains each code that the program can say, and none that it cannot."""
    root = Path(__file__).parents[2]
    said: set[str] = set()
    for room in ("core", "tui"):
        for path in (root / room).rglob("*.py"):
            said.update(re.findall(r'"(KT\d{3})"', path.read_text("utf-8")))
    explained = re.findall(
        r"^\| (KT\d{3}) \|", (root / "core" / "help" / "problems.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(explained) == sorted(said)
