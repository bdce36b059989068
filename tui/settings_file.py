"""The settings files while the app is open: what is changed in them is in force a second later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.text import printable

if TYPE_CHECKING:
    from core.settings import Settings
    from tui.app import KohyaApp

_AT_START = frozenset({"images"})
"""What a terminal can draw is found out before the first frame."""


class SettingsFile:
    """`look` is called by the beat; the first one only remembers. `flags` are those that the app was started with."""

    def __init__(self, app: KohyaApp, flags: Mapping[str, Any]) -> None:
        self._app, self._flags = app, flags
        self._seen: tuple[object, ...] = ()

    def look(self) -> Callable[[], None] | None:
        """On a thread: two `stat`s; the files only when one of them changed. What to do with what they say now."""
        from core import settings

        workspace = self._app.workspace
        root = workspace.root if workspace is not None else None
        files = [settings.user_file(), *([root / settings.WORKSPACE_FILE] if root is not None else [])]
        seen = (root, *map(_stamp, files))
        before, self._seen = self._seen, seen
        if seen == before or before[:1] != seen[:1]:  # the first look, or another workspace: its settings were read
            return None
        return partial(self._take, root, settings.load(root, flags=dict(self._flags)))

    def _take(self, root: Path | None, new: Settings) -> None:
        app, old = self._app, self._app.settings
        if app.workspace is not None and app.workspace.root != root:
            return
        changed = [each.name for each in fields(new) if getattr(new, each.name) != getattr(old, each.name)]
        app.settings = new
        if app.theme == new.theme:  # it was chosen in the app, which wrote it
            changed = [name for name in changed if name != "theme"]
        if "theme" in changed:
            app.theme = new.theme
        if "keys" in changed:
            app.set_keymap(new.keys)
        for problem in new.problems:
            if problem not in old.problems:
                app.notify(f"{problem.where}: {problem.message}", severity="warning", markup=False)
        if names := [name for name in changed if name != "problems"]:
            later = " (images: at the next start)" if _AT_START & set(names) else ""
            app.notify(f"The settings were read anew: {printable(', '.join(names))}{later}", timeout=6, markup=False)
            app.settings_changed.publish(new)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
