"""The detached process that owns one run: `python -P -m core.runs.supervisor DIR`.

It survives whoever started it (double fork, own session, output to files), holds the run's locks for life, starts the
trainer in its own session and process group, writes state.json, and ends the whole group when asked. It imports nothing
but the standard library's small parts and core.runs.proc while the trainer runs (target: 15 MiB).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import Any

from core.runs import order, proc
from core.runs.spawn import spawn
from core.runs.vigil import Event, Vigil

BEAT_SECONDS = 10.0
STILL_WORKS = 3
"""The exit code of core.runs.tell when the device of a run without output is busy: that is no stall."""
GONE_SECONDS = 10.0
"""How long the run's folder may be gone before the trainer is stopped: nobody could see it or stop it any more."""
_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


def main(argv: list[str]) -> int:
    """Detach, then supervise the run in the folder `argv[0]`; `--foreground` stays attached (inside a cluster job)."""
    run_dir = os.path.abspath(argv[0])  # noqa: PTH100
    if "--foreground" not in argv:
        _detach(run_dir)
    supervision = _Supervision(run_dir)
    code = supervision.run()
    if "--foreground" in argv:
        supervision.wait_for_messages()
    return code


def _detach(run_dir: str) -> None:
    """Go on as a grandchild of init in a session of its own, with no terminal and no pipe to anybody."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{run_dir}/supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)


class _Supervision:
    def __init__(self, run_dir: str) -> None:
        self.dir = run_dir
        self.grace = float(os.environ.get("KOHYA_TUI_STOP_GRACE", "10"))
        """Seconds between SIGTERM and SIGKILL; shorter in tests."""
        self.leave = float(os.environ.get("KOHYA_TUI_LEAVE_GRACE", "6"))
        """Seconds that data-loader workers may need to end by themselves after the trainer (about 5)."""
        self.gone = float(os.environ.get("KOHYA_TUI_GONE_GRACE", GONE_SECONDS))
        """Seconds that the run's folder may be gone; shorter in tests."""
        self.spec: dict[str, Any] = {}
        self.state: dict[str, Any] = {"v": 1, "state": "prepared"}
        self.environment: dict[str, str] = {}
        """What the GPU that was taken adds to the trainer's."""
        self.pid = 0
        self.returncode: int | None = None
        self.stop_reason: str | None = None
        self.stop_asked = False
        """By a request: then its user knows."""
        self.from_outside: str | None = None
        """What a signal to us says about the end."""
        self.kill_at: float | None = None
        self.waiting: Any = None
        self.request_seen: tuple[int, int] | None = None
        self.written = 0.0
        self.unwritten = False
        self.folder = -1
        self.gone_since: float | None = None
        self.oom_kills = proc.oom_kills()
        self.vigil: Vigil | None = None
        self.messages: dict[int, str] = {}
        """Pid → kind of the short-lived children that tell the user (core.runs.tell); they are none of the run's."""
        self.tellers: set[int] = set()
        """Their sessions, for a hook of the user's may leave a process behind."""

    def run(self) -> int:
        spec = proc.read_json(f"{self.dir}/spec.json")
        if spec is None:
            _note(f"{self.dir}/spec.json cannot be read")
            return 1
        self.spec = spec
        self.folder = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        locks = spec.get("locks") or self.dir
        supervisor_lock = proc.take_lock_soon(f"{locks}/supervisor.lock")
        if supervisor_lock is None or proc.is_locked(f"{locks}/alive.lock"):
            _note("busy: this run has a supervisor or a trainer already")
            return 2
        previous = proc.read_json(f"{self.dir}/state.json")
        if previous is not None and previous.get("state") not in ("prepared", "queued"):
            _note(f"this run is over ({previous.get('state')})")
            return 2
        # Signals are fetched one by one with sigtimedwait: no handler, no race. SIGHUP never concerns us.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        gpus = self._gpus()
        if gpus is None:
            return 0
        alive_lock = proc.take_lock_soon(f"{locks}/alive.lock")
        if alive_lock is None:
            _note("busy: a trainer of this run is alive already")
            return 2
        if not proc.become_subreaper():
            _note("no subreaper here: processes that the trainer leaves behind may not be found")
        self.state["before"] = _final_files(self.spec)
        try:
            self.pid = spawn(self.dir, self.spec, self.environment, [alive_lock, *gpus], _WATCHED)
        except OSError as error:
            self._say(str(error))
            self._write(state="failed", ended=time.time(), supervisor_pid=os.getpid(), reason=str(error))
            self._tell({"kind": "failed"})
            return 1
        self._write(
            state="running",
            pid=self.pid,
            pid_start=proc.start_ticks(self.pid),
            boot_id=proc.boot_id(),
            host=os.uname().nodename,
            supervisor_pid=os.getpid(),
            started=time.time(),
        )
        self.vigil = Vigil(self.dir, spec)
        while self.returncode is None:
            self._step()
        if self.returncode == -signal.SIGTERM and self.stop_reason is None:
            # A cluster or a shutdown signals everything at once: the trainer's end may be seen before our own signal.
            if self.from_outside is None and (info := signal.sigtimedwait({signal.SIGTERM}, 0.5)) is not None:
                self.from_outside = _from_outside(info)
            self.stop_reason = self.from_outside
        self._empty_group()
        self._finish()
        return 0

    def _gpus(self) -> list[int] | None:
        """The locks of its GPUs, for a queued run when its turn has come; None when it is over before it began."""
        if self.spec.get("wait") is None:
            return order.share(self.dir, self.spec)
        from core.runs.waiting import wait_for_turn  # the others do without

        turn = wait_for_turn(self.dir, self.spec, _WATCHED, self._write, self._request)
        if turn is None:
            return None
        self.spec, self.environment, locks = turn
        return locks

    def _step(self) -> None:
        """One second at most: a signal, a request, a due heartbeat."""
        info = signal.sigtimedwait(_WATCHED, 1.0)
        self._reap()
        if info is not None and info.si_signo != signal.SIGCHLD:
            self.from_outside = _from_outside(info)
        if self.returncode is not None:
            return
        self._read_request()
        if self.from_outside is not None:
            self._stop(self.from_outside)
        self._look_for_folder()
        if self.waiting is not None and self.stop_reason is None:
            saved = self.waiting.completed()
            if saved is not None:
                self._stop(f"Stopped after the checkpoint {saved}.")
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self._signal(signal.SIGKILL)
            self.kill_at = time.monotonic() + 1
        if self.vigil is not None and self.stop_reason is None:
            for event in self.vigil.look():
                self._tell(event)
            if self.vigil.warning != self.state.get("warning"):
                self._write(warning=self.vigil.warning, fsync=False)
        if self.unwritten or time.monotonic() - self.written >= BEAT_SECONDS:
            self._write(fsync=False)

    def _tell(self, event: Event) -> None:
        """Start a child that tells the user by whatever they have chosen; a failure of that is no business of a run."""
        import json

        argv = [sys.executable, "-P", "-m", "core.runs.tell", self.dir, json.dumps(event)]
        with contextlib.suppress(OSError):
            pid = os.posix_spawn(
                sys.executable, argv, os.environ, setsid=True, setsigmask=(), setsigdef=(signal.SIGHUP,)
            )
            self.messages[pid] = str(event["kind"])
            self.tellers.add(pid)

    def wait_for_messages(self, seconds: float = 60.0) -> None:
        """In a cluster's job everything ends with us: let the children say their word first."""
        deadline = time.monotonic() + seconds
        while self.messages and time.monotonic() < deadline:
            signal.sigtimedwait(_WATCHED, 0.2)
            self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif self.messages.pop(pid, None) == "stalled" and os.waitstatus_to_exitcode(status) == STILL_WORKS:
                assert self.vigil is not None
                self.vigil.still_works()

    def _look_for_folder(self) -> None:
        """Stop a trainer whose run folder was deleted. One that was moved away is still there for its user."""
        if os.path.exists(self.dir) or not proc.is_deleted(self.folder):  # noqa: PTH110
            self.gone_since = None
        elif self.gone_since is None:
            self.gone_since = time.monotonic()
        elif time.monotonic() - self.gone_since >= self.gone:
            self._stop("Its folder was deleted.")

    def _request(self) -> str | None:
        """What a client asks for since the last look."""
        path = f"{self.dir}/request.json"
        try:
            stat = os.stat(path)  # noqa: PTH116
        except OSError:
            return None
        if (stat.st_mtime_ns, stat.st_ino) == self.request_seen:
            return None
        request = proc.read_json(path) or {}
        self.request_seen = (stat.st_mtime_ns, stat.st_ino)
        action = request.get("action")
        self.stop_asked = self.stop_asked or (action in ("stop-now", "stop-after-checkpoint"))
        return action if isinstance(action, str) else None

    def _read_request(self) -> None:
        action = self._request()
        if action == "stop-now":
            self._stop("Stopped on request.")
        elif action == "stop-after-checkpoint" and self.waiting is None and self.stop_reason is None:
            from core.runs.outcome import CheckpointWait  # only now: it brings pathlib and regular expressions

            self.waiting = CheckpointWait(self.dir, self.spec)
            self._write(stop_after_checkpoint=True)
        elif action == "continue" and self.stop_reason is None:
            self.waiting, self.stop_asked = None, False
            self._write(stop_after_checkpoint=False)

    def _stop(self, reason: str) -> None:
        """SIGTERM to the group; sd-scripts saves nothing on any signal, so nothing is gained by asking it politely."""
        if self.stop_reason is None:
            self.stop_reason = reason
            self._write(state="stopping", reason=reason)
            self._signal(signal.SIGTERM)
            self.kill_at = time.monotonic() + self.grace

    def _signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
        # Those that left the group; and, after the trainer's end, all that are left (its group's number may be reused).
        found = ((pid, proc.stat_of(pid)) for pid in self._members())
        proc.send([pid for pid, stat in found if stat and (self.returncode is not None or stat[2] != self.pid)], number)

    def _members(self) -> list[int]:
        """What lives of the run: the trainer's group and session, and whoever it left to us."""
        found = proc.members(self.pid, os.getpid())
        if not self.tellers:
            return found
        return [pid for pid in found if (stat := proc.stat_of(pid)) and stat[3] not in self.tellers]

    def _empty_group(self) -> None:
        """Wait until nothing of the trainer lives; what stays longer than the workers may is ended."""
        begun = time.monotonic()
        asked = self.stop_reason is not None
        deadline = begun + (self.grace if asked else self.leave)
        while left := self._members():
            now = time.monotonic()
            if now >= deadline:
                self._signal(signal.SIGKILL if asked else signal.SIGTERM)
                deadline = now + (1.0 if asked else self.grace)
                asked = True
            if now > begun + self.leave + 2 * self.grace + 30:
                self._say(f"These processes of the run do not end: {', '.join(map(str, left))}")
                return
            signal.sigtimedwait(_WATCHED, 0.1)
            self._reap()

    def _finish(self) -> None:
        state, reason = (
            ("finished", None) if self.returncode == 0 else ("failed", f"Ended with code {self.returncode}.")
        )
        if self.stop_reason is not None:
            state, reason = "stopped", self.stop_reason
        try:
            from core.runs.outcome import judge

            state, reason = judge(
                self.dir,
                self.spec,
                started=self.state.get("started"),
                returncode=self.returncode,
                stop_reason=self.stop_reason,
                oom_killed=proc.oom_kills() > self.oom_kills,
            )
        except Exception:  # the end must be recorded, even when the program was replaced on disk meanwhile
            import traceback

            _note(traceback.format_exc())
        self._write(
            state=str(state),
            reason=reason,
            returncode=self.returncode,
            ended=time.time(),
            stop_after_checkpoint=False,
            warning=None,
        )
        if self.unwritten:
            with contextlib.suppress(OSError):
                proc.overwrite_json(f"{self.dir}/state.json", self.state)
        if str(state) in ("finished", "failed") or not self.stop_asked:
            self._tell({"kind": "finished" if str(state) == "finished" else "failed"})

    def _write(self, *, fsync: bool = True, **changes: Any) -> None:
        self.state.update(changes, heartbeat=time.time())
        try:
            proc.write_json(f"{self.dir}/state.json", self.state, fsync=fsync)
            self.unwritten = False
        except OSError as error:  # a full disk must not end the run: tried again within the second
            if not self.unwritten:
                _note(f"state.json cannot be written: {error}")
            self.unwritten = True
        self.written = time.monotonic()

    def _say(self, text: str) -> None:
        """Into the run's own log, where the user looks first."""
        with contextlib.suppress(OSError):
            log = os.open(f"{self.dir}/output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            os.write(log, f"\nkohya-tui: {text}\n".encode())
            os.close(log)


def _final_files(spec: dict[str, Any]) -> dict[str, list[int]]:
    """(inode, mtime in ns) of what bears the final file's name already: it is none of this run's."""
    folder = os.path.join(str(spec["cwd"]), str(spec.get("output_dir") or ""))  # noqa: PTH118
    found = {}
    for ending in (".safetensors", ".ckpt", ".pt"):
        name = f"{spec.get('output_name') or 'last'}{ending}"
        with contextlib.suppress(OSError):
            facts = os.stat(f"{folder}/{name}")  # noqa: PTH116
            found[name] = [facts.st_ino, facts.st_mtime_ns]
    return found


def _from_outside(info: Any) -> str:
    """The reason for a signal that no request explains."""
    if os.environ.get("SLURM_JOB_ID"):
        end = os.environ.get("SLURM_JOB_END_TIME", "")
        if end.isdigit() and time.time() > int(end) - 60:
            return "Stopped by Slurm: the job's time limit was reached. Resume from its last state."
        return "Stopped by Slurm: the job was cancelled, preempted or at its time limit."
    who = proc.name_of(info.si_pid)
    sender = f"process {info.si_pid}{f' ({who})' if who else ''}"
    return f"Stopped: the supervisor got {signal.Signals(info.si_signo).name} from {sender}."


def _note(text: str) -> None:
    """Into supervisor.log; a full disk must not end the run."""
    with contextlib.suppress(OSError):
        os.write(1, f"{text}\n".encode("utf-8", "replace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
