"""The questions of the Tag screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import human_bytes, printable
from tui.screens.dialogs import Ask, Choose
from tui.screens.tag_form import NOTES, TITLES, choices
from tui.screens.tag_parts import NO_IMAGES, Known
from tui.widgets.path_input import Paths

if TYPE_CHECKING:
    from core.tagging.models import TaggerModel
    from core.tagging.options import TagRequest
    from tui.app import KohyaApp

OTHER = "\0other"


async def choose_value(app: KohyaApp, request: TagRequest, key: str, known: Known) -> str | None:
    """One of a field's values; for the model also one that is typed."""
    if key == "target":
        options = [(name, printable(name), note) for name, note in known.datasets.items()]
        now = request.target
    elif key == "model":
        options = [(model.name, printable(model.name), _note(model)) for model in known.models]
        options.append((OTHER, "another …", "a repository or a folder"))
        now = request.model or ""
    else:
        values, now = choices(request, key)
        options = [(value, value, NOTES.get(key, {}).get(value, "")) for value in values]
    if not options:
        app.notify(NO_IMAGES)
        return None
    found: str | None = await app.push_screen_wait(Choose(TITLES[key], options, chosen=now))
    if found != OTHER:
        return found

    def wrong(name: str) -> str | None:
        from core.tagging.models import find_model

        try:
            find_model(name, app.workspace, app.settings)
        except UserError as error:
            return str(error)
        return None

    label = "A repository with model.onnx and selected_tags.csv, or a folder that holds both"
    return await app.push_screen_wait(Ask("Model", label, now, check=wrong, paths=Paths(Path.cwd(), ())))


def _note(model: TaggerModel) -> str:
    size = human_bytes(model.bytes) if model.bytes else ""
    return f"{'on disk' if model.is_on_disk else size}  {printable(model.note)}".strip()
