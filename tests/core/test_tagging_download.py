"""Downloads against a local hub: progress, checks, faults, and what people are told."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
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


def test_a_damaged_copy_of_sd_scripts_is_put_right(hub: FakeHub, tmp_path: Path) -> None:
    """A model cut off in `wd14_tagger_model/` is mended there: a good copy in the cache would never be looked at."""
    fetch(model_dir=tmp_path / "wd14_tagger_model")
    onnx = find_model(REPO, None, Settings()).onnx
    assert onnx is not None and onnx.is_relative_to(tmp_path / "wd14_tagger_model")
    onnx.write_bytes(MODEL[:1000])
    fetch()
    assert onnx.read_bytes() == MODEL and not hub_cache().exists()


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
    assert "kohya-tui models" in (caught.value.hint or "") and "no longer valid" not in (caught.value.hint or "")


def test_an_old_token_is_thought_of(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub answers an expired token as if the repository were not there: the token is named as a cause."""
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    with pytest.raises(UserError, match="no repository org/wd-tset") as caught:
        fetch("org/wd-tset")
    assert "HF_TOKEN" in (caught.value.hint or "")


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


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_download_that_was_cancelled_or_killed_goes_on_later(hub: FakeHub, tmp_path: Path, is_killed: bool) -> None:
    """Cancel: the child is gone at once, no model is found; the next download asks for the rest only, and nothing
    unfinished stays behind.
    """
    hub.fault("*/model.onnx", method="GET", rate=600_000)
    steps = download(TaggerModel(REPO))
    for step in steps:
        if step.done > 400_000:
            break
    if is_killed:
        for child in psutil.Process().children():
            child.kill()
        with pytest.raises(UserError, match="ended early"):
            list(steps)
    steps.close()
    assert not find_model(REPO, None, Settings()).is_on_disk
    assert not psutil.Process().children()
    fetch()
    asked = hub.sent("model.onnx")[-1][2] or ""
    assert int(asked.removeprefix("bytes=").rstrip("-")) >= 200_000  # the last piece is told before it is written
    model = find_model(REPO, None, Settings())
    assert model.onnx is not None and model.onnx.read_bytes() == MODEL
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.suffix in (".incomplete", ".part")]


def test_a_rest_that_does_not_fit_is_fetched_anew(hub: FakeHub, tmp_path: Path) -> None:
    """What lies there unfinished is damaged: the checksum tells, and all of it comes again, into a folder as well."""
    from core.tagging.parts import part_of

    target = tmp_path / "models" / "org_wd-test-tagger" / "model.onnx"
    target.parent.mkdir(parents=True)
    part_of(target, hashlib.sha256(MODEL).hexdigest()).write_bytes(b"x" * 900_000)
    fetch(model_dir=tmp_path / "models")
    assert target.read_bytes() == MODEL
    assert sorted(path.name for path in target.parent.iterdir()) == ["model.onnx", "selected_tags.csv"]


def test_two_downloads_of_one_file_do_not_mix(hub: FakeHub) -> None:
    """A run and the app fetch the same model: one waits for the other, and the file comes over the line once."""
    hub.fault("*/model.onnx", method="GET", rate=2_000_000)
    first, second = download(TaggerModel(REPO)), download(TaggerModel(REPO))
    next(first)
    for steps in (second, first):
        assert list(steps)[-1].path is not None
    assert len(hub.sent("model.onnx")) == 1


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


def test_weights_beside_the_model_are_fetched_with_it(hub: FakeHub) -> None:
    """A model in two files is on disk when both are; what the repository has beyond is taken, what it lacks is not
    missed.
    """
    hub.repos[REPO] |= {"model.onnx.data": b"w" * 50_000, "thresholds.csv": b"category,name,threshold\n0,general,0.2\n"}
    model = TaggerModel(REPO, sidecars=("model.onnx.data",), extras=("preprocess.json", "thresholds.csv"))
    steps = list(download(model))
    assert [Path(step.path or "").name for step in steps if step.path] == [
        "model.onnx",
        "selected_tags.csv",
        "model.onnx.data",
        "thresholds.csv",
    ]
    assert find_model(REPO, None, Settings()).thresholds == {"general": 0.2}


def test_all_files_come_from_one_commit(hub: FakeHub) -> None:
    """While the author uploads a new version, a half-fetched update leaves the old model in use; then all is new."""
    fetch()
    old = find_model(REPO, None, Settings())
    hub.repos[REPO] = {"model.onnx": MODEL[::-1], "selected_tags.csv": LABELS + b"2,solo,0,4\n"}
    hub.fault("*/selected_tags.csv", method="GET", status=404, code="EntryNotFound")
    with pytest.raises(UserError):
        fetch()
    assert find_model(REPO, None, Settings()).onnx == old.onnx
    fetch()
    new = find_model(REPO, None, Settings())
    assert new.onnx is not None and new.labels is not None and new.onnx.parent == new.labels.parent
    assert new.onnx.read_bytes() == MODEL[::-1] and new.labels.read_bytes().endswith(b"solo,0,4\n")
    assert old.onnx is not None and old.onnx.read_bytes() == MODEL


def test_a_revision_is_fetched_and_found_by_its_name(hub: FakeHub, tmp_path: Path) -> None:
    """A pinned commit stays what it is when the author goes on; a --model_dir keeps it apart from the other."""
    commit = hub.commit(REPO)
    pinned = find_model(REPO, None, Settings(), revision=commit)
    list(download(pinned))
    hub.repos[REPO]["model.onnx"] = MODEL[::-1]
    fetch()
    assert find_model(REPO, None, Settings()).folder != find_model(REPO, None, Settings(), revision=commit).folder
    again = find_model(REPO, None, Settings(), revision=commit)
    assert again.onnx is not None and again.onnx.read_bytes() == MODEL
    newer = find_model(REPO, None, Settings(), tmp_path / "models", hub.commit(REPO))
    list(download(newer, tmp_path / "models"))
    assert not find_model(REPO, None, Settings(), tmp_path / "models").is_on_disk
    assert find_model(REPO, None, Settings(), tmp_path / "models", hub.commit(REPO)).is_on_disk


def test_a_revision_that_does_not_exist_is_told(hub: FakeHub) -> None:
    """The sentence names it and the page with the list; one that is no name at all is refused before asking."""
    with pytest.raises(UserError, match="no branch, tag or commit v9") as caught:
        list(download(find_model(REPO, None, Settings(), revision="v9")))
    assert f"{hub.url}/{REPO}/commits/main" in (caught.value.hint or "")
    with pytest.raises(UserError, match="is no commit, tag or branch"):
        find_model(REPO, None, Settings(), revision="../../main")


@pytest.mark.parametrize(("status", "code"), [(401, ""), (403, ""), (401, "RepoNotFound"), (403, "GatedRepo")])
def test_a_gated_model_says_so_whatever_the_hub_answers(hub: FakeHub, status: int, code: str) -> None:
    """Without a token the page to accept the terms on is named, and HF_TOKEN; no other cause is guessed at."""
    hub.fault("*", status=status, code=code, times=99)
    with pytest.raises(UserError, match="only given to users who accepted its terms") as caught:
        list(download(TaggerModel(REPO, is_gated=True)))
    assert f"{hub.url}/{REPO}" in (caught.value.hint or "") and "HF_TOKEN" in (caught.value.hint or "")


def test_a_refusal_names_the_token(hub: FakeHub) -> None:
    """403 for a repository that is not known to be gated."""
    hub.fault("*", status=403, times=99)
    with pytest.raises(UserError, match="does not let you read") as caught:
        fetch()
    assert "HF_TOKEN" in (caught.value.hint or "")


def test_a_busy_hub_is_given_the_time_it_asks_for(hub: FakeHub) -> None:
    """429 with Retry-After: waited for, then the download goes on."""
    hub.fault("*/model.onnx", method="HEAD", status=429, retry_after=1)
    fetch()
    assert find_model(REPO, None, Settings()).is_on_disk


def test_a_server_without_ranges_sends_all_of_it_again(hub: FakeHub) -> None:
    """After a cut a mirror answers with the whole file: it is still whole, not longer."""
    hub.fault("*/model.onnx", method="GET", cut=700_000)
    hub.fault("*/model.onnx", method="GET", no_range=True)
    fetch()
    model = find_model(REPO, None, Settings())
    assert model.onnx is not None and model.onnx.read_bytes() == MODEL


def test_a_line_that_goes_silent_is_given_up_and_taken_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes for longer than the client waits: the rest is asked for again."""
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    hub.fault("*/model.onnx", method="GET", stall=30, at=500_000)
    fetch()
    model = find_model(REPO, None, Settings())
    assert model.onnx is not None and model.onnx.read_bytes() == MODEL


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files lie on another host, to which the hub sends us on: it never sees the token."""
    hub.private[REPO] = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch()
    assert find_model(REPO, None, Settings()).is_on_disk
    assert any(path.startswith("/cdn/") for _, path, *_ in hub.log) and not hub.cdn_tokens


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
def test_no_file_is_written_outside_the_folder(hub: FakeHub, tmp_path: Path, name: str) -> None:
    """A name that leads out of the folder is refused before the hub is asked."""
    hub.repos[REPO][name] = b"x" * 20_000
    with pytest.raises(UserError, match="is no file inside a repository"):
        list(fetch_files(REPO, (name,), folder=tmp_path / "inner"))
    assert not (tmp_path / "outside.txt").exists() and not hub.log
    with pytest.raises(UserError, match="no tagger model"):
        find_model("org/name/..", None, Settings())


def test_a_checksum_that_is_a_path_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    """A mirror may send anything as checksum, and the cache names files after it: nothing is touched."""
    victim = tmp_path / "precious"
    victim.write_text("kept")
    path = f"../../../../{victim.name}"
    hub.fault("*/model.onnx", times=99, etag="../" * ((64 - len(path)) // 3) + path)
    with pytest.raises(UserError, match="no proper checksum"):
        fetch()
    assert victim.read_text() == "kept" and not list(hub_cache().rglob("*.part"))
