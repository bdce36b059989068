"""Benchmarks print figures and ratios; they assert no wall time.

`pytest tests/benchmarks -s` (or `pytest -m benchmark`) runs them, a plain `pytest` does not look into this folder. The
last line is one JSON document with all figures.
"""

from __future__ import annotations

import compileall
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.demo.workspace import make_demo
from core.runs import launch, store
from core.runs.model import LIVE_STATES
from core.workspace import Workspace

FIGURES = pytest.StashKey[dict[str, float]]()
Note = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = any("benchmarks" in word for word in config.invocation_params.args)
    return None if asked or "benchmark" in str(config.getoption("markexpr")) else True


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.benchmark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, {})
    if not figures:
        return
    terminalreporter.section("figures")
    width = max(map(len, figures))
    for name, value in figures.items():
        terminalreporter.line(f"{name:<{width}}  {value:>12,.3f}")
    terminalreporter.line(json.dumps(figures))


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """`note(name=value, …)`: a figure for the table and for the JSON line at the end."""
    figures = request.config.stash[FIGURES]

    def add(**values: float) -> None:
        figures.update({name: round(float(value), 4) for name, value in values.items()})

    return add


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Bytecode for our packages, as pip leaves it for an installed one (and as the skeleton's Textual has it)."""
    for package in ("core", "tui"):
        compileall.compile_dir(Path(__file__).parents[2] / package, quiet=1)


@pytest.fixture(scope="session")
def demo_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, drawn once."""
    return make_demo(tmp_path_factory.mktemp("master") / "demo").root


@pytest.fixture
def demo(demo_master: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A demo workspace of one's own."""
    shutil.copytree(demo_master, tmp_path / "demo")
    workspace = Workspace(tmp_path / "demo")
    yield workspace
    for run in store.list_runs(workspace):
        if run.status.state in LIVE_STATES:
            launch.stop(run, "stop-now")
