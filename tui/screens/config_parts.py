"""The panels beside the form: the groups at its left, plan and problems at its right."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.binding import Binding
from textual.strip import Strip

from core.config.documents import FILES, place_of
from core.problems import Problem, UserError
from core.text import printable
from tui.screens.config_form import MARKS
from tui.theme import Cells
from tui.widgets.form import Field
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import cut

if TYPE_CHECKING:
    from core.config.plan import Plan


class Side(ItemList):
    """Plan and problems. The cursor, seen only with the focus, goes from problem to problem."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._problems: Sequence[Problem] = ()
        self._at: list[int] = []
        self._told: tuple[object, ...] = ()

    def tell(self, plan: Plan | None, problems: Sequence[Problem], wrong: UserError | None, checked: bool) -> None:
        """Show them; nothing is repainted when they are the same."""
        lines = plan.lines() if plan is not None else []
        told = (lines, problems, str(wrong), checked, self.size.width)
        if told == self._told:
            return
        self._told = told
        width = self.size.width - 1  # the bar's
        rows: list[Cells] = [[(" Plan", "accent")]]
        owner: list[int] = [-1]

        def add(cells: Cells, of: int = -1) -> None:
            for row in wrapped([cells], width):
                rows.append(row)
                owner.append(of)

        if wrong is not None:
            add([(" ✗ ", "bad"), (printable(wrong.message), "text")])
        for text in lines:
            add([(f" {text}", "text")])
        if not lines and wrong is None:
            add([(" –" if checked else " counting …", "muted")])
        add([])
        add([(" Problems", "accent")])
        if not problems:
            add([(" none" if checked else " checking …", "muted")])
        self._problems = sorted(problems, key=lambda each: list(MARKS).index(each.severity))
        for index, problem in enumerate(self._problems):
            glyph, role = MARKS[problem.severity]
            file, key = place_of(problem.where)
            place = printable(key or (FILES[file] if file is not None else problem.where))
            add(
                [
                    (f" {glyph} ", role),
                    (f"{problem.code} ", "muted"),
                    (f"{place}: {printable(problem.message)}", "text"),
                ],
                index,
            )
            if problem.hint:
                fix = "  fix: F" if problem.fixable else ""
                add([("   ", "text"), (printable(problem.hint) + fix, "muted")], index)
        self._at = owner
        first = next((row for row, of in enumerate(owner) if of >= 0), 0)
        self.set_rows(Texts(rows), first)

    @property
    def problem(self) -> Problem | None:
        """The one under the cursor."""
        of = self._at[self.cursor] if 0 <= self.cursor < len(self._at) else -1
        return self._problems[of] if of >= 0 else None

    def move(self, index: int) -> None:
        step = 1 if index >= self.cursor else -1
        here = self._at[self.cursor] if 0 <= self.cursor < len(self._at) else -1
        index = min(max(index, 0), len(self._at) - 1)
        while 0 <= index < len(self._at) and (self._at[index] < 0 or self._at[index] == here):
            index += step
        if 0 <= index < len(self._at):
            while index and self._at[index - 1] == self._at[index]:
                index -= 1
            super().move(index)
        elif step < 0:
            self.scroll_home(animate=False)

    def on_resize(self) -> None:
        super().on_resize()
        self._told = ()

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        cells = self.rows.cells(index, self.size.width) if index < len(self.rows) else []
        of = self._at[index] if index < len(self._at) else -1
        chosen = self.has_focus and of >= 0 and 0 <= self.cursor < len(self._at) and of == self._at[self.cursor]
        width = self.scrollable_content_region.width
        return self.app.paint.strip(cells, width, "cursor" if chosen else "background").simplify()

    def refresh_line(self, y: int) -> None:
        """All lines of the problem that has this one."""
        of = self._at[y] if 0 <= y < len(self._at) else -1
        for line in [index for index, each in enumerate(self._at) if each == of >= 0]:
            super().refresh_line(line)


class Groups(ItemList):
    """The groups of the form; the cursor is where the form's is."""

    BINDINGS: ClassVar = [Binding("right,l", "open", "to the fields", show=False, id="list.right")]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.firsts: list[str] = []
        """The key of the first field of each group."""
        self._group_of: dict[str, int] = {}

    def tell(self, fields: Iterable[Field], key: str | None) -> None:
        """Show the groups of `fields`, each with the mark of its gravest problem, and go to that of `key`."""
        titles: list[str] = []
        marks: list[tuple[str, str]] = []
        self.firsts, self._group_of = [], {}
        for field in fields:
            if field.kind == "head":
                titles.append(field.label)
                marks.append((" ", "text"))
                self.firsts.append("")
            elif field.editable and titles:
                self._group_of[field.key] = len(titles) - 1
                self.firsts[-1] = self.firsts[-1] or field.key
                if field.problem is not None and _weight(field.problem[1]) > _weight(marks[-1][1]):
                    marks[-1] = field.problem[:2]
        rows: list[Cells] = [
            [mark, (title.partition(" ")[0], "text")] for title, mark in zip(titles, marks, strict=True)
        ]
        at = self._group_of.get(key or "", 0)
        old = self.rows
        if len(old) != len(rows) or any(old.cells(index, 0) != row for index, row in enumerate(rows)):
            self.set_rows(Texts(rows), at)
        else:
            self.follow(key)

    def follow(self, key: str | None) -> None:
        """The form's cursor is on `key`."""
        self.move(self._group_of.get(key or "", 0))


def _weight(role: str) -> int:
    return {"bad": 3, "caution": 2, "muted": 1}.get(role, 0)


def wrapped(lines: Sequence[Cells], width: int) -> list[Cells]:
    """Each line broken at blanks to `width` cells; what follows is indented as its first line."""
    result: list[Cells] = []
    for cells in lines:
        if width < 8 or not cells or sum(cell_len(piece) for piece, _ in cells) <= width:
            result.append(cells)
            continue
        *lead, (last, role) = cells
        indent = sum(cell_len(piece) for piece, _ in lead) + len(last) - len(last.lstrip())
        first, *rest = textwrap.wrap(last.strip(), max(8, width - indent), break_on_hyphens=False) or [""]
        blank = last[: len(last) - len(last.lstrip())]
        result.append(cut([*lead, (blank + first, role)], width))
        result += [[(" " * indent + part, role)] for part in rest]
    return result
