"""What nothing kills: each row is a blow to a real app, terminal, connection, disk or supervisor with two runs going.

After each one run goes on to its end and is finished, the other can be stopped from a fresh shell, and what the files
say is true. Once a row; `KOHYA_TUI_MATRIX_REPEATS=20` repeats each.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.problems import UserError
from core.runs import launch, proc, store
from core.runs.model import ENDED_STATES, Run, RunState
from core.workspace import Workspace, create
from tests.core.runs_kit import Runs, delete, log_of, wait_for
from tests.core.slurm_kit import free_port
from tests.e2e.terminal import environment_of

pytest_plugins = ("tests.core.runs_fixtures",)
REPEATS = int(os.environ.get("KOHYA_TUI_MATRIX_REPEATS", "1"))
STARTER = Path(__file__).with_name("app_that_starts.py")
ROOT = Path(__file__).parents[2]

GOES_ON = """
step = 0
while not (Path(os.environ["OUT"]).parent / "go").exists():
    step += 1
    print(f"\\rsteps:  10%|x| {step}/900 [00:01<00:09,  9.00it/s, avr_loss=0.1]", end="", flush=True)
    time.sleep(0.05)
save("lora.safetensors"); say("model saved.")
"""
FOREVER = "subprocess.Popen(['sleep', '600'], start_new_session=True); say('up'); time.sleep(600)"


class Stage:
    """A workspace with two prepared runs, and the ways in which an app in it is brought up and down."""

    def __init__(self, kit: Runs, workspace: Workspace, home: Path) -> None:
        self.kit, self.workspace, self.home = kit, workspace, home
        self.one = kit.create(GOES_ON, name="one", id="20260101-000001-one")
        self.two = kit.create(FOREVER, name="two", id="20260101-000002-two")
        self.environment = environment_of(home) | {"TMUX_TMPDIR": str(home), "PYTHONPATH": str(ROOT)}
        self._ends: list[Callable[[], object]] = []

    @property
    def app(self) -> list[str]:
        runs = [str(self.one.dir), str(self.two.dir)]
        return [sys.executable, "-P", str(STARTER), str(self.workspace.root), *runs]

    def started(self) -> None:
        """Until both trainers have said something."""
        for run in (self.one, self.two):
            wait_for(lambda run=run: store.observe(run.dir).state is RunState.RUNNING and log_of(run), 60)  # type: ignore[misc]

    def in_terminal(self) -> Terminal:
        terminal = Terminal(self.app, self.environment)
        self._ends.append(terminal.close)
        self.started()
        return terminal

    def in_tmux(self) -> Callable[..., str]:
        """A server of its own; the answer speaks to it."""

        def tmux(*words: str) -> str:
            done = subprocess.run(
                ["tmux", "-L", "matrix", *words], env=self.environment, capture_output=True, text=True, check=False
            )
            return done.stdout.strip()

        self._ends.append(lambda: tmux("kill-server"))
        subprocess.run(
            ["tmux", "-L", "matrix", "-f", "/dev/null", "new-session", "-d", "-s", "kt", *self.app],
            env=self.environment,
            check=True,
        )
        self.started()
        return tmux

    def over_ssh(self) -> tuple[subprocess.Popen[bytes], int]:
        """(the client, the pid of the listening sshd), with the app in a terminal of that connection."""
        folder = self.home / "sshd"
        folder.mkdir()
        for name in ("host", "user"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True)
        port = free_port()
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        lines = {
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "user.pub",
            "ListenAddress": f"127.0.0.1:{port}",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
        }
        (folder / "conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "conf")], stderr=subprocess.DEVNULL)
        self._ends.append(lambda: (sshd.terminate(), sshd.wait()))
        script = folder / "app.sh"
        kept = ("HOME", "PATH", "TERM", "COLORTERM", "LANG", "PYTHONPATH", "KOHYA_TUI_", "XDG_")
        wanted = {
            **self.environment,
            **{name: os.environ[name] for name in os.environ if name.startswith("KOHYA_TUI_")},
        }
        exports = [f"export {name}='{value}'" for name, value in wanted.items() if name.startswith(kept)]
        script.write_text("\n".join([*exports, "exec " + " ".join(f"'{word}'" for word in self.app)]))
        options = [f"-p{port}", f"-i{folder / 'user'}", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
        command = ["ssh", "-F", "none", "-tt", *options, "127.0.0.1", f"sh {script}"]
        deadline = time.monotonic() + 20
        while True:
            client = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(0.7)  # refused: sshd does not listen yet
            if client.poll() is None:
                break
            assert time.monotonic() < deadline, "no ssh connection"
        self._ends.append(lambda: (client.kill(), client.wait()))
        self.started()
        return client, sshd.pid

    def kohya_tui(self, *words: str) -> dict[str, Any]:
        """A headless command in a fresh shell, with `--json`."""
        command = [sys.executable, "-P", "-m", "tui", "-C", str(self.workspace.root), *words, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def check(self, *, supervised: bool = True) -> None:
        """Both live; one goes on and finishes, the other is stopped by a command and nothing of it is left."""
        for run in (self.one, self.two):
            found = store.observe(run.dir)
            assert (found.state, found.live, found.supervised) == (RunState.RUNNING, True, supervised)
        before = len(log_of(self.one))
        wait_for(lambda: len(log_of(self.one)) > before)
        group = launch.group_of(store.observe(self.two.dir))
        assert len(group) == 2
        assert self.kohya_tui("stop", self.two.id)["state"] == "stopped"
        wait_for(lambda: [pid for pid in group if proc.start_ticks(pid) is not None] == [])
        (self.kit.out.parent / "go").touch()
        one = wait_for(lambda: found if (found := store.observe(self.one.dir)).state in ENDED_STATES else None)
        assert (one.state, one.status.reason) == (RunState.FINISHED, None)
        told = {run["id"]: run["state"] for run in self.kohya_tui("runs")["runs"]}
        assert told == {self.one.id: "finished", self.two.id: "stopped"}

    def close(self) -> None:
        for end in reversed(self._ends):
            with contextlib.suppress(OSError):
                end()


class Terminal:
    """A pty with the app in it; what it draws is read and forgotten until `stall`."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)
        self._reads = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while self._reads:
            try:
                if not os.read(self.master, 65536):
                    return
            except OSError:
                return

    def stall(self) -> None:
        """Nobody reads any more: keys make the app draw until its terminal takes nothing."""
        self._reads = False
        deadline = time.monotonic() + 20
        while (waiting := self._unread()) < 3000 or waiting != self._unread():
            assert time.monotonic() < deadline, "the app does not draw"
            for key in b"12345":  # not faster than screens change: Textual draws when its keys rest
                os.write(self.master, bytes([key]))
                time.sleep(0.2)

    def _unread(self) -> int:
        return int.from_bytes(fcntl.ioctl(self.master, termios.FIONREAD, bytes(4)), sys.byteorder)

    def is_up(self) -> bool:
        return proc.start_ticks(self.pid) is not None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        with contextlib.suppress(OSError):
            os.close(self.master)


@pytest.fixture(params=range(REPEATS), ids=lambda number: f"time {number + 1}")
def stage(request: pytest.FixtureRequest, runs: Runs, tmp_path: Path, own_home: Path) -> Iterator[Stage]:
    """The workspace, ready; whatever was brought up is taken down."""
    workspace = create(tmp_path / "work")
    stage = Stage(Runs(workspace.root), workspace, own_home)
    yield stage
    stage.close()
    for run in store.list_runs(stage.kit.folder):
        proc.send([*launch.group_of(run), *([run.status.supervisor_pid] if run.supervised else [])], 9)  # type: ignore[list-item]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=["TERM", "HUP", "KILL"])
def test_the_app_is_killed(stage: Stage, number: signal.Signals) -> None:
    """By any signal: the runs do not notice."""
    terminal = stage.in_terminal()
    os.kill(terminal.pid, number)
    wait_for(lambda: not terminal.is_up())
    stage.check()


def test_the_terminal_stalls(stage: Stage) -> None:
    """A dead connection that nobody has noticed: the app waits for its terminal, the runs for nobody."""
    terminal = stage.in_terminal()
    terminal.stall()
    assert terminal.is_up()
    stage.check()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@pytest.mark.parametrize("blow", ["kill-session", "kill-server", "kill -9"])
def test_tmux_is_killed(stage: Stage, blow: str) -> None:
    """The session, the server by its own command, the server by the kernel."""
    tmux = stage.in_tmux()
    app = int(tmux("display-message", "-p", "#{pane_pid}"))
    if blow == "kill -9":
        os.kill(int(tmux("display-message", "-p", "#{pid}")), signal.SIGKILL)
    else:
        tmux(blow)
    wait_for(lambda: proc.start_ticks(app) is None, 30)
    stage.check()


@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists() or shutil.which("ssh") is None, reason="needs sshd and ssh")
@pytest.mark.parametrize("who", ["client", "session"])
def test_the_ssh_connection_is_killed(stage: Stage, who: str) -> None:
    """The laptop's end, or the server's: -9 both."""
    client, sshd = stage.over_ssh()
    app = next(pid for pid in descendants(sshd) if str(STARTER).encode() in command_of(pid))
    if who == "client":
        client.kill()
    else:
        for pid in descendants(sshd):
            if b"sshd" in command_of(pid):
                os.kill(pid, signal.SIGKILL)
    wait_for(lambda: proc.start_ticks(app) is None, 30)
    stage.check()


def descendants(pid: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    parents = {each: stat[1] for each in pids if (stat := proc.stat_of(each))}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_the_disk_of_the_app_is_full(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings, caches and state are on a disk without a free byte; the runs are on another."""
    small = stage.home / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk needs the right to mount")
    try:
        for name in ("CONFIG", "CACHE", "STATE", "DATA"):
            stage.environment[f"XDG_{name}_HOME"] = str(small / name)
        terminal = stage.in_terminal()
        with contextlib.suppress(OSError), (small / "fill").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        for key in b"12345":
            os.write(terminal.master, bytes([key]))
            time.sleep(0.05)
        stage.check()
        terminal.close()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_the_supervisors_are_killed(stage: Stage) -> None:
    """The trainers go on; a fresh shell says that nobody supervises them, can stop one, and sees the other's end."""
    stage.in_terminal()
    for run in (stage.one, stage.two):
        os.kill(store.observe(run.dir).status.supervisor_pid or 0, signal.SIGKILL)
    wait_for(lambda: not any(store.observe(run.dir).supervised for run in (stage.one, stage.two)))
    assert [run["supervised"] for run in stage.kohya_tui("runs")["runs"]] == [False, False]
    stage.check(supervised=False)


# Rows that need no terminal


def begin(stage: Stage) -> tuple[Run, Run]:
    one, two = (launch.start(run, timeout=20) for run in (stage.one, stage.two))
    stage.started()
    return one, two


def test_the_folder_of_a_run_becomes_read_only(stage: Stage) -> None:
    """It goes on; stop reaches it without a request; the end is told although nobody could write it."""
    one, two = begin(stage)
    for run in (one, two):
        read_only(run.dir)
    try:
        group = launch.group_of(store.observe(two.dir))
        launch.stop(store.observe(two.dir))
        wait_for(lambda: not store.observe(two.dir).live)
        assert [pid for pid in group if proc.start_ticks(pid) is not None] == []
        assert store.observe(two.dir).state in (RunState.STOPPED, RunState.LOST)
        with pytest.raises(UserError, match="Cannot write"):
            launch.stop(store.observe(one.dir), "stop-after-checkpoint")
        (stage.kit.out.parent / "go").touch()
        wait_for(lambda: store.observe(one.dir).state is RunState.FINISHED)
    finally:
        for run in (one, two):
            subprocess.run(["umount", "-l", str(run.dir)], check=False, capture_output=True)


def read_only(folder: Path) -> None:
    """For root too: the folder is laid over itself without the right to write."""
    if os.getuid() != 0:
        folder.chmod(0o555)
        return
    steps = (["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)])
    if any(subprocess.run(step, capture_output=True, check=False).returncode for step in steps):
        pytest.skip("a read-only folder needs the right to mount, or not to be root")


def test_the_folder_of_a_run_is_removed(stage: Stage) -> None:
    """Nobody could see it any more: its trainer ends with it, the other run goes on."""
    one, two = begin(stage)
    group = launch.group_of(store.observe(two.dir))
    delete(two.dir)
    wait_for(lambda: [pid for pid in group if proc.start_ticks(pid) is not None] == [])
    (stage.kit.out.parent / "go").touch()
    assert stage.kit.ended(one).state is RunState.FINISHED
    assert not two.dir.exists()


def test_a_newer_program_wrote_the_folder(stage: Stage) -> None:
    """What it added is kept; its run is shown, goes on and can be stopped."""
    one, two = begin(stage)
    for run in (one, two):
        for name in ("spec.json", "state.json"):
            path = run.dir / name
            value = json.loads(path.read_text()) | {"v": 99, "something": {"new": 1}}
            path.write_text(json.dumps(value))
    stage.check()
    assert json.loads((one.dir / "spec.json").read_text())["something"] == {"new": 1}


def test_the_clock_jumps(stage: Stage) -> None:
    """An hour back while it trains: what it saves looks older than its start, and is its own all the same."""
    begin(stage)
    old = time.time() - 3600

    def set_back() -> bool:
        with contextlib.suppress(OSError):
            for path in stage.kit.out.iterdir():
                os.utime(path, (old, old))
        return store.observe(stage.one.dir).state in ENDED_STATES

    (stage.kit.out.parent / "go").touch()
    wait_for(set_back)
    assert store.observe(stage.one.dir).state is RunState.FINISHED
    for shift in (-86400.0, 86400.0):
        path = stage.two.dir / "state.json"
        value = json.loads(path.read_text())
        path.write_text(json.dumps(value | {"heartbeat": time.time() + shift, "started": time.time() + shift}))
        found = store.observe(stage.two.dir)
        assert (found.state, found.live, found.supervised) == (RunState.RUNNING, True, True)
    launch.stop(stage.two)
    assert stage.kit.ended(stage.two).state is RunState.STOPPED


def test_the_output_folder_is_removed(stage: Stage) -> None:
    """The trainer makes it anew as sd-scripts does, or fails and says why; nothing else is harmed."""
    one, two = begin(stage)
    stage.kit.out.mkdir(exist_ok=True)
    shutil.rmtree(stage.kit.out)
    gone = stage.kit.start(
        "raise RuntimeError(f'Parent directory {out} does not exist.')", name="gone", id="20260101-000003-gone"
    )
    gone = stage.kit.ended(gone)
    assert gone.state is RunState.FAILED
    assert "output folder was removed" in (gone.status.reason or "")
    (stage.kit.out.parent / "go").touch()
    assert stage.kit.ended(one).state is RunState.FINISHED
    assert store.observe(two.dir).live


def test_the_machine_restarts(stage: Stage) -> None:
    """Nothing lives, and another boot: lost, with the way on."""
    _, two = begin(stage)
    proc.send([store.observe(two.dir).status.supervisor_pid or 0, *launch.group_of(store.observe(two.dir))], 9)
    wait_for(lambda: not store.observe(two.dir).live and not store.observe(two.dir).supervised)
    path = two.dir / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot_id": "before"}))
    found = store.observe(two.dir)
    assert found.state is RunState.LOST
    assert "restarted" in (found.status.reason or "") and "resumed" in (found.status.reason or "")


def test_two_stop_the_same_run_at_once(stage: Stage) -> None:
    """Two shells, supervised and not: both come back, the run is stopped once, the other run lives."""
    one, two = begin(stage)
    os.kill(store.observe(two.dir).status.supervisor_pid or 0, signal.SIGKILL)
    wait_for(lambda: not store.observe(two.dir).supervised)
    for run in (one, two):
        command = [sys.executable, "-P", "-m", "tui", "-C", str(stage.workspace.root), "stop", run.id]
        both = [
            subprocess.Popen(command, env=stage.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        told = [process.communicate()[1].decode() for process in both]
        for process, words in zip(both, told, strict=True):
            assert process.returncode == 0 or "is over" in words or "is not running" in words, words
        assert stage.kit.ended(run).state is RunState.STOPPED
