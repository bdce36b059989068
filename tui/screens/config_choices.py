"""Values that are chosen from a list that takes others too, and folders that become subsets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.check_training import FITTING_MODULES
from core.text import count_of, printable
from tui.screens.config_form import OPEN_CHOICES, options
from tui.screens.dialogs import Ask, Choose
from tui.widgets.path_input import Paths

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.subsets import Node
    from tui.app import KohyaApp

OTHER = "\0other"
_ALL, _DATASET = "\0all", "\0dataset"


async def choose_open(app: KohyaApp, config: Config, key: str) -> str | None:
    """An optimizer, a schedule, a network module: one of the usual ones, or any other name that is typed."""
    now = str(config.get("train", key) or "")
    names = [*OPEN_CHOICES[key]()]
    about = dict.fromkeys(names, "")
    if key == "network_module":
        fitting = FITTING_MODULES.get(config.script, ())
        names = [*fitting, *(name for name in names if name not in fitting)]
        about |= {name: "" if name in fitting else f"not with {config.script}" for name in names} if fitting else {}
    if now and now not in names:
        names.insert(0, now)
    entries = [(name, printable(name), about.get(name, "")) for name in names]
    option = options(config)[key]
    found = await app.push_screen_wait(
        Choose(key, [*entries, (OTHER, "another name…", "")], option.help, chosen=now or str(option.default))
    )
    if found != OTHER:
        return found
    return await app.push_screen_wait(Ask(key, f"{option.help} One of another package: package.Class", now))


async def ask_folders(app: KohyaApp, config: Config, node: Node | None) -> list[Path] | None:
    """Which folders become subsets; an empty list is a new dataset, None is nothing."""
    from core.config.subsets import folders_to_add

    workspace = app.workspace
    assert workspace is not None
    parts = await asyncio.to_thread(folders_to_add, config, workspace)
    entries = [(str(part.path), printable(workspace.key_of(part.path)), f"×{part.repeats}") for part in parts]
    if len(parts) > 1:
        entries.insert(0, (_ALL, f"all {count_of(len(parts), 'folder')} below", "each with the repeats of its name"))
    entries.append((OTHER, "another folder…", ""))
    entries.append((_DATASET, "a new dataset", "for folders of another size or batch"))
    where = f" to dataset {node.dataset + 1}" if node is not None and node.level != "general" else ""
    found = await app.push_screen_wait(Choose(f"Add{where}", entries))
    if found is None or found == _DATASET:
        return None if found is None else []
    if found == _ALL:
        return [part.path for part in parts]
    if found != OTHER:
        return [Path(found)]

    def wrong(text: str) -> str | None:
        return None if (workspace.root / Path(text).expanduser()).is_dir() else "There is no such folder."

    text = await app.push_screen_wait(
        Ask("Add a folder", "Path of a folder of pictures", check=wrong, paths=Paths(workspace.root, ()))
    )
    return None if text is None else [workspace.root / Path(text).expanduser()]
