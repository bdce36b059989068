"""The trainer's log: the last lines in a ring, progress bars updated in place, followed or read at leisure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer

from tui.theme import Cells
from tui.widgets.line import Lines
from tui.widgets.lines import LiveLines, cells_of

if TYPE_CHECKING:
    from core.runs.progress import LogLine

LIMIT = 5000
BAR_SECONDS = 1.0  # a bar that only goes on is drawn once a second; a new line at once
_SIDEWAYS = 16
_ROLES = {"WARNING": "caution", "ERROR": "bad", "CRITICAL": "bad"}
_SHORT = {"WARNING": "WARN", "ERROR": "ERR", "CRITICAL": "CRIT", "DEBUG": "DBG"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as it is shown."""

    text: str
    role: str = "text"
    clock: str = ""
    level: str = ""


class LogView(LiveLines, can_focus=True):
    """Lines from `LogReader`. While it follows, the newest line is the last one on the screen."""

    HELP = """\
    ## Log
    The last 5,000 lines of the trainer's output. `p` stops and resumes following; moving up stops it, `G` resumes.
    `/` finds text, `n` and `N` go to the next and previous match, `h` and `l` move sideways, `y` copies the line.
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

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._entries: list[Entry] = []
        self._top = 0
        self._cursor: int | None = None
        self._shift = 0
        self.query_text = ""
        self._drawn_at = 0.0
        self._pending: Timer | None = None
        self._in_traceback = False
        self.following = True

    # Lines

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[Entry]:
        """The lines in the ring, oldest first."""
        return self._entries

    def clear(self) -> None:
        """Forget every line, for another run."""
        self._entries.clear()
        self._top, self._cursor, self._shift, self._in_traceback = 0, None, 0, False
        self.following = True
        self._draw()

    def extend(self, lines: Iterable[LogLine]) -> None:
        """Append lines; one with `replace` takes the place of the last (a progress bar that was drawn again)."""
        entries = self._entries
        only_bars = True
        for line in lines:
            entry = self._entry(line)
            if line.replace and entries:
                entries[-1] = entry
            else:
                entries.append(entry)
                only_bars = False
        if len(entries) > LIMIT + 500:
            gone = len(entries) - LIMIT
            del entries[:gone]
            self._top = max(0, self._top - gone)
            if self._cursor is not None:
                self._cursor = max(0, self._cursor - gone)
        wait = self._drawn_at + BAR_SECONDS - time.monotonic() if only_bars else 0.0
        if wait <= 0:
            self._draw()
        elif self._pending is None:
            self._pending = self.set_timer(wait, self._draw)

    def _entry(self, line: LogLine) -> Entry:
        from core.text import printable

        text = printable(line.text).rstrip()
        role = _ROLES.get(line.level or "", "text")
        if text.startswith("Traceback (most recent call last)"):
            self._in_traceback = True
            role = "muted"
        elif self._in_traceback:
            # The first line without indentation is the exception itself.
            self._in_traceback = text.startswith((" ", "│", "╭", "╰")) or not text
            role = "muted" if self._in_traceback else "bad"
        elif line.bar:
            role = "muted"
        return Entry(text, role, (line.time or "")[-8:], _SHORT.get(line.level or "", line.level or ""))

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
        self._go((self._cursor or 0) + by)

    def action_page(self, by: float) -> None:
        self.action_move(int(by * max(2, self.size.height)))

    def action_first(self) -> None:
        self._pause()
        self._go(0)

    def action_last(self) -> None:
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
            self._draw()
        return len(found)

    def go_to_match(self, by: int) -> None:
        """To the next (+1) or previous (-1) match, round the ends."""
        found = self._found()
        if not found:
            return
        self._pause()
        here = self._cursor or 0
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
        if log.following:
            right: Cells = [(" following ▾ ", "muted")]
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
