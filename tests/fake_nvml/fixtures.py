"""Fixtures for a test module that wants GPUs: `pytest_plugins = ("tests.fake_nvml.fixtures",)` at its top."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import hardware
from tests.fake_nvml.machine import Machine, build, compiler, preload


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library; the test is skipped where there is no C compiler."""
    if compiler() is None:
        pytest.skip("no C compiler for the scripted NVML library (apt-get install gcc libc6-dev)")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake_gpus(nvml_library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Two healthy GPUs of 24 GiB in this process; afterwards this process has no driver at all."""
    machine = Machine(tmp_path / "nvml-state.txt", count=2)
    os.environ["FAKE_NVML_STATE"] = str(machine.path)
    preload(nvml_library)
    hardware.close_gpus()
    yield machine
    machine.clear()
    hardware.close_gpus()
    # The library stays loaded for the life of the process: later tests must not find its GPUs.
    nothing = Machine(tmp_path_factory.mktemp("nvml-off") / "state.txt").fault("nvmlInit", 12)
    os.environ["FAKE_NVML_STATE"] = str(nothing.path)
