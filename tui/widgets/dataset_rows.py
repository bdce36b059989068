"""How datasets, subsets and images look as rows of a list, and an image's facts beside its picture."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.cells import cell_len

from core.text import count_of, human_bytes, printable
from tui.theme import Cells, fit, words
from tui.widgets.line import cut

if TYPE_CHECKING:
    from core.dataset.model import Subset
    from tui.collection import Collection, Row

UNDO_ROOM = 30
"""Cells of the title line for what the next undo takes back."""


class TreeRows:
    """Datasets, and below the open one its subsets."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Subset | None, int]] = []
        """(dataset, subset or None for the dataset itself, images)"""
        self.open = ""
        self._labels: dict[str, str] = {}

    def fill(self, found: dict[str, list[tuple[Subset, int]]], open_name: str) -> None:
        """All datasets with what is in them."""
        self.open = open_name
        self.entries = []
        for name, subsets in found.items():
            self.entries.append((name, None, sum(count for _, count in subsets)))
            if name == open_name:
                self.entries += [(name, subset, count) for subset, count in subsets]
                known = {subset.name for subset, _ in subsets}
                self._labels = {subset.name: _label(subset.name, known) for subset, _ in subsets}
        self._repeats = {name: {subset.repeats for subset, _ in subsets} for name, subsets in found.items()}

    def place_of(self, name: str, subset: str) -> int:
        """The row of a subset, or of the dataset when `subset` is empty."""
        for index, (dataset, each, _) in enumerate(self.entries):
            if dataset == name and (each.name if each else "") == subset:
                return index
        return 0

    def __len__(self) -> int:
        return len(self.entries)

    def cells(self, index: int, width: int) -> Cells:
        name, subset, count = self.entries[index]
        if subset is None:
            repeats = self._repeats.get(name, set())
            times = f"×{next(iter(repeats))}" if len(repeats) == 1 else ""
            room = width - 13
            arrow = "▾" if name == self.open else "▸"
            return [
                (f" {arrow} ", "muted"),
                (fit(printable(name), room), "text"),
                (f"{count:>6,}", "text"),
                (f" {times:<4}"[: width - room - 9], "muted"),
            ]
        label = fit(self._labels[subset.name], width - 13)
        return [("   ", "muted"), (label, "muted"), (f"{count:>6,}", "muted")]


def _label(name: str, known: set[str]) -> str:
    """A subset's name; below one that holds it only the rest, set in."""
    above, slash, _ = name.rpartition("/")
    while slash and above not in known:
        above, slash, _ = above.rpartition("/")
    depth = sum(1 for at, letter in enumerate(name) if letter == "/" and name[:at] in known)
    text = "(beside the folders)" if name == "." else printable(name[len(above) + 1 :] if slash else name)
    return "  " * depth + text


class ImageRows:
    """The images that are shown: mark, name, size, number of tags, the beginning of the caption."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def __len__(self) -> int:
        return len(self.collection.shown)

    def cells(self, index: int, width: int) -> Cells:
        row = self.collection.shown[index]
        mark, role = ("✱", "accent") if row.marked else ("●", "good") if row.reviewed else (" ", "text")
        if row.is_broken:
            mark, role = "!", "bad"
        name_width = min(max(16, width // 4), 40)
        wide = width >= 52
        cells: Cells = [(f"{mark} ", role), (fit(printable(row.name), name_width, middle=True), "text")]
        facts = ""
        if wide:
            facts += fit(f"{row.size[0]}×{row.size[1]}" if row.size else ("–" if row.is_read else ""), 11, right=True)
        facts += fit(
            _tags(row.tag_count) if row.tag_count else "–" if row.is_read else "", 10 if wide else 9, right=True
        )
        cells.append((facts, "muted"))
        room = width - 2 - name_width - cell_len(facts) - 3
        if row.error is not None:
            cells.append(("  " + words(printable(row.error).split(" "), room, " "), "bad"))
        elif row.is_untagged:
            cells.append(("  no caption" if row.caption is None else "  empty caption", "caution"))
        elif row.is_read:
            cells.append(("  " + words(map(printable, row.tags), room), "muted"))
        return cells


def _tags(count: int) -> str:
    """`1 tag`, `31 tags`, `20k tags`: nine cells at most."""
    return "1 tag" if count == 1 else f"{count} tags" if count < 1000 else f"{count // 1000}k tags"


def title_cells(collection: Collection, tree: int, on_tree: bool, undo: str) -> tuple[Cells, Cells]:
    """The line above the lists: the head of the tree (`tree` cells wide, 0: none), what is in the dataset; the view."""
    left: Cells = [(fit(" train_data", tree + 2), "accent bold" if on_tree else "muted")] if tree else []
    name = printable(collection.name) + (f" / {printable(collection.subset)}" if collection.subset else "")
    left.append((f" {name}", "muted" if on_tree else "accent bold"))
    left.append((f" · {count_of(len(collection.rows), 'image')}", "text"))
    if untagged := collection.untagged():
        left.append((f" · {untagged:,} uncaptioned", "caution"))
    if marked := collection.marked_count():
        left.append((f" · {marked:,} marked", "accent"))
    if not collection.is_complete:
        left.append((" · reading…", "muted"))
    right: Cells = [*cut([(f"undo: {undo}", "muted")], UNDO_ROOM), ("  ", "text")] if undo else []
    if collection.query:
        right += [("/ ", "accent"), (printable(collection.query), "text"), ("   ", "text")]
    if collection.order != "name":
        from core.dataset.orders import ORDERS

        right.append((f"{ORDERS[collection.order]}   ", "muted"))
    if len(collection.shown) != len(collection.rows):
        right.append((f"{len(collection.shown):,} of {len(collection.rows):,} ", "text"))
    return left, right


def facts_of(row: Row, width: int, tokens: int | None) -> list[Cells]:
    """The lines beside the picture."""
    lines: list[Cells] = [[(fit(printable(row.name), width, middle=True).rstrip(), "text bold")]]
    size = f"{row.size[0]}×{row.size[1]}" if row.size else "unreadable" if row.is_read else "…"
    lines.append([(size, "text" if row.size else "bad"), ("  ·  ", "muted"), (human_bytes(row.item.bytes), "text")])
    tags = f"{len(row.tags)} tag{'s' if len(row.tags) != 1 else ''}"
    lines.append([(tags, "text" if row.tags else "caution"), *token_cells(tokens)])
    if row.reviewed:
        lines.append([("● ", "good"), ("reviewed", "muted")])
    if row.error is not None:
        lines += [
            [("! " if not at else "  ", "bad"), (text, "text")] for at, text in enumerate(wrap(row.error, width - 2))
        ]
    lines.append([])
    if row.caption:
        lines += [[(text, "text")] for text in wrap(row.caption.rstrip(), width)]
    return lines


def token_cells(tokens: int | None, limit: int | None = None) -> Cells:
    """` · 92/150 tokens`: of the config's `limit`, else of the next multiple of 75, which the text encoder is given.

    `limit` 0: the model has no CLIP, and counts in a way that is not known here.
    """
    if tokens is None:
        return []
    if limit == 0:
        return [("  ·  ", "muted"), ("tokens n/a (no CLIP)", "muted")]
    room = limit or 75 * max(1, -(-tokens // 75))
    role = "text" if tokens <= 75 or tokens <= (limit or 0) else "bad" if tokens > (limit or 225) else "caution"
    return [("  ·  ", "muted"), (f"{tokens}", role), (f"/{room} tokens", "muted")]


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width`, broken between words."""
    return textwrap.wrap(printable(text), max(8, width), break_on_hyphens=False)
