"""The bindings against the key table of the design: one meaning per key in the whole app."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import _character_to_key

import tui.screens
import tui.widgets
from tui.app import KohyaApp

# key → what it means, as the second part of a binding's id.
MEANINGS: dict[str, set[str]] = {
    **{
        str(digit): {mode, f"quick-{digit}"}
        for digit, mode in enumerate(("dataset", "tag", "review", "config", "monitor"), 1)
    },
    **{str(digit): {f"quick-{digit}"} for digit in range(6, 10)},
    "f5": {"read-again"},
    "ctrl+p": {"palette"},
    "?": {"help"},
    "f1": {"help"},
    "escape": {"back"},
    "q": {"leave"},
    "ctrl+q": {"quit"},
    "/": {"open"},
    "n": {"next"},
    "N": {"previous"},
    "u": {"undo"},
    "U": {"redo"},
    "ctrl+r": {"redo"},
    "!": {"problems"},
    "H": {"hide-pictures"},
    "I": {"images"},
    "tab": {"next-panel", "next"},
    "shift+tab": {"previous-panel"},
    "up": {"up"},
    "k": {"up"},
    "down": {"down"},
    "j": {"down"},
    "left": {"left", "previous-image"},
    "h": {"left", "previous-image"},
    "right": {"right", "next-image"},
    "l": {"right", "next-image"},
    "g": {"first"},
    "home": {"first"},
    "G": {"last"},
    "end": {"last"},
    "pagedown": {"page-down"},
    "pageup": {"page-up"},
    "ctrl+d": {"half-page-down"},
    "ctrl+u": {"half-page-up"},
    "space": {"mark"},
    "v": {"range"},
    "A": {"mark-all"},
    "enter": {"open"},
    "y": {"copy"},
    "D": {"trash"},
    "o": {"order"},
    "m": {"reviewed"},
    "w": {"list-or-grid"},
    "T": {"tag"},
    "i": {"import"},
    "M": {"move"},
    "b": {"buckets"},
    "B": {"batch"},
    "=": {"duplicates"},
    "#": {"tags-panel"},
    "]": {"next-untagged"},
    "[": {"previous-untagged"},
    "a": {"add"},
    "x": {"remove"},
    "r": {"rename"},
    "J": {"move-down"},
    "K": {"move-up"},
    "f": {"front"},
    '"': {"same"},
    "E": {"text"},
    "e": {"editor"},
    "t": {"quick-tags"},
    "z": {"zoom"},
    "V": {"visual-checker"},
    "ctrl+t": {"raw"},
    "ctrl+n": {"new"},
    "ctrl+o": {"open"},
    "d": {"diff"},
    "c": {"check"},
    "$": {"measure"},
    "F": {"fix"},
    "s": {"save"},
    "R": {"start"},
    "p": {"pause"},
    "P": {"preset"},
    "+": {"smoother", "higher", "larger"},
    "-": {"rougher", "lower", "smaller"},
    "L": {"log-scale"},
    "O": {"overlay"},
    "X": {"stop"},
    "C": {"resume"},
    "S": {"samples", "leave"},
    "Z": {"hold"},
    "&": {"compare"},
    "W": {"level"},
    "|": {"panes"},
    "%": {"outliers"},
    ">": {"closer"},
    "<": {"further"},
    "0": {"whole"},
    ".": {"next-series"},
    ",": {"previous-series"},
}
FORBIDDEN = {"ctrl+i", "ctrl+j", "ctrl+m", "ctrl+h", "ctrl+left_square_bracket", "ctrl+b", "ctrl+a", "ctrl+s"}


def _classes() -> Iterator[type[DOMNode]]:
    yield KohyaApp
    for package in (tui.screens, tui.widgets):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for _, found in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
                if found.__module__ == info.name and issubclass(found, DOMNode):
                    yield found


def _bindings() -> list[tuple[str, Binding]]:
    found = []
    for owner in _classes():
        for binding in Binding.make_bindings(owner.__dict__.get("BINDINGS", ())):
            found.append((owner.__name__, binding))
    return found


BINDINGS = _bindings()
IDS = [f"{owner}-{binding.key}" for owner, binding in BINDINGS]


@pytest.mark.parametrize(("owner", "binding"), BINDINGS, ids=IDS)
def test_every_binding_is_in_the_key_table(owner: str, binding: Binding) -> None:
    """A key means the same thing wherever it acts, and has an id by which the user can move it."""
    assert binding.id is not None, f"{owner}: {binding.key} has no id"
    by_key = {_character_to_key(key) if len(key) == 1 else key: meanings for key, meanings in MEANINGS.items()}
    assert binding.key in by_key, f"{owner}: {binding.key} is not in the key table"
    meaning = binding.id.rpartition(".")[2]
    assert meaning in by_key[binding.key], f"{owner}: {binding.key} means {by_key[binding.key]}, not {meaning}"


def test_keys_that_terminals_take_are_free() -> None:
    """Nothing is bound that is really Tab, Enter, Backspace or Esc, or that tmux, screen and flow control take."""
    assert not FORBIDDEN & {binding.key for _, binding in BINDINGS}


SAYS_WHY_NOT = {"no_state"}
"""What a key does where its own action cannot be done."""


def test_one_id_means_one_description() -> None:
    """Ids are shared only by keys that do the same."""
    actions: dict[str, set[str]] = {}
    for owner, binding in BINDINGS:
        assert binding.id is not None
        if binding.action in SAYS_WHY_NOT:
            continue
        actions.setdefault(f"{owner} {binding.id}", set()).add(binding.action)
    assert {name: found for name, found in actions.items() if len(found) > 1} == {}
