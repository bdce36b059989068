"""Rare kinds of pictures and labels with odd names against the real sd-scripts (tests/data/goldens/odd)."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.tagging import job
from core.tagging.asked import Stop
from core.tagging.command import parse_command
from core.tagging.descriptors import WD
from core.tagging.preprocess import decode, load_image, open_image, prepare

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
ODD = GOLDENS / "odd"
INPUTS: dict[str, str] = json.loads((ODD / "inputs_sha256.json").read_text("utf-8"))
CASES: list[dict[str, Any]] = json.loads((ODD / "cases.json").read_text("utf-8"))
PICTURES = ("rgb_square.jpg", "la_mode.png", "p_transparent_index.png", "exif_orient6.png", "wide_8to1.png")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("name", INPUTS)
def test_rare_kinds_of_pictures_are_prepared_as_sd_scripts_does(name: str) -> None:
    """16 bits a colour with and without transparency, animations, other formats under a wrong name, lines of one
    pixel: the same bytes, by Pillow and by imagecodecs where it is installed.
    """
    path = ODD / "images" / name
    data = path.read_bytes()
    for picture in (
        load_image(path, clip_16_bit=True),
        decode(open_image(path, data), path, clip_16_bit=True, data=data),
    ):
        assert hashlib.sha256(prepare(picture, WD, 448).tobytes()).hexdigest() == INPUTS[name]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny networks with labels of odd names."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "SmilingWolf_odd").mkdir()
    shutil.copy(GOLDENS / "model" / "SmilingWolf_tiny-dyn" / "model.onnx", folder / "SmilingWolf_odd")
    shutil.copy(ODD / "selected_tags.csv", folder / "SmilingWolf_odd")
    (folder / "cella_odd" / "v1").mkdir(parents=True)
    shutil.copy(GOLDENS / "model" / "cella_tiny-cl" / "v1" / "model_optimized.onnx", folder / "cella_odd" / "v1")
    shutil.copy(ODD / "tag_mapping.json", folder / "cella_odd" / "v1")
    return folder


@pytest.mark.parametrize("number", range(len(CASES)))
def test_odd_labels_and_options_give_sd_scripts_captions(number: int, models: Path, tmp_path: Path) -> None:
    """With --sd-compat a whole run writes the captions of sd-scripts to the letter, from the model and again from the
    scores that it left.
    """
    case = CASES[number]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in PICTURES:
        shutil.copy(GOLDENS / "images" / "good" / name, folder)
    repository = "SmilingWolf/odd" if case["model"] == "wd" else "cella/odd/v1"
    words = [str(folder), "--onnx", "--repo_id", repository, "--model_dir", str(models), *case["argv"], "--sd-compat"]
    for kind in ("fresh", "from-scores"):
        for name, text in case["before"].items():
            (folder / f"{name}.txt").write_text(text, "utf-8", newline="")
        run = tmp_path / kind
        run.mkdir()
        (run / "spec.json").write_text(json.dumps({"tag": parse_command([*words, f"--{kind}"]).run_spec()}), "utf-8")
        assert job.run(run, Stop()) == 0
        written = {path.stem: path.read_text("utf-8") for path in folder.glob("*.txt")}
        assert written == case["captions"]
        for path in folder.glob("*.txt"):
            path.unlink()
