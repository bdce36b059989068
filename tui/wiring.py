"""How a widget or screen names the application it lives in, with its type and without importing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.message_pump import MessagePump

if TYPE_CHECKING:
    from tui.app import KohyaApp


_APP: property = vars(MessagePump)["app"]


class OurApp:
    """`app = OurApp()` in a class body. Textual's `getters.app` wants the class itself: an import cycle."""

    def __get__(self, node: MessagePump, owner: type | None = None) -> KohyaApp:
        return cast("KohyaApp", _APP.__get__(node))
