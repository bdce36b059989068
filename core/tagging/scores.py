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
            keys = [path_key(image) for image in some]
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


def path_key(image: Path) -> str:
    """The name of an image file in the store: its absolute path."""
    key = os.fspath(image)
    if not key.startswith("/") or "/." in key:
        key = os.path.abspath(key)  # noqa: PTH100 (Path.absolute costs ten times as much and leaves the dots)
    return storable(key)


def storable(key: str) -> str:
    """A file name need not be UTF-8; sqlite's text must."""
    if key.isascii():
        return key
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _content(database: sqlite3.Connection, image: Path, stamp: str) -> str | None:
    """The picture that the unchanged file is, as far as it is known without reading it."""
    if not stamp:
        return None
    row = database.execute("SELECT content FROM places WHERE path=? AND stamp=?", (path_key(image), stamp)).fetchone()
    if row is not None:
        return str(row[0])
    # The same name, time and size elsewhere: a renamed folder, such as another repeat count. Not when that file is
    # still there: pictures out of one archive share whole seconds, and uncompressed ones their size.
    query = "SELECT content, path FROM places WHERE stamp=? AND name=?"
    found = database.execute(query, (stamp, storable(image.name))).fetchall()
    return next((str(content) for content, path in found if stamp_of(Path(path)) != stamp), None)


def _moved(database: sqlite3.Connection, image: Path, stamp: str) -> bytes | None:
    content = _content(database, image, stamp)
    row: Any = database.execute("SELECT data FROM scores WHERE content=?", (content,)).fetchone()
    return None if row is None else bytes(row[0])


def _width(labels: int) -> int:
    return 2 if labels <= 1 << 16 else 4


def packed(scores: NDArray[np.float32], labels: LabelSet) -> bytes:
    """Indices as uint16 (uint32 when there are more than 65,536 outputs), then as many float32, little endian."""
    import numpy as np

    is_kept = scores >= FLOOR
    is_kept[[at for at, category in enumerate(labels.categories) if category in _PLACED]] = True
    kept = np.flatnonzero(is_kept)
    return kept.astype(f"<u{_width(len(scores))}").tobytes() + scores[kept].astype("<f4").tobytes()


def dense(data: bytes, labels: int) -> NDArray[np.float32]:
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
