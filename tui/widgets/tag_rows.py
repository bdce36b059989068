"""Tags of a dataset as rows of a list: with their counts, or judged beside a trigger word."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from core.dataset.captions import tag_key
from core.text import count_of, printable
from tui.theme import CATEGORIES, Cells, fit
from tui.widgets.tag_editor import bar

if TYPE_CHECKING:
    from core.dataset.tag_table import TagRow
    from core.dataset.traits import Trait, TraitReport

ROLES = {"absorb": "bad", "consider": "caution", "keep": "muted", "kept": "good"}
BANDS = ((0.85, "in 85 % and more: it is learned with"), (0.60, "in 60 % and more"), (0.35, "in 35 % and more"))


def percent(share: float) -> str:
    """Four cells or less, and none that is there is nothing."""
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.1f} %"


def letter_of(category: str | None) -> tuple[str, str]:
    """The letter and the colour of a category."""
    letter, role = CATEGORIES.get(category or "", (" ", "text"))
    return f" {letter} ", role


class TagListRows:
    """`rows` in the order in which they are shown; those whose key is in `marked` carry the mark."""

    def __init__(self, rows: Sequence[TagRow] = (), marked: Collection[str] = ()) -> None:
        self.rows, self.marked = rows, marked

    def __len__(self) -> int:
        return len(self.rows)

    def cells(self, index: int, width: int) -> Cells:
        row = self.rows[index]
        mark = ("✱ ", "accent") if tag_key(row.tag) in self.marked else ("  ", "text")
        meter = 16 if width >= 72 else 8 if width >= 52 else 0
        room = max(8, width - 2 - 3 - 8 - 7 - (meter + 2 if meter else 1))
        letter, role = letter_of(row.category)
        cells: Cells = [mark, (fit(printable(row.tag), room), "text"), (letter, role), (f"{row.count:>8,}", "text")]
        cells.append((f"{percent(row.share):>7}", "muted"))
        if meter:
            cells.append((f"  {bar(row.share, meter)}", role if letter.strip() else "second"))
        return cells


class TraitRows:
    """The traits of a report below a line for each band of shares."""

    def __init__(self, report: TraitReport | None = None, marked: Collection[str] = ()) -> None:
        self.marked = marked
        self.trigger = ", ".join(report.trigger) if report is not None else ""
        self.entries: list[Trait | str] = []
        traits = list(report.traits) if report is not None else []
        above = 2.0
        for least, text in BANDS:
            inside = [trait for trait in traits if least <= trait.share < above]
            above = least
            if inside:
                self.entries += [f"{text} {self.trigger}" if least == BANDS[0][0] else text, *inside]

    def __len__(self) -> int:
        return len(self.entries)

    def trait_at(self, row: int) -> Trait | None:
        """The trait in a row; None for the line of a band."""
        entry = self.entries[row] if 0 <= row < len(self.entries) else None
        return None if isinstance(entry, str) else entry

    def cells(self, index: int, width: int) -> Cells:
        trait = self.entries[index]
        if isinstance(trait, str):
            return [("── ", "rule"), (printable(trait), "muted"), (" " + "─" * width, "rule")]
        mark = ("✱ ", "accent") if tag_key(trait.tag) in self.marked else ("  ", "text")
        word = "kept" if trait.is_kept else trait.suggestion
        meter = 16 if width >= 72 else 8 if width >= 58 else 0
        room = max(8, width - 2 - 10 - 3 - 8 - 7 - (meter + 2 if meter else 1))
        letter, role = letter_of(trait.category)
        cells: Cells = [mark, (f"{word:<10}", ROLES[word]), (fit(printable(trait.tag), room), "text"), (letter, role)]
        cells += [(f"{trait.count:>8,}", "text"), (f"{percent(trait.share):>7}", "muted")]
        if meter:
            cells.append((f"  {bar(trait.share, meter)}", ROLES[word]))
        return cells


def verdict(report: TraitReport | None) -> list[Cells]:
    """What is to be decided before a training, in three lines at most."""
    if report is None:
        return [[(" Which tag is the trigger word? ", "text"), ("E names it", "accent")]]
    word, total = printable(", ".join(report.trigger)), report.images + report.missing
    lines: list[Cells] = [
        [(f" {word}", "second bold"), (f" is in {report.images:,} of {count_of(total, 'caption')}", "text")]
    ]
    if report.missing:
        lines[0].append((f" · {report.missing:,} without it", "caution"))
    if report.near_misses:
        names = ", ".join(f"{printable(row.tag)} ({row.count:,})" for row in report.near_misses[:4])
        lines.append([(" ! ", "caution"), (f"misspelled? {names}", "text")])
    if report.images < 5:
        lines.append([(" Too few captions have it to judge by: at least 5 should.", "muted")])
    elif report.open:
        names = ", ".join(printable(trait.tag) for trait in report.open)
        lines.append([(" to decide: ", "caution"), (names, "text")])
    else:
        lines.append([(" ✓ ", "good"), ("no trait is left to decide", "text")])
    return lines
