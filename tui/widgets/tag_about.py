"""What is known of the tag under the cursor: what it is, what to do with it, and what stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.timer import Timer

from core.dataset.tag_table import TagRow
from core.text import count_of, printable
from tui.theme import Cells, fit
from tui.widgets.dataset_rows import wrap
from tui.widgets.image_view import REST
from tui.widgets.lines import LiveLines
from tui.widgets.tag_editor import bar
from tui.widgets.tag_rows import letter_of, percent

if TYPE_CHECKING:
    from core.dataset.tag_columns import IndexedTags
    from core.dataset.traits import Trait

MOST = 100
"""Tags beside the chosen one that are handed to the screen."""


class AboutTag(LiveLines):
    """Follows the cursor at once; what stands beside the tag is counted on a thread when the cursor rests."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._table: IndexedTags | None = None
        self._tag: TagRow | Trait | None = None
        self._beside: list[TagRow] = []
        self._rest: Timer | None = None

    def follow(self, table: IndexedTags, tag: TagRow | Trait | None) -> None:
        """The cursor is on `tag`."""
        if tag == self._tag and table is self._table:
            self._draw()
            return
        self._table, self._tag, self._beside = table, tag, []
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST, self._rested)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _rested(self) -> None:
        if self._tag is not None and self._table is not None and self.display:
            self._look_beside(self._table, self._tag)

    @work(thread=True, exclusive=True, group="together", exit_on_error=False, description="look beside a tag")
    def _look_beside(self, table: IndexedTags, tag: TagRow | Trait) -> None:
        _, rows = table.together([tag.tag])
        self.app.call_from_thread(self._found, tag, rows[:MOST])

    def _found(self, tag: TagRow | Trait, rows: list[TagRow]) -> None:
        if self.is_attached and tag == self._tag:
            self._beside = rows
            self._draw()

    def _draw(self) -> None:
        width, height = self.size
        tag = self._tag
        if not width:
            return
        lines: list[Cells] = []
        if tag is not None:
            lines = about_tag(tag, width) if isinstance(tag, TagRow) else about_trait(tag, width)
        if self._beside:
            lines += [[], *together_lines(self._beside, width, height - len(lines) - 1)]
        self.show(lines)


def about_trait(trait: Trait, width: int) -> list[Cells]:
    """What the tag is, and what to do, in words."""
    lines: list[Cells] = [[(fit(printable(trait.tag), width).rstrip(), "text bold")]]
    lines += [[(text, "text")] for text in wrap(trait.sentence, width)]
    if trait.suggestion != "keep" or trait.is_kept:
        lines.append([("x", "accent"), (" absorb: remove it everywhere", "muted")])
        lines.append([("m", "accent"), (" decide anew" if trait.is_kept else " keep it: that is decided", "muted")])
    return lines


def about_tag(row: TagRow, width: int) -> list[Cells]:
    """The tag, and how else it is spelled."""
    kind = f"  {row.category}" if row.category else ""
    lines: list[Cells] = [
        [
            (fit(printable(row.tag), max(8, width - len(kind))).rstrip(), "text bold"),
            (kind, letter_of(row.category)[1]),
        ],
        [(f"in {count_of(row.count, 'image')}", "text"), ("  ⏎", "accent"), (" shows them", "muted")],
    ]
    if len(row.spellings) > 1:
        lines += [[(text, "caution")] for text in wrap("spelled " + ", ".join(row.spellings), width)[:2]]
    return lines


def together_lines(rows: Sequence[TagRow], width: int, most: int) -> list[Cells]:
    """What stands in the same captions, the most frequent first."""
    if not rows:
        return []
    meter = 10 if width >= 44 else 0
    room = max(8, width - 3 - 7 - (meter + 1 if meter else 0))
    lines: list[Cells] = [[("together with", "muted")]]
    for row in rows[: max(0, most - 1)]:
        letter, role = letter_of(row.category)
        line: Cells = [(fit(printable(row.tag), room), "text"), (letter, role), (f"{percent(row.share):>7}", "muted")]
        if meter:
            line.append((f" {bar(row.share, meter)}", role if letter.strip() else "second"))
        lines.append(line)
    return lines
