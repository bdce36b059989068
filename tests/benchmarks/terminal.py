"""A terminal that counts: a program in a pty of its own, the bytes it writes, its CPU and its memory. Linux only.

It answers what programs ask a terminal (device attributes, cursor, sizes, modes) as a plain xterm with synchronised
output would, so that nobody waits for an answer that never comes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

KEYS = {"down": b"\x1b[B", "up": b"\x1b[A", "enter": b"\r", "esc": b"\x1b", "tab": b"\t"}
FRAME_CHARACTERS = 40
"""Printable characters that make a first frame."""
_QUERY = re.compile(rb"\x1b\[>?0?q|\x1b\[(?:0)?c|\x1b\[6n|\x1b\[1[468]t|\x1b\[\?(\d+)\$p")
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\)|[ -/]*[0-~])", re.DOTALL)
_TICKS = os.sysconf("SC_CLK_TCK")


class Program:
    """A program in a pty; use it in a `with`, which ends it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int] = (120, 40),
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.output = bytearray()
        self._mark = 0
        self._size = size
        values = dict(os.environ if environment is None else environment)
        values |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        self.began = time.perf_counter()
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(OSError):
                os.chdir(cwd or ".")
                os.execvpe(command[0], list(command), values)
            os._exit(127)
        columns, rows = size
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, columns * 10, rows * 20))

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if self._until(lambda: os.waitpid(self.pid, os.WNOHANG)[0], 5):
                break
        os.close(self._master)

    def read(self, seconds: float) -> int:
        """Take what comes within `seconds` (at least one look); the number of bytes."""
        before = len(self.output)
        end = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return len(self.output) - before
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program is gone
                return len(self.output) - before
            self.output += data
            self._answer(data)

    def quiet(self, seconds: float = 0.15, limit: float = 20) -> int:
        """Wait until nothing came for `seconds`; the number of bytes until then."""
        before = len(self.output)
        end = time.monotonic() + limit
        while self.read(seconds) and time.monotonic() < end:
            pass
        return len(self.output) - before

    def first_frame(self) -> float:
        """Wait until the first synchronised frame with something to read has ended; CPU seconds spent until then."""
        assert self._until(self._has_frame, 30), f"no frame came:\n{bytes(self.output[-2000:])!r}"
        return self.cpu()

    def wait(self, pattern: bytes, limit: float = 30) -> None:
        """Until the printable text written so far matches."""
        compiled = re.compile(pattern)
        assert self._until(lambda: compiled.search(_SEQUENCE.sub(b"", bytes(self.output))), limit), pattern

    def key(self, name: str) -> int:
        """Press a key; the bytes of the answer, until it is quiet."""
        before = len(self.output)
        os.write(self._master, KEYS.get(name, name.encode()))
        self.quiet()
        return len(self.output) - before

    def press(self, name: str) -> None:
        """Press a key and go on at once; `wait_new` sees the answer."""
        self._mark = len(self.output)
        os.write(self._master, KEYS.get(name, name.encode()))

    def wait_new(self, pattern: bytes, limit: float = 30) -> None:
        """Until what was written since the last `press` matches."""
        compiled = re.compile(pattern)
        found = self._until(lambda: compiled.search(_SEQUENCE.sub(b"", bytes(self.output[self._mark :]))), limit)
        assert found, pattern

    def cpu(self) -> float:
        """Seconds of CPU that the program and its ended children have used."""
        fields = self._stat("stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS

    def peak_mib(self) -> float:
        """The most memory it ever held (VmHWM)."""
        return int(re.search(r"VmHWM:\s+(\d+)", self._stat("status"))[1]) / 1024  # type: ignore[index]

    def _stat(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def _has_frame(self) -> bool:
        if b"\x1b[?2026l" not in self.output:
            return False
        frames = bytes(self.output[: self.output.rindex(b"\x1b[?2026l")])
        return len(_SEQUENCE.sub(b"", frames).split()) > 0 and len(b"".join(_SEQUENCE.sub(b"", frames).split())) >= (
            FRAME_CHARACTERS
        )

    def _until(self, ready: Callable[[], object], limit: float) -> bool:
        end = time.monotonic() + limit
        while not ready():
            if time.monotonic() > end:
                return False
            self.read(0.002)
        return True

    def _answer(self, data: bytes) -> None:
        columns, rows = self._size
        for match in _QUERY.finditer(data):
            query = match[0]
            if match[1]:
                reply = b"\x1b[?%s;%d$y" % (match[1], 2 if match[1] == b"2026" else 0)
            elif query.endswith(b"c"):
                reply = b"\x1b[?62;22c"
            elif query.endswith(b"q"):
                reply = b"\x1bP>|bench 1\x1b\\"
            elif query.endswith(b"6n"):
                reply = b"\x1b[1;1R"
            else:
                reply = {
                    b"\x1b[14t": b"\x1b[4;%d;%dt" % (rows * 20, columns * 10),
                    b"\x1b[16t": b"\x1b[6;20;10t",
                    b"\x1b[18t": b"\x1b[8;%d;%dt" % (rows, columns),
                }[query]
            os.write(self._master, reply)
