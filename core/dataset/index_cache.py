"""What was read of a dataset's files, kept in the user's cache: deletable, and read again where files changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import zlib
from array import array
from functools import cached_property
from pathlib import Path

from core.dataset.chunks import Chunk, Words
from core.workspace import Workspace

FORMAT = "1"
LEAST = 1000
"""Images from which on it is worth it: fewer are read in the time that it takes to open a database."""
_BROKEN = (sqlite3.Error, ValueError, KeyError, TypeError, OSError, struct.error)
_TABLES = """
CREATE TABLE about(key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE chunks(place INTEGER PRIMARY KEY, subset TEXT, head BLOB, sum INTEGER, data BLOB);
"""
Stored = tuple[int, tuple[str, ...], "array[int]"]
"""A chunk on disk: its place, the names of its images and their stamps."""
UNKNOWN: Stored = (0, (), array("q"))


def cache_file(workspace: Workspace, folder: Path) -> Path:
    """Where the index of a dataset's folder is kept."""
    from core.files import content_hash
    from core.settings import cache_dir

    name = f"{workspace.root}\0{folder.name}".encode("utf-8", "surrogateescape")
    return cache_dir() / "index" / f"{content_hash(name)}.sqlite"


class Known:
    """The chunks of a subset by the names of their images."""

    def __init__(self, stored: list[Stored]) -> None:
        self._stored = stored
        self._first = {each[1][0]: each for each in stored if each[1]}

    def starting(self, name: str) -> Stored:
        """The chunk that begins with this image; one without images when there is none."""
        return self._first.get(name, UNKNOWN)

    def find(self, name: str) -> tuple[Stored, int]:
        """The chunk that has this image, and where."""
        return self._rows.get(name, (UNKNOWN, 0))

    @cached_property
    def _rows(self) -> dict[str, tuple[Stored, int]]:
        # only where something changed: 50 ms for 100,000
        return {name: (each, row) for each in self._stored for row, name in enumerate(each[1])}


class Cache:
    """The chunks of an earlier reading; those of this one are written beside it as they come, and take its place at
    `save`. Nothing is lost with it: one that is broken, or of another version, is an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old: sqlite3.Connection | None = None
        self._new: sqlite3.Connection | None = None
        self._temp = path.with_name(f"{path.stem}-{os.getpid()}.new")
        self._next = self._images = 0
        self.words: tuple[str, ...] = ()
        self._stored: dict[str, list[Stored]] = {}
        self._count = 0
        try:
            self._load()
        except _BROKEN:
            self.words, self._stored, self._count = (), {}, 0

    def _load(self) -> None:
        if not self._path.is_file():
            return
        self._old = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=1)
        about = dict(self._old.execute("SELECT key, value FROM about"))
        if about.get("format") != FORMAT or zlib.crc32(about["words"]) != about["sum"]:
            raise ValueError("of another version")
        for place, subset, head in self._old.execute("SELECT place, subset, head FROM chunks ORDER BY place"):
            names, stamps = Chunk.head_unpacked(head)
            self._stored.setdefault(subset, []).append((place, names, stamps))
            self._count += 1
        self.words = Words.unpacked(about["words"]).words

    def of(self, subset: str) -> Known:
        """What is known of a subset."""
        return Known(self._stored.get(subset, []))

    def data(self, place: int) -> bytes | None:
        """The bytes of a chunk, None when they are damaged."""
        if self._old is None:
            return None
        try:
            check, data = self._old.execute("SELECT sum, data FROM chunks WHERE place=?", (place,)).fetchone()
            return data if zlib.crc32(data) == check else None
        except _BROKEN:
            return None

    def keep(self, subset: str, chunk: Chunk | int, data: bytes = b"") -> None:
        """The next chunk as it is now: a new one and its bytes, or the place of one that is as it was."""
        place = self._next
        self._next += 1
        if self._new is None and chunk == place:
            return
        try:
            new = self._new if self._new is not None else self._begun(place)
            if isinstance(chunk, int):
                select = "INSERT INTO chunks SELECT ?, subset, head, sum, data FROM old.chunks WHERE place=?"
                new.execute(select, (place, chunk))
            else:
                values = (place, subset, chunk.head_packed(), zlib.crc32(data), data)
                new.execute("INSERT INTO chunks VALUES(?, ?, ?, ?, ?)", values)
        except _BROKEN:  # full, or not ours to write: the next start reads the files again
            self._drop()
            self._temp = Path("/nonexistent/index")

    def _begun(self, place: int) -> sqlite3.Connection:
        self._temp.parent.mkdir(parents=True, exist_ok=True)
        self._temp.unlink(missing_ok=True)
        self._new = new = sqlite3.connect(self._temp, timeout=1, isolation_level=None)
        for pragma in ("synchronous=OFF", "journal_mode=OFF", "page_size=16384"):
            new.execute(f"PRAGMA {pragma}")
        new.executescript(_TABLES)
        if self._old is not None:
            new.execute("ATTACH ? AS old", (str(self._path),))
        new.execute("BEGIN")
        if place:
            new.execute("INSERT INTO chunks SELECT * FROM old.chunks WHERE place<?", (place,))
        return new

    def save(self, images: int, words: list[str]) -> None:
        """This reading takes the place of the earlier one, when it is another."""
        try:
            if images < LEAST:
                self._drop()
                self._path.unlink(missing_ok=True)
            elif self._new is not None or self._next != self._count:
                new = self._new if self._new is not None else self._begun(self._next)
                data = Words(tuple(words)).packed()
                about = {"format": FORMAT, "words": data, "sum": zlib.crc32(data)}
                new.executemany("INSERT INTO about VALUES(?, ?)", about.items())
                new.execute("COMMIT")
                new.close()
                self._new = None
                self._temp.replace(self._path)
        except _BROKEN:
            self._drop()
        finally:
            self.close()

    def _drop(self) -> None:
        with contextlib.suppress(*_BROKEN):
            if self._new is not None:
                self._new.close()
        self._new = None
        with contextlib.suppress(OSError):
            self._temp.unlink(missing_ok=True)

    def close(self) -> None:
        """Forget what was not saved."""
        self._drop()
        if self._old is not None:
            self._old.close()
            self._old = None
