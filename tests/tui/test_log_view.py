"""The log view: bars in one place, following, finding, and hostile text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from core.runs.progress import LogLine, LogReader
from tests.tui.stage import Stage
from tui.widgets.log_lines import LIMIT
from tui.widgets.log_view import LogView

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"


async def until(look: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until `look` is true."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not look():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def lines(count: int, start: int = 0) -> list[LogLine]:
    return [LogLine(f"line {number}") for number in range(start, start + count)]


async def test_it_follows_until_one_moves_up_and_again_after_G() -> None:
    """New lines appear at the bottom; after `k` the view stands still; `G` goes to the newest line again."""
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(60, 6)) as pilot:
        log.focus()
        log.extend(lines(50))
        await pilot.pause()
        assert app.rows()[-1].strip() == "line 49"
        await pilot.press("k")
        log.extend(lines(5, 50))
        await pilot.pause()
        assert not log.following
        assert app.rows()[-1].strip() == "line 49"
        await pilot.press("G")
        assert log.following
        assert app.rows()[-1].strip() == "line 54"


async def test_a_progress_bar_stays_in_its_line() -> None:
    """A bar that is drawn again replaces the one before; the log does not grow."""
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(60, 6)) as pilot:
        log.extend([LogLine("begin"), LogLine("steps: 1/9", bar=True)])
        for step in range(2, 10):
            log.extend([LogLine(f"steps: {step}/9", replace=True, bar=True)])
        await until(lambda: app.rows()[1].strip() == "steps: 9/9")
        await pilot.pause()
        assert len(log) == 2


async def test_the_log_of_a_real_training_reads_as_in_a_terminal() -> None:
    """Six hundred drawings of the bar are one line, and the last words of the trainer stand above it."""
    reader = LogReader()
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(120, 12)) as pilot:
        log.extend(reader.feed((RECORDINGS / "sd15_long" / "output.bin").read_bytes()))
        await pilot.pause()
        rows = [row.strip() for row in app.rows()]
        assert any("300/300" in row for row in rows)
        assert any(row.endswith("model saved.") for row in rows)
        assert len(log) < 1000


async def test_the_ring_keeps_the_newest_lines() -> None:
    """After 20,000 lines the last 5,000 are there, and the cursor still points at the line it was on."""
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(60, 6)):
        for start in range(0, 20_000, 250):
            log.extend(lines(250, start))
        assert LIMIT <= len(log) <= LIMIT + 500
        assert log.entries[-1].text == "line 19999"
        log.action_move(-100)
        text = log.entries[log.position[0] - 1].text
        log.extend(lines(600, 20_000))
        assert log.entries[log.position[0] - 1].text == text


async def test_finding_goes_through_the_matches_and_round_the_ends() -> None:
    """`find` goes to the newest match and pauses; n and N go on, whatever the case of the letters."""
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(60, 6)):
        log.extend([LogLine("Out Of Memory" if number in (3, 30) else f"line {number}") for number in range(60)])
        assert log.find("out of memory") == 2
        assert not log.following
        assert log.position[0] == 31
        log.go_to_match(1)
        assert log.position[0] == 4
        log.go_to_match(-1)
        assert log.position[0] == 31
        assert log.matches == (2, 2)
        assert log.find("nothing like this") == 0


async def test_warnings_errors_and_tracebacks_are_told_apart_with_a_word() -> None:
    """A warning and an error have their level in front, the frames of a traceback are muted, its last line is not."""
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(80, 8)) as pilot:
        log.extend(
            [
                LogLine("low disk", "WARNING"),
                LogLine("it broke", "ERROR"),
                LogLine("Traceback (most recent call last):"),
                LogLine('  File "train.py", line 3, in main'),
                LogLine("torch.OutOfMemoryError: CUDA out of memory"),
                LogLine("after"),
            ]
        )
        await pilot.pause()
        assert [entry.role for entry in log.entries] == ["caution", "bad", "muted", "muted", "bad", "text"]
        assert app.rows()[0].split()[:1] == ["WARN"]
        assert app.rows()[1].split()[:1] == ["ERR"]


async def test_control_sequences_never_reach_the_terminal() -> None:
    """Escape sequences and control characters are shown as text; a long line ends in `…`, l moves sideways."""
    log = LogView()
    app = Stage(log)
    async with app.run_test(size=(40, 4)) as pilot:
        log.focus()
        log.extend([LogLine("a\x1b[2Jb\x07c"), LogLine("x" * 30 + "y" * 30), LogLine("日本語" * 20)])
        await pilot.pause()
        rows = app.rows()
        assert "\x1b" not in "".join(rows)
        assert "ab" in rows[0]
        assert rows[1].endswith("…")
        assert rows[2].endswith("…")
        await pilot.press("l")
        assert "…" in app.rows()[1][:3]
        assert "y" * 20 in app.rows()[1]
