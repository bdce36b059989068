"""Scores that a tag run leaves behind: one sqlite file a model under `.kohya-tui/scores/`, deletable at any time.

A row holds every score of an image from `FLOOR` upwards, exact (float32), keyed by the image's name in the workspace
and stamped with its time and size, so that a changed image has no scores rather than wrong ones.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.tagging.labels import Category, LabelSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.workspace import Workspace

FLOOR = 0.01
"""Lower scores are not kept: about 1.5 kB an image instead of 40."""
FORMAT = 1


def folder_of(workspace: Workspace) -> Path:
    """Where the score files of a workspace lie."""
    return workspace.own / "scores"


def stamp_of(path: Path) -> str:
    """Time and size of an image file; "" when it is not there."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}"


class ScoreStore:
    """The score file of one model, open for writing.

    Nothing is lost with it, so nothing is synced to disk, and a failure (disk full, another run holds it for long)
    ends the keeping and not the tagging: `failure` says why.
    """

    def __init__(self, workspace: Workspace, model_key: str, model_name: str, labels: LabelSet) -> None:
        self.failure: str | None = None
        self._database: sqlite3.Connection | None = None
        described = {
            "format": str(FORMAT),
            "name": model_name,
            "names": json.dumps(labels.names, ensure_ascii=False),
            "categories": json.dumps([int(category) for category in labels.categories]),
        }
        folder = folder_of(workspace)
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / f"{model_key}.sqlite", timeout=10)
            self._database.execute("PRAGMA synchronous=OFF")
            self._database.execute("CREATE TABLE IF NOT EXISTS scores(key TEXT PRIMARY KEY, stamp TEXT, data BLOB)")
            self._database.execute("CREATE TABLE IF NOT EXISTS model(key TEXT PRIMARY KEY, value TEXT)")
            self._database.executemany("INSERT OR REPLACE INTO model VALUES(?, ?)", described.items())
            self._database.commit()

    def add(self, key: str, stamp: str, scores: NDArray[np.float32]) -> None:
        """Keep the scores of one image; `save` makes them visible to others."""
        with self._told() as database:
            if database is not None:
                database.execute("INSERT OR REPLACE INTO scores VALUES(?, ?, ?)", (_plain(key), stamp, _packed(scores)))

    def save(self) -> None:
        """Commit what was added."""
        with self._told() as database:
            if database is not None:
                database.commit()

    def close(self) -> None:
        """Commit and close."""
        self.save()
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _told(self) -> Iterator[sqlite3.Connection | None]:
        try:
            yield None if self.failure else self._database
        except (sqlite3.Error, OSError) as error:
            self.failure = str(error)


def read_scores(workspace: Workspace, item_key: str, stamp: str) -> list[tuple[str, str, float]]:
    """(tag, category, probability) of an image, highest first, from the model that ran last; [] when there are none.

    `item_key` is `Workspace.key_of(image)`, `stamp` `stamp_of(image)`. Tags are spelled as the model spells them
    (underscores).
    """
    for path in _files(workspace):
        with _opened(path) as database:
            if database is None:
                continue
            row = database.execute(
                "SELECT data FROM scores WHERE key=? AND stamp=?", (_plain(item_key), stamp)
            ).fetchone()
            labels = _labels(database) if row is not None else None
            if labels is not None:
                return _unpacked(row[0], labels)
    return []


def read_many(
    workspace: Workspace, model_key: str, images: Iterable[Path]
) -> tuple[LabelSet, dict[Path, tuple[NDArray[np.integer], NDArray[np.float32]]]] | None:
    """The labels of a model (`models.fingerprint` of its file), and for each image that has stored scores the indices
    of its labels and their float32 scores. None when that model never ran here.
    """
    import numpy as np

    with _opened(folder_of(workspace) / f"{model_key}.sqlite") as database:
        labels = None if database is None else _labels(database)
        if database is None or labels is None:
            return None
        width = 2 if len(labels) <= 1 << 16 else 4
        found: dict[Path, tuple[NDArray[np.integer], NDArray[np.float32]]] = {}
        for image in images:
            row = database.execute(
                "SELECT data FROM scores WHERE key=? AND stamp=?", (_plain(workspace.key_of(image)), stamp_of(image))
            ).fetchone()
            if row is not None:
                count = len(row[0]) // (width + 4)
                indices = np.frombuffer(row[0], f"<u{width}", count)
                found[image] = indices, np.frombuffer(row[0], "<f4", count, count * width)
        return labels, found


def tag_categories(workspace: Workspace) -> dict[str, str]:
    """Category of every tag that the models of this workspace know, spelled with spaces and with underscores."""
    found: dict[str, str] = {}
    for path in reversed(_files(workspace)):
        with _opened(path) as database:
            labels = None if database is None else _labels(database)
        if labels is None:
            continue
        for name, category in zip(labels.names, labels.categories, strict=True):
            found[name] = found[name.replace("_", " ")] = category.word
    return found


def _plain(key: str) -> str:
    """A file name need not be UTF-8; sqlite's text must."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _packed(scores: NDArray[np.float32]) -> bytes:
    """Indices as uint16 (uint32 when there are more than 65,536 outputs), then as many float32, little endian."""
    import numpy as np

    kept = np.flatnonzero(scores >= FLOOR)
    width = "<u2" if len(scores) <= 1 << 16 else "<u4"
    return kept.astype(width).tobytes() + scores[kept].astype("<f4").tobytes()


def _unpacked(data: bytes, labels: LabelSet) -> list[tuple[str, str, float]]:
    # Without numpy: a screen that shows one image's bars need not import it.
    width = 2 if len(labels) <= 1 << 16 else 4
    count = len(data) // (width + 4)
    indices = array("H" if width == 2 else "I", data[: count * width])
    values = array("f", data[count * width :])
    ranked = sorted(zip(indices, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [(labels.names[index], labels.categories[index].word, value) for index, value in ranked]


def _files(workspace: Workspace) -> list[Path]:
    """Score files, the one written last first."""
    try:
        found = [(path.stat().st_mtime_ns, path) for path in folder_of(workspace).glob("*.sqlite")]
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)]


_cache: dict[Path, tuple[str, str, LabelSet]] = {}


def _labels(database: sqlite3.Connection) -> LabelSet | None:
    described = dict(database.execute("SELECT key, value FROM model"))
    if described.get("format") != str(FORMAT):
        return None
    path = Path(database.execute("PRAGMA database_list").fetchone()[2])
    known = _cache.get(path)
    if known is None or known[:2] != (described["names"], described["categories"]):
        names = tuple(json.loads(described["names"]))
        categories = tuple(Category(number) for number in json.loads(described["categories"]))
        _cache[path] = known = (described["names"], described["categories"], LabelSet(names, categories))
    return known[2]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file for reading; None when it is broken or held by a writer for too long (scores are only a convenience)."""
    database = None
    try:
        database = sqlite3.connect(
            f"file:{path.as_posix().replace('?', '%3f').replace('#', '%23')}?mode=ro", uri=True, timeout=1
        )
        for table in ("scores", "model"):  # a full disk may have left a file without them
            database.execute(f"SELECT 1 FROM {table} LIMIT 1")
    except sqlite3.Error:
        if database is not None:
            database.close()
        database = None
    try:
        yield database
    finally:
        if database is not None:
            database.close()
