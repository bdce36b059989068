"""Downloads against a local hub: progress, checks, faults, and what people are told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.problems import UserError
from core.settings import Settings
from core.tagging.command import parse_command
from core.tagging.download import DownloadProgress, download
from core.tagging.download import fetch as fetch_files
from core.tagging.models import TaggerModel, find_model, hub_cache
from core.workspace import Workspace
from tests.fake_hub import FakeHub

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
REPO = "org/wd-test-tagger"
MODEL = bytes(range(256)) * 8000  # 2 MB
LABELS = b"tag_id,name,category,count\n1,1girl,0,5\n"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one tagger, and an environment that points at it."""
    with FakeHub({REPO: {"model.onnx": MODEL, "selected_tags.csv": LABELS}}) as hub:
        for key, text in hub.env(tmp_path / "hf").items():
            if key.startswith(("HF_", "NO_PROXY")):
                monkeypatch.setenv(key, text)
        monkeypatch.chdir(tmp_path)
        yield hub


def fetch(name: str = REPO, model_dir: Path | None = None) -> list[DownloadProgress]:
    return list(download(find_model(name, None, Settings(), model_dir), model_dir))


def test_a_model_arrives_in_the_cache_and_is_found_there(hub: FakeHub) -> None:
    """After the download the model is on disk for us and for every other program that uses the hub's cache."""
    steps = fetch()
    model = find_model(REPO, None, Settings())
    assert model.is_on_disk and model.onnx is not None and model.onnx.read_bytes() == MODEL
    assert model.onnx.is_relative_to(hub_cache())
    assert steps[-1].done == steps[-1].total == len(MODEL) + len(LABELS)
    assert [step.done for step in steps] == sorted(step.done for step in steps)


def test_a_second_download_fetches_nothing(hub: FakeHub) -> None:
    """--force_download on a model that is complete asks the hub and sends no bytes again."""
    fetch()
    before = len(hub.sent("model.onnx"))
    fetch()
    assert len(hub.sent("model.onnx")) == before


def test_a_damaged_copy_in_the_cache_is_fetched_again(hub: FakeHub) -> None:
    """A model file with a wrong checksum is replaced, which the hub's own client would not do."""
    fetch()
    onnx = find_model(REPO, None, Settings()).onnx
    assert onnx is not None
    onnx.resolve().write_bytes(b"x" * len(MODEL))
    fetch()
    assert onnx.read_bytes() == MODEL


def test_model_dir_gets_the_layout_of_sd_scripts(hub: FakeHub, tmp_path: Path) -> None:
    """With --model_dir the files lie where sd-scripts looks for them: ORG_NAME/model.onnx."""
    fetch(model_dir=tmp_path / "models")
    assert (tmp_path / "models" / "org_wd-test-tagger" / "model.onnx").read_bytes() == MODEL
    assert find_model(REPO, None, Settings(), tmp_path / "models").is_on_disk


def test_a_cut_connection_is_resumed(hub: FakeHub) -> None:
    """The line breaks in the middle: the rest is asked for with a Range, and the file is whole."""
    hub.fault("*/model.onnx", method="GET", cut=700_000)
    fetch()
    model = find_model(REPO, None, Settings())
    assert model.onnx is not None and model.onnx.read_bytes() == MODEL
    assert any(entry[2] for entry in hub.sent("model.onnx"))


def test_an_error_of_the_server_is_tried_again(hub: FakeHub) -> None:
    """One answer 503 in between does not end the download."""
    hub.fault("*/model.onnx", method="GET", status=503)
    fetch()
    assert find_model(REPO, None, Settings()).is_on_disk


def test_wrong_bytes_of_the_right_length_are_fetched_once_more(hub: FakeHub) -> None:
    """A proxy that changes bytes is noticed by the checksum; the second try is right."""
    hub.fault("*/model.onnx", method="GET", flip=True)
    fetch()
    model = find_model(REPO, None, Settings())
    assert model.onnx is not None and model.onnx.read_bytes() == MODEL


def test_bytes_that_stay_wrong_are_refused(hub: FakeHub) -> None:
    """Twice a wrong checksum: told so, and no damaged model is left to be found."""
    hub.fault("*/model.onnx", method="GET", flip=True, times=9)
    with pytest.raises(UserError, match="damaged twice"):
        fetch()
    assert not find_model(REPO, None, Settings()).is_on_disk


def test_an_unknown_repository_is_named(hub: FakeHub) -> None:
    """A typing mistake in the name gives one sentence with the name in it."""
    with pytest.raises(UserError, match="no repository org/wd-tset") as caught:
        fetch("org/wd-tset")
    assert "kohya-tui models" in (caught.value.hint or "")


def test_a_gated_repository_says_where_to_accept(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token that has no access the hint names the page and the login."""
    hub.private[REPO] = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="accepted its terms") as caught:
        fetch()
    assert f"{hub.url}/{REPO}" in (caught.value.hint or "")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetch()
    assert find_model(REPO, None, Settings()).is_on_disk


def test_a_repository_without_the_files_is_no_tagger(hub: FakeHub) -> None:
    """A repository of something else: told which file it lacks."""
    hub.repos["org/other"] = {"readme.md": b"hello"}
    with pytest.raises(UserError, match=r"has no file model\.onnx"):
        fetch("org/other")


def test_no_network_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody listens at the endpoint: the sentence names it, the hint names mirror, proxy and --model."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with pytest.raises(UserError, match=r"No connection to http://127\.0\.0\.1:9") as caught:
        fetch()
    assert "--model" in (caught.value.hint or "")


def test_closing_the_iterator_ends_the_download(hub: FakeHub, tmp_path: Path) -> None:
    """Cancel: the child is gone at once and leaves no litter in the cache."""
    hub.fault("*/model.onnx", method="GET", rate=300_000, times=9)
    steps = download(TaggerModel(REPO))
    for step in steps:
        if step.done > 0:
            break
    steps.close()
    assert not list((tmp_path / "hf").rglob("*.incomplete"))
    assert not find_model(REPO, None, Settings()).is_on_disk


def test_any_file_can_be_fetched_into_a_folder(hub: FakeHub, tmp_path: Path) -> None:
    """A base checkpoint lands in the folder under its own name, with no notes of the client beside it."""
    hub.repos["org/base"] = {"anime.safetensors": MODEL}
    steps = list(fetch_files("org/base", ["anime.safetensors"], folder=tmp_path / "models"))
    assert steps[-1].path == tmp_path / "models" / "anime.safetensors"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["anime.safetensors"]
    list(fetch_files("org/base", ["anime.safetensors"], folder=tmp_path / "models"))
    assert len(hub.sent("anime.safetensors")) == 1
    list(fetch_files("org/base", ["anime.safetensors"], folder=tmp_path / "models", force=True))
    assert len(hub.sent("anime.safetensors")) == 2


def test_offline_mode_is_respected(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HF_HUB_OFFLINE nothing is asked, and the sentence names that variable."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        fetch()
    assert hub.log == []


def test_a_full_disk_is_told_before_the_first_byte(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space that is needed and the space there is stand in the sentence."""
    from core.tagging import hub as child

    monkeypatch.setattr(child.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(UserError, match=r"needs 20\.0 MB, and .* has 1\.0 MB free"):
        child._check_space(Path("/nowhere/at/all"), 20_000_000)


def test_a_model_in_a_subfolder_is_fetched_as_sd_scripts_names_it(hub: FakeHub, tmp_path: Path) -> None:
    """`org/cl_tagger/v1` means the folder v1 of the repository, with cl_tagger's two files."""
    files = {"v1/model_optimized.onnx": MODEL, "v1/tag_mapping.json": b'{"0": {"tag": "a", "category": "General"}}'}
    hub.repos["org/cl_tagger"] = files
    fetch("org/cl_tagger/v1")
    assert find_model("org/cl_tagger/v1", None, Settings()).is_on_disk
    fetch("org/cl_tagger/v1", tmp_path / "models")
    assert (tmp_path / "models" / "org_cl_tagger" / "v1" / "tag_mapping.json").exists()
    assert find_model("org/cl_tagger/v1", None, Settings(), tmp_path / "models").is_on_disk


def test_force_download_without_network_uses_the_copy(
    hub: FakeHub, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guide's --force_download on a train or plane: a warning, and the model that is here does the work."""
    pytest.importorskip("onnxruntime")
    model = GOLDENS / "model" / "SmilingWolf_tiny-dyn"
    hub.repos[REPO] = {path.name: path.read_bytes() for path in model.iterdir()}
    fetch()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    images = workspace.train_data / "rinni" / "1_rinni"
    images.mkdir(parents=True)
    shutil.copyfile(GOLDENS / "images" / "good" / "small_64.png", images / "a.png")
    request = parse_command(["rinni", "--repo_id", REPO, "--force_download"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.json").write_text(json.dumps({"tag": request.run_spec(workspace)}), "utf-8")
    words = [sys.executable, "-P", "-m", "core.tagging.job", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The copy on this machine is used" in done.stdout
    assert (images / "a.txt").exists()
