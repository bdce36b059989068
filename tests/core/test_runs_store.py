"""Run folders: ids, lookup, and what is believed about a run that nobody watches."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.problems import UserError
from core.runs import launch, proc, store
from core.runs.model import RunKind, RunSpec, RunState, RunStatus, transition
from core.workspace import Workspace
from tests.core.runs_kit import Runs, write_safetensors

pytest_plugins = ("tests.core.runs_fixtures",)


def test_ids_are_safe_unique_and_sort_by_time(tmp_path: Path) -> None:
    """Date, time and name in plain letters; a second run within the same second gets a number."""
    first = store.new_id(tmp_path, "rinni v3/π ../x", 1_700_000_000)
    assert re.fullmatch(r"\d{8}-\d{6}-rinni-v3-x", first), first
    (tmp_path / first).mkdir()
    second = store.new_id(tmp_path, "rinni v3/π ../x", 1_700_000_000)
    assert second == f"{first}-2"
    assert first < second < store.new_id(tmp_path, "a", 1_700_000_001)
    assert store.new_id(tmp_path, "凛").endswith("-run")


def test_a_run_folder_is_for_its_user_only(runs: Runs) -> None:
    """The frozen config may hold a token."""
    assert runs.create("").dir.stat().st_mode & 0o777 == 0o700


def test_two_runs_claimed_at_once_get_two_folders(runs: Runs) -> None:
    """The second is renamed, and its paths with it."""
    first = runs.create("pass")
    taken = replace(first.spec, argv=("x", f"{runs.folder}/{first.id}/train.toml"), output_dir=f"output/{first.id}")
    second = store.create(runs.folder, taken)
    assert second.id == f"{first.id}-2"
    assert second.spec.argv[1] == f"{runs.folder}/{second.id}/train.toml"
    assert second.spec.output_dir == f"output/{second.id}"


def test_a_spec_survives_its_file(runs: Runs) -> None:
    """What was written is what is read; keys of a newer version are passed over."""
    run = runs.create("pass", {"train.toml": b"a = 1\n"}, gpu="1", tag={"folders": ["x"]}, resumed_from="r")
    path = run.dir / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new_thing": 1, "v": 9}))
    assert store.observe(run.dir).spec == replace(run.spec, v=9)
    assert (run.dir / "train.toml").read_bytes() == b"a = 1\n"


def test_a_full_disk_leaves_no_half_run(tmp_path: Path) -> None:
    """The folder cannot be made: a sentence, and nothing there."""
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"):
        store.create(tmp_path / "runs", RunSpec("x", RunKind.TRAIN, "x", 0, ("x",), "/"))


def test_runs_are_found_by_id_beginning_name_and_last(runs: Runs) -> None:
    """And when nothing or too much fits, the error names what there is."""
    with pytest.raises(UserError, match="no runs"):
        store.open_run(runs.folder, "last")
    old = runs.create("pass", id="20250101-000000-a", name="a", created=1.0)
    new = runs.create("pass", id="20250102-000000-a", name="a", created=2.0)
    (runs.folder / "notes").mkdir()
    assert [run.id for run in store.list_runs(runs.folder)] == [new.id, old.id]
    for text, run in ((old.id, old), ("20250101", old), ("last", new), ("a", new)):
        assert store.open_run(runs.folder, text).id == run.id
    with pytest.raises(UserError, match="several"):
        store.open_run(runs.folder, "2025")
    with pytest.raises(UserError, match="no run 'b'") as caught:
        store.open_run(runs.folder, "b")
    assert new.id in (caught.value.hint or "")


def test_without_a_workspace_runs_live_in_the_users_state_folder(tmp_path: Path) -> None:
    """Tagging any folder leaves no runs/ in it."""
    assert store.runs_dir(Workspace(tmp_path)) == tmp_path / "runs"
    assert store.runs_dir(None).name == "runs"
    assert store.list_runs(None) == []


def test_a_prepared_run_can_be_cancelled(runs: Runs) -> None:
    """It was never started: stop marks it, and it cannot be started any more."""
    run = runs.create("pass")
    assert store.observe(run.dir).state is RunState.PREPARED
    launch.stop(run)
    found = store.observe(run.dir)
    assert found.state is RunState.STOPPED
    with pytest.raises(UserError, match="was started before"):
        launch.start(found)
    with pytest.raises(UserError, match="is over"):
        launch.stop(found)


def orphan(runs: Runs, **status: object) -> Path:
    """A run that was going when its supervisor and its trainer vanished."""
    run = runs.create("pass")
    values = {
        "v": 1,
        "state": "running",
        "pid": 4194300,
        "pid_start": 1,
        "boot_id": proc.boot_id(),
        "started": time.time(),
    }
    (run.dir / "state.json").write_text(json.dumps(values | status))
    (run.dir / "output.log").write_text("model saved.\n")
    return run.dir


def test_a_run_of_another_boot_is_lost(runs: Runs) -> None:
    """The machine was restarted: said so."""
    found = store.observe(orphan(runs, boot_id="before"))
    assert (found.state, found.live) == (RunState.LOST, False)
    assert "machine was restarted" in (found.status.reason or "")


def test_a_run_that_had_finished_before_the_restart_is_finished(runs: Runs) -> None:
    """The final file is there and complete."""
    folder = orphan(runs, boot_id="before")
    write_safetensors(runs.out / "lora.safetensors")
    assert store.observe(folder).state is RunState.FINISHED


def test_a_final_file_of_an_older_run_proves_nothing(runs: Runs) -> None:
    """Another run's file under the same name."""
    write_safetensors(runs.out / "lora.safetensors")
    assert store.observe(orphan(runs, started=time.time() + 3600)).state is RunState.LOST


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"state": "dreaming"}'])
def test_a_broken_state_file_is_rebuilt_from_the_log(runs: Runs, content: str) -> None:
    """state.json is damaged: no exception, and the run is judged by what is there."""
    folder = orphan(runs)
    (folder / "state.json").write_text(content)
    assert store.observe(folder).state is RunState.LOST
    write_safetensors(runs.out / "lora.safetensors")
    assert store.observe(folder).state is RunState.FINISHED


@pytest.mark.parametrize(("content", "words"), [("{}", "cannot be used"), ("nonsense", "missing or broken")])
def test_a_broken_spec_is_told(runs: Runs, content: str, words: str) -> None:
    """By name, and the list of runs goes on without it."""
    run = runs.create("pass")
    (run.dir / "spec.json").write_text(content)
    with pytest.raises(UserError, match=words):
        store.observe(run.dir)
    assert store.list_runs(runs.folder) == []
    (told,) = store.unreadable(runs.folder, [])
    assert words in told.message
    with pytest.raises(UserError, match=words):
        store.open_run(runs.folder, run.id[:12])


def test_locks_move_to_the_state_folder_where_the_file_system_has_none(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on a network share is started, watched and stopped all the same; spec.json says where its locks are."""
    monkeypatch.setattr(store, "_file_system", lambda _: "nfs4")
    run = runs.start("say('up'); time.sleep(600)")
    assert run.spec.locks is not None
    assert not (run.dir / "supervisor.lock").exists()
    assert (run.live, run.supervised) == (True, True)
    launch.stop(run)
    found = store.observe(run.dir)
    deadline = time.monotonic() + 20
    while found.state is not RunState.STOPPED:
        assert time.monotonic() < deadline
        found = store.observe(run.dir)


@pytest.mark.parametrize(
    ("lines", "returncode", "stop", "state"),
    [
        ([{"total": 2}, {"path": "a"}, {"path": "b"}, {"done": True, "failed": 0}], 0, None, "finished"),
        ([{"total": 2}, {"path": "a"}, {"path": "b", "error": "x"}, {"done": True, "failed": 1}], 1, None, "finished"),
        (
            [{"total": 2}, {"path": "a"}, {"done": True, "failed": 0, "stopped": True}],
            143,
            "Stopped on request.",
            "stopped",
        ),
        ([{"total": 2}, {"path": "a"}], 1, None, "failed"),
        ([{"total": 2}, {"path": "a"}], None, None, "lost"),
        ([], 1, None, "failed"),
    ],
)
def test_tag_runs_end_by_their_results(
    runs: Runs, lines: list[dict[str, object]], returncode: int | None, stop: str | None, state: str
) -> None:
    """The last line of results.jsonl decides; failed images are counted, an error is told in the tagger's words."""
    from core.runs.outcome import judge

    run = runs.create("pass", kind=RunKind.TAG)
    (run.dir / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run.dir / "output.log").write_text("ERROR: There is no model x\nDownload it.\n")
    found, reason = judge(run.dir, run.spec.as_json(), started=0, returncode=returncode, stop_reason=stop)
    assert found == state
    if state == "failed":
        assert reason == "There is no model x. Download it."
    if returncode == 1 and state == "finished":
        assert reason == "1 image could not be tagged: see the log."


def test_an_ended_run_goes_nowhere() -> None:
    """Resuming makes a new run."""
    assert transition(RunState.RUNNING, RunState.STOPPING) is RunState.STOPPING
    for old, new in ((RunState.FINISHED, RunState.RUNNING), (RunState.STOPPING, RunState.RUNNING)):
        with pytest.raises(AssertionError):
            transition(old, new)
    assert RunStatus.from_json({"state": "lost", "unknown": 1}) == RunStatus(RunState.LOST)


def test_a_state_of_a_newer_program_is_shown_as_such(runs: Runs) -> None:
    """Nothing lives, and the word is not known here: told, not guessed, and not written over."""
    run = runs.create("pass")
    text = '{"v": 99, "state": "archived", "started": 1.0}'
    (run.dir / "state.json").write_text(text)
    found = store.observe(run.dir)
    assert (found.state, "newer kohya-tui" in (found.status.reason or "")) == (RunState.LOST, True)
    assert (run.dir / "state.json").read_text() == text
