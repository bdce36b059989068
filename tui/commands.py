"""The command palette: every binding that acts here, the help topics and the themes. Nothing is listed by hand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.dom import DOMNode
from textual.types import IgnoreReturnCallbackType

if TYPE_CHECKING:
    from tui.app import KohyaApp

Command = tuple[str, str, IgnoreReturnCallbackType]


def _beside(name: Content, text: str) -> Content:
    """One line an entry: what it does, and in the quiet colour how."""
    return Content.assemble(name, "  ", (text, "$muted"))


class _Commands(Provider):
    """Fuzzy search over `commands`."""

    @property
    def kohya(self) -> KohyaApp:
        return cast("KohyaApp", self.app)

    @abstractmethod
    def commands(self) -> Iterator[Command]:
        """(name, help, what to do)."""

    async def discover(self) -> Hits:
        for name, text, callback in self.commands():
            yield DiscoveryHit(_beside(Content(name), text), callback, text=name)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, text, callback in self.commands():
            if (score := matcher.match(name)) > 0:
                yield Hit(score, _beside(matcher.highlight(name), text), callback, text=name)


class BindingCommands(_Commands):
    """What the keys do, with the keys beside it."""

    def commands(self) -> Iterator[Command]:
        seen: dict[tuple[str, str], list[str]] = {}
        found: dict[tuple[str, str], tuple[DOMNode, Binding]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.id is None or not (binding.tooltip or binding.description) or not active.enabled:
                continue
            key = (binding.id, binding.action)
            seen.setdefault(key, []).append(self.app.get_key_display(binding))
            found.setdefault(key, (active.node, binding))
        order = sorted(found.items(), key=lambda item: _rank(item[0][0]))
        for key, (node, binding) in order:
            name = binding.tooltip or binding.description
            name = name[:1].upper() + name[1:]
            yield name, " ".join(dict.fromkeys(seen[key])), partial(self.app.run_action, binding.action, node)


def _rank(binding_id: str) -> int:
    """What belongs to this screen first, moving about in a list last."""
    scope = binding_id.partition(".")[0]
    return {"list": 3, "app": 2, "mode": 1, "edit": 1}.get(scope, 0)


class HelpCommands(_Commands):
    """`Help: …` for each topic of the documentation."""

    def commands(self) -> Iterator[Command]:
        from tui.chores import help_topics

        for title, name in help_topics():
            yield f"Help: {title}", f"kohya-tui help {name}", partial(self.kohya.open_help, name)


class ThemeCommands(_Commands):
    """The four themes."""

    def commands(self) -> Iterator[Command]:
        from core.settings import CHOICES

        for theme in CHOICES["theme"]:
            if theme != self.app.theme:
                yield f"Theme: {theme}", "Colours of the whole app", partial(self.kohya.choose_theme, theme)


class FilterCommands(_Commands):
    """The filters that are saved under names; where one is in force, to save it or to take a saved one out."""

    def commands(self) -> Iterator[Command]:
        from core.dataset import saved_filters
        from tui import saving_filters

        app = self.kohya
        if app.workspace is None or app.collection is None or app.current_mode not in {"dataset", "review"}:
            return
        if query := app.collection.query:
            yield "Save this filter", query, partial(saving_filters.save, app)
        for name, text in saved_filters.load(app.workspace).items():
            yield f"Filter: {name}", text, partial(saving_filters.use, app, name)
            yield f"Forget filter: {name}", text, partial(saving_filters.forget, app, name)


class TellingCommands(_Commands):
    """Messages about runs: how, and a test."""

    def commands(self) -> Iterator[Command]:
        from tui import telling

        yield (
            "Messages about runs",
            "ntfy, webhook, command, bell: kohya-tui notify",
            partial(telling.set_up, self.kohya),
        )
        yield "Send a test message", "kohya-tui notify test", partial(telling.test, self.kohya)


class Commands(_Commands):
    """All of them, in this order."""

    def commands(self) -> Iterator[Command]:
        for provider in (BindingCommands, FilterCommands, TellingCommands, HelpCommands, ThemeCommands):
            yield from provider(self.screen).commands()
