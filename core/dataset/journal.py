"""The undo record on disk: one file of JSON lines for each user action.

`<id>.jsonl`: a head line, one line for each change with the content before and after, then marks: `ready` (a bulk is
recorded whole), `commit`, `undoing`/`undone`, `redoing`/`redone`. The last mark tells the state. While somebody writes
to it the file is named `<id>.open.jsonl`, so that one listing finds what a kill left behind; a streaming writer holds a
lock on it as long as it lives. Ids are UTC times to the microsecond, so they sort by time.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from core.dataset.changes import Added, Change, Edit, Folder, Move
from core.dataset.journal_places import check_places
from core.files import locked, sync_folder, write_error
from core.problems import UserError
from core.workspace import Workspace

VERSION = 1
OPEN = ".open.jsonl"
DONE = ".jsonl"
_TAIL = 1024
_CHUNK = 1 << 20
_NAME = re.compile(r"(\d{8}T\d{6}-\d{6})(?:\.open)?\.jsonl")


@dataclass(frozen=True, slots=True)
class Head:
    """The first line. `writer` (pid, its start ticks, boot id) is for people; the lock decides whether it lives."""

    id: str
    label: str
    time: float
    kind: str
    streamed: bool
    version: int
    writer: tuple[int, int | None, str | None]

    @classmethod
    def new(cls, folder: Path, label: str, kind: str, *, streamed: bool) -> Head:
        """A head whose id comes after every group in `folder`, also when the clock was set back."""
        now = time.time()
        newest = max((group_id for group_id, _ in listing(folder)), default="")
        group_id = _id_of(now)
        while group_id <= newest:
            now = max(now, _time_of(newest)) + 1e-6
            group_id = _id_of(now)
        return cls(group_id, label[:500], now, kind, streamed, VERSION, _writer())


class Record:
    """An open journal file, appended to by one writer. A failed append leaves no half line behind."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, folder: Path, head: Head) -> Record:
        """A new `.open.jsonl` with its head line, locked for the life of this record."""
        path = folder / f"{head.id}{OPEN}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise write_error(path, error) from error
        record = cls(path, descriptor)
        pid, start, boot = head.writer
        line = {"v": VERSION, "id": head.id, "label": head.label, "time": head.time, "kind": head.kind}
        try:
            record.append([_line(line | {"streamed": head.streamed, "pid": pid, "pid_start": start, "boot_id": boot})])
        except UserError:
            record.discard()
            raise
        return record

    @classmethod
    def reopen(cls, path: Path) -> Record | None:
        """The file opened for appending, cut after its last whole line; None while its writer lives."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise write_error(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        _cut_half_line(descriptor)
        if not path.name.endswith(OPEN):
            target = path.with_name(path.name.removesuffix(DONE) + OPEN)
            path.rename(target)
            path = target
        return cls(path, descriptor)

    @property
    def is_empty(self) -> bool:
        return self._size == 0

    def append(self, lines: Iterable[bytes], *, sync: bool = False) -> None:
        """Add whole lines. Raises UserError (disk full); the file is then as it was before this call."""
        start = self._size
        try:
            batch = bytearray()
            for line in lines:
                batch += line
                if len(batch) >= _CHUNK:
                    self._write(batch)
                    batch = bytearray()
            self._write(batch)
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, start)
            self._size = start
            raise write_error(self.path, error) from error

    def _write(self, data: bytearray) -> None:
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            self._size += count
            view = view[count:]

    def mark(self, name: str, files: int | None = None, **extra: object) -> None:
        """Append a mark with the time (never before the newest group's: clocks are set back) and sync all so far."""
        counted = {} if files is None else {"files": files}
        newest = read_head(listing(self.path.parent)[-1][1])
        when = max(time.time(), 0.0 if newest is None else newest.time)
        self.append([_line({name: when} | counted | extra)], sync=True)

    def sync(self) -> None:
        """Make everything so far durable. Raises UserError."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise write_error(self.path, error) from error
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Give the file its closed name and let the lock go. Raises UserError when it was taken away."""
        target = self.path.with_name(self.path.name.removesuffix(OPEN) + DONE)
        try:
            self.path.rename(target)
        except OSError as error:
            raise write_error(self.path, error) from error
        sync_folder(target.parent)
        self.release()

    def release(self) -> None:
        """Let the lock go and leave the file open for whoever recovers it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Remove the file: nothing that it records was done."""
        self.path.unlink(missing_ok=True)
        self.release()


@contextlib.contextmanager
def hold(workspace: Workspace) -> Iterator[None]:
    """The workspace's lock. Raises UserError where it cannot be taken (read-only disk, no rights)."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(workspace.lock_file))
        except OSError as error:
            raise write_error(workspace.lock_file, error) from error
        yield


def listing(folder: Path) -> list[tuple[str, Path]]:
    """(id, path) of every group, oldest first."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names only; a Path for each of thousands is slow)
    except OSError:
        return []
    found = [(match[1], match[0]) for name in names if (match := _NAME.fullmatch(name))]
    return [(group_id, folder / name) for group_id, name in sorted(found)]


def read_head(path: Path) -> Head | None:
    """The first line, without reading further; None when it is not one of ours."""
    try:
        with path.open("rb") as stream:
            value = json.loads(stream.readline(1 << 16))
        if not isinstance(value, dict):
            return None
        return Head(
            path.name.removesuffix(DONE).removesuffix(".open"),
            str(value["label"]),
            float(value["time"]),
            str(value["kind"]),
            bool(value["streamed"]),
            int(value["v"]),
            (int(value["pid"]), value.get("pid_start"), value.get("boot_id")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_mark(path: Path) -> dict[str, Any]:
    """The last line when it is a mark, else {}; only the end of the file is read."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            tail = stream.read()
        value = json.loads(tail.rstrip(b"\n").rpartition(b"\n")[2]) if tail.endswith(b"\n") else {}
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and "op" not in value and "v" not in value else {}


def lines_of(changes: Iterable[Change], workspace: Workspace) -> Iterator[bytes]:
    """`changes` as journal lines."""
    root = f"{workspace.root}/"
    for change in changes:
        match change:
            case Edit(path, before, after):
                yield _edit_line(_key(path, root), before, after)
            case Move(source, target):
                yield _line({"op": "move", "source": _key(source, root), "target": _key(target, root)})
            case Added(path, size, mtime_ns, digest):
                marks = {"bytes": size, "mtime_ns": mtime_ns, "digest": digest}
                yield _line({"op": "added", "path": _key(path, root)} | marks)
            case Folder(path):
                yield _line({"op": "folder", "path": _key(path, root)})


@dataclass(frozen=True, slots=True)
class Body:
    """What stands between head and end: the changes that count, and whether a bulk was recorded whole."""

    changes: list[Change]
    places: list[int]
    """Of each change among all that were recorded, as `refused_line` counts them."""
    is_ready: bool
    last: dict[str, Any]


def read_body(path: Path, workspace: Workspace) -> Body:
    """All of a journal file. Changes that were refused when it was applied are left out; a half last line too.

    Raises UserError when the file is damaged, and when it would touch what no dataset holds outside of the workspace.
    """
    changes: list[Change] = []
    refused: set[int] = set()
    is_ready = False
    last: dict[str, Any] = {}
    try:
        with path.open("rb") as stream:
            next(stream, None)
            for raw in stream:
                if not raw.endswith(b"\n"):
                    break
                value = json.loads(raw.decode("utf-8"))
                if "op" in value:
                    changes.append(_change(value, workspace.root))
                elif "refused" in value:
                    refused.update(value["refused"])
                else:
                    is_ready = is_ready or "ready" in value
                    last = value
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The journal file {path} cannot be read: {error}",
            "It holds the old contents as readable lines; move it away to go on without it.",
        ) from error
    check_places(changes, path, workspace.root)
    places = [at for at in range(len(changes)) if at not in refused]
    return Body([changes[at] for at in places], places, is_ready, last)


def refused_line(places: Iterable[int]) -> bytes:
    """The line that takes the changes at these places out again: they met a file that somebody else had changed."""
    return _line({"refused": list(places)})


def _change(value: dict[str, Any], root: Path) -> Change:
    match value["op"]:
        case "edit":
            return Edit(root / value["path"], _bytes("before", value), _bytes("after", value))
        case "move":
            return Move(root / value["source"], root / value["target"])
        case "added":
            return Added(root / value["path"], value["bytes"], value["mtime_ns"], value["digest"])
        case "folder":
            return Folder(root / value["path"])
        case other:
            raise ValueError(f"unknown change {other!r}")


def _key(path: Path, root: str) -> str:
    text = str(path) if path.is_absolute() else str(path.absolute())
    return text.removeprefix(root)


def _edit_line(key: str, before: bytes | None, after: bytes | None) -> bytes:
    """As `_line` writes it, at a third of the cost: a bulk has 100,000 of them."""
    try:
        old = "null" if before is None else encode_basestring(before.decode("utf-8"))
        new = "null" if after is None else encode_basestring(after.decode("utf-8"))
        return f'{{"op": "edit", "path": {encode_basestring(key)}, "before": {old}, "after": {new}}}\n'.encode()
    except UnicodeError:  # a content or a file name that is not UTF-8
        return _line({"op": "edit", "path": key} | _text("before", before) | _text("after", after))


def _text(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


def _bytes(name: str, value: dict[str, Any]) -> bytes | None:
    if (coded := value.get(f"{name}_base64")) is not None:
        return base64.b64decode(coded)
    text = value[name]
    return None if text is None else text.encode("utf-8")


def _line(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # a file name that is not UTF-8 (surrogate escapes)
        return json.dumps(value).encode("ascii") + b"\n"


def _cut_half_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - (1 << 16))
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)


def _id_of(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y%m%dT%H%M%S-%f")


def _time_of(group_id: str) -> float:
    return datetime.strptime(group_id, "%Y%m%dT%H%M%S-%f").replace(tzinfo=UTC).timestamp()


def _writer() -> tuple[int, int | None, str | None]:
    try:
        start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError, IndexError):
        return os.getpid(), None, None
    return os.getpid(), start, boot
