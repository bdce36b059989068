"""Run folders: create, find, and see what became of them.

Live = `alive.lock` is held; supervised = `supervisor.lock` is held. Everything else is read from files, so that opening
the program the next day is the same as watching live.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from core.files import read_json, write_atomic, write_error, write_json
from core.problems import UserError
from core.runs import order, proc
from core.runs.model import (
    ENDED_STATES,
    FORMAT,
    WAITING_STATES,
    Place,
    Run,
    RunSpec,
    RunState,
    RunStatus,
    transition,
)
from core.workspace import Workspace

ACTIONS = frozenset({"stop-now", "stop-after-checkpoint", "continue"})
_NETWORK_FS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "beegfs"})
"""flock is emulated per process there, or missing: a lock would not be inherited by the trainer."""


def runs_dir(workspace: Workspace | None) -> Path:
    """`runs/` of the workspace; without one, runs live in the user's state folder."""
    if workspace is not None:
        return workspace.runs
    from core.settings import state_dir

    return state_dir() / "runs"


def new_id(folder: Path, name: str, now: float | None = None) -> str:
    """`<yyyymmdd-hhmmss>-<name>` in local time, of letters, digits and `._-` only, free in `folder`."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    safe = re.sub(r"[^A-Za-z0-9_]*-[^A-Za-z0-9_]*|\.{2,}", "-", re.sub(r"[^A-Za-z0-9._]+", "-", name))
    safe = safe.strip("-.")[:60] or "run"
    base = f"{stamp}-{safe}"
    number, found = 2, base
    while (folder / found).exists():
        found, number = f"{base}-{number}", number + 1
    return found


def create(folder: Path, spec: RunSpec, files: Mapping[str, bytes] | None = None) -> Run:
    """Make the run's folder with spec.json and frozen copies of its inputs (file name → content).

    A folder that somebody made meanwhile is left alone: the run gets another id, and its paths are changed to that.
    Raises UserError when the disk is full or the folder may not be written; nothing is left behind then.
    """
    spec, target = _claim(folder, spec)
    try:
        locks = _locks_elsewhere(target)
        if locks is not None:
            locks.mkdir(parents=True, exist_ok=True)
            spec = replace(spec, locks=str(locks))
        for name, content in (files or {}).items():
            write_atomic(target / name, content)
        write_json(target / "spec.json", spec.as_json())
    except (UserError, OSError) as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, OSError):
            raise write_error(target, error) from error
        raise
    return Run(target, spec, RunStatus())


def _claim(folder: Path, spec: RunSpec) -> tuple[RunSpec, Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # also when a file is in the way
        raise write_error(folder, error) from error
    while True:
        target = folder / spec.id
        try:
            target.mkdir(0o700)  # the frozen files may hold a token
        except FileExistsError:
            spec = _renamed(spec, new_id(folder, spec.name, spec.created))
        except OSError as error:
            raise write_error(target, error) from error
        else:
            return spec, target


def _renamed(spec: RunSpec, other: str) -> RunSpec:
    return replace(
        spec,
        id=other,
        argv=tuple(item.replace(spec.id, other) for item in spec.argv),
        output_dir=None if spec.output_dir is None else spec.output_dir.replace(spec.id, other),
    )


def _locks_elsewhere(target: Path) -> Path | None:
    """None when `target` can hold flocks that a child inherits; else the folder to use instead."""
    if not is_on_network(target):
        probe = target / "alive.lock"
        try:
            descriptor = proc.take_lock(str(probe))
            if descriptor is not None:
                os.close(descriptor)
                return None
        except OSError:
            pass
    from core.settings import state_dir

    return state_dir() / "locks" / target.name


def is_on_network(path: Path) -> bool:
    """Whether the file system of `path` is one that several machines share."""
    return _file_system(path) in _NETWORK_FS


def _file_system(path: Path) -> str | None:
    """The type of the file system of `path` (`ext4`, `nfs4` …) by the longest mount point above it."""
    real = os.fsencode(path.resolve())
    best, kind = b"", None
    try:
        with Path("/proc/self/mounts").open("rb") as stream:
            for line in stream:
                fields = line.split()
                point = fields[1].replace(b"\\040", b" ")
                inside = real == point or real.startswith(point.rstrip(b"/") + b"/")
                if inside and len(point) >= len(best):
                    best, kind = point, fields[2].decode("ascii", "replace")
    except (OSError, IndexError):
        return None
    return kind


def observe(run_dir: Path) -> Run:
    """The run in `run_dir` as it stands now. Raises UserError when the folder is gone or is no run.

    A run whose supervisor is gone and whose trainer is gone is judged here, without writing: finished by its log and
    its final file, else lost.
    """
    raw = read_json(run_dir / "spec.json")
    if raw is None:
        if not run_dir.is_dir():
            raise UserError(f"The run folder {run_dir} is gone", "It was deleted or moved; other runs: kohya-tui runs")
        raise UserError(f"{run_dir / 'spec.json'} is missing or broken", "This folder is not a run; move it away.")
    try:
        spec = RunSpec.from_json(raw)
    except (ValueError, KeyError, TypeError) as error:
        newer = isinstance(raw.get("v"), int) and raw["v"] > FORMAT
        hint = "It was written by a newer kohya-tui: update this one." if newer else "Move that folder away."
        raise UserError(f"{run_dir / 'spec.json'} cannot be used ({error})", hint) from error
    locks = Path(spec.locks) if spec.locks else run_dir
    # The locks first: a supervisor writes its last state before it lets go of them.
    live = proc.is_locked(str(locks / "alive.lock"))
    supervised = proc.is_locked(str(locks / "supervisor.lock"))
    status = _status(run_dir, supervised)
    if status.state in ENDED_STATES:
        ended = Run(run_dir, spec, status)
        return _cluster().again(ended) if spec.launcher == "slurm" and status.state is RunState.STOPPED else ended
    if status.state in WAITING_STATES and not live:
        place = _place(run_dir, spec) if spec.wait is not None else None
        waiting = Run(run_dir, spec, status, supervised=supervised, place=place)
        return _cluster().seen(waiting) if spec.launcher == "slurm" else waiting
    if not live and not supervised and spec.launcher == "slurm":
        live = supervised = _cluster().runs_elsewhere(run_dir, status)
    if not live and not supervised:
        status = _orphaned(run_dir, spec, status)
        return Run(run_dir, spec, status)
    return Run(run_dir, spec, status, live=live, supervised=supervised)


def _cluster() -> ModuleType:
    """core.runs.slurm_queue, for those runs only."""
    from core.runs import slurm_queue

    return slurm_queue


def _place(run_dir: Path, spec: RunSpec) -> Place | None:
    """Where it stands in the queue of the machine."""
    folder = str((spec.wait or {}).get("dir"))
    entries = _queue(folder, order.seen(folder))
    for position, entry in enumerate(entries, 1):
        if entry["dir"] == str(run_dir):
            known = {item.name for item in fields(Place)} & entry.keys()
            return Place(position, **{name: entry[name] for name in known})
    return None


@functools.lru_cache(maxsize=4)
def _queue(folder: str, _seen: object) -> list[order.Entry]:
    """The queue as long as its file is the same; a list of a hundred runs asks for it a hundred times."""
    return order.read(folder)


def _status(run_dir: Path, supervised: bool) -> RunStatus:
    path = run_dir / "state.json"
    raw = read_json(path)
    if raw is None:
        # A supervisor writes it the first time when the trainer is up. Else it was lost or broken: what is left to tell
        # whether anything began is the log.
        began = path.exists() if supervised else (run_dir / "output.log").exists()
        return RunStatus(RunState.RUNNING if began else RunState.PREPARED)
    try:
        return RunStatus.from_json(raw)
    except (ValueError, TypeError):
        return RunStatus(RunState.RUNNING)


def _newer_state(run_dir: Path) -> str | None:
    """The state that only a newer program knows."""
    raw = read_json(run_dir / "state.json") or {}
    version, state = raw.get("v"), raw.get("state")
    newer = isinstance(version, int) and version > FORMAT
    return str(state) if newer and state not in list(RunState) else None


@functools.lru_cache(maxsize=512)
def _verdict(run_dir: Path, started: float, _seen: tuple[int, int]) -> tuple[RunState, str | None]:
    """How it ended, as long as log and output folder are as they were `_seen` (their times).

    Reading the log takes 7 ms, and the app asks every second.
    """
    from core.runs.outcome import judge

    return judge(run_dir, read_json(run_dir / "spec.json") or {}, started=started, returncode=None)


def _orphaned(run_dir: Path, spec: RunSpec, status: RunStatus) -> RunStatus:
    """Nobody lives that could say how it ended: decide by the log and the final file."""
    started = status.started if status.started is not None else spec.created
    ended, log, output = status.heartbeat, 0, 0
    with contextlib.suppress(OSError):
        facts = (run_dir / "output.log").stat()
        ended, log = max(ended or 0.0, facts.st_mtime), facts.st_mtime_ns
    with contextlib.suppress(OSError):
        output = Path(spec.cwd, spec.output_dir or "").stat().st_mtime_ns
    state, reason = _verdict(run_dir, started, (log, output))
    if (unknown := _newer_state(run_dir)) is not None:
        reason = f"Its state {unknown!r} was written by a newer kohya-tui: update this one to see how it ended."
        return replace(status, state=RunState.LOST, reason=reason, ended=ended)
    if state is RunState.LOST and spec.launcher == "slurm":
        reason = _cluster().why_lost(run_dir) or reason
    elif state is RunState.LOST and status.boot_id is not None and status.boot_id != proc.boot_id():
        reason = (
            "The machine was restarted while this run was going. It can be resumed from its last state, if it has one."
        )
    return replace(status, state=state, reason=reason, ended=ended)


def open_run(folder: Path, text: str) -> Run:
    """The run with this id, the only one whose id begins so, the newest with this name, or the newest of all (`last`).

    Raises UserError with the runs there are.
    """
    ids = _ids(folder)
    if not ids:
        raise UserError(f"There are no runs in {folder}", "Start one: kohya-tui train NAME, or kohya-tui tag DATASET")
    if text in ids:
        return observe(folder / text)
    runs = _all(folder, ids)
    if text in ("last", "") and runs:
        return runs[0]
    matching = [name for name in ids if name.startswith(text)] if text else []
    if len(matching) == 1:
        return observe(folder / matching[0])
    if named := [run for run in runs if run.spec.name == text]:
        return named[0]
    shown = (sorted(matching, reverse=True) or [run.id for run in runs])[:5]
    problem = f"{text!r} fits several runs" if matching else f"There is no run {text!r}"
    raise UserError(problem, f"Name one of them, or `last`: {', '.join(shown)}")


def list_runs(workspace: Workspace | Path | None) -> list[Run]:
    """Every run of the workspace (or in this folder of runs; None: those outside of any workspace), newest first.

    Folders that are no run, or cannot be read, are left out.
    """
    folder = workspace if isinstance(workspace, Path) else runs_dir(workspace)
    return _all(folder, _ids(folder))


def unreadable(workspace: Workspace | Path | None, listed: Iterable[Run]) -> list[UserError]:
    """What is wrong with run folders that are not `listed`: they are of a newer program, or broken."""
    folder = workspace if isinstance(workspace, Path) else runs_dir(workspace)
    found = []
    for name in sorted({*_ids(folder)} - {run.dir.name for run in listed}):
        if (folder / name / "spec.json").exists():
            try:
                observe(folder / name)
            except UserError as error:
                found.append(error)
    return found


def _ids(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []


def _all(folder: Path, ids: list[str]) -> list[Run]:
    runs = []
    for name in ids:
        with contextlib.suppress(UserError):
            runs.append(observe(folder / name))
    return sorted(runs, key=lambda run: (run.spec.created, run.id), reverse=True)


def request(run: Run, action: str) -> None:
    """Ask the run's supervisor for `stop-now`, `stop-after-checkpoint` or `continue` (takes the latter back).

    It looks once a second, and at once when it is woken. Raises UserError when the request cannot be written.
    """
    assert action in ACTIONS, action
    value = {"v": FORMAT, "action": action, "time": time.time(), "by": os.getpid()}
    write_json(run.dir / "request.json", value, fsync=False)
    if run.supervised and run.status.supervisor_pid:
        with contextlib.suppress(OSError):  # on another machine, or just gone; SIGCHLD means nothing to others
            os.kill(run.status.supervisor_pid, signal.SIGCHLD)


def take_over(run: Run, status: RunStatus) -> bool:
    """Write `status` for a run whose supervisor is gone. False when a supervisor holds the run after all."""
    transition(run.state, status.state)
    locks = run.spec.locks or str(run.dir)
    lock = proc.take_lock_soon(f"{locks}/supervisor.lock")
    if lock is None:
        return False
    try:
        raw: dict[str, Any] = read_json(run.dir / "state.json") or {"v": FORMAT}
        raw |= {
            name: getattr(status, name) for name in ("pid", "ended", "returncode", "reason", "stop_after_checkpoint")
        }
        write_json(run.dir / "state.json", raw | {"state": status.state.value})
    finally:
        os.close(lock)
    return True
