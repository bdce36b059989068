"""One option at a time: what is typed, chosen, stepped, switched and removed in the form, done to the open config."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.problems import UserError
from tui.screens.config_form import PROMPTS, options, put, stepped, toggle

if TYPE_CHECKING:
    from core.config.documents import Config
    from tui.screens.config_disk import ConfigFiles, Owner


class ConfigValues:
    """Each change is one step of undo; a value of the wrong kind is refused with words. Knows no widget."""

    def __init__(self, owner: Owner, files: ConfigFiles) -> None:
        self._owner, self._files = owner, files

    @property
    def _config(self) -> Config | None:
        return self._files.opened.config if self._files.opened is not None else None

    def type(self, key: str, text: str) -> None:
        """What was typed or chosen; nothing typed removes the option."""
        self._apply(lambda config: put(config, key, text), key)

    def step(self, key: str, by: int) -> None:
        """The choice `by` places further, if the option has choices."""
        text = stepped(self._config, key, by) if self._config is not None else None
        if text is not None:
            self.type(key, text)

    def switch(self, key: str) -> bool:
        """A flag the other way; False when it is none."""
        option = options(self._config).get(key) if self._config is not None else None
        if option is None or option.type != "bool":
            return False
        self._apply(lambda config: toggle(config, key), key)
        return True

    async def choose(self, key: str) -> None:
        """Ask for one of the option's values."""
        from tui.screens.config_dialogs import choose_value

        if self._config is not None:
            text = await choose_value(self._owner.app, self._config, key)
            if text is not None:
                self.type(key, text)

    def remove(self, key: str | None) -> None:
        """Take the option out of the file."""
        if key is not None and key != PROMPTS:
            self._apply(lambda config: config.unset(config.home(key), key), key)

    def _apply(self, change: Callable[[Config], None], key: str) -> None:
        opened = self._files.opened
        if opened is None:
            return
        try:
            opened.change(change, key)
        except UserError as error:
            self._owner.app.report(error)
        else:
            self._owner.changed()
