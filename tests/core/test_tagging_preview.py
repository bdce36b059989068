"""The preview of a tag run: what it says is what the run then does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from core.dataset.captions import split, tag_key
from core.settings import Settings
from core.tagging.command import parse_command
from core.tagging.models import TaggerModel, find_model
from core.tagging.options import TagRequest
from core.tagging.preview import preview
from core.workspace import Workspace

pytest.importorskip("onnxruntime")
GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
WORDS = ("rinni", "--model_dir", str(GOLDENS / "model"), "--repo_id", "SmilingWolf/tiny-dyn", "--trigger", "rinni")
SOME = ("rgb_square.jpg", "small_64.png", "all_black.png", "exact_448.png", "cmyk.jpg")


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """A subset of a few images without captions."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for name in SOME:
        shutil.copyfile(GOLDENS / "images" / "good" / name, folder / name)
    return folder


@pytest.fixture
def model(workspace: Workspace) -> TaggerModel:
    return find_model("SmilingWolf/tiny-dyn", workspace, Settings(), GOLDENS / "model")


def run(workspace: Workspace, request: TagRequest, run_dir: Path) -> None:
    """The tag run itself."""
    run_dir.mkdir()
    (run_dir / "spec.json").write_text(json.dumps({"tag": request.run_spec(workspace)}), "utf-8")
    command = [sys.executable, "-P", "-m", "core.tagging.job", str(run_dir)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)


def counts(folder: Path) -> Counter[str]:
    """In how many captions each tag stands."""
    return Counter(tag_key(tag) for path in folder.glob("*.txt") for tag in {*split(path.read_text("utf-8"))})


@pytest.mark.parametrize("policy", ["overwrite", "append", "skip"])
def test_it_says_what_the_run_does(
    workspace: Workspace, folder: Path, model: TaggerModel, tmp_path: Path, policy: str
) -> None:
    """Another threshold and another trigger: every count of the preview is that of the captions afterwards."""
    first = parse_command(WORDS)
    run(workspace, first, tmp_path / "first")
    (folder / SOME[0]).with_suffix(".txt").write_text("rinni, drawn by hand\n", "utf-8")
    (folder / SOME[1]).with_suffix(".txt").unlink()
    before = {path: path.read_bytes() for path in folder.glob("*.txt")}
    counted = counts(folder)
    second = replace(first, caption=replace(first.caption, thresh=0.1), trigger="mika", policy=policy)
    told = preview(workspace, second, model)
    assert told is not None and told.changes
    assert {path: path.read_bytes() for path in folder.glob("*.txt")} == before, "a preview writes nothing"
    run(workspace, second, tmp_path / "second")
    after = counts(folder)
    changed = {tag for tag in {*counted, *after} if counted[tag] != after[tag]}
    assert {tag_key(each.tag): each.change for each in told.changes} == {
        tag: after[tag] - counted[tag] for tag in changed
    }
    if policy != "skip":
        assert {tag_key(each.tag): each.now for each in told.changes} == {tag: counted[tag] for tag in changed}
        assert told.added - told.removed == sum(after.values()) - sum(counted.values())
    assert told.images == (1 if policy == "skip" else len(SOME)) and told.unscored == 0


def test_without_stored_scores_it_says_nothing(workspace: Workspace, folder: Path, model: TaggerModel) -> None:
    """This model never ran here, or is not on disk: there is no preview."""
    request = parse_command(WORDS)
    assert preview(workspace, request, model) is None
    assert preview(workspace, request, replace(model, onnx=None)) is None


def test_images_that_are_new_are_counted_apart(
    workspace: Workspace, folder: Path, model: TaggerModel, tmp_path: Path
) -> None:
    """An image that came later has no scores yet; a changed one has none any more."""
    request = parse_command(WORDS)
    run(workspace, request, tmp_path / "first")
    shutil.copyfile(GOLDENS / "images" / "good" / "exif_orient3.jpg", folder / "new.jpg")
    os.utime(folder / SOME[0], ns=(1, 1))
    told = preview(workspace, request, model)
    assert told is not None and (told.images, told.unscored) == (len(SOME) - 1, 2)
    assert not told.changes and told.captions == 0
    assert preview(workspace, request, model, stop=lambda: True) is None
