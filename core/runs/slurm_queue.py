"""What Slurm says: its list of jobs, and of a run what that makes of it.

The run's folder stays the truth: locks and state.json decide, Slurm only informs. A job may vanish from a restarted
controller while its training lives, and a controller that is down lets every command wait for nine seconds.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.files import read_json
from core.problems import UserError
from core.runs.model import LIVE_STATES, WAITING_STATES, Run, RunState, RunStatus
from core.text import printable

JOB_FILE = "slurm.json"
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


def ask(words: Sequence[str], timeout: float = _TIMEOUT) -> str:
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


def host_name() -> str:
    return os.uname().nodename


def job_of(run_dir: Path) -> str | None:
    """The id of the run's job (`12`, or `12_3` in an array); None when it was never submitted."""
    value = (read_json(run_dir / JOB_FILE) or {}).get("job")
    return value if isinstance(value, str) and re.match(r"^\d+(_\d+)?$", value) else None


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
            text = ask(["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%T|%r|%S"])
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


def forget() -> None:
    """Something was submitted or cancelled: the next look at the list is a fresh one."""
    _queue.forget()


def ended_job(job: str) -> Job | None:
    """What scontrol still knows of a job that is not in the queue (until MinJobAge); None when it knows nothing.

    Raises UserError when the controller does not answer.
    """
    try:
        text = ask(["scontrol", "-o", "show", "job", job], 3.0)
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
    if status.state not in LIVE_STATES or status.host in (None, host_name()):
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
