"""One operation on the captions of many images: what it would change, and then as one group of the journal.

A plan is made from the files as they are now; when one of them is another by the time of the writing, it is refused.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.captions import CaptionError, decode, first_line, read_bytes, tag_key
from core.dataset.changes import Edit
from core.dataset.operations import TEXTUAL, Facts, Operation, Replace, Sort, Strip, check, edited, is_prose, label_of
from core.problems import Problem, Severity, UserError
from core.text import count_of

if TYPE_CHECKING:
    from core.dataset.edits import Stepwise
    from core.dataset.groups import EditGroup
    from core.workspace import Workspace

STEP = 500
"""Captions between two values of `plan`."""
_BOM = b"\xef\xbb\xbf"
_PIECE = re.compile(r",\s*|\s+|[^\s,]+")
_COMPARED = 600
"""Pieces of two texts that are compared one by one; longer ones are cut to where they differ."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many captions were looked at, and how many of them would change."""

    done: int
    total: int
    changed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operation would do. `looked_at` counts caption files; those in `prose` it leaves alone for what they are,
    `missing` are images without a caption file, which get none.
    """

    operation: Operation
    edits: tuple[Edit, ...]
    looked_at: int
    prose: int
    missing: int
    problems: tuple[Problem, ...]

    def examples(self, count: int = 5) -> list[tuple[Path, str, str]]:
        """(file, old, new) of some, spread over the whole."""
        every = max(1, len(self.edits) // max(1, count))
        some = self.edits[::every][:count]
        return [(edit.path, _text(edit.before), _text(edit.after)) for edit in some]

    def summary(self) -> list[str]:
        """How many files, and what is left alone and why."""
        lines = [f"{count_of(len(self.edits), 'caption')} of {self.looked_at:,} would change"]
        if self.prose:
            lines.append(
                f"{count_of(self.prose, 'caption')} in prose left as {'it is' if self.prose == 1 else 'they are'}"
            )
        if self.missing:
            lines.append(f"{count_of(self.missing, 'image')} without a caption file")
        return lines


def plan(paths: Iterable[Path], operation: Operation, facts: Facts | None = None) -> Iterator[Progress | Plan]:
    """What `operation` would do to these caption files: a Progress now and then, the Plan at the end.

    Sorting by frequency counts the tags of these captions where `facts` has no counts. Raises UserError for a tag that
    no caption can hold, a pattern that cannot be read, or one that comes to no end (patterns.TooSlow).
    """
    check(operation)
    wanted = list(dict.fromkeys(paths))  # x.png and x.jpg share one caption
    known = facts or Facts()
    if isinstance(operation, Sort) and operation.by == "frequency" and not known.counts:
        known = Facts(_counted(wanted), known.categories)
    found = _Found()
    if isinstance(operation, Replace) and operation.regex:
        yield from _by_pattern(wanted, operation, found)
    else:
        for at, path in enumerate(wanted, 1):
            if (read := found.read(path)) is not None:
                data, text = read
                found.take(path, data, text, edited(text, operation, known), operation)
            if at % STEP == 0:
                yield Progress(at, len(wanted), len(found.edits))
    yield Plan(
        operation, tuple(found.edits), len(wanted) - found.missing, found.prose, found.missing, tuple(found.problems)
    )


def planned(paths: Iterable[Path], operation: Operation, facts: Facts | None = None) -> Plan:
    """The Plan without what comes before it."""
    *_, last = plan(paths, operation, facts)
    assert isinstance(last, Plan)
    return last


def apply(workspace: Workspace, made: Plan, where: str) -> EditGroup:
    """Do what was planned, as one group of the journal, all or nothing when the disk fills up; `where` ends its name.

    Files that are not as they were when the plan was made are refused, and listed in `conflicts`.
    """
    from core.dataset.edits import finished

    return finished(applying(workspace, made, where))


def applying(workspace: Workspace, made: Plan, where: str) -> Stepwise[EditGroup]:
    """`apply`, step by step: closed before its end, it leaves the captions as they were."""
    from core.dataset.edits import Journal

    return Journal(workspace).applying(f"{label_of(made.operation)} in {where}", made.edits)


def pieces(old: str, new: str) -> list[tuple[str, str]]:
    """`new` with what became of `old`: (kind, text), kind `same`, `gone` or `new`; line ends as `⏎`."""
    before, after = (_PIECE.findall(text.replace("\r\n", "⏎").replace("\n", "⏎")) for text in (old, new))
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    middle = (before[head : len(before) - tail], after[head : len(after) - tail])
    found = [("same", "".join(after[:head]))]
    if max(map(len, middle)) > _COMPARED:
        found += [("gone", "".join(middle[0])), ("new", "".join(middle[1]))]
    else:
        matcher = difflib.SequenceMatcher(None, *middle, autojunk=False)
        for _, a, b, c, d in matcher.get_opcodes():
            if middle[0][a:b] == middle[1][c:d]:
                found.append(("same", "".join(middle[0][a:b])))
            else:
                found += [("gone", "".join(middle[0][a:b])), ("new", "".join(middle[1][c:d]))]
    found.append(("same", "".join(after[len(after) - tail :])))
    return [(kind, text) for kind, text in found if text]


def shortened(marked: Sequence[tuple[str, str]], around: int = 24) -> list[tuple[str, str]]:
    """`pieces` with long stretches that stay cut to what is next to a change."""
    result = []
    for at, (kind, text) in enumerate(marked):
        if kind == "same":
            left = around if at else 0
            right = around if at < len(marked) - 1 else 0
            if len(text) > left + right + 3:
                text = text[:left] + "…" + (text[-right:] if right else "")
        result.append((kind, text))
    return result


class _Found:
    """What a plan has come to so far."""

    def __init__(self) -> None:
        self.edits: list[Edit] = []
        self.problems: list[Problem] = []
        self.prose = self.missing = 0

    def read(self, path: Path) -> tuple[bytes, str] | None:
        try:
            data = read_bytes(path)
            if data is None:
                self.missing += 1
                return None
            return data, decode(data, path)
        except CaptionError as error:
            self.problems.append(Problem(Severity.ERROR, "KT120", str(path), "is left as it is: no text", error.hint))
            return None

    def take(self, path: Path, data: bytes, old: str, new: str, operation: Operation) -> None:
        keeps_mark = data.startswith(_BOM) and not isinstance(operation, Strip)
        try:
            after = (_BOM if keeps_mark else b"") + new.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"The result is no text that a file can hold: {error.reason}", "Use other letters."
            ) from error
        if (new != old or isinstance(operation, Strip)) and after != data:
            self.edits.append(Edit(path, data, after))
        elif not isinstance(operation, TEXTUAL) and is_prose(old):
            self.prose += 1


def _by_pattern(paths: Sequence[Path], operation: Replace, found: _Found) -> Iterator[Progress]:
    from core.dataset.patterns import Substitution, TooSlow

    with Substitution(operation.old, operation.new, ignore_case=operation.ignore_case) as substitution:
        for start in range(0, len(paths), STEP):
            batch = [(path, *read) for path in paths[start : start + STEP] if (read := found.read(path)) is not None]
            try:
                results = substitution([text for _, _, text in batch])
            except TooSlow as error:
                raise UserError(f"{error.message}: {batch[error.at][0]}", error.hint) from error
            for (path, data, old), new in zip(batch, results, strict=True):
                found.take(path, data, old, new, operation)
            yield Progress(min(start + STEP, len(paths)), len(paths), len(found.edits))


def _counted(paths: Iterable[Path]) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            data = read_bytes(path)
            if data is not None:
                counts.update({tag_key(part) for part in first_line(decode(data, path)).split(",")})
        except CaptionError:
            continue
    return counts


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _text(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8-sig", "replace")
