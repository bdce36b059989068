"""Every kind of tagger that is known, from the image file to what its network is fed, against the authors' recipes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.problems import UserError
from core.settings import Settings
from core.tagging.models import find_model
from core.tagging.preprocess import load_image, prepare
from core.tagging.session import open_session
from tests.tiny_onnx import write_model

pytest.importorskip("onnxruntime")
SIDE = 24
WIDTH = SIDE * SIDE * 3
WHITE = (255, 255, 255)
Array = np.ndarray[Any, Any]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A wide one, a tall one, a small one, and one with a transparent half over black."""
    noise = np.random.default_rng(5)
    paths = []
    for name, width, height in (("wide", 72, 48), ("tall", 41, 72), ("small", 11, 17)):
        path = tmp_path / f"{name}.png"
        Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        paths.append(path)
    clear = np.zeros((72, 36, 4), np.uint8)
    clear[:40, :, :3] = noise.integers(0, 256, (40, 36, 3))
    clear[:40, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    return [*paths, tmp_path / "clear.png"]


def opened(path: Path) -> Image.Image:
    """RGB on white, as every one of these authors does before anything else."""
    image = Image.open(path).convert("RGBA")
    canvas = Image.new("RGBA", image.size, (255, 255, 255, 255))
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def padded(image: Image.Image, colour: tuple[int, int, int] = WHITE) -> Image.Image:
    side = max(image.size)
    canvas = Image.new("RGB", (side, side), colour)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def area(image: Image.Image) -> Array:
    """A third in both directions, averaged; smaller ones grow by LANCZOS."""
    square = padded(image)
    if square.width < SIDE:
        return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float64)
    assert square.width == 3 * SIDE
    return np.rint(np.asarray(square, np.float64).reshape(SIDE, 3, SIDE, 3, 3).mean((1, 3)))


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def planes(pixels: Any) -> Array:
    return np.asarray(pixels, np.float64).transpose(2, 0, 1)


def normalised(pixels: Array, mean: list[float], std: list[float]) -> Array:
    return (pixels / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]


def letterboxed(image: Image.Image, colour: tuple[int, int, int]) -> Array:
    ratio = image.width / image.height
    width, height = (SIDE, int(SIDE / ratio)) if ratio > 1 else (int(SIDE * ratio), SIDE)
    canvas = Image.new("RGB", (SIDE, SIDE), colour)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas.paste(small, ((SIDE - width) // 2, (SIDE - height) // 2))
    return planes(canvas)


def squashed(image: Image.Image, how: Image.Resampling) -> Array:
    return planes(image.resize((SIDE, SIDE), how))


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)


def animetimm(image: Image.Image) -> Array:
    """Fitted into 32x32 with bilinear, then a bicubic resize to 24."""
    ratio = min(32 / image.width, 32 / image.height)
    size = (round(image.width * ratio), round(image.height * ratio))
    canvas = Image.new("RGB", (32, 32), WHITE)
    canvas.paste(image.resize(size, Image.Resampling.BILINEAR), ((32 - size[0]) // 2, (32 - size[1]) // 2))
    return normalised(squashed(canvas, Image.Resampling.BICUBIC), *IMAGENET)


CSV = "tag_id,name,category,count\n" + "".join(f"{i},tag_{i},0,1\n" for i in range(WIDTH))
MAPPING = json.dumps({str(i): {"tag": f"tag_{i}", "category": "General"} for i in range(WIDTH)})
VOCABULARY = {"idx_to_tag": {str(i): f"tag_{i}" for i in range(WIDTH)}, "tag_to_category": {}}
STAGES = [{"type": "resize", "size": [SIDE, SIDE], "interpolation": "bilinear", "antialias": True, "max_size": None}]
STAGES += [{"type": "to_tensor"}, {"type": "normalize", "mean": HALF[0], "std": HALF[1]}]  # type: ignore[list-item]
TEST = [{"type": "pad_to_size", "size": [32, 32], "background_color": "white", "interpolation": "bilinear"}]
TEST += [{"type": "resize", "size": SIDE, "interpolation": "bicubic"}, {"type": "center_crop", "size": [SIDE, SIDE]}]
TEST += [{"type": "maybe_to_tensor"}, {"type": "normalize", "mean": IMAGENET[0], "std": IMAGENET[1]}]

NHWC, NCHW = (SIDE, SIDE, 3), (3, SIDE, SIDE)
# What lies in the folder, the network, and the author's recipe up to the scores of the picture.
Recipe = tuple[dict[str, str], dict[str, Any], Callable[[Image.Image], Array]]
RECIPES: dict[str, Recipe] = {
    "WD": ({"selected_tags.csv": CSV}, {"shape": NHWC}, lambda image: area(image)[:, :, ::-1]),
    "cl_tagger 1": (
        {"tag_mapping.json": MAPPING},
        {"shape": NCHW},
        lambda image: sigmoid(planes(area(image)[:, :, ::-1]) / 127.5 - 1),
    ),
    "cl_tagger 2": (
        {"model_vocabulary.json": json.dumps(VOCABULARY)},
        {
            "shape": NCHW,
            "outputs": ("embedding", "logits"),
            "input_name": "pixel_values",
            "external": "model.onnx.data",
        },
        lambda image: sigmoid(squashed(image, Image.Resampling.BICUBIC) / 127.5 - 1),
    ),
    "PixAI": (
        {"selected_tags.csv": CSV, "preprocess.json": json.dumps({"stages": STAGES})},
        {"shape": NCHW, "outputs": ("embedding", "prediction", "logits"), "chosen": "prediction"},
        lambda image: normalised(squashed(image, Image.Resampling.BILINEAR), *HALF),
    ),
    "animetimm": (
        {"selected_tags.csv": CSV, "preprocess.json": json.dumps({"test": TEST, "val": TEST[1:]})},
        {"shape": NCHW, "outputs": ("embedding", "logits", "prediction")},
        animetimm,
    ),
    "Camie 1": (
        {"model_initial_metadata.json": json.dumps(VOCABULARY)},
        {"shape": NCHW},
        lambda image: sigmoid(letterboxed(image, (0, 0, 0)) / 255),
    ),
    "Camie 2": (
        {"camie-tagger-v2-metadata.json": json.dumps({"dataset_info": {"tag_mapping": VOCABULARY}})},
        {"shape": NCHW, "outputs": ("initial_predictions", "refined_predictions", "selected_candidates")}
        | {"chosen": "refined_predictions"},
        lambda image: sigmoid(normalised(letterboxed(image, (124, 116, 104)), *IMAGENET)),
    ),
    "JoyTag": (
        {"top_tags.txt": "".join(f"tag_{i}\n" for i in range(WIDTH))},
        {"shape": NCHW},
        lambda image: sigmoid(normalised(squashed(padded(image), Image.Resampling.BICUBIC), *CLIP)),
    ),
    "ML-Danbooru": (
        {"classes.json": json.dumps([f"tag_{i}" for i in range(WIDTH)])},
        {"shape": NCHW},
        lambda image: sigmoid(squashed(image, Image.Resampling.BILINEAR) / 255),
    ),
    "Z3D": (
        {"tags-selected.csv": CSV},
        {"shape": NHWC},
        lambda image: np.asarray(padded(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64)[:, :, ::-1],
    ),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_the_network_is_fed_what_its_author_feeds_it(kind: str, tmp_path: Path, pictures: list[Path]) -> None:
    """A folder with the model and its label file is enough: order of channels, fit, filter, padding and scale are
    right for the wide, the tall, the small and the transparent picture.
    """
    files, network, recipe = RECIPES[kind]
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    write_model(folder / "model.onnx", **network)
    session = open_session(find_model(str(folder), None, Settings()), "cpu")
    assert len(session.labels) == WIDTH and session.labels.names[7] == "tag_7"
    for path in pictures:
        if path.stem == "small" and session.model.format.resample == "area":
            continue  # growing is LANCZOS, which the goldens cover
        scores = session.run([prepare(load_image(path), session.model.format, session.input_size)])
        assert np.allclose(scores[0], recipe(opened(path)).ravel(), atol=2e-6), path.name


def test_a_missing_sidecar_is_named(tmp_path: Path) -> None:
    """model.onnx without its model.onnx.data: the folder is refused before the model is loaded."""
    folder = tmp_path / "v2_01a"
    folder.mkdir()
    (folder / "model_vocabulary.json").write_text(json.dumps(VOCABULARY), "utf-8")
    write_model(folder / "model.onnx", NCHW, outputs=("logits",), external="model.onnx.data")
    assert find_model(str(folder), None, Settings()).bytes == sum(
        (folder / name).stat().st_size for name in ("model.onnx", "model.onnx.data")
    )
    (folder / "model.onnx.data").unlink()
    with pytest.raises(UserError, match=r"lacks model\.onnx\.data"):
        find_model(str(folder), None, Settings())


def test_another_preprocess_version_or_file_gives_other_score_keys(tmp_path: Path) -> None:
    """Scores are never mixed up: changed weights in the sidecar, changed labels or another fit make another key."""
    from core.tagging.models import score_key

    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "tag_mapping.json").write_text(MAPPING, "utf-8")
    (folder / "tagger.toml").write_text('sidecars = ["weights.bin"]\ninput = "cl"\n', "utf-8")
    write_model(folder / "model.onnx", NCHW, external="weights.bin")
    keys = [score_key(find_model(str(folder), None, Settings()))]
    for change in ("weights.bin", "tag_mapping.json"):
        with (folder / change).open("ab") as file:
            file.write(b" ")
        keys.append(score_key(find_model(str(folder), None, Settings())))
    (folder / "tagger.toml").write_text('sidecars = ["weights.bin"]\ninput = "cl2"\n', "utf-8")
    keys.append(score_key(find_model(str(folder), None, Settings())))
    assert len(set(keys)) == 4


def test_padding_of_any_colour_is_part_of_the_area_filter() -> None:
    """A picture on a coloured square gives the same bytes whether the square is built or only thought of."""
    from core.tagging.descriptors import InputFormat

    noise = np.random.default_rng(2)
    for width, height in ((301, 77), (64, 500), (48, 31), (96, 90)):
        image = Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8))
        for colour in ((124, 116, 104), (0, 0, 0), (7, 7, 7)):
            form = InputFormat(pad=colour)
            whole = prepare(padded(image, colour), form, 48)
            assert np.array_equal(prepare(image, form, 48), whole), (width, height, colour)


@pytest.mark.parametrize("fit", ["pad", "squash", "pad-after", "crop"])
def test_a_very_narrow_picture_needs_no_gigabytes(fit: str) -> None:
    """One pixel by sixty thousand is prepared like any other, in either direction, with any fit."""
    from core.tagging.descriptors import InputFormat

    form = InputFormat(fit=fit, resample="bicubic", align=(64, "bilinear") if fit == "squash" else None)
    for size in ((1, 60_000), (60_000, 1)):
        pixels = prepare(Image.new("RGB", size, (10, 20, 30)), form, SIDE)
        assert pixels.shape == (SIDE, SIDE, 3) and pixels.min() < 255


def folder_of(path: Path, labels: str = "selected_tags.csv", text: str = CSV, **network: Any) -> Path:
    path.mkdir()
    (path / labels).write_text(text, "utf-8")
    write_model(path / "model.onnx", **({"shape": NHWC} | network))
    return path


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"more_inputs": ("padding_mask",)}, "takes tensor"),
        ({"shape": NCHW}, "takes tensor"),
        ({"shape": (SIDE, 12, 6)}, "takes tensor"),
        ({"shape": (SIDE, SIDE // 2, 3)}, "takes tensor"),
    ],
    ids=["two inputs", "planes first", "six channels", "not square"],
)
def test_a_network_with_other_inputs_is_refused(tmp_path: Path, network: dict[str, Any], said: str) -> None:
    """What it takes and what a model with these labels takes stand in one sentence; nothing is tagged with nonsense."""
    folder = folder_of(tmp_path / "m", **network)
    with pytest.raises(UserError, match=said) as caught:
        open_session(find_model(str(folder), None, Settings()), "cpu")
    assert "\n" not in caught.value.message and caught.value.hint


def test_a_model_may_ask_where_the_padding_is(tmp_path: Path) -> None:
    """OppaiOracle's second input: true around the picture, false in it; without its name the model is refused."""
    count = WIDTH + SIDE * SIDE
    rows = "".join(f"{number},tag_{number},0,1\n" for number in range(count))
    folder = folder_of(tmp_path / "m", text=f"tag_id,name,category,count\n{rows}", shape=NCHW, mask="padding_mask")
    form = (
        '{ layout = "NCHW", channels = "RGB", scale = 255, fit = "letterbox", resample = "bicubic", pad = [114, 0, 0]'
    )
    (folder / "tagger.toml").write_text(f'input = {form}, mask = "padding_mask" }}\n', "utf-8")
    session = open_session(find_model(str(folder), None, Settings()), "cpu")
    pixels = prepare(Image.new("RGB", (SIDE * 2, 21), (255, 255, 255)), session.model.format, SIDE)
    assert pixels.shape == (SIDE, SIDE, 4)
    (scores,) = session.run([pixels])
    picture, padding = scores[:WIDTH].reshape(3, SIDE, SIDE), scores[WIDTH:].reshape(SIDE, SIDE)
    inside = padding[:, 0] == 0
    assert inside.sum() == round(21 / 2) and inside[(SIDE - 10) // 2] and not inside[0]
    assert (picture[:, inside] == 1).all() and picture[0, ~inside] == pytest.approx(114 / 255)
    (folder / "tagger.toml").write_text(f"input = {form} }}\n", "utf-8")
    with pytest.raises(UserError, match="takes tensor"):
        open_session(find_model(str(folder), None, Settings()), "cpu")


def test_an_output_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The descriptor names `logits`, the model has others: told, instead of taking the first."""
    folder = folder_of(tmp_path / "m", shape=NCHW, outputs=("embedding", "scores"))
    (folder / "tagger.toml").write_text('input = { like = "cl", output = "logits" }\n', "utf-8")
    with pytest.raises(UserError, match="no output logits, only embedding, scores"):
        open_session(find_model(str(folder), None, Settings()), "cpu")


def test_the_descriptor_gives_the_size_where_the_model_leaves_it_open(tmp_path: Path) -> None:
    """A model for pictures of any size is fed the size that its descriptor names."""
    folder = folder_of(tmp_path / "m", shape=(3, "height", "width"))
    (folder / "tagger.toml").write_text(f'input = {{ like = "cl", size = {SIDE} }}\n', "utf-8")
    session = open_session(find_model(str(folder), None, Settings()), "cpu")
    assert session.input_size == SIDE
    assert session.run([np.full((SIDE, SIDE, 3), 255, np.uint8)])[0] == pytest.approx(sigmoid(np.ones(WIDTH)), abs=1e-6)


@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.97])
def test_a_cut_off_model_is_one_sentence(tmp_path: Path, part: float) -> None:
    """Empty, cut off in the head, in the middle, near the end: the file is named, with the remedy."""
    folder = folder_of(tmp_path / "m", "tag_mapping.json", MAPPING, shape=NCHW)
    onnx = folder / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[: int(onnx.stat().st_size * part)])
    with pytest.raises(UserError) as caught:
        open_session(find_model(str(folder), None, Settings()), "cpu")
    assert "\n" not in caught.value.message and caught.value.hint


def test_weights_that_are_too_short_are_one_sentence(tmp_path: Path) -> None:
    """A half-copied model.onnx.data: the model is not loaded, and its file is named."""
    folder = folder_of(tmp_path / "v2_01a", "model_vocabulary.json", json.dumps(VOCABULARY), shape=NCHW)
    write_model(folder / "model.onnx", NCHW, outputs=("logits",), external="model.onnx.data")
    (folder / "model.onnx.data").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="Cannot load the model") as caught:
        open_session(find_model(str(folder), None, Settings()), "cpu")
    assert "\n" not in caught.value.message
