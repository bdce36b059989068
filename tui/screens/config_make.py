"""A config from what was chosen in the dialog, and a preset of the user's from a config."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import printable
from tui.screens.config_new import NewConfig, Surroundings, Wanted
from tui.screens.dialogs import Ask, Choose, Confirm

if TYPE_CHECKING:
    from core.config.documents import Config
    from tui.app import KohyaApp


async def ask_new(app: KohyaApp) -> str | None:
    """A new config from a preset; returns its name when it was written."""
    from core.config.presets import DEMO, draft, write_new
    from tui.screens.config_dialogs import ask_name

    workspace = app.workspace
    assert workspace is not None
    wanted: Wanted | None = Wanted(DEMO)
    if app.settings.trainer != "demo":
        wanted = await app.push_screen_wait(NewConfig(await look_round(app)))
    if wanted is None:
        return None
    chosen = wanted
    names = workspace.dataset_names()
    dataset: str | None = names[0] if len(names) == 1 else None
    if len(names) > 1:
        dataset = await app.push_screen_wait(
            Choose("New config: dataset", [(name, printable(name), "") for name in names], chosen=app.active_dataset)
        )
        if dataset is None:
            return None
    name = await ask_name(app, "New config", dataset or "lora")
    if name is None:
        return None
    journal = app.journal
    made: list[object] = []

    def make() -> object:
        config = draft(
            workspace,
            name,
            chosen.preset,
            dataset,
            trigger=app.settings.trigger,
            optimizer=chosen.optimizer,
            vram=chosen.vram,
        )
        return write_new(config, journal)

    app.writer.submit(make, made.append, app.report)
    await app.writer.drain()
    return name if made else None


async def keep_preset(app: KohyaApp, config: Config) -> None:
    """Keep the values of a config as a preset of the user's, under a name that is asked for."""
    from core.config.own_presets import own_names, save_preset
    from core.config.presets import check_name, is_shipped, word_of

    workspace = app.workspace
    assert workspace is not None
    taken = await asyncio.to_thread(own_names)

    def wrong(name: str) -> str | None:
        try:
            check_name(name)
        except UserError as error:
            return error.message
        return f"{name} is a preset of kohya-tui: choose another name" if is_shipped(name) else None

    label = "Values and their comments are kept; paths, names and tokens are not.\nThe name of the preset"
    name = await app.push_screen_wait(Ask("Save as preset", label, config.name, check=wrong))
    if name is None:
        return
    if name in taken:
        answer = await app.push_screen_wait(Confirm(f"There is a preset {printable(name)}", "", "Replace it"))
        if answer != "yes":
            return
    trigger = app.settings.trigger or word_of(config, workspace)
    try:
        path = await asyncio.to_thread(save_preset, config, name, workspace, trigger=trigger, force=True)
    except UserError as error:
        app.report(error)
        return
    app.notify(f"Kept as {printable(name)}: ctrl+n offers it behind the models.\n{printable(str(path))}", markup=False)


async def look_round(app: KohyaApp) -> Surroundings:
    """The base models of the workspace, the GPU and the user's presets, read on a thread."""
    return await asyncio.to_thread(_look, app)


def _look(app: KohyaApp) -> Surroundings:
    from core.config.base_models import list_models
    from core.config.pieces import family_of, tier_of_gpus
    from core.config.presets import family_for, own_presets
    from core.hardware import read_gpus

    workspace = app.workspace
    assert workspace is not None
    found: dict[str, str] = {}
    for model in list_models(workspace):
        family = family_of(model)
        if family is not None:
            found.setdefault(family.name, workspace.key_of(model.path).removeprefix("models/"))
    only = family_for(workspace)
    reading = read_gpus()
    sizes = {gpu.memory_total: gpu.name for gpu in reading.gpus if gpu.memory_total is not None}
    tier = tier_of_gpus(reading)
    gpu = f"the {sizes[max(sizes)] or 'GPU'} here" if sizes else None
    if sizes and tier is None:
        gpu = f"{gpu} has only {max(sizes) / 2**30:.0f} GB: too few to train on"
    name = only.name if only is not None else None
    return Surroundings(name, tier, gpu, found, tuple(own_presets()))
