"""The line of neighbours below the picture."""

from __future__ import annotations

from collections.abc import Sequence

from core.text import printable
from tui.collection import Row
from tui.theme import Cells

MOST = 9
"""Neighbours to each side."""


def film_cells(rows: Sequence[Row], index: int, width: int) -> Cells:
    """The neighbours of the image at `index` by what differs in their names; as many as fit."""
    start = max(0, index - MOST)
    around = rows[start : index + MOST + 1]
    stems = [printable(row.name.rpartition(".")[0]) for row in around]
    shared = _shared(stems)
    names = [stem[shared:][-14:] for stem in stems]
    reach = min(MOST, max(2, (width - 8) // (2 * (max(map(len, names), default=0) + 4))))
    cells: Cells = [(" ◂ " if index > reach else "   ", "muted")]
    for at, (row, name) in enumerate(zip(around, names, strict=True), start):
        if abs(at - index) > reach:
            continue
        role = "good" if row.reviewed else "caution" if row.is_untagged else "muted"
        mark = "✱" if row.marked else ""
        cells.append((f"[{mark}{name}]", "accent bold") if at == index else (f" {mark}{name} ", role))
        cells.append((" ", "text"))
    cells.append(("▸" if index + reach + 1 < len(rows) else "", "muted"))
    return cells


def _shared(stems: list[str]) -> int:
    """How many characters all names begin with, their numbers not counted."""
    if len(stems) < 2:
        return 0
    first, last = min(stems), max(stems)
    same = next((at for at, letter in enumerate(first) if last[at : at + 1] != letter), len(first))
    return len(first[:same].rstrip("0123456789"))
