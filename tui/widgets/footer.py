"""The footer: a thin rule, the keys that count here (read from the bindings), and how many problems there are."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.keys import key_to_character

from tui.theme import Cells
from tui.widgets.line import Lines, cut, spread

ALWAYS = frozenset({"", "edit.undo", "app.help", "app.next-panel", "list.reviewed"})
"""Ids of the bindings that are named also where the line is too short for all."""
UNDO_ROOM = 16
"""Cells for what the next undo takes back, at least."""


def _typed(key: str) -> str | None:
    """The character of a key; Textual's own table lacks those whose key names differ from their Unicode names."""
    return {"slash": "/", "minus": "-", "plus": "+"}.get(key) or key_to_character(key)


TYPING = (("⏎", "take it", "enter"), ("Esc", "back", "escape"))
"""What the keys do in a line of text."""
TYPING_KEYS = frozenset(key for _, _, key in TYPING)


def _length(entry: tuple[str, str, str, str]) -> int:
    return cell_len(entry[0]) + 1 + cell_len(entry[1]) + 2


class Footer(Lines):
    """Follows the focus: what a key of the focused widget does stands before what works everywhere."""

    DEFAULT_CSS = "Footer { dock: bottom; height: 2; width: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[tuple[int, int, str]] = []
        self._problems = 0

    def on_mount(self) -> None:
        self.app.undo_signal.subscribe(self, lambda _: self.update())
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.call_later(self.update))
        self.call_after_refresh(self.update)

    def on_resize(self) -> None:
        self.update()

    def problems(self, count: int) -> None:
        """Show that `count` problems wait behind `!`."""
        if count != self._problems:
            self._problems = count
            self.update()

    def update(self) -> None:
        """Read the bindings again; repaints only when the line changed. Under a dialog the keys are the dialog's."""
        if not self.is_attached:
            return
        width = self.size.width or self.app.size.width
        right: Cells = []
        if self._problems:
            right = [("! ", "caution"), (f"{self._problems} problem{'s' if self._problems > 1 else ''} ", "text")]
        room = width - sum(cell_len(text) for text, _ in right) - 2
        left: Cells = [(" ", "text")]
        used, self._spans = 1, []
        keys = self._keys() if self.app.screen is self.screen else []
        while sum(map(_length, keys)) - 2 > room:
            short = next((key for key in reversed(keys) if key[3] not in ALWAYS), None)
            if short is None:
                break
            keys.remove(short)
        for entry in keys:
            display, text, key, _ = entry
            left += [(display, "accent"), (f" {text}  ", "muted")]
            self._spans.append((used, used + _length(entry) - 2, key))
            used += _length(entry)
        if keys:
            left[-1] = (f" {keys[-1][1]}", "muted")
        if room - used >= UNDO_ROOM and any(key[3] == "edit.undo" for key in keys) and self.app.undoing.label:
            undo = cut([("undo: ", "muted"), (self.app.undoing.label, "text")], room - used)
            right = [*undo, ("   ", "text"), *right] if right else [*undo, (" ", "text")]
        self.show([[("─" * width, "rule")], spread(left, right, width)])

    def _keys(self) -> list[tuple[str, str, str, str]]:
        """(key as shown, what it does, key to press, id), most specific first; keys of one group share one entry."""
        focused = self.screen.focused
        entries: dict[str, tuple[list[str], str, str, str]] = {}
        if focused is not None and "enter" in focused._bindings.key_to_bindings and focused.check_consume_key("a", "a"):
            entries = {name: ([shown], name, key, "") for shown, name, key in TYPING}
        typing = bool(entries)
        actions: set[str] = set()
        for key, active in self.screen.active_bindings.items():
            binding = active.binding
            if not binding.show or not active.enabled or not binding.description:
                continue
            if focused is not None and (focused.check_consume_key(key, _typed(key)) or (typing and key in TYPING_KEYS)):
                continue  # typed, not pressed
            display = self.app.get_key_display(binding)
            name = binding.group.description if binding.group is not None else binding.description
            known = entries.get(name)
            if known is None:
                entries[name] = ([display], name, key, binding.id or "")
            elif binding.group is not None and len(known[0]) < 2 and binding.action not in actions:
                known[0].append(display)
            actions.add(binding.action)
        return [(" ".join(displays), name, key, id) for displays, name, key, id in entries.values()]

    async def on_click(self, event: events.Click) -> None:
        for start, end, key in self._spans:
            if event.y == 1 and start <= event.x < end:
                self.app.simulate_key(key)
