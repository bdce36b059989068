"""The score file of one model, as tag runs fill it (what lies in it: core.tagging.scores)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.tagging.labels import LabelSet
from core.tagging.scores import FLOOR, FORMAT, dense, packed, path_key, stamp_of, storable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ScoreStore:
    """The score file of one model, open for writing; may be asked from several threads.

    Nothing is lost with it, so nothing is synced to disk, and a failure (disk full, another run holds it for long)
    ends the keeping and not the tagging: `failure` says why. A file that is broken or of another format is begun anew;
    one that turns out to be broken on the way is removed, so that the next run begins it anew.
    """

    def __init__(self, folder: Path, model_key: str, model_name: str, labels: LabelSet) -> None:
        self.failure: str | None = None
        self._lock = threading.Lock()
        self._labels = labels
        self._database: sqlite3.Connection | None = None
        self._path = folder / f"{model_key}.sqlite"
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._opened(model_name)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._remove()
                self._database = self._opened(model_name)

    def _opened(self, model_name: str) -> sqlite3.Connection:
        described = {
            "format": str(FORMAT),
            "name": model_name,
            "floor": repr(FLOOR),
            "names": json.dumps(self._labels.names, ensure_ascii=False),
            "categories": json.dumps([int(category) for category in self._labels.categories]),
            "thresholds": json.dumps(self._labels.thresholds),
        }
        database = sqlite3.connect(self._path, timeout=10, check_same_thread=False)
        try:
            database.execute("PRAGMA synchronous=OFF")
            database.execute("CREATE TABLE IF NOT EXISTS model(key TEXT PRIMARY KEY, value TEXT)")
            kept = dict(database.execute("SELECT key, value FROM model"))
            if any(kept.get(key) != described[key] for key in ("format", "floor")):
                for table in ("scores", "places"):
                    database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute("CREATE TABLE IF NOT EXISTS scores(content TEXT PRIMARY KEY, data BLOB)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS places(path TEXT PRIMARY KEY, name TEXT, stamp TEXT, content TEXT)"
            )
            database.execute("CREATE INDEX IF NOT EXISTS stamps ON places(stamp)")
            database.execute("CREATE TABLE IF NOT EXISTS turned(content TEXT PRIMARY KEY)")
            if kept != described:  # a look at the scores leaves the file as old as it is
                database.executemany("INSERT OR REPLACE INTO model VALUES(?, ?)", described.items())
            database.commit()
        except BaseException:
            database.close()
            raise
        return database

    def add(self, content: str, scores: NDArray[np.float32]) -> None:
        """Keep the scores of one picture (`content_of`); `save` makes them visible to others."""
        data = packed(scores, self._labels)
        with self._told() as database:
            if database is not None:
                database.execute("INSERT OR REPLACE INTO scores VALUES(?, ?)", (content, data))

    def place(self, image: Path, stamp: str, content: str) -> None:
        """Remember that the file `image`, at this time and size (`stamp_of`), is that picture."""
        with self._told() as database:
            if database is not None:
                row = (path_key(image), storable(image.name), stamp, content)
                database.execute("INSERT OR REPLACE INTO places VALUES(?, ?, ?, ?)", row)

    def turned(self, content: str) -> None:
        """Remember that viewers turn this picture by its EXIF data."""
        with self._told() as database:
            if database is not None:
                database.execute("INSERT OR IGNORE INTO turned VALUES(?)", (content,))

    def turned_of(self, images: Iterable[Path]) -> list[Path]:
        """Those of `images` that are, unchanged, pictures which viewers turn: known without opening them."""
        found: list[tuple[str, str]] = []
        with self._told() as database:
            if database is not None:
                query = "SELECT name, stamp FROM places JOIN turned USING(content)"
                found = database.execute(query).fetchall()
        stamps: dict[str, set[str]] = {}
        for name, stamp in found:
            stamps.setdefault(name, set()).add(stamp)
        if not stamps:
            return []
        return [image for image in images if stamp_of(image) in stamps.get(storable(image.name), ())]

    def get(self, content: str) -> NDArray[np.float32] | None:
        """float32 [labels]: the stored scores of a picture, 0 where they lie under the floor; None when there are
        none.
        """
        with self._told() as database:
            row = None
            if database is not None:
                row = database.execute("SELECT data FROM scores WHERE content=?", (content,)).fetchone()
        return None if row is None else dense(row[0], len(self._labels))

    def save(self) -> None:
        """Commit what was added."""
        with self._told() as database:
            if database is not None:
                database.commit()

    def close(self) -> None:
        """Commit and close."""
        self.save()
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextlib.contextmanager
    def _told(self) -> Iterator[sqlite3.Connection | None]:
        with self._lock:
            try:
                yield None if self.failure else self._database
            except (sqlite3.OperationalError, OSError) as error:
                self.failure = str(error)
            except sqlite3.Error as error:
                self.failure = f"{self._path} is damaged: {error}; the next run begins it anew"
                if self._database is not None:
                    self._database.close()
                    self._database = None
                with contextlib.suppress(OSError):
                    self._remove()

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self._path.with_name(self._path.name + "-journal").unlink(missing_ok=True)
