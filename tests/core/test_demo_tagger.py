"""The demo's tagger: a real ONNX model in WD14's form that names the demo's drawings."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

import core.demo
from core.demo.character import CHARACTERS, GENERAL_TAGS, MIKA, RATINGS, RINNI, random_spec, tags
from core.demo.drawings import demo_images, draw
from core.tagging.descriptors import WD
from core.tagging.preprocess import prepare

FOLDER = Path(core.demo.__file__).parent / "tagger"
MODEL = FOLDER / "model.onnx"
LABELS = FOLDER / "selected_tags.csv"
THRESHOLD = 0.35
SIZES = ((512, 512), (512, 768), (768, 512), (640, 640))


@pytest.fixture(scope="module")
def session() -> Any:
    """The model in a real session on the CPU."""
    runtime = pytest.importorskip("onnxruntime", reason="the demo tagger runs on onnxruntime (extra `cpu` or `cuda`)")
    return runtime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def names() -> list[str]:
    """The tags in the order of the model's outputs."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        return [row["name"] for row in csv.DictReader(file)]


def on_white(image: Image.Image) -> Image.Image:
    """RGB, as the tagger's preprocessing makes it."""
    if image.mode == "RGB":
        return image
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, (0, 0), image)
    return white


def scores(session: Any, images: list[Image.Image]) -> np.ndarray[Any, Any]:
    """float32 [images, tags]."""
    batches = [np.stack([prepare(on_white(i), WD, 448) for i in images[k : k + 8]]) for k in range(0, len(images), 8)]
    return np.concatenate([session.run(None, {session.get_inputs()[0].name: b.astype(np.float32)})[0] for b in batches])


def micro_f1(found: np.ndarray[Any, Any], names: list[str], seeds: range) -> float:
    """Over the general and character tags."""
    hits = total = 0
    for row, seed in zip(found, seeds, strict=True):
        named = {name for name, score in zip(names, row, strict=True) if score > THRESHOLD} - set(RATINGS)
        true = set(tags(random_spec(seed)))
        hits += len(named & true)
        total += len(named) + len(true)
    return 2 * hits / total


def test_the_label_file_has_the_form_of_wd14(names: list[str]) -> None:
    """Four ratings first, then general tags, then the characters; every id and name once."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["tag_id", "name", "category", "count"]
    assert [row[1] for row in rows[1:5]] == ["general", "sensitive", "questionable", "explicit"]
    assert [row[2] for row in rows[1:]] == ["9"] * 4 + ["0"] * len(GENERAL_TAGS) + ["4"] * len(CHARACTERS)
    assert names == [*RATINGS, *GENERAL_TAGS, *CHARACTERS]
    assert len({row[0] for row in rows}) == len(rows)
    assert all(row[3].isdigit() for row in rows[1:])


def test_the_model_is_small_and_has_the_form_of_wd14(session: Any, names: list[str]) -> None:
    """One file below 1 MB that any WD14 program can load: NHWC in, one probability per label out, any batch."""
    assert MODEL.stat().st_size < 1_000_000
    assert sorted(path.name for path in FOLDER.iterdir()) == ["model.onnx", "selected_tags.csv"]
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert taken.type == "tensor(float)"
    assert taken.shape[1:] == [448, 448, 3]
    assert not isinstance(taken.shape[0], int)
    assert given.shape[1] == len(names)
    for batch in (1, 3):
        result = session.run(None, {taken.name: np.full((batch, 448, 448, 3), 255, np.float32)})[0]
        assert result.shape == (batch, len(names))
        assert result.dtype == np.float32
        assert 0 <= float(result.min()) <= float(result.max()) <= 1


def test_fresh_drawings_get_their_tags(session: Any, names: list[str]) -> None:
    """Characters that the training never saw are tagged almost without a mistake."""
    seeds = range(77_000_000, 77_000_048)
    images = [draw(random_spec(seed), SIZES[seed % len(SIZES)]) for seed in seeds]
    assert micro_f1(scores(session, images), names, seeds) >= 0.97


def test_damaged_drawings_keep_most_tags(session: Any, names: list[str]) -> None:
    """A strongly compressed JPEG, or a small soft picture as the demo's training samples are, still gets its tags."""
    seeds = range(78_000_000, 78_000_024)
    packed, soft = [], []
    for seed in seeds:
        buffer = io.BytesIO()
        on_white(draw(random_spec(seed))).save(buffer, "JPEG", quality=50)
        packed.append(Image.open(buffer).convert("RGB"))
        soft.append(on_white(draw(random_spec(seed), (128, 128))).filter(ImageFilter.GaussianBlur(0.5)))
    assert micro_f1(scores(session, packed), names, seeds) >= 0.96
    assert micro_f1(scores(session, soft), names, seeds) >= 0.96


def test_the_demo_data_set_is_named(session: Any, names: list[str]) -> None:
    """Nearly every demo picture with open eyes gets its character's name, and every one the rating general."""
    rows = list(demo_images())[::2]
    found = scores(session, [draw(spec, size) for _, _, spec, size in rows])
    assert (found[:, names.index("general")] > 0.9).all()
    assert (found[:, names.index("explicit")] < 0.1).all()
    right = 0
    for row, (_, _, spec, _) in zip(found, rows, strict=True):
        named = {name for name in CHARACTERS if row[names.index(name)] > THRESHOLD}
        right += named == {tag for tag in tags(spec) if tag in CHARACTERS}
    assert right >= len(rows) - 2


def test_the_two_characters_are_told_apart(session: Any, names: list[str]) -> None:
    """rinni is no mika and mika is no rinni."""
    rinni, mika = scores(session, [draw(RINNI), draw(MIKA)])
    first, second = names.index("rinni_(demo)"), names.index("mika_(demo)")
    assert rinni[first] > 0.5 > rinni[second]
    assert mika[second] > 0.5 > mika[first]
