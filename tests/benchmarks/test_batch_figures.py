"""Figures of batch edits: 100,000 captions journalled and atomic, and back, against a bare loop over the same files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.dataset.edits import Edit, Journal
from core.workspace import create

pytestmark = pytest.mark.benchmark
FILES = int(os.environ.get("KOHYA_TUI_BENCH_FILES", "100000"))
OLD = b"1girl, solo, smile, long hair, blue eyes, looking at viewer, upper body, " * 4
NEW = b"rinni, " + OLD


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and CPU time; what was left to be written by others is on disk before."""
    os.sync()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def test_a_bulk_edit_against_a_bare_loop(tmp_path: Path, note: Callable[..., None]) -> None:
    """Add a tag to every caption and take it back; `bare` writes the same bytes with open, write, close."""
    workspace = create(tmp_path / "ws")
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    paths = [folder / f"image_{number:06d}.txt" for number in range(FILES)]
    for path in paths:
        path.write_bytes(OLD)

    def bare(data: bytes) -> Callable[[], None]:
        def loop() -> None:
            for path in paths:
                path.write_bytes(data)

        return loop

    journal = Journal(workspace)
    edits = [Edit(path, OLD, NEW) for path in paths]
    rounds = []
    for _ in range(2):  # interleaved: disks have moods
        rounds.append(
            (
                seconds(bare(NEW)),
                seconds(bare(OLD)),
                seconds(lambda: journal.apply("add", edits)),
                seconds(journal.undo),
            )
        )
    assert paths[-1].read_bytes() == OLD
    best = [tuple(min(each[step][kind] for each in rounds) for kind in (0, 1)) for step in range(4)]
    bare_wall, bare_cpu = min(best[0][0], best[1][0]), min(best[0][1], best[1][1])
    note(
        bulk_bare_us=1e6 * bare_wall / FILES,
        bulk_apply_ratio=best[2][0] / bare_wall,
        bulk_undo_ratio=best[3][0] / bare_wall,
        bulk_apply_cpu_ratio=best[2][1] / bare_cpu,
        bulk_undo_cpu_ratio=best[3][1] / bare_cpu,
    )
