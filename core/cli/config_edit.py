"""`config show|set|unset|diff`: the values of a config, read, changed and compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.config_group import FILES, assigned, config_app, from_here, preflight_of, written
from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, table
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from core.config.documents import FileName

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
def diff(context: typer.Context, name: str, other: str, json_: JsonFlag = False) -> None:
    """What two configs would do differently. Tokens are not shown."""
    from core.config.documents import open_config
    from core.config.secrets import hidden
    from core.config.values import shown

    workspace = place_of(context).workspace()
    ours, theirs = (open_config(workspace, each).effective() for each in (name, other))
    changed = {
        key: (hidden(key, ours.get(key)), hidden(key, theirs.get(key)))
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    }
    rows = [("option", name, other)]
    rows += [(printable(key), printable(shown(a)), printable(shown(b))) for key, (a, b) in changed.items()]
    document = {"changed": {key: list(pair) for key, pair in changed.items()}}
    emit(document, table(rows) if changed else ["no difference"], as_json=json_)


def _target(key: str) -> tuple[FileName, str]:
    """`dataset:resolution` names dataset.toml, a plain key train.toml."""
    match = re.fullmatch(r"(train|dataset):(.+)", key)
    if match is None:
        return "train", key
    return ("train" if match[1] == "train" else "dataset"), match[2]
