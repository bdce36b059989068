"""Two configs beside each other: by value or by line; against the saved files, a preset, another config or a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.widget import Widget

from core.config import compare
from core.config.documents import FILES, FileName
from core.config.values import shown
from core.problems import UserError
from core.text import human_age, printable
from tui.screens.config_parts import wrapped
from tui.screens.dialogs import Choose, Dialog
from tui.theme import Cells, fit
from tui.widgets.item_list import ItemList, Texts

if TYPE_CHECKING:
    from core.config.compare import Difference, LinePair
    from core.config.documents import Config
    from tui.app import KohyaApp

RUNS = 12
"""Runs that are offered, the newest first."""
AROUND = 2
"""Equal lines that are shown before and behind a change."""
BESIDE = 96
"""From this width on the two texts stand side by side."""


class Diff(Dialog[None]):
    """`w` changes between values, as the trainer takes them, and the lines of the files with their comments."""

    BINDINGS = [Binding("w", "turn", "values or lines", show=False, id="config.list-or-grid")]

    def __init__(self, title: str, names: tuple[str, str], ours: Config, theirs: Config, *, by_line: bool) -> None:
        super().__init__(title, "")
        self._names, self._by_line = names, by_line
        self._values = compare.differences(ours, theirs)
        found = {file: compare.line_pairs(ours, theirs, file) for file in FILES}
        self._lines = {file: pairs for file, pairs in found.items() if any(pair.kind != "same" for pair in pairs)}

    def compose_dialog(self) -> Iterable[Widget]:
        yield ItemList(id="options", on="surface")

    def on_mount(self) -> None:
        self.query_one("#dialog").styles.width = min(150, self.app.size.width - 2)
        self.query_one(ItemList).focus()
        self.call_after_refresh(self._fill)

    def on_resize(self) -> None:
        self.query_one("#dialog").styles.width = min(150, self.app.size.width - 2)
        self.call_after_refresh(self._fill)

    def action_turn(self) -> None:
        """The other way to look at it."""
        self._by_line = not self._by_line
        self._fill()

    def _fill(self) -> None:
        from textual.content import Content
        from textual.widgets import Static

        rows = self.query_one(ItemList)
        width = rows.size.width - 1
        if self._by_line:
            lines = line_rows(self._lines, self._names, width)
        else:
            lines = value_rows(self._values, self._names, width)
        rows.styles.height = min(len(lines), self.room)
        rows.set_rows(Texts(lines), min(2, len(lines) - 1))  # below the heading and the name of the file
        other = "values" if self._by_line else "lines, with comments"
        self.query_one("#keys", Static).update(Content(f"w {other}   ↑ ↓ scroll   Esc back"))


def value_rows(found: list[Difference], names: tuple[str, str], width: int) -> list[Cells]:
    """Option, here, there: in three columns that line up, parted by file."""
    if not found:
        return [[(" The trainer would do the same with both.", "muted")]]
    room = min(max(len(each.key) for each in found), max(16, width * 2 // 5)) + 1
    left = (width - room - 5) // 2
    lines: list[Cells] = [
        [(f" {'':<{room}}  {fit(printable(names[0]), left)}  {fit(printable(names[1]), left)}", "accent")]
    ]
    file: FileName | None = None
    for each in found:
        if each.file != file:
            file = each.file
            lines += [[(f" {FILES[file]}", "text bold")]]
        name = fit(printable(each.key), room, middle=True)
        lines.append(
            [
                (f" {name}  ", "muted"),
                _value(each.ours, left, "text"),
                ("  ", "text"),
                _value(each.theirs, left, "second"),
            ]
        )
    return lines


def _value(value: object, width: int, role: str) -> tuple[str, str]:
    return (fit("–", width), "muted") if value is None else (fit(printable(shown(value)), width), role)


def line_rows(files: dict[FileName, list[LinePair]], names: tuple[str, str], width: int) -> list[Cells]:
    """The changed lines of every file with a few around them: side by side, or below each other where it is narrow."""
    if not files:
        return [[(" Both are the same, line by line.", "muted")]]
    half = (width - 5) // 2
    lines: list[Cells] = []
    if width >= BESIDE:
        lines.append([(f"   {fit(printable(names[0]), half)}  {fit(printable(names[1]), half)}", "accent")])
    else:
        lines.append([(f" + {printable(names[0])}   - {printable(names[1])}", "accent")])
    for file, pairs in files.items():
        lines.append([(f" {FILES[file]}", "text bold")])
        near = {
            at
            for number, pair in enumerate(pairs)
            if pair.kind != "same"
            for at in range(number - AROUND, number + AROUND + 1)
        }
        skipped = False
        for number, pair in enumerate(pairs):
            if number not in near:
                if not skipped:
                    lines.append([("   ⋯", "muted")])
                skipped = True
                continue
            skipped = False
            lines += _beside(pair, half) if width >= BESIDE else wrapped(_below(pair), width)
    return lines


def _beside(pair: LinePair, half: int) -> list[Cells]:
    glyph, left, right = {
        "same": (" ", "muted", "muted"),
        "changed": ("~", "good", "bad"),
        "ours": ("+", "good", "bad"),
        "theirs": ("-", "good", "bad"),
    }[pair.kind]
    role = {"~": "caution", "+": "good", "-": "bad"}.get(glyph, "muted")
    ours, theirs = (fit(printable(text or ""), half) for text in (pair.ours, pair.theirs))
    return [[(f" {glyph} ", role), (ours, left), ("  ", "text"), (theirs, right)]]


def _below(pair: LinePair) -> list[Cells]:
    if pair.kind == "same":
        return [[("   ", "muted"), (printable(pair.ours or ""), "muted")]]
    lines: list[Cells] = []
    if pair.theirs is not None:
        lines.append([(" - ", "bad"), (printable(pair.theirs), "bad")])
    if pair.ours is not None:
        lines.append([(" + ", "good"), (printable(pair.ours), "good")])
    return lines


async def show_diff(app: KohyaApp, config: Config) -> None:
    """Ask with what to compare, and show it; the saved files are first when something is not saved."""
    from core.config.presets import list_presets
    from core.runs.model import RunKind
    from core.runs.store import list_runs

    workspace = app.workspace
    assert workspace is not None
    now = time.time()
    runs = [run for run in await asyncio.to_thread(list_runs, workspace) if run.spec.kind is RunKind.TRAIN][:RUNS]
    entries = [("saved", "the saved files", "what saving would change")] if config.changed else []
    entries += [
        (
            f"run:{run.id}",
            printable(run.id),
            f"run of {printable(run.spec.config or '?')}, {human_age(max(0.0, now - run.spec.created))}",
        )
        for run in runs
    ]
    entries += [
        (f"config:{name}", printable(name), "config") for name in workspace.config_names() if name != config.name
    ]
    presets = await asyncio.to_thread(list_presets)
    presets.sort(key=lambda each: (not each.is_own, each.script != config.script))
    entries += [(f"preset:{each.name}", printable(each.name), f"preset: {each.title}") for each in presets]
    found: str | None = "saved" if config.changed and len(entries) == 1 else None
    if found is None:
        found = await app.push_screen_wait(Choose(f"Compare {printable(config.name)} with", entries))
    if found is None:
        return
    kind, _, name = found.partition(":")
    sources: dict[str, Callable[[], Config]] = {
        "saved": lambda: compare.saved(config),
        "run": lambda: compare.frozen(workspace, name),
        "config": lambda: compare.other(workspace, name),
        "preset": lambda: compare.from_preset(config, workspace, name),
    }
    try:
        theirs = await asyncio.to_thread(sources[kind])
    except UserError as error:
        app.report(error)
        return
    names = (config.name, {"saved": "saved", "preset": f"preset {name}"}.get(kind, name))
    title = "Changes that are not saved" if kind == "saved" else f"{names[0]} and {names[1]}"
    await app.push_screen_wait(Diff(title, names, config, theirs, by_line=kind == "saved"))
