"""`accelerate launch`: its command line, and what it refuses, before anything is started."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.cli.launchers import chosen
from core.problems import UserError
from core.runs.accelerate import ENTRY, Accelerate
from core.runs.launchers import as_before, placed, processes_of
from core.runs.model import RunKind, RunSpec
from core.settings import Settings
from tests.conftest import REAL_TRAINER


def test_everything_is_said_that_accelerate_would_guess() -> None:
    """Also what the user's own accelerate config would say otherwise."""
    assert " ".join(Accelerate().arguments()) == (
        "--num_cpu_threads_per_process 1 --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
    )


def test_several_gpus_get_a_free_port() -> None:
    """Two trainings on one machine would meet at 29500."""
    words = Accelerate(gpu_ids="0,2", mixed_precision="bf16").arguments()
    text = " ".join(words)
    assert "--num_processes 2" in text and "--multi_gpu" in words
    assert "--main_process_port auto" in text and "--gpu_ids 0,2" in text
    assert "--main_process_port 4000" in " ".join(Accelerate(num_processes=2, main_process_port=4000).arguments())


def test_a_run_goes_on_with_as_many_processes_as_it_had() -> None:
    """`resume` of a run on two GPUs needs no option; another launcher leaves them out."""
    spec = RunSpec("a", RunKind.TRAIN, "a", 1.0, (), "/", launcher="accelerate", accelerate={"num_processes": 2})
    mine = Settings(accelerate={"num_processes": 4, "dynamo_backend": "no"})
    again = as_before(spec, mine)
    assert (again.launcher, again.accelerate) == ("accelerate", {"num_processes": 2, "dynamo_backend": "no"})
    assert processes_of(again.launcher, again.accelerate) == 2
    local = as_before(spec, mine, "local")
    assert (local.launcher, processes_of(local.launcher, local.accelerate)) == ("local", 1)


def test_several_machines_name_the_first() -> None:
    """The rank is this machine's own; the port is the same everywhere."""
    options = Accelerate(
        num_processes=4, num_machines=2, machine_rank=1, main_process_ip="10.0.0.1", main_process_port=29501
    )
    text = " ".join(options.arguments())
    for words in ("--num_machines 2", "--machine_rank 1", "--main_process_ip 10.0.0.1", "--main_process_port 29501"):
        assert words in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Accelerate(multi_gpu=True), "two processes"),
        (Accelerate(num_processes=3, gpu_ids="0,1"), "cannot share 2 GPUs"),
        (Accelerate(num_machines=2, num_processes=2), "--main-ip"),
        (
            Accelerate(num_machines=2, num_processes=3, main_process_ip="x", main_process_port=1),
            "do not divide",
        ),
        (
            Accelerate(num_machines=2, num_processes=2, machine_rank=2, main_process_ip="x", main_process_port=1),
            "does not fit",
        ),
        (Accelerate(mixed_precision="fp32"), "not one of"),
        (Accelerate(num_processes=0), "counted from 1"),
    ],
)
def test_contradictions_are_told_before_the_start(options: Accelerate, words: str) -> None:
    """accelerate needs half a minute for its own answer, a traceback."""
    with pytest.raises(UserError) as told:
        options.arguments()
    assert words in told.value.message + (told.value.hint or "")


FAKE = """
import sys
def main():
    print(sys.argv[1:])
"""


def entry(folder: Path, *words: str) -> list[str]:
    """The words that accelerate's main gets to see."""
    package = folder / "site" / "accelerate" / "commands"
    package.mkdir(parents=True)
    for path in (package / "__init__.py", package.parent / "__init__.py"):
        path.touch()
    (package / "launch.py").write_text(FAKE)
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}
    done = subprocess.run(
        [sys.executable, "-c", ENTRY, *words], capture_output=True, text=True, env=environment, check=True
    )
    return list(eval(done.stdout))


def test_the_port_is_found_when_the_run_begins(tmp_path: Path) -> None:
    """Not when it is queued; the script's own words are left alone."""
    words = entry(tmp_path, "--main_process_port", "auto", "x.py", "--name", "auto")
    assert words[1].isdigit() and int(words[1]) > 1023
    assert words[2:] == ["x.py", "--name", "auto"]


def test_the_launchers_options_come_from_settings_and_command_line() -> None:
    """One process a GPU in a Slurm job; options of a launcher that is not used are refused."""
    settings = Settings(launcher="slurm", slurm={"partition": "gpu", "extra": ["--qos=a"]})
    found = chosen(settings, gpus="a100:2", time="8:00:00", sbatch=["--mem=32G '--comment=two words'"])
    assert found.accelerate == {"num_processes": 2}
    spec = RunSpec("id", RunKind.TRAIN, "n", 1.0, ("x",), "/")
    job = placed(spec, found).slurm or {}
    assert (job["partition"], job["gpus"], job["time"]) == ("gpu", "a100:2", "8:00:00")
    assert job["extra"] == ["--qos=a", "--mem=32G", "--comment=two words"]
    with pytest.raises(UserError, match="Slurm chooses the GPU"):
        placed(replace(spec, gpu="1"), found)
    with pytest.raises(UserError, match="launcher is local"):
        chosen(Settings(), processes=2)
    with pytest.raises(UserError, match="launcher is not"):
        chosen(Settings(launcher="accelerate"), partition="gpu")


@pytest.mark.skipif(not REAL_TRAINER["KOHYA_TUI_SD_PYTHON"], reason="needs KOHYA_TUI_SD_PYTHON with accelerate")
def test_the_real_accelerate_starts_two_processes(tmp_path: Path) -> None:
    """On the CPU, with gloo: each knows its rank, and they meet."""
    (tmp_path / "child.py").write_text(
        "import torch\nfrom accelerate import Accelerator\na = Accelerator(cpu=True)\n"
        "print('met', a.num_processes, sorted(a.gather(torch.tensor([a.process_index])).tolist()), flush=True)\n"
    )
    words = [str(REAL_TRAINER["KOHYA_TUI_SD_PYTHON"]), "-c", ENTRY, *Accelerate(num_processes=2).arguments()]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*words, "child.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.count("met 2 [0, 1]") == 2, done.stderr[-2000:]
