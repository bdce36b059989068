"""Slurm: a run as a batch job. The job's script becomes the run's supervisor, in the foreground."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.files import write_atomic, write_json
from core.problems import UserError
from core.runs import proc
from core.runs.model import WAITING_STATES, Run
from core.runs.slurm_queue import JOB_FILE, ask, forget, host_name, job_of

FORMAT = 1
SCRIPT = "slurm.sh"
OUTPUT = "slurm.out"
"""What the script itself says before its supervisor runs: a module that is missing, a Python that is not there."""
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
        answer = ask(["sbatch", "--parsable", f"--chdir={runs[0].spec.cwd}", str(path)], 60.0)
    except UserError as error:
        for run in runs:
            with contextlib.suppress(UserError, OSError):
                failed = {"v": FORMAT, "state": "failed", "reason": error.message, "ended": time.time()}
                write_json(run.dir / "state.json", failed)
        raise
    job, _, cluster = answer.strip().partition(";")
    for index, run in enumerate(runs):
        own = job if len(runs) == 1 else f"{job}_{index}"
        fact = {"v": FORMAT, "job": own, "cluster": cluster or None, "submitted": time.time(), "host": host_name()}
        write_json(run.dir / JOB_FILE, fact)
    forget()
    return job


def cancel(run_dir: Path, *, gently: bool = False) -> None:
    """scancel; `gently` only signals the supervisor, which ends the trainer and writes down how. Raises UserError."""
    job = job_of(run_dir)
    if job is None:
        raise UserError(f"{run_dir.name} has no Slurm job", "It was never submitted.")
    ask(["scancel", *(["--signal=TERM", "--batch"] if gently else []), job])
    forget()


def stop(run: Run) -> bool:
    """End a run by its job, where its supervisor cannot be reached from here. False when it can be (or has no job)."""
    if job_of(run.dir) is None:
        return False
    if run.state in WAITING_STATES and not run.supervised and not proc.is_locked(str(run.dir / "alive.lock")):
        cancel(run.dir)
        return True
    if run.status.host not in (None, host_name()):
        cancel(run.dir, gently=True)
        return True
    return False
