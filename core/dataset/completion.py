"""Tags while typing: prefix first, then inside a tag, then aliases; from the dataset, the taggers and a list of one's
own.

A source is one string of all its tags in lower case, the most frequent first, so that the first hits of a search are
the best and it may stop there. 145,000 tags take about 6 MiB and 1 ms.
"""

from __future__ import annotations

import bisect
import csv
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.dataset.captions import tag_key
from core.problems import UserError

_SEPARATOR = "\n"
_LETTERS = re.compile(r"[^\W\d_]{2}")
_LARGEST = 64 << 20
"""Bytes; danbooru.csv has 6 MB."""
CATEGORIES: Mapping[str, str] = {
    "0": "general",
    "1": "artist",
    "3": "copyright",
    "4": "character",
    "5": "meta",
    "9": "rating",
}
"""Danbooru's numbers, as `selected_tags.csv` and `danbooru.csv` write them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag of a source as it shall be written, with how often it is used there."""

    tag: str
    count: int = 0
    category: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `source` is the number of its source; `alias` is what was found when the tag itself does not match."""

    tag: str
    count: int
    category: str | None
    source: int
    alias: str | None = None


class Source:
    """The tags of one origin, ready to be searched. Entries of the same tag are one, the first of them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ranked = sorted(entries, key=lambda entry: -entry.count)
        self._counts = array("q")
        words: dict[str | None, int] = {}
        kinds = array("H")
        keys: list[str] = []
        tags: list[str] = []
        alias_keys: list[str] = []
        owners = array("I")
        seen: set[str] = set()
        for entry in ranked:
            key = tag_key(entry.tag)
            if not key or key in seen:
                continue
            seen.add(key)
            at = len(keys)
            keys.append(key)
            tags.append(entry.tag)
            self._counts.append(entry.count)
            kinds.append(words.setdefault(entry.category, len(words)))
            for alias in entry.aliases:
                if (alias_key := tag_key(alias)) and alias_key != key:
                    alias_keys.append(alias_key)
                    owners.append(at)
        self._kinds, self._words = kinds, tuple(words)
        self._text, self._starts = _joined(keys)
        self._aliases, self._alias_starts = _joined(alias_keys)
        self._owners = owners
        # A tag that is spelled like its key takes no memory of its own; the others do.
        self._spelled = {at: tag for at, (tag, key) in enumerate(zip(tags, keys, strict=True)) if tag != key}

    def __len__(self) -> int:
        return len(self._counts)

    def completion(self, at: int, source: int, alias: int | None = None) -> Completion:
        """The answer for the tag with this number (and the alias by which it was found)."""
        key = self.key(at)
        found = None if alias is None else _part(self._aliases, self._alias_starts, alias)
        return Completion(self._spelled.get(at, key), self._counts[at], self._words[self._kinds[at]], source, found)

    def starting(self, query: str) -> Iterator[int]:
        """Tags that begin with `query` (a tag key: `long_h` finds `long hair`), the most frequent first."""
        yield from _hits(self._text, self._starts, _SEPARATOR + query)

    def inside(self, query: str) -> Iterator[int]:
        """Tags that have `query` anywhere but at their beginning."""
        for at in _hits(self._text, self._starts, query):
            if not self._text.startswith(query, self._starts[at]):
                yield at

    def aliased(self, query: str) -> Iterator[tuple[int, int]]:
        """(tag, alias): first those with an alias that begins with `query`, then those that have it inside."""
        for alias in _hits(self._aliases, self._alias_starts, _SEPARATOR + query):
            yield self._owners[alias], alias
        for alias in _hits(self._aliases, self._alias_starts, query):
            yield self._owners[alias], alias

    def named(self, query: str) -> Iterator[tuple[int, int]]:
        """(tag, alias) with exactly this alias."""
        for alias in _hits(self._aliases, self._alias_starts, f"{_SEPARATOR}{query}{_SEPARATOR}"):
            yield self._owners[alias], alias

    def categories(self, keys: Collection[str]) -> dict[str, str]:
        """The category of those of `keys` (tag keys) that it knows; all of its tags are looked through."""
        own = self._text[len(_SEPARATOR) : -len(_SEPARATOR)].split(_SEPARATOR) if len(self) else []
        words = ((key, self._words[self._kinds[at]]) for at, key in enumerate(own) if key in keys)
        return {key: word for key, word in words if word is not None}

    def key(self, at: int) -> str:
        """The key (captions.tag_key) of the tag with this number."""
        return _part(self._text, self._starts, at)


class Completer:
    """Answers from several sources; those of an earlier one come first within a kind of match."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)

    def replace(self, number: int, source: Source) -> None:
        """Put another source in the place of one: the dataset's own after its captions changed."""
        self._sources[number] = source

    def complete(self, text: str, limit: int = 20, without: Iterable[str] = ()) -> list[Completion]:
        """Up to `limit` answers for what was typed; `without` names tags that stand in the caption already.

        Tags that begin so (or whose alias is exactly that), then tags that have it inside, then aliases; each from one
        source after the other, the most used first. Nothing for an empty text.
        """
        query = tag_key(text)
        if not query:
            return []
        found: list[Completion] = []
        seen = {tag_key(tag) for tag in without}

        def take(source: Source, number: int, at: int, alias: int | None = None) -> bool:
            if (key := source.key(at)) not in seen:
                seen.add(key)
                found.append(source.completion(at, number, alias))
            return len(found) >= limit

        numbered = list(enumerate(self._sources))
        for number, source in numbered:
            if any(take(source, number, at) for at in source.starting(query)):
                return found
        for number, source in numbered:
            if any(take(source, number, at, alias) for at, alias in source.named(query)):
                return found
        for number, source in numbered:
            if any(take(source, number, at) for at in source.inside(query)):
                return found
        for number, source in numbered:
            if any(take(source, number, at, alias) for at, alias in source.aliased(query)):
                return found
        return found


def of_counts(counts: Mapping[str, int], categories: Mapping[str, str] | None = None) -> Source:
    """The source of a dataset: its tags as they are spelled there (core.dataset.stats, `tag_counts`)."""
    known = categories or {}
    return Source(Entry(tag, count, known.get(tag)) for tag, count in counts.items())


def read_tags(path: Path, *, underscores: bool = False) -> Source:
    """The source in a CSV file: `selected_tags.csv` of a tagger, or `danbooru.csv` (name, category, count, aliases).

    A head line names the columns; without one they are those of `danbooru.csv`. Tags are written with blanks unless
    `underscores`; emoticons keep theirs. Raises UserError when the file cannot be read as such a list.
    """
    return Source(read_entries(path, underscores=underscores))


def spaced(tag: str) -> str:
    """A tag of Danbooru as captions have it: blanks for underscores, but for emoticons (`^_^`, `o_o`)."""
    return tag.replace("_", " ") if len(tag) > 3 and _LETTERS.search(tag) else tag


def read_entries(path: Path, *, underscores: bool = False) -> list[Entry]:
    """The tags in such a file as they stand there (see `read_tags`)."""
    return list(_entries(path, underscores))


def _entries(path: Path, underscores: bool) -> Iterator[Entry]:
    hint = 'It should have lines such as 1girl,0,6008644,"1girls,sole_female"'
    try:
        if not path.is_file():
            raise UserError(f"There is no file {path}", "Check `tag_csv` in the settings.")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} is larger than {_LARGEST >> 20} MiB: that is no list of tags", hint)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns: dict[str, int] | None = None
            for row in csv.reader(stream):
                if columns is None:
                    columns = _columns(row)
                    if columns is not _USUAL:
                        continue
                if row and (entry := _entry(row, columns, underscores)) is not None:
                    yield entry
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read the list of tags {path}: {error}", hint) from error


_USUAL = {"name": 0, "category": 1, "count": 2, "aliases": 3}


def _columns(row: Sequence[str]) -> dict[str, int]:
    names = {word.strip().lower(): at for at, word in enumerate(row)}
    for other, usual in (("tag", "name"), ("alias", "aliases"), ("post_count", "count"), ("type", "category")):
        if other in names:
            names.setdefault(usual, names[other])
    return names if "name" in names else _USUAL


def _entry(row: Sequence[str], columns: Mapping[str, int], underscores: bool) -> Entry | None:
    def cell(name: str) -> str:
        at = columns.get(name, len(row))
        return row[at].strip() if at < len(row) else ""

    name = cell("name")
    if not name or not name.isprintable() or "," in name:
        return None  # a tag with a comma in it would become two in a caption
    count, category = cell("count"), cell("category")
    aliases = tuple(part for part in cell("aliases").split(",") if part.isprintable())
    tag = name if underscores else spaced(name)
    number = int(count) if count.isascii() and count.isdecimal() and len(count) < 16 else 0
    return Entry(tag, number, CATEGORIES.get(category, category.lower() or None), aliases)


def _joined(keys: Sequence[str]) -> tuple[str, array[int]]:
    """All keys between separators, and where each begins."""
    starts = array("I")
    at = len(_SEPARATOR)
    for key in keys:
        starts.append(at)
        at += len(key) + len(_SEPARATOR)
    return f"{_SEPARATOR}{_SEPARATOR.join(keys)}{_SEPARATOR}", starts


def _part(text: str, starts: array[int], at: int) -> str:
    end = starts[at + 1] if at + 1 < len(starts) else len(text)
    return text[starts[at] : end - len(_SEPARATOR)]


def _hits(text: str, starts: array[int], needle: str) -> Iterator[int]:
    """The numbers of the parts in which `needle` is found, each once, in order."""
    at = text.find(needle)
    while at >= 0:
        # a needle that begins with the separator belongs to the part behind it
        number = bisect.bisect_right(starts, at + (needle[0] == _SEPARATOR)) - 1
        yield number
        if number + 1 >= len(starts):
            return
        at = text.find(needle, starts[number + 1] - len(_SEPARATOR))
