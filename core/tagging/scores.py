"""Scores that tag runs leave behind: one sqlite file a model, deletable at any time.

A row holds every score of a picture from `FLOOR` upwards, exact (float32), and those of ratings and qualities, of which
the highest counts however low it is. It is keyed by the content of the image file, so that a copy or a renamed folder
has its scores and a changed picture has none. A second table remembers which content a path had at which time and size,
so that an unchanged file is not read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.tagging.labels import Category, LabelSet
from core.tagging.score_table import ScoreTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.tagging.models import TaggerModel
    from core.workspace import Workspace

FLOOR = 0.01
"""Lower scores are not kept: about 1.5 kB an image instead of 40."""
FORMAT = 2
_PLACED = (Category.RATING, Category.QUALITY)
_AT_ONCE = 500
"""Values in one query: sqlite's oldest limit is 999."""


def scores_folder(workspace: Workspace | None) -> Path:
    """Where score files lie: in the workspace, outside of one in the user's cache."""
    if workspace is not None:
        return workspace.own / "scores"
    from core.settings import cache_dir

    return cache_dir() / "scores"


def model_key(model: TaggerModel, *, clip_16_bit: bool = False, fp16: bool = False) -> str:
    """The name of the score file: what the model is (`models.score_key`), and what else changes its scores."""
    from core.tagging.models import score_key

    return score_key(model) + ("-clipped" if clip_16_bit else "") + ("-fp16" if fp16 else "")


def stamp_of(path: Path) -> str:
    """Time and size of an image file; "" when it is not there."""
    try:
        state = os.stat(path)  # noqa: PTH116 (half the cost, for ten thousand images)
    except OSError:
        return ""
    return f"{state.st_mtime_ns}-{state.st_size}"


def content_of(pieces: Iterable[bytes]) -> str:
    """The name of a picture in the store: BLAKE2b-128 of the bytes of its file, in hex."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


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
            database.executemany("INSERT OR REPLACE INTO model VALUES(?, ?)", described.items())
            database.commit()
        except BaseException:
            database.close()
            raise
        return database

    def add(self, content: str, scores: NDArray[np.float32]) -> None:
        """Keep the scores of one picture (`content_of`); `save` makes them visible to others."""
        data = _packed(scores, self._labels)
        with self._told() as database:
            if database is not None:
                database.execute("INSERT OR REPLACE INTO scores VALUES(?, ?)", (content, data))

    def place(self, image: Path, stamp: str, content: str) -> None:
        """Remember that the file `image`, at this time and size (`stamp_of`), is that picture."""
        with self._told() as database:
            if database is not None:
                row = (_key(image), _plain(image.name), stamp, content)
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
        return [image for image in images if stamp_of(image) in stamps.get(_plain(image.name), ())]

    def get(self, content: str) -> NDArray[np.float32] | None:
        """float32 [labels]: the stored scores of a picture, 0 where they lie under the floor; None when there are
        none.
        """
        with self._told() as database:
            row = None
            if database is not None:
                row = database.execute("SELECT data FROM scores WHERE content=?", (content,)).fetchone()
        return None if row is None else _dense(row[0], len(self._labels))

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


def read_table(
    folder: Path, model_key: str, images: Iterable[Path], stop: Callable[[], bool] = lambda: False
) -> ScoreTable | None:
    """The stored scores of `images`, as far as there are any; no image file is opened.

    None when this model never ran here, when its file is broken, and when `stop` said so. About 30 microseconds an
    image.
    """
    import numpy as np

    asked = list(images)
    with contextlib.suppress(sqlite3.Error), _readable(folder / f"{model_key}.sqlite") as database:
        labels = None if database is None else _labels(database)
        if database is None or labels is None:
            return None
        found: list[Path] = []
        missing: list[Path] = []
        indices: list[bytes] = []
        values: list[bytes] = []
        width = _width(len(labels))
        lengths = [0]
        for start in range(0, len(asked), _AT_ONCE):
            if stop():
                return None
            some = asked[start : start + _AT_ONCE]
            keys = [_key(image) for image in some]
            marks = ",".join("?" * len(keys))
            known = {
                path: (stamp, data)
                for path, stamp, data in database.execute(
                    f"SELECT path, stamp, data FROM places JOIN scores USING(content) WHERE path IN ({marks})",
                    keys,
                )
            }
            for image, key in zip(some, keys, strict=True):
                stamp = stamp_of(image)
                kept, data = known.get(key, ("", None))
                if stamp and kept != stamp:
                    data = _moved(database, image, stamp)
                if data is None or not stamp:
                    missing.append(image)
                    continue
                count = len(data) // (width + 4)
                found.append(image)
                lengths.append(count)
                indices.append(data[: count * width])
                values.append(data[count * width :])
        return ScoreTable(
            labels,
            tuple(found),
            tuple(missing),
            np.cumsum(lengths, dtype=np.intp),
            np.frombuffer(b"".join(indices), f"<u{width}").astype(np.int32),
            np.frombuffer(b"".join(values), "<f4"),
            FLOOR,
        )
    return None


def read_scores(workspace: Workspace, image: Path | str, stamp: str) -> list[tuple[str, str, float]]:
    """(tag, category, probability) of an image, highest first, from the model that ran last; [] when there are none.

    `image` is its path or `Workspace.key_of` it, `stamp` is `stamp_of` it. Tags are spelled as the model spells them
    (underscores).
    """
    for path in newest_files(scores_folder(workspace)):
        with contextlib.suppress(sqlite3.Error), _readable(path) as database:
            labels = None if database is None else _labels(database)
            if database is None or labels is None:
                continue
            content = _content(database, workspace.root / image, stamp)
            row = database.execute("SELECT data FROM scores WHERE content=?", (content,)).fetchone()
            if row is not None:
                return _unpacked(row[0], labels)
    return []


def tag_categories(workspace: Workspace) -> dict[str, str]:
    """Category of every tag that the models of this workspace know, spelled with spaces and with underscores."""
    found: dict[str, str] = {}
    for path in reversed(newest_files(scores_folder(workspace))):
        labels = None
        with contextlib.suppress(sqlite3.Error), _readable(path) as database:
            labels = None if database is None else _labels(database)
        if labels is None:
            continue
        for name, category in zip(labels.names, labels.categories, strict=True):
            found[name] = found[name.replace("_", " ")] = category.word
    return found


def _key(image: Path) -> str:
    key = os.fspath(image)
    if not key.startswith("/") or "/." in key:
        key = os.path.abspath(key)  # noqa: PTH100 (Path.absolute costs ten times as much and leaves the dots)
    return _plain(key)


def _plain(key: str) -> str:
    """A file name need not be UTF-8; sqlite's text must."""
    if key.isascii():
        return key
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _content(database: sqlite3.Connection, image: Path, stamp: str) -> str | None:
    """The picture that the unchanged file is, as far as it is known without reading it."""
    if not stamp:
        return None
    row = database.execute("SELECT content FROM places WHERE path=? AND stamp=?", (_key(image), stamp)).fetchone()
    if row is not None:
        return str(row[0])
    # The same name, time and size elsewhere: a renamed folder, such as another repeat count. Not when that file is
    # still there: pictures out of one archive share whole seconds, and uncompressed ones their size.
    query = "SELECT content, path FROM places WHERE stamp=? AND name=?"
    found = database.execute(query, (stamp, _plain(image.name))).fetchall()
    return next((str(content) for content, path in found if stamp_of(Path(path)) != stamp), None)


def _moved(database: sqlite3.Connection, image: Path, stamp: str) -> bytes | None:
    content = _content(database, image, stamp)
    row: Any = database.execute("SELECT data FROM scores WHERE content=?", (content,)).fetchone()
    return None if row is None else bytes(row[0])


def _width(labels: int) -> int:
    return 2 if labels <= 1 << 16 else 4


def _packed(scores: NDArray[np.float32], labels: LabelSet) -> bytes:
    """Indices as uint16 (uint32 when there are more than 65,536 outputs), then as many float32, little endian."""
    import numpy as np

    is_kept = scores >= FLOOR
    is_kept[[at for at, category in enumerate(labels.categories) if category in _PLACED]] = True
    kept = np.flatnonzero(is_kept)
    return kept.astype(f"<u{_width(len(scores))}").tobytes() + scores[kept].astype("<f4").tobytes()


def _dense(data: bytes, labels: int) -> NDArray[np.float32]:
    import numpy as np

    width = _width(labels)
    count = len(data) // (width + 4)
    row = np.zeros(labels, np.float32)
    row[np.frombuffer(data, f"<u{width}", count)] = np.frombuffer(data, "<f4", count, count * width)
    return row


def _unpacked(data: bytes, labels: LabelSet) -> list[tuple[str, str, float]]:
    # Without numpy: a screen that shows one image's bars need not import it.
    width = _width(len(labels))
    count = len(data) // (width + 4)
    indices = array("H" if width == 2 else "I", data[: count * width])
    values = array("f", data[count * width :])
    ranked = sorted(zip(indices, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [(labels.names[index], labels.categories[index].word, value) for index, value in ranked]


def newest_files(folder: Path) -> list[Path]:
    """Score files, the one written last first."""
    try:
        found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.sqlite")]
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)]


_cache: dict[Path, tuple[tuple[str, ...], LabelSet]] = {}


def _labels(database: sqlite3.Connection) -> LabelSet | None:
    described = dict(database.execute("SELECT key, value FROM model"))
    if described.get("format") != str(FORMAT) or described.get("floor") != repr(FLOOR):
        return None
    path = Path(database.execute("PRAGMA database_list").fetchone()[2])
    try:
        texts = tuple(described[key] for key in ("names", "categories", "thresholds"))
        known = _cache.get(path)
        if known is None or known[0] != texts:
            names, numbers, thresholds = map(json.loads, texts)
            labels = LabelSet(tuple(names), tuple(map(Category, numbers)), thresholds and tuple(thresholds))
            _cache[path] = known = texts, labels
    except (KeyError, ValueError, TypeError):  # damaged
        return None
    return known[1]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file for reading; None when it is broken or held by a writer for too long (scores are only a convenience).
    Raises sqlite3.Error when it turns out to be broken while it is read.
    """
    database = None
    try:
        name = path.absolute().as_posix().replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        # Not mode=ro: what a killed run left half-written has to be rolled back first.
        database = sqlite3.connect(f"file:{name}?mode=rw", uri=True, timeout=1)
        for table in ("scores", "places", "model"):  # a full disk may have left a file without them
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
