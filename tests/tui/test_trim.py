"""What is sent for the cells that changed: every colour arrives, and none is named twice."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.trim import TrimmedUpdate

CONSOLE = Console(width=200, force_terminal=True, color_system="truecolor")
COLOURS = st.sampled_from([None, "#d7dae0", "#7d8496", "blue", "default"])
FLAGS = st.sampled_from([True, None])
STYLES = st.builds(
    Style, color=COLOURS, bgcolor=COLOURS, bold=FLAGS, dim=FLAGS, italic=FLAGS, underline=FLAGS, reverse=FLAGS
)
TEXTS = st.sampled_from(["a", "bc", " ", "   ", "日本", " d"])
SEGMENTS = st.tuples(TEXTS, st.none() | STYLES).map(lambda both: Segment(*both))


def sent(*lines: list[Segment], at: int = 3) -> str:
    """The lines as a terminal gets them, below each other."""
    strips = [Strip(line) for line in lines]
    chops = [{at: strip} for strip in strips]
    spans = [(y, at, at + strip.cell_length) for y, strip in enumerate(strips)]
    return TrimmedUpdate(chops, spans, [[at + strip.cell_length] for strip in strips]).render_segments(CONSOLE)


def cells(segments: list[Segment]) -> list[tuple[str, object]]:
    """Characters with what is seen of their style: a blank that is not marked has only a ground."""
    seen: list[tuple[str, object]] = []
    for text, style, _ in segments:
        style = style or Style()
        color, ground = (
            None if c is None or c.is_default else c.get_ansi_codes() for c in (style.color, style.bgcolor)
        )
        marks = (bool(style.underline), bool(style.reverse))
        for character in text:
            look = (bool(style.bold), bool(style.dim), bool(style.italic), color, ground, *marks)
            seen.append((character, ground if character == " " and not any(marks) else look))
    return seen


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SEGMENTS, min_size=1, max_size=12))
def test_a_terminal_shows_the_colours_that_were_meant(line: list[Segment]) -> None:
    """However attributes and colours follow one another; and what comes after begins plain."""
    decoded = AnsiDecoder().decode_line(sent(line) + "z")
    assert cells(list(decoded.render(CONSOLE, end=""))) == cells([*line, Segment("z")])


def test_a_colour_is_named_once() -> None:
    """Two lines in the same colours cost these colours once, and a new ink does not name the ground again."""
    text, muted = Style.parse("#d7dae0 on #11131a"), Style.parse("#7d8496 on #11131a")
    assert sent([Segment("one", text)], [Segment("two", text)]).count("38;2") == 1
    assert sent([Segment("one", text), Segment(" two", muted)]).count("48;2") == 1


@pytest.mark.parametrize("drawing", ["", "\x1bPq#0\x1b\\\x1b[20;1H"], ids=["text", "sixel"])
def test_what_follows_in_the_line_is_where_it_belongs(drawing: str) -> None:
    """Only the column is named anew, unless a picture in between took the cursor elsewhere."""
    first = Strip([Segment("ab"), *([Segment(drawing, Style())] if drawing else [])], 2)
    update = TrimmedUpdate([{}, {0: first, 2: Strip([Segment("cd")])}], [(1, 0, 4)], [[], [2, 4]])
    assert update.render_segments(CONSOLE).endswith("\x1b[2;3Hcd" if drawing else "ab\x1b[3Gcd")
