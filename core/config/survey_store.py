"""What was read of a large folder's files, kept in the user's cache: deletable, and read again where files changed."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError

if TYPE_CHECKING:
    from core.config.survey import FolderFacts

FORMAT = 1
LEAST = 1000
"""Images from which on it is worth it."""
_BROKEN = (OSError, ValueError, KeyError, TypeError, IndexError, zlib.error)


def read(path: Path) -> FolderFacts:
    """What is kept of a folder; nothing when it is not there, damaged, or of another version."""
    from core.config.survey import FolderFacts

    facts = FolderFacts(path)
    with contextlib.suppress(*_BROKEN):
        data = _file(path).read_bytes()
        _take(facts, data)
        return facts
    return FolderFacts(path)


def write(facts: FolderFacts) -> None:
    """Keep what is known of a large folder. A full or read-only disk is no matter."""
    from core.files import write_atomic

    if len(facts.images) < LEAST:
        return
    known = [each for each in facts.known.values() if each.extension == ".txt"][:1]
    parts = [
        _texts(facts.listing),
        _texts(facts.images),
        facts.times.tobytes(),
        facts.bytes.tobytes(),
        facts.widths.tobytes(),
        facts.heights.tobytes(),
        bytes(facts.flags),
    ]
    for each in known:
        parts += [_texts(each.lines), bytes(each.faults), each.times.tobytes(), each.sizes.tobytes()]
    head = {"v": FORMAT, "folder": str(facts.path), "parts": [len(part) for part in parts]}
    head["extensions"] = [each.extension for each in known]
    body = b"".join(parts)
    head["sum"] = zlib.crc32(body)
    with contextlib.suppress(OSError, ValueError, UserError):
        path = _file(facts.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(head).encode() + b"\n" + body, fsync=False)
        facts.is_stored = True


def _take(facts: FolderFacts, data: bytes) -> None:
    from core.config.survey import Captions

    line, _, body = data.partition(b"\n")
    head = json.loads(line)
    if head["v"] != FORMAT or head["folder"] != str(facts.path) or head["sum"] != zlib.crc32(body):
        raise ValueError
    parts, at = [], 0
    for size in head["parts"]:
        parts.append(body[at : at + size])
        at += size
    facts.listing, facts.images = _split(parts[0]), _split(parts[1])
    facts.names = frozenset(facts.listing)
    facts.times, facts.bytes = array("q", parts[2]), array("q", parts[3])
    facts.widths, facts.heights = array("i", parts[4]), array("i", parts[5])
    facts.flags = bytearray(parts[6])
    columns = [facts.times, facts.bytes, facts.widths, facts.heights, facts.flags]
    for number, extension in enumerate(head["extensions"]):
        lines, faults, times, sizes = parts[7 + 4 * number : 11 + 4 * number]
        known = Captions(extension, _split(lines), bytearray(faults), array("q", times), array("q", sizes))
        facts.known[extension] = known
        columns += [known.faults, known.times, known.sizes]
        if len(known.lines) != len(facts.images):
            raise ValueError
    if any(len(column) != len(facts.images) for column in columns):
        raise ValueError


def _texts(texts: list[str]) -> bytes:
    return "\0".join(texts).encode("utf-8", "surrogateescape")


def _split(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").split("\0")


def _file(path: Path) -> Path:
    from core.files import content_hash
    from core.settings import cache_dir

    return cache_dir() / "checks" / f"{content_hash(os.fsencode(path))}.bin"
