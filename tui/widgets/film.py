"""The line of neighbours below the picture."""

from __future__ import annotations

from collections.abc import Sequence

from core.text import printable
from tui.collection import Row
from tui.theme import Cells


def film_cells(rows: Sequence[Row], index: int, width: int) -> Cells:
    """The neighbours of the image at `index` by what differs in their names; as many as fit."""
    longest = max((len(row.name.rpartition(".")[0]) for row in rows[max(0, index - 9) : index + 10]), default=0)
    reach = min(9, max(2, (width - 8) // (2 * (min(longest, 14) + 4))))
    near = rows[max(0, index - reach) : index + reach + 1]
    stems = [printable(row.name.rpartition(".")[0]) for row in near]
    shared = _shared(stems)
    cells: Cells = [(" ◂ " if index > reach else "   ", "muted")]
    for row, stem in zip(near, stems, strict=True):
        name = stem[shared:][-14:]
        role = "good" if row.reviewed else "caution" if row.is_untagged else "muted"
        mark = "✱" if row.marked else ""
        cells.append((f"[{mark}{name}]", "accent bold") if row == rows[index] else (f" {mark}{name} ", role))
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
