"""The commands in a real terminal: what is drawn in place, what is rendered, what opens the app."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.cli.output import cells_of
from core.runs import store
from core.runs.model import RunKind
from core.workspace import Workspace
from tests.benchmarks.terminal import Program
from tests.core.cli_kit import COMMAND, Cli, end_runs, only_run, until
from tests.fake_nvml.machine import Machine

pytest_plugins = ("tests.fake_nvml.fixtures",)


def finish(program: Program) -> str:
    """Everything that the program wrote, when it has ended."""
    stat = Path(f"/proc/{program.pid}/stat")  # the command line is also empty for a moment while it is being started
    until(lambda: program.read(0.05) == 0 and stat.read_text().rpartition(")")[2].split()[0] == "Z")
    return bytes(program.output).decode()


def test_demo_opens_the_app_and_starts_its_runs(tmp_path: Path) -> None:
    """`kohya-tui demo`: pictures on the screen, a tag run and a training on their way."""
    workspace = Workspace(tmp_path / "kohya-tui-demo")
    with Program([*COMMAND, "--images", "off"], cwd=tmp_path) as program:
        program.wait(rb"no images here yet|Open the demo")
    with Program([*COMMAND, "demo"], cwd=tmp_path) as program:
        program.wait(rb"mika_12")
        until(lambda: program.read(0.05) >= 0 and len(store.list_runs(workspace)) == 2)
        assert {run.spec.kind for run in store.list_runs(workspace)} == {RunKind.TAG, RunKind.TRAIN}
    end_runs(workspace)


def test_a_followed_log_draws_its_bar_in_place(cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for the progress bar, drawn anew within the width; nothing else moves the cursor."""
    cli("config", "set", "rinni", "max_train_epochs=1", "dataset:num_repeats=2")
    monkeypatch.setenv("KOHYA_TUI_DEMO_STEP_SECONDS", "0.1")
    cli("train", "rinni")
    with Program([*COMMAND, "log", "-f"], cwd=demo.root, size=(70, 20)) as program:
        text = finish(program)
    assert "model saved" in text
    drawn = [part for part in text.split("\r\x1b[K") if "steps:" in part]
    assert len(drawn) >= 3
    assert all(len(part.splitlines()[0]) < 70 for part in drawn[:-1] if "\n" not in part)
    assert "\x1b" not in text.replace("\r\x1b[K", "")
    assert only_run(demo).id


def test_help_is_rendered_on_a_terminal(tmp_path: Path) -> None:
    """Markdown becomes headings and tables, within the terminal's width."""
    with Program([*COMMAND, "help", "start"], cwd=tmp_path, size=(80, 24)) as program:
        text = finish(program)
    assert "From a folder of images to a trained LoRA" in text
    assert "# From a folder" not in text and "|---|" not in text


def test_doctor_in_tmux(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what tmux lets through and how to change it; here a tmux that answers `off`."""
    tmux = tmp_path / "bin" / "tmux"
    tmux.parent.mkdir()
    tmux.write_text("#!/bin/sh\necho off\n")
    tmux.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmux.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    checks = {check["name"]: check for check in cli("doctor", "--json").json["checks"]}
    assert "half blocks" in checks["tmux pictures"]["message"]
    assert "allow-passthrough on" in checks["tmux pictures"]["hint"]
    assert "set-clipboard on" in checks["tmux clipboard"]["hint"]


def test_doctor_with_gpus(cli: Cli, fake_gpus: Machine) -> None:
    """One line a GPU, with memory and driver."""
    fake_gpus.gpu(0, name="Test GPU")
    lines = [line for line in cli("doctor").lines if " GPU " in line]
    assert any("Test GPU" in line and "GiB" in line for line in lines)


WIDE = ("runs", "models", "models base", "doctor", "config presets", "check", "config", "history")


@pytest.mark.parametrize("words", [words.split() for words in WIDE])
def test_results_fit_into_80_columns(cli: Cli, demo: Workspace, words: list[str]) -> None:
    """Less important columns go, sentences break at words; a path may be longer than the line."""
    (demo.models / "demo-base.safetensors").unlink()
    with Program([*COMMAND, "train", "rinni", "--force"], cwd=demo.root, size=(80, 24)) as program:
        finish(program)
    until(lambda: not only_run(demo).live)
    with Program([*COMMAND, *words], cwd=demo.root, size=(80, 24)) as program:
        text = finish(program)
    long = [line for line in text.replace("\r", "").splitlines() if cells_of(line) > 80]
    assert all(max(map(len, line.split())) > 60 for line in long), long
