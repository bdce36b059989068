"""The trainer's log: followed or read at leisure, bars updated in place, found and filtered."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer

from core.text import human_bytes
from tui.theme import Cells
from tui.widgets.line import Lines
from tui.widgets.lines import SOON, LiveLines, cells_of
from tui.widgets.log_lines import LEVELS, LIMIT, PAGED_LIMIT, Entry, LogLines

if TYPE_CHECKING:
    from core.runs.log_pages import LogPage
    from core.runs.progress import LogLine

BAR_SECONDS = 1.0
"""A bar that only goes on is drawn once a second; a new line at once."""
_SIDEWAYS = 16


class LogView(LiveLines, can_focus=True):
    """Lines from `LogReader`. While it follows, the newest line is the last one on the screen."""

    HELP = """\
    ## Log
    The trainer's output. `p` stops and resumes following; moving up stops it, `G` resumes; `g` is the first line, also
    of a gigabyte. `/` finds text, `n` and `N` go to the next and previous match, `W` shows warnings and errors, errors
    alone, or everything. `h` and `l` move sideways, `y` copies the line.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False, id="list.down"),
        Binding("up,k", "move(-1)", "up", show=False, id="list.up"),
        Binding("g,home", "first", "first", show=False, id="list.first"),
        Binding("G,end", "last", "last", show=False, id="list.last"),
        Binding("ctrl+d", "page(0.5)", "half a page down", show=False, id="list.half-page-down"),
        Binding("ctrl+u", "page(-0.5)", "half a page up", show=False, id="list.half-page-up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page-down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page-up"),
        Binding("left,h", "sideways(-1)", "left", show=False, id="list.left"),
        Binding("right,l", "sideways(1)", "right", show=False, id="list.right"),
        Binding("y", "copy", "copy line", show=False, id="list.copy"),
    ]

    class Changed(Message):
        """Following, place or matches changed: the line above the log says it."""

        def __init__(self, log: LogView) -> None:
            super().__init__()
            self.log = log

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogView.Changed)

    class Wanted(Message):
        """Lines that are not here: `what` is `before`, `after`, `first`, `newest` or `find` (of `log.query_text`)."""

        def __init__(self, log: LogView, what: str) -> None:
            super().__init__()
            self.log = log
            self.what = what

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.lines = LogLines()
        self._top = 0
        self._cursor: int | None = None
        self._shift = 0
        self.query_text = ""
        self._drawn_at = 0.0
        self._pending: Timer | None = None
        self.following = True
        self._asked = ""

    # Lines

    def __len__(self) -> int:
        return len(self.lines.shown)

    @property
    def entries(self) -> list[Entry]:
        """The lines that are shown, oldest first."""
        return self.lines.shown

    @property
    def _entries(self) -> list[Entry]:
        return self.lines.shown

    def clear(self) -> None:
        """Forget every line, for another run."""
        self.lines.clear()
        self._top, self._cursor, self._shift, self._asked = 0, None, 0, ""
        self.following = True
        self._draw()

    def next_level(self) -> str:
        """Everything, warnings and errors, errors alone, and round again; returns what is shown now."""
        self.lines.set_level((self.lines.level + 1) % len(LEVELS))
        self._top, self._cursor = 0, None
        if not self.following:
            self._cursor = max(0, len(self) - 1)
            self._go(self._cursor)
        else:
            self._draw()
        return LEVELS[self.lines.level]

    def extend(self, lines: Iterable[LogLine], end: int | None = None) -> None:
        """Append lines; one with `replace` takes the place of the last (a progress bar that was drawn again).

        `end`: the byte of the log behind them, by which they are found again when they had to go.
        """
        if self.lines.detached:  # they are in the file, for whoever comes back
            return
        limit = LIMIT if self.following else PAGED_LIMIT
        gone, fresh = self.lines.extend(lines, end, limit)
        if gone:
            self._top = max(0, self._top - gone)
            if self._cursor is not None:
                self._cursor = max(0, self._cursor - gone)
        wait = 0.0 if fresh else self._drawn_at + BAR_SECONDS - time.monotonic()
        if wait <= SOON:
            self._draw()
        elif self._pending is None:
            self._pending = self.set_timer(wait + SOON, self._draw)

    def take(self, what: str, page: LogPage) -> None:
        """The page that was wanted."""
        self._asked = ""
        if what == "newest":
            self.lines.show_page(page, newest=True)
            self.action_last()
        elif what == "first":
            self.lines.show_page(page)
            self._pause()
            self._top = 0
            self._go(0)
        elif what == "find":
            self.lines.show_page(page)
            self._pause()
            found = self._found()
            self._go(found[0] if found else 0)
        elif what == "before":
            came = self.lines.put_before(page)
            self._top += came
            self._go((self._cursor or 0) + came - (1 if came else 0))
            if not came and page.begin > 0 and self.lines.level:
                self._want("before")  # nothing of this page passes the filter
        elif what == "after":
            self.lines.put_after(page)
            self._draw()

    def not_found(self) -> None:
        """What was wanted is nowhere."""
        self._asked = ""

    def _want(self, what: str) -> None:
        if not self._asked:
            self._asked = what
            self.post_message(self.Wanted(self, what))

    # Where we are

    @property
    def position(self) -> tuple[int, int]:
        """The number of the current line (1 is the oldest kept) and how many there are."""
        here = self._cursor if self._cursor is not None else len(self._entries) - 1
        return here + 1, len(self._entries)

    @property
    def matches(self) -> tuple[int, int]:
        """Which match the cursor is on (0: none) and how many there are."""
        found = self._found()
        return (found.index(self._cursor) + 1 if self._cursor in found else 0), len(found)

    def toggle_follow(self) -> None:
        """Stop following where we are, or go to the end and follow again."""
        if self.following:
            self._pause()
            self._draw()
        else:
            self.action_last()

    def _pause(self) -> None:
        if self.following:
            self.following = False
            self._cursor = max(0, len(self._entries) - 1)

    def action_move(self, by: int) -> None:
        if by > 0 and self.following:
            return
        self._pause()
        here = self._cursor or 0
        if by < 0 and here + by <= 0 and self.lines.begin > 0:
            self._want("before")
        elif by > 0 and here + by >= len(self) - 1 and self.lines.detached:
            self._want("after" if self.lines.end < self.lines.size else "newest")
        self._go(here + by)

    def action_page(self, by: float) -> None:
        self.action_move(int(by * max(2, self.size.height)))

    def action_first(self) -> None:
        self._pause()
        if self.lines.begin > 0:
            self._want("first")
        else:
            self._go(0)

    def action_last(self) -> None:
        if self.lines.detached:
            self._want("newest")
            return
        self.following, self._cursor, self._shift = True, None, 0
        self._draw()

    def action_sideways(self, by: int) -> None:
        longest = max((cell_len(entry.text) for entry in self._visible()), default=0)
        self._shift = max(0, min(self._shift + by * _SIDEWAYS, longest - self.size.width // 2))
        self._draw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        if not self.following and (self._cursor or 0) + 3 >= len(self._entries) - 1:
            self.action_last()
        else:
            self.action_move(3)

    def on_click(self, event: events.Click) -> None:
        if self._top + event.y < len(self._entries):
            self._pause()
            self._go(self._top + event.y)

    def _go(self, index: int) -> None:
        self._cursor = max(0, min(len(self._entries) - 1, index))
        height = max(1, self.size.height)
        self._top = min(max(self._top, self._cursor - height + 1), self._cursor)
        self._draw()

    # Finding

    def find(self, query: str) -> int:
        """Mark what contains `query`, whatever its case, and go to the last match; returns how many there are."""
        self.query_text = query.lower()
        found = self._found()
        if found:
            self._pause()
            self._go(found[-1])
        else:
            if self.query_text and self.lines.begin > 0:
                self._want("find")
            self._draw()
        return len(found)

    def go_to_match(self, by: int) -> None:
        """To the next (+1) or previous (-1) match, round the ends; before the first one the file is searched on."""
        found = self._found()
        here = self._cursor or 0
        if self.query_text and by < 0 and self.lines.begin > 0 and not any(index < here for index in found):
            self._want("find")
            return
        if not found:
            return
        self._pause()
        later = [index for index in found if index > here] if by > 0 else [index for index in found if index < here]
        self._go((later[0] if later else found[0]) if by > 0 else (later[-1] if later else found[-1]))

    def _found(self) -> list[int]:
        if not self.query_text:
            return []
        return [index for index, entry in enumerate(self._entries) if self.query_text in entry.text.lower()]

    def action_copy(self) -> None:
        if self._entries:
            index = self._cursor if self._cursor is not None else len(self._entries) - 1
            self.app.copy_to_clipboard(self._entries[index].text)
            self.notify("The line was copied.", timeout=2)

    # Drawing

    def on_resize(self) -> None:
        if self._cursor is not None:
            self._go(self._cursor)
        else:
            self._draw()

    def on_focus(self) -> None:
        self._draw()

    def on_blur(self) -> None:
        self._draw()

    def _visible(self) -> list[Entry]:
        height = max(1, self.size.height)
        if self.following:
            self._top = max(0, len(self._entries) - height)
        return self._entries[self._top : self._top + height]

    def _draw(self) -> None:
        if self._pending is not None:
            self._pending.stop()
            self._pending = None
        self._drawn_at = time.monotonic()
        width = self.size.width
        self.show([self._line(entry, width, self._top + y == self._cursor) for y, entry in enumerate(self._visible())])
        self.post_message(self.Changed(self))

    def _line(self, entry: Entry, width: int, here: bool) -> Cells:
        mark = ("▌" if self.has_focus else "▏", "accent") if here else (" ", "text")
        line: Cells = [mark]
        room = width - 1
        if width >= 100:
            line.append((f"{entry.clock:<9}", "muted"))
            room -= 9
        if width >= 60:
            line.append((f"{entry.level:<5}", entry.role if entry.level and entry.role != "text" else "muted"))
            room -= 5
        return line + self._text(entry, room)

    def _text(self, entry: Entry, room: int) -> Cells:
        """The visible part of a line, matches marked."""
        text, role = entry.text, entry.role
        if text.isascii():
            shown = text[self._shift :]
            cut = len(shown) > room
            shown = shown[: max(0, room - 1)] if cut else shown
        else:
            cells = cells_of([(text, role)])[self._shift :]
            cut = len(cells) > room
            shown = "".join(character for character, _ in (cells[: max(0, room - 1)] if cut else cells))
        if self._shift and text:
            shown = "…" + shown[1:]
        tail: Cells = [("…", "muted")] if cut else []
        if not self.query_text or self.query_text not in shown.lower():
            return [(shown, role), *tail]
        marked: Cells = []
        low, start = shown.lower(), 0
        while (at := low.find(self.query_text, start)) >= 0:
            marked += [(shown[start:at], role), (shown[at : at + len(self.query_text)], "caution reverse")]
            start = at + len(self.query_text)
        return [*[cell for cell in marked if cell[0]], (shown[start:], role), *tail]


class LogTitle(Lines):
    """The line above the log: whether it follows, and what was found."""

    def tell(self, log: LogView, *, focused: bool) -> None:
        """Say where `log` is."""
        left: Cells = [(" log ", "accent bold" if focused else "muted")]
        if log.lines.level:
            left.append((f"{LEVELS[log.lines.level]} only ", "caution"))
        if log.lines.detached and log.lines.size:
            part = 100 * log.lines.begin / log.lines.size
            right: Cells = [(f" {part:.0f} % of {human_bytes(log.lines.size)} · ", "caution"), ("G", "accent")]
            right.append((" newest ", "muted"))
        elif log.following:
            right = [(" following ▾ ", "muted")]
        else:
            here, total = log.position
            right = [(f" paused · line {here:,} of {total:,} · ", "caution"), ("G", "accent"), (" follows ", "muted")]
        here, total = log.matches
        if log.query_text:
            left.append(
                (f"/{log.query_text} {here}/{total} " if total else f"/{log.query_text}: not found ", "caution")
            )
        rule = self.size.width - sum(cell_len(text) for text, _ in [*left, *right]) - 2
        self.show([[("──", "rule"), *left, ("─" * max(0, rule), "rule"), *right]])
