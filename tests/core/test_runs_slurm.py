"""Runs as Slurm jobs, on a real one-node Slurm that the tests start."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.problems import UserError
from core.runs import batch, launch, slurm, slurm_queue, store
from core.runs.model import RunState
from core.runs.slurm import Slurm
from tests.core.runs_kit import Runs, log_of, wait_for
from tests.core.slurm_kit import Cluster, why_not

pytest_plugins = ("tests.core.runs_fixtures",)
needs_slurm = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
FOREVER = "say('up'); time.sleep(600)"
FINISHES = "save('lora.safetensors'); say('model saved.')"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def cluster(started: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, with its commands found and nothing remembered of another test."""
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm_queue, "_queue", slurm_queue._Queue())
    monkeypatch.setattr(slurm_queue, "QUEUE_SECONDS", 0.2)
    monkeypatch.setattr(slurm_queue, "_ends", {})
    yield started
    started.ask("scancel", "--user=root")
    wait_for(lambda: started.ask("squeue", "-h") == "", 40)


def job(runs: Runs, code: str, *, job: dict[str, Any] | None = None, **changes: Any) -> Any:
    table = Slurm.from_table({"gpus": 1} | (job or {})).as_table()
    return runs.create(code, launcher="slurm", slurm=table, **changes)


@needs_slurm
def test_a_run_on_the_cluster_is_the_same_run(runs: Runs, cluster: Cluster) -> None:
    """Submitted, running with the GPU that Slurm gave, watched by the same files, finished; the job ends with it."""
    code = "say(os.environ['CUDA_VISIBLE_DEVICES']); until('go'); " + FINISHES
    run = launch.start(job(runs, code))
    assert run.state in (RunState.QUEUED, RunState.RUNNING)
    run = wait_for(lambda: found if (found := store.observe(run.dir)).state is RunState.RUNNING else None, 60)
    assert (run.live, run.supervised) == (True, True)
    assert runs.logged(run, "\n").startswith("0")
    number = slurm_queue.job_of(run.dir)
    assert number is not None
    assert cluster.ask("squeue", "-h", "-o", "%j|%T", "-j", number) == "kt-test|RUNNING"
    (runs.folder.parent / "go").touch()
    run = runs.ended(run)
    assert (run.state, run.status.returncode) == (RunState.FINISHED, 0)
    assert "JobState=COMPLETED" in wait_for(lambda: _shown(cluster, number, "JobState=COMPLETED"))


def _shown(cluster: Cluster, number: str, words: str) -> str:
    text = cluster.ask("scontrol", "-o", "show", "job", number)
    return text if words in text else ""


@needs_slurm
def test_a_waiting_job_says_why_and_can_be_cancelled(runs: Runs, cluster: Cluster) -> None:
    """More GPUs than are free: PENDING with the reason; stop takes it out of the queue, and it is stopped."""
    busy = launch.start(job(runs, FOREVER, job={"gpus": 2}, name="busy"))
    wait_for(lambda: store.observe(busy.dir).live, 60)
    run = launch.start(job(runs, FOREVER))
    found = wait_for(lambda: one if "PENDING" in ((one := store.observe(run.dir)).status.reason or "") else None)
    assert found.state is RunState.QUEUED
    wait_for(lambda: "(Resources)" in (store.observe(run.dir).status.reason or ""))
    launch.stop(found)
    found = store.observe(run.dir)
    assert (found.state, found.status.reason) == (RunState.STOPPED, "Stopped on request, before it began.")
    number = slurm_queue.job_of(run.dir) or ""
    wait_for(lambda: _shown(cluster, number, "JobState=CANCELLED"))
    launch.stop(store.observe(busy.dir))
    assert runs.ended(busy).status.reason == "Stopped on request."


@needs_slurm
def test_scancel_ends_the_trainer_and_the_run_says_so(runs: Runs, cluster: Cluster) -> None:
    """From outside, with the cluster's own command: nothing is left, and it is told from a stop on request."""
    run = launch.start(job(runs, "subprocess.Popen(['sleep', '600'], start_new_session=True); " + FOREVER))
    wait_for(lambda: "up" in log_of(run), 60)
    run = store.observe(run.dir)
    group = launch.group_of(run)
    assert len(group) == 2
    cluster.ask("scancel", slurm_queue.job_of(run.dir) or "")
    run = runs.ended(run)
    assert (run.state, run.status.reason) == (
        RunState.STOPPED,
        "Stopped by Slurm: the job was cancelled, preempted or at its time limit.",
    )
    wait_for(lambda: launch.group_of(run) == [])


@needs_slurm
def test_a_job_cancelled_while_it_waits_is_seen(runs: Runs, cluster: Cluster) -> None:
    """Somebody uses scancel: the run does not wait for ever."""
    run = launch.start(job(runs, FOREVER, job={"extra": ["--begin=now+1hour"]}))
    wait_for(lambda: "BeginTime" in (store.observe(run.dir).status.reason or ""))
    cluster.ask("scancel", slurm_queue.job_of(run.dir) or "")
    found = wait_for(lambda: one if (one := store.observe(run.dir)).state is RunState.STOPPED else None, 30)
    assert "cancelled before it began" in (found.status.reason or "")


@needs_slurm
def test_a_job_that_cannot_begin_shows_its_last_words(runs: Runs, cluster: Cluster) -> None:
    """The module or the Python is not on the node: failed, with what the script said."""
    run = launch.start(job(runs, FOREVER, job={"setup": ["echo no such module >&2", "exit 3"]}))
    found = wait_for(lambda: one if (one := store.observe(run.dir)).state is RunState.FAILED else None, 30)
    assert "ended before the training began" in (found.status.reason or "")
    assert "no such module" in (found.status.reason or "")


@needs_slurm
def test_what_slurm_refuses_is_told_at_once(runs: Runs, cluster: Cluster) -> None:
    """A partition that is not there: the run failed with Slurm's words, and nothing was submitted."""
    run = job(runs, FOREVER, job={"partition": "nowhere"})
    with pytest.raises(UserError, match="Slurm refused: Invalid partition name"):
        launch.start(run)
    assert store.observe(run.dir).state is RunState.FAILED
    assert slurm_queue.job_of(run.dir) is None


@needs_slurm
def test_an_array_runs_every_run_of_a_sweep(runs: Runs, cluster: Cluster) -> None:
    """One job for several runs, each in its own folder, not more at a time than was said."""
    several = [job(runs, FINISHES, name=f"r{index}", id=f"20260101-00000{index}-r{index}") for index in range(3)]
    number = slurm.submit(several, at_once=2)
    assert [slurm_queue.job_of(run.dir) for run in several] == [f"{number}_{index}" for index in range(3)]
    assert [runs.ended(run).state for run in several] == [RunState.FINISHED] * 3


@needs_slurm
def test_without_its_supervisor_the_training_in_a_job_is_still_seen(runs: Runs, cluster: Cluster) -> None:
    """kill -9 of the supervisor ends the job's script; the lock tells what lives, and it can be stopped."""
    run = launch.start(job(runs, FOREVER))
    wait_for(lambda: "up" in log_of(run), 60)
    supervisor = store.observe(run.dir).status.supervisor_pid or 0
    os.kill(supervisor, signal.SIGKILL)
    found = wait_for(lambda: one if not (one := store.observe(run.dir)).supervised else None)
    if found.live:
        launch.stop(found, grace=2)
        assert store.observe(run.dir).state is RunState.STOPPED
    else:
        assert found.state is RunState.LOST


def test_the_script_says_everything(runs: Runs) -> None:
    """Partition, GPUs, time, own options, lines of shell; no requeue unless it is asked for."""
    table = {"partition": "gpu", "gpus": "a100:2", "time": "2-12:00:00", "cpus": 8, "memory": "32G"}
    run = job(runs, FOREVER, name="rinni v3")
    options = Slurm.from_table(table, extra=["#SBATCH --qos=long"], setup=["module load cuda"])
    text = slurm.script([run], options)
    for line in (
        "#SBATCH --job-name=kt-rinni-v3",
        "#SBATCH --gres=gpu:a100:2",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=2-12:00:00",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=32G",
        "#SBATCH --no-requeue",
        "#SBATCH --qos=long",
        "module load cuda",
    ):
        assert f"\n{line}\n" in text
    assert text.splitlines()[-1].startswith("exec ")
    assert "\n#SBATCH --requeue\n" in slurm.script([run], Slurm(requeue=True))
    assert subprocess.run(["bash", "-n"], input=text.encode(), check=False).returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        Slurm(time="tomorrow"),
        Slurm(gpus="two"),
        Slurm(partition='a"b'),
        Slurm(extra=("--x\nrm -rf",)),
        Slurm(extra=("x",)),
    ],
)
def test_what_cannot_stand_in_a_script_is_refused(options: Slurm) -> None:
    """Before anything is submitted, with how it is written."""
    with pytest.raises(UserError):
        options.directives()


def test_a_machine_without_slurm_says_so(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No sbatch: the remedy, and the run failed with that reason."""
    monkeypatch.setenv("PATH", str(tmp_path))
    run = job(runs, FOREVER)
    with pytest.raises(UserError, match="sbatch is not on this machine"):
        launch.start(run)
    assert store.observe(run.dir).state is RunState.FAILED


def test_a_run_on_another_node_is_alive_by_its_heartbeat(runs: Runs) -> None:
    """Its locks are not seen here: a state that was written just now is believed, an old one is lost."""
    run = job(runs, FOREVER)
    state = run.dir / "state.json"
    state.write_text('{"v": 1, "state": "running", "host": "node-17", "pid": 4, "boot_id": "x", "started": 1.0}')
    found = store.observe(run.dir)
    assert (found.state, found.live, found.supervised) == (RunState.RUNNING, True, True)
    os.utime(state, (1.0, 1.0))
    monkey = slurm_queue._queue
    monkey._jobs, monkey._read = {}, time.monotonic()
    assert store.observe(run.dir).state is RunState.LOST
    (run.dir / slurm_queue.JOB_FILE).write_text('{"job": "7"}')
    monkey._jobs = {"7": slurm_queue.Job("RUNNING")}
    assert store.observe(run.dir).live
    monkey.forget()


@needs_slurm
def test_an_interrupted_job_waits_to_begin_again(runs: Runs, cluster: Cluster) -> None:
    """`scontrol requeue`, as a node failure or a more important job would do it: queued, and stop takes it out."""
    run = launch.start(job(runs, FOREVER, job={"requeue": True}))
    wait_for(lambda: "up" in log_of(run), 60)
    number = slurm_queue.job_of(run.dir) or ""
    cluster.ask("scontrol", "requeue", number)
    found = wait_for(lambda: one if (one := store.observe(run.dir)).state is RunState.QUEUED else None, 60)
    assert "begins again: PENDING" in (found.status.reason or "")
    launch.stop(found)
    assert store.observe(run.dir).state is RunState.STOPPED
    wait_for(lambda: cluster.ask("squeue", "-h", "-j", number) == "", 30)


def test_a_requeued_job_goes_on_from_its_newest_state(runs: Runs) -> None:
    """Its node failed: the same folder, from the last complete state, at the next epoch."""
    run = job(runs, FOREVER)
    for name, complete in (("lora-000001-state", True), ("lora-000002-state", True), ("lora-000003-state", False)):
        folder = runs.out / name
        folder.mkdir(parents=True)
        (folder / "train_state.json").write_text(f'{{"current_epoch": {name[10]}, "current_step": 5}}')
        if complete:
            (folder / "random_states_0.pkl").write_text("x")
    (run.dir / "state.json").write_text('{"v": 1, "state": "running", "boot_id": "before", "pid": 4}')
    (run.dir / "output.log").write_text("steps")
    assert batch.prepare_again(run.dir)
    found = store.observe(run.dir)
    assert found.state is RunState.QUEUED
    assert found.spec.argv[-4:] == ("--resume", str(runs.out / "lora-000002-state"), "--initial_epoch", "3")
    (run.dir / "state.json").write_text('{"v": 1, "state": "stopped", "reason": "Stopped on request."}')
    assert not batch.prepare_again(run.dir)
    assert log_of(run) == "steps"


# The last one: a controller that came back from kill -9 may let later jobs wait for long


@needs_slurm
def test_the_end_of_the_controller_harms_no_run(runs: Runs, cluster: Cluster) -> None:
    """kill -9: the training goes on and is seen, a waiting one is shown as it was; nobody waits nine seconds."""
    run = launch.start(job(runs, FOREVER))
    wait_for(lambda: store.observe(run.dir).live, 60)
    waiting = launch.start(job(runs, FOREVER, job={"extra": ["--begin=now+1hour"]}, name="waiting"))
    wait_for(lambda: "PENDING" in (store.observe(waiting.dir).status.reason or ""))
    cluster.stop_controller()
    try:
        took: list[float] = []

        def is_told() -> bool:
            begun = time.monotonic()
            seen = store.observe(waiting.dir)
            took.append(time.monotonic() - begun)
            assert seen.state is RunState.QUEUED
            return "does not answer" in (seen.status.reason or "")

        wait_for(is_told)  # the last answer grows old first
        assert max(took) < 3
        assert store.observe(run.dir).live
        launch.stop(store.observe(run.dir))
        assert runs.ended(run).state is RunState.STOPPED
    finally:
        cluster.start_controller()
        wait_for(lambda: cluster.ask("sinfo", "-h", "-o", "%T") in ("idle", "mixed", "allocated", "completing"), 40)
