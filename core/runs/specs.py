"""From a config to a run: what is frozen into its folder, and the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.resolved import script_for
from core.problems import UserError
from core.runs import inputs, store
from core.runs import resume as resuming
from core.runs.launchers import placed, processes_of, with_precision
from core.runs.model import RunKind, RunSpec
from core.runs.pace import first_epoch
from core.runs.trainer import trainer_command
from core.settings import Settings
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.tagging.options import TagRequest

_SAMPLING = ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first")


def train_spec(
    workspace: Workspace,
    config: str,
    settings: Settings,
    *,
    resume: Path | None = None,
    resumed_from: str | None = None,
    from_lora: Path | None = None,
    dim_from_weights: bool = False,
    launcher: str | None = None,
    gpu: str | int | None = None,
    script: str | None = None,
    files: Mapping[str, bytes] | None = None,
    label: str | None = None,
    run_id: str | None = None,
) -> tuple[RunSpec, dict[str, bytes]]:
    """The run that trains `configs/<config>`, and the files to freeze into its folder (for `store.create`).

    `resume` is a `…-state` folder, `from_lora` a file to train further. `files` stand in for those of the config;
    `label` makes name, output folder and output name the run's own. `run_id` is the id of a run that is there already.
    Raises UserError when a file is missing or unreadable, a state or LoRA does not fit, or the trainer is not there.
    """
    folder = workspace.configs / config
    texts = dict(files or {})
    train = texts["train.toml"] if "train.toml" in texts else inputs.read(folder / "train.toml")
    options = inputs.flatten(folder / "train.toml", train)
    frozen = {"train.toml": train}
    created = time.time()
    runs = store.runs_dir(workspace)
    name = config if label is None else f"{config}-{label}"
    run_id = run_id or store.new_id(runs, name, created)
    run_dir = runs / run_id
    if script is None:
        model = options.get("pretrained_model_name_or_path")
        base = workspace.root / model if isinstance(model, str) and model else None
        script = script_for(train.decode("utf-8", "replace"), base)
    settings = with_precision(settings, options.get("mixed_precision"))
    command, environment = trainer_command(settings, script=script, launcher=launcher)
    argv = [*command, "--config_file", str(run_dir / "train.toml")]

    def frozen_or_own(file: str, key: str) -> bytes | None:
        return texts.get(file) if files is not None else inputs.own_or_named(workspace, folder / file, options.get(key))

    dataset = frozen_or_own("dataset.toml", "dataset_config")
    if dataset is not None:
        frozen["dataset.toml"] = dataset
        inputs.parse(folder / "dataset.toml", dataset)
        argv += ["--dataset_config", str(run_dir / "dataset.toml")]
    prompts = frozen_or_own("prompts.txt", "sample_prompts")
    if prompts is not None and prompts.strip():
        frozen["prompts.txt"] = prompts
        if any(options.get(key) for key in _SAMPLING):
            argv += ["--sample_prompts", str(run_dir / "prompts.txt")]
    argv += ["--logging_dir", str(run_dir / "logs")]
    if label is None:
        output_dir = _chosen("output_dir", options, f"output/{config}/{run_id}", argv)
        output_name = _chosen("output_name", options, config, argv)
    else:  # whatever the config says: no run of a sweep may overwrite another's files
        output_dir = f"output/{config}/{run_id}"
        output_name = f"{options.get('output_name') or config}-{label}"
        argv += ["--output_dir", output_dir, "--output_name", output_name]
    if resume is not None:
        argv += _continued(
            resume, options, runs, resumed_from, processes_of(launcher or settings.launcher, settings.accelerate)
        )
    elif from_lora is not None:
        argv += resuming.check_lora(from_lora, options, dim_from_weights=dim_from_weights)
    if gpu is not None:
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(gpu)}
    spec = RunSpec(
        id=run_id,
        kind=RunKind.TRAIN,
        name=name,
        created=created,
        argv=tuple(argv),
        cwd=str(workspace.root),
        env=environment,
        workspace=str(workspace.root),
        output_dir=str(workspace.root / output_dir),
        output_name=output_name,
        trainer=settings.trainer,
        dataset=inputs.dataset_name(workspace, dataset, options),
        config=config,
        resumed_from=resumed_from,
        trained_from=None if from_lora is None else str(from_lora),
        gpu=None if gpu is None else str(gpu),
    )
    return placed(spec, settings, launcher), frozen


def _continued(state: Path, options: Mapping[str, Any], runs: Path, earlier: str | None, processes: int) -> list[str]:
    """Resume, with the epoch computed. Raises UserError when the state is no whole one or the end of the training."""
    found = store.observe(runs / earlier) if earlier is not None and (runs / earlier).is_dir() else None
    per_epoch = resuming.steps_per_epoch(found) if found is not None else None
    begun = first_epoch(found.spec.argv) if found is not None else 1
    point = resuming.point_of(resuming.state_at(state), options, per_epoch, begun)
    if point.problem is not None:
        raise UserError(
            f"{state.name} {point.problem}",
            "Raise max_train_epochs, or train the LoRA further: kohya-tui train NAME --from LORA",
        )
    return resuming.arguments(point, processes)


def tag_spec(workspace: Workspace | None, request: TagRequest) -> tuple[RunSpec, dict[str, bytes]]:
    """The run that tags what `request` names.

    Raises UserError when that is neither a dataset nor a folder, and when another run tags it just now.
    """
    from core.tagging.claim import check_free

    asked = request.run_spec(workspace)
    check_free(map(Path, asked["folders"]))
    created = time.time()
    runs = store.runs_dir(workspace)
    dataset = next(iter(Path(request.target).parts), "")
    if workspace is None or dataset not in workspace.dataset_names():
        dataset = ""
    name = f"tag-{dataset or Path(request.target).absolute().name or 'images'}"
    run_id = store.new_id(runs, name, created)
    spec = RunSpec(
        id=run_id,
        kind=RunKind.TAG,
        name=name,
        created=created,
        argv=(sys.executable, "-P", "-m", "core.tagging.job", str(runs / run_id)),
        cwd=str(workspace.root if workspace is not None else Path.cwd()),
        workspace=None if workspace is None else str(workspace.root),
        trainer="tagger",
        dataset=dataset or None,
        tag=asked,
    )
    return spec, {}


def _chosen(key: str, options: Mapping[str, Any], ours: str, argv: list[str]) -> str:
    """What the config says, else ours, which then goes onto the command line."""
    value = options.get(key)
    if isinstance(value, str) and value:
        return value
    argv += [f"--{key}", ours]
    return ours


def recipe_of(config: str, settings: Settings, **keywords: Any) -> dict[str, Any]:
    """What `from_recipe` needs, as JSON: the config, its launcher with its options, and keywords of `train_spec`."""
    said = {
        "config": config,
        "launcher": settings.launcher,
        "accelerate": dict(settings.accelerate) or None,
        "slurm": dict(settings.slurm) or None,
        **{key: str(value) if isinstance(value, Path) else value for key, value in keywords.items()},
    }
    return {key: value for key, value in said.items() if value not in (None, False)}


def settings_for(recipe: Mapping[str, Any], settings: Settings) -> Settings:
    """The settings with the launcher's options that the recipe keeps."""
    tables = {key: dict(recipe[key]) for key in ("accelerate", "slurm") if key in recipe}
    return replace(settings, launcher=str(recipe.get("launcher") or settings.launcher), **tables)  # type: ignore[arg-type]


def from_recipe(
    workspace: Workspace,
    recipe: Mapping[str, Any],
    settings: Settings,
    *,
    gpu: str | None = None,
    run_id: str | None = None,
) -> tuple[RunSpec, dict[str, bytes]]:
    """`train_spec` by a recipe; with `frozen` by the inputs that the earlier run keeps."""
    earlier = workspace.runs / str(recipe.get("resumed_from"))
    return train_spec(
        workspace,
        str(recipe["config"]),
        settings_for(recipe, settings),
        resume=_path(recipe.get("resume")),
        resumed_from=recipe.get("resumed_from"),
        from_lora=_path(recipe.get("from_lora")),
        dim_from_weights=bool(recipe.get("dim_from_weights")),
        files=inputs.frozen_in(earlier) if recipe.get("frozen") else None,
        label=recipe.get("label"),
        gpu=gpu,
        run_id=run_id,
    )


def _path(text: Any) -> Path | None:
    return Path(text) if isinstance(text, str) else None
