"""The supervisor with real processes and signals: what survives, what ends, and what is written about it."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.problems import UserError
from core.runs import launch, proc, store
from core.runs.model import RunState
from tests.core.runs_kit import Runs, delete, log_of, wait_for

pytest_plugins = ("tests.core.runs_fixtures",)

FOREVER = "say('up'); time.sleep(600)"


def supervisor_of(runs: Runs, run: object) -> int:
    pid = store.observe(run.dir).status.supervisor_pid  # type: ignore[attr-defined]
    assert pid is not None
    return pid


def test_a_started_run_is_running_with_its_own_session_and_surroundings(runs: Runs) -> None:
    """Its own session, a log file for output, nothing to read from, lines unbuffered, 400 columns, Ctrl-C working."""
    code = (
        "say(json.dumps({'sid': os.getsid(0), 'pid': os.getpid(), 'cwd': os.getcwd(), 'env': dict(os.environ),"
        " 'int': signal.getsignal(signal.SIGINT) is signal.default_int_handler, 'in': sys.stdin.read(),"
        " 'blocked': len(signal.pthread_sigmask(signal.SIG_BLOCK, []))})); time.sleep(600)"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup kohya-tui &` has it
    try:
        run = runs.start(code, env={"OUT": str(runs.out), "MINE": "1"})
    finally:
        signal.signal(signal.SIGINT, before)
    assert (run.state, run.live, run.supervised) == (RunState.RUNNING, True, True)
    told = json.loads(runs.logged(run, "}").splitlines()[0])
    assert told["sid"] == told["pid"] == run.status.pid
    assert told["cwd"] == str(runs.folder.parent)
    assert (told["in"], told["int"], told["blocked"]) == ("", True, 0)
    wanted = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "COLUMNS": "400", "MINE": "1"}
    assert wanted.items() <= told["env"].items()
    assert proc.is_alive(run.status.pid, run.status.pid_start, run.status.boot_id)


def test_the_supervisor_stays_small(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 15 MiB, and no terminal."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)  # what is measured is not what is weighed
    pid = supervisor_of(runs, runs.start(FOREVER))
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert int(fields["VmRSS"].split()[0]) <= 15 * 1024
    assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[4] == "0"


def test_a_training_that_saves_its_final_file_is_finished(runs: Runs) -> None:
    """rc 0, `model saved.`, a complete file that is younger than the start."""
    run = runs.ended(runs.start("save('lora.safetensors'); say('model saved.')"))
    assert (run.state, run.status.returncode, run.status.reason) == (RunState.FINISHED, 0, None)
    assert not run.live
    assert run.status.ended is not None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "say('ERROR    No data found. Please verify arguments (train_data_dir must be the parent of folders)')",
            "no images",
        ),
        ("say('done')", "without its final file"),
        ("save('lora-000001.safetensors'); say('model saved.')", "without its final file"),
        ("save('lora.safetensors')", "without its final file"),
        (
            "out.mkdir(); (out / 'lora.safetensors').write_bytes(b'x' * 100); say('model saved.')",
            "without its final file",
        ),
    ],
)
def test_exit_code_0_is_not_success(runs: Runs, code: str, words: str) -> None:
    """No data, no final file, a cut-off file, no last words: failed, with the sentence."""
    run = runs.ended(runs.start(code))
    assert (run.state, run.status.returncode) == (RunState.FAILED, 0)
    assert words in (run.status.reason or "")


def test_an_exception_is_the_reason(runs: Runs) -> None:
    """The last words of the trainer, as a sentence."""
    run = runs.ended(runs.start("raise ImportError('No xformers / xformersがインストールされていないようです')"))
    assert (run.state, run.status.returncode) == (RunState.FAILED, 1)
    assert "sdpa = true" in (run.status.reason or "")


def test_a_trainer_that_was_killed_from_outside_says_so(runs: Runs) -> None:
    """kill -9 by somebody else, or the kernel."""
    run = runs.start(FOREVER)
    runs.logged(run, "up")
    os.kill(run.status.pid or 0, signal.SIGKILL)
    run = runs.ended(run)
    assert (run.state, run.status.returncode) == (RunState.FAILED, -9)
    assert "SIGKILL" in (run.status.reason or "")


@pytest.mark.parametrize("argv", [("/nowhere/python", "x"), None])
def test_a_run_that_cannot_start_says_why_in_its_own_log(runs: Runs, argv: tuple[str, ...] | None) -> None:
    """The Python is missing, or the folder is gone: failed at once, with the path."""
    changes = {"argv": argv} if argv else {"cwd": str(runs.folder / "gone")}
    run = runs.start(FOREVER, **changes)
    assert run.state is RunState.FAILED
    wrong = argv[0] if argv else str(runs.folder / "gone")
    assert wrong in (run.status.reason or "")
    assert wrong in log_of(run)


def test_stop_ends_the_whole_group(runs: Runs) -> None:
    """Children that ignore SIGTERM, that have their own group or their own session: nothing is left."""
    code = (
        "child = 'import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        'print("child", os.getpid(), flush=True); time.sleep(600)\'\n'
        "subprocess.Popen([sys.executable, '-c', child])\n"
        "subprocess.Popen([sys.executable, '-c', child], process_group=0)\n"
        "middle = 'import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)'\n"
        "subprocess.run([sys.executable, '-c', middle, sys.executable, '-c', child])\n"
        "time.sleep(600)"
    )
    run = runs.start(code)
    wait_for(lambda: log_of(run).count("child") == 3)
    children = [int(line.split()[1]) for line in log_of(run).splitlines() if line.startswith("child")]
    launch.stop(run)
    run = runs.ended(run)
    assert (run.state, run.status.returncode) == (RunState.STOPPED, -15)
    assert run.status.reason == "Stopped on request."
    assert [pid for pid in children if proc.start_ticks(pid) is not None] == []


def test_a_trainer_that_ignores_sigterm_is_killed(runs: Runs) -> None:
    """SIGTERM, some patience, SIGKILL."""
    run = runs.start("signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER)
    runs.logged(run, "up")
    launch.stop(run)
    run = runs.ended(run)
    assert (run.state, run.status.returncode) == (RunState.STOPPED, -9)


def test_what_the_trainer_leaves_behind_is_ended(runs: Runs) -> None:
    """The wrapper dies alone (kill -9), the real trainer under it would go on for ever without anybody."""
    run = runs.start("child = subprocess.Popen(['sleep', '600']); say(f'child {child.pid}'); time.sleep(600)")
    child = int(runs.logged(run, "\n").split()[1])
    os.kill(run.status.pid or 0, signal.SIGKILL)
    assert runs.ended(run).state is RunState.FAILED
    assert proc.start_ticks(child) is None


@pytest.mark.parametrize("processes", ["1", "2"])
def test_stop_after_the_next_checkpoint_waits_for_file_and_state(runs: Runs, tmp_path: Path, processes: str) -> None:
    """Asked before a checkpoint: the run goes on until weights and state are complete, then ends.

    Of several processes the first alone writes the state: nobody waits for the others' files.
    """
    code = (
        "say('up'); until('go1'); save('lora-000001.safetensors'); state = out / 'lora-000001-state'; state.mkdir()\n"
        "(state / 'train_state.json').write_text('{}'); say('half'); until('go2')\n"
        "(state / 'random_states_0.pkl').write_text('x'); time.sleep(600)"
    )
    argv = (sys.executable, str(runs.script), code, "--num_processes", processes)
    run = runs.start(code, {"train.toml": b"[saving]\nsave_state = true\n"}, argv=argv)
    runs.logged(run, "up")
    launch.stop(run, "stop-after-checkpoint")
    wait_for(lambda: store.observe(run.dir).status.stop_after_checkpoint)
    (tmp_path / "go1").touch()
    runs.logged(run, "half")
    assert store.observe(run.dir).state is RunState.RUNNING
    (tmp_path / "go2").touch()
    run = runs.ended(run)
    assert run.state is RunState.STOPPED
    assert run.status.reason == "Stopped after the checkpoint lora-000001.safetensors."


def test_a_checkpoint_that_is_being_written_is_the_next_one(runs: Runs, tmp_path: Path) -> None:
    """Asked while it is half on disk: that one is waited for, not one in an hour."""
    code = (
        "out.mkdir(); say(f'\\nsaving checkpoint: {out / \"lora-000001.safetensors\"}')\n"
        "(out / 'lora-000001.safetensors').write_bytes(b'half'); say('half'); until('go')\n"
        "save('lora-000001.safetensors')\n"
        "time.sleep(600)"
    )
    run = runs.start(code)
    runs.logged(run, "half")
    launch.stop(run, "stop-after-checkpoint")
    wait_for(lambda: store.observe(run.dir).status.stop_after_checkpoint)
    (tmp_path / "go").touch()
    assert runs.ended(run).status.reason == "Stopped after the checkpoint lora-000001.safetensors."


def test_a_trainer_without_mark_and_group_is_found_by_its_lock(runs: Runs) -> None:
    """It daemonised with an empty environment, and its supervisor was killed: stop still ends it, and only it."""
    code = (
        "if os.fork(): time.sleep(600)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "lock = next(fd for fd in range(3, 20) if os.path.exists(f'/proc/self/fd/{fd}')"
        " and os.readlink(f'/proc/self/fd/{fd}').endswith('alive.lock'))\n"
        "os.set_inheritable(lock, True)\n"
        "os.execve('/bin/sleep', ['sleep', '600'], {})"
    )
    run = runs.start(code)
    away = wait_for(lambda: [pid for pid in proc.holders(str(run.dir / "alive.lock")) if is_sleep(pid)])
    os.kill(supervisor_of(runs, run), signal.SIGKILL)
    os.kill(run.status.pid or 0, signal.SIGKILL)
    found = wait_for(lambda: one if (one := store.observe(run.dir)).unsupervised else None)
    assert launch.group_of(found) == away  # type: ignore[arg-type]
    launch.stop(found, grace=2)  # type: ignore[arg-type]
    assert store.observe(run.dir).state is RunState.STOPPED
    assert [pid for pid in away if proc.start_ticks(pid) is not None] == []


def is_sleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")


def test_a_wish_to_stop_can_be_taken_back(runs: Runs, tmp_path: Path) -> None:
    """Stop after the checkpoint, then continue: the checkpoint comes and the run goes on to its end."""
    run = runs.start(
        "until('go'); save('lora-000001.safetensors'); until('end'); save('lora.safetensors'); say('model saved.')"
    )
    store.request(run, "stop-after-checkpoint")
    wait_for(lambda: store.observe(run.dir).status.stop_after_checkpoint)
    store.request(run, "continue")
    wait_for(lambda: not store.observe(run.dir).status.stop_after_checkpoint)
    (tmp_path / "go").touch()
    runs.logged(run, "saving")
    (tmp_path / "end").touch()
    assert runs.ended(run).state is RunState.FINISHED


def test_a_run_that_ends_while_it_is_being_stopped_is_finished(runs: Runs) -> None:
    """It saved its final file and left with 0 although it was asked to stop: nothing was lost."""
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: (save('lora.safetensors'), say('model saved.'), os._exit(0)))\n"
        + FOREVER
    )
    run = runs.start(code)
    runs.logged(run, "up")
    launch.stop(run)
    assert runs.ended(run).state is RunState.FINISHED


def test_sighup_does_not_concern_the_supervisor_and_sigterm_stops_the_run(runs: Runs) -> None:
    """The terminal goes: nothing. The machine shuts down: the run is stopped and says by whom."""
    run = runs.start(FOREVER)
    runs.logged(run, "up")
    pid = supervisor_of(runs, run)
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    run = runs.ended(run)
    assert run.state is RunState.STOPPED
    assert "SIGTERM" in (run.status.reason or "")


def test_without_its_supervisor_the_trainer_goes_on_and_can_be_stopped(runs: Runs) -> None:
    """kill -9 of the supervisor: the run is live and unsupervised; stop ends its group and is remembered."""
    run = runs.start(
        "subprocess.Popen(['sleep', '600']); subprocess.Popen(['sleep', '601'], start_new_session=True); " + FOREVER
    )
    runs.logged(run, "up")
    os.kill(supervisor_of(runs, run), signal.SIGKILL)
    run = wait_for(lambda: found if (found := store.observe(run.dir)).unsupervised else None)  # type: ignore[assignment]
    assert (run.state, run.live) == (RunState.RUNNING, True)
    with pytest.raises(UserError, match="Nobody supervises"):
        launch.stop(run, "stop-after-checkpoint")
    group = launch.group_of(run)
    assert len(group) == 3
    launch.stop(run, grace=2)
    found = store.observe(run.dir)
    assert (found.state, found.live) == (RunState.STOPPED, False)
    assert [pid for pid in group if proc.start_ticks(pid) is not None] == []


def test_a_trainer_whose_supervisor_died_before_its_first_word_can_be_stopped(runs: Runs) -> None:
    """Killed between the start of the trainer and state.json: the run's mark leads to the trainer."""
    run = runs.start("time.sleep(60)")
    assert run.status.supervisor_pid is not None
    os.kill(run.status.supervisor_pid, signal.SIGKILL)
    wait_for(lambda: not store.observe(run.dir).supervised)
    (run.dir / "state.json").unlink()
    assert store.observe(run.dir).live
    launch.stop(run)
    assert not wait_for(lambda: launch.group_of(run) == [] and store.observe(run.dir)).live
    assert store.observe(run.dir).state is RunState.STOPPED


@pytest.mark.parametrize(
    ("last", "state"), [("save('lora.safetensors'); say('model saved.')", "finished"), ("", "lost")]
)
def test_the_end_of_an_unsupervised_run_is_recognised(runs: Runs, tmp_path: Path, last: str, state: str) -> None:
    """Nobody saw the exit code: the log and the final file tell."""
    run = runs.start(f"say('up'); until('go'); {last}")
    runs.logged(run, "up")
    os.kill(supervisor_of(runs, run), signal.SIGKILL)
    (tmp_path / "go").touch()
    found = wait_for(lambda: found if not (found := store.observe(run.dir)).live else None)
    assert found.state == state
    assert (found.status.reason is None) == (state == "finished")


STARTER = """
import sys, time
from pathlib import Path
from core.runs import launch, store
run = launch.start(store.observe(Path(sys.argv[1])), timeout=20)
print("started", run.state, flush=True)
time.sleep(600)
"""


def test_a_run_survives_the_death_of_its_starter(runs: Runs) -> None:
    """kill -9 of the app and everything in its process group."""
    run = runs.create(FOREVER)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(run.dir)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"started running\n"
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    runs.logged(run, "up")
    found = store.observe(run.dir)
    assert (found.live, found.supervised, found.state) == (True, True, RunState.RUNNING)


def test_a_run_survives_the_closing_of_its_terminal(runs: Runs) -> None:
    """The ssh connection drops: the terminal hangs up, the app gets SIGHUP, the run goes on."""
    run = runs.create(FOREVER)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", STARTER, str(run.dir)])
    told = b""
    while b"started running" not in told:
        told += os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    runs.logged(run, "up")
    found = store.observe(run.dir)
    assert (found.live, found.supervised) == (True, True)


def test_a_run_is_started_once(runs: Runs) -> None:
    """A second start, and a second supervisor by hand, are refused; the run goes on."""
    run = runs.start(FOREVER)
    with pytest.raises(UserError, match="was started before"):
        launch.start(run)
    again = [sys.executable, "-P", "-m", "core.runs.supervisor", str(run.dir), "--foreground"]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "busy" in done.stdout
    assert store.observe(run.dir).live


def test_a_run_whose_folder_is_deleted_is_stopped(runs: Runs) -> None:
    """Nobody could see or stop it any more: the trainer and its supervisor end, and the folder does not come back."""
    run = runs.start(FOREVER)
    runs.logged(run, "up")
    supervisor = supervisor_of(runs, run)
    delete(run.dir)
    with pytest.raises(UserError, match="is gone"):
        store.observe(run.dir)
    wait_for(lambda: proc.start_ticks(run.status.pid or 0) is None)
    wait_for(lambda: proc.start_ticks(supervisor) is None)
    assert not run.dir.exists()


def test_a_run_whose_folder_is_moved_goes_on(runs: Runs, tmp_path: Path) -> None:
    """Renamed, it is still there for its user, who can bring it back: then it can be stopped as ever."""
    run = runs.start(FOREVER)
    runs.logged(run, "up")
    away = run.dir.rename(tmp_path / "away")
    beats = (away / "supervisor.log").stat().st_size
    wait_for(lambda: (away / "supervisor.log").stat().st_size > beats, 30)  # a heartbeat that could not be written
    assert proc.start_ticks(run.status.pid or 0) is not None
    away.rename(run.dir)
    launch.stop(run)
    assert runs.ended(run).state is RunState.STOPPED


def test_a_full_disk_does_not_end_a_run(runs: Runs, tmp_path: Path) -> None:
    """state.json cannot be written any more: the supervisor goes on, the run can be stopped, its end is not lost."""
    run = runs.start(FOREVER)
    runs.logged(run, "up")
    supervisor = supervisor_of(runs, run)
    room = (run.dir / "state.json").stat().st_size
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (room // 2, room // 2))
    launch.stop(run)
    wait_for(lambda: proc.start_ticks(supervisor) is None)
    assert proc.start_ticks(run.status.pid or 0) is None
    assert "cannot be written" in (run.dir / "supervisor.log").read_text()
    found = store.observe(run.dir)
    assert (found.state, found.live) == (RunState.LOST, False)
    proc.overwrite_json(str(run.dir / "state.json"), {"v": 1, "state": "stopped"})
    assert store.observe(run.dir).state is RunState.STOPPED


def test_a_zombie_is_dead(runs: Runs) -> None:
    """A process that ended and was not reaped does not count as alive, nor does a later one with its number."""
    child = subprocess.Popen(["sleep", "600"])
    ticks = proc.start_ticks(child.pid)
    assert proc.is_alive(child.pid, ticks, proc.boot_id())
    assert not proc.is_alive(child.pid, (ticks or 0) + 1, proc.boot_id())
    assert not proc.is_alive(child.pid, ticks, "another boot")
    child.kill()
    wait_for(lambda: (proc.stat_of(child.pid) or "?")[0] == "Z")
    assert not proc.is_alive(child.pid, ticks, proc.boot_id())
    assert child.pid not in proc.members(os.getpgid(0))
    child.wait()
