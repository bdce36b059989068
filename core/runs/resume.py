"""Going on from a saved state, or training a LoRA further: from where, how far, and what stands against it.

Rules of sd-scripts train_network.py (core/help/trainer.md): the epoch in train_state.json is right, its step is wrong
in a resumed run; with `--initial_epoch N` the epochs before N count as trained. A state of a step lies inside its
epoch, which begins anew. Resuming at the end ends in an AssertionError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import read_json
from core.problems import UserError
from core.runs import inputs
from core.runs.artifacts import TrainState, is_complete, read_header, states
from core.runs.model import Run, RunKind
from core.runs.pace import first_epoch
from core.runs.progress import ProgressReader

_DEFAULT_STEPS = 1600  # max_train_steps where a config names neither steps nor epochs
_HEAD = 1 << 18
_IN_THE_STATE = (
    *("learning_rate", "unet_lr", "text_encoder_lr", "optimizer_args", "lr_scheduler", "lr_scheduler_num_cycles"),
    *("lr_warmup_steps",),
)
"""Options whose values are in the state: another one in the config has no effect."""
_OF_THE_STATE = ("network_module", "network_dim", "network_alpha", "network_args", "optimizer_type")
"""Options that a state does not fit any more when they change."""


@dataclass(frozen=True, slots=True)
class Point:
    """A state and where a training goes on from it. `problem` says why it does not.

    `epoch` is the first one that is trained, `step` how many steps of the whole training lie before it (None where
    nothing tells how many an epoch has), `again` how many of them were trained already and are trained once more.
    """

    state: TrainState
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    again: int | None = None
    problem: str | None = None

    def sentence(self) -> str:
        """`goes on with epoch 3 of 4 (after step 12)`, or why not."""
        if self.problem is not None:
            return self.problem
        of = f" of {self.epochs}" if self.epochs else ""
        after = f" (after step {self.step:,})" if self.step is not None else ""
        again = f"; {self.again:,} steps of it are trained once more" if self.again else ""
        return f"goes on with epoch {self.epoch}{of}{after}{again}"

    def as_json(self) -> dict[str, Any]:
        """The document of `resume --list`."""
        return {
            "path": str(self.state.path),
            "complete": self.state.complete,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "step": self.step,
            "again": self.again,
            "problem": self.problem,
            "saved": self.state.mtime,
        }


def points(run: Run, options: Mapping[str, Any]) -> list[Point]:
    """What a run can be continued from under these options, the newest state first; unusable ones say why."""
    per_epoch = steps_per_epoch(run)
    return [point_of(state, options, per_epoch, first_epoch(run.spec.argv)) for state in reversed(states(run))]


def point_of(state: TrainState, options: Mapping[str, Any], per_epoch: int | None = None, begun: int = 1) -> Point:
    """Where a state leads. `begun` is the epoch with which the run began that saved it."""
    if not state.complete:
        return Point(state, problem="was cut off while it was written")
    saved = read_json(state.path / "train_state.json") or {}
    epoch = saved.get("current_epoch")
    if not isinstance(epoch, int) or epoch < 0:
        if state.epoch is None:
            return Point(state, problem="does not say its epoch (no train_state.json)")
        epoch = state.epoch
    again = None
    if state.step is None:
        epoch += 1
    elif per_epoch:  # where in its epoch; a count that does not fit there is another part's of a run that was requeued
        inside = (begun - 1) * per_epoch + state.step - (epoch - 1) * per_epoch
        if inside == per_epoch:
            epoch += 1
        elif 0 < inside < per_epoch:
            again = inside
    step = None if per_epoch is None else (epoch - 1) * per_epoch
    last = _epochs(options, per_epoch) if options else None
    problem = None
    if last is not None and epoch > last:
        problem = f"is the end of the training (epoch {epoch - 1} of {last})"
    elif options and step is not None and not _by_epochs(options) and step >= _steps(options):
        problem = f"is the end of the training (step {step:,} of {_steps(options):,})"
    return Point(state, epoch, last, step, again, problem)


def choose(run: Run, options: Mapping[str, Any], state: Path | None = None) -> Point:
    """The named state, else the newest one that leads on. Raises UserError with what to do when there is none."""
    if run.spec.kind is not RunKind.TRAIN:
        raise UserError(f"The run {run.id} is no training", "Tag again: what is tagged stays.")
    found = points(run, options)
    if state is not None:
        known = [point for point in found if state.absolute() == point.state.path or state.name == point.state.name]
        found = known or [point_of(state_at(state), options, steps_per_epoch(run))]
    whole = [point for point in found if point.state.complete]
    if whole and whole[0].problem is None:  # never an older one unasked: what came after it would be trained twice
        return whole[0]
    if not found:
        hint = "save_state = true in the config keeps one with every checkpoint. A LoRA can be trained further: "
        raise UserError(f"The run {run.id} saved no state", hint + "kohya-tui train NAME --from LORA")
    if whole and whole[0].problem is not None and whole[0].problem.startswith("is the end"):
        hint = (
            "Raise max_train_epochs in the config to go on, or train the LoRA further: kohya-tui train NAME --from LORA"
        )
        raise UserError(f"The run {run.id} has come to its end: {whole[0].state.name} {whole[0].problem}", hint)
    first = (whole or found)[0]
    raise UserError(
        f"No state of {run.id} can be used: {first.state.name} {first.problem}",
        "See: kohya-tui resume RUN --list",
    )


def state_at(path: Path) -> TrainState:
    """The state in a folder of any name. Raises UserError when there is no such folder."""
    from core.runs.artifacts import is_state_complete

    if not path.is_dir():
        raise UserError(f"There is no state folder {path}", "List them: kohya-tui resume RUN --list")
    step = re.search(r"-step(\d+)-state$", path.name)
    epoch = re.search(r"-(\d{6,})-state$", path.name)
    return TrainState(
        path.absolute(),
        path.name,
        int(epoch[1]) if epoch else None,
        int(step[1]) if step else None,
        path.stat().st_mtime,
        is_state_complete(path),
    )


def arguments(point: Point, processes: int = 1) -> list[str]:
    """What goes onto the trainer's command line.

    With several `processes` sd-scripts divides the epoch's steps by their number twice (train_network.py, initial_step)
    and would begin at an earlier epoch; the step, which it believes first, is what it should have computed.
    """
    words = ["--resume", str(point.state.path), "--initial_epoch", str(point.epoch)]
    return [*words, "--initial_step", str(point.step)] if processes > 1 and point.step else words


def keywords(run: Run, point: Point, is_todays: bool) -> dict[str, Any]:
    """What core.runs.specs.recipe_of needs for the continuation of a run; without today's config with its own."""
    label = run.spec.group.get("label") if run.spec.group is not None else None
    return {"resume": point.state.path, "resumed_from": run.id, "frozen": not is_todays, "label": label}


def steps_per_epoch(run: Run) -> int | None:
    """As the run's own log counts them: of its bar, or of its checkpoints' headers."""
    try:
        with run.log_file.open("rb") as stream:
            seen = ProgressReader().feed(stream.read(_HEAD))
    except OSError:
        return None
    if seen.batches:
        return round(seen.steps_per_epoch or 0)
    from core.runs.artifacts import checkpoints

    for checkpoint in checkpoints(run):
        if checkpoint.complete and checkpoint.path.suffix == ".safetensors":
            said = read_header(checkpoint.path)
            batches, gather = said.get("ss_num_batches_per_epoch", ""), said.get("ss_gradient_accumulation_steps", "1")
            if batches.isdecimal():
                return -(-int(batches) // (int(gather) if gather.isdecimal() and int(gather) else 1))
    return None


def options_of(run: Run, configs: Path | None) -> tuple[dict[str, Any], bool]:
    """The options that a continuation of the run would have, and whether they are those of today's config.

    A run of a sweep, and one whose config is gone, goes on with what is frozen in it.
    """
    folder = configs / run.spec.config if configs is not None and run.spec.config is not None else None
    if folder is not None and run.spec.group is None and (folder / "train.toml").is_file():
        return inputs.flatten(folder / "train.toml", inputs.read(folder / "train.toml")), True
    return inputs.flatten(run.dir / "train.toml", inputs.read(run.dir / "train.toml")), False


def changes(run: Run, options: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What differs from the run's frozen config: options that its states do not fit, and those without effect."""
    try:
        old = inputs.flatten(run.dir / "train.toml", inputs.read(run.dir / "train.toml"))
    except UserError:
        return [], []
    differ = [key for key in (*_OF_THE_STATE, *_IN_THE_STATE) if old.get(key) != options.get(key)]
    return [key for key in differ if key in _OF_THE_STATE], [key for key in differ if key in _IN_THE_STATE]


def check_changes(run: Run, options: Mapping[str, Any]) -> str | None:
    """A sentence about options without effect. Raises UserError when the states do not fit the config any more."""
    wrong, idle = changes(run, options)
    if wrong:
        names = ", ".join(wrong)
        raise UserError(
            f"The config has another {names} than the run {run.id}: its states do not fit",
            "Set it as it was (d in Monitor shows the difference), or train the LoRA further with --from.",
        )
    if idle:
        return f"{', '.join(idle)} changed in the config: without effect, for the state brings its own."
    return None


def leads_on(state: Path, config: Path) -> bool:
    """Whether the config folder, as it is today, trains on from this state; False when that is its end already."""
    try:
        options = inputs.flatten(config / "train.toml", inputs.read(config / "train.toml"))
        found = state_at(state)
    except (UserError, OSError):
        return False
    step = (read_json(state / "train_state.json") or {}).get("current_step")
    if not _by_epochs(options) and isinstance(step, int) and step >= _steps(options):
        return False
    return point_of(found, options).problem is None


def _by_epochs(options: Mapping[str, Any]) -> bool:
    return isinstance(options.get("max_train_epochs"), int)


def _steps(options: Mapping[str, Any]) -> int:
    value = options.get("max_train_steps")
    return value if isinstance(value, int) else _DEFAULT_STEPS


def _epochs(options: Mapping[str, Any], per_epoch: int | None) -> int | None:
    value = options.get("max_train_epochs")
    if isinstance(value, int):
        return value
    return -(-_steps(options) // per_epoch) if per_epoch else None


# Training a LoRA further


def check_lora(path: Path, options: Mapping[str, Any], *, dim_from_weights: bool = False) -> list[str]:
    """What goes onto the command line to begin with this LoRA. Raises UserError when it does not fit the config.

    sd-scripts train_network.py loads it into a network of the config's dim, where another one does not fit, and keeps
    the config's alpha in the scale while the file's alpha is saved; `dim_from_weights` takes both from the file.
    """
    path = path.absolute()
    if not path.is_file():
        raise UserError(f"There is no file {path}", "List what a run saved: kohya-tui checkpoints RUN")
    if not is_complete(path):
        raise UserError(f"{path} is not a complete LoRA file", "It was cut off while it was saved or copied.")
    arguments = ["--network_weights", str(path)]
    if dim_from_weights:
        return [*arguments, "--dim_from_weights"]
    if options.get("dim_from_weights") is True or path.suffix != ".safetensors":
        return arguments
    said = read_header(path)
    wrong = []
    for key, default in (("network_dim", 4), ("network_alpha", 1)):  # networks/lora.py, create_network
        mine, its = options.get(key, default), said.get(f"ss_{key}")
        if its is not None and _number(its) is not None and _number(its) != _number(mine):
            wrong.append(f"{key} {its} (the config has {mine})")
    if wrong:
        hint = "Take both from the file: --dim-from-weights, or set them in the config."
        raise UserError(f"{path.name} has {' and '.join(wrong)}", hint)
    return arguments


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
