"""Filters under names, from the palette: keep the one in force, use one, take one out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.dataset import saved_filters
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from tui.app import KohyaApp


async def save(app: KohyaApp) -> None:
    """Ask for a name for the filter in force."""
    from tui.screens.dialogs import Ask

    collection, workspace = app.collection, app.workspace
    if collection is None or workspace is None:
        return
    query = collection.query

    def named(name: str | None) -> None:
        if name is not None:
            app.writer.submit(
                lambda: saved_filters.save(workspace, name, query),
                lambda _: app.notify(f"saved: {printable(name)}; find it with saved:", markup=False, timeout=3),
                app.report,
            )

    app.push_screen(Ask("Save this filter", f"A name for {printable(query)}"), named)


async def use(app: KohyaApp, name: str) -> None:
    """Show what it finds."""
    from core.dataset.filter_tree import Word, write
    from tui import opening

    try:
        opening.choose(app, write(Word("saved", name)), then=lambda: app.collection_signal.publish("rows"))
    except UserError as error:
        app.report(error)


async def forget(app: KohyaApp, name: str) -> None:
    """Take it out."""
    workspace = app.workspace
    if workspace is not None:
        app.writer.submit(
            lambda: saved_filters.forget(workspace, name),
            lambda _: app.notify(f"forgotten: {printable(name)}", markup=False, timeout=3),
            app.report,
        )
