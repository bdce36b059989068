"""The trainer's output, recorded from the real one: lines for people, and steps and losses for the chart."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from core.runs.progress import PHASES, LogLine, LogReader, ProgressReader, ProgressState
from tests.core.runs_kit import RECORDINGS

NAMES = sorted(folder.name for folder in RECORDINGS.iterdir() if (folder / "output.bin").exists())
LOST_ITS_LAST_LINE = "sd15_accelerate_sigint"
"""The wrapper died, and the orphaned trainer's pipe with it: the events know one step more than the output."""


def pieces(data: bytes, seed: str, sizes: tuple[int, ...] = (1, 2, 3, 7, 50, 500, 5000)) -> list[bytes]:
    """`data` cut anywhere: inside characters, escape sequences and lines."""
    chance, parts, position = random.Random(seed), [], 0
    while position < len(data):
        size = chance.choice(sizes)
        parts.append(data[position : position + size])
        position += size
    return parts


def shown(lines: list[LogLine], view: list[LogLine]) -> list[LogLine]:
    """What a viewer shows after `lines`."""
    for line in lines:
        if line.replace and view:
            view[-1] = line
        else:
            view.append(line)
    return view


def progress(data: bytes, parts: list[bytes] | None = None) -> ProgressReader:
    reader = ProgressReader()
    reader.keep_texts = True
    for part in [data] if parts is None else parts:
        reader.feed(part)
    return reader


@pytest.mark.parametrize("name", NAMES)
def test_steps_and_losses_equal_those_of_tensorboard(name: str) -> None:
    """Every step's average loss in the output, to its three digits, is the one that the events file has."""
    folder = RECORDINGS / name
    reader = progress((folder / "output.bin").read_bytes())
    if not (folder / "scalars.json").exists():
        return
    truth = json.loads((folder / "scalars.json").read_text())
    wanted = {step: f"{float(value):.3g}" for tags in truth.values() for step, _, value in tags.get("loss/average", [])}
    if name == LOST_ITS_LAST_LINE:
        wanted.pop(max(wanted))
    assert reader.loss_texts == wanted
    assert list(reader.steps) == sorted(wanted)
    assert [f"{loss:.3g}" for loss in reader.losses] == [wanted[step] for step in sorted(wanted)]
    assert reader.state.step == max(wanted, default=0)


@pytest.mark.parametrize("name", NAMES)
def test_output_in_any_pieces_reads_the_same(name: str) -> None:
    """Chunks end anywhere: the same steps, phases and lines come out."""
    data = (RECORDINGS / name / "output.bin").read_bytes()
    whole, pieced = progress(data), progress(data, pieces(data, name))
    assert repr(pieced.state) == repr(whole.state)
    assert pieced.loss_texts == whole.loss_texts
    view = shown(LogReader().feed(data), [])
    reader, parts = LogReader(), list[LogLine]()
    for part in pieces(data, name):
        shown(reader.feed(part), parts)
    assert [(line.text, line.level, line.time) for line in parts] == [
        (line.text, line.level, line.time) for line in view
    ]


@pytest.mark.parametrize("name", NAMES)
def test_lines_are_safe_to_show(name: str) -> None:
    """No control character, no escape sequence, no carriage return, no colour reaches the screen."""
    data = (RECORDINGS / name / "output.bin").read_bytes()
    reader = LogReader()
    for part in pieces(data, name):
        for line in reader.feed(part):
            assert line.plain().isprintable(), line


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("sd15_long", ProgressState("done", 300, 300, 10, 10)),
        ("sd15_cols_pipe", ProgressState("done", 6, 6, 1, 1)),
        ("sd15_ok_pty", ProgressState("done", 3, 3, 1, 1)),
        ("sd15_ok_pipe", ProgressState("done", 6, 6, 2, 2)),
        ("sd15_stdout_simple", ProgressState("done", 6, 6, 1, 1)),
        ("sd15_validation", ProgressState("done", 8, 8, 2, 2)),
        ("sd15_sigterm", ProgressState("training", 10, 60, 1, 2)),
        ("sd15_sigint_loading", ProgressState("caching", None, None, None, None)),
        ("sd15_resume", ProgressState("done", 12, 24, 4, 4)),
        ("sd15_no_data", ProgressState("dataset", None, None, None, None)),
    ],
)
def test_phase_step_and_epoch_where_the_output_ends(name: str, state: ProgressState) -> None:
    """What the head of the monitor says."""
    seen = progress((RECORDINGS / name / "output.bin").read_bytes()).state
    assert (seen.phase, seen.step, seen.total_steps, seen.epoch, seen.epochs) == (
        state.phase,
        state.step,
        state.total_steps,
        state.epoch,
        state.epochs,
    )


def test_phases_come_in_their_order() -> None:
    """Dataset, model, caching, network, training; samples and checkpoints between; then done."""
    data = (RECORDINGS / "sd15_samples" / "output.bin").read_bytes()
    reader, seen = ProgressReader(), ["starting"]
    for line in data.splitlines(keepends=True):
        phase = reader.feed(line).phase
        if phase != seen[-1]:
            seen.append(phase)
    assert set(seen) <= set(PHASES)
    first = {phase: seen.index(phase) for phase in seen}
    order = ["starting", "dataset", "model", "caching", "network", "training", "saving", "done"]
    assert [first[phase] for phase in order] == sorted(first[phase] for phase in order)
    assert seen[-1] == "done"
    assert "sampling" in seen


def test_the_picture_that_is_drawn_is_counted() -> None:
    """While samples are drawn: the first, the second; 0 again as soon as the training goes on."""
    data = (RECORDINGS / "sd15_samples" / "output.bin").read_bytes()
    reader = ProgressReader()
    seen = [reader.feed(line + b"\n") for line in data.split(b"\n")]
    counts = [state.sample for state in seen if state.phase == "sampling"]
    assert counts[0] == 0
    assert max(counts) == 2
    assert not any(state.sample for state in seen if state.phase != "sampling")


def test_rate_time_left_and_the_last_checkpoint() -> None:
    """From the newest bar and the newest `saving checkpoint` line; s/it is turned round."""
    reader = ProgressReader()
    reader.feed(
        b"\rsteps:  25%|xx    | 10/40 [00:20<01:00,  2.00s/it, avr_loss=0.125]\n"
        b"saving checkpoint: out/a b.safetensors\n"
    )
    assert (reader.state.rate, reader.state.eta_seconds, reader.state.avr_loss) == (0.5, 60.0, 0.125)
    assert (reader.state.saved, reader.state.phase) == ("out/a b.safetensors", "saving")
    assert reader.feed(b"\rsteps:  27%|xx    | 11/40 [00:22<00:58,  2.00s/it, avr_loss=0.12]").phase == "training"


def test_the_last_error_is_that_of_the_trainer_not_of_its_wrapper() -> None:
    """accelerate adds a CalledProcessError of its own."""
    reader = ProgressReader()
    reader.feed(b"Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.\n")
    reader.feed(b"subprocess.CalledProcessError: Command '[...]' returned non-zero exit status 1.\n")
    assert reader.state.last_error == "torch.OutOfMemoryError: CUDA out of memory."


def test_log_messages_have_level_and_time_and_lose_the_columns() -> None:
    """The right-aligned source file and the padding are gone; continued lines keep only their own indentation."""
    data = (RECORDINGS / "sd15_cols_pipe" / "output.bin").read_bytes()
    lines = shown(LogReader().feed(data), [])
    first = lines[0]
    assert first == LogLine(
        "Loading settings from jobs/sd15_cols_pipe/train.toml...", "INFO", "2026-11-22 10:38:10", False
    )
    assert LogLine("no regularization images / 正則化画像が見つかりませんでした", "WARNING") in lines
    assert any(line.text == "    batch_size: 1" for line in lines)


def test_a_progress_bar_is_one_line_that_goes_on() -> None:
    """Each bar replaces the one before, also half a bar at the end of a chunk; a message glued to it stands below."""
    reader = LogReader()
    view = shown(reader.feed(b"start\n\rsteps:  10%|x | 1/10 [00:01<00:09,  1.00it/s, avr_loss=1]\rsteps:  20%|x"), [])
    assert [line.text for line in view] == ["start", "steps:  20%|x"]
    shown(
        reader.feed(b" | 2/10 [00:02<00:08,  1.00it/s, avr_loss=0.9]2026-11-22 10:00:00 INFO     saved  a.py:1\n"), view
    )
    assert [(line.text, line.level) for line in view] == [
        ("start", None),
        ("steps:  20%|x | 2/10 [00:02<00:08,  1.00it/s, avr_loss=0.9]", None),
        ("saved", "INFO"),
    ]


def test_hostile_output_is_shown_as_text(tmp_path: Path) -> None:
    """Escapes that would move the cursor, retitle the window or write to the clipboard; half UTF-8; endless lines."""
    reader = LogReader()
    lines = reader.feed(
        b"\x1b[2J\x1b]52;c;ZXZpbA==\x07caf\xc3\xa9 \xff\x1b]0;title\nnext \xe2\x80\xae\n" + b"x" * 200_000
    )
    lines += reader.flush()
    assert all(line.plain().isprintable() for line in lines)
    assert lines[0].text.startswith("café �")
    assert max(len(line.text) for line in lines) <= 200_000
