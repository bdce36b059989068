"""The tags of one image as a list: number, tag, category letter, confidence; the keep_tokens bar; a last row to add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.dataset.captions import tag_key
from core.dataset.tokens import CHUNK, LARGEST
from core.text import printable
from tui.caption_limits import Limits
from tui.theme import CATEGORIES, Cells, fit
from tui.widgets.item_list import ItemList


def bar(share: float, width: int) -> str:
    """`share` (0..1) as a thin bar, exact to half a cell: blocks in every line would outshine the picture."""
    full, half = divmod(round(max(0.0, min(1.0, share)) * width * 2), 2)
    return "━" * full + "╸" * half


class TagRows:
    """Rows of a TagEditor: the tags, with a bar where keep_tokens ends and where the tokens do."""

    def __init__(self) -> None:
        self.tags: tuple[str, ...] = ()
        self.trigger: frozenset[str] = frozenset()
        self.categories: Mapping[str, str] = {}
        self.scores: Mapping[str, float] = {}
        """By tag_key."""
        self.keep_tokens: int | None = None
        self.ends: Sequence[int] = ()
        """Tokens up to the end of each tag (`tokens.tag_ends`)."""
        self.limits = Limits()
        self.quick: Sequence[str] = ()

    @property
    def bars(self) -> list[tuple[int, str, str]]:
        """(place of the tag below it, what it says, role) in order."""
        found = []
        if self.keep_tokens and self.keep_tokens < len(self.tags):
            found.append((self.keep_tokens, "keep_tokens", "muted"))
        limit = self.limits.tokens
        if limit is None:  # no config says: where the trainer begins another chunk, and where it ends for sure
            borders = [(CHUNK, f"{CHUNK} tokens", "muted"), (2 * CHUNK, f"{2 * CHUNK} tokens", "muted")]
            borders.append((LARGEST, f"{LARGEST} tokens: the rest is cut", "bad"))
        elif limit:
            rest = "shuffled: others are cut each time" if self.limits.is_shuffled else "the rest is cut"
            borders = [(limit, f"{limit} tokens: {rest}", "bad")]
        else:
            borders = []
        for tokens, text, role in borders:
            place = next((place for place, end in enumerate(self.ends) if end > tokens), None)
            if place is not None and place < len(self.tags):
                found.append((place, text, role))
        return sorted(found, key=lambda bar: bar[0])

    @property
    def bar_at(self) -> int:
        """The row of the keep_tokens bar, -1 when there is none."""
        return next((at + bar[0] for at, bar in enumerate(self.bars) if bar[1] == "keep_tokens"), -1)

    def __len__(self) -> int:
        return len(self.tags) + 1 + len(self.bars)

    def bar_in(self, row: int) -> tuple[int, str, str] | None:
        """The bar in a row, None when there is none."""
        return next((bar for at, bar in enumerate(self.bars) if at + bar[0] == row), None)

    def tag_at(self, row: int) -> int | None:
        """The place of the tag in a row; None for a bar and for the last row."""
        bars = self.bars
        if any(at + bar[0] == row for at, bar in enumerate(bars)):
            return None
        place = row - sum(at + bar[0] < row for at, bar in enumerate(bars))
        return place if 0 <= place < len(self.tags) else None

    def row_of(self, place: int) -> int:
        """The row of the tag at a place."""
        return place + sum(bar[0] <= place for bar in self.bars)

    def cells(self, index: int, width: int) -> Cells:
        if (found := self.bar_in(index)) is not None:
            _, text, role = found
            return [("    ── ", "rule"), (text, role), (" " + "─" * max(0, width - 10 - len(text)), "rule")]
        place = self.tag_at(index)
        if place is None:
            return [("    + add…", "accent")]
        tag = self.tags[place]
        key = tag_key(tag)
        score = self.scores.get(key)
        meter = 10 if width >= 50 else 6 if width >= 40 else 0
        right = 5 + (meter + 1 if meter else 0) if score is not None or self.scores else 0
        room = max(8, width - 4 - 3 - right - 1)
        letter, role = CATEGORIES.get(self.categories.get(tag.replace("_", " ").lower(), ""), (" ", "text"))
        number = (f"{place + 1:>3} ", "muted")
        if key in self.trigger:
            room = max(8, min(room, width - 4 - len(" trigger")))
            return [number, (fit(printable(tag), room), "text"), (" trigger", "second")]
        cells: Cells = [number, (fit(printable(tag), room), "text")]
        cells.append((f" {letter} ", role))
        if score is not None:
            cells.append((f" {score:.2f}", "muted"))
            if meter:
                cells.append((f" {bar(score, meter)}", role if letter != " " else "second"))
        return cells


class TagEditor(ItemList):
    """The cursor steps over the bars."""

    def __init__(self, *, id: str | None = None) -> None:
        self.tag_rows = TagRows()
        super().__init__(self.tag_rows, id=id)

    @property
    def place(self) -> int | None:
        """The place of the tag under the cursor; None on the last row."""
        return self.tag_rows.tag_at(self.cursor)

    def move(self, index: int) -> None:
        step = 1 if index > self.cursor else -1
        while self.tag_rows.bar_in(index) is not None:
            index += step
        super().move(index)

    def put(self, place: int) -> None:
        """Show the rows anew with the cursor on the tag at `place`."""
        place = min(max(place, 0), max(0, len(self.tag_rows.tags) - 1))
        self.rows_changed(self.tag_rows.row_of(place) if self.tag_rows.tags else 0)
