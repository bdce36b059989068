"""`config show|set|unset|diff`: the values of a config, read, changed and compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.config_group import FILES, assigned, config_app, from_here, preflight_of, written
from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import emit, table
from core.problems import UserError
from core.text import printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config.documents import Config, FileName

Assignments = Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="dataset:KEY=VALUE for dataset.toml.")]


@config_app.command("show")
def show(
    context: typer.Context,
    name: str,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", show_default=False)] = None,
    json_: JsonFlag = False,
) -> None:
    """The files of a config, or the value of one key. Tokens are not shown."""
    from core.config.documents import open_config
    from core.config.secrets import hidden, hidden_text
    from core.config.values import shown

    workspace = place_of(context).workspace()
    config = open_config(workspace, name)
    if key is not None:
        file, plain = _target(key)
        value = hidden(plain, config.get(file, plain))
        if value is None:
            raise UserError(
                f"{plain} is not set in {file}.toml of {name}", f"Set it: kohya-tui config set {name} {key}=VALUE"
            )
        emit(
            {"key": plain, "value": value},
            [printable(value if isinstance(value, str) else shown(value))],
            as_json=json_,
        )
        return
    lines = []
    for file in FILES:
        lines += [
            f"── {printable(workspace.key_of(config.path(file)))}",
            printable(hidden_text(config, file), newlines=True).rstrip(),
            "",
        ]
    train = {key: hidden(key, value) for key, value in config.effective().items()}
    document = {"train": train, "dataset": config.plain("dataset"), "prompts": config.prompts}
    emit(document, lines, as_json=json_)


@config_app.command("set")
def set_(context: typer.Context, name: str, assignments: Assignments, json_: JsonFlag = False) -> None:
    """Change options; comments and the order of the file stay. Undoable."""
    from core.config.documents import open_config
    from core.config.schema import is_path, parse_value
    from core.dataset.edits import Journal

    pairs = assigned(assignments)
    place = place_of(context)
    workspace = place.workspace()
    config = open_config(workspace, name)
    for key, text in pairs:
        file, plain = _target(key)
        if is_path(file, plain):
            text = from_here(text, workspace)
        config.set(file, plain, parse_value(file, plain, text))
    changed = [file for file in FILES if file in config.changed]
    config.save(Journal(workspace))
    written(workspace, config, changed, [], preflight_of(config, workspace, place), json_)


@config_app.command("unset")
def unset(
    context: typer.Context, name: str, keys: Annotated[list[str], typer.Argument()], json_: JsonFlag = False
) -> None:
    """Remove options, so that sd-scripts' own defaults hold. Undoable."""
    from core.config.documents import open_config
    from core.dataset.edits import Journal

    place = place_of(context)
    workspace = place.workspace()
    config = open_config(workspace, name)
    for key in keys:
        config.unset(*_target(key))
    changed = [file for file in FILES if file in config.changed]
    config.save(Journal(workspace))
    written(workspace, config, changed, [], preflight_of(config, workspace, place), json_)


@config_app.command("diff")
def diff(
    context: typer.Context,
    name: str,
    other: Annotated[str | None, typer.Argument(metavar="[OTHER]", help="Another config.", show_default=False)] = None,
    preset: Annotated[str | None, typer.Option(help="A preset, filled in for the same dataset.")] = None,
    run: Annotated[str | None, typer.Option(help="The files that a run was started with.")] = None,
    saved: Annotated[bool, typer.Option("--saved", help="The saved files, beside what the app keeps unsaved.")] = False,
    json_: JsonFlag = False,
) -> None:
    """What two configs would do differently. Tokens are not shown."""
    from core.config import compare
    from core.config.documents import open_config

    workspace = place_of(context).workspace()
    if (other is not None) + (preset is not None) + (run is not None) + saved != 1:
        raise WrongUsage("Name one thing to compare with", "OTHER, --preset NAME, --run ID, or --saved")
    ours = open_config(workspace, name)
    if preset is not None:
        theirs, title = compare.from_preset(ours, workspace, preset), f"preset {preset}"
    elif run is not None:
        theirs, title = _frozen(workspace, run)
    elif saved:
        theirs, title = open_config(workspace, name), "saved"
        ours = _with_draft(workspace, ours)
    else:
        theirs, title = open_config(workspace, other or ""), other or ""
    for config in (ours, theirs):
        for error in config.broken.values():
            raise error
    found = compare.differences(ours, theirs)
    rows = [("option", name, title)]
    rows += [(printable(each.name), _value(each.ours), _value(each.theirs)) for each in found]
    emit({"changed": compare.as_json(found)}, table(rows, cut=2) if found else ["no difference"], as_json=json_)


def _value(value: object) -> str:
    from core.config.values import shown

    return "–" if value is None else printable(shown(value))


def _frozen(workspace: Workspace, run: str) -> tuple[Config, str]:
    from core.config.compare import frozen
    from core.runs.store import open_run

    found = open_run(workspace.runs, run)
    return frozen(workspace, found.id), found.id


def _with_draft(workspace: Workspace, config: Config) -> Config:
    """What the app keeps unsaved, laid over the files."""
    from core.config.drafts import read

    draft = read(workspace, config)
    for file, text in draft.texts.items() if draft is not None else ():
        config.set_text(file, text)
    return config


def _target(key: str) -> tuple[FileName, str]:
    """`dataset:resolution` names dataset.toml, a plain key train.toml."""
    match = re.fullmatch(r"(train|dataset):(.+)", key)
    if match is None:
        return "train", key
    return ("train" if match[1] == "train" else "dataset"), match[2]
