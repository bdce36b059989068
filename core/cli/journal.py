"""`undo`, `redo` and `history`: the journal of the workspace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, table
from core.cli.stepping import stepped
from core.text import count_of, human_age, printable

if TYPE_CHECKING:
    from core.dataset.edits import EditGroup, Journal, UndoResult

PANEL = "Undo"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("undo", rich_help_panel=PANEL)(undo)
    app.command("redo", rich_help_panel=PANEL)(redo)
    app.command("history", rich_help_panel=PANEL)(history)


def undo(
    context: typer.Context,
    group: Annotated[str | None, typer.Argument(metavar="[ID]", help="A group of `history`; else the newest.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Take back the newest change, or the one named. Captions, imports, tagging passes, configs."""
    journal = _journal(context)
    _report(journal, stepped("undoing", journal.undoing(group)), "undone", json_)


def redo(context: typer.Context, json_: JsonFlag = False) -> None:
    """Do again what was undone last."""
    journal = _journal(context)
    _report(journal, stepped("redoing", journal.redoing()), "redone", json_)


def history(
    context: typer.Context,
    number: Annotated[int, typer.Option("-n", min=1, help="How many, newest first.")] = 20,
    json_: JsonFlag = False,
) -> None:
    """The changes of this workspace, newest first."""
    journal = _journal(context)
    groups = journal.history(number)
    rows = [("id", "when", "files", "what", "")]
    now = time.time()
    for group in groups:
        state = "" if group.state == "done" else group.state
        rows.append((group.id, human_age(now - group.time), f"{group.files:,}", printable(group.label), state))
    lines = table(rows, frozenset({2}), (), 3) if groups else ["Nothing was changed here yet."]
    emit({"groups": [_document(group) for group in groups]}, lines, as_json=json_)


def _journal(context: typer.Context) -> Journal:
    """The workspace's journal, with what a dead writer left behind brought to an end.

    A tag run outside any workspace keeps its own in its folder, which `-C` may name.
    """
    from core.dataset.edits import Journal
    from core.workspace import Workspace

    place = place_of(context)
    own = None if place.folder is None else Workspace(place.folder.resolve())
    is_run = own is not None and (own.root / "spec.json").is_file() and (own.own / "journal").is_dir()
    journal = Journal(own if own is not None and is_run else place.workspace())
    journal.recover()
    return journal


def _document(group: EditGroup) -> dict[str, Any]:
    return {
        "id": group.id,
        "label": group.label,
        "time": group.time,
        "files": group.files,
        "state": group.state,
        "kind": group.kind,
    }


def _report(journal: Journal, result: UndoResult, word: str, as_json: bool) -> None:
    key_of = journal.workspace.key_of
    if any(conflict.is_error for conflict in result.conflicts):
        word = f"not {word}"  # the same step can be tried again
    lines = [f"{word}: {printable(result.group.label)} ({count_of(len(result.changed), 'file')})"]
    for conflict in result.conflicts:
        told = f"{key_of(conflict.path)}: left as it is: it {conflict.reason}"
        lines.append(printable(f"! {conflict.reason if conflict.is_error else told}"))
    document = {
        "groups": [_document(result.group)],
        "changed": [key_of(path) for path in result.changed],
        "conflicts": [key_of(conflict.path) for conflict in result.conflicts],
    }
    emit(document, lines, as_json=as_json)
    if result.conflicts:
        raise typer.Exit(1)
