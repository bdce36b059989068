"""From a config to a running trainer: what is frozen, the command line, start and stop."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.resolved import script_for
from core.files import read_json
from core.problems import UserError
from core.runs import proc, slurm, store
from core.runs.launchers import placed, with_precision
from core.runs.model import ENDED_STATES, WAITING_STATES, Run, RunKind, RunSpec, RunState
from core.runs.trainer import check_trainer as check_trainer
from core.runs.trainer import trainer_command as trainer_command
from core.settings import Settings
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.tagging.options import TagRequest

_TRAINER_STEPS = 1600  # max_train_steps where a config names neither steps nor epochs
_SAMPLING = ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first")


def train_spec(
    workspace: Workspace,
    config: str,
    settings: Settings,
    *,
    resume: Path | None = None,
    resumed_from: str | None = None,
    launcher: str | None = None,
    gpu: str | int | None = None,
    script: str | None = None,
) -> tuple[RunSpec, dict[str, bytes]]:
    """The run that trains `configs/<config>`, and the files to freeze into its folder (for `store.create`).

    `resume` is a `…-state` folder. Raises UserError when a file is missing or unreadable, or the trainer is not there.
    """
    folder = workspace.configs / config
    train = _frozen(folder / "train.toml")
    options = _flatten(folder / "train.toml", train)
    files = {"train.toml": train}
    created = time.time()
    runs = store.runs_dir(workspace)
    run_id = store.new_id(runs, config, created)
    run_dir = runs / run_id
    if script is None:
        model = options.get("pretrained_model_name_or_path")
        base = workspace.root / model if isinstance(model, str) and model else None
        script = script_for(train.decode("utf-8", "replace"), base)
    settings = with_precision(settings, options.get("mixed_precision"))
    command, environment = trainer_command(settings, script=script, launcher=launcher)
    argv = [*command, "--config_file", str(run_dir / "train.toml")]
    dataset = _input(workspace, folder / "dataset.toml", options.get("dataset_config"))
    if dataset is not None:
        files["dataset.toml"] = dataset
        _parse(folder / "dataset.toml", dataset)
        argv += ["--dataset_config", str(run_dir / "dataset.toml")]
    prompts = _input(workspace, folder / "prompts.txt", options.get("sample_prompts"))
    if prompts is not None and prompts.strip():
        files["prompts.txt"] = prompts
        if any(options.get(key) for key in _SAMPLING):
            argv += ["--sample_prompts", str(run_dir / "prompts.txt")]
    argv += ["--logging_dir", str(run_dir / "logs")]
    output_dir = _chosen("output_dir", options, f"output/{config}/{run_id}", argv)
    output_name = _chosen("output_name", options, config, argv)
    if resume is not None:
        argv += ["--resume", str(resume), *_initial_epoch(resume, options)]
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    spec = RunSpec(
        id=run_id,
        kind=RunKind.TRAIN,
        name=config,
        created=created,
        argv=tuple(argv),
        cwd=str(workspace.root),
        env=environment,
        workspace=str(workspace.root),
        output_dir=str(workspace.root / output_dir),
        output_name=output_name,
        trainer=settings.trainer,
        dataset=_dataset_name(workspace, dataset, options),
        config=config,
        resumed_from=resumed_from,
        gpu=None if gpu is None else str(gpu),
    )
    return placed(spec, settings, launcher), files


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


def _frozen(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror}",
            "List the configs: kohya-tui config, or make one: kohya-tui config new NAME",
        ) from error


def _input(workspace: Workspace, own: Path, named: Any) -> bytes | None:
    """The config folder's own file, else the one that train.toml names (relative to the workspace), else None.

    One of another kind (a JSON dataset config, prompts in TOML) is left to train.toml: sd-scripts goes by the suffix.
    """
    if own.is_file():
        return _frozen(own)
    if isinstance(named, str) and named.endswith(own.suffix) and (workspace.root / named).is_file():
        return _frozen(workspace.root / named)
    return None


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is not valid TOML: {error}", "Correct it in the Config screen or an editor."
        ) from error


def _flatten(path: Path, data: bytes) -> dict[str, Any]:
    """Options as sd-scripts reads them: sections dissolve, the last of two equal keys wins."""
    options: dict[str, Any] = {}
    for key, value in _parse(path, data).items():
        if isinstance(value, dict):
            options.update(value)
        else:
            options[key] = value
    return options


def leads_on(state: Path, config: Path) -> bool:
    """Whether the config folder, as it is today, trains on from this state; False when that is its end already."""
    try:
        options = _flatten(config / "train.toml", _frozen(config / "train.toml"))
        _initial_epoch(state, options)
    except UserError:
        return False
    step = (read_json(state / "train_state.json") or {}).get("current_step")
    last = options.get("max_train_steps", _TRAINER_STEPS)
    by_epochs = isinstance(options.get("max_train_epochs"), int)
    return by_epochs or not (isinstance(step, int) and isinstance(last, int)) or step < last


def _initial_epoch(state: Path, options: Mapping[str, Any]) -> list[str]:
    """`--initial_epoch` for a state: its own step count is wrong, its epoch is right (core/help/trainer.md)."""
    value = read_json(state / "train_state.json") or {}
    epoch = value.get("current_epoch")
    if not isinstance(epoch, int):
        match = re.search(r"-(\d{6})-state$", state.name)
        if match is None:
            raise UserError(
                f"{state} is not a state to resume from (no train_state.json)", "Choose a `…-state` folder."
            )
        epoch = int(match[1])
    # A state of a step was saved inside its epoch, which begins anew; one of an epoch at its end.
    first = epoch if re.search(r"-step\d+-state$", state.name) else epoch + 1
    last = options.get("max_train_epochs")
    if isinstance(last, int) and first > last:
        raise UserError(
            f"{state.name} is at the end of its training (epoch {epoch} of {last})",
            "Raise max_train_epochs, or start a new run with network_weights.",
        )
    return ["--initial_epoch", str(first)]


def _dataset_name(workspace: Workspace, dataset: bytes | None, options: Mapping[str, Any]) -> str | None:
    """The name under train_data/ that the config trains on, when it is one."""
    folders = [options.get("train_data_dir")]
    for table in tomllib.loads(dataset.decode("utf-8")).get("datasets", []) if dataset is not None else []:
        subsets = table.get("subsets", []) if isinstance(table, dict) else []
        folders += [subset.get("image_dir") for subset in subsets if isinstance(subset, dict)]
    for text in folders:
        if isinstance(text, str) and (workspace.root / text).is_relative_to(workspace.train_data):
            parts = (workspace.root / text).relative_to(workspace.train_data).parts
            if parts:
                return parts[0]
    return None


def start(run: Run, timeout: float = 5.0, python: Sequence[str] = (sys.executable, "-P")) -> Run:
    """Spawn the run's supervisor and wait until it runs (or has failed to start: see its state and reason).

    Raises UserError when the run was started before, or no answer came in `timeout` seconds.
    """
    if run.state not in WAITING_STATES:
        raise UserError(f"The run {run.id} was started before ({run.state})", "Start a new run of the same config.")
    if run.spec.launcher == "slurm":
        slurm.submit([run])
        return store.observe(run.dir)
    with (run.dir / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [*python, "-m", "core.runs.supervisor", str(run.dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    try:
        code: int | None = process.wait(timeout)  # it forks and leaves at once
    except subprocess.TimeoutExpired:
        code = None
    while True:
        found = store.observe(run.dir)
        if found.state not in WAITING_STATES:
            return found
        if code != 0 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    words = _last_words(run.dir / "supervisor.log")
    reason = f"The supervisor did not start{f': {words}' if words else ''}"
    with contextlib.suppress(UserError, OSError):  # a full disk; else one that comes up later finds the run over
        store.take_over(run, replace(found.status, state=RunState.FAILED, reason=reason, ended=time.time()))
    raise UserError(
        f"The supervisor of {run.id} did not start{f': {words}' if words else ''}",
        f"See {run.dir / 'supervisor.log'}; a full disk is one cause.",
    )


def _last_words(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def stop(run: Run, mode: str = "stop-now", *, grace: float = 10.0) -> None:
    """Ask for the end of a run: `stop-now`, or `stop-after-checkpoint`.

    A supervised run gets a request and ends within a second or so. One whose supervisor was killed is ended from here,
    which takes up to `grace` seconds (SIGTERM, then SIGKILL): call it from a worker thread. Raises UserError when it is
    over already.
    """
    run = store.observe(run.dir)
    if run.state in ENDED_STATES:
        raise UserError(f"The run {run.id} is over ({run.state})")
    if mode == "stop-after-checkpoint" and run.spec.kind is not RunKind.TRAIN:
        raise UserError(f"The run {run.id} saves no checkpoints", "Stop it now: what it has done stays.")
    if run.supervised:
        store.request(run, mode)
        if mode == "stop-now" and run.spec.launcher == "slurm":
            slurm.stop(run)  # on another node the request may be seen late
    elif run.spec.launcher == "slurm" and slurm.stop(run):
        reason = "Stopped on request, before it began."
        store.take_over(run, replace(run.status, state=RunState.STOPPED, reason=reason, ended=time.time()))
    elif run.live:
        if mode != "stop-now":
            raise UserError(
                "Nobody supervises this run, so nobody can wait for its checkpoint",
                "Wait for the checkpoint yourself, then stop it now.",
            )
        _end_group(run, grace)
        reason = "Stopped on request; its supervisor had been killed."
        store.take_over(run, replace(run.status, state=RunState.STOPPED, reason=reason, ended=time.time()))
    else:
        store.take_over(run, replace(run.status, state=RunState.STOPPED, reason="Never started.", ended=time.time()))


def _end_group(run: Run, grace: float) -> None:
    """End the processes of an unsupervised run: only those that are proven to be its own."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        ours = group_of(run)
        proc.send(ours, number)
        while ours and time.monotonic() < deadline:
            time.sleep(0.05)
            ours = group_of(run)
        if not ours:
            return
    raise UserError(
        f"These processes of {run.id} do not end: {', '.join(map(str, group_of(run)))}",
        "They hang inside the driver or the disk; a restart of the machine ends them.",
    )


def group_of(run: Run) -> list[int]:
    """Living processes of the run, without its supervisor.

    Its group is believed when its leader is the very process that was started; beside it those that carry the run's
    mark in their environment, wherever they went.
    """
    status = run.status
    believed = proc.is_alive(status.pid, status.pid_start, status.boot_id)
    group = proc.members(status.pid) if status.pid is not None and believed else []
    return sorted({*group, *proc.marked(run.spec.mark)})
