"""The dialogs: a question, a line of text, a choice, a page. The result is what was chosen, None when left by Esc."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Static

from core.problems import Problem, Severity
from core.text import printable
from tui.theme import Cells
from tui.widgets.gauges import wrapped
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.path_input import PathInput, Paths
from tui.wiring import OurApp

Result = TypeVar("Result")


class Dialog(ModalScreen[Result | None], Generic[Result]):
    """A panel in the middle: title, body, one muted line of keys."""

    CSS_PATH = "dialogs.tcss"
    app = OurApp()
    BINDINGS = [
        Binding("escape", "cancel", "one step back", show=False, id="app.back"),
        Binding("q", "cancel", "leave", show=False, id="app.leave"),
    ]

    def __init__(self, title: str, keys: str = "⏎ choose   Esc back") -> None:
        super().__init__()
        self._title, self._keys = title, keys

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(Content(printable(self._title)), id="title")
            yield from self.compose_dialog()
            yield Static(Content(self._keys), id="keys")

    def compose_dialog(self) -> Iterable[Widget]:
        """The widgets between the title and the keys."""
        return ()

    @property
    def room(self) -> int:
        """Rows for these widgets: the sheet's max-height without padding, title and keys."""
        return max(1, self.app.size.height * 92 // 100 - 6)

    def action_cancel(self) -> None:
        self.dismiss(None)


def _choice_rows(options: Sequence[tuple[str, str, str]], width: int) -> tuple[list[Cells], list[int]]:
    """Labels with their explanations beside them, wrapped where they do not fit; and the row of each label."""
    room = max((cell_len(printable(label)) for _, label, _ in options), default=0) + 2
    rows: list[Cells] = []
    heads: list[int] = []
    for _, label, why in options:
        heads.append(len(rows))
        text, beside = printable(why), width - room - 2
        if not text or cell_len(text) <= beside:
            rows.append([(f" {set_cell_size(printable(label), room)}", "text"), (text, "muted")])
        elif beside >= 30:
            first, *more = wrapped(text, beside, 4)
            rows.append([(f" {set_cell_size(printable(label), room)}", "text"), (first, "muted")])
            rows += [[(" " * (room + 1), "text"), (part, "muted")] for part in more]
        else:
            rows.append([(f" {printable(label)}", "text")])
            rows += [[("   ", "text"), (part, "muted")] for part in wrapped(text, width - 5, 4)]
    return rows, heads


class _Choices(ItemList):
    """The cursor goes from label to label, over the rows in which an explanation goes on."""

    def __init__(self, rows: list[Cells], heads: list[int]) -> None:
        super().__init__(Texts(rows), id="options", on="surface")
        self.heads = heads

    def move(self, index: int) -> None:
        if self.heads and index not in self.heads:
            later = [head for head in self.heads if head > index]
            earlier = [head for head in self.heads if head <= index]
            index = later[0] if later and (index > self.cursor or not earlier) else earlier[-1]
        super().move(index)


class Choose(Dialog[str]):
    """One of several: `options` are (value, label, explanation)."""

    def __init__(
        self, title: str, options: Sequence[tuple[str, str, str]], text: str = "", chosen: str | None = None
    ) -> None:
        super().__init__(title)
        self._options, self._text = options, text
        self._at = next((index for index, option in enumerate(options) if option[0] == chosen), 0)

    def compose_dialog(self) -> Iterable[Widget]:
        if self._text:
            yield Static(Content(printable(self._text, newlines=True)), id="text")
        width = max(16, (76 if self.app.size.width >= 100 else self.app.size.width) - 4)
        rows, heads = _choice_rows(self._options, width)
        choices = _Choices(rows, heads)
        choices.styles.height = min(len(rows), 14)
        choices.cursor = heads[self._at] if heads else -1
        yield choices

    def on_mount(self) -> None:
        self.query_one(ItemList).focus()

    @on(ItemList.Opened)
    def _chosen(self, event: ItemList.Opened) -> None:
        choices = self.query_one(_Choices)
        self.dismiss(self._options[choices.heads.index(event.index)][0])


class Confirm(Choose):
    """Yes or no: dismisses with `yes`, `no` or None; `Confirm.is_yes` reads it."""

    def __init__(self, title: str, text: str, yes: str = "Yes", no: str = "No, leave it as it is") -> None:
        super().__init__(title, [("yes", yes, ""), ("no", no, "")], text)


class Ask(Dialog[str]):
    """One line of text; `check` returns what is wrong with it, or None. With `paths` it is the path of one of those."""

    def __init__(
        self,
        title: str,
        label: str,
        value: str = "",
        suggestions: Sequence[str] = (),
        check: Callable[[str], str | None] | None = None,
        paths: Paths | None = None,
    ) -> None:
        keys = "⏎ take it   Esc back"
        super().__init__(title, f"tab completes   ↑ ↓ others   {keys}" if paths is not None else keys)
        self._label, self._value, self._check = label, value, check
        self._suggester = SuggestFromList(suggestions, case_sensitive=False) if suggestions else paths

    def compose_dialog(self) -> Iterable[Widget]:
        yield Static(Content(printable(self._label, newlines=True)), id="text")
        yield PathInput(self._value, suggester=self._suggester, select_on_focus=False, id="answer")
        yield Static(id="wrong")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _taken(self, event: Input.Submitted) -> None:
        wrong = self._check(event.value) if self._check is not None else None
        if wrong is None:
            self.dismiss(event.value)
        else:
            self.query_one("#wrong", Static).update(Content(printable(wrong)))


class ProblemList(Dialog[Problem]):
    """What `!` shows; Enter gives the problem back to the screen that asked."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = len(problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''}" if count else "No problems", "Esc back")
        self._problems = problems

    def compose_dialog(self) -> Iterable[Widget]:
        rows = ItemList(
            Texts(map(self._row, self._problems)), id="options", on="surface", empty="Nothing to complain about here."
        )
        rows.styles.height = max(1, min(len(self._problems), 14))
        yield rows
        yield Static(id="text")

    def _row(self, problem: Problem) -> Cells:
        glyph, role = _SEVERITIES[problem.severity]
        name = printable(problem.where.rstrip("/").rpartition("/")[2] or problem.where)
        message = printable(problem.message.replace(problem.where, name))
        return [(f" {glyph} ", role), (f"{name}  ", "muted"), (message, "text")]

    def on_mount(self) -> None:
        rows = self.query_one(ItemList)
        rows.focus()
        self._explain(rows.cursor)

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        self._explain(event.index)

    def _explain(self, index: int) -> None:
        if 0 <= index < len(self._problems):
            problem = self._problems[index]
            text = f"{problem.code}  {problem.where}\n{problem.message}\n{problem.hint or ''}"
            self.query_one("#text", Static).update(Content(printable(text, newlines=True)))

    @on(ItemList.Opened)
    def _chosen(self, event: ItemList.Opened) -> None:
        self.dismiss(self._problems[event.index])


_SEVERITIES = {Severity.ERROR: ("✗", "bad"), Severity.WARNING: ("!", "caution"), Severity.INFO: ("·", "muted")}


class Page(Dialog[None]):
    """A page of the documentation."""

    BINDINGS = [
        Binding("down,j", "scroll(1)", "down", show=False, id="list.down"),
        Binding("up,k", "scroll(-1)", "up", show=False, id="list.up"),
        Binding("g,home", "ends(False)", "first", show=False, id="list.first"),
        Binding("G,end", "ends(True)", "last", show=False, id="list.last"),
        Binding("ctrl+d", "half_page(1)", "half a page down", show=False, id="list.half-page-down"),
        Binding("ctrl+u", "half_page(-1)", "half a page up", show=False, id="list.half-page-up"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__(name.replace("-", " "), "Esc back")
        self._name_of_page = name

    def compose_dialog(self) -> Iterable[Widget]:
        from importlib.resources import files

        from textual.widgets import Markdown

        with VerticalScroll(id="page"):
            yield Markdown(files("core").joinpath("help", f"{self._name_of_page}.md").read_text("utf-8"))

    def on_mount(self) -> None:
        self.add_class("-page")
        self.query_one("#page").focus()

    def action_scroll(self, by: int) -> None:
        self.query_one("#page").scroll_relative(y=by, animate=False)

    def action_half_page(self, by: int) -> None:
        page = self.query_one("#page")
        page.scroll_relative(y=by * page.size.height // 2, animate=False)

    def action_ends(self, last: bool) -> None:
        page = self.query_one("#page")
        page.scroll_end(animate=False) if last else page.scroll_home(animate=False)
