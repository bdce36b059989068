"""What the trainer prints: log lines through rich on stderr, plain lines on stdout, and progress bars in tqdm's format.

The bars follow tqdm where a reader can see it: a refresh of the count is throttled (TQDM_MININTERVAL, 0.1 s), one of
the postfix is not; a bar inside a bar moves down with a newline and up again with `ESC[A`, also into a file.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sized
from typing import ClassVar, TypeVar

T = TypeVar("T")

logger = logging.getLogger("core.demo.trainer")


def setup(args: Namespace | None = None) -> None:
    """Send log lines where the options say: rich on stderr, plain on stdout, or plain into a file."""
    for handler in list(logging.root.handlers):
        logging.root.removeHandler(handler)
    new: logging.Handler
    if args is not None and args.console_log_file:
        new = logging.FileHandler(args.console_log_file, mode="w", encoding="utf-8")
    elif args is not None and args.console_log_simple:
        new = logging.StreamHandler(sys.stdout)
    else:
        from rich.console import Console
        from rich.logging import RichHandler

        new = RichHandler(console=Console(stderr=True))
    new.setFormatter(logging.Formatter(fmt="%(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logging.root.addHandler(new)
    level = getattr(args, "console_log_level", None) or "INFO"
    logging.root.setLevel(level)
    logging.getLogger("PIL").setLevel(logging.WARNING)


def say(text: str) -> None:
    """One line on stdout, which is block-buffered in a file unless PYTHONUNBUFFERED is set."""
    print(text)


def clock(seconds: float) -> str:
    """`03:18`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:d}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def short(value: float) -> str:
    """A number with three significant digits, or as it is where that is shorter (`1.2`, `0.994`, `nan`)."""
    three = f"{value:.3g}".replace("e+0", "e+").replace("e-0", "e-")
    plain = str(value)
    return three if len(three) < len(plain) else plain


def gauge(fraction: float, width: int) -> str:
    """The filled part of a bar in eighths of a cell."""
    full, eighth = divmod(int(fraction * width * 8), 8)
    if full >= width:
        return "█" * width
    return "█" * full + " ▏▎▍▌▋▊▉"[eighth] + " " * (width - full - 1)


class Bar:
    """A progress bar on stderr."""

    _open: ClassVar[list[Bar]] = []

    def __init__(self, total: int, desc: str = "") -> None:
        taken: set[int] = {bar._row for bar in Bar._open}
        self._row: int = next(row for row in range(len(taken) + 1) if row not in taken)
        Bar._open.append(self)
        self.n = 0
        self._total = total
        self._desc = f"{desc}: " if desc else ""
        self._postfix = ""
        self._interval = float(os.environ.get("TQDM_MININTERVAL", "0.1"))
        self._least = 0
        self._width = 0
        self._columns = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else None
        self._started = self._shown_at = time.time()
        self._shown_n = 0
        self._draw(self._row)
        atexit.register(self.close)  # after an exception the bar is drawn once more, below the traceback

    def update(self) -> None:
        """One more done; drawn when the interval has passed."""
        self.n += 1
        done = self.n - self._shown_n
        now = time.time()
        if done >= self._least and now - self._shown_at >= self._interval:
            self._draw(self._row)
            self._least = max(self._least, done)
            self._shown_n, self._shown_at = self.n, now

    def set_postfix(self, **values: float) -> None:
        """Show `, name=value`; drawn at once."""
        self._postfix = "".join(f", {name}={short(value)}" for name, value in values.items())
        self._draw(self._row)

    def unpause(self) -> None:
        """Leave the time since the last refresh out of the rate (a pause for samples)."""
        now = time.time()
        self._started += now - self._shown_at
        self._shown_at = now

    def close(self) -> None:
        """Draw the last state in the first row and end the line."""
        if self in Bar._open:
            Bar._open.remove(self)
            self._draw(0)
            sys.stderr.write("\n")
            sys.stderr.flush()
            atexit.unregister(self.close)

    def text(self) -> str:
        """The bar as it is drawn now."""
        elapsed = time.time() - self._started
        rate = self.n / elapsed if elapsed > 0 else 0.0
        if rate and 1 / rate > 1:
            speed = f"{1 / rate:5.2f}s/it"
        else:
            speed = f"{rate:5.2f}it/s" if rate else "?it/s"
        if not self._total:
            return f"{self._desc}{self.n}it [{clock(elapsed)}, {speed}{self._postfix}]"
        fraction = self.n / self._total
        left = clock((self._total - self.n) / rate) if rate else "?"
        head = f"{self._desc}{fraction * 100:3.0f}%|"
        tail = f"| {self.n}/{self._total} [{clock(elapsed)}<{left}, {speed}{self._postfix}]"
        width = 10 if self._columns is None else max(1, self._columns - len(head) - len(tail))
        return head + gauge(fraction, width) + tail

    def _draw(self, row: int) -> None:
        text = self.text()
        pad = " " * max(0, self._width - len(text))
        self._width = len(text)
        sys.stderr.write("\n" * row + "\r" + text + pad + "\x1b[A" * row)
        sys.stderr.flush()


def track(items: Iterable[T], desc: str = "") -> Iterator[T]:
    """The items, with a bar; the number must be known."""
    bar = Bar(len(items) if isinstance(items, Sized) else 0, desc)
    try:
        for item in items:
            yield item
            bar.update()
    finally:
        bar.close()
