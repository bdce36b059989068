"""`config prompts` and `config folders`: the sample prompts and the folders of a config, as rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.config_group import config_app, from_here, preflight_of, written
from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import emit, folded, say, table
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

_SET = re.compile(r"(\d+)\.([\w ]+)=(.*)", re.DOTALL)


@config_app.command("prompts")
def prompts(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    run: Annotated[str | None, typer.Option(help="The prompts of a run, also while it goes on.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="A new prompt; size and seed are filled in.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="N.OPTION=VALUE", help="Change one, such as 2.seed=7.")
    ] = None,
    remove: Annotated[list[int] | None, typer.Option(metavar="N", help="Remove prompt N, from 1.")] = None,
    json_: JsonFlag = False,
) -> None:
    """The sample prompts and what is drawn of each. --add, --set and --remove change them; undoable."""
    from core.config import prompts as core_prompts

    workspace = place_of(context).workspace()
    if (name is None) == (run is None):
        raise WrongUsage("Name a config, or a run with --run", "kohya-tui config prompts NAME")
    change = bool(add or set_ or remove)
    if run is not None:
        text, script, said = _of_run(workspace, run, add, set_, remove)
    else:
        text, script, said = _of_config(workspace, name or "", add, set_, remove)
    found = list(core_prompts.documents(text, script))
    rows = [("", "prompt", "drawn")]
    for number, each in enumerate(found, 1):
        drawn = core_prompts.as_drawn(each["text"], script)
        rows.append((str(number), printable(each["read"]["prompt"]), printable(drawn)))
    lines = table(rows, frozenset({0}), cut=1) if found else ["no prompts yet: --add TEXT"]
    emit({"prompts": found, "changed": change, "used": said}, lines, as_json=json_)
    if said and not json_:
        say(said)


def _of_config(
    workspace: Workspace, name: str, add: list[str] | None, sets: list[str] | None, removed: list[int] | None
) -> tuple[str, str, str]:
    """(text, script, what is to be said) after the changes, which are saved."""
    from core.config.documents import open_config
    from core.config.resolved import script_of
    from core.dataset.edits import Journal

    config = open_config(workspace, name)
    script = script_of(config, workspace)
    named = config.get("train", "sample_prompts")
    if isinstance(named, str) and named.endswith((".toml", ".json")) and not config.prompts.strip():
        return _foreign(workspace, named, changed=bool(add or sets or removed)), script, f"from {named}"
    config.prompts = _edited(config.prompts, script, add, sets, removed)
    config.save(Journal(workspace))
    return config.prompts, script, ""


def _foreign(workspace: Workspace, named: str, *, changed: bool) -> str:
    """The prompts of a TOML or JSON file as lines; they are not written from here."""
    from core.config.prompts import OPTIONS, foreign

    path = workspace.root / named
    if changed:
        raise UserError(f"{path} is no text file of prompts: it is changed in an editor", "Or name a .txt file.")
    try:
        rows = foreign(path.read_text("utf-8"), path.suffix)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}", "Name a file that is there.") from error
    flags = {option.key: option.flag for option in OPTIONS}
    lines = []
    for row in rows:
        options = [f"--{flags[key]} {value}" for key, value in row.items() if key in flags]
        lines.append(" ".join([str(row.get("prompt", "")), *options]))
    return "\n".join(lines)


def _of_run(
    workspace: Workspace, run: str, add: list[str] | None, sets: list[str] | None, removed: list[int] | None
) -> tuple[str, str, str]:
    from core.config.resolved import script_for
    from core.runs import prompts as run_prompts
    from core.runs.store import open_run

    found = open_run(workspace.runs, run)
    before = run_prompts.load(found)
    script = next((item.rpartition("/")[2] for item in found.spec.argv if item.endswith("_network.py")), None)
    script = script or script_for("", None)
    text = _edited(before, script, add, sets, removed)
    return text, script, run_prompts.save(found, text, before) if text != before else ""


def _edited(text: str, script: str, add: list[str] | None, sets: list[str] | None, removed: list[int] | None) -> str:
    """The text after the changes; numbers count the prompts from 1, as they were before."""
    from core.config import prompts as core_prompts

    lines = core_prompts.prompt_lines(text)

    def at(number: int) -> int:
        if not 1 <= number <= len(lines):
            raise UserError(f"There is no prompt {number}", f"There are {len(lines)}, counted from 1.")
        return lines[number - 1]

    flags = {"prompt": "", **{option.label: option.flag for option in core_prompts.OPTIONS}}
    flags |= {option.flag: option.flag for option in core_prompts.OPTIONS}
    for assignment in sets or []:
        match = _SET.fullmatch(assignment)
        if match is None or match[2] not in flags:
            raise WrongUsage(f"{assignment!r} is not N.OPTION=VALUE", f"OPTION is one of {', '.join(flags)}.")
        line = at(int(match[1]))
        changed = core_prompts.with_value(core_prompts.lines_of(text)[line], flags[match[2]], match[3])
        text = core_prompts.replace(text, line, changed)
    for line in sorted((at(number) for number in removed or []), reverse=True):
        text = core_prompts.remove(text, line)
    for prompt in add or []:
        text = core_prompts.insert(text, core_prompts.new_line(prompt, script, text))
    return text


@config_app.command("folders")
def folders(
    context: typer.Context,
    name: str,
    add: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER", help="A folder of pictures becomes a subset.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Add every folder of train_data/ that is in no subset.")] = False,
    dataset: Annotated[int | None, typer.Option(metavar="N", help="To this dataset, from 1; else the last.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="PLACE", help="Remove datasets[0].subsets[1].")] = None,
    blocks: Annotated[bool, typer.Option("--blocks", help="Write datasets = [{...}] as [[datasets]] first.")] = False,
    json_: JsonFlag = False,
) -> None:
    """The datasets and subsets of a config. With what they inherit; --add, --all and --remove change them; undoable."""
    from core.config import subsets
    from core.config.documents import open_config
    from core.dataset.edits import Journal

    place = place_of(context)
    workspace = place.workspace()
    config = open_config(workspace, name)
    if blocks:
        subsets.write_as_blocks(config)
    for each in sorted(remove or [], key=_order, reverse=True):
        node = next((node for node in subsets.tree(config) if node.place == each), None)
        if node is None:
            raise UserError(f"There is no {each} in dataset.toml of {name}", f"See: kohya-tui config folders {name}")
        subsets.remove(config, node)
    new = [workspace.root / from_here(folder, workspace) for folder in add or []]
    new += [part.path for part in subsets.folders_to_add(config, workspace)] if all_ else []
    for path in new:
        if not path.is_dir():
            raise UserError(f"There is no folder {path}", "Name a folder of pictures.")
    if new:
        subsets.add_folders(config, workspace, new, None if dataset is None else dataset - 1)
    if config.changed:
        config.save(Journal(workspace))
        if not json_:
            written(workspace, config, ["dataset"], [], preflight_of(config, workspace, place), False)
    document = {"folders": [_described(config, node) for node in subsets.tree(config)]}
    emit(document, folded(_rows(config)), as_json=json_)


def _order(place: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", place)]


def _described(config: Config, node: Any) -> dict[str, Any]:
    from core.config.subsets import inherited, keys_of

    values = {key: inherited(config, node, key) for key in keys_of(node)}
    return {
        "place": node.place,
        "kind": node.kind if node.level == "subsets" else node.level,
        "own": dict(node.own),
        "inherited": {key: {"value": each.value, "from": each.source} for key, each in values.items() if each.source},
    }


def _rows(config: Config) -> list[str]:
    from core.config.subsets import inherited, tree

    rows: list[tuple[str, ...]] = [("place", "folder", "repeats", "kind")]
    for node in tree(config):
        if node.level == "subsets":
            repeats = inherited(config, node, "num_repeats").value
            rows.append((node.place, printable(node.folder or "–"), str(repeats), node.kind))
        elif node.level == "datasets":
            own = " · ".join(f"{key} {value}" for key, value in node.own.items())
            rows.append((node.place, printable(own), "", "dataset"))
    return table(rows, frozenset({2}), cut=1)
