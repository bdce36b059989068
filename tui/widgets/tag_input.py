"""A line to type a tag in, with the tags that it may become listed above it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from core.dataset.captions import spelled_like
from core.text import printable
from tui.theme import CATEGORIES, Cells, fit
from tui.widgets.line import Lines
from tui.wiring import OurApp

if TYPE_CHECKING:
    from core.dataset.completion import Completion
    from tui.vocabulary import Vocabulary

SHOWN = 8


def short(count: int) -> str:
    """A count in at most five cells: `840`, `12.3k`, `4.4M`."""
    if count < 10_000:
        return f"{count or ''}"
    return (
        f"{count / 1e3:.1f}k" if count < 99_950 else f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"
    )


def completion_cells(found: Completion, width: int, is_chosen: bool) -> Cells:
    """A row of the list: the tag, the alias by which it was found, category, and how often it is used.

    Counts of the dataset itself stand out; those of Danbooru are quiet.
    """
    letter, role = CATEGORIES.get(found.category or "", (" ", "text"))
    tag, alias = printable(found.tag), f" ← {printable(found.alias)}" if found.alias else ""
    room = max(8, width - 3 - 2 - 6)
    shown = min(cell_len(tag), room) if alias else room
    return [
        (" ▸ " if is_chosen else "   ", "accent"),
        (fit(tag, shown), "text bold" if is_chosen else "text"),
        (fit(alias, room - shown), "muted"),
        (f" {letter}", role),
        (f"{short(found.count):>6}", "second" if found.source == 0 else "muted"),
    ]


class Tags(Suggester):
    """For a plain Input in which tags are typed: the rest of the likeliest one behind the cursor, `right` takes it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._vocabulary = vocabulary
        vocabulary.load()

    async def get_suggestion(self, value: str) -> str | None:
        word = value.rpartition(",")[2].lstrip()
        for found in self._vocabulary.complete(word, SHOWN) if word else ():
            if found.tag.casefold().startswith(word.casefold()) and len(found.tag) > len(word):
                return value + found.tag[len(word) :]
        return None


class TagInput(Vertical):
    """Enter posts `Entered` and leaves the line open for the next one; Esc posts `Left`.

    `offered` is what is listed before anything is typed: it is taken by arrows or tab, never by Enter alone.
    """

    DEFAULT_CSS = """
    TagInput { height: auto; background: $surface; }
    TagInput Lines { height: 0; }
    """
    app = OurApp()
    BINDINGS = [Binding("escape", "leave", "done", id="app.back", key_display="esc")]

    class Entered(Message):
        """`text` is what was typed, or the suggestion that was chosen with the arrows or tab."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """Esc."""

    def __init__(
        self,
        label: str,
        value: str = "",
        without: Callable[[], Sequence[str]] = tuple,
        offered: Callable[[], Sequence[tuple[str, float]]] = tuple,
        *,
        id: str | None = None,
    ) -> None:
        """`without`: tags that need not be offered; `offered`: (tag, score) for the empty line."""
        super().__init__(id=id)
        self._label, self._value, self._without, self._offered = label, value, without, offered
        self._found: Sequence[Completion] = ()
        self._scored: Sequence[tuple[str, float]] = ()
        self._chosen = -1

    def compose(self) -> ComposeResult:
        yield Lines(on="surface")
        yield Input(self._value, placeholder=self._label, select_on_focus=False)

    def on_mount(self) -> None:
        self.screen.set_focus(self.query_one(Input))  # now: `focus` waits a turn, and the next key may be there already
        self.app.vocabulary.load(self._look)
        self.call_after_refresh(self._look)

    def clear(self) -> None:
        """Ready for the next tag."""
        self.query_one(Input).value = ""
        self._look()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look()

    def _look(self) -> None:
        """The answers for what stands there now."""
        if not self.is_attached:
            return
        value = self.query_one(Input).value
        word = value.rpartition(",")[2]
        is_same = value.strip() == self._value.strip() and bool(self._value)
        self._found, self._scored, self._chosen = (), (), -1
        if word.strip() and not is_same:  # a tag that is to be renamed is not what is looked for
            self._found = self.app.vocabulary.complete(word, SHOWN, self._without())
        elif not value.strip():
            self._scored = self._offered()[:SHOWN]
        self._draw()

    @property
    def _tags(self) -> list[str]:
        return [each.tag for each in self._found] or [tag for tag, _ in self._scored]

    def _draw(self) -> None:
        width = self.size.width
        lines = [completion_cells(each, width, at == self._chosen) for at, each in enumerate(self._found)]
        for at, (tag, score) in enumerate(self._scored):
            here = at == self._chosen
            lines.append(
                [
                    (" ▸ " if here else "   ", "accent"),
                    (fit(printable(tag), max(8, width - 11)), "text bold" if here else "text"),
                    (f"  {score:>5.2f}", "muted"),
                ]
            )
        panel = self.query_one(Lines)
        panel.styles.height = len(lines)
        panel.show(lines)

    def on_key(self, event: events.Key) -> None:
        tags = self._tags
        if event.key in {"down", "up"} and tags:
            at = self._chosen
            self._chosen = (max(at, -1) + 1 if event.key == "down" else (at if at >= 0 else len(tags)) - 1) % len(tags)
        elif event.key == "tab":
            if tags:
                self._take(tags[max(0, self._chosen)])
        else:
            return
        event.stop()
        event.prevent_default()
        self._draw()

    def _take(self, tag: str) -> None:
        field, tag = self.query_one(Input), spelled_like(tag, self._without())
        before, comma, _ = field.value.rpartition(",")
        field.value = f"{before}{comma} {tag}" if comma else tag
        field.cursor_position = len(field.value)

    def action_leave(self) -> None:
        self.post_message(self.Left())

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._chosen >= 0:
            self._take(self._tags[self._chosen])
        self.post_message(self.Entered(self.query_one(Input).value))
