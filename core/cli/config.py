"""`config …`, `plan` and `check`: the files that sd-scripts reads, and what they will do."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, Place, WrongUsage, place_of
from core.cli.output import emit, folded, problem_lines, say, table, with_place
from core.problems import Problem, Severity, UserError
from core.text import count_of, printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.config.gathering import Moved

PANEL = "Config and training"
config_app = typer.Typer(help="The config files of a training; alone: which there are.", no_args_is_help=False)
FILES: tuple[FileName, ...] = ("train", "dataset", "prompts")
Assignments = Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="dataset:KEY=VALUE for dataset.toml.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(config_app, name="config", rich_help_panel=PANEL)
    app.command("plan", rich_help_panel=PANEL)(plan)
    app.command("check", rich_help_panel=PANEL)(check)


@config_app.callback(invoke_without_command=True)
def _configs(context: typer.Context, json_: JsonFlag = False) -> None:
    if context.invoked_subcommand is None:
        list_configs(context, json_)


def list_configs(context: typer.Context, json_: bool) -> None:
    """Every config with what it trains and how long."""
    from core.config.documents import open_config
    from core.config.plan import plan as make_plan

    workspace = place_of(context).workspace()
    rows: list[tuple[str, ...]] = [("config", "dataset", "images", "steps", "epochs", "")]
    found = []
    for name in workspace.config_names():
        config = open_config(workspace, name)
        planned = make_plan(config, workspace)
        names = _datasets_of(config, workspace)
        failed = any(problem.severity is Severity.ERROR for problem in planned.problems)
        numbers = [f"{value:,}" if value else "–" for value in (planned.images, planned.total_steps, planned.epochs)]
        rows.append((printable(name), printable(", ".join(names) or "–"), *numbers, "✗" if failed else ""))
        counted = {key: planned.as_json()[key] for key in ("images", "total_steps", "epochs")}
        found.append({"name": name, "datasets": names} | counted)
    lines = [with_place("No configs yet. Make one: kohya-tui config new NAME")]
    if found:
        lines = table(rows, frozenset({2, 3, 4}), (), 1)
    emit({"configs": found}, lines, as_json=json_)


def _datasets_of(config: Config, workspace: Workspace) -> list[str]:
    """The folders below train_data/ that a config trains on, or the folders themselves when they lie elsewhere."""
    from core.config.resolved import resolve

    found: dict[str, None] = {}
    for folder in (subset.folder for dataset in resolve(config, workspace) for subset in dataset.subsets):
        if folder is not None and folder != workspace.train_data and folder.is_relative_to(workspace.train_data):
            found[folder.relative_to(workspace.train_data).parts[0]] = None
        elif folder is not None:
            found[workspace.key_of(folder)] = None
    return list(found)


@config_app.command("new")
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the config.")],
    preset: Annotated[str, typer.Option(help="See: kohya-tui config presets")] = "sd15-character",
    dataset: Annotated[str | None, typer.Option(help="The dataset to train; else the one of that name.")] = None,
    base: Annotated[str | None, typer.Option(help="The base checkpoint.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Write configs/NAME/ from a preset."""
    from core.config.presets import draft, write_new
    from core.dataset.edits import Journal

    place = place_of(context)
    workspace = place.workspace()
    overrides: dict[str, Any] = {"pretrained_model_name_or_path": _from_here(base, workspace)} if base else {}
    if dataset is None and name in workspace.dataset_names():
        dataset = name
    config = write_new(draft(workspace, name, preset, dataset, overrides), Journal(workspace))
    _written(workspace, config, FILES, [], _problems(config, workspace, place), json_)


@config_app.command("presets")
def presets(json_: JsonFlag = False) -> None:
    """The presets and what they are for."""
    from core.config.presets import PRESETS

    rows = [(preset.name, preset.title, preset.description) for preset in PRESETS.values()]
    document = {"presets": [{"name": a, "title": b, "description": c} for a, b, c in rows]}
    lines = [line for a, b, c in rows for line in (f"{a:<18} {b}", f"{'':<18} {c}")]
    emit(document, folded(lines), as_json=json_)


@config_app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A guide (Markdown), or its TOML alone. - reads standard input.")],
    name: Annotated[str | None, typer.Option(help="The name of the config; else the character's.")] = None,
    answer: Annotated[
        list[str] | None, typer.Option("--set", metavar="PLACEHOLDER=VALUE", help="Fill in a placeholder of the guide.")
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Split a one-file guide into the files that sd-scripts reads, and say what moved and why."""
    from core.config.check_options import named
    from core.config.guide import convert, default_answers, read_guide
    from core.config.presets import write_config
    from core.dataset.edits import Journal

    place = place_of(context)
    workspace = place.workspace()
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"Cannot read {file}: {why}", "Name a Markdown guide or a TOML file, in UTF-8.") from error
    if not text.strip():
        raise UserError(f"There is nothing in {file}", "Name a Markdown guide or a TOML file.")
    try:
        guide = read_guide(text)
    except UserError as error:
        raise UserError(f"{file}: {error.message}", error.hint) from error
    answers = dict(_pairs(answer or []))
    likely = default_answers(guide, workspace, name)
    for placeholder in guide.placeholders:
        if placeholder in answers:
            continue
        suggestion = likely.get(placeholder)
        if sys.stdin.isatty():
            question = f"What stands for {printable(placeholder)}?"
            answers[placeholder] = typer.prompt(question, default=suggestion, err=True)
        elif suggestion is not None:
            answers[placeholder] = suggestion
            say(f"{printable(placeholder)} = {printable(suggestion)}")
        else:
            raise UserError(
                f"{file}: the placeholder {placeholder!r} needs a value", f"Add: --set '{placeholder}=VALUE'"
            )
    result = convert(guide, answers, name, workspace)
    config = write_config(workspace, result.name, result.train, result.dataset, result.prompts, Journal(workspace))
    problems = _problems(config, workspace, place)
    told = {_about(problem) for problem in problems}
    problems += [each for each in result.problems if _about(named(each, config, workspace)) not in told]
    _written(workspace, config, FILES, result.moved, problems, json_)


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

    pairs = _pairs(assignments)
    place = place_of(context)
    workspace = place.workspace()
    config = open_config(workspace, name)
    for key, text in pairs:
        file, plain = _target(key)
        if is_path(file, plain):
            text = _from_here(text, workspace)
        config.set(file, plain, parse_value(file, plain, text))
    changed = [file for file in FILES if file in config.changed]
    config.save(Journal(workspace))
    _written(workspace, config, changed, [], _problems(config, workspace, place), json_)


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
    _written(workspace, config, changed, [], _problems(config, workspace, place), json_)


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


def plan(context: typer.Context, name: str, json_: JsonFlag = False) -> None:
    """Images, repeats, buckets, steps, checkpoints and disk, as sd-scripts will count them."""
    from core.config.documents import open_config
    from core.config.plan import plan as make_plan

    workspace = place_of(context).workspace()
    found = make_plan(open_config(workspace, name), workspace)
    lines = found.lines()
    lines += folded(problem_lines(found.problems))
    emit(found.as_json(), lines, as_json=json_)
    if any(problem.severity is Severity.ERROR for problem in found.problems):
        raise typer.Exit(1)


def check(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", show_default=False)] = None,
    config: Annotated[str | None, typer.Option("--config", help="The config to check with its dataset.")] = None,
    json_: JsonFlag = False,
) -> None:
    """The preflight: config, dataset and machine. Exit status 1 when a training would fail."""
    from core.config.documents import open_config
    from core.config.preflight import check_dataset
    from core.runs.ready import check_start

    place = place_of(context)
    workspace = place.workspace()
    settings = place.settings()
    datasets = [dataset] if dataset is not None else []
    configs = [config] if config is not None else []
    if not datasets and not configs:
        datasets, configs = workspace.dataset_names(), workspace.config_names()
        if not datasets and not configs:
            raise UserError(f"There is nothing to check in {workspace.root}", "Bring images in: kohya-tui import NAME")
    checked = [(name, check_dataset(workspace, name)) for name in datasets]
    checked += [(f"config {name}", check_start(open_config(workspace, name), workspace, settings)) for name in configs]
    problems: dict[Problem, None] = {}
    lines = []
    for name, found in checked:
        lines.append(f"{printable(name)}: {count_of(len(found), 'problem') if found else 'nothing to complain about'}")
        for problem in found:  # the remedy of what several have in common stands once
            known = problem in problems
            lines += [f"  {line}" for line in problem_lines([replace(problem, hint=None) if known else problem])]
        problems.update(dict.fromkeys(found))
    lines = folded(lines)
    emit({"problems": [problem.as_json() for problem in problems]}, lines, as_json=json_)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise typer.Exit(1)


def _problems(config: Config, workspace: Workspace, place: Place) -> list[Problem]:
    from core.config.preflight import check as preflight

    return preflight(config, workspace, place.settings())


def _about(problem: Problem) -> tuple[str, str]:
    return problem.code, problem.where


def _from_here(text: str, workspace: Workspace) -> str:
    """A path as the config wants it, relative to the workspace, from one that is relative to the current folder.

    What is not there, or is meant from the workspace already, stays as it was written.
    """
    written = Path(text).expanduser()
    if not text.strip() or (not written.is_absolute() and (workspace.root / written).exists()) or not written.exists():
        return text
    return workspace.key_of(written.parent.resolve() / written.name if written.name != ".." else written.resolve())


def _pairs(assignments: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise WrongUsage(f"{assignment!r} is not KEY=VALUE", "For example: learning_rate=1e-4")
        pairs.append((key.strip(), value.strip()))
    return pairs


def _target(key: str) -> tuple[FileName, str]:
    """`dataset:resolution` names dataset.toml, a plain key train.toml."""
    match = re.fullmatch(r"(train|dataset):(.+)", key)
    if match is None:
        return "train", key
    return ("train" if match[1] == "train" else "dataset"), match[2]


def _written(
    workspace: Workspace,
    config: Config,
    changed: Sequence[FileName],
    moved: Sequence[Moved],
    problems: Sequence[Problem],
    as_json: bool,
) -> None:
    """What was written, what an import moved, and what the preflight thinks of it."""
    files = [workspace.key_of(config.path(file)) for file in changed]
    lines = [printable(file) for file in files] or ["nothing changed"]
    for move in moved:
        way = f"{move.from_} → {move.to}" if move.to else move.from_
        lines.append(f"· {printable(move.key)} ({printable(way)}): {printable(move.why)}")
    lines = folded([*lines, *problem_lines(problems)])
    document = {
        "files": files,
        "moved": [{"key": move.key, "from": move.from_, "to": move.to, "why": move.why} for move in moved],
        "problems": [problem.as_json() for problem in problems],
    }
    emit(document, lines, as_json=as_json)
