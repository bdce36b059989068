"""What a Slurm job runs: `python -P -m core.runs.batch RUNDIR` becomes the run's supervisor, in the foreground.

A job that was requeued (its node failed, another job took its place) goes on from the newest complete state, in the
same folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.files import read_json, write_json
from core.problems import UserError
from core.runs import artifacts, resume, store
from core.runs.launchers import processes_of
from core.runs.model import Run, RunState
from core.runs.pace import first_epoch
from core.runs.slurm_queue import BY_SLURM


def main(argv: list[str]) -> int:
    """Prepare, then exec: the supervisor is small, and this process is it from then on."""
    run_dir = Path(argv[0]).absolute()
    if os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0"):
        try:
            if not prepare_again(run_dir):
                return 0
        except UserError as error:
            print(f"kohya-tui: {error.message}", file=sys.stderr)
            return 1
    return os.execv(sys.executable, [sys.executable, "-P", "-m", "core.runs.supervisor", str(run_dir), "--foreground"])


def prepare_again(run_dir: Path) -> bool:
    """Make an interrupted run ready to go on; False when there is nothing to do. Raises UserError."""
    run = store.observe(run_dir)
    if run.live or run.supervised or run.state is RunState.FINISHED:
        return False
    if run.state is RunState.STOPPED and not (run.status.reason or "").startswith(BY_SLURM):
        return False
    raw = read_json(run_dir / "spec.json") or {}
    raw["argv"] = again(run)
    write_json(run_dir / "spec.json", raw)
    write_json(run_dir / "state.json", {"v": 1, "state": "queued"})
    return True


def again(run: Run) -> list[str]:
    """The command line from the newest complete state; as it was when there is none."""
    complete = [state for state in artifacts.states(run) if state.complete]
    if not complete:
        return list(run.spec.argv)
    words, kept = list(run.spec.argv), []
    while words:
        word = words.pop(0)
        if word in ("--resume", "--initial_epoch", "--initial_step"):
            words.pop(0)
        else:
            kept.append(word)
    point = resume.point_of(complete[-1], {}, resume.steps_per_epoch(run), first_epoch(run.spec.argv))
    return [*kept, *resume.arguments(point, processes_of(run.spec.launcher, run.spec.accelerate))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
