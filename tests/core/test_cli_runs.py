"""train, runs, status, log, stop, metrics and checkpoints as commands, on the demo trainer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.main import main
from core.runs import proc, specs, store
from core.runs.model import LIVE_STATES, RunState
from core.workspace import Workspace
from tests.core.cli_kit import COMMAND, Cli, only_run, program, until
from tests.core.runs_kit import delete

PROMISED = {"id", "kind", "state", "step", "total_steps", "epoch", "loss", "rate", "eta_seconds", "gpu", "reason"}
SHORT = ("max_train_epochs=2", "save_every_n_epochs=1", "dataset:num_repeats=2")


@pytest.fixture(scope="module")
def trained_master(demo_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo in which a short training has finished."""
    folder = tmp_path_factory.mktemp("trained") / "demo"
    shutil.copytree(demo_master, folder)
    assert main(["-C", str(folder), "config", "set", "rinni", *SHORT]) == 0
    assert main(["-C", str(folder), "train", "rinni", "--json"]) == 0
    workspace = Workspace(folder)
    until(lambda: only_run(workspace).status.state not in LIVE_STATES)
    return folder


@pytest.fixture
def trained(trained_master: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The commands, in the workspace with the finished training; tests only read it."""
    return Cli(capsys, trained_master)


def slow(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start a training that goes on for minutes; its id. It has begun to train when this returns."""
    monkeypatch.setenv("KOHYA_TUI_DEMO_STEP_SECONDS", "0.2")
    answer = cli("train", "rinni", "--force", "--json").json
    assert set(answer) == {"run", "pid", "state"} and answer["state"] == "running" and answer["pid"] > 0
    until(lambda: (cli("status", "--json").json["runs"][0]["step"] or 0) >= 1)
    return str(answer["run"])


def test_a_finished_training_is_listed(trained: Cli) -> None:
    """State, steps and loss; the same document from `runs` and `status`."""
    (run,) = trained("runs", "--json").json["runs"]
    assert set(run) >= PROMISED
    assert (run["kind"], run["state"], run["reason"], run["eta_seconds"]) == ("train", "finished", None, None)
    assert run["step"] == run["total_steps"] > 0 and run["epoch"] == 2 and run["loss"] > 0
    assert trained("status", "--json").json["runs"][0]["id"] == run["id"]
    assert trained("status", run["id"][:13]).lines[1].startswith(run["id"])
    head, row = trained("runs").lines[:2]
    assert head.split() == ["run", "kind", "state", "step", "epoch", "loss", "rate", "left", "age"]
    assert "finished" in row and "2/2" in row


def test_status_watch_ends_with_the_run(trained: Cli) -> None:
    """One JSON document a line; of a finished run exactly one."""
    answer = trained("status", "--watch", "--json")
    assert json.loads(answer.out)["state"] == "finished" and len(answer.lines) == 1
    assert len(trained("status", "--watch").lines) == 1


def test_status_line_is_one_short_line(trained: Cli) -> None:
    """For tmux's status bar: the name, how far, how it ended; nothing else on the line, and no table."""
    (line,) = trained("status", "--line").lines
    assert line.startswith("✓ rinni 100%")
    assert line.endswith("finished")
    assert len(line) < 60


def test_log_prints_lines(trained: Cli) -> None:
    """No carriage return, no escape sequence, one line for the whole progress bar; -n counts from the end."""
    text = trained("log", "-n", 100_000).out
    assert "\r" not in text and "\x1b" not in text
    assert text.count("steps: 100%") <= 2 and "model saved" in text
    lines = text.splitlines()
    assert trained("log", "-n", 3).lines == lines[-3:]
    assert trained("log", "-n", 0).out == ""
    assert trained("log", "-f", "-n", 3).lines[-1] == lines[-1]  # an ended run: what is there, then the end


def test_metrics_and_checkpoints(trained: Cli, trained_master: Path) -> None:
    """Points by series; checkpoints with epoch and size; both of the newest training."""
    series = trained("metrics", "--json").json["series"]
    assert {"loss/current", "loss/average", "lr/unet"} <= set(series)
    total = trained("status", "--json").json["runs"][0]["total_steps"]
    assert len(series["loss/current"]) == total and series["loss/current"][0][0] == 1
    assert trained("metrics").lines[0].split() == ["series", "points", "last"]
    found = trained("checkpoints", "--json").json["checkpoints"]
    assert [set(one) for one in found] == [{"path", "epoch", "step", "bytes", "complete"}] * len(found)
    assert [one["epoch"] for one in found][:1] == [1] and all(
        Path(one["path"]).stat().st_size == one["bytes"] for one in found
    )
    assert all(one["step"] for one in found)
    assert (found[-1]["epoch"], found[-1]["step"]) == (2, total)
    assert "output/rinni/" in trained("checkpoints").out and str(trained_master) not in trained("checkpoints").out


def test_a_loss_that_is_no_number_is_null(cli: Cli, trained_master: Path, demo: Workspace) -> None:
    """A diverged training keeps `--json` readable for every reader."""
    shutil.rmtree(demo.root)
    shutil.copytree(trained_master, demo.root)
    run = only_run(demo)
    shutil.rmtree(run.logs_dir)
    log = run.log_file
    log.write_bytes(log.read_bytes().replace(b"avr_loss=0", b"avr_loss=nan, x=0"))
    for words in (["metrics", "--json"], ["status", "--json"]):
        text = cli(*words).out
        assert "NaN" not in text
        json.loads(text)


def test_a_running_training_and_its_stop(cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate and the time left are told; stop ends the process group; a second stop says that nothing runs."""
    run = slow(cli, monkeypatch)
    until(lambda: cli("status", "--json").json["runs"][0]["rate"])
    status = cli("status", run, "--json").json["runs"][0]
    assert status["state"] == "running" and status["eta_seconds"] > 0 and status["step"] < status["total_steps"]
    pid = only_run(demo).status.pid
    assert pid is not None
    answer = cli("stop", "--json").json
    assert (answer["run"], answer["state"]) == (run, "stopped")
    assert answer["lost_seconds"] > 0
    assert not Path(f"/proc/{pid}").exists()
    assert "Nothing runs" in cli("stop", code=1).err
    assert f"{run} is not running: it is stopped" in cli("stop", run, code=1).err


def test_stop_after_the_next_checkpoint(cli: Cli, demo: Workspace) -> None:
    """The command returns at once; the run ends by itself with a checkpoint."""
    cli("config", "set", "rinni", "save_every_n_epochs=1")
    os.environ["KOHYA_TUI_DEMO_STEP_SECONDS"] = "0.02"  # own_home takes it away again
    cli("train", "rinni")
    assert "stops after the next checkpoint" in cli("stop", "--after-checkpoint").out
    until(lambda: only_run(demo).status.state not in LIVE_STATES)
    assert only_run(demo).status.state is RunState.STOPPED
    assert len(cli("checkpoints", "--json").json["checkpoints"]) >= 1


def test_a_second_training_is_warned_of(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the demo's trainer: the run that is under way is named; two GPUs of their own are no matter."""
    first = slow(cli, monkeypatch)
    cli("config", "new", "mika", "--preset", "demo")
    cli("tag", "mika")
    for words in (["check", "--config", "mika"], ["train", "mika"]):
        answer = cli(*words)
        assert f"KT405 {first}: another run is under way" in answer.out + answer.err, words
    cli("stop", first)
    cli("stop")
    first = str(cli("train", "rinni", "--gpu", 0, "--json").json["run"])
    assert "KT405" not in cli("train", "mika", "--gpu", 1).err
    refused = cli("train", "mika", "--gpu", 0, code=1).err
    assert f"KT405 {first}" in refused and "a run of this config is under way" in refused


def test_status_tells_what_a_training_does_before_its_first_step(cli: Cli, demo: Workspace) -> None:
    """While the first samples are drawn: the phase, and 0 of all steps."""
    cli("train", "rinni")
    run = only_run(demo)
    until(lambda: "steps:   0%" in run.log_file.read_text("utf-8", "replace"))
    cli("stop")
    log = run.log_file.read_text("utf-8", "replace")
    begin = log[: log.index("steps:   0%")].rstrip()
    folder = demo.runs / "20300101-000000-copy"
    shutil.copytree(run.dir, folder)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "output.log").write_text(begin)
    (folder / "state.json").write_text(json.dumps({"v": 1, "state": "running"}))
    locks = [proc.take_lock(str(folder / name)) for name in ("alive.lock", "supervisor.lock")]
    try:
        row = next(line for line in cli("runs").lines if "sampling" in line)
    finally:
        for lock in locks:
            assert lock is not None
            os.close(lock)
    assert row.startswith(run.id) and "running, sampling" in row and " 0/600" in row


def test_stop_asks_which_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two runs going, none is stopped by a guess."""
    first = slow(cli, monkeypatch)
    second = slow(cli, monkeypatch)
    answer = cli("stop", code=1)
    assert "2 runs are going" in answer.err and first in answer.err and second in answer.err
    assert cli("stop", first, "--json").json["state"] == "stopped"
    assert cli("stop", "--json").json["run"] == second


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_following_a_log_can_be_left(
    cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, status: int
) -> None:
    """`log -f` prints what comes; an interrupt ends the command and not the run."""
    run = slow(cli, monkeypatch)
    with subprocess.Popen([*COMMAND, "log", "-f", run], cwd=demo.root, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.send_signal(number)
        rest = child.stdout.read()
    assert child.returncode == status
    assert "Traceback" not in rest
    assert cli("status", "--json").json["runs"][0]["state"] == "running"


def test_follow_stays_until_the_end(demo: Workspace, trained_master: Path) -> None:
    """`train --follow` prints the id and then the log, until the training has ended."""
    shutil.copytree(trained_master / "configs", demo.configs, dirs_exist_ok=True)
    answer = program("train", "rinni", "--follow", cwd=demo.root)
    assert only_run(demo).status.state is RunState.FINISHED
    assert answer.lines[0].startswith(only_run(demo).id)
    assert any("model saved" in line for line in answer.lines)
    assert not any("\r" in line for line in answer.lines)


def test_a_training_that_would_fail_is_not_started(cli: Cli, demo: Workspace) -> None:
    """The preflight's errors are shown; no run is made; --force starts it and `runs` says why it failed."""
    (demo.models / "demo-base.safetensors").unlink()
    answer = cli("train", "rinni", code=1)
    assert "demo-base.safetensors" in answer.err and "--force" in answer.err
    blocked = cli("train", "rinni", "--json", code=1).json
    assert blocked["run"] is None and "KT206" in {problem["code"] for problem in blocked["problems"]}
    assert not list(demo.runs.iterdir())
    followed = cli("train", "rinni", "--force", "--follow", code=1)
    assert "is failed: " in followed.err
    assert only_run(demo).status.state is RunState.FAILED
    assert "demo-base" in cli("runs").out
    assert cli("status", "--json").json["runs"][0]["reason"]


def test_a_wrong_sd_scripts_is_told_before_a_run_is_made(
    cli: Cli, demo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkout there, then a Python without torch: the path, the remedy, exit status 1."""
    monkeypatch.setenv("KOHYA_TUI_TRAINER", "sd-scripts")
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in cli("train", "rinni", code=1).err
    checkout = tmp_path / "sd-scripts"
    checkout.mkdir()
    (checkout / "train_network.py").touch()
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(checkout))
    monkeypatch.setenv("KOHYA_TUI_SD_PYTHON", sys.executable)
    answer = cli("train", "rinni", code=1)
    assert "has no torch" in answer.err and "sd_python" in answer.err
    assert not list(demo.runs.iterdir())


def test_a_training_that_does_not_come_up_is_a_failure(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python went away after the preflight: exit status 1 with the reason, also without --follow."""
    monkeypatch.setattr(specs, "trainer_command", lambda *_, **__: (("/nowhere/python",), {}))
    answer = cli("train", "rinni", "--json", code=1)
    assert answer.json["state"] == "failed"
    assert "/nowhere/python cannot be executed" in answer.err


def test_a_run_whose_folder_is_gone(cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted while it runs: a command that waits for it ends with a sentence, no later one knows it."""
    run = slow(cli, monkeypatch)
    status = only_run(demo).status
    assert status.pid is not None
    with subprocess.Popen(
        [*COMMAND, "status", "--watch"], cwd=demo.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline()
        delete(demo.runs / run)
        err = child.communicate(timeout=60)[1]
    os.killpg(status.pid, signal.SIGTERM)
    assert child.returncode == 1 and run in err and "Traceback" not in err
    assert "There are no runs in" in cli("status", run, code=1).err
    assert cli("runs").out.startswith("No runs yet")
    assert not (demo.runs / run).exists()


def test_a_run_folder_that_is_broken(cli: Cli, demo: Workspace) -> None:
    """A folder without a readable spec is left out of the list and named when asked for."""
    (demo.runs / "20260101-000000-x").mkdir()
    (demo.runs / "20260101-000000-x" / "spec.json").write_text("{")
    for number, wrong in enumerate(({"created": "now"}, {"locks": 5}, {"output_dir": []}, {"id": "a\x1b[2J"})):
        folder = demo.runs / f"20260101-00000{number}-y"
        folder.mkdir()
        spec = {"v": 1, "id": "y", "kind": "train", "name": "y", "created": 1.0, "argv": [], "cwd": "/"} | wrong
        (folder / "spec.json").write_text(json.dumps(spec))
    answer = cli("runs")
    assert len(answer.lines) == 2
    assert "20260101-000000-x" in answer.err and "missing or broken" in answer.err
    assert "\x1b" not in answer.out
    shutil.rmtree(folder)
    assert cli("runs", "--json").json == {"runs": []}
    assert "spec.json" in cli("status", "20260101-000000-x", code=1).err


def test_without_a_workspace(bare: Cli) -> None:
    """The sentence says what a workspace is and how to make one; `runs` and `gpu` work all the same."""
    for words in (["train", "x"], ["plan", "x"], ["import", "x", "."], ["undo"], ["check"], ["config", "show", "x"]):
        answer = bare(*words, code=1)
        assert "is not a workspace" in answer.err and "kohya-tui init" in answer.err
    assert bare("runs", "--json").json == {"runs": []}
    assert bare("history", "-n", 1, code=1).out == ""
    assert "There is no folder" in bare("-C", "nowhere", "runs", code=1).err
    assert store.list_runs(None) == []
