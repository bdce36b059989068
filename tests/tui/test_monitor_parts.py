"""What the Monitor says about a run, as text: for a width, a state and a moment."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.problems import Problem, Severity
from core.runs.artifacts import Checkpoint, SampleImage
from core.runs.costs import next_save, stop_costs
from core.runs.model import Run, RunKind, RunSpec, RunState, RunStatus
from core.runs.watch import RunSnapshot
from tui.screens.monitor_parts import (
    checkpoint_lines,
    head_line,
    marks_of,
    progress_line,
    reason_lines,
    result_lines,
)
from tui.theme import Cells
from tui.widgets.lines import width_of

NOW = time.time()


def text(line: Cells) -> str:
    return "".join(part for part, _ in line)


def checkpoint(epoch: int | None, age: float = 60, *, complete: bool = True) -> Checkpoint:
    name = "lora.safetensors" if epoch is None else f"lora-{epoch:06}.safetensors"
    return Checkpoint(Path(name), name, epoch, None, 218_000_000, NOW - age, complete, epoch is None)


@pytest.fixture
def training(tmp_path: Path) -> RunSnapshot:
    """Step 1,012 of 2,140 in epoch 5 of 10, at 2 steps a second."""
    spec = RunSpec("20261122-rinni", RunKind.TRAIN, "rinni-sdxl", NOW - 900, ("python",), str(tmp_path))
    status = RunStatus(RunState.RUNNING, pid=4312, started=NOW - 600)
    return RunSnapshot(
        run=Run(tmp_path, spec, status, live=True, supervised=True),
        phase="training",
        step=1012,
        total_steps=2140,
        steps_per_epoch=214,
        epoch=5,
        epochs=10,
        rate=2.0,
        eta_seconds=564,
    )


def with_status(snapshot: RunSnapshot, *, live: bool = False, **changes: object) -> RunSnapshot:
    run = snapshot.run
    status = replace(run.status, **changes)  # type: ignore[arg-type]
    return replace(snapshot, run=replace(run, status=status, live=live, supervised=live), reason=status.reason)


def test_the_head_says_everything_where_there_is_room(training: RunSnapshot) -> None:
    """At 120 columns: state, epoch, step, rate, time left, the process that goes on by itself."""
    line = text(head_line(training, 120, NOW))
    assert line.split("   ")[0] == " ▶ rinni-sdxl"
    for part in ("running", "epoch 5/10", "step 1,012/2,140", "2 it/s", "9m 24s left", "pid 4312 · detached"):
        assert part in line


@pytest.mark.parametrize("width", range(24, 130, 7))
def test_the_head_never_overflows_and_keeps_name_and_state(training: RunSnapshot, width: int) -> None:
    """In a narrow pane the least important parts go; whatever is left is whole."""
    line = head_line(training, width, NOW)
    assert width_of(line) <= width
    assert "▶ rinni-sdxl" in text(line)
    assert ("1,012/2,140" in text(line)) == (width >= 38)


def test_a_phase_that_is_not_training_is_named(training: RunSnapshot) -> None:
    """While latents are cached or samples drawn, the head says so."""
    assert "caching latents" in text(head_line(replace(training, phase="caching"), 120, NOW))
    drawing = text(head_line(replace(training, phase="sampling", sample=(2, 4)), 120, NOW))
    assert "sampling 2/4" in drawing
    assert "left" not in drawing  # it would stand still


def test_an_ended_run_tells_how_long_it_took_and_when(training: RunSnapshot) -> None:
    """No rate and no time left any more; the word for the state instead."""
    ended = with_status(training, state=RunState.STOPPED, ended=NOW - 7200, started=NOW - 7800)
    line = text(head_line(ended, 120, NOW))
    for part in ("■ rinni-sdxl", "stopped", "took 10m", "2h ago"):
        assert part in line
    assert "left" not in line
    assert "it/s" not in line


def test_a_resumed_run_counts_from_the_beginning_of_the_training(training: RunSnapshot) -> None:
    """Resumed at epoch 6 of 10 and ten steps in: 1,080 of 2,140, half of the bar."""
    spec = replace(training.run.spec, argv=("python", "--initial_epoch", "6"), resumed_from="before")
    run = replace(training.run, spec=spec)
    resumed = replace(training, run=run, step=1080, steps_before=1070, first_epoch=6, epoch=6, eta_seconds=530)
    line = text(head_line(resumed, 120, NOW))
    assert "step 1,080/2,140" in line
    assert "50 %" in text(progress_line(resumed, 80))
    saved = replace(resumed, checkpoints=(checkpoint(6),))
    assert marks_of(saved).epochs[5] == (1284, 6)
    assert marks_of(saved).checkpoints == (1284,)


def test_epochs_checkpoints_and_samples_have_their_steps(training: RunSnapshot) -> None:
    """Epoch 2 of 214 steps each ends at step 428; a sample of a step stands at that step."""
    samples = (SampleImage(Path("a"), 2, None, 0, None, NOW), SampleImage(Path("b"), None, 500, 0, None, NOW))
    marks = marks_of(replace(training, checkpoints=(checkpoint(2),), samples=samples))
    assert marks.epochs[:2] == ((214, 1), (428, 2))
    assert marks.checkpoints == (428,)
    assert marks.samples == (428, 500)


def test_stopping_now_costs_what_was_done_since_the_last_checkpoint(training: RunSnapshot) -> None:
    """Saved seven minutes ago: seven minutes are lost; nothing saved yet: all of it."""
    assert stop_costs(training, NOW).now == "loses 10m of training, no checkpoint yet"
    saved = replace(training, checkpoints=(checkpoint(2, 900), checkpoint(4, 420), checkpoint(5, 1, complete=False)))
    assert stop_costs(saved, NOW).now == "loses 7m 00s of training, back to the last checkpoint"


def test_waiting_for_the_next_checkpoint_is_foretold_from_the_frozen_config(training: RunSnapshot) -> None:
    """Every two epochs of 214 steps: from step 1,012 the next is at 1,284, at 2 steps a second in 136 s."""
    (training.run.dir / "train.toml").write_text("[saving]\nsave_every_n_epochs = 2\n")
    assert next_save(training) == (136.0, False)
    assert stop_costs(training, NOW).wait == "in about 2m 16s; loses nothing"
    (training.run.dir / "train.toml").write_text("[saving]\nsave_every_n_steps = 1100\n")
    assert next_save(training) == (44.0, False)
    (training.run.dir / "train.toml").write_text("")
    assert next_save(training) == (564.0, True)


def test_an_unsupervised_run_cannot_wait_for_a_checkpoint(training: RunSnapshot) -> None:
    """Nobody is there who could wait: only "now" is offered."""
    alone = replace(training, run=replace(training.run, supervised=False))
    assert stop_costs(alone, NOW).wait is None
    assert "unsupervised" in text(head_line(alone, 120, NOW))


def test_the_reason_comes_first_and_what_can_be_done_after_it(training: RunSnapshot) -> None:
    """A failed run with a saved state: why, then the key that goes on; its live warnings are no longer shown."""
    reason = "CUDA ran out of memory. " * 8
    failed = with_status(training, state=RunState.FAILED, reason=reason)
    failed = replace(failed, problems=(Problem(Severity.ERROR, "KT511", "x", "the loss is not a number (NaN)"),))
    lines = reason_lines(failed, 80, states=1)
    assert 2 <= len(lines) <= 4
    assert all(width_of(line) <= 80 for line in lines)
    assert lines[0][0][1] == "bad"
    assert text(lines[-1]).startswith(" C goes on")
    assert not any("NaN" in text(line) for line in lines)


def test_a_warning_of_a_live_run_is_a_sentence_with_its_remedy(training: RunSnapshot) -> None:
    """NaN while it runs: said at once, in red, with what to do."""
    problem = Problem(Severity.ERROR, "KT511", training.run.id, "the loss is not a number (NaN)", "Stop the run.")
    (line,) = reason_lines(replace(training, problems=(problem,)), 100)
    assert text(line) == " ! The loss is not a number (NaN). Stop the run."
    assert line[0][1] == "bad"


def test_checkpoints_are_listed_newest_first_with_sizes(training: RunSnapshot) -> None:
    """A file that is not whole yet is marked and has no size; the sum stands in the first line."""
    found = (checkpoint(2), checkpoint(4), checkpoint(6, complete=False))
    lines = [text(line) for line in checkpoint_lines(found, 46, 4, NOW)]
    assert lines[0].split() == ["checkpoints", "3", "654", "MB", "⏎", "all"]
    assert lines[1].split() == ["◇", "e6", "lora-000006.safetensors", "incomplete"]
    assert lines[2].split() == ["◆", "e4", "lora-000004.safetensors", "218", "MB"]
    assert len(checkpoint_lines(found, 46, 2, NOW)) == 2
    assert "none yet" in text(checkpoint_lines((), 46, 3, NOW)[0])


def test_hostile_names_are_shown_as_text(training: RunSnapshot) -> None:
    """Escape sequences in a run's name, a reason or a file name never reach the terminal."""
    evil = "\x1b[2Jname"
    spec = replace(training.run.spec, name=evil)
    snapshot = replace(training, run=replace(training.run, spec=spec))
    ended = with_status(snapshot, state=RunState.FAILED, reason=evil)
    lines = [head_line(snapshot, 120, NOW), *reason_lines(ended, 80), *result_lines([(evil, evil)], [evil], 80, 9)]
    assert not any("\x1b" in text(line) for line in lines)
