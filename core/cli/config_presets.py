"""`config new`, `config presets` and `config save-preset`: a config from a preset, and a preset from a config."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.cli.config_group import FILES, config_app, from_here, preflight_of, written
from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, folded, say, table
from core.text import printable


@config_app.command("new")
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the config.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Such as sdxl-character, or style alone; see: kohya-tui config presets. Else the base model tells.",
            show_default=False,
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="Such as prodigy or adafactor; else the usual one of the model.", show_default=False),
    ] = None,
    vram: Annotated[
        float | None, typer.Option(help="GB of GPU memory to fit into; else those of the GPU here.", show_default=False)
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="The dataset to train; else the one of that name.")] = None,
    base: Annotated[str | None, typer.Option(help="The base checkpoint.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Write a config from a preset. Into configs/NAME/, every value with its reason beside it."""
    from core.config.presets import draft, write_new
    from core.dataset.edits import Journal

    place = place_of(context)
    workspace = place.workspace()
    settings = place.settings()
    overrides: dict[str, Any] = {"pretrained_model_name_or_path": from_here(base, workspace)} if base else {}
    if dataset is None and name in workspace.dataset_names():
        dataset = name
    if vram is None:
        vram = _vram_here(preset)
    config = draft(
        workspace, name, preset, dataset, overrides, trigger=settings.trigger, optimizer=optimizer, vram=vram
    )
    write_new(config, Journal(workspace))
    written(workspace, config, FILES, [], preflight_of(config, workspace, place), json_)


def _vram_here(preset: str | None) -> float | None:
    """The memory tier of the GPU in this machine, for a preset that is made by memory; None without a GPU."""
    from core.config.pieces import tier_of_gpus
    from core.config.presets import is_composed
    from core.hardware import read_gpus

    if not is_composed(preset):
        return None
    found = tier_of_gpus(read_gpus())
    if found is not None:
        say(f"for the GPU of this machine: --vram {found}")
    return found


@config_app.command("presets")
def presets(json_: JsonFlag = False) -> None:
    """The presets. Model families and what for, optimizers, sizes of GPU memory, and your own."""
    from core.config.pieces import TIERS, optimizers
    from core.config.presets import list_presets

    found = list_presets()
    rows = [("preset", "for", "usual")]
    for preset in found:
        usual = f"{preset.optimizer}, {preset.vram} GB" if preset.vram is not None else "yours" if preset.is_own else ""
        title = preset.description if preset.is_own else preset.title
        rows.append((printable(preset.name), printable(title), usual))
    lines = [
        *table(rows, frozenset(), (), 1),
        "",
        "--optimizer",
        *(f"  {each.name:<18} {each.about}" for each in optimizers().values()),
        "",
        f"--vram  {' '.join(map(str, TIERS))} (GB; else those of the GPU here)",
    ]
    document = {
        "presets": [preset.as_json() for preset in found],
        "optimizers": [
            {"name": each.name, "about": each.about, "package": each.package} for each in optimizers().values()
        ],
        "vram_tiers": list(TIERS),
    }
    emit(document, folded(lines), as_json=json_)


@config_app.command("save-preset")
def save_preset(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the preset.")],
    source: Annotated[str, typer.Option("--from", metavar="CONFIG", help="The config whose values are kept.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a preset of yours that has this name.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Keep the values of a config as a preset of yours. Without its paths, names and tokens."""
    from core.config.documents import open_config
    from core.config.own_presets import save_preset as save
    from core.config.presets import word_of

    place = place_of(context)
    workspace = place.workspace()
    config = open_config(workspace, source)
    trigger = place.settings().trigger or word_of(config, workspace)
    path = save(config, name, workspace, trigger=trigger, force=force)
    lines = [printable(str(path)), f"kohya-tui config new NAME --preset {printable(name)}"]
    emit({"preset": name, "file": str(path)}, lines, as_json=json_)
