"""A line to type a path in: what is there stands muted behind the cursor, and Tab or → takes it."""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import ClassVar

from textual.actions import SkipAction
from textual.binding import Binding
from textual.suggester import Suggester, SuggestionReady
from textual.widgets import Input

from core.files import natural_key

LIMIT = 20_000
"""Entries of a folder that are looked at; nobody finds a path among more by its first letters."""
OFFERS = 200
"""To sort all of 20,000 by their numbers would hold up the screen's thread for 100 ms."""


def completions(typed: str, root: Path, endings: Iterable[str] | None = None) -> list[str]:
    """What `typed` may become, folders (with a slash) before files; as far as it is typed it stays as it is.

    Relative paths begin at `root`, `~` at home. `endings` (".toml") keeps other files out, an empty one every file.
    Names that begin with a dot, and those that no keyboard types, are left out unless the dot is typed.
    """
    if typed == "~":
        return ["~/"]
    head, slash, begun = typed.rpartition("/")
    wanted = None if endings is None else tuple(endings)
    found: list[tuple[bool, bool, str]] = []
    try:
        folder = root / Path(head + slash).expanduser()
        with os.scandir(folder) as entries:
            for entry in islice(entries, LIMIT):
                name = entry.name
                if name[: len(begun)].casefold() != begun.casefold() or name.startswith(".") > begun.startswith("."):
                    continue
                if not name.isprintable():
                    continue
                is_folder = entry.is_dir()
                if is_folder or wanted is None or name.lower().endswith(wanted):
                    found.append((not name.startswith(begun), not is_folder, name))
    except (OSError, ValueError, RuntimeError):  # not there, forbidden, no path at all, ~nobody
        return []
    first = sorted(heapq.nsmallest(OFFERS, found), key=lambda each: (*each[:2], natural_key(each[2])))
    paths = [f"{head}{slash}{name}{'' if is_file else '/'}" for _, is_file, name in first]
    return [path for path in paths if path != typed]


class Paths(Suggester):
    """Offers the files and folders below `root`, which is read on a thread: no slow disk holds up the typing."""

    def __init__(self, root: Path, endings: Iterable[str] | None = None) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._root, self._endings = root, endings
        self._newest = ""
        self._meant: str | None = None
        self._turn = asyncio.Lock()
        self._found: tuple[str, list[str]] = ("", [])

    async def get_suggestion(self, value: str) -> str | None:
        """The first of what `value` may become. One folder is read at a time; what was typed over is passed by."""
        self._newest = value
        async with self._turn:
            if value != self._newest:
                return None
            found = await asyncio.to_thread(completions, value, self._root, self._endings)
        self._found = (value, [] if value == self._meant else found)
        return next(iter(self._found[1]), None)

    def settle(self, value: str) -> None:
        """`value` is meant as it stands: nothing more is offered for it."""
        self._meant, self._found = value, (value, [])

    def turn(self, value: str, by: int) -> str | None:
        """The offer `by` places further, round the end; None when there are not two for `value`."""
        typed, found = self._found
        if typed != value or len(found) < 2:
            return None
        found[:] = [*found[by:], *found[:by]]
        return found[0]


class PathInput(Input):
    """An input whose offer is taken by Tab too, and changed for the next one by ↓ and ↑. Without one, Tab moves on."""

    BINDINGS: ClassVar = [
        Binding("tab", "take", "complete", show=False, id="path.next", tooltip="Take what is offered"),
        Binding("down", "turn(1)", "next offer", show=False, id="list.down"),
        Binding("up", "turn(-1)", "offer before", show=False, id="list.up"),
    ]

    def action_take(self) -> None:
        """Take what stands behind the cursor."""
        before = self.value
        if self.cursor_at_end:
            self.action_cursor_right()
        if self.value == before:
            raise SkipAction

    async def action_submit(self) -> None:
        """Enter: what is typed is meant, so that Tab moves on."""
        if isinstance(self.suggester, Paths):
            self.suggester.settle(self.value)
            self.post_message(SuggestionReady(self.value, ""))
        await super().action_submit()

    def action_turn(self, by: int) -> None:
        """Offer another one."""
        offer = self.suggester.turn(self.value, by) if isinstance(self.suggester, Paths) else None
        if offer is None:
            raise SkipAction
        self.post_message(SuggestionReady(self.value, offer))
