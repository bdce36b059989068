"""A line to type a tag in, with the tags that it may become listed above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from core.text import printable
from tui.theme import CATEGORIES, Cells, fit
from tui.widgets.line import Lines
from tui.wiring import OurApp

SHOWN = 8
Suggestion = tuple[str, int]
"""(tag, how many images have it)"""


def complete(typed: str, counts: Mapping[str, int], known: Iterable[str], limit: int = SHOWN) -> list[Suggestion]:
    """Tags that begin with what was typed, the most used first, then those that contain it; known ones come last."""
    word = typed.replace("_", " ").strip().casefold()
    if not word:
        return []
    begin: list[Suggestion] = []
    inside: list[Suggestion] = []
    for tag, count in sorted(counts.items(), key=lambda item: -item[1]):
        text = tag.replace("_", " ").casefold()
        if text.startswith(word):
            begin.append((tag, count))
        elif word in text:
            inside.append((tag, count))
    found = [*begin, *inside][:limit]
    if len(found) < limit:
        have = {tag.replace("_", " ").casefold() for tag in counts}
        more = [tag for tag in known if "_" not in tag and word in tag.casefold() and tag.casefold() not in have]
        more.sort(key=lambda tag: (not tag.casefold().startswith(word), len(tag)))
        found += [(tag, 0) for tag in more[: limit - len(found)]]
    return found


class TagInput(Vertical):
    """Enter posts `Entered` and leaves the line open for the next one; Esc posts `Left`."""

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
        self, label: str, value: str, suggest: Callable[[str], list[Suggestion]], categories: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._label, self._value, self._suggest, self._categories = label, value, suggest, categories
        self._found: list[Suggestion] = []
        self._chosen = -1

    def compose(self) -> ComposeResult:
        yield Lines(on="surface")
        yield Input(self._value, placeholder=self._label, select_on_focus=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def clear(self) -> None:
        """Ready for the next tag."""
        self.query_one(Input).value = ""

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        word = event.value.rpartition(",")[2]
        self._found, self._chosen = self._suggest(word), -1
        self._draw()

    def _draw(self) -> None:
        lines: list[Cells] = []
        for index, (tag, count) in enumerate(self._found):
            letter, role = CATEGORIES.get(self._categories.get(tag.replace("_", " ").lower(), ""), (" ", "text"))
            here = index == self._chosen
            room = max(8, self.size.width - 12)
            lines.append(
                [
                    (" ▸ " if here else "   ", "accent"),
                    (fit(printable(tag), room), "text bold" if here else "text"),
                    (f"{letter} ", role),
                    (f"{count or '':>5}", "muted"),
                ]
            )
        panel = self.query_one(Lines)
        panel.styles.height = len(lines)
        panel.show(lines)

    def on_key(self, event: events.Key) -> None:
        if event.key in {"down", "up"} and self._found:
            self._chosen = (self._chosen + (1 if event.key == "down" else -1)) % len(self._found)
        elif event.key == "tab" and self._found:
            self._take(self._found[max(0, self._chosen)][0])
        else:
            return
        event.stop()
        event.prevent_default()
        self._draw()

    def _take(self, tag: str) -> None:
        field = self.query_one(Input)
        before, comma, _ = field.value.rpartition(",")
        field.value = f"{before}{comma} {tag}" if comma else tag
        field.cursor_position = len(field.value)

    def action_leave(self) -> None:
        self.post_message(self.Left())

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._chosen >= 0:
            self._take(self._found[self._chosen][0])
        self.post_message(self.Entered(self.query_one(Input).value))
