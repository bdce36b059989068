"""The demo workspace: made from nothing, the same on every machine, alive without network, GPU or sd-scripts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import write_atomic, write_error
from core.problems import UserError
from core.settings import WORKSPACE_FILE, Settings, load
from core.workspace import Workspace, create

if TYPE_CHECKING:
    from core.runs.model import Run

CONFIG = "rinni"
STEP_SECONDS = "0.2"
TAG_SECONDS = "0.6"
"""The demo's runs are paced so that they can be watched: seconds a training step and a picture take at least."""
TAG_OPTIONS = (
    *("--general_threshold", "0.35", "--character_threshold", "0.45", "--remove_underscore", "--character_tags_first"),
    *("--undesired_tags", "realistic, photo, simple background, white background"),
)
"""What the Tag screen starts with, so that its preview finds nothing to change afterwards."""
SETTINGS = """\
# The demo workspace. Its trainer is a small stand-in for sd-scripts that draws from tags (kohya-tui help demo).
version = 1
trainer = "demo"
tagger = "demo"
"""


def make_demo(folder: Path) -> Workspace:
    """Make the demo in `folder`, or open the one that is there. Raises UserError when `folder` holds something else."""
    if (folder / WORKSPACE_FILE).exists():
        if load(folder.absolute(), {}).trainer != "demo":
            raise UserError(
                f"{folder} is a workspace of its own, not the demo", "Name another folder: kohya-tui demo DIR"
            )
        return create(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty", "Name another folder for the demo: kohya-tui demo DIR")
    try:
        workspace = create(folder)
        _draw(workspace)
        _write_config(workspace)
        write_atomic(workspace.settings_file, SETTINGS)
    except BaseException as error:  # half a demo would be in the way of the next
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise write_error(folder, error) from error
        raise
    return workspace


def _draw(workspace: Workspace) -> None:
    """rinni has captions that say what was drawn, so that she can be trained at once; mika waits to be tagged."""
    from core.dataset.captions import join, with_trigger
    from core.demo.drawings import demo_images, draw, tags

    for character, name, spec, size in demo_images():
        path = workspace.train_data / character / f"10_{character}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = draw(spec, size)
        image.save(path, quality=92) if path.suffix == ".jpg" else image.save(path)
        if character == "rinni":
            caption = join([tag.replace("_", " ") for tag in tags(spec)])
            write_atomic(path.with_suffix(".txt"), with_trigger(caption, "rinni") + "\n", fsync=False)


def _write_config(workspace: Workspace) -> None:
    from core.config.presets import draft, write_new
    from core.demo.trainer.base import write_base

    base = workspace.models / "demo-base.safetensors"
    write_base(base)
    write_new(draft(workspace, CONFIG, "demo", "rinni", {"pretrained_model_name_or_path": workspace.key_of(base)}))


def start_runs(workspace: Workspace, settings: Settings) -> list[Run]:
    """Start tagging mika and training rinni, each unless the workspace had such a run already; the training last."""
    from core.runs.launch import start, tag_spec, train_spec
    from core.runs.model import RunKind
    from core.runs.queue import start_now
    from core.runs.store import create as create_run
    from core.runs.store import list_runs
    from core.tagging.command import parse_command

    had = {run.spec.kind for run in list_runs(workspace)}
    started = []
    if RunKind.TAG not in had:
        request = parse_command(["mika", "--trigger", "mika", *TAG_OPTIONS])
        spec, files = tag_spec(workspace, request)
        spec = replace(spec, env={"KOHYA_TUI_DEMO_TAG_SECONDS": TAG_SECONDS, **spec.env})
        started.append(start(create_run(workspace.runs, spec, files)))
    if RunKind.TRAIN not in had:
        spec, files = train_spec(workspace, CONFIG, settings)
        spec = replace(spec, env={"KOHYA_TUI_DEMO_STEP_SECONDS": STEP_SECONDS, **spec.env})
        started.append(start_now(workspace.runs, spec, files, None))
    return started
