"""Reading everything that a dataset's files say, as one stream of pieces: names first, then captions and sizes.

It runs where it is asked to; `reading_process` runs it in a process of its own. What was read is kept (`index_cache`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.dataset import nested, scan
from core.dataset.chunks import AT_ONCE, Chunk, Names, Words
from core.dataset.index_cache import Cache, cache_file
from core.dataset.model import CAPTION_EXTENSION, TRAINED, Subset
from core.dataset.reader import Listing, Reader, opened
from core.files import is_folder
from core.problems import Problem
from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Listed:
    """The subsets in order; comes first, and is what `Names.subset` counts in."""

    subsets: tuple[Subset, ...]


@dataclass(frozen=True, slots=True)
class Noticed:
    """What is wrong with folders and names."""

    problems: tuple[Problem, ...]


Piece = Listed | Noticed | Names | Words | Chunk


def read(workspace: Workspace, name: str, *, cached: bool = True) -> Iterator[Piece]:
    """All of a dataset, in this process. Raises UserError at once when there is no such dataset."""
    folder = scan.dataset_dir(workspace, name)
    return (
        Chunk.unpacked(piece) if isinstance(piece, bytes) else piece for piece in read_packed(workspace, folder, cached)
    )


def read_packed(workspace: Workspace, folder: Path, cached: bool) -> Iterator[Piece | bytes]:
    """Chunks that are known come as the bytes in which they are kept."""
    found, problems = _listings(folder)
    subsets, listings = tuple(subset for subset, _ in found), [listing for _, listing in found]
    yield Listed(subsets)
    if problems:
        yield Noticed(tuple(problems))
    for number, listing in enumerate(listings):
        for start in range(0, len(listing.images), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            yield Names(number, tuple(listing.images[some]), bytes(map(bool, listing.captions[some])))
        if listing.problems:
            yield Noticed(tuple(listing.problems))
    cache = Cache(cache_file(workspace, folder) if cached else Path("/nonexistent/index"))
    reader = Reader(cache)
    sent = 0
    try:
        for number, (subset, listing) in enumerate(zip(subsets, listings, strict=True)):
            with opened(subset.path) as place:
                for chunk in reader.chunks(number, subset, place, listing):
                    if len(reader.words) > sent:
                        yield Words(tuple(reader.words[sent:]))
                        sent = len(reader.words)
                    yield chunk
            if found_here := scan.listing_problems(subset, listing.others, listing.images, listing.all_captions):
                yield Noticed(tuple(found_here))
        if cached:
            cache.save(sum(len(listing.images) for listing in listings), reader.words)
    finally:
        cache.close()


def _listings(folder: Path) -> tuple[list[tuple[Subset, Listing]], list[Problem]]:
    """The subsets as `scan.subsets` has them, but each folder is read once only."""
    top, problems, met = scan.top_folders(folder)
    found: list[tuple[Subset, Listing]] = []

    def gather(subset: Subset, is_one: bool, is_inside: bool) -> None:
        listing = _listed(subset)
        if is_one or (is_inside and listing.images):
            found.append((subset, listing))
            if is_inside:
                problems.append(nested.told(subset))
        if subset.path == folder:
            return
        names = [name for name, entry in listing.others.items() if is_folder(entry)]
        below, more = nested.below(subset, names, met)
        problems.extend(more)
        for each in below:
            gather(each, False, True)

    for subset, is_one in top:
        gather(subset, is_one, False)
    return found, problems


def _listed(subset: Subset) -> Listing:
    names: list[str] = []
    captions: set[str] = set()
    others: dict[str, os.DirEntry[str]] = {}
    problems: list[Problem] = []
    try:
        with os.scandir(subset.path) as entries:
            for entry in entries:
                name = entry.name
                extension = name[name.rfind(".") :]
                if extension == CAPTION_EXTENSION:
                    captions.add(name)
                elif extension not in TRAINED or name[0] == ".":
                    others[name] = entry
                elif entry.is_file() or _is_file(entry, subset, problems):
                    names.append(name)
    except OSError as error:
        problems.append(scan.unreadable(subset.path, error))
    images = scan.in_order(names)
    theirs = [name[: name.rindex(".")] + CAPTION_EXTENSION for name in images]
    return Listing(images, [name if name in captions else "" for name in theirs], captions, others, problems)


def _is_file(entry: os.DirEntry[str], subset: Subset, noticed: list[Problem]) -> bool:
    """False for a folder or a pipe that is named like an image, and for a link that leads nowhere, which is told."""
    try:
        entry.stat()
    except OSError as error:
        noticed.append(scan.unreadable(subset.path / entry.name, error))
    return False
