"""train --queue, tag --queue, queue and resume as commands, on the demo trainer."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from core.runs import artifacts, events, queue, resume, store
from core.runs.lineage import ancestors
from core.runs.model import LIVE_STATES, Run, RunState
from core.workspace import Workspace
from tests.core.cli_kit import COMMAND, Cli, until

SHORT = ("max_train_epochs=2", "save_every_n_epochs=1", "dataset:num_repeats=2")


@pytest.fixture
def busy(cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A training that goes on for minutes, started past the queue."""
    monkeypatch.setenv("KOHYA_TUI_DEMO_STEP_SECONDS", "0.5")
    run = cli("train", "rinni", "--force", "--json").json["run"]
    monkeypatch.delenv("KOHYA_TUI_DEMO_STEP_SECONDS")
    return store.observe(demo.runs / run)


def ended(demo: Workspace, run: str) -> Run:
    until(lambda: store.observe(demo.runs / run).status.ended is not None)
    return store.observe(demo.runs / run)


def test_a_queued_training_waits_and_is_frozen_when_it_starts(cli: Cli, demo: Workspace, busy: Run) -> None:
    """What is changed in the config meanwhile counts; its files come into the run's folder with its turn.

    `log -f` waits with it.
    """
    answer = cli("train", "rinni", "--queue", "--json").json
    assert (answer["state"], answer["position"], answer["held"]) == ("queued", 1, None)
    (waiting,) = cli("queue", "--json").json["queue"]
    assert (waiting["run"], waiting["gpu"], waiting["nobody_waits"]) == (answer["run"], "any", False)
    (shown,) = (run for run in cli("runs", "--json").json["runs"] if run["id"] == answer["run"])
    assert (shown["state"], shown["position"]) == ("queued", 1)
    assert "queued #1" in cli("runs").out
    log = subprocess.Popen(
        [*COMMAND, "-C", str(demo.root), "log", "-f", answer["run"]], stdout=subprocess.PIPE, text=True
    )
    cli("config", "set", "rinni", *SHORT)
    cli("stop", busy.id)
    run = ended(demo, answer["run"])
    assert run.state is RunState.FINISHED
    assert "model saved." in log.communicate(timeout=20)[0]
    assert "max_train_epochs = 2" in (run.dir / "train.toml").read_text()
    assert cli("queue", "--json").json == {"queue": []}


def test_the_order_from_the_shell(cli: Cli, demo: Workspace, busy: Run) -> None:
    """move, hold, release, cancel; by id, name or position; and what makes no sense."""
    ids = [cli("train", "rinni", "--queue", "--json").json["run"] for _ in range(3)]
    assert cli("queue", "move", ids[2], "first", "--json").json["position"] == 1
    assert [run["run"] for run in cli("queue", "list", "--json").json["queue"]] == [ids[2], ids[0], ids[1]]
    assert cli("queue", "hold", "2", "--json").json["held"] == "asked"
    assert "held" in cli("queue").lines[2]
    assert cli("queue", "release", "--all", "--json").json == {"released": [ids[0]]}
    assert cli("queue", "cancel", ids[0], "--json").json["state"] == "stopped"
    assert "not in the queue" in cli("queue", "cancel", ids[0], code=1).err
    assert cli("stop", ids[1], "--json").json["state"] == "stopped"
    assert "no place in the queue" in cli("queue", "move", ids[2], "up there", code=2).err
    assert "needs --after" in cli("train", "rinni", "--queue", "--only-if-finished", code=2).err
    assert "after" in cli("queue", "edit", ids[2], "--after", busy.id, "--at", "+2h").out
    edited = next(run for run in cli("queue", "--json").json["queue"] if run["run"] == ids[2])
    assert (edited["after"], edited["at"] is not None) == (busy.id, True)
    cli("queue", "edit", ids[2], "--after", "none", "--at", "now", "--share")
    edited = next(run for run in cli("queue", "--json").json["queue"] if run["run"] == ids[2])
    assert (edited["after"], edited["at"], edited["share"]) == (None, None, True)
    assert "needs --after" in cli("queue", "edit", ids[2], "--only-if-finished", code=2).err
    assert "What shall be another" in cli("queue", "edit", ids[2], code=2).err
    assert "Slurm has a queue of its own" in cli("train", "rinni", "--queue", "--launcher", "slurm", code=1).err
    assert "is not a time" in cli("train", "rinni", "--at", "soon", code=1).err
    held = cli("train", "rinni", "--hold", "--at", "+2h", "--after", busy.id, "--json").json
    assert held["held"] == "asked"


def test_a_config_that_was_spoilt_meanwhile_fails_with_the_finding(cli: Cli, demo: Workspace, busy: Run) -> None:
    """Nothing is trained that the preflight would refuse."""
    run = cli("train", "rinni", "--queue", "--json").json["run"]
    cli("config", "set", "rinni", "network_module=networks.nothing", "max_train_epochs=0")
    cli("stop", busy.id)
    found = ended(demo, run)
    assert found.state is RunState.FAILED
    assert (found.status.reason or "").startswith("Not started: ")
    assert not found.log_file.exists()


def test_a_tag_run_waits_too(cli: Cli, demo: Workspace, busy: Run) -> None:
    """It comes when the training is over."""
    answer = cli("tag", "rinni", "--queue", "--policy", "skip", "--json").json
    assert (answer["state"], answer["position"]) == ("queued", 1)
    cli("stop", busy.id)
    assert ended(demo, answer["run"]).state is RunState.FINISHED


def test_what_waits_in_vain_is_told_and_released(cli: Cli, demo: Workspace, busy: Run) -> None:
    """The supervisor was killed: `queue` says so, `release --all` makes it wait again."""
    run = store.observe(demo.runs / cli("train", "rinni", "--queue", "--json").json["run"])
    os.kill(run.status.supervisor_pid or 0, signal.SIGKILL)
    until(lambda: store.observe(run.dir).is_abandoned)
    answer = cli("queue")
    assert "nobody waits" in answer.out and "queue release --all" in answer.err
    assert cli("queue", "release", "--all", "--json").json == {"released": [run.id]}
    assert store.observe(run.dir).supervised
    assert [one.id for one in queue.waiting()] == [run.id]


# Resume


@pytest.fixture
def saving(cli: Cli, demo: Workspace) -> Cli:
    """A config that keeps a state with every epoch."""
    cli("config", "set", "rinni", "max_train_epochs=4", "save_every_n_epochs=1", "save_state=true")
    cli("config", "set", "rinni", "dataset:num_repeats=2")
    return cli


def killed_in_epoch(
    cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], epoch: int
) -> Run:
    """A run that is killed when the state of this epoch is complete."""
    monkeypatch.setenv("KOHYA_TUI_DEMO_STEP_SECONDS", "0.1")
    run = store.observe(demo.runs / cli(*words, "--force", "--json").json["run"])
    until(lambda: any(state.complete and state.epoch == epoch for state in artifacts.states(run)))
    cli("stop", run.id)
    monkeypatch.delenv("KOHYA_TUI_DEMO_STEP_SECONDS")
    return ended(demo, run.id)


def losses(run: Run) -> list[int]:
    """The steps in its events."""
    (path,) = events.find_events(run.logs_dir)
    return [step for tag, step, _, _ in events.EventFile(path).read() if tag == "loss/current"]


def test_a_chain_of_resumed_runs_trains_every_epoch_once(
    saving: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in epoch 2, resumed, stopped in epoch 3, resumed again: epochs 1, 2, 3, 4, as one run would.

    The second resume is what sd-scripts alone gets wrong: its state says a step that counts from the first resume.
    """
    first = killed_in_epoch(saving, demo, monkeypatch, ("train", "rinni"), 1)
    listed = saving("resume", first.id, "--list", "--json").json
    newest = next(state for state in listed["states"] if state["problem"] is None)
    assert newest["epoch"] >= 2 and newest["epochs"] == 4
    per_epoch = resume.steps_per_epoch(first)
    assert per_epoch and newest["step"] == (newest["epoch"] - 1) * per_epoch
    second = killed_in_epoch(saving, demo, monkeypatch, ("resume", first.id), newest["epoch"])
    assert second.spec.resumed_from == first.id
    assert second.spec.argv[second.spec.argv.index("--initial_epoch") + 1] == str(newest["epoch"])
    assert second.output_dir != first.output_dir
    answer = saving("resume", second.id, "--force", "--json")
    begins = newest["epoch"] + 1
    assert f"goes on with epoch {begins} of 4 (after step {newest['epoch'] * per_epoch:,})" in answer.err
    third = ended(demo, answer.json["run"])
    assert third.state is RunState.FINISHED
    assert [run.id for run in (*ancestors(third), third)] == [first.id, second.id, third.id]
    assert len(losses(third)) == (4 - begins + 1) * per_epoch
    names = [point.name for point in artifacts.checkpoints(third)]
    assert names == [*(f"rinni-{epoch:06d}.safetensors" for epoch in range(begins, 4)), "rinni.safetensors"]
    refused = saving("resume", third.id, code=1).err
    assert "has come to its end" in refused and "max_train_epochs" in refused
    saving("config", "set", "rinni", "max_train_epochs=5")
    assert "goes on with epoch 5 of 5" in saving("resume", third.id, "--list").out


def test_resume_says_what_does_not_fit(saving: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that was cut off, another dim, a rate that the state overrules, a run without states."""
    run = killed_in_epoch(saving, demo, monkeypatch, ("train", "rinni"), 1)
    state = artifacts.states(run)[0]
    for path in artifacts.states(run)[1:]:
        (path.path / artifacts.STATE_LAST_FILE).unlink()
    saving("config", "set", "rinni", "learning_rate=5e-5")
    answer = saving("resume", run.id, "--hold", "--json")
    assert "learning_rate changed in the config: without effect" in answer.err
    assert answer.json["state"] == "queued"
    saving("config", "set", "rinni", "network_dim=3")
    assert "another network_dim" in saving("resume", run.id, code=1).err
    saving("config", "unset", "rinni", "network_dim")
    (state.path / artifacts.STATE_LAST_FILE).unlink()
    assert "was cut off" in saving("resume", run.id, code=1).err
    assert "cut off" in saving("resume", run.id, "--list").out
    assert "no state folder" in saving("resume", run.id, "--state", "nowhere", code=1).err


def test_a_lora_is_trained_further(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """Its weights are loaded, the rest begins anew; another dim is refused unless it is taken from the file."""
    cli("config", "set", "rinni", *SHORT)
    first = ended(demo, cli("train", "rinni", "--json").json["run"])
    lora = artifacts.checkpoints(first)[-1].path
    answer = cli("train", "rinni", "--from", lora, "--json")
    assert "begin anew" in answer.err
    run = ended(demo, answer.json["run"])
    assert run.state is RunState.FINISHED
    assert run.spec.trained_from == str(lora)
    assert f"load network weights from {lora}" in run.log_file.read_text()
    cli("config", "set", "rinni", "network_dim=3")
    assert "network_dim 32 (the config has 3)" in (told := cli("train", "rinni", "--from", lora, code=1).err), told
    assert "--dim-from-weights" in told
    (tmp_path / "cut.safetensors").write_bytes(lora.read_bytes()[:-10])
    assert "not a complete LoRA" in cli("train", "rinni", "--from", tmp_path / "cut.safetensors", code=1).err
    assert all(one.status.state not in LIVE_STATES for one in store.list_runs(demo))
