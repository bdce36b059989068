"""The kernel's OOM killer, for real: a run in a control group of its own whose memory is limited."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from core.runs.model import RunState
from tests.core.runs_kit import Runs, wait_for

pytest_plugins = ("tests.core.runs_fixtures",)

MIB = 1 << 20
HUNGRY = "held = []\nwhile True: held.append(bytearray(os.urandom(1)) * (8 << 20))"


def _groups() -> Iterator[tuple[Path, str]]:
    """(our own control group, the file of its limit) where the kernel counts memory: version 1 and version 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            yield Path(f"/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"
        elif not kinds:
            yield Path(f"/sys/fs/cgroup{path}"), "memory.max"


@pytest.fixture
def narrow() -> Iterator[Path]:
    """A control group of 250 MiB; skipped where none can be made (no root, or the container may not)."""
    for parent, limit in _groups():
        group = parent / f"kohya-tui-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            with contextlib.suppress(OSError):
                (group / limit).write_text(str(250 * MIB))
                yield group
                return
        finally:
            wait_for(partial(_is_removed, group))
    pytest.skip("no control group for memory can be made here")


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.mark.parametrize(
    "code",
    [
        HUNGRY,
        f"import subprocess\nsubprocess.run([sys.executable, '-c', {'import os;' + HUNGRY!r}])\nraise SystemExit(1)",
    ],
    ids=["trainer", "worker"],
)
def test_a_run_that_the_kernel_killed_says_so(runs: Runs, narrow: Path, code: str) -> None:
    """Also when it was a data-loader worker that was killed, and the trainer only gave up."""
    home = narrow.parent / "cgroup.procs"
    (narrow / "cgroup.procs").write_text(str(os.getpid()))
    try:
        run = runs.start(code)
    finally:
        home.write_text(str(os.getpid()))
    ended = runs.ended(run)
    assert ended.state is RunState.FAILED
    assert "The kernel killed" in (ended.status.reason or "")
    assert "ran out of memory (RAM)" in (ended.status.reason or "")
