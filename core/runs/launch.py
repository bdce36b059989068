"""From a run's folder to a running trainer: start and stop."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.problems import UserError
from core.runs import proc, slurm, store
from core.runs.model import ENDED_STATES, WAITING_STATES, Run, RunKind, RunState
from core.runs.specs import tag_spec as tag_spec
from core.runs.specs import train_spec as train_spec
from core.runs.trainer import check_trainer as check_trainer
from core.runs.trainer import trainer_command as trainer_command


def start(
    run: Run, timeout: float = 5.0, python: Sequence[str] = (sys.executable, "-P"), *, queued: bool = False
) -> Run:
    """Spawn the run's supervisor and wait until it runs (or has failed to start: see its state and reason).

    With `queued` until the supervisor waits for the run's turn. Raises UserError when the run was started before, or no
    answer came in `timeout` seconds.
    """
    if run.state not in WAITING_STATES:
        raise UserError(f"The run {run.id} was started before ({run.state})", "Start a new run of the same config.")
    if run.spec.launcher == "slurm":
        slurm.submit([run])
        return store.observe(run.dir)
    with (run.dir / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [*python, "-m", "core.runs.supervisor", str(run.dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    try:
        code: int | None = process.wait(timeout)  # it forks and leaves at once
    except subprocess.TimeoutExpired:
        code = None
    while True:
        found = store.observe(run.dir)
        if found.state not in WAITING_STATES or (queued and found.state is RunState.QUEUED and found.supervised):
            return found
        if code != 0 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    words = _last_words(run.dir / "supervisor.log")
    reason = f"The supervisor did not start{f': {words}' if words else ''}"
    with contextlib.suppress(UserError, OSError):  # a full disk; else one that comes up later finds the run over
        store.take_over(run, replace(found.status, state=RunState.FAILED, reason=reason, ended=time.time()))
    raise UserError(
        f"The supervisor of {run.id} did not start{f': {words}' if words else ''}",
        f"See {run.dir / 'supervisor.log'}; a full disk is one cause.",
    )


def _last_words(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def stop(run: Run, mode: str = "stop-now", *, grace: float = 10.0) -> None:
    """Ask for the end of a run: `stop-now`, or `stop-after-checkpoint`.

    A supervised run gets a request and ends within a second or so. One whose supervisor was killed is ended from here,
    which takes up to `grace` seconds (SIGTERM, then SIGKILL): call it from a worker thread. Raises UserError when it is
    over already.
    """
    run = store.observe(run.dir)
    if run.state in ENDED_STATES:
        raise UserError(f"The run {run.id} is over ({run.state})")
    if mode == "stop-after-checkpoint" and run.spec.kind is not RunKind.TRAIN:
        raise UserError(f"The run {run.id} saves no checkpoints", "Stop it now: what it has done stays.")
    if run.supervised:
        if mode == "stop-after-checkpoint" and run.state is RunState.QUEUED:
            raise UserError(f"The run {run.id} has not begun", f"Take it out of the queue: kohya-tui stop {run.id}")
        _ask(run, mode)
        if mode == "stop-now" and run.spec.launcher == "slurm":
            slurm.stop(run)  # on another node the request may be seen late
    elif run.spec.launcher == "slurm" and slurm.stop(run):
        reason = "Stopped on request, before it began."
        store.take_over(run, replace(run.status, state=RunState.STOPPED, reason=reason, ended=time.time()))
    elif run.live:
        if mode != "stop-now":
            raise UserError(
                "Nobody supervises this run, so nobody can wait for its checkpoint",
                "Wait for the checkpoint yourself, then stop it now.",
            )
        _end_group(run, grace)
        reason = "Stopped on request; its supervisor had been killed."
        with contextlib.suppress(UserError, OSError):  # a folder that cannot be written; its log and locks tell enough
            store.take_over(run, replace(run.status, state=RunState.STOPPED, reason=reason, ended=time.time()))
    else:
        store.take_over(run, replace(run.status, state=RunState.STOPPED, reason="Never started.", ended=time.time()))


def _ask(run: Run, mode: str) -> None:
    """By a request; where that cannot be written (a full disk, a read-only folder) by a signal to the supervisor."""
    try:
        store.request(run, mode)
    except UserError:
        pid = run.status.supervisor_pid
        if mode != "stop-now" or pid is None or not proc.is_supervisor(pid, str(run.dir)):
            raise
        proc.send([pid], signal.SIGTERM)


def _end_group(run: Run, grace: float) -> None:
    """End the processes of an unsupervised run: only those that are proven to be its own."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        ours = group_of(run)
        proc.send(ours, number)
        while ours and time.monotonic() < deadline:
            time.sleep(0.05)
            ours = group_of(run)
        if not ours:
            return
    raise UserError(
        f"These processes of {run.id} do not end: {', '.join(map(str, group_of(run)))}",
        "They hang inside the driver or the disk; a restart of the machine ends them.",
    )


def group_of(run: Run) -> list[int]:
    """Living processes of the run, without its supervisor.

    Its group is believed when its leader is the very process that was started; beside it those that carry the run's
    mark in their environment or hold its lock, wherever they went.
    """
    status = run.status
    believed = proc.is_alive(status.pid, status.pid_start, status.boot_id)
    group = proc.members(status.pid) if status.pid is not None and believed else []
    locked = proc.holders(str(Path(run.spec.locks or run.dir, "alive.lock")))
    ours = {*group, *proc.marked(run.spec.mark), *locked} - {status.supervisor_pid if run.supervised else 0}
    return sorted(pid for pid in ours if pid is not None and proc.start_ticks(pid) is not None)
