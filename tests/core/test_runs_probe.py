"""Asking the trainer's Python what can be imported: real child processes, with packages as small as they can be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.config.check_machine import check_gpus, check_packages, modules_of
from core.config.documents import Config
from core.config.environment import Environment, Package
from core.hardware import GpuReading, GpuSnapshot
from core.runs import probe
from core.settings import Settings

TORCH = """
__version__ = "2.6.0+cu124"
class version:
    cuda = "12.4"
class _C:
    @staticmethod
    def _cuda_getArchFlags():
        return "sm_70 sm_80 sm_90"
"""


class FakePython:
    """A program that is Python with packages of its own, and notes each start."""

    def __init__(self, root: Path) -> None:
        self.site = root / "lib" / "python3.11" / "site-packages"
        self.site.mkdir(parents=True)
        self.starts = root / "starts"
        self.program = root / "bin" / "python"
        self.program.parent.mkdir()
        self.program.write_text(
            f'#!/bin/sh\necho x >> {self.starts}\nPYTHONPATH={self.site} exec {sys.executable} -s "$@"\n'
        )
        self.program.chmod(0o755)
        self.package("torch", TORCH)

    def package(self, name: str, text: str) -> None:
        (self.site / name).mkdir(exist_ok=True)
        (self.site / name / "__init__.py").write_text(text)
        (self.site / f"{name}-1.dist-info").mkdir(exist_ok=True)

    @property
    def settings(self) -> Settings:
        return Settings(sd_python=self.program)

    def count(self) -> int:
        return self.starts.read_text().count("x") if self.starts.exists() else 0


@pytest.fixture
def python(tmp_path: Path) -> FakePython:
    return FakePython(tmp_path / "env")


def test_versions_and_what_imports_say(python: FakePython) -> None:
    """One that works, one that raises, one that is not there; torch's build."""
    python.package("prodigyopt", "__version__ = '1.1'")
    python.package("xformers", "raise ImportError('DLL load failed\\nwas built for torch 2.4')")
    found = probe.probe(python.settings, {"prodigyopt", "xformers", "bitsandbytes"})
    assert found.torch == "2.6.0+cu124" and found.torch_cuda == "12.4"
    assert found.architectures == ("sm_70", "sm_80", "sm_90")
    assert found.packages["prodigyopt"] == Package("1.1")
    assert found.packages["xformers"] == Package(error="ImportError: was built for torch 2.4")
    assert found.packages["bitsandbytes"] == Package()
    assert found.problem is None


def test_the_answer_is_kept_until_the_environment_changes(python: FakePython) -> None:
    """Nothing is started again; a package that is new in the question, or in the environment, is asked for."""
    assert probe.remembered(python.settings) is None
    probe.probe(python.settings, {"prodigyopt"})
    assert python.count() == 1
    assert probe.probe(python.settings, {"prodigyopt"}).packages["prodigyopt"] == Package()
    assert probe.remembered(python.settings, {"prodigyopt"}) is not None
    assert probe.remembered(python.settings, {"lycoris"}) is None
    assert python.count() == 1
    probe.probe(python.settings, {"prodigyopt", "lycoris"})
    assert python.count() == 2
    python.package("prodigyopt", "__version__ = '2'")
    assert probe.probe(python.settings, {"prodigyopt"}).packages["prodigyopt"] == Package("2")
    assert python.count() == 3


def test_a_package_that_kills_the_process_is_named(python: FakePython) -> None:
    """A crash is told of that package; the others are asked for all the same."""
    python.package("bitsandbytes", "import os\nos.kill(os.getpid(), 11)")
    python.package("prodigyopt", "__version__ = '1'")
    found = probe.probe(python.settings, {"bitsandbytes", "prodigyopt"})
    assert "ends the program (exit status -11)" in (found.packages["bitsandbytes"].error or "")
    assert found.packages["prodigyopt"].works and found.torch is not None


def test_a_python_that_hangs_is_left(python: FakePython) -> None:
    """After the time limit there is a sentence with the package that hung, and nothing is kept."""
    python.package("xformers", "import time\ntime.sleep(600)")
    found = probe.probe(python.settings, {"xformers"}, timeout=1.5)
    assert found.problem == "did not answer within 2 s while it imported xformers"
    (problem,) = probe.problems_of(found)
    assert problem.code == "KT502" and problem.where == str(python.program)
    assert probe.remembered(python.settings, {"xformers"}) is None


def test_a_python_that_cannot_answer(tmp_path: Path) -> None:
    """No program, one that fails at once, none that is known."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 3\n")
    broken.chmod(0o755)
    assert probe.probe(Settings(sd_python=broken)).problem == "does not work: no such library"
    broken.write_bytes(b"\x7fELF nothing")
    assert "cannot be started" in (probe.probe(Settings(sd_python=broken)).problem or "")
    assert probe.probe(Settings()).python == ""


def test_nothing_of_the_workspace_is_imported(
    python: FakePython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file named like a package in the current folder, or in PYTHONPATH, is not run."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "lycoris.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(mine)
    monkeypatch.setenv("PYTHONPATH", str(mine))
    assert probe.probe(python.settings, {"lycoris"}).packages["lycoris"] == Package()
    assert not (mine / "ran").exists()


def test_the_gpu_is_hidden_unless_a_package_needs_it(python: FakePython) -> None:
    """A running training loses no memory to the question."""
    text = "import os\nassert os.environ.get('CUDA_VISIBLE_DEVICES') != '', 'no GPU'\n__version__ = '1'"
    python.package("sageattention", text)
    python.package("prodigyopt", "import os\n__version__ = repr(os.environ['CUDA_VISIBLE_DEVICES'])")
    found = probe.probe(python.settings, {"sageattention", "prodigyopt"})
    assert found.packages["prodigyopt"].version == "''"
    assert found.packages["sageattention"].works


def test_what_is_kept_may_be_damaged(python: FakePython) -> None:
    """Then it is asked again."""
    probe.probe(python.settings)
    kept = probe._file(python.program)
    for text in ("{", '{"v": 1}', kept.read_text().replace('"packages": {', '"packages": [], "x": {')):
        kept.write_text(text)
        assert probe.probe(python.settings).torch is not None
    assert python.count() == 4


# What the preflight makes of it


def problems(train: str, found: Environment, *gpus: GpuSnapshot, gpu: str | None = None) -> dict[str, str]:
    config = Config(Path("x"), {"train": train})
    settings = Settings(sd_python=Path("python"))
    told = [*check_packages(config.effective(), settings, found)]
    told += check_gpus(config, settings, (), GpuReading(gpus), gpu, found)
    return {problem.code: f"{problem.severity.name} {problem.message} {problem.hint}" for problem in told}


TURING = GpuSnapshot(0, name="RTX 2080", capability=(7, 5))
ADA = GpuSnapshot(1, name="RTX 4090", capability=(8, 9))
BLACKWELL = GpuSnapshot(0, name="RTX 5090", capability=(12, 0))
FOUND = Environment("python", {"torch": Package("2.6.0")}, "2.6.0", "12.4", ("sm_70", "sm_80", "sm_90"))


def test_packages_that_cannot_be_imported_are_errors() -> None:
    """One that is not there says how to get it, one that is broken says why."""
    packages = {"bitsandbytes": Package(), "xformers": Package(error="ImportError: built for torch 2.4")}
    found = Environment("/env/bin/python", {**FOUND.packages, **packages}, "2.6.0", "12.4")
    told = problems('optimizer_type = "AdamW8bit"\nxformers = true', found, ADA)
    assert "ERROR needs the package bitsandbytes" in told["KT404"]
    assert "/env/bin/python -m pip install bitsandbytes" in told["KT404"]
    assert "built for torch 2.4" in told["KT403"] and "sdpa" in told["KT403"]
    works = Environment("python", {"bitsandbytes": Package("0.45")}, "2.6.0", "12.4")
    assert problems('optimizer_type = "AdamW8bit"', works, ADA) == {}


def test_modules_that_a_config_needs() -> None:
    """Optimizer, attention, network and logging."""
    values = {"optimizer_type": "came_pytorch.CAME", "attn_mode": "sageattn", "network_module": "lycoris.kohya"}
    assert modules_of(values) == {"came_pytorch", "sageattention", "lycoris"}
    assert modules_of({"optimizer_type": "AdamW", "sdpa": True}) == frozenset()


def test_torch_is_held_against_the_gpus() -> None:
    """A build without CUDA, one without kernels for the card, a card without bf16; the chosen GPU counts."""
    assert "build without CUDA" in problems("", Environment("python", {}, "2.6.0+cpu"), ADA)["KT410"]
    assert "no kernels for RTX 5090 (sm_120)" in problems("", FOUND, BLACKWELL)["KT410"]
    assert problems("", FOUND, ADA) == {}
    assert "7.5" in problems('mixed_precision = "bf16"', FOUND, TURING)["KT408"]
    assert problems('mixed_precision = "bf16"', FOUND, TURING, ADA, gpu="1") == {}
    assert "KT408" in problems('mixed_precision = "bf16"', FOUND, TURING, ADA, gpu="0")
    jit = Environment("python", {}, "2.7", "12.8", ("sm_80", "compute_90"))
    assert problems("", jit, BLACKWELL) == {}
    old = Environment("python", {}, "2.0.1", "11.8", ("sm_80",))
    assert "needs torch 2.1" in problems("fp8_base = true", old, ADA)["KT410"]
