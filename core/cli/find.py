"""`find`: the images of a dataset that a filter means, and the filters that are kept under names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, Place, WrongUsage, place_of
from core.cli.output import emit, say
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.dataset.index import Index

PANEL = "Dataset"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("find", rich_help_panel=PANEL)(find)


def matching(place: Place, dataset: str, query: str, config: str | None = None) -> tuple[Index, list[int]]:
    """The dataset, read, and the numbers of its images that pass; for every command with `--where`.

    Raises WrongUsage for a query that cannot be read, UserError for a dataset that is not there and for a question that
    cannot be answered here.
    """
    from core.cli.filter_sources import sources_of
    from core.dataset import filters
    from core.dataset.index import read_index

    try:
        node = filters.parse(query)
    except filters.FilterError as error:
        raise WrongUsage(error.message, _pointed(query, error)) from error
    index = read_index(place.workspace(), dataset)
    try:
        return index, filters.select(index, node, sources_of(index, config))
    except filters.FilterError as error:
        error.hint = _pointed(query, error)
        raise


def _sorted(index: Index, numbers: list[int], order: str) -> list[int]:
    import numpy as np

    from core.cli.filter_sources import sources_of
    from core.dataset.orders import in_order

    found: list[int] = in_order(index, np.array(numbers, np.uint32), order, sources_of(index)).tolist()
    return found


def _pointed(query: str, error: Any) -> str:
    """The query with a mark below the column, and the hint."""
    lines = [printable(query), " " * (len(printable(query[: error.column - 1]))) + "^"]
    return "\n  ".join([*lines, *([error.hint] if error.hint else [])])


def find(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.", show_default=False)],
    query: Annotated[
        str | None,
        typer.Argument(help="""The filter: 'tag:"blue eyes" -smile tags:>20'; see: help filter.""", show_default=False),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="The config whose buckets `bucket:` means.", show_default=False)
    ] = None,
    sort: Annotated[
        str,
        typer.Option(metavar="ORDER", help="name, tags, confidence, size, bytes or changed; see: help filter."),
    ] = "name",
    count: Annotated[bool, typer.Option("--count", help="Print the number of matches only.")] = False,
    save: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the filter; saved:NAME finds it.", show_default=False)
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take a saved filter out.", show_default=False)
    ] = None,
    saved: Annotated[bool, typer.Option("--saved", help="List the saved filters.")] = False,
    json_: JsonFlag = False,
) -> None:
    """The paths of the images that match a filter. They are relative to the workspace."""
    from core.dataset import saved_filters
    from core.dataset.orders import ORDERS

    if sort not in ORDERS:
        raise WrongUsage(f"There is no order {printable(sort)}", f"One of {', '.join(ORDERS)}.")
    place = place_of(context)
    workspace = place.workspace()
    if forget is not None:
        saved_filters.forget(workspace, forget)
    if saved or (forget is not None and query is None):
        kept = saved_filters.load(workspace)
        lines = [f"{printable(name)}: {printable(text)}" for name, text in kept.items()]
        emit({"filters": kept}, lines or ["There is no saved filter yet."], as_json=json_)
        return
    if query is None:
        raise WrongUsage("find wants a filter", "For example: kohya-tui find rinni 'is:untagged OR tags:<5'")
    index, numbers = matching(place, dataset, query, config)
    if save is not None:
        saved_filters.save(workspace, save, query)
        say(f"saved as {printable(save)}")
    if sort != "name":
        numbers = _sorted(index, numbers, sort)
    keys = [index.key(number) for number in numbers]
    lines = [count_of(len(keys), "image")] if count else [printable(key) for key in keys]
    emit({"matches": keys, "images": len(index)}, lines, as_json=json_)
