"""The tags that the taggers on disk know, for the completion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.completion import Entry, Source, read_entries, read_tags, spaced
from core.problems import UserError
from core.tagging.labels import read_labels
from core.tagging.models import list_models

if TYPE_CHECKING:
    from core.settings import Settings
    from core.workspace import Workspace


def read_sources(workspace: Workspace | None, settings: Settings) -> tuple[list[Source], list[UserError]]:
    """One source for all taggers on disk, then the user's own list (`tag_csv`), and what could not be read.

    Reads files of some megabytes (a quarter of a second for 145,000 tags): call it on a thread, once.
    """
    problems: list[UserError] = []
    entries: dict[str, Entry] = {}
    try:
        files = {model.labels for model in list_models(workspace, settings) if model.labels is not None}
    except UserError as error:
        files = set()
        problems.append(error)
    for path in sorted(file for file in files if file.is_file()):
        try:
            for entry in _entries(path):
                known = entries.get(entry.tag)
                if known is None or known.count < entry.count:
                    entries[entry.tag] = entry
        except UserError as error:
            problems.append(error)
    sources = [Source(entries.values())]
    if settings.tag_csv is not None:
        try:
            sources.append(read_tags(settings.tag_csv))
        except UserError as error:
            problems.append(error)
    return sources, problems


def _entries(path: Path) -> list[Entry]:
    if path.suffix == ".csv":
        return read_entries(path)
    labels = read_labels(path)
    pairs = zip(labels.names, labels.categories, strict=True)
    return [Entry(spaced(name), 0, kind.word) for name, kind in pairs if name and "," not in name]
