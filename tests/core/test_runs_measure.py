"""Time and memory of a training: three real steps of the demo trainer, and what past runs took."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.config.documents import Config, open_config
from core.config.plan import plan
from core.hardware import GpuProcess, GpuReading, GpuSnapshot
from core.problems import UserError
from core.runs import measure as measuring
from core.runs import order, slots, store
from core.runs.estimate import duration, estimate, seconds_per_step, with_estimate
from core.runs.measure import measure, measured
from core.runs.model import Run, RunKind, RunSpec
from core.settings import Settings, load
from core.workspace import Workspace
from tests.core.cli_kit import Cli
from tests.core.config_kit import picture
from tests.core.runs_kit import RECORDINGS


@pytest.fixture
def settings(demo: Workspace) -> Settings:
    return load(demo.root)


def test_three_steps_are_trained_and_thrown_away(demo: Workspace, settings: Settings) -> None:
    """Real steps; no run, no file and no process is left; the plan knows from then on."""
    config = open_config(demo, "rinni")
    before = {path for path in demo.root.rglob("*") if path.is_file()}
    assert measured(config, demo, settings) is None
    *_, last = measure(config, demo, settings)
    assert last.result is not None and last.step == 3
    assert 0 < last.result.seconds_per_step < 60
    buckets = plan(config, demo).buckets
    assert last.result.bucket in buckets and last.result.batch == 4
    assert {path for path in demo.root.rglob("*") if path.is_file()} == before
    assert measured(config, demo, settings) == replace(
        last.result, seconds_per_step=round(last.result.seconds_per_step, 4)
    )
    found = estimate(config, demo, settings, plan(config, demo))
    assert found.source == "measured with three steps" and found.seconds is not None
    assert any("a step (measured" in line for line in with_estimate(plan(config, demo), config, demo, settings).lines())
    config.set("train", "gradient_checkpointing", True)
    assert measured(config, demo, settings) is None  # another training


def test_a_measurement_that_is_left_ends_the_trainer(demo: Workspace, settings: Settings, tmp_path: Path) -> None:
    """Stopping between two values leaves no process."""
    config = open_config(demo, "rinni")
    running = measure(config, demo, settings)
    next(running)
    folders = Path(tempfile.gettempdir()).glob("kohya-tui-measure-*")
    folder = max(folders, key=lambda path: path.stat().st_mtime)
    running.close()
    assert not folder.exists()
    assert measured(config, demo, settings) is None


def sd_scripts(folder: Path, text: str) -> Settings:
    """A checkout whose train_network.py does what `text` says."""
    folder.mkdir()
    (folder / "train_network.py").write_text(text)
    return Settings(sd_scripts=folder, sd_python=Path(sys.executable))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raise RuntimeError('no such layer')", "RuntimeError: no such layer"),
        ("raise SystemExit('torch.OutOfMemoryError: CUDA out of memory.')", "out of memory"),
        ("pass", "it said nothing"),
    ],
)
def test_a_trainer_that_fails_says_why(text: str, sentence: str, demo: Workspace, tmp_path: Path) -> None:
    """Its own last words; a memory that was too small gets its remedy."""
    with pytest.raises(UserError, match=sentence) as failed:
        list(measure(open_config(demo, "rinni"), demo, sd_scripts(tmp_path / "sd", text)))
    assert ("batch" in (failed.value.hint or "")) == ("memory" in text)


def test_a_trainer_that_hangs_is_ended(demo: Workspace, tmp_path: Path) -> None:
    """After the time limit, with what it started."""
    settings = sd_scripts(tmp_path / "sd", "import time; time.sleep(600)")
    with pytest.raises(UserError, match="within 1 s"):
        list(measure(open_config(demo, "rinni"), demo, settings, timeout=1))


def test_a_gpu_that_a_run_has_is_left_alone(
    demo: Workspace, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first free GPU is taken and held; where there is none, nothing is started."""
    gpus = tuple(GpuSnapshot(index, name="A", uuid=f"GPU-{index}") for index in range(2))
    monkeypatch.setattr(measuring, "read_gpus", lambda: GpuReading(gpus))
    config = open_config(demo, "rinni")
    lock = order.take(slots.folder(), "GPU-0", str(tmp_path))
    assert lock is not None
    try:
        running = measure(config, demo, settings)
        next(running)
        assert not order.is_free(slots.folder(), "GPU-1")
        with pytest.raises(UserError, match="under way on that GPU"):
            next(measure(config, demo, settings))
        running.close()
        assert order.is_free(slots.folder(), "GPU-1")
        with pytest.raises(UserError, match="under way on that GPU"):
            next(measure(config, demo, settings, "0"))
    finally:
        os.close(lock)


def test_nothing_to_train_on(demo: Workspace, settings: Settings) -> None:
    """It is said before anything is started."""
    config = open_config(demo, "rinni")
    config.set("dataset", "image_dir", "train_data/none")
    with pytest.raises(UserError, match="no picture"):
        next(iter(measure(config, demo, settings)))


def test_memory_is_that_of_the_trainers_own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By process where the driver tells, else what came since; another's growth on another GPU is smaller."""
    monkeypatch.setattr(measuring.proc, "members", lambda group: [11, 12])
    mine, others = GpuProcess(11, 3_000), GpuProcess(99, 9_000)
    gpus = (
        GpuSnapshot(0, name="A", memory_used=9_000, memory_total=24_000, processes=(others,)),
        GpuSnapshot(1, name="B", memory_used=3_500, memory_total=48_000, processes=(mine, GpuProcess(12, 500))),
    )
    assert measuring._used(GpuReading(gpus), GpuReading(), 11) == (3_500, 48_000, "B")
    hidden = tuple(replace(gpu, processes=()) for gpu in gpus)
    before = GpuReading((replace(hidden[0], memory_used=8_900), replace(hidden[1], memory_used=500)))
    assert measuring._used(GpuReading(hidden), before, 11) == (3_000, 48_000, "B")
    assert measuring._used(GpuReading(), GpuReading(), 11) is None


def past_run(workspace: Workspace, train: str, dataset: str) -> Run:
    """A finished training with the recorded events of a real one: 300 steps."""
    spec = RunSpec(
        id=store.new_id(store.runs_dir(workspace), "old"),
        kind=RunKind.TRAIN,
        name="old",
        created=time.time(),
        argv=("python", "train_network.py"),
        cwd=str(workspace.root),
        workspace=str(workspace.root),
    )
    files = {"train.toml": train.encode(), "dataset.toml": dataset.encode()}
    run = store.create(store.runs_dir(workspace), spec, files)
    shutil.copytree(RECORDINGS / "sd15_long" / "artefacts" / "logs", run.logs_dir, dirs_exist_ok=True)
    return run


def test_time_comes_from_past_runs(workspace: Workspace) -> None:
    """One alike is taken as it was; one with more pictures a step is scaled, and called rough."""
    folder = workspace.train_data / "x" / "1_x"
    folder.mkdir(parents=True)
    picture(folder / "a.png", 96, 96)
    train = 'network_module = "networks.lora"\nmax_train_steps = 100\n'
    data = '[[datasets]]\nresolution = 96\nbatch_size = {}\n[[datasets.subsets]]\nimage_dir = "train_data/x/1_x"\n'
    settings = Settings(sd_scripts=Path("sd"))
    config = Config(workspace.configs / "x", {"train": train, "dataset": data.format(1)})
    planned = plan(config, workspace)
    assert planned.total_steps == 100
    assert estimate(config, workspace, settings, planned).lines() == []
    run = past_run(workspace, train, data.format(1))
    each = seconds_per_step(run)
    assert each is not None and 0.1 < each < 2
    found = estimate(config, workspace, settings, planned)
    assert found.source == f"as in {run.id}" and not found.is_rough
    assert found.seconds == pytest.approx(100 * each)
    larger = Config(workspace.configs / "y", {"train": train, "dataset": data.format(4)})
    rough = estimate(larger, workspace, settings, plan(larger, workspace))
    assert rough.is_rough and rough.seconds_per_step == pytest.approx(4 * each)
    assert "roughly" in rough.lines()[0]
    demo = Settings(trainer="demo")
    assert estimate(config, workspace, demo, planned).seconds is None  # another trainer


def test_memory_comes_from_past_runs(workspace: Workspace) -> None:
    """What the supervisor noted of a training alike stands in the plan; of one with another dim it says nothing."""
    folder = workspace.train_data / "x" / "1_x"
    folder.mkdir(parents=True)
    picture(folder / "a.png", 96, 96)
    train = 'network_module = "networks.lora"\nnetwork_dim = {}\nmax_train_steps = 100\n'
    data = '[[datasets]]\nresolution = 96\n[[datasets.subsets]]\nimage_dir = "train_data/x/1_x"\n'
    settings = Settings(sd_scripts=Path("sd"))
    config = Config(workspace.configs / "x", {"train": train.format(16), "dataset": data})
    planned = plan(config, workspace)
    run = past_run(workspace, train.format(16), data)
    assert estimate(config, workspace, settings, planned).vram_bytes is None
    noted = {"v": 1, "peak_vram": 9 << 30, "exact": True, "total": 24 << 30}
    (run.dir / "hardware.json").write_text(json.dumps(noted))
    found = estimate(config, workspace, settings, planned)
    assert (found.vram_bytes, found.vram_total, found.vram_source) == (9 << 30, 24 << 30, f"as {run.id} held")
    assert f"of GPU memory at most (as {run.id} held)" in found.lines()[1]
    (run.dir / "hardware.json").write_text(json.dumps({**noted, "exact": False}))
    assert "its card held" in (estimate(config, workspace, settings, planned).vram_source or "")
    larger = Config(workspace.configs / "y", {"train": train.format(128), "dataset": data})
    other = estimate(larger, workspace, settings, plan(larger, workspace))
    assert other.seconds is not None and other.vram_bytes is None


def test_durations() -> None:
    """As a person would say them."""
    assert [duration(each) for each in (40, 89.6, 600, 3_900, 36_000)] == [
        *("40 s", "1 min", "10 min", "65 min", "10 h 00 min")
    ]


def test_the_command(cli: Cli) -> None:
    """plan --probe measures, and says it in both forms."""
    assert cli("plan", "rinni", "--json").json["estimate"]["seconds"] is None
    probed = cli("plan", "rinni", "--probe", "--json").json
    assert probed["estimate"]["source"] == "measured with three steps"
    assert probed["measured"]["seconds_per_step"] > 0
    assert "measured: " in cli("plan", "rinni", "--probe").out
    assert "measured with three steps" in cli("plan", "rinni").out
