"""What pictures this terminal can draw, found out before Textual is imported: it owns the keyboard afterwards.

`decide` is pure. Inside tmux the terminal is only asked where tmux lets the question and the answer through.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_PLACEHOLDERS_MISSING = ("WarpTerminal", "WezTerm")
"""Announce the kitty protocol but not its Unicode placeholders, which is how pictures become cells of a screen."""
_SILENT = ("dumb", "linux", "vt", "ansi", "screen")
"""TERM prefixes that never draw pictures; some of them print a question as garbage."""
_TRUE_COLOUR_PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "WarpTerminal", "vscode", "rio")
_QUESTION = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_PIXELS = "\x1b[16t"
_FENCE = "\x1b[c"


@dataclass(frozen=True, slots=True)
class Choice:
    """`protocol` is kitty, sixel, blocks or off; `best` is what was decided at the start, `cell` its cell in pixels."""

    protocol: str
    reason: str
    best: str = "blocks"
    cell: tuple[int, int] = (10, 20)
    true_colour: bool = False
    passthrough: bool = False
    """Whether a tmux around us lets sequences for the terminal pass."""


@dataclass(frozen=True, slots=True)
class Tmux:
    """What the tmux server around us says (`tmux display-message`)."""

    passthrough: bool = False
    client: str = ""
    features: str = ""
    sixel: bool = False


@dataclass(frozen=True, slots=True)
class Replies:
    """What the terminal answered. `tty` False: nothing to ask."""

    tty: bool = True
    kitty: bool = False
    sixel: bool = False
    cell: tuple[int, int] | None = None


def has_true_colour(env: Mapping[str, str], tmux: Tmux | None, replies: Replies) -> bool:
    """sshd does not forward COLORTERM, so what the terminal is counts too."""
    if env.get("COLORTERM", "") in {"truecolor", "24bit"}:
        return True
    if tmux is not None:
        return "RGB" in tmux.features or tmux.client in _KITTY_TERMS
    return (
        replies.kitty
        or env.get("TERM", "") in {*_KITTY_TERMS, "foot", "alacritty", "contour"}
        or env.get("TERM", "").endswith("-direct")
        or env.get("TERM_PROGRAM", "") in _TRUE_COLOUR_PROGRAMS
    )


def decide(
    env: Mapping[str, str],
    tmux: Tmux | None,
    replies: Replies,
    images: str = "auto",
    python: tuple[int, int] = (3, 12),
) -> Choice:
    """`tmux` None means that we are not inside one; `images` is the setting."""
    colour = has_true_colour(env, tmux, replies)

    def choice(protocol: str, reason: str) -> Choice:
        return Choice(protocol, reason, protocol, replies.cell or (10, 20), colour)

    if images == "off":
        return choice("off", "switched off in the settings")
    if not replies.tty:
        return choice("blocks", "the output is not a terminal")
    if images == "blocks":
        return choice("blocks", "chosen in the settings")
    if tmux is not None and python < (3, 12):
        return choice("blocks", "inside tmux, kitty pictures need Python 3.12 or newer")
    if images in {"kitty", "sixel"}:
        if images == "kitty" and not colour:
            return choice("blocks", "kitty pictures need a terminal with true colour (set COLORTERM=truecolor)")
        return choice(images, "chosen in the settings")
    if tmux is not None:
        return _in_tmux(tmux, replies, colour, choice)
    brand = env.get("TERM", "") in _KITTY_TERMS or "KITTY_WINDOW_ID" in env or env.get("TERM_PROGRAM") == "ghostty"
    if brand and replies.kitty:
        return choice("kitty", "the terminal draws kitty pictures")
    if replies.sixel:
        return choice("sixel", "the terminal draws sixel pictures")
    if replies.kitty and env.get("TERM_PROGRAM", "") not in _PLACEHOLDERS_MISSING:
        return choice("kitty", "the terminal draws kitty pictures")
    return choice("blocks", "the terminal did not answer to kitty or sixel")


def _in_tmux(tmux: Tmux, replies: Replies, colour: bool, choice: Callable[[str, str], Choice]) -> Choice:
    brand = tmux.client in _KITTY_TERMS
    if tmux.passthrough and colour and (brand or replies.kitty):
        return choice("kitty", "kitty pictures through tmux")
    if tmux.sixel and "sixel" in tmux.features:
        return choice("sixel", "tmux and the terminal draw sixel pictures")
    if not tmux.passthrough:
        return choice("blocks", "tmux allow-passthrough is off (tmux set -g allow-passthrough on)")
    if brand and not colour:
        return choice("blocks", "tmux does not pass true colour (tmux set -as terminal-features ',*:RGB')")
    return choice("blocks", "the terminal around tmux did not answer to kitty")


def next_choice(choice: Choice) -> Choice:
    """The best one → blocks → off → the best one."""
    order = [*dict.fromkeys((choice.best if choice.best != "off" else "blocks", "blocks", "off"))]
    following = order[(order.index(choice.protocol) + 1) % len(order)] if choice.protocol in order else order[0]
    return replace(choice, protocol=following, reason="chosen with I")


def detect(images: str = "auto") -> Choice:
    """Asks tmux and the terminal (at most about a second) and sets COLORTERM where true colour is known.

    Must run before Textual is imported. Whatever answer comes late is thrown away with the typed-ahead keys.
    """
    env = os.environ
    tty = (
        sys.__stdin__ is not None and sys.__stdout__ is not None and sys.__stdin__.isatty() and sys.__stdout__.isatty()
    )
    term = env.get("TERM", "")
    tmux = _ask_tmux(env) if env.get("TMUX") and tty else None
    replies = Replies(tty=tty)
    python = sys.version_info[:2]
    if tty and images in {"auto", "kitty", "sixel"}:
        if tmux is None:
            if not term.startswith(_SILENT) and term:
                replies = _ask(_QUESTION + _PIXELS + _FENCE, rb"\x1b\[\?[\d;]*c")
        elif python >= (3, 12) and tmux.passthrough and tmux.client not in _KITTY_TERMS:
            wrapped = "\x1bPtmux;" + _QUESTION.replace("\x1b", "\x1b\x1b") + "\x1b\\"
            replies = _ask(wrapped, rb"\x1b_G[^\x1b]*\x1b\\")
        replies = replace(replies, cell=_pixels_of_a_cell() or replies.cell)
    choice = replace(decide(env, tmux, replies, images, python), passthrough=tmux is not None and tmux.passthrough)
    if choice.true_colour:
        env["COLORTERM"] = "truecolor"
    return choice


def _ask_tmux(env: Mapping[str, str]) -> Tmux:
    wanted = "#{allow-passthrough}\t#{client_termname}\t#{client_termfeatures}\t#{sixel_support}"
    command = ["tmux", "display-message", "-p", *(("-t", env["TMUX_PANE"]) if "TMUX_PANE" in env else ()), wanted]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=0.3, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return Tmux()
    passthrough, client, features, sixel = (output.rstrip("\n").split("\t") + [""] * 4)[:4]
    return Tmux(passthrough in {"on", "all", "1", "2"}, client, features, sixel == "1")


def _ask(question: str, end: bytes, limit: float = 1.0) -> Replies:
    import termios
    import tty

    assert sys.__stdin__ is not None and sys.__stdout__ is not None
    source = sys.__stdin__.fileno()
    before = termios.tcgetattr(source)
    answer = b""
    try:
        tty.setcbreak(source, termios.TCSANOW)
        os.write(sys.__stdout__.fileno(), question.encode())
        deadline = time.monotonic() + limit
        while not re.search(end, answer) and (left := deadline - time.monotonic()) > 0:
            if select.select([source], [], [], left)[0]:
                answer += os.read(source, 4096)
        termios.tcflush(source, termios.TCIFLUSH)
    except OSError:
        return Replies()
    finally:
        termios.tcsetattr(source, termios.TCSANOW, before)
    return read_replies(answer)


def read_replies(answer: bytes) -> Replies:
    """The answers in what came from the keyboard."""
    attributes = re.search(rb"\x1b\[\?([\d;]*)c", answer)
    pixels = re.search(rb"\x1b\[6;(\d+);(\d+)t", answer)
    return Replies(
        kitty=re.search(rb"\x1b_Gi=31;OK", answer) is not None,
        sixel=attributes is not None and b"4" in attributes[1].split(b";")[1:],
        cell=(int(pixels[2]), int(pixels[1])) if pixels and int(pixels[1]) and int(pixels[2]) else None,
    )


def _pixels_of_a_cell() -> tuple[int, int] | None:
    import fcntl
    import struct
    import termios

    assert sys.__stdout__ is not None
    try:
        rows, columns, width, height = struct.unpack(
            "HHHH", fcntl.ioctl(sys.__stdout__.fileno(), termios.TIOCGWINSZ, bytes(8))
        )
    except OSError:
        return None
    if not (rows and columns and width >= columns and height >= rows):
        return None
    return width // columns, height // rows
