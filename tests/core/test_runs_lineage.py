"""A training over several runs, on recordings of the real trainer: one history, counted from the first step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.runs.lineage import ancestors, parts_before, stitched
from core.runs.model import Run
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
