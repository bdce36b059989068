"""The user's own editor on a text, with the app out of the way meanwhile."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from core.problems import UserError

if TYPE_CHECKING:
    from tui.app import KohyaApp


async def edit_text(app: KohyaApp, text: str, name: str) -> str | None:
    """The text after the editor ended, None when it is the same. Raises UserError when there is no editor to start, it
    failed, or what it saved is no UTF-8.

    The editor gets a copy: the file itself is written by us, so that undo knows of it.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="kohya-tui-") as folder:
        copy = Path(folder, name)
        copy.write_text(text, "utf-8", newline="")
        failed: Exception | None = None
        try:
            with app.suspend():
                try:  # in here: Textual does not come back from what is raised out of it
                    subprocess.run([*shlex.split(command), str(copy)], check=True)
                except (OSError, ValueError, subprocess.CalledProcessError) as error:
                    failed = error
        except SuspendNotSupported as error:
            raise UserError("This terminal cannot be handed to an editor", "Use E: edit as text.") from error
        if isinstance(failed, subprocess.CalledProcessError) and failed.returncode > 0:
            raise UserError(
                f"The editor {command} ended with status {failed.returncode}; nothing was changed",
                "In vim, :cq ends so on purpose.",
            )
        if failed is not None:
            raise UserError(f"The editor {command} did not work: {failed}", "Set $EDITOR to the editor you like.")
        try:
            changed = copy.read_bytes().decode("utf-8-sig")  # a mark at the beginning would be trained as a letter
        except UnicodeDecodeError as error:
            raise UserError(
                f"The editor {command} saved {name} in another encoding than UTF-8; nothing was changed",
                "Set it to UTF-8 (in vim: set fileencoding=utf-8) and edit again.",
            ) from error
    if not text.endswith("\n"):
        changed = changed.removesuffix("\n")  # editors add one
    return changed if changed != text else None
