"""A large dataset: opened, indexed, opened again, walked through and filtered, against the bare calls of the system.

10,000 images; `KOHYA_TUI_BENCH_IMAGES=100000` for the numbers that are promised (2 GB of disk, some minutes).
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from textual import events

from core.dataset import reading_process
from core.dataset.chunks import Names
from core.dataset.filter_match import Sources
from core.dataset.filters import select
from core.dataset.index import Index
from core.settings import cache_dir, load
from core.workspace import Workspace, create
from tests.benchmarks.conftest import Note
from tests.benchmarks.large_dataset import make
from tests.benchmarks.terminal import Program
from tui.app import KohyaApp
from tui.graphics import Choice
from tui.widgets.item_list import ItemList

IMAGES = int(os.environ.get("KOHYA_TUI_BENCH_IMAGES", "10000"))
KEYS = 100
TIMES = 3


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with one large dataset; taken away afterwards."""
    workspace = create(tmp_path_factory.mktemp("large") / "work")
    make(workspace.train_data / "big" / "10_big", IMAGES)
    yield workspace
    shutil.rmtree(workspace.root)


def bare(folder: Path, *, reads: bool) -> tuple[float, float]:
    """scandir and stat of every file, and the reading of captions and of the beginnings of images: wall and CPU."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        entry.stat()
    if reads:
        for entry in entries:
            descriptor = os.open(entry.path, os.O_RDONLY)
            os.read(descriptor, 1 << 16 if entry.name.endswith(".txt") else 1024)
            os.close(descriptor)
    return time.perf_counter() - wall, time.process_time() - cpu


def cpu() -> float:
    """Seconds of this process and its ended children."""
    return sum(os.times()[:4])


def read(workspace: Workspace) -> tuple[Index, float, float, float]:
    """The index; seconds until the first names and until the end, CPU of all that took part."""
    index, first = Index(workspace, "big"), 0.0
    wall, used = time.perf_counter(), cpu()
    for piece in reading_process.following(workspace, "big"):
        if isinstance(piece, Names) and not first:
            first = time.perf_counter() - wall
        index.add(piece)
    index.complete()
    return index, first, time.perf_counter() - wall, cpu() - used


def test_reading(large: Workspace, note: Note) -> None:
    """All captions indexed: at most 1.5 x the bare calls; from the cache at most 1.5 x scandir and stat."""
    folder = large.train_data / "big" / "10_big"
    bare(folder, reads=True)  # the disk is out of it
    cold, warm, calls, looks, first = [], [], [], [], []
    for _ in range(TIMES):
        calls.append(bare(folder, reads=True))
        shutil.rmtree(cache_dir() / "index", ignore_errors=True)
        _, names, wall, used = read(large)
        cold.append((wall, used))
        first.append(names)
        looks.append(bare(folder, reads=False))
        _, _, wall, used = read(large)
        warm.append((wall, used))
    figures = {}
    for name, ours, theirs in (("index", cold, calls), ("second_start", warm, looks)):
        for unit, place in (("", 0), ("_cpu", 1)):
            figures[f"{name}{unit}_ratio"] = min(each[place] for each in ours) / min(each[place] for each in theirs)
    figures["first_names_ms"] = min(first) * 1000
    print(
        f"\n{IMAGES:,} images, indexed in {min(cold)[0]:.2f} s (bare {min(calls)[0]:.2f}), again in {min(warm)[0]:.2f}"
    )
    note(**{f"scale_{name}": value for name, value in figures.items()})


def test_filters(large: Workspace, note: Note) -> None:
    """Three tags 5 ms, a piece of text 60 ms, score() 60 ms at 100,000 images."""
    from core.tagging.labels import Category, LabelSet
    from core.tagging.score_columns import _values
    from core.tagging.score_table import ScoreTable

    index, *_ = read(large)
    chance = np.random.default_rng(1)
    labels = LabelSet(tuple(f"tag {number}" for number in range(9000)), (Category.GENERAL,) * 9000)
    each = 150
    table = ScoreTable(
        labels,
        (),
        (),
        np.arange(0, (len(index) + 1) * each, each),
        np.sort(chance.integers(0, 9000, (len(index), each), np.uint16), axis=1).reshape(-1),  # type: ignore[arg-type]
        chance.random(len(index) * each, np.float32),
        0.01,
    )
    sources = Sources(score=lambda tag, stop: _values(table, int(tag[4:])))
    figures = {}
    for name, query in {
        "three_tags": 'tag:solo tag:blush tag:"blue eyes"',
        "substring": "caption:lack hai",
        "substring_anywhere": '"lack hai"',
        "substring_with_comma": 'caption:"hair, b"',
        "wildcards": "caption:black*sky",
        "score": 'score("tag 77"):>0.5',
        "tokens": "tokens:>75",
        "everything": "solo -blush tags:>20 w:<1000 ratio:<1 pos(solo):<5 name:*_0*",
    }.items():
        select(index, query, sources)  # what is made once
        times = []
        for _ in range(7):
            began = time.process_time()
            found = select(index, query, sources)
            times.append((time.process_time() - began) * 1000)
        figures[f"filter_{name}_ms"] = statistics.median(times)
        print(f"\n{query}: {len(found):,} images, {statistics.median(times):.2f} ms", end="")
    note(**figures)


async def test_keys_while_it_is_read(large: Workspace, note: Note) -> None:
    """From the key to the finished redraw: CPU of the screen's thread, 95 of 100 within 16 ms."""
    shutil.rmtree(cache_dir() / "index", ignore_errors=True)
    gc.disable()  # as `open_app` does: the app freezes what is there and switches it on again
    app = KohyaApp(large, load(large.root), Choice("off", "a benchmark"))
    reading: list[float] = []
    resting: list[float] = []
    async with app.run_test(size=(120, 40)) as pilot:
        while app.collection is None or not len(app.collection.rows):
            await pilot.pause(0.01)
        screen = app.screen
        images = screen.query_one("#images", ItemList)
        await pilot.press("down")  # what is imported with the first key
        while len(resting) < KEYS:
            times = resting if app.collection.is_complete else reading
            painted, place = asyncio.Event(), images.cursor + 1
            began = time.thread_time()
            app.post_message(events.Key("down", None))
            while images.cursor != place:
                await asyncio.sleep(0.001)
            screen.call_after_refresh(painted.set)
            await painted.wait()
            times.append((time.thread_time() - began) * 1000)
    figures = {}
    for name, times in (("reading", reading), ("resting", resting)):
        if len(times) > 10:
            figures[f"key_{name}_p95_ms"] = statistics.quantiles(times, n=20)[-1]
            figures[f"key_{name}_median_ms"] = statistics.median(times)
    print(f"\n{len(reading)} keys while it was read: {figures}")
    note(**figures)


def test_the_app(large: Workspace, note: Note) -> None:
    """First rows within 1.0 s of the first frame; the most memory that it ever held: 350 MiB."""
    shutil.rmtree(cache_dir() / "index", ignore_errors=True)
    figures = {}
    for name in ("", "again_"):
        with Program([sys.executable, "-P", "-m", "tui", "--images", "off"], cwd=large.root) as program:
            program.first_frame()
            began = time.perf_counter()
            program.wait(rb"danbooru_\d+\.png")
            figures[f"{name}first_rows_ms"] = (time.perf_counter() - began) * 1000
            program.quiet(1.5, limit=120)
            sizes, lists = [], []
            for _ in range(10):
                before = len(program.output)
                sizes.append(program.key("down"))
                lists.append(program.output.index(b"\x1b[?2026l", before) - before)
            figures[f"{name}key_bytes"] = statistics.median(lists)  # what a held key costs
            figures[f"{name}key_and_facts_bytes"] = statistics.median(sizes)  # and what the panel says when it rests
            figures[f"{name}open_peak_mib"] = program.peak_mib()
            for key in ("/", *"tag:solo -blush", "enter"):
                program.key(key)
            program.wait(rb"of \d+,\d+ ")
            figures[f"{name}filtered_peak_mib"] = program.peak_mib()
    print(f"\nfirst rows after {figures['first_rows_ms']:.0f} ms, peak {figures['open_peak_mib']:.0f} MiB")
    note(**{f"app_{name}": value for name, value in figures.items()})
