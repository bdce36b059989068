"""The lines that a log view holds: the newest as they come, or pages from anywhere in a long file; sifted by level."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.runs.log_pages import LogPage
    from core.runs.progress import LogLine

LIMIT = 5000
"""Lines that are kept while the log is followed; what goes is read from the file again when it is wanted."""
PAGED_LIMIT = 20_000
"""Lines that are kept while somebody reads on upwards or downwards."""
LEVELS = ("", "warnings", "errors")
_ROLES = {"WARNING": "caution", "ERROR": "bad", "CRITICAL": "bad"}
_RANKS = {"WARNING": 1, "ERROR": 2, "CRITICAL": 2}
_SHORT = {"WARNING": "WARN", "ERROR": "ERR", "CRITICAL": "CRIT", "DEBUG": "DBG"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as it is shown. `rank`: 1 for a warning, 2 for an error and for what belongs to a traceback."""

    text: str
    role: str = "text"
    clock: str = ""
    level: str = ""
    rank: int = 0


class LogLines:
    """`shown` is what passes the filter, oldest first. `begin` and `end` are the bytes of the file that it covers."""

    def __init__(self) -> None:
        self._all: list[Entry] = []
        self.shown: list[Entry] = self._all
        self.level = 0
        self.begin = 0
        self.end = 0
        self.size = 0
        self.detached = False
        """The newest lines are not among these: a page from elsewhere is shown."""
        self._marks: deque[tuple[int, int]] = deque()  # (lines so far, byte behind them) of what was appended
        self._in_traceback = False

    def clear(self) -> None:
        """Forget everything; the filter stays."""
        self._all.clear()
        self._marks.clear()
        self.begin = self.end = self.size = 0
        self.detached = self._in_traceback = False
        self._sift()

    def _sift(self) -> None:
        self.shown = [entry for entry in self._all if entry.rank >= self.level] if self.level else self._all

    def set_level(self, level: int) -> None:
        """0 shows everything, 1 warnings and errors, 2 errors."""
        self.level = level
        self._sift()

    def extend(self, lines: Iterable[LogLine], end: int | None = None, limit: int = LIMIT) -> tuple[int, bool]:
        """Append what came; a line with `replace` takes the place of the last (a bar that was drawn again).

        Returns how many shown lines went at the top, and whether any line is really new.
        """
        fresh = False
        filtered = self.level > 0
        for line in lines:
            entry = self._entry(line)
            if line.replace and self._all:
                old = self._all[-1]
                self._all[-1] = entry
                if filtered and self.shown and self.shown[-1] is old:
                    self.shown.pop()
            else:
                self._all.append(entry)
                fresh = True
            if filtered and entry.rank >= self.level:
                self.shown.append(entry)
        if end is not None:
            self.end = self.size = end
            self._marks.append((len(self._all), end))
        return self._trim(limit), fresh

    def _trim(self, limit: int) -> int:
        """Let the oldest lines go, up to a place whose byte is known, or all of the surplus."""
        surplus = len(self._all) - limit
        if surplus <= limit // 10:
            return 0
        gone, byte = surplus, None
        while self._marks and self._marks[0][0] <= surplus:
            gone, byte = self._marks.popleft()
        if byte is not None:
            self.begin = byte
        elif self._marks and self._marks[0][0] < len(self._all):
            gone, self.begin = self._marks.popleft()
        before = len(self.shown)
        del self._all[:gone]
        self._marks = deque((count - gone, place) for count, place in self._marks)
        if self.level:
            self._sift()
        return before - len(self.shown) if self.level else gone

    def put_before(self, page: LogPage) -> int:
        """A page that ends where these lines begin; returns how many shown lines came."""
        entries = self._entries(page.lines)
        before = len(self.shown)
        self._all[:0] = entries
        self._marks = deque((count + len(entries), place) for count, place in self._marks)
        self.begin, self.size = page.begin, page.size
        if len(self._all) > PAGED_LIMIT and not self.detached:
            self.detached = True
        if self.level:
            self._sift()
            return len(self.shown) - before
        return len(entries)

    def put_after(self, page: LogPage) -> None:
        """A page that begins where these lines end; reaching the end of the file joins the newest lines again."""
        entries = self._entries(page.lines)
        self._all += entries
        self.end, self.size = page.end, page.size
        if self.level:
            self.shown += [entry for entry in entries if entry.rank >= self.level]

    def show_page(self, page: LogPage, *, newest: bool = False) -> None:
        """Only this page from now on."""
        self.clear()
        self._all += self._entries(page.lines)
        self._sift()
        self.begin, self.end, self.size = page.begin, page.end, page.size
        self._marks.append((len(self._all), page.end))
        self.detached = not newest

    def _entries(self, lines: Sequence[LogLine]) -> list[Entry]:
        inside, self._in_traceback = self._in_traceback, False
        found = [self._entry(line) for line in lines]
        self._in_traceback = inside
        return found

    def _entry(self, line: LogLine) -> Entry:
        from core.text import printable

        text = printable(line.text).rstrip()
        role, rank = _ROLES.get(line.level or "", "text"), _RANKS.get(line.level or "", 0)
        if text.startswith("Traceback (most recent call last)"):
            self._in_traceback = True
            role, rank = "muted", 2
        elif self._in_traceback:
            # The first line without indentation is the exception itself.
            self._in_traceback = text.startswith((" ", "│", "╭", "╰")) or not text
            role, rank = "muted" if self._in_traceback else "bad", 2
        elif line.bar:
            role = "muted"
        return Entry(text, role, (line.time or "")[-8:], _SHORT.get(line.level or "", line.level or ""), rank)
