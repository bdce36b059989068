"""`tags`: every tag of a dataset, and the traits that a trigger word should absorb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, folded, say, table
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.dataset.tag_table import TagRow, TagTable
    from core.dataset.traits import TraitReport
    from core.workspace import Workspace

PANEL = "Dataset"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("tags", rich_help_panel=PANEL)(tags)


def tags(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET-OR-DIR", help="The dataset, a subset or a folder.")],
    trigger: Annotated[
        str | None,
        typer.Option(help="Judge the tags that come with this trigger word; exit 1 while one is to be decided."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="With --trigger: this tag stays, that is decided (repeatable).")
    ] = None,
    beside: Annotated[
        str | None, typer.Option("--with", metavar="TAG", help="Only captions that have this tag: what comes with it.")
    ] = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="How many tags, the most frequent first.")] = None,
    json_: JsonFlag = False,
) -> None:
    """How often each tag is used. With --trigger also which traits the trigger word should absorb."""
    workspace = place_of(context).workspace()
    counted, unread = _read(workspace, dataset)
    if trigger is not None:
        from core.dataset import kept_tags

        name = dataset.strip("/").partition("/")[0]
        kept = kept_tags.load(workspace, name, trigger)  # decided in the app
        _judge(counted, trigger, [*(keep or ()), *kept], unread, json_)
        return
    total, rows = (counted.captions, counted.rows()) if beside is None else counted.together([beside])
    shown = rows[:number]
    lines = []
    if beside is not None:
        lines.append(f"{printable(beside)} is in {count_of(total, 'caption')}, together with:")
    if shown:
        cells = [("tag", "count", "share", "category")]
        cells += [(printable(row.tag), f"{row.count:,}", _percent(row.share), row.category or "") for row in shown]
        lines += table(cells, frozenset({1, 2}), (3,), 0)
    elif beside is None:
        lines.append(f"There is no tag in {count_of(total, 'caption')}.")
    if len(rows) > len(shown):
        lines.append(f"… and {len(rows) - len(shown):,} more")
    document = {"captions": total, "tags": [_document(row) for row in shown], "unread": unread}
    emit(document, lines, as_json=json_)
    _told(unread)


def _read(workspace: Workspace, target: str) -> tuple[TagTable, list[str]]:
    """The tags of all captions, and the keys of the captions that are no text."""
    from core.dataset.captions import CaptionError, decode, read_bytes
    from core.dataset.model import CAPTION_EXTENSION, is_image_name
    from core.dataset.scan import resolve_dir
    from core.dataset.tag_table import TagTable
    from core.tagging.scores import tag_categories

    counted = TagTable(categories=tag_categories(workspace))
    unread = []
    for folder in resolve_dir(workspace, target):
        captions = {path.with_suffix(CAPTION_EXTENSION) for path in folder.iterdir() if is_image_name(path.name)}
        for path in sorted(captions):
            try:
                data = read_bytes(path)
                counted.add(None if data is None else decode(data, path))
            except CaptionError:
                unread.append(workspace.key_of(path))
    return counted, unread


def _told(unread: list[str]) -> None:
    if unread:
        names = ", ".join(printable(name) for name in unread[:3]) + (" …" if len(unread) > 3 else "")
        say(f"! {count_of(len(unread), 'caption')} not counted, no UTF-8 text: {names}")
        raise typer.Exit(1)


def _judge(counted: TagTable, trigger: str, keep: list[str], unread: list[str], as_json: bool) -> None:
    from core.dataset.traits import FEWEST, traits

    report = traits(counted, trigger, keep)
    word = printable(", ".join(report.trigger))
    lines = [f"{word} is in {report.images:,} of {count_of(counted.captions, 'caption')}"]
    if 0 < report.images < FEWEST:
        lines.append(f"· Too few captions to judge by: at least {FEWEST} should have it.")
    if report.missing:
        lines.append(f"! {count_of(report.missing, 'caption')} without it; kohya-tui trigger DATASET WORD puts it in")
    for row in report.near_misses:
        lines.append(f"! {printable(row.tag)} in {count_of(row.count, 'caption')}: {word} misspelled?")
    if report.traits:
        lines += _table(report)
    if report.open:
        names = ", ".join(printable(each.tag) for each in report.open)
        lines.append(f"To decide: {names}. Remove such a tag everywhere, or say --keep TAG.")
    document = {
        "trigger": list(report.trigger),
        "captions": counted.captions,
        "with_trigger": report.images,
        "without_trigger": report.missing,
        "near_misses": [row.tag for row in report.near_misses],
        "tags": [
            {
                "tag": each.tag,
                "count": each.count,
                "share": round(each.share, 4),
                "category": each.category,
                "suggestion": each.suggestion,
                "is_trait": each.is_trait,
                "kept": each.is_kept,
                "sentence": each.sentence,
            }
            for each in report.traits
        ],
        "passes": report.passes,
        "unread": unread,
    }
    emit(document, folded(lines), as_json=as_json)
    _told(unread)
    if not report.passes:
        raise typer.Exit(1)


def _table(report: TraitReport) -> list[str]:
    cells = [("tag", "share", "", "category", "")]
    for each in report.traits:
        word = "kept" if each.is_kept else each.suggestion
        cells.append((printable(each.tag), _percent(each.share), word, each.category or "", printable(each.sentence)))
    return table(cells, frozenset({1}), (3,))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.1f} %"


def _document(row: TagRow) -> dict[str, Any]:
    return {
        "tag": row.tag,
        "count": row.count,
        "share": round(row.share, 4),
        "category": row.category,
        "suggestion": None,
        "spellings": list(row.spellings),
    }
