"""`edit` and `review`: one change of many captions, and which images were looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.main import JsonFlag, Place, WrongUsage, place_of
from core.cli.output import Bar, emit, folded, problem_lines, say
from core.cli.stepping import stepped
from core.problems import Problem, Severity, UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.dataset.batch import Plan
    from core.dataset.index import Index
    from core.dataset.operations import Facts, Operation

PANEL = "Dataset"
USES = {
    "add": "add TAGS [--front | --after TAG]",
    "remove": "remove TAGS",
    "rename": "rename OLD NEW",
    "replace": "replace OLD NEW [--regex] [--ignore-case]",
    "move": "move TAG POSITION",
    "sort": "sort category|frequency|alphabet [--keep N]",
    "dedupe": "dedupe",
    "case": "case lower|upper|title",
    "spell": "spell spaces|underscores",
    "split": "split TAG TAGS",
    "merge": "merge TAGS TAG",
    "strip": "strip",
}
"""How each operation is written; TAGS are separated by commas."""
_WORDS = {name: sum(word.isupper() or "|" in word for word in use.split("[")[0].split()) for name, use in USES.items()}
_EXAMPLES = 5


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("edit", rich_help_panel=PANEL)(edit)
    app.command("review", rich_help_panel=PANEL)(review)


def edit(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.", show_default=False)],
    operation: Annotated[str, typer.Argument(metavar="OP", help=f"One of {', '.join(USES)}.", show_default=False)],
    words: Annotated[
        list[str] | None,
        typer.Argument(help="What OP works with; several tags with commas between them.", show_default=False),
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="QUERY", help="Only the images that match; see: help filter.")
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="add: as the first tags, not the last.")] = False,
    after: Annotated[str | None, typer.Option(metavar="TAG", help="add: behind this tag, where it stands.")] = None,
    regex: Annotated[bool, typer.Option("--regex", help=r"replace: OLD is a regular expression, \1 in NEW.")] = False,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="replace: upper and lower case alike.")] = False,
    keep: Annotated[int, typer.Option(min=0, help="sort: so many of the first tags stay.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, do nothing.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Change many captions at once. One undoable step: add, remove, rename, replace, sort and more."""
    from core.dataset import batch

    if front and after is not None:
        raise typer.BadParameter("choose one of --front and --after")
    place = "after" if after is not None else "front" if front else "end"
    asked = _operation(operation, words or [], place, after or "", regex, ignore_case, keep)
    index, numbers = _chosen(place_of(context), dataset, where)
    paths = [index.item(number).caption_path for number in numbers]
    bar = Bar("reading")
    made: Plan | None = None
    try:
        for value in batch.plan(paths, asked, _facts(index, asked)):
            if isinstance(value, batch.Progress):
                bar.update(value.done, value.total, "")
            else:
                made = value
    finally:
        bar.close()
    assert made is not None
    changed = [edit.path for edit in made.edits]
    problems = list(made.problems)
    lines = made.summary()
    if dry_run:
        lines += _diff(made, index)
    elif made.edits:
        group = stepped("writing", batch.applying(index.workspace, made, dataset))
        refused = {conflict.path for conflict in group.conflicts}
        changed = [path for path in changed if path not in refused]
        lines[0] = f"{count_of(len(changed), 'caption')} of {made.looked_at:,} changed; kohya-tui undo takes it back"
        problems += [
            Problem(Severity.ERROR, "KT122", str(conflict.path), conflict.reason, "Run the command again.")
            for conflict in group.conflicts
        ]
    key_of = index.workspace.key_of
    document = {
        "changed": len(changed),
        "files": [key_of(path) for path in changed],
        "looked_at": made.looked_at,
        "prose": made.prose,
        "missing": made.missing,
        "problems": [problem.as_json() for problem in problems],
        "dry_run": dry_run,
    }
    emit(document, [*lines, *problem_lines(problems)], as_json=json_)
    if problems:
        raise typer.Exit(1)


def _chosen(place: Place, dataset: str, where: str | None) -> tuple[Index, list[int]]:
    from core.cli.find import matching

    return matching(place, dataset, where or "")


def _facts(index: Index, asked: Operation) -> Facts | None:
    from core.dataset.operations import Facts, Sort

    if not isinstance(asked, Sort) or asked.by != "category":
        return None
    from core.tagging.scores import tag_categories

    categories = tag_categories(index.workspace)
    if not categories:
        say("! No tagger has worked here yet, so the categories of tags are not known: nothing is sorted.")
    return Facts(categories=categories)


def _operation(
    name: str, words: Sequence[str], place: str, after: str, regex: bool, ignore_case: bool, keep: int
) -> Operation:
    from core.dataset import operations as ops
    from core.dataset.batch_forms import number_in, tag_in, tags_in

    if name not in USES:
        raise WrongUsage(f"{printable(name)} is no operation of edit", f"There are {', '.join(USES)}.")
    words = [",".join(words)] if name in {"add", "remove"} and words else words
    if len(words) != _WORDS[name]:
        raise WrongUsage(f"{name} wants {count_of(_WORDS[name], 'word')}", f"kohya-tui edit DATASET {USES[name]}")
    try:
        match name:
            case "add":
                return ops.Add(tags_in(words[0]), place, tag_in(after) if place == "after" else "")
            case "remove":
                return ops.Remove(tags_in(words[0]))
            case "rename":
                return ops.Rename(tag_in(words[0]), ", ".join(tags_in(words[1])))
            case "replace" if words[0]:
                return ops.Replace(words[0], words[1], regex, ignore_case)
            case "move":
                return ops.MoveTo(tag_in(words[0]), number_in(words[1], 1))
            case "sort":
                return ops.Sort(_one_of(words[0], ops.ORDERS), keep)
            case "dedupe":
                return ops.Dedupe()
            case "case":
                return ops.Case(_one_of(words[0], ops.CASES))
            case "spell":
                return ops.Spell(_one_of(words[0], ops.SPELLINGS))
            case "split":
                return ops.Split(tag_in(words[0]), tags_in(words[1]))
            case "merge":
                return ops.Merge(tags_in(words[0]), tag_in(words[1]))
            case "strip":
                return ops.Strip()
    except WrongUsage:
        raise
    except UserError as error:
        raise WrongUsage(error.message, error.hint) from error
    raise WrongUsage("There is no text to look for", f"kohya-tui edit DATASET {USES[name]}")


def _one_of(word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise WrongUsage(f"{printable(word)} is not known here", f"There are {', '.join(words)}.")
    return word


def _diff(made: Plan, index: Index) -> list[str]:
    from core.dataset.batch import pieces, shortened

    lines = []
    for path, old, new in made.examples(_EXAMPLES):
        lines.append(printable(index.workspace.key_of(path)))
        marks = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
        text = "".join(marks[kind].format(text) for kind, text in shortened(pieces(old, new)))
        lines.append(f"    {printable(text)}")
    if len(made.edits) > _EXAMPLES:
        lines.append(f"… and {len(made.edits) - _EXAMPLES:,} more; --json lists the files")
    return folded(lines)


def review(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.", show_default=False)],
    where: Annotated[
        str | None, typer.Option(metavar="QUERY", help="Only the images that match; see: help filter.")
    ] = None,
    mark: Annotated[bool, typer.Option("--mark", help="Mark them as reviewed.")] = False,
    unmark: Annotated[bool, typer.Option("--unmark", help="Take the marks off.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Which images were reviewed. --mark and --unmark change that; undoable."""
    from core.dataset.marks import mark_reviewed, read_reviewed

    if mark and unmark:
        raise typer.BadParameter("choose one of --mark and --unmark")
    index, numbers = _chosen(place_of(context), dataset, where)
    keys = [index.key(number) for number in numbers]
    reviewed = read_reviewed(index.workspace)
    changed = [key for key in keys if (key not in reviewed) == mark] if mark or unmark else []
    if changed:
        mark_reviewed(index.workspace, changed, mark)
        reviewed = reviewed | set(changed) if mark else reviewed - set(changed)
    left = [key for key in keys if key not in reviewed]
    lines = [f"{len(keys) - len(left):,} of {count_of(len(keys), 'image')} reviewed"]
    if mark or unmark:
        lines[0] += f", {len(changed):,} changed"
    else:
        lines += [printable(key) for key in left]
    document = {"changed": len(changed), "reviewed": len(keys) - len(left), "images": len(keys), "left": left}
    emit(document, lines, as_json=json_)
