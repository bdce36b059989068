"""One option at a time: what is typed, chosen, stepped, switched and removed in the form, done to the open config."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from core.config import subsets
from core.problems import UserError
from tui.screens.config_form import FOLDERS, PAIRS, PROMPTS, bare, options, put, stepped, toggle

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.subsets import Node
    from tui.screens.config_disk import ConfigFiles, Owner
    from tui.widgets.sheet import Wish


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
        option = options(self._config).get(bare(key)) if self._config is not None else None
        if option is None or option.type != "bool":
            return False
        self._apply(lambda config: toggle(config, key), key)
        return True

    async def choose(self, key: str) -> None:
        """Ask for one of the option's values; for the rows of a list of "key=value"."""
        from tui.screens.config_dialogs import choose_value
        from tui.screens.config_pairs import pairs_dialog

        config = self._config
        if config is None:
            return
        if key in PAIRS:
            now = config.get("train", key)
            items = await self._owner.app.push_screen_wait(pairs_dialog(key, now, config.effective()))
            if items is not None and items != (now or []):
                self._apply(lambda config: config.set("train", key, items or None), key)
            return
        text = await choose_value(self._owner.app, config, key)
        if text is not None:
            self.type(key, text)

    # Folders and prompts

    def set_prompts(self, text: str, key: str) -> None:
        """Other sample prompts."""
        self._apply(lambda config: config.set_text("prompts", text), key)

    async def change_folders(self, wish: Wish, node: Node | None) -> None:
        """Add, remove, copy or move a dataset or folder."""
        config = self._config
        if config is None or (node is None and wish != "add"):
            return
        if subsets.is_inline(config) and not await self._may_rewrite():
            return
        if wish == "add":
            await self._add_folders(config, node)
            return
        assert node is not None
        place = node.place

        def change(config: Config) -> None:
            nonlocal place
            if subsets.is_inline(config):
                subsets.write_as_blocks(config)
            if wish == "remove":
                subsets.remove(config, node)
            elif wish == "copy":
                place = subsets.duplicate(config, node)
            else:
                place = subsets.move(config, node, 1 if wish == "down" else -1)

        self._apply(change, place, lambda: place)

    async def _may_rewrite(self) -> bool:
        """Ask whether the lists of dataset.toml become blocks, which is done with the change: one step of undo."""
        from tui.screens.dialogs import Confirm

        text = (
            "dataset.toml has its folders in a list: datasets = [{...}]. Here they are added, copied and moved as "
            "blocks below [[datasets]] and [[datasets.subsets]]. The trainer takes both alike; u takes it back."
        )
        return await self._owner.app.push_screen_wait(Confirm("Write it as blocks?", text, "Write it so")) == "yes"

    async def _add_folders(self, config: Config, node: Node | None) -> None:
        from tui.screens.config_choices import ask_folders

        found = await ask_folders(self._owner.app, config, node)
        if found is None:
            return
        at = node.dataset if node is not None and node.level != "general" else None
        place = ""

        def change(config: Config) -> None:
            nonlocal place
            if subsets.is_inline(config):
                subsets.write_as_blocks(config)
            if not found:
                like = next((each for each in subsets.tree(config) if each.level == "datasets"), None)
                place = subsets.add_dataset(config, like)
                return
            workspace = self._owner.app.workspace
            assert workspace is not None
            subsets.add_folders(config, workspace, found, at)
            place = [each.place for each in subsets.tree(config) if at is None or each.dataset == at][-1]

        self._apply(change, "", lambda: place)

    def remove(self, key: str | None) -> None:
        """Take the option out of the file."""
        if key is not None and key not in {PROMPTS, FOLDERS}:
            self._apply(lambda config: config.unset(config.home(key), key), key)

    def _apply(self, change: Callable[[Config], None], key: str, then: Callable[[], str] | None = None) -> None:
        """Do it as one step; the cursor goes to the key that `then` says afterwards."""
        opened = self._files.opened
        if opened is None:
            return
        try:
            opened.change(change, key)
        except UserError as error:
            self._owner.app.report(error)
        else:
            self._owner.changed(then() if then is not None else key)
