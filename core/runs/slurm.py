"""Slurm: a run as a batch job. The job's script becomes the run's supervisor, in the foreground.

The run's folder stays the truth: locks and state.json decide, Slurm only informs. A job may vanish from a restarted
controller while its training lives, and a controller that is down lets every command wait for nine seconds.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from core.files import read_json, write_atomic, write_json
from core.problems import UserError
from core.runs import proc
from core.runs.model import LIVE_STATES, WAITING_STATES, Run, RunState, RunStatus
from core.text import printable

FORMAT = 1
JOB_FILE = "slurm.json"
SCRIPT = "slurm.sh"
OUTPUT = "slurm.out"
"""What the script itself says before its supervisor runs: a module that is missing, a Python that is not there."""
QUEUE_SECONDS = 5.0
"""How old the list of jobs may be."""
DEAD_SECONDS = 30.0
"""How long a controller that did not answer is left alone."""
FRESH_SECONDS = 45.0
"""A heartbeat is written every ten seconds; on a network file system its age is seen late."""
_ALIVE = frozenset({"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED"})
BY_SLURM = "Stopped by Slurm"
"""How the reason begins that the supervisor writes when Slurm signals it."""
_TIMEOUT = 15.0
_TIME = re.compile(r"^(?:\d+|\d+:\d\d(?::\d\d)?|\d+-\d+(?::\d\d){0,2}|UNLIMITED)$")


@dataclass(frozen=True, slots=True)
class Slurm:
    """What a job asks for. `gpus` is a number or `type:number`, `time` as sbatch takes it, `memory` like `32G`.

    `extra` are further options of sbatch, `setup` lines of shell before the trainer (`module load cuda`).
    """

    partition: str | None = None
    gpus: str | None = "1"
    time: str | None = None
    cpus: int | None = None
    memory: str | None = None
    account: str | None = None
    requeue: bool = False
    extra: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any], **changes: Any) -> Slurm:
        """The settings' table with what was said on the command line over it; None there says nothing."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in table.items() if name in known}
        values |= {name: value for name, value in changes.items() if value is not None}
        if values.get("gpus") is not None:
            values["gpus"] = str(values["gpus"])
        for name in ("extra", "setup"):
            values[name] = tuple(str(item) for item in values.get(name, ()))
        return cls(**values)

    def as_table(self) -> dict[str, Any]:
        """For spec.json; `from_table` reads it back."""
        value = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**value, "extra": list(self.extra), "setup": list(self.setup)}

    def directives(self) -> list[str]:
        """The options for `#SBATCH` lines. Raises UserError for what sbatch would misread."""
        if self.time is not None and not _TIME.match(self.time):
            raise UserError(
                f"{self.time!r} is no time limit", "Minutes, or hours:minutes:seconds, or days-hours: 2-12:00:00"
            )
        if self.gpus is not None and not re.match(r"^(?:[\w.-]+:)*\d+$", self.gpus):
            raise UserError(f"{self.gpus!r} is no number of GPUs", "Like 1, 2 or a100:2.")
        lines = ["--nodes=1", "--ntasks=1", "--requeue" if self.requeue else "--no-requeue", "--open-mode=append"]
        if self.gpus is not None and self.gpus != "0":
            lines.append(f"--gres=gpu:{self.gpus}")
        for name, value in (
            ("partition", self.partition),
            ("time", self.time),
            ("cpus-per-task", self.cpus),
            ("mem", self.memory),
            ("account", self.account),
        ):
            if value is not None:
                lines.append(f"--{name}={_word(str(value))}")
        for text in self.extra:
            text = text.strip().removeprefix("#SBATCH").strip()
            if "\n" in text or not text.startswith("-"):
                raise UserError(f"{text!r} is no option of sbatch", "Like --qos=long; one each.")
            lines.append(text)
        return lines


@dataclass(frozen=True, slots=True)
class Job:
    """One line of squeue, or of scontrol for one that has ended."""

    state: str
    reason: str = ""
    start: str = ""
    """When the controller expects it to begin."""

    @property
    def words(self) -> str:
        """`PENDING (Resources), expected 2026-11-30T12:00:00`."""
        reason = f" ({self.reason})" if self.reason not in ("", "None") else ""
        expected = f", expected {self.start}" if self.state == "PENDING" and self.start not in ("", "N/A") else ""
        return f"{self.state}{reason}{expected}"


def _word(text: str) -> str:
    """A value in an `#SBATCH` line: sbatch splits at blanks and knows double quotes."""
    if any(sign in text for sign in '\n"\\'):
        raise UserError(f"{text!r} cannot stand in a job script", "Without quotes, backslashes and line ends.")
    return f'"{text}"' if re.search(r"\s|#|'", text) else text


def script(runs: Sequence[Run], options: Slurm, *, at_once: int | None = None) -> str:
    """The job script of one run, or of an array of them (at most `at_once` of those at a time)."""
    first = runs[0]
    output = str(first.dir / (OUTPUT if len(runs) == 1 else "slurm-%a.out"))
    if "%" in str(first.dir):
        output = str(first.dir).replace("%", "%%") + output[len(str(first.dir)) :]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", first.spec.name)[:40] or "run"
    lines = ["#!/bin/bash", f"#SBATCH --job-name=kt-{name}", f"#SBATCH --output={_word(output)}"]
    lines += [f"#SBATCH {line}" for line in options.directives()]
    if len(runs) > 1:
        limit = f"%{at_once}" if at_once else ""
        lines.append(f"#SBATCH --array=0-{len(runs) - 1}{limit}")
    lines += [
        "",
        "# Written by kohya-tui. Submitting it again starts nothing twice: the run's folder knows.",
        *options.setup,
    ]
    if len(runs) == 1:
        lines.append(f"run={shlex.quote(str(first.dir))}")
    else:
        lines.append('case "$SLURM_ARRAY_TASK_ID" in')
        lines += [f"{index}) run={shlex.quote(str(run.dir))} ;;" for index, run in enumerate(runs)]
        lines.append("esac")
    # exec: scancel's signal reaches the supervisor itself, and nothing is left in between.
    lines.append(f'exec {shlex.quote(sys.executable)} -P -m core.runs.batch "$run"')
    return "\n".join(lines) + "\n"


def submit(runs: Sequence[Run], *, at_once: int | None = None) -> str:
    """Hand over prepared runs: one job, or one array for several. Returns the job's id.

    Every run is `queued` afterwards, or `failed` with the reason when Slurm refused; then UserError is raised.
    """
    options = Slurm.from_table(runs[0].spec.slurm or {})
    path = runs[0].dir / SCRIPT
    try:
        write_atomic(path, script(runs, options, at_once=at_once))
        for run in runs:  # before the job exists: its supervisor writes this file from then on
            write_json(run.dir / "state.json", {"v": FORMAT, "state": "queued", "heartbeat": time.time()})
        answer = _ask(["sbatch", "--parsable", f"--chdir={runs[0].spec.cwd}", str(path)], 60.0)
    except UserError as error:
        for run in runs:
            with contextlib.suppress(UserError, OSError):
                failed = {"v": FORMAT, "state": "failed", "reason": error.message, "ended": time.time()}
                write_json(run.dir / "state.json", failed)
        raise
    job, _, cluster = answer.strip().partition(";")
    for index, run in enumerate(runs):
        own = job if len(runs) == 1 else f"{job}_{index}"
        fact = {"v": FORMAT, "job": own, "cluster": cluster or None, "submitted": time.time(), "host": _host()}
        write_json(run.dir / JOB_FILE, fact)
    _queue.forget()
    return job


def job_of(run_dir: Path) -> str | None:
    """The id of the run's job (`12`, or `12_3` in an array); None when it was never submitted."""
    value = (read_json(run_dir / JOB_FILE) or {}).get("job")
    return value if isinstance(value, str) and re.match(r"^\d+(_\d+)?$", value) else None


def cancel(run_dir: Path, *, gently: bool = False) -> None:
    """scancel; `gently` only signals the supervisor, which ends the trainer and writes down how. Raises UserError."""
    job = job_of(run_dir)
    if job is None:
        raise UserError(f"{run_dir.name} has no Slurm job", "It was never submitted.")
    _ask(["scancel", *(["--signal=TERM", "--batch"] if gently else []), job])
    _queue.forget()


def _ask(words: Sequence[str], timeout: float = _TIMEOUT) -> str:
    """A command of Slurm's, in English. Raises UserError with what it says."""
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UserError(
            f"Slurm's {words[0]} is not on this machine",
            "Start from a login node of the cluster, or use --launcher local.",
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(
            f"Slurm did not answer within {timeout:.0f} s", "Its controller may be down: see `scontrol ping`."
        ) from None
    except OSError as error:
        raise UserError(f"{words[0]} cannot be started: {error.strerror}", "Is Slurm's client whole here?") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        last = last.removeprefix(f"{words[0]}: ").removeprefix("error: ").removeprefix("Batch job submission failed: ")
        raise UserError(f"Slurm refused: {printable(last)}", "See `sinfo` for partitions and limits.")
    return done.stdout


def _host() -> str:
    return os.uname().nodename


class _Queue:
    """The last answer of squeue, renewed on a thread of its own: nobody waits for a controller that is down."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._jobs: dict[str, Job] | None = None
        self._read = self._tried = -1e9
        self._thread: threading.Thread | None = None
        self._asked: set[str] = set()

    def forget(self) -> None:
        """Something was submitted or cancelled: the next look asks anew, and waits for the answer."""
        with self._guard:
            self._tried = self._read = -1e9
            self._jobs = None

    def jobs(self, wait: float) -> tuple[dict[str, Job] | None, bool]:
        """(jobs of this user by id, whether that is too old).

        Waits at most `wait` seconds, and only for the first answer: later ones come while the last one is shown, so
        that no list of runs and no screen ever waits for a controller.
        """
        now = time.monotonic()
        with self._guard:
            fresh = now - self._read < QUEUE_SECONDS
            alive = self._thread is not None and self._thread.is_alive()
            pause = QUEUE_SECONDS if self._read >= self._tried else DEAD_SECONDS
            if not fresh and not alive and now - self._tried >= pause:
                self._tried = now
                self._thread = threading.Thread(target=self._renew, daemon=True, name="squeue")
                self._thread.start()
                alive = True
            thread = self._thread if alive and self._jobs is None else None
            left = self._tried + wait - now
        if thread is not None and left > 0:
            thread.join(left)
        with self._guard:
            return self._jobs, time.monotonic() - self._read > 2 * QUEUE_SECONDS

    def _renew(self) -> None:
        try:
            text = _ask(["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%T|%r|%S"])
        except (UserError, KeyError, OSError):
            return
        jobs = {}
        for line in text.splitlines():
            fields_ = line.strip().split("|")
            if len(fields_) == 4:
                jobs[fields_[0]] = Job(fields_[1], printable(fields_[2]), fields_[3])
        with self._guard:
            self._jobs, self._read = jobs, time.monotonic()
            self._tried = min(self._tried, self._read)


_queue = _Queue()


def ended_job(job: str) -> Job | None:
    """What scontrol still knows of a job that is not in the queue (until MinJobAge); None when it knows nothing.

    Raises UserError when the controller does not answer.
    """
    try:
        text = _ask(["scontrol", "-o", "show", "job", job], 3.0)
    except UserError as error:
        if "Invalid job id" in error.message:
            return None
        raise
    facts = dict(re.findall(r"(\w+)=(\S*)", text.splitlines()[0] if text else ""))
    return Job(facts.get("JobState", ""), facts.get("Reason", "")) if facts.get("JobState") else None


def runs_elsewhere(run_dir: Path, status: RunStatus) -> bool:
    """Whether a run whose locks are not seen here lives on another node: by its heartbeat, else by the queue.

    Locks of a network file system may be seen on their own machine only.
    """
    if status.state not in LIVE_STATES or status.host in (None, _host()):
        return False
    with contextlib.suppress(OSError):
        if time.time() - (run_dir / "state.json").stat().st_mtime < FRESH_SECONDS:
            return True
    jobs, stale = _queue.jobs(1.0)
    job = (jobs or {}).get(job_of(run_dir) or "")
    return stale or (job is not None and job.state in _ALIVE)


def seen(run: Run, *, wait: float = 1.0) -> Run:
    """A submitted run with what the queue says of it: waiting, with the reason, or over before it began."""
    if run.live or run.supervised or run.state not in WAITING_STATES:
        return run
    job_id = job_of(run.dir)
    if job_id is None:
        return run
    jobs, stale = _queue.jobs(wait)
    if jobs is None or stale:
        return _saying(run, f"Slurm job {job_id}: the controller does not answer; this may be old.")
    job = jobs.get(job_id)
    if job is not None:
        return _saying(run, f"Slurm job {job_id}: {job.words}")
    return _vanished(run, job_id)


def again(run: Run) -> Run:
    """A run that Slurm interrupted is queued, not stopped, while its job waits to be started once more."""
    requeue = (run.spec.slurm or {}).get("requeue") is True
    if not requeue or not (run.status.reason or "").startswith(BY_SLURM):
        return run
    job_id = job_of(run.dir) or ""
    jobs, stale = _queue.jobs(1.0)
    job = None if stale else (jobs or {}).get(job_id)
    if job is None or job.state not in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"):
        return run
    return _saying(run, f"Slurm job {job_id} was interrupted and begins again: {job.words}")


_ends: dict[str, tuple[float, Job | None, bool]] = {}


def _known_end(job_id: str) -> tuple[Job | None, bool]:
    """(what scontrol knew of a job, whether it answered), asked every half a minute at most; an end stays known."""
    asked, job, answered = _ends.get(job_id, (-1e9, None, False))
    ended = job is not None and job.state not in _ALIVE
    if not ended and time.monotonic() - asked > DEAD_SECONDS:
        try:
            job, answered = ended_job(job_id), True
        except UserError:
            job, answered = None, False
        _ends[job_id] = (time.monotonic(), job, answered)
    return job, answered


def _vanished(run: Run, job_id: str) -> Run:
    """It waited, is not in the queue, and no supervisor has written a word."""
    submitted = (read_json(run.dir / JOB_FILE) or {}).get("submitted")
    if isinstance(submitted, float) and 0 <= time.time() - submitted < 2 * QUEUE_SECONDS:
        return _saying(run, f"Slurm job {job_id}: submitted")
    job, answered = _known_end(job_id)
    if not answered:
        return _saying(run, f"Slurm job {job_id}: the controller does not answer; this may be old.")
    if job is not None and job.state in _ALIVE:
        return _saying(run, f"Slurm job {job_id}: {job.words}")
    words = _last_words(run.dir)
    if job is None:
        reason = f"Slurm no longer knows job {job_id}, and it never began."
    elif job.state.startswith("CANCELLED"):
        reason = f"Slurm job {job_id} was cancelled before it began."
        return replace(run, status=replace(run.status, state=RunState.STOPPED, reason=reason))
    else:
        reason = f"Slurm job {job_id} ended before the training began: {job.words}."
    return replace(run, status=replace(run.status, state=RunState.FAILED, reason=f"{reason}{words}"))


def _last_words(run_dir: Path) -> str:
    for path in sorted(run_dir.glob("slurm*.out")):
        with contextlib.suppress(OSError):
            lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return f" {path.name}: {printable(lines[-1][:300])}"
    return ""


def _saying(run: Run, text: str) -> Run:
    return replace(run, status=replace(run.status, state=RunState.QUEUED, reason=text, waits_for=text))


def why_lost(run_dir: Path) -> str | None:
    """What Slurm says of a job whose supervisor had no time for a word: out of time, out of memory, a lost node."""
    job_id = job_of(run_dir)
    if job_id is None:
        return None
    job, _ = _known_end(job_id)
    sentences = {
        "TIMEOUT": "Slurm ended the job at its time limit. Ask for more time, and resume from its last state.",
        "OUT_OF_MEMORY": "Slurm ended the job for using more memory (RAM) than it had asked for. Ask for more.",
        "NODE_FAIL": "The node of the Slurm job failed. Resume from its last state.",
        "PREEMPTED": "Another Slurm job took the place of this one. Resume from its last state.",
        "CANCELLED": "The Slurm job was cancelled.",
    }
    return sentences.get(job.state) if job is not None else None


def stop(run: Run) -> bool:
    """End a run by its job, where its supervisor cannot be reached from here. False when it can be (or has no job)."""
    if job_of(run.dir) is None:
        return False
    if run.state in WAITING_STATES and not run.supervised and not proc.is_locked(str(run.dir / "alive.lock")):
        cancel(run.dir)
        return True
    if run.status.host not in (None, _host()):
        cancel(run.dir, gently=True)
        return True
    return False
