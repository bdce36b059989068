"""A training over several runs, on recordings of the real trainer: one history, counted from the first step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.runs.artifacts import TrainState
from core.runs.lineage import ancestors, parts_before, stitched
from core.runs.model import Run
from core.runs.resume import arguments, point_of, steps_per_epoch
from core.runs.scalars import Series
from core.runs.store import observe
from core.runs.watch import whole
from tests.core.runs_kit import RECORDINGS, Runs

pytest_plugins = ("tests.core.runs_fixtures",)


def laid(runs: Runs, recording: str, resumed_from: str | None = None, *options: str) -> Run:
    """A finished run with the log and the events of a recording."""
    run = runs.create("pass", resumed_from=resumed_from)
    shutil.copy(RECORDINGS / recording / "output.bin", run.log_file)
    shutil.copytree(RECORDINGS / recording / "artefacts" / "logs", run.logs_dir)
    path = run.dir / "spec.json"
    spec = json.loads(path.read_text())
    path.write_text(json.dumps(spec | {"argv": [*spec["argv"], *options]}))
    (run.dir / "state.json").write_text(json.dumps({"v": 1, "state": "finished"}))
    return observe(run.dir)


def truth(recording: str, tag: str) -> list[float]:
    document = json.loads((RECORDINGS / recording / "scalars.json").read_text())
    (tags,) = document.values()
    return [float(value) for _, _, value in tags[tag]]


def whole_history(run: Run, tag: str) -> Series:
    seen = whole(run)
    parts = parts_before(run, seen.steps_before, seen.first_epoch)
    found = stitched(parts, tag)
    before = 0 if "epoch" in tag else seen.steps_before
    for step, value in seen.series[tag]:
        found.add(step + before, value)
    return found


def test_a_resumed_training_has_one_curve_joined_where_its_epoch_begins(runs: Runs) -> None:
    """The state was saved after epoch 2; what the first run trained beyond it is not part of the training."""
    first = laid(runs, "sd15_resume_first")
    second = laid(runs, "sd15_resume", first.id)
    seen = whole(second)
    assert (seen.first_epoch, seen.steps_before, seen.total_steps) == (3, 12, 24)
    found = whole_history(second, "loss/current")
    assert list(found.steps) == list(range(1, 25))
    expected = truth("sd15_resume_first", "loss/current")[:12] + truth("sd15_resume", "loss/current")
    assert [round(value, 5) for value in found.values] == [round(value, 5) for value in expected]
    assert list(whole_history(second, "loss/epoch_average").steps) == [1, 2, 3, 4]


def test_a_training_limited_by_steps_is_counted_by_its_batches(runs: Runs) -> None:
    """12 steps an epoch, three epochs, and the last one of the first run cut short at step 30.

    A resumed run trains that epoch whole (sd-scripts counts no step that lies before it), so it ends at 36.
    """
    steps = "  num batches per epoch / x: 24\n  num epochs / x: 3\n  gradient accumulation steps / x = 2\n"
    steps += "  total optimization steps / x: 30\nrunning training / x\n\nepoch 2/3\n"
    bar = "\rsteps:  17%|#7        | 14/30 [12:07<00:37,  1.32it/s, avr_loss=0.115]"
    run = runs.create("pass")
    run.log_file.write_text(steps.replace("epoch 2/3", "epoch 1/3") + bar)
    assert (whole(run).total_steps, steps_per_epoch(run)) == (30, 12)
    resumed = laid(runs, "sd15_resume", run.id, "--initial_epoch", "2")
    resumed.log_file.write_text(steps + bar)
    seen = whole(resumed)
    assert (seen.steps_before, seen.step, seen.total_steps) == (12, 26, 36)
    state = TrainState(run.dir, "rinni-step00000014-state", None, 14, 0.0, True)
    (run.dir / "train_state.json").write_text('{"current_epoch": 2, "current_step": 14}')
    point = point_of(state, {"max_train_steps": 30}, 12)
    assert (point.epoch, point.epochs, point.step, point.again) == (2, 3, 12, 2)
    assert arguments(point)[2:] == ["--initial_epoch", "2"]
    assert arguments(point, 2)[2:] == ["--initial_epoch", "2", "--initial_step", "12"]


def test_a_run_that_was_resumed_twice_has_three_parts(runs: Runs) -> None:
    """Each part ends where the next one took over, also when that was before its own end."""
    first = laid(runs, "sd15_resume_first")
    second = laid(runs, "sd15_resume", first.id)
    third = laid(runs, "sd15_resume_again_fixed", second.id, "--initial_epoch", "4")
    assert [run.id for run in ancestors(third)] == [first.id, second.id]
    seen = whole(third)
    parts = parts_before(third, seen.steps_before, seen.first_epoch)
    assert [(part.before, part.until) for part in parts] == [(0, 12), (12, 18)]
    assert list(whole_history(third, "loss/current").steps) == list(range(1, 25))


def test_a_chain_with_a_gap_or_a_circle_ends(runs: Runs, tmp_path: Path) -> None:
    """A folder that was deleted, a name that leads elsewhere, two runs that name each other: no more than is there."""
    alone = laid(runs, "sd15_resume", "20200101-000000-gone")
    assert ancestors(alone) == []
    assert parts_before(alone, 12, 3) == []
    outside = laid(runs, "sd15_resume", "../../etc")
    assert ancestors(outside) == []
    one = laid(runs, "sd15_resume")
    other = laid(runs, "sd15_resume", one.id)
    path = one.dir / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"resumed_from": other.id}))
    assert [run.id for run in ancestors(observe(other.dir))] == [one.id]
