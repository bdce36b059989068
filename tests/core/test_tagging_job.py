"""The tag run as its supervisor starts it: a real process, a real model, files on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from core.dataset.edits import Journal
from core.tagging.scores import read_scores, stamp_of, tag_categories
from core.workspace import Workspace
from tests.core.tagging_kit import BAD, GOLDENS, GOOD, MODEL, SOME, golden, results, start, tag, tags_of

pytest.importorskip("onnxruntime")


@pytest.fixture
def subset(workspace: Workspace) -> Path:
    """A subset folder with a few images."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for name in SOME:
        shutil.copyfile(GOOD / name, folder / name)
    return folder


def test_a_dataset_is_tagged_undoably_with_scores(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Captions as sd-scripts writes them, a line a picture in the results, stored scores, one undo for all."""
    (subset / "cmyk.txt").write_text("mine, old\n", "utf-8")
    code, log, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL, "--sd-compat")
    assert code == 0, log
    assert "exif_orient3.jpg" in log and "1 image would be turned" in log
    expected = golden("01_default")["captions"]
    assert all(
        (subset / name).with_suffix(".txt").read_text("utf-8") == expected[f"{Path(name).stem}.txt"] for name in SOME
    )
    head, *images, end = lines
    assert (head["v"], head["total"], head["provider"], head["fallback"]) == (1, len(SOME), "cpu", None)
    assert {Path(line["path"]).name for line in images} == set(SOME)
    assert (end["done"], end["tagged"], end["failed"]) == (True, len(SOME), 0) and end["images_per_second"] > 0
    image = subset / "all_black.png"
    scores = read_scores(workspace, workspace.key_of(image), stamp_of(image))
    assert scores == sorted(scores, key=lambda row: -row[2])
    confident = {tag for tag, category, score in scores if score >= 0.35 and category != "rating"}
    assert ", ".join(sorted(confident)) == ", ".join(sorted(tags_of(expected["all_black.txt"])))
    assert tag_categories(workspace)["hatsune miku"] == "character"
    journal = Journal(workspace)
    assert [(group.label, group.files) for group in journal.history()] == [("Tag rinni", len(SOME))]
    journal.undo()
    assert (subset / "cmyk.txt").read_text("utf-8") == "mine, old\n"
    assert not (subset / "all_black.txt").exists()


def test_unreadable_files_are_named_and_stop_nothing(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Everything else is tagged; each bad file has one line with its reason; exit status 1."""
    for path in BAD.iterdir():
        shutil.copyfile(path, subset / path.name)
    (subset / "directory.png").mkdir()
    (subset / "link.png").symlink_to("nowhere.png")
    code, log, lines = tag(workspace, tmp_path / "run", str(subset), *MODEL)
    failed = {Path(line["path"]).name: line["error"] for line in lines if "error" in line}
    good = [path.name for path in BAD.iterdir() if path.name == "bomb_warn.png"]
    assert set(failed) == {path.name for path in BAD.iterdir()} - {"bomb_warn.png"} | {"link.png"}
    assert code == 1 and lines[-1]["tagged"] == len(SOME) + len(good)
    assert all(name in log for name in failed)
    assert "empty" in failed["zero.png"] and "link" in failed["link.png"] and "not an image" in failed["text.png"]
    assert "Traceback" not in log and "Warning: Image" not in log


def test_append_keeps_what_was_there_and_refuses_what_it_cannot_read(
    workspace: Workspace, subset: Path, tmp_path: Path
) -> None:
    """Old tags stay first, the trigger comes before them once; a caption that is not UTF-8 is left alone and named."""
    (subset / "cmyk.txt").write_bytes("\ufeffmine, Rinni\r\nsecond line\r\n".encode())
    (subset / "small_64.txt").write_bytes("日本".encode("cp932"))
    code, _, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL, "--append_tags", "--trigger", "rinni")
    assert code == 1
    assert (subset / "small_64.txt").read_bytes() == "日本".encode("cp932")
    (failure,) = [line for line in lines if "error" in line]
    assert "small_64.txt is not UTF-8" in failure["error"]
    assert (subset / "cmyk.txt").read_text("utf-8").startswith("rinni, mine, second line, ")
    assert (subset / "all_black.txt").read_text("utf-8").startswith("rinni, ")


def test_skip_leaves_images_with_a_caption(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """--policy skip tags what has none; an empty caption file counts as none."""
    (subset / "cmyk.txt").write_text("mine", "utf-8")
    (subset / "small_64.txt").write_text("", "utf-8")
    code, _, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL, "--policy", "skip")
    assert (code, lines[0]["total"], lines[0]["skipped"]) == (0, len(SOME) - 1, 1)
    assert (subset / "cmyk.txt").read_text("utf-8") == "mine"
    assert (subset / "small_64.txt").read_text("utf-8") != ""


@pytest.mark.parametrize(
    ("case", "key"), [("28_output_json", "output.json"), ("29_output_jsonl_recursive", "output.jsonl")]
)
def test_output_path_writes_sd_scripts_file(
    case: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--output_path gives the same bytes as sd-scripts, and no caption file, outside of any workspace."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOOD, tmp_path / "images")
    code, log, _ = tag(None, tmp_path / "run", "images", *MODEL, "--sd-compat", *golden(case)["flags"])
    assert code == 0, log
    assert (tmp_path / f"out{Path(key).suffix}").read_text("utf-8") == golden(case)[key]
    assert not list((tmp_path / "images").rglob("*.txt")) and not (tmp_path / "images" / ".kohya-tui").exists()


def test_a_model_with_a_fixed_batch_tags_the_last_images_too(tmp_path: Path) -> None:
    """sd-scripts crashes at the last, partial batch of such a model; here it is filled up."""
    shutil.copytree(GOOD, tmp_path / "images")
    model = ["--model_dir", str(GOLDENS / "model"), "--repo_id", "SmilingWolf/tiny-fixed4"]
    code, log, _ = tag(None, tmp_path / "run", str(tmp_path / "images"), *model, "--sd-compat", "--batch_size", "3")
    assert code == 0 and "takes 4 at once" in log
    expected = golden("01_default")["captions"]
    assert {name: (tmp_path / "images" / name).read_text("utf-8") for name in expected} == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_cleanly(
    workspace: Workspace, subset: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """What was written stays and is one undoable group; the last line says that the run was stopped."""
    job = start(workspace, tmp_path / "run", "rinni", *MODEL, "--batch_size", "1", KOHYA_TUI_DEMO_TAG_SECONDS="0.5")
    deadline = time.monotonic() + 60
    while len(results(tmp_path / "run")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(number)
    log, _ = job.communicate(timeout=30)
    assert job.returncode == 128 + number, log
    last = results(tmp_path / "run")[-1]
    assert last["done"] and last["stopped"] and 1 <= last["tagged"] < len(SOME)
    (group,) = Journal(workspace).history()
    assert (group.state, group.files) == ("done", last["tagged"])
    assert len(list(subset.glob("*.txt"))) == last["tagged"]


def test_a_killed_run_keeps_what_it_wrote_undoably(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """After kill -9 no caption is half-written, and the next start makes one group of what there is."""
    job = start(workspace, tmp_path / "run", "rinni", *MODEL, "--batch_size", "1", KOHYA_TUI_DEMO_TAG_SECONDS="0.5")
    deadline = time.monotonic() + 60
    while len(results(tmp_path / "run")) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    job.kill()
    job.communicate(timeout=30)
    expected = golden("01_default")["captions"]
    written = {path.name: path.read_text("utf-8") for path in subset.glob("*.txt")}
    assert 2 <= len(written) < len(SOME) and all(text.endswith("\n") for text in written.values())
    assert set(written) <= set(expected)
    Journal(workspace).recover()
    Journal(workspace).undo()
    assert not list(subset.glob("*.txt"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nothing"], "no tagger model nothing"),
        ([*MODEL, "--require-gpu", "--provider", "cpu"], "--require-gpu"),
    ],
)
def test_what_keeps_a_run_from_starting_is_one_sentence(
    workspace: Workspace, subset: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    """No traceback in the log, exit status 1, no caption touched."""
    code, log, _ = tag(workspace, tmp_path / "run", "rinni", *words)
    assert code == 1 and message in log and "Traceback" not in log
    assert not list(subset.glob("*.txt"))


def test_the_demo_model_is_a_name(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """`--model demo` needs no download."""
    code, log, lines = tag(workspace, tmp_path / "run", "rinni", "--model", "demo")
    assert code == 0, log
    assert lines[0]["model"] == "demo" and lines[-1]["tagged"] == len(SOME)


def test_file_names_need_not_be_utf_8(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """A name in an old encoding is tagged like others and does not end the run, with an output file either."""
    odd = Path(os.fsdecode(os.fsencode(subset) + b"/caf\xe9.png"))
    try:
        shutil.copyfile(subset / "small_64.png", odd)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    code, log, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL)
    assert code == 0, log
    assert lines[-1]["tagged"] == len(SOME) + 1 and odd.with_suffix(".txt").exists()
    assert len(read_scores(workspace, workspace.key_of(odd), stamp_of(odd))) > 0
    code, log, _ = tag(workspace, tmp_path / "run2", "rinni", *MODEL, "--output_path", str(tmp_path / "out.json"))
    assert code == 0, log
    assert b"caf\xe9.png" in (tmp_path / "out.json").read_bytes()


def test_captions_in_another_encoding_end_no_run(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Nothing can be appended to them, and each is named; however many they are, all other pictures are tagged."""
    first, *others = sorted(SOME, reverse=True)
    for name in others:
        (subset / name).with_suffix(".txt").write_bytes(b"caf\xe9\n")
    code, log, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL, "--append_tags")
    assert code == 1 and (lines[-1]["tagged"], lines[-1]["failed"]) == (1, len(others)), log
    assert (subset / first).with_suffix(".txt").exists() and log.count("is not UTF-8") == len(others)


def test_tags_are_appended_in_the_output_file_too(subset: Path, tmp_path: Path) -> None:
    """`--append_tags --output_path`, as sd-scripts: each row begins with the tags of the caption file, which stays."""
    caption, table = subset / "small_64.txt", tmp_path / "out.jsonl"
    caption.write_text("mine, long_hair\n", "utf-8")
    for number, words in enumerate(((), ("--append_tags",))):
        code, log, _ = tag(None, tmp_path / f"run{number}", str(subset), *MODEL, "--output_path", str(table), *words)
        assert code == 0, log
        rows = {Path(row["image_path"]).name: row["caption"] for row in map(json.loads, table.read_text().splitlines())}
        assert rows["small_64.png"].startswith("mine, long_hair, ") is bool(words) and rows["all_black.png"]
    assert caption.read_text("utf-8") == "mine, long_hair\n"


def test_a_broken_score_file_is_begun_anew(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Scores are a convenience: a damaged file costs a second look at the images and nothing else."""
    code, _, _ = tag(workspace, tmp_path / "run", "rinni", *MODEL)
    (store,) = (workspace.own / "scores").iterdir()
    store.write_bytes(b"no database" * 1000)
    code, _log, lines = tag(workspace, tmp_path / "run2", "rinni", *MODEL, "--thresh", "0.5")
    assert code == 0 and (lines[-1]["tagged"], lines[-1]["known"]) == (len(SOME), 0)
    image = subset / "all_black.png"
    assert read_scores(workspace, workspace.key_of(image), stamp_of(image)) != []


def test_scores_that_cannot_be_kept_cost_no_caption(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Where their folder is a file the log says so, and every caption is written."""
    (workspace.own / "scores").write_text("in the way")
    code, log, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL)
    assert code == 0 and lines[-1]["tagged"] == len(SOME) == len(list(subset.glob("*.txt")))
    assert "scores are not kept" in log and "Traceback" not in log


def test_a_folder_that_may_not_be_written_ends_the_run_with_the_reason(
    workspace: Workspace, subset: Path, tmp_path: Path
) -> None:
    """Where no caption can be written the run does not go through thousands of pictures; nothing is lost."""
    for name in SOME:
        (subset / name).with_suffix(".txt").mkdir()
    code, log, lines = tag(workspace, tmp_path / "run", "rinni", *MODEL)
    assert code == 1 and "one after another" in log and "Traceback" not in log
    assert sum("error" in line for line in lines) == 3
