"""Stored scores: what comes back, what a changed, copied or renamed file has, and files that are not whole."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from core.tagging.labels import Category, LabelSet
from core.tagging.score_store import ScoreStore
from core.tagging.scores import (
    FLOOR,
    content_of,
    read_scores,
    read_table,
    scores_folder,
    stamp_of,
    tag_categories,
)
from core.workspace import Workspace

LABELS = LabelSet(("smile", "blush", "safe"), (Category.GENERAL, Category.GENERAL, Category.RATING))
ROW = np.array([0.9, 0.2, 0.001], np.float32)


@pytest.fixture
def image(workspace: Workspace) -> Path:
    """A file that stands for a picture."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"picture")
    return folder / "a.png"


def kept(workspace: Workspace, image: Path, row: np.ndarray = ROW) -> None:
    """Store a row for the image."""
    store = ScoreStore(scores_folder(workspace), "key", "a model", LABELS)
    content = content_of([image.read_bytes()])
    store.add(content, row)
    store.place(image, stamp_of(image), content)
    store.close()
    assert store.failure is None


@pytest.mark.parametrize("tables", [(), ("scores",), ("model",)], ids=["none", "scores", "model"])
def test_a_file_without_its_tables_is_as_good_as_absent(
    workspace: Workspace, image: Path, tables: tuple[str, ...]
) -> None:
    """A full disk, or an older version, left it so: nothing is read from it, and the next tag run makes it whole."""
    scores_folder(workspace).mkdir(parents=True)
    with sqlite3.connect(scores_folder(workspace) / "key.sqlite") as database:
        if "scores" in tables:
            database.execute("CREATE TABLE scores(key TEXT PRIMARY KEY, stamp TEXT, data BLOB)")
        if "model" in tables:
            database.execute("CREATE TABLE model(key TEXT PRIMARY KEY, value TEXT)")
    database.close()
    assert read_scores(workspace, image, stamp_of(image)) == []
    assert read_table(scores_folder(workspace), "key", [image]) is None
    assert tag_categories(workspace) == {}
    kept(workspace, image)
    assert [tag for tag, _, _ in read_scores(workspace, image, stamp_of(image))] == ["smile", "blush", "safe"]


@pytest.mark.parametrize(
    "data", [b"no database at all, but long enough to be looked at" * 99, b""], ids=["text", "empty"]
)
def test_a_broken_file_is_begun_anew(workspace: Workspace, image: Path, data: bytes) -> None:
    """What is lost is only the scores; the next run keeps new ones."""
    scores_folder(workspace).mkdir(parents=True)
    (scores_folder(workspace) / "key.sqlite").write_bytes(data)
    assert read_scores(workspace, image, stamp_of(image)) == []
    kept(workspace, image)
    assert read_table(scores_folder(workspace), "key", [image]) is not None


def test_scores_come_back_exactly_and_ratings_however_low(workspace: Workspace, image: Path) -> None:
    """float32 for float32; under the floor only ratings and qualities are kept, since the highest counts."""
    row = np.array([np.float32(FLOOR), np.nextafter(np.float32(FLOOR), np.float32(0)), 0.001], np.float32)
    kept(workspace, image, row)
    table = read_table(scores_folder(workspace), "key", [image])
    assert table is not None and table.images == (image,) and table.missing == ()
    assert table.row(0).tolist() == [row[0], 0, row[2]]
    store = ScoreStore(scores_folder(workspace), "key", "a model", LABELS)
    found = store.get(content_of([b"picture"]))
    assert found is not None and found.tolist() == [row[0], 0, row[2]]
    assert store.get(content_of([b"another"])) is None
    store.close()


def test_a_changed_picture_has_no_scores(workspace: Workspace, image: Path) -> None:
    """Edited in place, replaced by one of another size, or gone: nothing is shown rather than something wrong."""
    kept(workspace, image)
    other = image.with_name("b.png")
    other.write_bytes(b"picture")
    table = read_table(scores_folder(workspace), "key", [image, other, image.with_name("gone.png")])
    assert table is not None and table.images == (image,) and len(table.missing) == 2
    image.write_bytes(b"another")
    os.utime(image, ns=(1, 1))
    assert read_scores(workspace, image, stamp_of(image)) == []
    table = read_table(scores_folder(workspace), "key", [image])
    assert table is not None and table.images == () and table.missing == (image,)


def test_a_renamed_folder_keeps_its_scores(workspace: Workspace, image: Path) -> None:
    """5 repeats instead of 10: the same files elsewhere; and a copy has them as soon as its content is known."""
    kept(workspace, image)
    moved = image.parent.with_name("5_rinni")
    image.parent.rename(moved)
    there = moved / "a.png"
    table = read_table(scores_folder(workspace), "key", [there])
    assert table is not None and table.images == (there,)
    assert read_scores(workspace, workspace.key_of(there), stamp_of(there))


def test_a_file_that_is_like_another_has_not_its_scores(workspace: Workspace, image: Path) -> None:
    """Two pictures of one archive may have the same name, second and size: only a moved file is known by these."""
    kept(workspace, image)
    other = image.parent.with_name("5_rinni") / "a.png"
    other.parent.mkdir()
    other.write_bytes(b"PICTURE")
    state = image.stat()
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert stamp_of(other) == stamp_of(image)
    assert read_scores(workspace, other, stamp_of(other)) == []
    image.unlink()
    assert read_scores(workspace, other, stamp_of(other))


def test_a_file_that_is_damaged_inside_is_removed_by_the_next_run(workspace: Workspace, image: Path) -> None:
    """The head is whole, pages are not: nothing is read from it, the run says so, the next one keeps again."""
    labels = LabelSet(tuple(f"tag{n}" for n in range(400)), (Category.GENERAL,) * 400)
    store = ScoreStore(scores_folder(workspace), "key", "a model", labels)
    images = [image.with_name(f"{number}.png") for number in range(300)]
    for number, path in enumerate(images):
        path.write_bytes(b"%d" % number)
        store.add(content_of([b"%d" % number]), np.full(400, 0.5, np.float32))
        store.place(path, stamp_of(path), content_of([b"%d" % number]))
    store.close()
    file = scores_folder(workspace) / "key.sqlite"
    data = bytearray(file.read_bytes())
    for at in range(len(data) // 4096 // 2 * 4096, len(data), 4096):
        data[at : at + 600] = b"\xa5" * 600
    file.write_bytes(data)
    assert read_table(scores_folder(workspace), "key", images) is None
    assert read_scores(workspace, images[-1], stamp_of(images[-1])) == [] or tag_categories(workspace)
    store = ScoreStore(scores_folder(workspace), "key", "a model", labels)
    assert any(store.get(content_of([b"%d" % number])) is None for number in range(300))
    assert store.failure is not None and "is damaged" in store.failure
    store.close()
    assert not file.exists()
    kept(workspace, image)


def test_what_a_killed_run_left_half_written_is_taken_back(workspace: Workspace, image: Path) -> None:
    """Killed in the middle of a change that was too large for memory: the rows before it are read all the same."""
    kept(workspace, image)
    file = scores_folder(workspace) / "key.sqlite"
    script = (
        "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1]); database.execute('PRAGMA cache_size=1');"
        "database.execute('PRAGMA synchronous=OFF');"
        "database.executemany('INSERT INTO scores VALUES(?, ?)', ((str(n), bytes(2000)) for n in range(2000)));"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(file)], check=False)
    assert file.with_name("key.sqlite-journal").stat().st_size
    table = read_table(scores_folder(workspace), "key", [image])
    assert table is not None and table.images == (image,)


def test_rows_of_another_floor_are_dropped(workspace: Workspace, image: Path) -> None:
    """Rows of another floor or format are dropped when the file is opened for writing."""
    kept(workspace, image)
    with sqlite3.connect(scores_folder(workspace) / "key.sqlite") as database:
        database.execute("UPDATE model SET value='0.5' WHERE key='floor'")
    database.close()
    assert read_table(scores_folder(workspace), "key", [image]) is None
    ScoreStore(scores_folder(workspace), "key", "a model", LABELS).close()
    table = read_table(scores_folder(workspace), "key", [image])
    assert table is not None and table.images == ()


def test_outside_a_workspace_scores_lie_in_the_cache(own_home: Path) -> None:
    """A folder that is no workspace gets no hidden folder of ours."""
    assert scores_folder(None).is_relative_to(own_home / "cache")


def test_names_that_are_not_utf8_have_scores(workspace: Workspace, image: Path) -> None:
    """A file from an old disk, named in another encoding."""
    odd = Path(os.fsdecode(os.fsencode(image.parent) + b"/\xff\xe4.png"))
    odd.write_bytes(b"odd")
    kept(workspace, odd)
    assert read_scores(workspace, odd, stamp_of(odd))


def test_a_table_of_some_images(workspace: Workspace, image: Path) -> None:
    """The rows of the images named, in their order."""
    others = [image.with_name(f"{number}.png") for number in range(3)]
    for number, other in enumerate(others):
        other.write_bytes(bytes([number]))
        kept(workspace, other, np.array([0.1 * number, 0.5, 0.3], np.float32))
    table = read_table(scores_folder(workspace), "key", others)
    assert table is not None
    some = table.of([others[2], others[0]])
    assert some.row(0).tolist() == table.row(2).tolist() and some.row(1).tolist() == table.row(0).tolist()


def test_threads_may_ask_while_scores_are_added(workspace: Workspace, image: Path) -> None:
    """The threads that read images ask for known ones while the run keeps new ones."""
    store = ScoreStore(scores_folder(workspace), "key", "a model", LABELS)
    store.add("0", ROW)

    def asked(number: int) -> bool:
        store.place(image, str(number), "0")
        found = store.get("0")
        return found is not None

    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(asked, range(1, 200))
        for number in range(1, 200):
            store.add(str(number), ROW)
        assert all(answers)
    store.close()
    assert store.failure is None and store.get("0") is None, "closed: nothing is known any more"


def test_a_folder_that_cannot_be_written_keeps_nothing_and_says_why(tmp_path: Path) -> None:
    """The tags do not depend on it: `failure` is for the log."""
    (tmp_path / "file").write_bytes(b"")
    store = ScoreStore(tmp_path / "file" / "scores", "key", "a model", LABELS)
    store.add("0", ROW)
    assert store.failure and store.get("0") is None
    store.close()
