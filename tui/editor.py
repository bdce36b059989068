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
    """The text after the editor ended, None when it is the same. Raises UserError when there is no editor to start.

    The editor gets a copy: the file itself is written by us, so that undo knows of it.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="kohya-tui-") as folder:
        copy = Path(folder, name)
        copy.write_text(text, "utf-8", newline="")
        try:
            with app.suspend():
                subprocess.run([*shlex.split(command), str(copy)], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"The editor {command} did not work: {error}", "Set $EDITOR to the editor you like."
            ) from error
        except SuspendNotSupported as error:
            raise UserError("This terminal cannot be handed to an editor", "Use E: edit as text.") from error
        with copy.open(encoding="utf-8", newline="") as stream:
            changed = stream.read()
    if not text.endswith("\n"):
        changed = changed.removesuffix("\n")  # editors add one
    return changed if changed != text else None
