"""`reading` in a process of its own, which leaves the caller's interpreter to the keyboard: the pieces come by pipe."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn

from core.dataset import scan
from core.dataset.chunks import Chunk, Names, Words
from core.dataset.model import Subset, is_image_name
from core.dataset.nested import Met, meet
from core.dataset.reading import Listed, Noticed, Piece, read, read_packed
from core.files import is_folder
from core.problems import Problem, Severity
from core.workspace import Workspace

LARGE = 4000
"""Files from which on a process of its own reads them: it costs 60 ms to start."""
_FRAME = struct.Struct("<cI")


def is_large(folder: Path) -> bool:
    """Whether there are so many files that a process of its own should read them."""
    left = LARGE
    try:
        folders, met = [folder], Met()
        while folders and left > 0:
            with os.scandir(folders.pop()) as entries:
                for entry in islice(entries, left):
                    left -= 1
                    if not is_image_name(entry.name) and is_folder(entry) and meet(Path(entry.path), met):
                        folders.append(Path(entry.path))
    except OSError:
        return False
    return left <= 0


def following(workspace: Workspace, name: str, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[Piece]:
    """`read`, done by a process of its own when the dataset is large; ends it when the caller stops or asks no more.

    When that process ends before its time, a Problem says so and what came until then is all there is.
    """
    folder = scan.dataset_dir(workspace, name)
    return _following(workspace, name, is_wanted) if is_large(folder) else read(workspace, name)


def _following(workspace: Workspace, name: str, is_wanted: Callable[[], bool]) -> Iterator[Piece]:
    command = [sys.executable, "-P", "-m", "core.dataset.reading_process", str(workspace.root), name]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert child.stdout is not None
    try:
        while is_wanted():
            piece = _received(child.stdout)
            if piece is None:
                break
            yield piece
        else:
            return
        if code := child.wait():
            message = f"was not read to its end: the process that reads ended with status {code}"
            hint = "Open the dataset again; if it happens again, look for a full disk or too little memory."
            yield Noticed(
                (Problem(Severity.ERROR, "KT111", workspace.key_of(workspace.train_data / name), message, hint),)
            )
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


def _received(stream: IO[bytes]) -> Piece | None:
    head = stream.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    kind, length = _FRAME.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        return None
    match kind:
        case b"c":
            return Chunk.unpacked(data)
        case b"n":
            return Names.unpacked(data)
        case b"w":
            return Words.unpacked(data)
    value: list[Any] = json.loads(data)
    if kind == b"l":
        return Listed(tuple(Subset(Path(path), name, repeats, word) for path, name, repeats, word in value))
    return Noticed(tuple(Problem(Severity(severity), *rest) for severity, *rest in value))


def _send(stream: IO[bytes], piece: Piece | bytes) -> None:
    match piece:
        case bytes():
            kind, data = b"c", piece
        case Chunk():
            kind, data = b"c", piece.packed()
        case Names():
            kind, data = b"n", piece.packed()
        case Words():
            kind, data = b"w", piece.packed()
        case Listed():
            kind, value = b"l", [[str(each.path), each.name, each.repeats, each.class_name] for each in piece.subsets]
            data = json.dumps(value).encode()
        case Noticed():
            rows = [
                [each.severity.value, each.code, each.where, each.message, each.hint, each.fixable]
                for each in piece.problems
            ]
            kind, data = b"p", json.dumps(rows).encode()
    stream.write(_FRAME.pack(kind, len(data)) + data)
    stream.flush()


def main() -> NoReturn:
    """`python -P -m core.dataset.reading_process WORKSPACE DATASET`: the pieces, to stdout."""
    import gc

    gc.disable()  # there are no cycles, and millions of objects to look through
    root, name = sys.argv[1:]
    try:
        workspace = Workspace(Path(root))
        for piece in read_packed(workspace, scan.dataset_dir(workspace, name), True):
            _send(sys.stdout.buffer, piece)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)
    os._exit(0)  # to give back 100 MB of small objects one by one would take as long as 5,000 captions


if __name__ == "__main__":
    main()
