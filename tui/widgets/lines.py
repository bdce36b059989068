"""Lines that repaint only the cells that changed.

Textual sends every cell of a dirty region again; over SSH those bytes are what a user waits for. What ticks (gauges,
chart, run line, log) compares the new cells with the old ones and marks only the differing stretches dirty: nothing
changed means no byte sent.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rich.cells import cell_len
from textual.geometry import Region

from tui.theme import Cells
from tui.widgets.line import Lines, cut
from tui.widgets.line import width_of as width_of

MOVE_BYTES = 6
COLOUR_BYTES = 19
"""A stretch of its own costs a cursor move and the colours; going on through unchanged cells costs these and each
change of colour among them. The cheaper way is taken."""
_NARROW = re.compile("[ -~\u2500-\u259f\u2800-\u28ff]*").fullmatch
"""Letters, rules, bars and braille: one cell each, known without a look at each character."""
SOON = 0.3
"""What may be drawn in so many seconds is drawn now, in the frame of what is drawn anyway."""


def cells_of(line: Cells) -> Cells:
    """One entry for each terminal cell; the second half of a wide character is empty."""
    cells: Cells = []
    for text, role in line:
        if _NARROW(text):
            cells.extend((character, role) for character in text)
            continue
        for character in text:
            size = cell_len(character)
            if size == 0 and cells:
                cells[-1] = (cells[-1][0] + character, cells[-1][1])
                continue
            cells.append((character, role))
            cells.extend(("", role) for _ in range(size - 1))
    return cells


def changed_stretches(old: Cells, new: Cells, width: int) -> list[tuple[int, int]]:
    """(start, length) of the cells in which two lines differ, near ones merged."""
    if old == new:
        return []
    before, after = cells_of(old)[:width], cells_of(new)[:width]
    blank = (" ", "text")
    before += [blank] * (width - len(before))
    after += [blank] * (width - len(after))
    found: list[tuple[int, int]] = []
    for x, (one, two) in enumerate(zip(before, after, strict=True)):
        if one == two or one[0] == two[0] == " ":  # a blank has no colour of its own
            continue
        if found and _bridge(after, sum(found[-1]), x) < MOVE_BYTES:
            found[-1] = (found[-1][0], x + 1 - found[-1][0])
        else:
            found.append((x, 1))
    # A wide character is repainted whole: start before it when its second half is where the stretch begins.
    return [(x - 1, size + 1) if x and "" in (after[x][0], before[x][0]) else (x, size) for x, size in found]


def _bridge(cells: Cells, start: int, end: int) -> int:
    """Bytes of the cells between two stretches."""
    if end - start >= MOVE_BYTES:
        return MOVE_BYTES
    roles = [role for character, role in cells[start - 1 : end + 1] if character != " "]
    return end - start + COLOUR_BYTES * sum(one != two for one, two in pairwise(roles))


class LiveLines(Lines):
    """Lines for what ticks: `show` sends only the cells that differ from the last time."""

    def show(self, lines: list[Cells]) -> None:
        old, self._lines = self._lines, lines
        width, height = self.size
        if not self.is_mounted or not width:
            if old != lines:
                self.refresh()  # hidden, it has no size: what was drawn before would be taken from Textual's cache
            return
        for y in range(min(max(len(old), len(lines)), height)):
            before = cut(old[y], width) if y < len(old) else []
            after = cut(lines[y], width) if y < len(lines) else []
            regions = [Region(x, y, size, 1) for x, size in changed_stretches(before, after, width)]
            if regions:
                self.refresh(*regions)
