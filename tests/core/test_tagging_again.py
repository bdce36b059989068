"""Tagging a dataset again: policies, stored scores, dry runs, kills in the middle, two runs at once, a full disk."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.dataset.edits import Journal
from core.dataset.marks import mark_reviewed
from core.problems import UserError
from core.runs.model import RunState
from core.tagging.claim import check_free, claimed
from core.tagging.command import parse_command
from core.tagging.plan import plan_tagging
from core.tagging.results import read_results
from core.workspace import Workspace
from tests.core.cli_kit import Cli, captions, only_run, program, until
from tests.core.tagging_kit import GOOD, MODEL, SOME, images, kill_after, results, start, tag

pytest.importorskip("onnxruntime")
SLOW = {"KOHYA_TUI_DEMO_TAG_SECONDS": "0.3"}


@pytest.fixture
def subset(workspace: Workspace) -> Path:
    """A subset folder with a few images."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for name in SOME:
        shutil.copyfile(GOOD / name, folder / name)
    return folder


def texts(subset: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in subset.glob("*.txt")}


def known(run_dir: Path) -> int:
    """Images of a run for which the model was not asked."""
    return sum(line.get("known") is True for line in images(run_dir))


def test_tagging_again_asks_no_model_for_what_is_unchanged(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """The same captions, also with other thresholds; a new and a changed image are looked at, a renamed one is not."""
    tag(workspace, tmp_path / "1", "rinni", *MODEL)
    first = texts(subset)
    code, log, lines = tag(workspace, tmp_path / "2", "rinni", *MODEL)
    assert code == 0 and texts(subset) == first
    assert known(tmp_path / "2") == lines[-1]["known"] == len(SOME)
    assert "6 images tagged from stored scores" in log and "Provider" not in log
    assert "provider" not in lines[0]
    tag(workspace, tmp_path / "3", "rinni", *MODEL, "--thresh", "0.6")
    assert known(tmp_path / "3") == len(SOME) and texts(subset) != first
    tag(workspace, tmp_path / "4", "rinni", *MODEL, "--thresh", "0.6", "--fresh", "--dry-run")
    assert known(tmp_path / "4") == 0 and read_results(tmp_path / "4").changes == ()
    shutil.copyfile(GOOD / "double_896.jpg", subset / "new.jpg")
    shutil.copyfile(GOOD / "rgb_landscape.png", subset / "small_64.png")
    (subset / "cmyk.jpg").rename(subset / "renamed.jpg")
    code, log, lines = tag(workspace, tmp_path / "5", "rinni", *MODEL)
    fresh = {Path(line["path"]).name for line in images(tmp_path / "5") if not line.get("known")}
    assert code == 0 and fresh == {"new.jpg", "small_64.png"} and lines[0]["provider"] == "cpu"
    assert texts(subset)["renamed.txt"] == first["cmyk.txt"]


def test_a_threshold_under_what_is_stored_asks_the_model(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Scores under 0.01 are not kept: every image is looked at again, and --from-scores says why it cannot."""
    tag(workspace, tmp_path / "1", "rinni", *MODEL)
    tag(workspace, tmp_path / "2", "rinni", *MODEL, "--thresh", "0.001")
    assert known(tmp_path / "2") == 0
    code, log, _ = tag(workspace, tmp_path / "3", "rinni", *MODEL, "--thresh", "0.001", "--from-scores")
    assert code == 1 and "ERROR: Scores under 0.01 are not stored" in log


def test_from_scores_never_loads_the_model(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """A touched file is known by its content; what was never tagged is named, and everything else is done."""
    tag(workspace, tmp_path / "1", "rinni", *MODEL)
    first = texts(subset)
    for path in subset.glob("*.txt"):
        path.unlink()
    os.utime(subset / "cmyk.jpg", (1, 1))
    shutil.copyfile(GOOD / "double_896.jpg", subset / "new.jpg")
    code, log, lines = tag(workspace, tmp_path / "2", "rinni", *MODEL, "--from-scores")
    assert code == 1 and texts(subset) == first
    assert [Path(line["path"]).name for line in lines if "error" in line] == ["new.jpg"]
    assert "new.jpg has no stored scores" in log and "Provider" not in log


def test_a_dry_run_tells_and_writes_nothing(cli: Cli, demo: Workspace) -> None:
    """The tags that each caption would get and lose; the scores are kept, so the real run asks no model."""
    folder = demo.train_data / "mika" / "10_mika"
    (folder / "mika_01.txt").write_text("mine, 1girl\n", "utf-8")
    answer = cli("tag", "mika", "--dry-run", "--json").json
    by_name = {Path(change["path"]).stem: change for change in answer["changes"]}
    assert len(by_name) == 12 and answer["tagged"] == 12 and answer["known"] == 0
    assert by_name["mika_01"]["removed"] == ["mine"] and "1girl" not in by_name["mika_01"]["added"]
    assert "1girl" in by_name["mika_02"]["added"] and by_name["mika_02"]["removed"] == []
    assert list(captions(demo, "mika")) == ["mika_01.txt"]
    assert Journal(demo).history() == []
    text = cli("tag", "mika", "--dry-run").lines
    assert text[-1].startswith("12 captions would change: ") and "1 removed. Nothing was written." in text[-1]
    assert any("mika_01." in line and ": + " in line and line.endswith("- mine") for line in text)
    done = cli("tag", "mika", "--json").json
    assert done["known"] == 12 and "changes" not in done
    assert cli("tag", "mika", "--dry-run").lines == [
        "0 captions would change: 0 tags added, 0 removed. Nothing was written."
    ]


def test_only_untagged_takes_captions_of_the_trigger_alone(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """A caption with a tag of its own is left; one that holds the trigger or the dataset's name only gets tags."""
    kept = {
        "cmyk.txt": "rinni, my tag\n",
        "small_64.txt": "rinni_v2\n",
        "all_black.txt": "rinni\n",
        "exact_448.txt": " \n",
    }
    for name, text in kept.items():
        (subset / name).write_text(text, "utf-8")
    (subset / "rgb_square.txt").write_bytes("日本".encode("cp932"))
    words = ("rinni", *MODEL, "--policy", "only-untagged", "--trigger", "rinni v2")
    plan = plan_tagging(workspace, parse_command(words))
    code, log, lines = tag(workspace, tmp_path / "1", *words)
    assert code == 0 and (lines[0]["total"], lines[0]["skipped"]) == (4, 2) == (plan.images, plan.skipped), log
    assert (subset / "cmyk.txt").read_text("utf-8") == kept["cmyk.txt"]
    assert (subset / "rgb_square.txt").read_bytes() == "日本".encode("cp932")
    assert (subset / "small_64.txt").read_text("utf-8").startswith("rinni v2, ")
    assert (subset / "all_black.txt").read_text("utf-8").startswith("rinni v2, rinni, ")


def test_reviewed_captions_are_named_before_they_are_replaced(cli: Cli, demo: Workspace) -> None:
    """The count comes first, with what keeps them; no word where nothing is lost."""
    cli("tag", "mika")
    folder = demo.train_data / "mika" / "10_mika"
    mark_reviewed(demo, [demo.key_of(path) for path in folder.glob("mika_0[12].[pj]*")])
    err = cli("tag", "mika").err
    assert err.startswith("2 reviewed captions are overwritten; ") and "--policy append" in err
    for policy in ("append", "skip", "only-untagged"):
        assert "reviewed" not in cli("tag", "mika", "--policy", policy).err
    assert "reviewed" not in cli("tag", "mika", "--dry-run").err
    assert plan_tagging(demo, parse_command(["mika"])).reviewed == 2


def test_after_a_kill_nothing_is_looked_at_twice(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Started again, the run goes on: the model sees the rest only, and one undo takes back both halves."""
    (subset / "cmyk.txt").write_text("mine\n", "utf-8")
    words = ("rinni", *MODEL, "--batch_size", "1", "--max_data_loader_n_workers", "1")
    runs = workspace.runs
    kill_after(2, start(workspace, runs / "1", *words, **SLOW), runs / "1")
    half = texts(subset)
    assert 2 <= len(half) < len(SOME) + 1 and all(text.endswith("\n") for text in half.values())
    code, log, lines = tag(workspace, runs / "2", *words)
    assert code == 0, log
    assert lines[-1]["tagged"] == len(SOME) and lines[-1]["known"] >= 2
    assert "The last run was killed; this one goes on" in log
    assert len(texts(subset)) == len(SOME)
    journal = Journal(workspace)
    (group,) = journal.history()
    assert (group.label, group.files, group.state) == ("Tag rinni", len(SOME), "done")
    undone = journal.undo()
    assert not undone.conflicts and texts(subset) == {"cmyk.txt": "mine\n"}
    journal.redo()
    assert len(texts(subset)) == len(SOME)


def test_a_killed_run_says_that_it_goes_on(demo: Workspace) -> None:
    """Its supervisor tells what happened and what to do; the same command then finishes it."""
    program("tag", "mika", "--batch_size", "1", "--detach", cwd=demo.root, **SLOW)
    until(lambda: images(only_run(demo).dir))
    pid = only_run(demo).status.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: only_run(demo).state is RunState.FAILED)
    assert (only_run(demo).status.reason or "").endswith("Tag again: it goes on where it was.")
    program("tag", "mika", "--batch_size", "1", cwd=demo.root)
    (group,) = Journal(demo).history()
    assert group.files == 12 == len(captions(demo, "mika"))


def test_a_kill_during_the_second_half_is_one_group_still(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Killed twice and finished in the third run: no image is looked at twice, and one undo is enough."""
    words = ("rinni", *MODEL, "--batch_size", "1", "--max_data_loader_n_workers", "1")
    for number in ("1", "2"):
        kill_after(1, start(workspace, workspace.runs / number, *words, **SLOW), workspace.runs / number)
    code, log, _ = tag(workspace, workspace.runs / "3", *words)
    assert code == 0 and len(texts(subset)) == len(SOME), log
    (group,) = Journal(workspace).history()
    assert group.files == len(SOME)
    Journal(workspace).undo()
    assert texts(subset) == {}


@pytest.mark.parametrize("between", ["another request", "another action", "an undo"])
def test_only_the_same_run_goes_on(workspace: Workspace, subset: Path, between: str) -> None:
    """With other options, or after something else was done, the second run is an action of its own."""
    words = ("rinni", *MODEL, "--batch_size", "1", "--max_data_loader_n_workers", "1")
    kill_after(1, start(workspace, workspace.runs / "1", *words, **SLOW), workspace.runs / "1")
    journal = Journal(workspace)
    if between == "an undo":
        journal.undo()
    elif between == "another action":
        with journal.begin("edit") as group:
            group.write(subset / "note.txt", "a")
    more = ("--thresh", "0.4") if between == "another request" else ()
    code, log, _ = tag(workspace, workspace.runs / "2", *words, *more)
    assert code == 0 and "this one goes on" not in log
    assert len(journal.history()) == (3 if between == "another action" else 2)


def test_two_runs_on_one_dataset(cli: Cli, demo: Workspace) -> None:
    """The second is refused with the id of the first, before it has a folder; another dataset is free."""
    first = program("tag", "mika", "--batch_size", "1", "--detach", "--json", cwd=demo.root, **SLOW).json["run"]
    folder = demo.train_data / "mika" / "10_mika"
    until(lambda: not _is_free(folder))
    err = cli("tag", "mika", code=1).err
    assert f"{folder} is being tagged by the run {first}" in err and f"stop {first}\n" in err
    assert "is being tagged" in cli("tag", "mika", "--dry-run", code=1).err
    cli("stop", first)
    until(lambda: _is_free(folder))
    assert cli("tag", "mika").out.startswith("12 of 12")


def _is_free(folder: Path) -> bool:
    try:
        check_free([folder])
    except UserError:
        return False
    return True


def test_a_run_that_starts_at_the_same_moment_is_refused_by_its_job(
    workspace: Workspace, subset: Path, tmp_path: Path
) -> None:
    """Whoever comes second says so in its log and touches nothing; a run inside a folder blocks one around it."""
    with claimed([subset]):
        code, log, _ = tag(workspace, tmp_path / "1", "rinni", *MODEL)
        assert code == 1 and "is being tagged by another run" in log and texts(subset) == {}
        code, log, _ = tag(workspace, tmp_path / "2", str(workspace.train_data), *MODEL, "--recursive")
        assert code == 1 and "is being tagged by another run" in log
    (workspace.train_data / "rinni" / "5_again").symlink_to(subset)
    code, log, _ = tag(workspace, tmp_path / "3", "rinni", *MODEL)
    assert code == 0, log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_answered_within_half_a_second(
    workspace: Workspace, subset: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """What is tagged stays and is stored, the group is closed, the log ends with a count."""
    for copy in range(40):
        shutil.copyfile(GOOD / "grainy_1000x1500.jpg", subset / f"copy{copy}.jpg")
        with (subset / f"copy{copy}.jpg").open("ab") as stream:
            stream.write(bytes([copy]))
    words = ("rinni", *MODEL, "--batch_size", "1", "--max_data_loader_n_workers", "1")
    job = start(workspace, tmp_path / "1", *words)
    asked = [0.0]

    def stop() -> None:
        asked[0] = time.monotonic()
        job.send_signal(number)

    log = kill_after(2, job, tmp_path / "1", stop)
    took = time.monotonic() - asked[0]
    crowd = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))  # others that want the same cores
    assert job.returncode == 128 + number and took < 0.5 * crowd, (took, crowd, log)
    assert "Stopped: " in log and "Traceback" not in log
    lines = results(tmp_path / "1")
    assert lines[-1]["stopped"] is True and 2 <= lines[-1]["tagged"] < 46
    assert len(texts(subset)) == lines[-1]["tagged"]
    (group,) = Journal(workspace).history()
    assert group.files == lines[-1]["tagged"] and group.state == "done"
    code, _, again = tag(workspace, tmp_path / "2", *words)
    assert code == 0 and again[-1]["known"] >= lines[-1]["tagged"]


def test_a_disk_that_is_full_in_the_middle(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """The run ends with the reason and no traceback; no caption is cut, all can be undone, and it goes on later."""
    for copy in range(30):
        shutil.copyfile(GOOD / "small_64.png", subset / f"copy{copy}.png")
    job = _with_a_small_disk(workspace, tmp_path / "1", "rinni", *MODEL)
    assert job.returncode == 1 and "Traceback" not in job.stdout, job.stdout
    assert "ERROR: " in job.stdout and "Cannot write" in job.stdout
    written = texts(subset)
    assert len(written) < 36 and all(text.endswith("\n") for text in written.values())
    code, log, lines = tag(workspace, tmp_path / "2", "rinni", *MODEL)
    assert code == 0 and lines[-1]["tagged"] == 36, log
    journal = Journal(workspace)
    while journal.next_undo() is not None:
        assert not journal.undo().conflicts
    assert texts(subset) == {}


def _with_a_small_disk(workspace: Workspace, run_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The job where no file may grow beyond some kilobytes, as on a full disk."""
    import json

    run_dir.mkdir()
    (run_dir / "spec.json").write_text(json.dumps({"tag": parse_command(words).run_spec(workspace)}), "utf-8")
    return subprocess.run(
        [sys.executable, "-P", "-m", "core.tagging.job", str(run_dir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # Python would leave cut-off bytecode for the next test
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )


def test_several_models_in_one_pass(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """Their tags are merged; the scores of each are kept, so that either alone, or both again, needs no model."""
    both = ("rinni", *MODEL, "--also", "demo")
    code, log, lines = tag(workspace, tmp_path / "1", *both)
    assert code == 0 and lines[0]["model"] == "SmilingWolf/tiny-dyn + demo", log
    union = texts(subset)
    assert len(list((workspace.own / "scores").glob("*.sqlite"))) == 2
    for number, words in enumerate(
        (("rinni", *MODEL), ("rinni", "--model", "demo"), (*both, "--merge", "intersection"))
    ):
        code, log, lines = tag(workspace, tmp_path / f"more{number}", *words)
        assert code == 0 and lines[-1]["known"] == len(SOME), log
        smaller = texts(subset)
        assert all(set(smaller[name].strip().split(", ")) <= {*union[name].strip().split(", "), ""} for name in union)
    code, log, _ = tag(workspace, tmp_path / "twice", "rinni", "--model", "demo", "--also", "demo")
    assert code == 1 and "named twice" in log


def test_half_precision_says_what_it_changes(workspace: Workspace, subset: Path) -> None:
    """One sentence a model, over a sample of the images; nothing for a model that runs as it is."""
    import numpy as np

    from core.settings import load
    from core.tagging.loading import tell_flips
    from core.tagging.models import find_model
    from core.tagging.session import open_session

    model = find_model("demo", workspace, load(workspace.root))
    assert model.onnx is not None
    copy = workspace.root / "copy.onnx"
    shutil.copyfile(model.onnx, copy)
    half = open_session(replace(model, onnx=copy), "cpu")
    said: list[str] = []
    images = sorted(subset.iterdir())
    floors = [np.full(len(half.labels), 0.35, np.float32)]
    tell_flips([half], [model], images, floors, said.append)
    assert len(said) == 1 and said[0].startswith("Half precision changes 0 of ") and "in 6 images" in said[0]
    tell_flips([half], [half.model], images, floors, said.append)
    assert len(said) == 1


def test_whatever_a_run_wrote_can_be_taken_back(
    workspace: Workspace, bare: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions with an ending of one's own beside images elsewhere, and an output file: also outside a workspace."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copyfile(GOOD / "rgb_square.jpg", folder / "a.b.jpg")
    monkeypatch.chdir(folder)
    for words in (("--caption_extension", ".my.tags"), ("--output_path", "out.json")):
        answer = bare("tag", ".", "--model", "demo", *words)
        run_dir = answer.err.splitlines()[-1].removeprefix("To take it back: kohya-tui -C ").removesuffix(" undo")
        assert len(list(folder.iterdir())) == 2
        bare("-C", run_dir, "undo")
        assert len(list(folder.iterdir())) == 1
    inside = Cli(bare._capsys, workspace.root)
    inside("tag", folder, "--model", "demo", "--caption_extension", ".my.tags")
    assert (folder / "a.b.my.tags").exists()
    inside("undo")
    assert not (folder / "a.b.my.tags").exists()
    inside("tag", folder, "--model", "demo", "--output_path", folder / "out.json")
    assert (folder / "out.json").exists() and Journal(workspace).next_undo() is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written_costs_no_caption(workspace: Workspace, subset: Path, tmp_path: Path) -> None:
    """A full disk under the log: the captions are written, and the run is a success."""
    tag(workspace, tmp_path / "1", "rinni", *MODEL)
    Journal(workspace).undo()
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-P", "-m", "core.tagging.job", str(tmp_path / "1")]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 0 and done.stderr == b"" and len(texts(subset)) == len(SOME)


def test_a_dry_run_from_scores_keeps_no_run(cli: Cli, demo: Workspace) -> None:
    """Nothing is loaded and nothing changes, so nothing is detached: the same answer as that of a dry run that is."""
    cli("tag", "mika", "--json")
    before = sorted(path.name for path in demo.runs.iterdir())
    quick = cli("tag", "mika", "--thresh", "0.02", "--from-scores", "--dry-run", "--json").json
    assert sorted(path.name for path in demo.runs.iterdir()) == before and quick["run"] is None
    assert quick["tagged"] == quick["known"] == 12 and quick["changes"]
    detached = cli("tag", "mika", "--thresh", "0.02", "--dry-run", "--json").json
    assert detached["changes"] == quick["changes"] and detached["run"]
    shutil.copyfile(GOOD / "double_896.jpg", demo.train_data / "mika" / "10_mika" / "new.jpg")
    answer = cli("tag", "mika", "--from-scores", "--dry-run", "--json", code=1).json
    assert [Path(item["path"]).name for item in answer["failed"]] == ["new.jpg"]


def test_the_command_tells_frequencies_and_warnings(cli: Cli, demo: Workspace) -> None:
    """`--frequency_tags` lists how often each tag came, the most frequent first; warnings of the run are told."""
    shutil.copyfile(GOOD / "exif_orient6.jpg", demo.train_data / "mika" / "10_mika" / "turned.jpg")
    answer = cli("tag", "mika", "--frequency_tags")
    counts = [line.rpartition(": ") for line in answer.lines if line.rpartition(": ")[2].isdecimal()]
    assert ("1girl", ": ", "13") in counts
    numbers = [int(number) for _, _, number in counts]
    assert numbers == sorted(numbers, reverse=True)
    assert "turned.jpg" in answer.err and "kohya-tui" in answer.err and "upright" in answer.err
    again = cli("tag", "mika", "--thresh", "0.5", "--json")  # not opened this time
    assert again.json["known"] == 13 and "turned.jpg" in again.err
    assert cli("tag", "mika", "--frequency_tags", "--json").json["frequencies"]["1girl"] == 13
