"""`move`, `trash`, `repeats` and `resize`: image files with their captions and caches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import Bar, emit, folded, say
from core.cli.stepping import stepped
from core.problems import UserError
from core.text import count_of, human_bytes, printable

if TYPE_CHECKING:
    from core.dataset.edits import EditGroup
    from core.dataset.relocate import Relocation
    from core.dataset.sources import Skipped
    from core.workspace import Workspace

PANEL = "Dataset"
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE…", help="Images, a dataset, DATASET/SUBSET, or - for paths on stdin.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be done, do nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Also while a run is reading these images.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("move", rich_help_panel=PANEL)(move)
    app.command("trash", rich_help_panel=PANEL)(trash)
    app.command("repeats", rich_help_panel=PANEL)(repeats)
    app.command("resize", rich_help_panel=PANEL)(resize)


def move(
    context: typer.Context,
    images: Images,
    to: Annotated[
        str, typer.Option(metavar="DATASET[/SUBSET]", help="Where to; a new subset is 10_NAME.", show_default=False)
    ],
    copy: Annotated[bool, typer.Option("--copy", help="Copy instead.")] = False,
    dry_run: DryRun = False,
    force: Force = False,
    json_: JsonFlag = False,
) -> None:
    """Move images to another subset or dataset. Their captions and caches go with them; never overwrites; undoable."""
    from core.dataset.relocate import copy as run_copy
    from core.dataset.relocate import plan_move, target_folder

    workspace = place_of(context).workspace()
    target = target_folder(workspace, to)
    plan = plan_move(workspace, chosen(workspace, images), target, copy=copy)
    if not dry_run and not copy:
        refuse_busy(workspace, (source for source, _ in plan.images), force)
    done = "copied" if copy else "moved"
    verb = f"would be {done}" if dry_run else done
    where = f"{verb} to {printable(workspace.key_of(target))}"
    if copy and not dry_run:
        bar = Bar("copying")
        try:
            for step in run_copy(workspace, plan):
                bar.update(step.done, step.total, step.current.name if step.current else "")
        finally:
            bar.close()
        _report(workspace, plan, step.group, where, json_, dry_run)
        return
    _relocate(workspace, plan, where, json_, dry_run)


def trash(
    context: typer.Context, images: Images, dry_run: DryRun = False, force: Force = False, json_: JsonFlag = False
) -> None:
    """Move images to the trash of the workspace. Their captions and caches go with them; `undo` brings them back."""
    from core.dataset.relocate import plan_trash

    workspace = place_of(context).workspace()
    plan = plan_trash(workspace, chosen(workspace, images))
    if not dry_run:
        refuse_busy(workspace, (source for source, _ in plan.images), force)
    verb = "would be moved" if dry_run else "moved"
    _relocate(workspace, plan, f"{verb} to the trash", json_, dry_run)


def repeats(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET[/SUBSET]", help="The dataset, or one of its subsets.")],
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="How often an image comes in an epoch.")],
    dry_run: DryRun = False,
    force: Force = False,
    json_: JsonFlag = False,
) -> None:
    """Change the repeats of a subset. Renames its folder N_NAME and fixes the configs that name it. Undoable."""
    from core.config.moved_folders import follow_folder
    from core.dataset.relocate import change_repeats, plan_repeats

    workspace = place_of(context).workspace()
    plan = plan_repeats(workspace, dataset, number)
    followed = follow_folder(workspace, plan.old, plan.new, number)
    is_renamed = plan.old != plan.new
    if not dry_run:
        refuse_busy(workspace, [plan.old / "any"], force, waiting=True)
        change_repeats(workspace, plan, followed.edits)
    old, new = (printable(workspace.key_of(path)) for path in (plan.old, plan.new))
    lines = [f"{old} → {new}" if is_renamed else f"{old} has {count_of(number, 'repeat')} already"]
    lines += [f"configs/{printable(name)} {'would follow' if dry_run else 'follows'}" for name in followed.configs]
    lines += [f"! {printable(note)}" for note in followed.notes]
    document = {
        "changed": int(is_renamed) + len(followed.edits),
        "folder": workspace.key_of(plan.new),
        "was": workspace.key_of(plan.old),
        "repeats": number,
        "configs": list(followed.configs),
        "notes": list(followed.notes),
        "dry_run": dry_run,
    }
    emit(document, folded(lines), as_json=json_)
    if followed.notes:
        raise typer.Exit(1)


def resize(
    context: typer.Context,
    images: Images,
    max_side: Annotated[
        int, typer.Option("--max-side", min=64, help="Pixels of the longest side.", show_default=False)
    ],
    dry_run: DryRun = False,
    force: Force = False,
    json_: JsonFlag = False,
) -> None:
    """Scale larger images down. In their own format; their cached latents go. Undoable."""
    from core.dataset.resize import plan_resize, run_resize, summary

    workspace = place_of(context).workspace()
    name = printable(images[0] if len(images) == 1 else f"{len(images)} images")
    plan = plan_resize(chosen(workspace, images), max_side, name)
    lines = [summary(plan)]
    skipped = plan.skipped
    resized = saved = 0
    if dry_run:
        lines += [f"{printable(workspace.key_of(i.path))}  {_size(i.before)} → {_size(i.after)}" for i in plan.images]
    elif plan.images:
        refuse_busy(workspace, (item.path for item in plan.images), force)
        bar = Bar("resizing")
        try:
            for step in run_resize(workspace, plan):
                bar.update(step.done, step.total, step.current.name if step.current else "")
                resized, saved = step.resized, step.bytes_saved
        finally:
            bar.close()
        skipped = (*plan.skipped, *step.skipped)
        change = f"{human_bytes(saved)} less" if saved >= 0 else f"{human_bytes(-saved)} more"
        lines.append(f"{count_of(resized, 'image')} resized, {change}; kohya-tui undo brings the old ones back")
    lines += [f"✗ {printable(workspace.key_of(path))}: {printable(reason)}" for path, reason in skipped]
    document = {
        "changed": resized,
        "bytes_saved": saved,
        "images": [
            {"path": workspace.key_of(item.path), "before": list(item.before), "after": list(item.after)}
            for item in plan.images
        ],
        "skipped": [{"path": workspace.key_of(path), "reason": reason} for path, reason in skipped],
        "dry_run": dry_run,
    }
    emit(document, folded(lines), as_json=json_)
    if skipped:
        raise typer.Exit(1)


def chosen(workspace: Workspace, words: Sequence[str]) -> list[Path]:
    """The images that the arguments mean: files (as the shell or `find` names them), datasets, subsets, `-`.

    Raises UserError for what lies in no dataset of the workspace.
    """
    from core.dataset.model import is_image_name
    from core.dataset.resize import images_of

    found: dict[Path, None] = {}
    for word in _with_stdin(words):
        path = next((place for place in (Path(word), workspace.root / word) if place.is_file()), None)
        if path is None:
            if is_image_name(Path(word).name) and not Path(word).is_dir():
                raise UserError(f"There is no image {printable(word)}", "Name it from here, or from the workspace.")
            found.update(dict.fromkeys(images_of(workspace, word)))
            continue
        # the link of a dataset that lies elsewhere stays in the name
        path = Path(os.path.normpath(path.absolute()))
        if not is_image_name(path.name):
            raise UserError(f"{printable(str(path))} is not an image", "Captions and caches go with their image.")
        found[path] = None
    for path in found:
        if not path.is_relative_to(workspace.train_data):
            raise UserError(
                f"{printable(str(path))} lies in no dataset of {printable(str(workspace.root))}",
                "Name images below train_data; kohya-tui import brings others in.",
            )
    if not found:
        raise WrongUsage("No image is named", "Give images, or a dataset.")
    return list(found)


def _with_stdin(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if word == "-":
            yield from (line for line in sys.stdin.read().splitlines() if line.strip())
        else:
            yield word


def refuse_busy(workspace: Workspace, images: Iterable[Path], force: bool, *, waiting: bool = False) -> None:
    """UserError while a run reads these images (with `waiting`: or is about to), unless it is forced."""
    from core.runs.in_use import refuse_in_use

    if not force:
        refuse_in_use(workspace, images, waiting=waiting, forcing="--force does it all the same.")


def _relocate(workspace: Workspace, plan: Relocation, where: str, as_json: bool, dry_run: bool) -> None:
    from core.dataset.relocate import relocating

    label = "moving" if plan.way == "move" else "to the trash"
    group = None if dry_run or not plan.images else stepped(label, relocating(workspace, plan))
    _report(workspace, plan, group, where, as_json, dry_run)


def _report(
    workspace: Workspace, plan: Relocation, group: EditGroup | None, where: str, as_json: bool, dry_run: bool
) -> None:
    conflicts = group.conflicts if group is not None else ()
    refused = {conflict.path for conflict in conflicts}
    images = [(source, target) for source, target in plan.images if source not in refused and target not in refused]
    number = len(images) if group is not None or dry_run else 0
    lines = [f"{count_of(number, 'image')} {where}"]
    if dry_run:
        lines += [f"{printable(workspace.key_of(source))}" for source, _ in plan.files]
    skipped = [_skipped(workspace, skip) for skip in plan.skipped]
    skipped += [{"path": workspace.key_of(each.path), "reason": each.reason} for each in conflicts]
    lines += [f"skipped {printable(each['path'])}: {printable(each['reason'])}" for each in skipped]
    document = {
        "changed": 0 if dry_run else number,
        "images": [{"path": workspace.key_of(one), "to": workspace.key_of(other)} for one, other in images],
        "files": len(plan.files),
        "skipped": skipped,
        "dry_run": dry_run,
    }
    emit(document, folded(lines), as_json=as_json)
    if group is not None and group.id and plan.way != "copy":
        say("kohya-tui undo brings them back")
    if any(not skip.is_there for skip in plan.skipped) or conflicts:
        raise typer.Exit(1)


def _skipped(workspace: Workspace, skip: Skipped) -> dict[str, Any]:
    return {"path": workspace.key_of(skip.path), "reason": skip.reason}


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
