"""`import`, `trigger` and `upright`: images and their captions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.main import Interrupted, JsonFlag, WrongUsage, place_of
from core.cli.output import Bar, emit, folded, problem_lines, say
from core.text import count_of, human_bytes, printable

if TYPE_CHECKING:
    from core.dataset.importer import ImportPlan, ImportProgress
    from core.workspace import Workspace

PANEL = "Dataset"
WAYS = {
    2: "mirrored",
    3: "upside down",
    4: "upside down and mirrored",
    5: "on its side and mirrored",
    6: "on its side",
    7: "on its side and mirrored",
    8: "on its side",
}
"""The EXIF orientations in words."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("import", rich_help_panel=PANEL)(import_)
    app.command("trigger", rich_help_panel=PANEL)(trigger)
    app.command("upright", rich_help_panel=PANEL)(upright)


def import_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The dataset (a character) to import into.", show_default=False)],
    sources: Annotated[list[Path], typer.Argument(help="Images, or folders with images.", show_default=False)],
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="The N of train_data/NAME/N_NAME; else that of the folder there is, or 10."),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies.")] = False,
    move: Annotated[bool, typer.Option("--move", help="Move the files.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files (the default).")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Folders inside the folders, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done, do nothing.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Bring images and their captions into a dataset. They go into train_data/NAME/N_NAME; never overwrites."""
    from core.dataset.importer import plan_import
    from core.dataset.sources import CAPTION_EXTENSIONS

    if link + move + copy > 1:
        raise typer.BadParameter("choose one of --copy, --link and --move")
    mode = "link" if link else "move" if move else "copy"
    workspace = place_of(context).workspace()
    plan = plan_import(workspace, name, sources, repeats, mode, recursive=recursive)
    target = printable(workspace.key_of(plan.target))
    steps, skipped, notes = plan.steps, plan.skipped, plan.notes
    if steps:
        captions = count_of(len(plan.steps) - plan.images, "caption")
        say(f"{mode}: {count_of(plan.images, 'image')} and {captions} ({human_bytes(plan.bytes)}) into {target}")
    lines = [f"{_shown(step.source)} → {printable(workspace.key_of(step.target))}" for step in steps]
    if steps and not dry_run:
        done = _bring(workspace, plan)
        skipped, notes = done.skipped, done.notes
        left = {skip.path for skip in skipped}
        steps = tuple(step for step in steps if step.source not in left)
        lines = [f"{count_of(sum(step.kind == 'image' for step in steps), 'image')} imported into {target}"]
    there = [skip for skip in skipped if skip.is_there]
    missing = [skip for skip in skipped if not skip.is_there]
    if not steps and missing and not dry_run:
        lines.append(f"0 images imported into {target}")
    if there:
        images = [skip for skip in there if skip.path.suffix.lower() not in CAPTION_EXTENSIONS]
        number = count_of(len(images), "image") if images else count_of(len(there), "caption")
        lines.append(f"{number} {'is' if number.startswith('1 ') else 'are'} there already")
    lines += [f"· {printable(note)}" for note in notes]
    lines += [f"skipped {_shown(skip.path)}: {printable(skip.reason)}" for skip in missing]
    document = {
        "imported": [workspace.key_of(step.target) for step in steps],
        "skipped": [{"path": str(skip.path), "reason": skip.reason} for skip in skipped],
        "notes": list(notes),
        "dry_run": dry_run,
    }
    emit(document, folded(lines), as_json=json_)
    if missing:
        raise typer.Exit(1)


def _bring(workspace: Workspace, plan: ImportPlan) -> ImportProgress:
    from core.dataset.importer import run_import

    bar = Bar("importing")
    imported = 0
    try:
        for done in run_import(workspace, plan):
            imported = done.imported
            bar.update(done.done, done.total, done.current.name if done.current else "")
    except (KeyboardInterrupt, Interrupted):
        bar.close()
        say(f"{count_of(imported, 'image')} came in; kohya-tui undo takes them out again")
        raise
    finally:
        bar.close()
    return done


def _shown(path: Path) -> str:
    """A path without `..`, unless a link makes that another file."""
    plain = Path(os.path.normpath(path))
    same = plain.exists() and path.exists() and plain.samefile(path)
    return printable(str(plain if same else path))


def trigger(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    word: Annotated[str, typer.Argument(help="The trigger word; rinni,1girl is two tags, in that order.")],
    json_: JsonFlag = False,
) -> None:
    """Make WORD the first tag of every caption. Once, compared as a tag, not as a prefix."""
    from core.dataset.trigger import set_trigger

    if not word.strip(" ,"):
        raise WrongUsage("The trigger word is empty", "Name a word: kohya-tui trigger rinni rinni")
    result = set_trigger(place_of(context).workspace(), dataset, word)
    lines = [f"{count_of(result.changed, 'caption')} changed, {result.unchanged:,} already right"]
    lines += problem_lines(result.problems)
    document = {
        "changed": result.changed,
        "unchanged": result.unchanged,
        "problems": [problem.as_json() for problem in result.problems],
    }
    emit(document, folded(lines), as_json=json_)
    if result.problems:
        raise typer.Exit(1)


def upright(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET-OR-DIR", help="The dataset, a subset or a folder.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be turned, do nothing.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Save images as viewers show them. Trainer and taggers ignore the EXIF orientation. Undoable."""
    from core.dataset.upright import plan_upright, run_upright, summary

    workspace = place_of(context).workspace()
    plan = plan_upright(workspace, dataset)
    lines = [summary(plan)]
    skipped = plan.skipped
    turned = 0
    if dry_run:
        lines += [f"{printable(workspace.key_of(item.path))} ({WAYS[item.orientation]})" for item in plan.images]
    elif plan.images:
        bar = Bar("turning")
        try:
            for step in run_upright(workspace, plan):
                bar.update(step.done, step.total, step.current.name if step.current else "")
                turned = step.turned
        finally:
            bar.close()
        skipped = (*plan.skipped, *step.skipped)
        lines.append(f"{count_of(turned, 'image')} turned; kohya-tui undo brings the old ones back")
    lines += [f"✗ {printable(workspace.key_of(path))}: {printable(reason)}" for path, reason in skipped]
    document = {
        "images": [{"path": workspace.key_of(item.path), "orientation": item.orientation} for item in plan.images],
        "turned": turned,
        "skipped": [{"path": workspace.key_of(path), "reason": reason} for path, reason in skipped],
        "dry_run": dry_run,
    }
    emit(document, folded(lines), as_json=json_)
    if skipped:
        raise typer.Exit(1)
