"""`config options` and `config refresh`: what the trainer takes, and reading it from the user's own sd-scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.config_group import config_app
from core.cli.main import JsonFlag, WrongUsage, place_of
from core.cli.output import emit, folded
from core.problems import UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.config.schema import Field


@config_app.command("options")
def options(
    script: Annotated[
        str,
        typer.Argument(metavar="[SCRIPT]", help="A training script such as sdxl_train_network.py.", show_default=False),
    ] = "train_network.py",
    search: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Only those that have it in their name or words.")
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Every option of a script and of the dataset file. Kind, default, choices, and what it does."""
    from core.config import schema

    name = _script(script, schema.scripts())
    found: list[tuple[str, Field]] = [("train.toml", field) for field in schema.fields(name).values()]
    seen: dict[str, Field] = {}
    for level in reversed(schema.LEVELS):
        seen |= schema.dataset_fields(level)
    found += [("dataset.toml", field) for field in seen.values()]
    words = [word.lower() for word in search or []]
    found = [each for each in found if all(word in _haystack(each[1]) for word in words)]
    is_theirs = schema.is_in_checkout(name)
    source = schema.source() if is_theirs else f"shipped with kohya-tui, from sd-scripts {schema.shipped_commit()}"
    document = {
        "script": name,
        "source": source,
        "options": [_as_json(file, field, is_theirs=is_theirs) for file, field in found],
        "scripts": list(schema.scripts()),
        "network_modules": {module: dict(schema.network_args(module) or {}) for module in schema.network_modules()},
        "optimizers": list(schema.optimizers()),
        "schedulers": list(schema.schedulers()),
    }
    lines = [f"{name} · {count_of(len(found), 'option')} · {printable(source)}"]
    heading = None
    for file, field in found:
        title = f"{field.group} ({file})" if file == "dataset.toml" else field.group
        if title != heading:
            heading = title
            lines += ["", title]
        lines.append(f"  {field.name}  {_kind(field)}{_default(field)}")
        lines += [f"      {printable(text)}" for text in (field.help, field.upstream) if text]
    emit(document, folded(lines), as_json=json_)


@config_app.command("refresh")
def refresh(context: typer.Context, json_: JsonFlag = False) -> None:
    """Read the options from your own checkout of sd-scripts. Nothing of it is run; the app does it by itself, too."""
    from core.config import schema
    from core.config.refresh import refresh as read

    checkout = place_of(context).settings().sd_scripts
    if checkout is None:
        hint = "Set sd_scripts in the settings, or KOHYA_TUI_SD_SCRIPTS: kohya-tui help settings"
        raise UserError("No checkout of sd-scripts is known", hint)
    result = read(checkout)
    schema.forget()
    if result.facts is None:
        raise UserError(f"The shipped options stay in use: {result.problem}", "Look at that file, then do it again.")
    scripts: dict[str, Any] = {name: len(schema.fields(name)) for name in result.facts["options"]["scripts"]}
    document = {"checkout": str(checkout), "commit": result.commit, "scripts": scripts}
    lines = [f"Read {count_of(len(scripts), 'script')} of {printable(result.name)}"]
    lines += [f"  {name:<38} {count:>3} options" for name, count in scripts.items()]
    emit(document, lines, as_json=json_)


def _script(given: str, known: tuple[str, ...]) -> str:
    from core.config.schema import nearest

    name = Path(given).name
    for each in (name, f"{name}.py", f"{name}_train_network.py"):
        if each in known:
            return each
    near = nearest(name, known)
    raise WrongUsage(f"{given} is no training script that is known", f"Did you mean {near or known[0]}?")


def _haystack(field: Field) -> str:
    return f"{field.name} {field.help} {field.upstream} {field.group}".lower()


def _kind(field: Field) -> str:
    from core.config.values import shown

    if field.choices:
        return " | ".join(shown(choice) for choice in field.choices)
    if field.type == "list":
        return f"list of {'numbers' if field.item == 'float' else 'texts'}"
    return {"bool": "true or false", "str": "text", "number": "number"}.get(field.type, field.type)


def _default(field: Field) -> str:
    from core.config.values import shown

    return "" if field.default in (None, "") or field.type == "bool" else f", default {shown(field.default)}"


def _as_json(file: str, field: Field, *, is_theirs: bool) -> dict[str, Any]:
    return {
        "name": field.name,
        "file": file,
        "type": field.type,
        "item": field.item if field.type == "list" else None,
        "default": field.default,
        "choices": list(field.choices),
        "group": field.group,
        "help": field.help,
        "upstream_help": field.upstream or None,
        "from": "your sd-scripts" if is_theirs else "shipped",
    }
