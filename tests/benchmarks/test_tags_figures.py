"""Figures of tags, completion, duplicates and moved files at the size of a large dataset."""

from __future__ import annotations

import itertools
import random
import statistics
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from core.dataset.captions import split
from core.dataset.completion import Completer, Entry, Source, of_counts
from core.dataset.duplicates import near_pairs
from core.dataset.relocate import plan_trash, relocate
from core.dataset.tag_table import TagTable
from core.dataset.traits import traits
from core.workspace import Workspace
from tests.benchmarks.conftest import Note

CAPTIONS = 100_000
TAGS = 145_000
WORDS = split(
    "hair, eyes, ribbon, collar, sky, tree, lamp, sword, book, chair, window, rain, snow, fire, cat, dog, bird, wing,"
    "horn, tail, belt, scarf, glove, hat, coat, boots, bow, dress, shirt, skirt, smile, blush, standing, sitting,"
    "outdoors, indoors, flower, sleeves, gloves"
)


def vocabulary(count: int, seed: int = 1) -> list[str]:
    """Tags of one to three words, each once."""
    dice = random.Random(seed)
    found: dict[str, None] = dict.fromkeys(WORDS)
    while len(found) < count:
        words = " ".join(dice.choices(WORDS, k=dice.choice((2, 2, 3))))
        found[words if words not in found else f"{words} ({dice.choice(WORDS)} {len(found)})"] = None
    return list(found)


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def test_completion(note: Note) -> None:
    """Every key of 300 tags typed letter by letter, from 145,000 entries. Target: at most 10 ms of CPU, p95."""
    words = vocabulary(TAGS)
    tracemalloc.start()
    entries = [
        Entry(word, 6_000_000 // (at + 1), "general", (f"al {word}", word[::-1]) if at % 3 == 0 else ())
        for at, word in enumerate(words)
    ]
    before = tracemalloc.get_traced_memory()[0]
    source = Source(entries)
    kept = (tracemalloc.get_traced_memory()[0] - before) / 2**20
    tracemalloc.stop()
    built = cpu(lambda: Source(entries))
    completer = Completer([of_counts({word: 100 - at for at, word in enumerate(words[:90])}), source])
    typed = [*random.Random(2).sample(words, 300), "zzzz", "qx", "xyzzy", "e", "(ha"]
    times = sorted(
        cpu(lambda text=text: completer.complete(text))  # type: ignore[misc]
        for text in itertools.chain.from_iterable(itertools.accumulate(word) for word in typed)
    )
    median, p95 = 1000 * statistics.median(times), 1000 * times[int(len(times) * 0.95)]
    print(
        f"\ncompletion: {len(times)} keys, median {median:.2f} ms, p95 {p95:.2f}, most {1000 * times[-1]:.2f} ms of CPU"
    )
    print(f"completion: built in {built:.2f} s, {kept:.1f} MiB")
    note(completion_p95_ms=p95, completion_median_ms=median, completion_build_s=built, completion_mib=kept)


def captions() -> list[str]:
    words = vocabulary(8000)
    weights = list(itertools.accumulate(1 / (at + 1.5) for at in range(len(words))))
    pool = random.Random(3).choices(words, cum_weights=weights, k=CAPTIONS * 30)
    return [f"rinni, {', '.join(pool[at * 30 : at * 30 + 30])}" for at in range(CAPTIONS)]


def plain_count(texts: Iterable[str]) -> Counter[str]:
    """The least that counting tags can be: split, trim, count each once a caption."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({tag.strip() for tag in text.split(",")})
    return counts


def test_tag_table(note: Note) -> None:
    """100,000 captions of 31 tags, against a plain Counter over the same text."""
    texts = captions()
    plain = cpu(lambda: plain_count(texts))
    table = TagTable()
    built = cpu(lambda: [table.add(text) for text in texts])
    rows = cpu(table.rows)
    together = cpu(lambda: table.together(["smile"]))
    judged = cpu(lambda: traits(table, "rinni"))
    print(f"\ntag table: {built:.2f} s for {CAPTIONS:,} captions, {built / plain:.2f} x a plain Counter")
    print(
        f"tag table: rows {1000 * rows:.0f} ms, beside one tag {1000 * together:.0f} ms, traits {1000 * judged:.0f} ms"
    )
    note(tag_table_ratio=built / plain, tag_rows_ms=1000 * rows, tags_together_ms=1000 * together)
    note(traits_ms=1000 * judged)


def test_near_duplicates(note: Note) -> None:
    """100,000 hashes against each other at the usual distance, against every pair one by one (of a part)."""
    dice = np.random.default_rng(1)
    rows = dice.integers(0, 2**64, (CAPTIONS, 2), dtype=np.uint64)
    rows[1:2000:2] = rows[0:2000:2] ^ np.uint64(0b100100010001)
    found: set[tuple[int, int]] = set()

    def search() -> None:
        found.update((one, other) for one, other, _ in near_pairs(rows, rows, 8))

    seconds = cpu(search)
    assert len(found) == 1000
    part = rows[:4000]
    every = cpu(lambda: [np.count_nonzero(np.bitwise_count(part[:, 0] ^ row[0]) <= 8) for row in part])
    whole = every * (CAPTIONS / len(part)) ** 2
    print(f"\nnear duplicates: {seconds:.2f} s of CPU for {CAPTIONS:,} hashes; every pair would take {whole:.0f} s")
    note(near_duplicates_s=seconds, near_duplicates_ratio=seconds / whole)


def test_trash(workspace: Workspace, note: Note, tmp_path: Path) -> None:
    """20,000 images with captions to the trash, against bare renames of the same files."""
    count = 20_000
    folder, bare, other = workspace.train_data / "a" / "1_a", tmp_path / "bare", tmp_path / "other"
    for place in (folder, bare):
        place.mkdir(parents=True)
        for at in range(count):
            (place / f"{at}.png").write_bytes(b"x")
            (place / f"{at}.txt").write_bytes(b"1girl")
    other.mkdir()
    begun = time.perf_counter()
    for path in bare.iterdir():
        path.rename(other / path.name)
    renamed = time.perf_counter() - begun
    images = sorted(folder.glob("*.png"))
    begun = time.perf_counter()
    group = relocate(workspace, plan_trash(workspace, images))
    seconds = time.perf_counter() - begun
    assert group.files == 2 * count
    print(f"\ntrash: {count:,} images in {seconds:.2f} s, {seconds / renamed:.1f} x the bare renames")
    note(trash_ratio=seconds / renamed, trash_s=seconds)
