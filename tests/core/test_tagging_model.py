"""From pixels to scores: preprocessing, models on disk, sessions, pipeline."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.problems import UserError
from core.settings import Settings
from core.tagging.descriptors import WD
from core.tagging.models import TaggerModel, find_model, list_models
from core.tagging.preprocess import load_image, prepare
from core.tagging.session import TaggerSession, open_session
from core.workspace import Workspace

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
GOOD, BAD = GOLDENS / "images" / "good", GOLDENS / "images" / "bad"
PREPARED = json.loads((GOLDENS / "prepared_sha256.json").read_text("utf-8"))


def test_prepared_pixels_equal_opencvs() -> None:
    """The input of the model is sd-scripts' input, byte for byte, with no OpenCV installed."""
    with np.load(GOLDENS / "preprocessed_examples.npz") as examples:
        for name in examples.files:
            ours = prepare(load_image(GOOD / name), WD, 448)
            assert np.array_equal(ours, examples[name]), name


@pytest.mark.parametrize("name", PREPARED)
def test_every_picture_is_prepared_to_the_same_bytes(name: str) -> None:
    """All seventy kinds of pictures (modes, sizes, ratios, transparencies) hash to what sd-scripts fed its model."""
    pixels = prepare(load_image(GOOD / name, clip_16_bit=True), WD, 448)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PREPARED[name]["sha256"]


def test_sixteen_bits_are_scaled_unless_sd_scripts_is_imitated() -> None:
    """A 16-bit grey picture keeps its greys; sd-scripts sees it almost white."""
    path = GOOD / "i16_gray.png"
    assert np.asarray(load_image(path)).mean() < 200
    assert np.asarray(load_image(path, clip_16_bit=True)).mean() > 250


def test_transparency_is_white_and_rotation_is_not_applied(tmp_path: Path) -> None:
    """What is transparent is white for the model; EXIF rotation is left to the trainer, which ignores it, too."""
    assert prepare(load_image(GOOD / "rgba_fully_transparent.png"), WD, 448).min() == 255
    assert load_image(GOOD / "exif_orient6.jpg").size == Image.open(GOOD / "exif_orient6.jpg").size


def test_huge_pictures_are_read_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture above the strip limit gives the same pixels as one read at once."""
    from core.tagging import area, preprocess

    images = [load_image(GOOD / name) for name in ("larger_1800x1200.jpg", "icc_srgb.jpg", "wide_8to1.png")]
    at_once = [prepare(image, WD, 448) for image in images]
    monkeypatch.setattr(preprocess, "_LARGE", 1000)
    monkeypatch.setattr(area, "TIE_PIXELS", 50_000)
    assert all(np.array_equal(prepare(image, WD, 448), whole) for image, whole in zip(images, at_once, strict=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zero.png", "is empty"),
        ("text.png", "is not an image"),
        ("html.jpg", "is not an image"),
        ("truncated.jpg", "is damaged"),
        ("crc_error.png", "is damaged"),
        ("bomb_huge.png", "larger than 178 million pixels"),
        ("nothing.png", "does not exist"),
    ],
)
def test_unreadable_images_are_told_apart(name: str, message: str) -> None:
    """One sentence that names the file and what is wrong with it, and what helps."""
    with pytest.raises(UserError, match=message) as caught:
        load_image(BAD / name)
    assert name in caught.value.message and caught.value.hint


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path


def test_models_of_sd_scripts_are_adopted(here: Path, workspace: Workspace) -> None:
    """A wd14_tagger_model folder beside the checkout, in the workspace or here is used without a download."""
    name = "SmilingWolf/wd-v1-4-convnext-tagger-v2"
    assert not find_model(name, workspace, Settings()).is_on_disk
    for folder, settings in (
        (here / "kohya_ss", Settings(sd_scripts=here / "kohya_ss" / "sd-scripts")),
        (workspace.root, Settings()),
        (here, Settings()),
    ):
        target = folder / "wd14_tagger_model" / name.replace("/", "_")
        shutil.copytree(GOLDENS / "model" / "SmilingWolf_tiny-dyn", target)
        assert find_model(name, workspace, settings).folder == target
        shutil.rmtree(target)


def test_a_copy_in_the_hubs_cache_is_used(here: Path) -> None:
    """What another program downloaded is found, the revision of `main` first."""
    cache = here / "hf" / "hub" / "models--SmilingWolf--wd-vit-tagger-v3"
    for revision in ("aaa", "bbb"):
        shutil.copytree(GOLDENS / "model" / "SmilingWolf_tiny-dyn", cache / "snapshots" / revision)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("bbb", "utf-8")
    model = find_model("SmilingWolf/wd-vit-tagger-v3", None, Settings())
    assert model.onnx == cache / "snapshots" / "bbb" / "model.onnx"
    listed = {model.name: model for model in list_models(None, Settings())}
    assert listed["SmilingWolf/wd-vit-tagger-v3"].is_on_disk
    assert not listed["SmilingWolf/wd-eva02-large-tagger-v3"].is_on_disk
    assert listed["SmilingWolf/wd-eva02-large-tagger-v3"].threshold == 0.5296


def test_a_folder_without_labels_is_refused(here: Path) -> None:
    """The sentence says which of the two files is missing."""
    (here / "mine").mkdir()
    (here / "mine" / "model.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match="lacks a label file"):
        find_model("mine", None, Settings())


def tiny(name: str = "SmilingWolf_tiny-dyn") -> TaggerModel:
    return find_model(str(GOLDENS / "model" / name), None, Settings())


def opened(model: TaggerModel, provider: str = "cpu") -> TaggerSession:
    pytest.importorskip("onnxruntime")
    return open_session(model, provider, 1)


def test_a_damaged_model_is_one_sentence(here: Path) -> None:
    """Half a model file: a sentence, no traceback; a folder is to be copied again, one of the hub's fetched again."""
    shutil.copytree(GOLDENS / "model" / "SmilingWolf_tiny-dyn", here / "half")
    onnx = here / "half" / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:100_000])
    with pytest.raises(UserError, match="Cannot load the model") as caught:
        opened(find_model("half", None, Settings()))
    assert caught.value.hint is not None and str(here / "half") in caught.value.hint
    assert "--force_download" not in caught.value.hint
    (here / "wd14_tagger_model").mkdir()
    (here / "half").rename(here / "wd14_tagger_model" / "SmilingWolf_half")
    with pytest.raises(UserError) as again:
        opened(find_model("SmilingWolf/half", None, Settings()))
    assert "--force_download" in (again.value.hint or "")


def test_labels_that_do_not_fit_are_refused(here: Path) -> None:
    """One row too few: both numbers are named."""
    shutil.copytree(GOLDENS / "model" / "SmilingWolf_tiny-dyn", here / "less")
    labels = here / "less" / "selected_tags.csv"
    labels.write_text("".join(labels.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    with pytest.raises(UserError, match="313 tags, but the model has 314 outputs"):
        opened(find_model("less", None, Settings()))


def test_a_model_of_another_kind_than_its_labels_is_refused(here: Path) -> None:
    """cl_tagger's network with WD's label file: the shapes are named, nothing is tagged with nonsense."""
    shutil.copytree(GOLDENS / "model" / "SmilingWolf_tiny-dyn", here / "mixed")
    shutil.copyfile(GOLDENS / "model/cella_tiny-cl/v1/model_optimized.onnx", here / "mixed" / "model.onnx")
    with pytest.raises(UserError, match="takes tensor"):
        opened(find_model("mixed", None, Settings()))


def test_without_onnxruntime_everything_but_the_model_works() -> None:
    """A base install: every module is imported, and opening a model names the command that helps."""
    program = """
import sys
sys.modules["onnxruntime"] = None
import core.tagging.captioning, core.tagging.download, core.tagging.job, core.tagging.options, core.tagging.pipeline
import core.tagging.scores, core.tagging.session, core.tagging.writing
from core.problems import UserError
from core.tagging.models import TaggerModel
from pathlib import Path
try:
    core.tagging.session.open_session(TaggerModel("x", onnx=Path("x"), labels=Path("y")))
except UserError as error:
    print(error.message, "|", error.hint)
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime is not installed" in done.stdout and "pip install " in done.stdout


def test_reading_options_and_models_imports_nothing_heavy() -> None:
    """What the command line and the screens need before a run costs no numpy, Pillow, onnxruntime or hub client."""
    program = """
import sys
import core.tagging.options, core.tagging.models, core.tagging.scores, core.tagging.listing
print([name for name in ("numpy", "PIL", "onnxruntime", "huggingface_hub", "psutil") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
