"""From a config to a command line: what is frozen, which program trains, and what keeps it from starting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.problems import UserError
from core.runs import launch, store
from core.runs.model import Run, RunKind, RunState
from core.runs.trainer import trainer_python
from core.settings import Settings
from core.workspace import Workspace
from tests.core.runs_kit import Runs, log_of, wait_for

pytest_plugins = ("tests.core.runs_fixtures",)

TRAIN = """
# the guide's
[model]
pretrained_model_name_or_path = "models/base.safetensors"
[training]
max_train_epochs = 4
sample_every_n_epochs = 1
"""
DATASET = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "train_data/rinni/10_rinni"\n'


@pytest.fixture
def sd(tmp_path: Path) -> Settings:
    """A checkout of sd-scripts with a Python in it (that has no torch)."""
    checkout = tmp_path / "sd-scripts"
    (checkout / "venv" / "bin").mkdir(parents=True)
    for name in ("train_network.py", "sdxl_train_network.py"):
        (checkout / name).touch()
    (checkout / "venv" / "bin" / "python").symlink_to(sys.executable)
    return Settings(sd_scripts=checkout)


def write_config(
    workspace: Workspace, train: str = TRAIN, dataset: str = DATASET, prompts: str = "1girl --d 1\n"
) -> None:
    folder = workspace.configs / "rinni"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("train.toml", train), ("dataset.toml", dataset), ("prompts.txt", prompts)):
        (folder / name).write_text(text)


def option(argv: tuple[str, ...], name: str) -> str | None:
    return argv[argv.index(name) + 1] if name in argv else None


def test_a_run_gets_frozen_inputs_and_its_own_output_folder(workspace: Workspace, sd: Settings) -> None:
    """The workspace is the working folder; config, prompts and logs are the run's own; no run overwrites another."""
    write_config(workspace)
    spec, files = launch.train_spec(workspace, "rinni", sd)
    folder = workspace.runs / spec.id
    assert sd.sd_scripts is not None
    assert spec.argv[:2] == (str(sd.sd_scripts / "venv/bin/python"), str(sd.sd_scripts / "train_network.py"))
    assert option(spec.argv, "--config_file") == str(folder / "train.toml")
    assert option(spec.argv, "--dataset_config") == str(folder / "dataset.toml")
    assert option(spec.argv, "--sample_prompts") == str(folder / "prompts.txt")
    assert option(spec.argv, "--logging_dir") == str(folder / "logs")
    assert option(spec.argv, "--output_dir") == f"output/rinni/{spec.id}"
    assert option(spec.argv, "--output_name") == "rinni"
    assert (spec.cwd, spec.dataset, spec.config) == (str(workspace.root), "rinni", "rinni")
    assert spec.output_dir == str(workspace.root / "output" / "rinni" / spec.id)
    assert files == {"train.toml": TRAIN.encode(), "dataset.toml": DATASET.encode(), "prompts.txt": b"1girl --d 1\n"}
    run = store.create(workspace.runs, spec, files)
    (workspace.configs / "rinni" / "train.toml").write_text("changed = 1")
    assert (run.dir / "train.toml").read_text() == TRAIN


def test_what_the_config_says_itself_is_respected(workspace: Workspace, sd: Settings) -> None:
    """Its own output folder and name; no sampling, no prompts on the command line."""
    train = 'output_dir = "mine"\noutput_name = "v1"\npretrained_model_name_or_path = "models/base.safetensors"\n'
    write_config(workspace, train)
    spec, _ = launch.train_spec(workspace, "rinni", sd)
    assert (spec.output_dir, spec.output_name) == (str(workspace.root / "mine"), "v1")
    for name in ("--output_dir", "--output_name", "--sample_prompts"):
        assert name not in spec.argv


def test_files_that_the_config_names_are_frozen_when_they_are_of_the_kind(workspace: Workspace, sd: Settings) -> None:
    """A dataset.toml elsewhere is frozen; prompts in JSON stay where they are, for the trainer goes by the suffix."""
    write_config(workspace, 'dataset_config = "other.toml"\nsample_prompts = "p.json"\n' + TRAIN)
    for name in ("dataset.toml", "prompts.txt"):
        (workspace.configs / "rinni" / name).unlink()
    (workspace.root / "other.toml").write_text(DATASET)
    (workspace.root / "p.json").write_text("[]")
    spec, files = launch.train_spec(workspace, "rinni", sd)
    assert files.keys() == {"train.toml", "dataset.toml"}
    assert "--sample_prompts" not in spec.argv


def test_the_demo_trainer_is_started_by_the_same_line(workspace: Workspace, sd: Settings) -> None:
    """Only the program differs."""
    write_config(workspace)
    real, _ = launch.train_spec(workspace, "rinni", sd)
    demo, _ = launch.train_spec(workspace, "rinni", Settings(trainer="demo"))
    assert demo.argv[:4] == (sys.executable, "-P", "-m", "core.demo.trainer")
    assert [item.replace(demo.id, real.id) for item in demo.argv[4:]] == list(real.argv[2:])
    assert demo.trainer == "demo"


def test_accelerate_and_a_gpu_of_choice(workspace: Workspace, sd: Settings) -> None:
    """The wrapper comes before the script; the GPU by the environment."""
    write_config(workspace, 'mixed_precision = "bf16"\n' + TRAIN)
    spec, _ = launch.train_spec(workspace, "rinni", sd, launcher="accelerate", gpu=1)
    assert option(spec.argv, "--num_cpu_threads_per_process") == "1"
    assert option(spec.argv, "--mixed_precision") == "bf16"
    assert spec.argv[spec.argv.index("--config_file") - 1].endswith("/train_network.py")
    assert spec.env["CUDA_VISIBLE_DEVICES"] == spec.gpu == "1"
    assert spec.launcher == "accelerate"


def test_a_package_named_accelerate_in_the_workspace_is_not_run(workspace: Workspace, sd: Settings) -> None:
    """Whoever shares a workspace cannot put a program in place of the launcher."""
    write_config(workspace)
    package = workspace.root / "accelerate"
    (package / "commands").mkdir(parents=True)
    for path in (package / "__init__.py", package / "commands" / "launch.py"):
        path.write_text("open('evil', 'w')\ndef main(): pass\n")
    spec, _ = launch.train_spec(workspace, "rinni", sd, launcher="accelerate")
    subprocess.run(spec.argv, cwd=spec.cwd, env={**os.environ, **spec.env}, check=False, capture_output=True)
    assert not (workspace.root / "evil").exists()


def test_the_script_follows_the_config_or_the_base_model(workspace: Workspace, sd: Settings) -> None:
    """A comment names it; SDXL is seen in the checkpoint's header."""
    write_config(workspace, "# script: sdxl_train_network.py\n" + TRAIN)
    assert launch.train_spec(workspace, "rinni", sd)[0].argv[1].endswith("/sdxl_train_network.py")
    write_config(workspace, "# script: flux_train_network.py\n" + TRAIN)
    with pytest.raises(UserError, match=r"has no flux_train_network\.py"):
        launch.train_spec(workspace, "rinni", sd)


@pytest.mark.parametrize(
    ("state", "epoch", "first"),
    [("rinni-000002-state", 2, "3"), ("rinni-step00000016-state", 2, "2"), ("rinni-000003-state", None, "4")],
)
def test_resume_computes_the_first_epoch(
    workspace: Workspace, sd: Settings, tmp_path: Path, state: str, epoch: int | None, first: str
) -> None:
    """The end of an epoch goes on with the next; a step inside an epoch begins that epoch anew."""
    write_config(workspace)
    folder = tmp_path / state
    folder.mkdir()
    (folder / "random_states_0.pkl").write_bytes(b"x")
    if epoch is not None:
        (folder / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": 6}))
    spec, _ = launch.train_spec(workspace, "rinni", sd, resume=folder, resumed_from="before")
    assert (option(spec.argv, "--resume"), option(spec.argv, "--initial_epoch")) == (str(folder), first)
    assert spec.resumed_from == "before"


def test_a_finished_training_is_not_resumed(workspace: Workspace, sd: Settings, tmp_path: Path) -> None:
    """The trainer would only say `24 vs 24`."""
    write_config(workspace)
    folder = tmp_path / "rinni-000004-state"
    folder.mkdir()
    (folder / "random_states_0.pkl").write_bytes(b"x")
    (folder / "train_state.json").write_text('{"current_epoch": 4, "current_step": 24}')
    with pytest.raises(UserError, match="end of the training"):
        launch.train_spec(workspace, "rinni", sd, resume=folder)


@pytest.mark.parametrize(("name", "text"), [("train.toml", "a = ["), ("dataset.toml", "[[datasets")])
def test_a_config_that_is_no_toml_is_named(workspace: Workspace, sd: Settings, name: str, text: str) -> None:
    """File and place, before anything is made."""
    write_config(workspace)
    (workspace.configs / "rinni" / name).write_text(text)
    with pytest.raises(UserError, match=name):
        launch.train_spec(workspace, "rinni", sd)
    assert list(workspace.runs.iterdir()) == []
    with pytest.raises(UserError, match="Cannot read"):
        launch.train_spec(workspace, "other", sd)


def test_what_keeps_the_trainer_from_starting_is_told(sd: Settings, tmp_path: Path) -> None:
    """No setting, a wrong path, no script, no Python, a Python without torch: each with its remedy."""

    def told(settings: Settings) -> str:
        (problem,) = launch.check_trainer(settings)
        assert problem.hint
        return f"{problem.where} {problem.message}"

    assert sd.sd_scripts is not None
    assert "not known where" in told(Settings())
    assert "no sd-scripts folder" in told(Settings(sd_scripts=tmp_path / "gone"))
    assert "has no train_network.py" in told(Settings(sd_scripts=tmp_path))
    assert "has no torch" in told(sd)
    assert "not a program" in told(Settings(sd_scripts=sd.sd_scripts, sd_python=tmp_path))
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    assert "out of order" in told(Settings(sd_scripts=sd.sd_scripts, sd_python=broken))
    broken.write_text("#!/bin/sh\necho torchvision\n")
    lacking = Settings(sd_scripts=sd.sd_scripts, sd_python=broken)
    assert "has no torchvision" in told(lacking)
    assert "same release as torch" in str(launch.check_trainer(lacking)[0].hint)
    (sd.sd_scripts / "venv" / "bin" / "python").unlink()
    assert "No Python environment" in told(sd)
    assert launch.check_trainer(Settings(trainer="demo")) == []


def test_a_python_is_found_in_and_above_the_checkout(sd: Settings, tmp_path: Path) -> None:
    """kohya_ss keeps its venv beside sd-scripts; the link itself is used, for it makes the environment."""
    assert sd.sd_scripts is not None
    (sd.sd_scripts / "venv" / "bin" / "python").unlink()
    above = tmp_path / ".venv" / "bin" / "python"
    above.parent.mkdir(parents=True)
    above.symlink_to(sys.executable)
    assert trainer_python(sd) == above


def test_a_supervisor_that_does_not_come_up_is_told(runs: Runs) -> None:
    """With its last words; the run is over then."""
    run = runs.create("pass")
    with pytest.raises(UserError, match="did not start"):
        launch.start(run, timeout=5, python=(sys.executable, "-c", "raise SystemExit('no such thing')"))
    assert store.observe(run.dir).state is RunState.FAILED


def test_a_supervisor_that_comes_up_too_late_starts_nothing(runs: Runs) -> None:
    """Who was told that the run did not start does not find two trainings later."""
    run = runs.create("open('trained', 'w')")
    late = "import os, sys; os.fork() and os._exit(0); os.setsid(); import time; time.sleep(0.5); "
    late += "from core.runs.supervisor import main; sys.exit(main([sys.argv[-1], '--foreground']))"
    with pytest.raises(UserError, match="did not start"):
        launch.start(run, timeout=0.2, python=(sys.executable, "-P", "-c", late))
    wait_for(lambda: "this run is over" in (run.dir / "supervisor.log").read_text())
    assert store.observe(run.dir).state is RunState.FAILED
    assert not Path(run.spec.cwd, "trained").exists()


def test_a_tag_run_has_no_checkpoint_to_wait_for(runs: Runs) -> None:
    """Stop after the next checkpoint would never end it."""
    run = runs.start("import time; time.sleep(60)", kind=RunKind.TAG)
    with pytest.raises(UserError, match="no checkpoints"):
        launch.stop(run, "stop-after-checkpoint")


def test_the_demo_trainer_trains_under_the_supervisor(workspace: Workspace, tmp_path: Path) -> None:
    """The whole way: a config, a run, its log, its final file, finished."""
    from PIL import Image

    from core.demo.trainer import base

    subset = workspace.train_data / "rinni" / "2_rinni"
    subset.mkdir(parents=True)
    for index in range(2):
        Image.new("RGB", (64, 64), (200, 100 * index, 50)).save(subset / f"{index}.png")
        (subset / f"{index}.txt").write_text("rinni, smile")
    base.write_base(workspace.models / "base.safetensors")
    train = TRAIN.replace("max_train_epochs = 4\nsample_every_n_epochs = 1", "max_train_epochs = 2") + (
        'network_module = "networks.lora"\nnetwork_dim = 4\nmixed_precision = "no"\nsave_every_n_epochs = 1\n'
        'cache_latents = true\nsave_model_as = "safetensors"\nlearning_rate = 1e-4\n'
    )
    dataset = '[general]\ncaption_extension = ".txt"\n' + DATASET.replace("512", "64").replace("10_", "2_")
    write_config(workspace, train, dataset + "num_repeats = 2\n")
    spec, files = launch.train_spec(workspace, "rinni", Settings(trainer="demo"))
    run = launch.start(store.create(workspace.runs, spec, files), timeout=20)

    def ended() -> Run | None:
        found = store.observe(run.dir)
        return found if not found.live and found.state is not RunState.RUNNING else None

    done = wait_for(ended, 60)
    assert done is not None
    assert done.state is RunState.FINISHED, (done.status.reason, log_of(run)[-2000:])
