"""Watching a run: what each poll of its files gives, live, the day after, and of a very long one."""

from __future__ import annotations

import json
import math
import shutil
import struct
import time
from pathlib import Path

import pytest

from core.problems import UserError
from core.runs import launch, scalars
from core.runs.model import RunKind, RunState
from core.runs.pace import Pace
from core.runs.progress import LogLine
from core.runs.store import observe
from core.runs.watch import RunWatch, Series, counts_epochs, snapshot
from tests.core.runs_kit import RECORDINGS, Runs, write_safetensors

pytest_plugins = ("tests.core.runs_fixtures",)

BAR = b"\rsteps:  17%%|x| %d/%d [00:07<00:37,  2.00it/s, avr_loss=%s]"


def recorded(runs: Runs, name: str, **changes: object) -> Path:
    """A run folder as the real trainer would have filled it, with the given state."""
    run = runs.create("pass", output_name="my_lora", **changes)
    shutil.copy(RECORDINGS / name / "output.bin", run.log_file)
    logs = RECORDINGS / name / "artefacts" / "logs"
    if logs.exists():
        shutil.copytree(logs, run.logs_dir)
    return run.dir


def state(folder: Path, **values: object) -> None:
    (folder / "state.json").write_text(json.dumps({"v": 1, "state": "running"} | values))


def test_a_finished_training_is_read_as_it_was_seen_live(runs: Runs) -> None:
    """Loss of every step from the events, totals from the log, the checkpoint, the reason of the end."""
    folder = recorded(runs, "sd15_long")
    write_safetensors(runs.out / "my_lora.safetensors")
    state(folder, state="finished", returncode=0)
    seen = RunWatch(folder).poll()
    assert (seen.run.state, seen.phase) == (RunState.FINISHED, "done")
    assert (seen.step, seen.total_steps, seen.epoch, seen.epochs) == (300, 300, 10, 10)
    truth = next(iter(json.loads((RECORDINGS / "sd15_long" / "scalars.json").read_text()).values()))
    assert {tag: list(series) for tag, series in seen.series.items()} == {
        tag: [(step, pytest.approx(float(value))) for step, _, value in points] for tag, points in truth.items()
    }
    assert seen.loss == pytest.approx(float(truth["loss/current"][-1][2]))
    assert seen.loss_average == pytest.approx(float(truth["loss/average"][-1][2]))
    assert seen.rate == pytest.approx(2.1, abs=0.3)
    assert seen.eta_seconds is None
    assert [item.name for item in seen.checkpoints] == ["my_lora.safetensors"]
    assert seen.log_lines_new[0].text.startswith("Loading settings")
    assert [tag for tag in seen.series if counts_epochs(tag)] == ["loss/epoch_average"]


def test_a_resumed_training_is_counted_from_its_first_beginning(runs: Runs) -> None:
    """The trainer counts its steps from 0 again; step and total are those of the whole training, in JSON too."""
    folder = recorded(runs, "sd15_resume_again_fixed")
    spec = json.loads((folder / "spec.json").read_text())
    spec["argv"] += ["--initial_epoch", "4"]
    (folder / "spec.json").write_text(json.dumps(spec))
    seen = snapshot(observe(folder))
    assert seen.step == seen.total_steps
    assert seen.steps_before
    assert seen.as_json()["step"] == seen.step


def test_pauses_are_part_of_the_time_that_is_left() -> None:
    """Steps of a second and a minute of samples after each epoch of ten: after the first, they are counted on."""
    pace = Pace()
    for step in range(1, 11):
        pace.add(step, 100.0 + step)
    assert pace.rate(10) is None
    pace.add(11, 100.0 + 11 + 60)
    assert pace.rate(10) == pytest.approx(10 / 70)
    assert pace.rate(20) is None


def test_a_live_run_gives_only_what_is_new(runs: Runs, tmp_path: Path) -> None:
    """Lines, steps, checkpoints and the end come poll by poll; nothing comes twice."""
    code = (
        "say('running training / x'); until('1')\n"
        "print('\\rsteps:  10%|x| 1/10 [00:01<00:09,  1.00it/s, avr_loss=0.5]', end='', flush=True)\n"
        "until('2'); save('lora-000001.safetensors'); until('3'); save('lora.safetensors'); say('model saved.')"
    )
    watch = RunWatch(runs.start(code).dir)
    lines: list[LogLine] = []

    def until(test: str) -> None:
        deadline = time.monotonic() + 20
        while True:
            seen = watch.poll()
            lines.extend(seen.log_lines_new)
            if eval(test, {"seen": seen}):
                return
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)

    until("seen.phase == 'training' and seen.step is None")
    (tmp_path / "1").touch()
    until("seen.step == 1 and seen.total_steps == 10 and seen.loss_average == 0.5")
    (tmp_path / "2").touch()
    until("[item.name for item in seen.checkpoints if item.complete] == ['lora-000001.safetensors']")
    until("seen.phase == 'saving'")
    (tmp_path / "3").touch()
    until("seen.run.state == 'finished' and seen.phase == 'done' and len(seen.checkpoints) == 2")
    assert [line.text for line in lines if "model saved." in line.text] == ["model saved."]
    assert watch.poll().log_lines_new == ()


def test_time_left_follows_the_rate_of_the_steps(runs: Runs) -> None:
    """While it runs: remaining steps by the newest steps' own times."""
    run = runs.start("print('\\rsteps:  10%|x| 10/50 [00:01<00:09,  4.00it/s, avr_loss=0.5]', end=''); time.sleep(600)")
    runs.logged(run, "avr_loss")
    seen = snapshot(run)
    assert (seen.rate, seen.eta_seconds) == (4.0, 10.0)


def test_a_run_without_events_is_charted_from_its_log(runs: Runs) -> None:
    """No logging_dir: the bar's average loss, with its three digits."""
    folder = recorded(runs, "sd15_no_logging_dir")
    state(folder, state="finished")
    series = RunWatch(folder).poll().series["loss/average"]
    assert [step for step, _ in series] == [1, 2, 3, 4, 5]
    assert series.last == pytest.approx(1.17)


def test_nan_is_a_problem_at_once_and_null_in_json(runs: Runs) -> None:
    """The loss is not a number: an error with the remedy; JSON stays valid."""
    folder = recorded(runs, "sd15_nan")
    state(folder, state="finished")
    seen = snapshot(RunWatch(folder).poll().run)
    assert [problem.code for problem in seen.problems] == ["KT511"]
    assert math.isnan(seen.loss or 0)
    document = json.loads(json.dumps(seen.as_json(), allow_nan=False))
    assert document["loss"] is None
    wanted = {"id", "kind", "state", "step", "total_steps", "epoch", "loss", "rate", "eta_seconds", "gpu", "reason"}
    assert wanted <= document.keys()


def test_of_a_long_log_the_beginning_and_the_end_are_read(runs: Runs) -> None:
    """Hours of bars: totals from the head, step from the tail, the epoch from between; few lines for the viewer."""
    run = runs.create("pass")
    bars = b"".join(BAR % (step, 90000, b"0.1") for step in range(1, 30000))
    with run.log_file.open("wb") as stream:
        stream.write(b"  num epochs / epoch: 9\n\nepoch 1/9\n" + bars + b"\n\nepoch 7/9\n" + bars)
    state(run.dir, state="stopped", reason="Stopped on request.")
    begun = time.process_time()
    seen = RunWatch(run.dir).poll()
    assert time.process_time() - begun < 2
    assert (seen.step, seen.total_steps, seen.epoch, seen.epochs) == (29999, 90000, 7, 9)
    assert len(seen.log_lines_new) <= 2
    assert seen.reason == "Stopped on request."


def test_a_log_that_is_cut_off_is_read_anew(runs: Runs) -> None:
    """Somebody emptied it: nothing is raised, the new lines come."""
    run = runs.create("pass")
    run.log_file.write_bytes(b"one\ntwo\n")
    state(run.dir, state="stopped")
    watch = RunWatch(run.dir)
    assert [line.text for line in watch.poll().log_lines_new] == ["one", "two"]
    run.log_file.write_bytes(b"new\n")
    assert [line.text for line in watch.poll().log_lines_new] == ["new"]


def test_a_growing_checkpoint_becomes_complete(runs: Runs) -> None:
    """The trainer writes it piece by piece under its final name."""
    run = runs.create("pass")
    state(run.dir, state="stopped")
    path = write_safetensors(runs.out / "lora-000001.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    watch = RunWatch(run.dir)
    assert [item.complete for item in watch.poll().checkpoints] == [False]
    path.write_bytes(data)
    assert [item.complete for item in watch.poll().checkpoints] == [True]
    (runs.out / "sample").mkdir()
    (runs.out / "sample" / "lora_e000001_00_20261122102806_1.png").touch()
    assert [item.epoch for item in watch.poll().samples] == [1]


def test_an_output_folder_that_is_removed_is_told_while_the_training_goes_on(runs: Runs) -> None:
    """Not before the trainer has made it, and not after the end: there it was cleared up."""
    run = runs.start("say('up'); time.sleep(600)", output_dir=str(runs.out / "later"))
    watch = RunWatch(run.dir)
    folder = runs.out / "later"

    def codes() -> list[str | None]:
        return [problem.code for problem in watch.poll().problems]

    assert codes() == []
    folder.mkdir(parents=True)
    assert codes() == []
    folder.rmdir()
    assert codes() == ["KT515"]
    folder.mkdir()
    assert codes() == []
    folder.rmdir()
    launch.stop(run)
    runs.ended(run)
    assert codes() == []


def test_a_clock_that_jumps_is_neither_a_stall_nor_a_slower_training(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's clock is set two hours ahead, then back: silence and time left count on as before."""
    run = runs.start("say('up'); time.sleep(600)")
    runs.logged(run, "up")
    watch = RunWatch(run.dir)
    watch.poll()
    real = time.time
    for hours in (2, -2):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + 3600 * hours)
        assert 0 <= (watch.poll().quiet_seconds or 0) < 60
    monkeypatch.undo()
    steady, jumped = Pace(), Pace()
    for step in range(200):
        steady.add(step, float(step))
        jumped.add(step, step + (7200.0 if 80 <= step < 120 else 0.0))
    assert jumped.rate(50) == pytest.approx(steady.rate(50) or 0, rel=0.02)


def test_a_tag_run_counts_images(runs: Runs) -> None:
    """Done, total, rate, what failed, and why the GPU is not used."""
    run = runs.create("pass", kind=RunKind.TAG, output_dir=None)
    state(run.dir, state="failed", ended=time.time())
    watch = RunWatch(run.dir)
    assert watch.poll().phase == "starting"
    head = {"v": 1, "total": 40, "started": time.time() - 100, "fallback": "There is no GPU here."}
    lines = [
        head,
        *({"path": f"{i}.png", "tags": 3, "seconds": i / 4} for i in range(20)),
        {"path": "x", "error": "bad"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    results = run.dir / "results.jsonl"
    results.write_text(text[:-10])
    assert watch.poll().step == 20
    results.write_text(text)
    seen = watch.poll()
    assert (seen.step, seen.total_steps, seen.phase, seen.rate) == (21, 40, "tagging", 4.0)
    assert seen.results is not None and seen.results.fallback == "There is no GPU here."
    assert [problem.code for problem in seen.problems] == ["KT512", "KT513"]
    with results.open("a") as stream:
        stream.write('{"done": true, "tagged": 20, "failed": 1, "images_per_second": 3.5}\n')
    assert (watch.poll().phase, watch.poll().rate) == ("done", 3.5)


def test_a_run_folder_that_is_deleted_while_it_is_watched_is_told(runs: Runs) -> None:
    """A clear sentence, not a traceback."""
    run = runs.create("pass")
    watch = RunWatch(run.dir)
    watch.poll()
    shutil.rmtree(run.dir)
    with pytest.raises(UserError, match="is gone"):
        watch.poll()


def test_a_very_long_series_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second point goes, the ends stay in order."""
    monkeypatch.setattr(scalars, "MAX_POINTS", 1000)
    series = Series()
    for step in range(1001):
        series.add(step, 0.5)
    assert len(series) == 501
    assert list(series.steps[:3]) == [0, 2, 4]
    assert series.last == 0.5


def test_events_that_appear_late_replace_the_points_of_the_log(runs: Runs) -> None:
    """The first polls saw only bars."""
    folder = recorded(runs, "sd15_no_logging_dir")
    state(folder, state="stopped")
    watch = RunWatch(folder)
    assert len(watch.poll().series["loss/average"]) == 5
    tag = b"loss/average"
    value = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", 0.25)
    summary = b"\x0a" + bytes([len(value)]) + value
    event = b"\x09" + struct.pack("<d", 1.0) + b"\x10\x01\x2a" + bytes([len(summary)]) + summary
    target = folder / "logs" / "x" / "events.out.tfevents.1.h.1.0"
    target.parent.mkdir(parents=True)
    target.write_bytes(struct.pack("<QI", len(event), 0) + event + b"\0" * 4)
    assert list(watch.poll().series["loss/average"]) == [(1, 0.25)]
