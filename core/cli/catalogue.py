"""The options of the user's own sd-scripts, read again where a command goes by them: shell and app say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.cli.output import say
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from core.settings import Settings


def follow_checkout(settings: Settings) -> None:
    """Read the checkout if it is another than what is kept: 0.8 s of CPU then, 2 ms else. Told on stderr.

    One that cannot be read keeps nobody from anything: the options that are shipped hold.
    """
    from core.config import schema
    from core.config.refresh import is_stale, refresh

    checkout = settings.sd_scripts
    if checkout is None or not checkout.is_dir() or not is_stale(checkout):
        return
    try:
        found = refresh(checkout)
    except UserError as error:
        say(str(error))
        return
    schema.forget()
    if found.problem is None:
        say(f"read the options of {printable(found.name)}")
    else:
        say(f"The options that are shipped stay in use: {printable(found.problem)}")
