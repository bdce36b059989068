"""Models as data: the known ones, those that a user adds, and what repositories say about themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.problems import UserError
from core.settings import Settings, config_dir
from core.tagging.descriptor_files import known, read_descriptors
from core.tagging.descriptors import CL, WD, InputFormat
from core.tagging.models import find_model, list_models
from core.tagging.repository_files import read_preprocess
from core.workspace import Workspace


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with no models and no settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def described(folder: Path, text: str) -> Path:
    path = folder / "taggers.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_the_known_models_are_complete() -> None:
    """Every name once; WD and cl_tagger as sd-scripts feeds them; gated ones with their weights beside them."""
    models = {model.name: model for model in known()}
    assert len(models) == len(known()) > 20
    assert models["SmilingWolf/wd-eva02-large-tagger-v3"].format == WD
    assert models["SmilingWolf/wd-eva02-large-tagger-v3"].threshold == 0.5296
    assert models["cella110n/cl_tagger/cl_tagger_1_02"].format == CL
    second = models["cella110n/cl_tagger_v2/v2_01a"]
    assert second.is_gated and second.sidecars == ("v2_01a/model.onnx.data",) and second.format.channels == "RGB"
    assert models["deepghs/pixai-tagger-v0.9-onnx"].thresholds == {"general": 0.3, "character": 0.85}
    assert models["fancyfeast/joytag"].files == ("model.onnx", "top_tags.txt")


def test_a_name_with_a_star_describes_a_whole_family(here: Path) -> None:
    """Any animetimm repository is fetched with its preprocess.json and read as timm's."""
    model = find_model("animetimm/some_new_model.dbv4-full", None, Settings())
    assert model.sidecars == ("preprocess.json",) and model.format.output == "prediction"
    assert not any("*" in model.name for model in list_models(None, Settings()))


def test_a_user_adds_a_model_with_a_few_lines(here: Path, workspace: Workspace) -> None:
    """taggers.toml in the workspace or beside the settings: the model is listed, and fed as it says."""
    text = """
    [[tagger]]
    name = "me/my-tagger"
    model = "onnx/best.onnx"
    labels = "onnx/tags.csv"
    sidecars = ["onnx/best.onnx.data"]
    revision = "v3"
    thresholds = { general = 0.4, character = 0.7 }
    input = { like = "wd", layout = "NCHW", channels = "RGB", mean = [0.5, 0.5, 0.5], std = 0.25, size = 512,
              activation = "sigmoid", order = "score", resample = "bicubic", pad = [0, 10, 255] }
    """.replace(",\n              activation", ", activation")
    described(workspace.root, text)
    model = next(model for model in list_models(workspace, Settings()) if model.name == "me/my-tagger")
    form = InputFormat(layout="NCHW", channels="RGB", scale=(63.75,) * 3, shift=(-2.0,) * 3, size=512, is_logits=True)
    assert model.needed == ("onnx/best.onnx", "onnx/tags.csv", "onnx/best.onnx.data") and model.revision == "v3"
    assert model.thresholds == {"general": 0.4, "character": 0.7}
    assert (model.format.scale, model.format.shift) == (form.scale, form.shift)
    assert (model.format.pad, model.format.resample, model.format.by_probability) == ((0, 10, 255), "bicubic", True)
    assert find_model("me/my-tagger", workspace, Settings()).format == model.format
    described(config_dir(), '[[tagger]]\nname = "SmilingWolf/wd-vit-tagger-v3"\nthreshold = 0.5\n')
    own = find_model("SmilingWolf/wd-vit-tagger-v3", None, Settings())
    assert own.threshold == 0.5 and own.format == WD


@pytest.mark.parametrize(
    ("line", "number", "reason"),
    [
        ("threshold = 1.5", 6, "between 0 and 1"),
        ("treshold = 0.5", 6, "has no meaning here"),
        ('input = "wdd"', 6, "names no input format"),
        ('input = { fit = "stretch" }', 6, "is one of pad, squash"),
        ("input = { scale = 0 }", 6, "may not be 0"),
        ("input = { mean = [0.5, 0.5] }", 6, "a list of three"),
        ("input = { pad = [0, 0, 300] }", 6, "each 0 to 255"),
        ("input = { size = 5 }", 6, "16 to 4096"),
        ('input = { fit = "squash", resample = "area" }', 6, "for fit = "),
        ("thresholds = { hair = 0.3 }", 6, "knows the categories"),
        ('model = "../../etc/passwd"', 6, "no file inside"),
        ('labels = "/etc/passwd"', 6, "no file inside"),
        ('sidecars = ["data/../../x"]', 6, "no file inside"),
        ('revision = "../../../.bashrc"', 6, "no commit, tag or branch"),
        ("gated = 1", 6, "is not true or false"),
        ('bytes = "big"', 6, "a number of bytes"),
        ("threshold = = 1", 6, "Invalid value"),
        ('note = "open', 6, ""),
        ("[tagger.x", 6, ""),
    ],
)
def test_a_mistake_names_file_line_and_remedy(tmp_path: Path, line: str, number: int, reason: str) -> None:
    """A misspelt key or value in one's own taggers.toml is told with the line; nothing is quietly ignored."""
    path = described(tmp_path, f'[[tagger]]\nname = "a/b"\n\n[[tagger]]\nname = "a/c"\n{line}\n')
    with pytest.raises(UserError) as caught:
        read_descriptors(path)
    assert caught.value.message.startswith(f"{path}, line {number}: "), caught.value.message
    assert reason in caught.value.message and "\n" not in caught.value.message
    assert "kohya-tui help models" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text", ["tagger = 3", "[[tagger]]\nthreshold = 0.3", '[[model]]\nname = "a/b"', "version = 9"]
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, text: str) -> None:
    """Not a list of models, a model without a name, a later version of the file: one sentence each."""
    path = described(tmp_path, text)
    with pytest.raises(UserError, match=r"taggers\.toml, line 1: "):
        read_descriptors(path)


def folder_with(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}" if name.endswith(".json") else b"x")
    return folder


def test_a_folder_is_described_by_its_own_file(here: Path) -> None:
    """tagger.toml beside the model: other file names, another format, and what is missing is named."""
    folder = folder_with(here / "mine", "net.onnx", "names.txt", "other.onnx", "selected_tags.csv")
    (folder / "tagger.toml").write_text('model = "net.onnx"\nlabels = "names.txt"\ninput = "joytag"\nthreshold = 0.4\n')
    model = find_model("mine", None, Settings())
    assert (model.onnx, model.labels) == (folder / "net.onnx", folder / "names.txt")
    assert model.format.resample == "bicubic" and model.threshold == 0.4 and model.is_local
    (folder / "net.onnx").unlink()
    with pytest.raises(UserError, match="lacks a model file"):
        find_model("mine", None, Settings())
    (folder / "tagger.toml").write_text("threshold = 2\n")
    with pytest.raises(UserError, match=r"tagger\.toml, line 1: `threshold` is not between"):
        find_model("mine", None, Settings())


def test_a_folder_called_after_a_known_model_is_that_model(here: Path) -> None:
    """A copy made by hand keeps the author's threshold; one that only ends alike does not."""
    folder_with(here / "wd-vit-tagger-v3", "model.onnx", "selected_tags.csv")
    assert find_model("wd-vit-tagger-v3", None, Settings()).threshold == 0.2614
    folder_with(here / "v3", "model.onnx", "selected_tags.csv")
    assert find_model("v3", None, Settings()).threshold is None


def test_thresholds_beside_the_model_are_the_authors(here: Path) -> None:
    """thresholds.csv as imgutils writes it; a broken one is left alone."""
    folder = folder_with(here / "pix", "model.onnx", "selected_tags.csv")
    (folder / "thresholds.csv").write_text("category,name,threshold\n0,general,0.31\n4,character,0.86\n")
    assert find_model("pix", None, Settings()).thresholds == {"general": 0.31, "character": 0.86}
    (folder / "thresholds.csv").write_text("category,name\n0,general\n")
    assert find_model("pix", None, Settings()).thresholds == {}


@pytest.mark.parametrize(
    "stages",
    [
        [{"type": "rotate"}],
        [],
        [{"type": "resize", "size": [448, 512]}],
        [{"type": "resize", "size": 448}],
        [{"type": "resize", "size": 512}, {"type": "center_crop", "size": 448}],
        [{"type": "resize", "size": [448, 448], "interpolation": "hamming"}],
        [{"type": "resize", "size": [448, 448]}, {"type": "normalize", "mean": [0.5] * 3, "std": [0, 0, 0]}],
        [{"type": "pad_to_size", "size": 448, "background_color": "mauve"}],
    ],
)
def test_a_preparation_that_is_not_known_is_refused(tmp_path: Path, stages: list[dict[str, object]]) -> None:
    """A step that we cannot do would give other tags: told with the file, and what can be done about it."""
    path = tmp_path / "preprocess.json"
    path.write_text(json.dumps({"stages": stages}), "utf-8")
    with pytest.raises(UserError, match="is not known here") as caught:
        read_preprocess(path, WD)
    assert str(path) in caught.value.message and "tagger.toml" in (caught.value.hint or "")


def test_a_resize_of_the_shorter_side_is_cropped(tmp_path: Path) -> None:
    """timm's usual evaluation: the middle of the picture."""
    path = tmp_path / "preprocess.json"
    stages = [{"type": "resize", "size": 384, "interpolation": "bicubic"}, {"type": "center_crop", "size": 384}]
    path.write_text(json.dumps({"test": stages}), "utf-8")
    form = read_preprocess(path, WD)
    assert (form.fit, form.size, form.resample, form.layout, form.channels) == ("crop", 384, "bicubic", "NCHW", "RGB")
