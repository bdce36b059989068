"""`models` and `models base`: tagger models and base checkpoints, on disk and on the hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.main import JsonFlag, place_of
from core.cli.output import Bar, emit, folded, table, with_place
from core.text import human_bytes, printable

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel
    from core.tagging.download import DownloadProgress

ForceFlag = Annotated[bool, typer.Option("--force", help="Fetch again what is there and right.")]
models_app = typer.Typer(help="Tagger models: which are known, which are on disk.", no_args_is_help=False)
base_app = typer.Typer(help="Base checkpoints in models/.", no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add `models` and, below it, `base`."""
    app.add_typer(models_app, name="models", rich_help_panel="Dataset")
    models_app.add_typer(base_app, name="base")
    app.command("lora", rich_help_panel="Config and training")(lora)


@models_app.callback(invoke_without_command=True)
def _models(context: typer.Context, json_: JsonFlag = False) -> None:
    if context.invoked_subcommand is None:
        list_taggers(context, json_)


@models_app.command("list")
def list_taggers(context: typer.Context, json_: JsonFlag = False) -> None:
    """The known taggers, which are on disk, their thresholds and licences."""
    from core.tagging.models import list_models

    place = place_of(context)
    models = list_models(place.workspace_or_none(), place.settings())
    rows = [("model", "on disk", "size", "threshold", "about")]
    for model in models:
        rows.append(
            (
                printable(model.name),
                "yes" if model.is_on_disk else "–",
                human_bytes(model.bytes) if model.bytes else "–",
                _thresholds(model),
                printable(f"{model.note} (licence: {model.licence}{', gated' if model.is_gated else ''})".lstrip()),
            )
        )
    emit({"models": [model.as_json() for model in models]}, table(rows, frozenset({2, 3})), as_json=json_)


@models_app.command("download")
def download_tagger(
    context: typer.Context,
    repo_id: Annotated[str, typer.Argument(help="For example SmilingWolf/wd-swinv2-tagger-v3", show_default=False)],
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of the repository.", show_default="main")
    ] = None,
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Bring a tagger model into the hub's cache."""
    from core.tagging.download import download
    from core.tagging.models import find_model

    place = place_of(context)
    workspace, settings = place.workspace_or_none(), place.settings()
    model = find_model(repo_id, workspace, settings, revision=revision)
    if not model.is_local:
        _show(download(model, force=force), repo_id)
        model = find_model(repo_id, workspace, settings, revision=revision)
    paths = [str(path) for path in model.paths]
    emit({"paths": paths}, [printable(path) for path in paths], as_json=json_)


@base_app.callback(invoke_without_command=True)
def _base(context: typer.Context, json_: JsonFlag = False) -> None:
    if context.invoked_subcommand is None:
        list_base(context, json_)


@base_app.command("list")
def list_base(context: typer.Context, json_: JsonFlag = False) -> None:
    """Base checkpoints in models/, with what their headers say."""
    from core.config.base_models import USUAL, list_models

    place = place_of(context)
    workspace = place.workspace()
    models = list_models(workspace, place.settings())
    rows = [("file", "size", "architecture", "prediction", "precision")]
    for model in models:
        rows.append(
            (
                printable(workspace.key_of(model.path)),
                human_bytes(model.bytes),
                printable(model.architecture or "–"),
                printable(model.prediction or "–"),
                printable(model.precision or "–"),
            )
        )
    lines = table(rows, frozenset({1})) if models else ["No base checkpoint in models/ yet."]
    lines += folded(["", with_place("The usual ones, fetched with: kohya-tui models base download REPO FILE")])
    for usual in USUAL:
        lines += folded([f"  {usual.title} ({usual.gigabytes:.1f} GB)", f"      {usual.repo} {usual.file}"])
    emit({"models": [model.as_json(workspace) for model in models]}, lines, as_json=json_)


@base_app.command("download")
def download_base(
    context: typer.Context,
    repo_id: Annotated[str, typer.Argument(help="The repository on the hub.", show_default=False)],
    file: Annotated[str, typer.Argument(help="The file in it.", show_default=False)],
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Bring a base checkpoint into models/ of the workspace."""
    from core.dataset.changes import make_folder
    from core.tagging.download import fetch

    workspace = place_of(context).workspace()
    make_folder(workspace.models)
    _show(fetch(repo_id, (file,), folder=workspace.models, force=force), file)
    path = workspace.models / file
    document = {"paths": [str(path)]}
    emit(document, [printable(workspace.key_of(path))], as_json=json_)


def lora(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A LoRA, .safetensors.", show_default=False)],
    tags: Annotated[int, typer.Option(help="How many of its tags are shown.")] = 20,
    json_: JsonFlag = False,
) -> None:
    """What a LoRA file tells of itself. Its network, and how and on what it was trained."""
    from core.config.lora_about import about

    place_of(context)
    found = about(file)
    emit(found.as_json(), folded([printable(line) for line in found.lines(max(tags, 0))]), as_json=json_)


def _thresholds(model: TaggerModel) -> str:
    """The author's: one for all tags, or general / character."""
    by_category = [model.thresholds.get(word) for word in ("general", "character")]
    values: list[float | None] = [value for value in by_category if value is not None]
    values = values or [model.threshold]
    return " / ".join(f"{value:.2f}" for value in values if value is not None) or "–"


def _show(progress: Iterable[DownloadProgress], label: str) -> None:
    bar = Bar(f"fetching {printable(label)}")
    try:
        for step in progress:
            bar.update(step.done, step.total, f"{human_bytes(step.done)}")
    finally:
        bar.close()
