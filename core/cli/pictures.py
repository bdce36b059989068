"""`duplicates` and `buckets`: what the pictures of a dataset are like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import Bar, emit, folded, say, table
from core.problems import UserError
from core.text import count_of, human_bytes, printable

if TYPE_CHECKING:
    from core.config.bucket_view import DatasetBuckets
    from core.dataset.duplicates import Duplicate, Group
    from core.workspace import Workspace

PANEL = "Dataset"
EXACT = -1
"""The distance that stands for the same bytes."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("duplicates", rich_help_panel=PANEL)(duplicates)
    app.command("buckets", rich_help_panel=PANEL)(buckets)


def duplicates(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET-OR-DIR", help="The dataset, a subset or a folder.")],
    distance: Annotated[
        int, typer.Option(min=0, max=20, help="Bits of 64 that two pictures may differ in: 0 alike, 20 loosely.")
    ] = 8,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Mirror images, too.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Only files of the same bytes; no picture is read.")] = False,
    trash: Annotated[
        bool, typer.Option("--trash", help="Move all but the first of each group to the trash; undoable.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Images that are the same or nearly so. In groups, the one to keep (the largest) first."""
    from core.dataset.duplicates import find
    from core.dataset.resize import images_of

    workspace = place_of(context).workspace()
    bar = Bar("comparing")
    try:
        for step in find(images_of(workspace, dataset), EXACT if exact else distance, mirrored=mirrored):
            bar.update(step.done, step.total)
    finally:
        bar.close()
    groups = step.groups or ()
    others = sum(len(group.others) for group in groups)
    lines = [line for group in groups for line in _group_lines(workspace, group)]
    lines.append(f"{count_of(len(groups), 'group')}, {count_of(others, 'image')} beside the ones to keep")
    changed = _trash(workspace, groups) if trash and others else 0
    if changed:
        lines.append(f"{count_of(changed, 'image')} moved to the trash; kohya-tui undo brings them back")
    lines += [f"✗ {printable(workspace.key_of(path))}: {printable(reason)}" for path, reason in step.unread]
    document = {
        "groups": [[workspace.key_of(each.path) for each in group.images] for group in groups],
        "details": [[_details(workspace, each) for each in group.images] for group in groups],
        "changed": changed,
        "unread": [{"path": workspace.key_of(path), "reason": reason} for path, reason in step.unread],
    }
    emit(document, lines, as_json=json_)
    if step.unread:
        raise typer.Exit(1)


def _trash(workspace: Workspace, groups: tuple[Group, ...]) -> int:
    from core.cli.files import chosen, refuse_busy
    from core.dataset.relocate import plan_trash, relocate

    going = chosen(workspace, [str(each.path) for group in groups for each in group.others])
    refuse_busy(workspace, going, force=False)
    group = relocate(workspace, plan_trash(workspace, going))
    for conflict in group.conflicts:
        say(f"! {printable(str(conflict.path))} {conflict.reason}")
    return len(going) - len({conflict.path for conflict in group.conflicts} & set(going))


def _group_lines(workspace: Workspace, group: Group) -> list[str]:
    rows = []
    for each in group.images:
        what = "same bytes" if each.is_same else f"{count_of(each.distance, 'bit')} off" if each.distance else "alike"
        if each is group.keep:
            what = "keep"
        elif each.is_mirrored:
            what += ", mirrored"
        size = f"{each.width}×{each.height}" if each.width else ""
        rows.append((printable(workspace.key_of(each.path)), size, human_bytes(each.bytes), what))
    return [*table(rows, frozenset({1, 2})), ""]


def _details(workspace: Workspace, each: Duplicate) -> dict[str, Any]:
    return {
        "path": workspace.key_of(each.path),
        "width": each.width,
        "height": each.height,
        "bytes": each.bytes,
        "distance": each.distance,
        "same": each.is_same,
        "mirrored": each.is_mirrored,
    }


def buckets(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    config: Annotated[
        str | None, typer.Option(metavar="NAME", help="The config; else the one that trains on the dataset.")
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(metavar="N|WxH", help="Without a config: buckets for this resolution.")
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="List every image, not only the buckets.")] = False,
    json_: JsonFlag = False,
) -> None:
    """The bucket of every image, and what is cropped away. As sd-scripts computes it."""
    from core.dataset.scan import dataset_dir

    workspace = place_of(context).workspace()
    folder = dataset_dir(workspace, dataset)
    if config is not None and resolution is not None:
        raise typer.BadParameter("choose --config or --resolution")
    name = config if resolution is None else None
    if resolution is None and name is None:
        name = _config_of(workspace, folder)
    found = _of_resolution(folder, resolution) if resolution is not None else _of_config(workspace, name or "", folder)
    lines: list[str] = []
    if name is not None:
        lines.append(f"config {printable(name)}")
    for part in found:
        lines += _bucket_lines(workspace, part, images)
    document = {
        "config": name,
        "buckets": [
            {"width": row.width, "height": row.height, "images": row.images, "repeats": row.repeats}
            | {"small": row.is_small, "dataset": part.where}
            for part in found
            for row in part.report.buckets
        ],
        "images": [
            {
                "path": workspace.key_of(each.path),
                "bucket": list(each.choice.bucket),
                "scale": round(each.scale, 4),
                "cropped": round(each.cropped, 4),
            }
            for part in found
            for each in part.report.images
        ],
        "unread": [workspace.key_of(path) for part in found for path in part.unread],
    }
    emit(document, folded(lines) if not images else lines, as_json=json_)
    if document["unread"]:
        raise typer.Exit(1)


def _config_of(workspace: Workspace, folder: Path) -> str:
    from core.config.bucket_view import configs_of

    names = configs_of(workspace, folder)
    if len(names) == 1 or (names and names[0] == folder.name):
        return names[0]
    what = f"Several configs train on {printable(folder.name)}: {', '.join(map(printable, names))}"
    raise UserError(
        what if names else f"No config trains on {printable(folder.name)}",
        "Choose one with --config NAME." if names else "Give --resolution 1024, or make one: kohya-tui config new NAME",
    )


def _of_config(workspace: Workspace, name: str, folder: Path) -> list[DatasetBuckets]:
    from core.config.bucket_view import config_buckets
    from core.config.documents import open_config

    return config_buckets(open_config(workspace, name), workspace, folder)


def _of_resolution(folder: Path, text: str) -> list[DatasetBuckets]:
    from core.config.bucket_view import resolution_buckets

    width, _, height = text.lower().replace("×", "x").partition("x")
    if not width.isdecimal() or (height and not height.isdecimal()) or not 64 <= int(width) <= 8192:
        raise WrongUsage(f"{text!r} is no resolution", "Write 1024, or 768x1024.")
    return [resolution_buckets(folder, (int(width), int(height or width)))]


def _bucket_lines(workspace: Workspace, part: DatasetBuckets, with_images: bool) -> list[str]:
    found = part.report
    width, height = part.settings.resolution
    lines = [f"{part.where + ': ' if part.where else ''}{width}×{height}, batch of {found.batch_size}"]
    rows = [("bucket", "images", "with repeats", "")]
    for row in found.buckets:
        note = f"fewer than a batch of {found.batch_size}" if row.is_small else ""
        rows.append((f"{row.width}×{row.height}", f"{row.images:,}", f"{row.repeats:,}", note))
    lines += table(rows, frozenset({0, 1, 2}))
    enlarged = sum(each.scale > 1 for each in found.images)
    if enlarged:
        lines.append(f"! {count_of(enlarged, 'image')} scaled up: smaller than the bucket")
    cropped = [each for each in found.images if each.cropped >= 0.1]
    if cropped:
        lines.append(f"! {count_of(len(cropped), 'image')} of which a tenth or more is cropped away")
    if with_images:
        cells = [("image", "size", "bucket", "scale", "cropped")]
        for each in found.images:
            across, down = each.choice.bucket
            size = f"{each.size[0]}×{each.size[1]}"
            share = f"{100 * each.cropped:.1f} %"
            name = printable(workspace.key_of(each.path))
            cells.append((name, size, f"{across}×{down}", f"{each.scale:.2f}", share))
        lines += table(cells, frozenset({1, 2, 3, 4}))
    lines += [f"✗ {printable(workspace.key_of(path))}: its size cannot be read" for path in part.unread]
    return lines
