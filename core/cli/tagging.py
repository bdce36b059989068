"""`tag` and `models`: the tagger and its models, and base checkpoints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.main import JsonFlag, Place, place_of
from core.cli.output import Bar, emit, problem_lines, say, table
from core.problems import UserError
from core.text import human_bytes, printable

if TYPE_CHECKING:
    from core.tagging.options import TagRequest

PANEL = "Tagging"
models_app = typer.Typer(help="Tagger models, and base checkpoints.", no_args_is_help=False)
base_app = typer.Typer(help="Base checkpoints in models/.", no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(
        "tag",
        rich_help_panel=PANEL,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )(tag)
    app.add_typer(models_app, name="models", rich_help_panel=PANEL)
    models_app.add_typer(base_app, name="base")


def tag(context: typer.Context) -> None:
    """Tag the images of a dataset or folder; every option of sd-scripts' tagger under its own name (`tag --help`)."""
    from core.tagging.options import parse_command, usage

    if {"-h", "--help"} & set(context.args):
        typer.echo(usage())
        return
    request = parse_command(context.args)
    _watch(place_of(context), request)


def _watch(place: Place, request: TagRequest) -> None:
    """Start the detached run, then wait for it; Ctrl-C asks the run to stop cleanly."""
    import time

    from core.runs.launch import start, stop, tag_spec
    from core.runs.model import LIVE_STATES, RunState
    from core.runs.store import create, observe, runs_dir
    from core.runs.watch import RunWatch

    workspace = place.workspace_or_none()
    spec, files = tag_spec(workspace, request)
    run = start(create(runs_dir(workspace), spec, files))
    if request.detach:
        emit({"run": run.id, "state": run.status.state}, [f"tagging as run {run.id}"], as_json=request.json)
        return
    watch = RunWatch(run.dir)
    bar = Bar("tagging")
    told = False
    try:
        while True:
            seen = watch.poll()
            if seen.problems and not told:
                bar.close()
                for line in problem_lines(seen.problems):
                    say(line)
                told = True
            if seen.total_steps:
                rate = f"{seen.rate:.1f} img/s" if seen.rate else ""
                bar.update(seen.step or 0, seen.total_steps, rate, eta=seen.eta_seconds)
            if seen.run.status.state not in LIVE_STATES:
                break
            time.sleep(0.1)
    except KeyboardInterrupt:
        bar.close()
        say("stopping the run; what was tagged stays …")
        stop(run, "stop-now")
        raise
    bar.close()
    from core.tagging.results import read_results

    run = observe(run.dir)
    result = read_results(run.dir)
    document = {
        "images": result.total,
        "tagged": result.tagged,
        "failed": [{"path": path, "reason": reason} for path, reason in result.failed],
        "provider": result.provider,
        "images_per_second": result.images_per_second,
        "model": result.model,
        "run": run.id,
    }
    lines = [
        f"{result.tagged:,} of {result.total:,} images tagged by {printable(result.model or '?')}"
        f" on {printable(result.provider or '?')}"
        + (f", {result.images_per_second:.1f} images a second" if result.images_per_second else "")
    ]
    lines += [f"✗ {printable(path)}: {printable(reason)}" for path, reason in result.failed]
    if run.status.state is not RunState.FINISHED and run.status.reason:
        sys.stderr.write(f"kohya-tui: {printable(run.status.reason)}\n")
    emit(document, lines, as_json=request.json)
    if result.failed or run.status.state is not RunState.FINISHED:
        raise typer.Exit(1)


@models_app.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_taggers(context)


@models_app.command("list")
def list_taggers(context: typer.Context, json_: JsonFlag = False) -> None:
    """The known taggers, which are on disk, their thresholds and licences."""
    from core.tagging.models import list_models

    place = place_of(context)
    models = list_models(place.workspace_or_none(), place.settings())
    rows = [("model", "on disk", "size", "threshold", "licence", "")]
    for model in models:
        rows.append(
            (
                printable(model.name),
                "yes" if model.is_on_disk else "–",
                human_bytes(model.bytes) if model.bytes else "–",
                f"{model.threshold:.2f}" if model.threshold else "–",
                model.licence,
                printable(model.note),
            )
        )
    emit({"models": [model.as_json() for model in models]}, table(rows, frozenset({2, 3})), as_json=json_)


@models_app.command("download")
def download_tagger(
    context: typer.Context,
    repo_id: Annotated[str, typer.Argument(help="For example SmilingWolf/wd-swinv2-tagger-v3")],
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Bring a tagger model into the hub's cache."""
    from core.tagging.models import TAGGER_FILES, download

    _download(download(repo_id, TAGGER_FILES, force=force), repo_id, json_)


@base_app.callback(invoke_without_command=True)
def _base(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_base(context)


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
                model.architecture or "–",
                model.prediction or "–",
                model.precision or "–",
            )
        )
    lines = table(rows, frozenset({1})) if models else ["No base checkpoint in models/ yet."]
    lines += ["", "The usual ones: kohya-tui models base download REPO FILE"]
    lines += [f"  {usual.repo_id} {usual.file}  ({usual.title})" for usual in USUAL]
    document = {
        "models": [
            {
                "path": workspace.key_of(model.path),
                "bytes": model.bytes,
                "architecture": model.architecture,
                "prediction": model.prediction,
                "precision": model.precision,
            }
            for model in models
        ]
    }
    emit(document, lines, as_json=json_)


@base_app.command("download")
def download_base(
    context: typer.Context,
    repo_id: Annotated[str, typer.Argument(help="The repository on the hub.")],
    file: Annotated[str, typer.Argument(help="The file in it.")],
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Bring a base checkpoint into models/ of the workspace."""
    from core.tagging.models import download

    workspace = place_of(context).workspace()
    workspace.models.mkdir(exist_ok=True)
    _download(download(repo_id, (file,), force=force, folder=workspace.models), f"{repo_id} {file}", json_)


def _download(progress: Any, label: str, as_json: bool) -> None:
    bar = Bar(f"fetching {printable(label)}")
    paths: list[str] = []
    for step in progress:
        if step.path is not None:
            paths.append(str(step.path))
        bar.update(step.done, step.total, f"{step.done / 1e6:,.0f} MB")
    bar.close()
    if not paths:
        raise UserError(f"Nothing was fetched of {label}", "Look at the messages above, then try again.")
    emit({"paths": paths}, [printable(path) for path in paths], as_json=as_json)
