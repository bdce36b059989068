"""What pictures a terminal can draw: the decision as a table, and the answers as terminals give them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tui.graphics import Choice, Replies, Tmux, decide, next_choice, read_replies

COLOUR = {"COLORTERM": "truecolor"}
XTERM = {"TERM": "xterm-256color", **COLOUR}
KITTY = {"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1", **COLOUR}
IN_TMUX = {"TERM": "tmux-256color", "TMUX": "/tmp/t,1,0", **COLOUR}
BOTH, ONLY_KITTY, ONLY_SIXEL = Replies(kitty=True, sixel=True), Replies(kitty=True), Replies(sixel=True)
OPEN = Tmux(passthrough=True, client="xterm-kitty", features="256,RGB,title")

NEW, OLD = (3, 12), (3, 11)

TABLE = [
    ("kitty", KITTY, None, ONLY_KITTY, "auto", NEW, "kitty"),
    ("kitty on Python 3.11", KITTY, None, ONLY_KITTY, "auto", OLD, "kitty"),
    ("kitty over ssh without COLORTERM", {"TERM": "xterm-kitty"}, None, ONLY_KITTY, "auto", NEW, "kitty"),
    ("ghostty", {"TERM": "xterm-ghostty", **COLOUR}, None, ONLY_KITTY, "auto", NEW, "kitty"),
    ("ghostty that answers both", {"TERM": "xterm-ghostty"}, None, BOTH, "auto", NEW, "kitty"),
    ("WezTerm", {**XTERM, "TERM_PROGRAM": "WezTerm"}, None, BOTH, "auto", NEW, "sixel"),
    ("Konsole", XTERM, None, BOTH, "auto", NEW, "sixel"),
    ("Warp", {**XTERM, "TERM_PROGRAM": "WarpTerminal"}, None, ONLY_KITTY, "auto", NEW, "blocks"),
    ("foot", {"TERM": "foot"}, None, ONLY_SIXEL, "auto", NEW, "sixel"),
    ("iTerm2", {**XTERM, "TERM_PROGRAM": "iTerm.app"}, None, ONLY_SIXEL, "auto", NEW, "sixel"),
    ("GNOME Terminal", XTERM, None, Replies(), "auto", NEW, "blocks"),
    ("no tty", XTERM, None, Replies(tty=False), "auto", NEW, "blocks"),
    ("kitty in tmux, passthrough on", IN_TMUX, OPEN, Replies(), "auto", NEW, "kitty"),
    ("the same on Python 3.11", IN_TMUX, OPEN, Replies(), "auto", OLD, "blocks"),
    (
        "kitty in tmux, passthrough off",
        IN_TMUX,
        Tmux(False, "xterm-kitty", "RGB"),
        Replies(),
        "auto",
        NEW,
        "blocks",
    ),
    (
        "kitty in tmux that reduces the colours",
        {"TERM": "tmux-256color", "TMUX": "x"},
        Tmux(True, "xterm-256color", "256"),
        ONLY_KITTY,
        "auto",
        NEW,
        "blocks",
    ),
    (
        "another name, but it answered",
        IN_TMUX,
        Tmux(True, "xterm-256color", "RGB"),
        ONLY_KITTY,
        "auto",
        NEW,
        "kitty",
    ),
    (
        "tmux with sixel, a kitty client",
        IN_TMUX,
        Tmux(False, "xterm-kitty", "RGB", True),
        BOTH,
        "auto",
        NEW,
        "blocks",
    ),
    (
        "tmux with sixel, a sixel client",
        IN_TMUX,
        Tmux(False, "foot", "RGB,sixel", True),
        BOTH,
        "auto",
        NEW,
        "sixel",
    ),
    ("tmux without sixel, a sixel client", IN_TMUX, Tmux(True, "foot", "RGB,sixel"), BOTH, "auto", OLD, "blocks"),
    ("blocks by setting", KITTY, None, ONLY_KITTY, "blocks", NEW, "blocks"),
    ("off by setting", KITTY, None, ONLY_KITTY, "off", NEW, "off"),
    ("kitty by setting", XTERM, None, Replies(), "kitty", NEW, "kitty"),
    ("kitty by setting without true colour", {"TERM": "xterm"}, None, Replies(), "kitty", NEW, "blocks"),
    ("sixel by setting", XTERM, None, Replies(), "sixel", NEW, "sixel"),
]


@pytest.mark.parametrize(
    ("name", "env", "tmux", "replies", "images", "python", "protocol"), TABLE, ids=[row[0] for row in TABLE]
)
def test_the_choice_for_a_terminal(
    name: str,
    env: dict[str, str],
    tmux: Tmux | None,
    replies: Replies,
    images: str,
    python: tuple[int, int],
    protocol: str,
) -> None:
    """Each terminal gets the best that it can really draw, and a reason that can be read."""
    choice = decide(env, tmux, replies, images, python)
    assert choice.protocol == protocol, choice
    assert choice.reason and choice.best == protocol


def test_answers_are_read_in_any_order() -> None:
    """kitty's OK, the size of a cell and the device attributes come in one burst."""
    assert read_replies(b"\x1b_Gi=31;OK\x1b\\\x1b[6;20;10t\x1b[?62;c") == Replies(kitty=True, cell=(10, 20))
    assert read_replies(b"\x1b[?62;4;22c") == Replies(sixel=True)
    assert read_replies(b"\x1b[?64;14;22c") == Replies()
    assert read_replies(b"\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?1;2c") == Replies()
    assert read_replies(b"") == Replies()


def test_the_key_goes_round_what_there_is() -> None:
    """`I`: the best one, blocks, off, and the best one again."""
    choice = Choice("kitty", "found", "kitty")
    seen = []
    for _ in range(4):
        choice = next_choice(choice)
        seen.append(choice.protocol)
    assert seen == ["blocks", "off", "kitty", "blocks"]
    assert next_choice(Choice("blocks", "found")).protocol == "off"
    assert next_choice(Choice("off", "by setting", "off")).protocol == "blocks"


def test_the_decision_comes_before_textual_is_imported() -> None:
    """Nothing of Textual, Pillow or the picture library is loaded by asking."""
    code = "import sys, tui.graphics; print({'textual', 'textual_image', 'PIL', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_picture_library_is_told_and_does_not_ask() -> None:
    """Imported with the first picture, while Textual owns the keyboard, it must neither ask nor guess the cell size."""
    code = (
        "import tui.pictures as p; p.introduce('kitty', (9, 18)); "
        "from textual_image._terminal import get_cell_size; print(tuple(get_cell_size()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "(9, 18)", result.stderr
    assert "\x1b" not in result.stdout
