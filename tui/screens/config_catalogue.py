"""The options of the user's own sd-scripts, read in the background when the Config screen is first opened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from tui.app import KohyaApp


async def follow_checkout(app: KohyaApp) -> bool:
    """Read the checkout again if it is another than what is kept; True when the facts of the options are new.

    The work is a child process's. A checkout that cannot be read is told once, with what holds instead.
    """
    from core.config import schema
    from core.config.refresh import kept

    checkout, before = app.settings.sd_scripts, schema.source()
    is_read = checkout is not None and await asyncio.to_thread(_read, checkout)
    schema.forget()  # the settings may name another one, which was read long ago
    if checkout is None or not is_read:
        return schema.source() != before
    known = await asyncio.to_thread(kept, checkout)
    if known is not None and known.problem is not None:
        said = f"The options that are shipped stay in use: {printable(known.problem)}"
        app.notify(said, severity="warning", timeout=8, markup=False)
    return True


def _read(checkout: Path) -> bool:
    from core.config.refresh import begin, is_stale

    if not checkout.is_dir() or not is_stale(checkout):
        return False
    return begin(checkout).wait() == 0
