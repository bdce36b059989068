"""The `[[datasets]]` and `[[datasets.subsets]]` of a dataset file as blocks of its text, to add, copy, move and remove.

A block takes its comments along; every other byte stays. Each change is read back: the values must be those that were
meant, else nothing is changed (UserError).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.prompts import lines_of
from core.config.reading import read_toml
from core.config.values import toml_item
from core.problems import UserError

_NAME = r"""["']?{}["']?"""
_HEADER = re.compile(r"\s*\[")
_DATASET = re.compile(rf"\s*\[\[\s*{_NAME.format('datasets')}\s*\]\]")
_SUBSET = re.compile(rf"\s*\[\[\s*{_NAME.format('datasets')}\s*\.\s*{_NAME.format('subsets')}\s*\]\]")
_INSIDE = re.compile(rf"\s*\[+\s*{_NAME.format('datasets')}\s*\.")
_LIST = re.compile(rf"\s*{_NAME.format('datasets')}\s*=")
_SUBSETS = re.compile(rf"\s*{_NAME.format('subsets')}\s*=")
_QUOTES = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#.*|[\[\]]')
_BY_HAND = (
    "Each wants a [[datasets]] or [[datasets.subsets]] above it: kohya-tui config folders NAME --blocks, or by hand."
)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines `first` to `end` (without it); `subsets` are the blocks inside a dataset's."""

    first: int
    end: int
    subsets: tuple[Block, ...] = ()


def add_dataset(text: str, values: Mapping[str, Any], at: int | None = None) -> str:
    """A new `[[datasets]]` before dataset `at`, or as the last one."""

    def change(lines: list[str], blocks: list[Block]) -> list[str]:
        where = len(blocks) if at is None else at
        return _put(lines, _place(lines, blocks, where, len(lines)), _made("[[datasets]]", values, "", lines))

    return _changed(text, change, lambda data: _rows(data).insert(_index(_rows(data), at), dict(values)))


def add_subset(text: str, dataset: int, values: Mapping[str, Any], at: int | None = None) -> str:
    """A new `[[datasets.subsets]]` in a dataset, before its subset `at`, or as its last one."""

    def change(lines: list[str], blocks: list[Block]) -> list[str]:
        block = blocks[dataset]
        where = len(block.subsets) if at is None else at
        indent = _indent(lines, block)
        made = _made("[[datasets.subsets]]", values, indent, lines)
        return _put(lines, _place(lines, block.subsets, where, block.end), made)

    def mean(data: dict[str, Any]) -> None:
        rows = _rows(data)[dataset].setdefault("subsets", [])
        rows.insert(_index(rows, at), dict(values))

    return _changed(text, change, mean)


def remove(text: str, dataset: int, subset: int | None = None) -> str:
    """Without a subset, or without a whole dataset."""

    def change(lines: list[str], blocks: list[Block]) -> list[str]:
        return _without(lines, _block(blocks, dataset, subset))[0]

    def mean(data: dict[str, Any]) -> None:
        rows = _rows(data) if subset is None else _rows(data)[dataset]["subsets"]
        del rows[dataset if subset is None else subset]
        if not rows:
            del (data if subset is None else _rows(data)[dataset])["datasets" if subset is None else "subsets"]

    return _changed(text, change, mean)


def duplicate(text: str, dataset: int, subset: int | None = None) -> str:
    """The same once more, behind it."""

    def change(lines: list[str], blocks: list[Block]) -> list[str]:
        block = _block(blocks, dataset, subset)
        return _put(lines, block.end, [*lines[block.first : block.end]])

    def mean(data: dict[str, Any]) -> None:
        rows = _rows(data) if subset is None else _rows(data)[dataset]["subsets"]
        at = dataset if subset is None else subset
        rows.insert(at + 1, copy.deepcopy(rows[at]))

    return _changed(text, change, mean)


def move(text: str, dataset: int, subset: int | None, to: tuple[int, int | None]) -> str:
    """A dataset to place `to[0]`, or a subset to dataset `to[0]`, place `to[1]`, counted without it."""

    def change(lines: list[str], blocks: list[Block]) -> list[str]:
        rest, cut = _without(lines, _block(blocks, dataset, subset))
        found = blocks_of(rest)
        if to[1] is None:
            return _put(rest, _place(rest, found, to[0], len(rest)), cut)
        return _put(rest, _place(rest, found[to[0]].subsets, to[1], found[to[0]].end), cut)

    def mean(data: dict[str, Any]) -> None:
        rows = _rows(data)
        if subset is None or to[1] is None:
            rows.insert(to[0], rows.pop(dataset))
            return
        row = rows[dataset]["subsets"].pop(subset)
        if not rows[dataset]["subsets"]:
            del rows[dataset]["subsets"]
        rows[to[0]].setdefault("subsets", []).insert(to[1], row)

    return _changed(text, change, mean)


def is_inline(text: str) -> bool:
    """Whether datasets or subsets are written as a list in the line of their key: `datasets = [{...}]`."""
    lines = lines_of(text)
    return any(True for _ in _lists(lines, blocks_of(lines)))


def as_blocks(text: str) -> str:
    """The same with a block for each dataset and subset that was written inline; comments inside stand above them.

    Raises UserError when the values would not be the same.
    """
    lines = lines_of(text)
    meant = read_toml(text, "dataset.toml")
    try:
        for first, end, dataset in reversed([*_lists(lines, blocks_of(lines))]):
            rest = lines[:first] + lines[end:]
            made = [f"{comment}{_line_end(lines)}" for comment in _comments(lines[first:end])]
            for row in meant["datasets"] if dataset is None else [meant["datasets"][dataset]]:
                made += _made("[[datasets]]", row, "", lines) if dataset is None else []
                for subset in row.get("subsets", ()):
                    made += [_line_end(lines), *_made("[[datasets.subsets]]", subset, "  ", lines)]
                made += [_line_end(lines)] if dataset is None else []
            at = _trim(rest, 0, len(rest)) if dataset is None else blocks_of(rest)[dataset].end
            lines = _put(rest, at, made[: _trim(made, 0, len(made))])
        text = "".join(lines)
        found = read_toml(text, "dataset.toml")
    except (IndexError, KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError("dataset.toml cannot be changed here", _BY_HAND) from error
    if _without_empty(found) != _without_empty(meant):
        raise UserError("dataset.toml cannot be changed here", _BY_HAND)
    return text


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    """An empty list says what none says, and has no block."""
    rows = [{key: value for key, value in row.items() if (key, value) != ("subsets", [])} for row in _rows(data)]
    return {**data, "datasets": rows}


def _lists(lines: Sequence[str], blocks: Sequence[Block]) -> Iterator[tuple[int, int, int | None]]:
    """(first line, end, dataset) of each such list; the dataset is None for the list of all of them."""
    bare = bare_lines(lines)
    ends = [number for number, _ in bare[1:]] + [len(lines)]
    table: str | None = None
    for (number, line), end in zip(bare, ends, strict=True):
        if _HEADER.match(line):
            table = line
        elif table is None and _LIST.match(line):
            yield number, end, None
        elif table is not None and _DATASET.match(table) and _SUBSETS.match(line):
            yield number, end, next(at for at, block in enumerate(blocks) if block.first <= number < block.end)


def _comments(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield from (found[0].rstrip() for found in _QUOTES.finditer(line) if found[0].startswith("#"))


def blocks_of(lines: Sequence[str]) -> list[Block]:
    """The datasets of a file, in order."""
    heads = [(number, line) for number, line in bare_lines(lines) if _HEADER.match(line)]
    starts = [_begin(lines, number) for number, _ in heads]
    ends = [*starts[1:], len(lines)]
    found: list[Block] = []
    for index, (_, line) in enumerate(heads):
        if _DATASET.match(line):
            found.append(Block(starts[index], _trim(lines, starts[index], ends[index])))
        elif found and _SUBSET.match(line):
            last = found[-1]
            inner = Block(starts[index], _trim(lines, starts[index], ends[index]))
            found[-1] = Block(last.first, inner.end, (*last.subsets, inner))
        elif found and _INSIDE.match(line):  # [datasets.subsets.custom_attributes] belongs to what is above it
            last, end = found[-1], _trim(lines, starts[index], ends[index])
            inside = last.subsets
            if inside and re.match(rf"\s*\[+\s*{_NAME.format('datasets')}\s*\.\s*{_NAME.format('subsets')}\s*\.", line):
                inside = (*inside[:-1], Block(inside[-1].first, end))
            found[-1] = Block(last.first, end, inside)
    return found


def _changed(
    text: str, change: Callable[[list[str], list[Block]], list[str]], mean: Callable[[dict[str, Any]], None]
) -> str:
    lines = lines_of(text)
    meant = read_toml(text, "dataset.toml")
    try:
        mean(meant)
        made = "".join(change(lines, blocks_of(lines)))
        found = read_toml(made, "dataset.toml")
    except (IndexError, KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError("dataset.toml cannot be changed here", _BY_HAND) from error
    if found != meant:
        raise UserError("dataset.toml cannot be changed here", _BY_HAND)
    return made


def _rows(data: dict[str, Any]) -> list[Any]:
    rows: list[Any] = data.setdefault("datasets", [])
    return rows


def _index(rows: list[Any], at: int | None) -> int:
    return len(rows) if at is None else at


def _block(blocks: list[Block], dataset: int, subset: int | None) -> Block:
    return blocks[dataset] if subset is None else blocks[dataset].subsets[subset]


def bare_lines(lines: Sequence[str]) -> list[tuple[int, str]]:
    """The lines that begin outside of a text and of a list."""
    found: list[tuple[int, str]] = []
    quote, depth = "", 0
    for number, line in enumerate(lines):
        if not quote and depth <= 0:
            found.append((number, line))
            if _HEADER.match(line):
                continue
        at = 0
        while at < len(line):
            if quote:
                end = line.find(quote, at)
                while end > 0 and quote == '"""' and _escaped(line, end):
                    end = line.find(quote, end + 1)
                if end < 0:
                    break
                at, quote = end + 3, ""
                while at < len(line) and line[at] == line[end]:  # a text may end in one or two more quotes
                    at += 1
                continue
            match = _QUOTES.search(line, at)
            if match is None:
                break
            at = match.end()
            if match[0] in {'"""', "'''"}:
                quote = match[0]
            elif match[0] in "[]":
                depth += 1 if match[0] == "[" else -1
    return found


def _escaped(line: str, at: int) -> bool:
    head = line[:at]
    return (len(head) - len(head.rstrip("\\"))) % 2 == 1


def _begin(lines: Sequence[str], number: int) -> int:
    """The first of the comments that stand directly above a header."""
    while number and lines[number - 1].lstrip().startswith("#") and _is_attached(lines, number - 1):
        number -= 1
    return number


def _is_attached(lines: Sequence[str], number: int) -> bool:
    """Whether a comment belongs to what is below it: a blank line or another comment stands above it."""
    while number and lines[number - 1].lstrip().startswith("#"):
        number -= 1
    return number > 0 and not lines[number - 1].strip()


def _trim(lines: Sequence[str], first: int, end: int) -> int:
    while end > first and not lines[end - 1].strip():
        end -= 1
    return end


def _without(lines: list[str], block: Block) -> tuple[list[str], list[str]]:
    """(the rest, the block): the blank lines above it go, too."""
    first = block.first
    while first and not lines[first - 1].strip():
        first -= 1
    rest = lines[:first] + lines[block.end :]
    while not first and rest and not rest[0].strip():
        rest = rest[1:]
    return rest, lines[block.first : block.end]


def _place(lines: Sequence[str], blocks: Sequence[Block], at: int, end: int) -> int:
    """The line before which a block goes that becomes number `at` of `blocks`."""
    if at < len(blocks):
        return blocks[at].first
    return blocks[-1].end if blocks else _trim(lines, 0, end)


def _put(lines: list[str], at: int, block: list[str]) -> list[str]:
    """The lines with a block in them, one blank line before and behind it."""
    end = _line_end(lines)
    block = [line if line.endswith(("\n", "\r")) else line + end for line in block]
    before, after = list(lines[:at]), list(lines[at:])
    if before and not before[-1].endswith(("\n", "\r")):
        before[-1] += end
    if before and before[-1].strip():
        block = [end, *block]
    if after and after[0].strip():
        block = [*block, end]
    return [*before, *block, *after]


def _line_end(lines: Sequence[str]) -> str:
    return "\r\n" if sum(line.endswith("\r\n") for line in lines) * 2 > len(lines) else "\n"


def _indent(lines: Sequence[str], dataset: Block) -> str:
    if not dataset.subsets:
        return "  "
    inside = dataset.subsets[-1]
    head = next(line for line in lines[inside.first : inside.end] if _SUBSET.match(line))
    return head[: len(head) - len(head.lstrip())]


def _made(head: str, values: Mapping[str, Any], indent: str, lines: Sequence[str]) -> list[str]:
    end = _line_end(lines)
    rows = [f"{indent}{key} = {toml_item(value).as_string()}" for key, value in values.items() if key != "subsets"]
    return [f"{indent}{head}{end}", *(row + end for row in rows)]
