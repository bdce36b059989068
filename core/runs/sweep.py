"""A sweep: one config with several values for a few keys becomes several runs, which are compared afterwards.

It is nothing but its runs: each keeps the sweep's id, its label and its values in spec.json (`group`), is frozen when
the sweep is made and has an output folder of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from core.config.documents import Config, open_config
from core.problems import Problem, UserError
from core.runs import inputs, launch, queue, specs, store
from core.runs.model import Run, RunState
from core.text import count_of, human_seconds

if TYPE_CHECKING:
    from core.config.documents import FileName
    from core.config.plan import Plan
    from core.hardware import GpuReading
    from core.runs.queue import Wish
    from core.settings import Settings
    from core.workspace import Workspace

MOST = 64
"""Runs of one sweep: beyond that it was a slip of the keys."""
_PAIRS = ("network_args", "optimizer_args", "lr_scheduler_args")
"""Options that are lists of `name=value`."""
_COMMA = re.compile(r",(?![^(\[]*[)\]])")
"""Between two values, not inside of one: `(0.9,0.99)`."""
_SHORT = {
    "learning_rate": "lr",
    "unet_lr": "unet",
    "text_encoder_lr": "te",
    "network_dim": "dim",
    "network_alpha": "alpha",
    "optimizer_type": "",
    "lr_scheduler": "",
    "max_train_epochs": "epochs",
    "train_batch_size": "batch",
    "batch_size": "batch",
    "num_repeats": "repeats",
    "min_snr_gamma": "snr",
    "noise_offset": "noise",
    "network_dropout": "dropout",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A key and the values that it takes; `words` are as the user wrote them.

    `entry` names one of the `name=value` texts of a list: `conv_dim` of network_args.
    """

    file: FileName
    key: str
    words: tuple[str, ...]
    values: tuple[Any, ...]
    entry: str | None = None

    @property
    def name(self) -> str:
        """`learning_rate`, `network_args.conv_dim`."""
        return self.key if self.entry is None else f"{self.key}.{self.entry}"

    def set_in(self, config: Config, index: int) -> None:
        """Give the config one of the values."""
        value = self.values[index]
        if self.entry is not None:
            texts = [str(text) for text in config.get(self.file, self.key) or ()]
            places = [at for at, text in enumerate(texts) if text.partition("=")[0].strip() == self.entry]
            place = places[0] if places else len(texts)
            texts[place : place + 1] = [f"{self.entry}={value}"]
            value = texts
        config.set(self.file, self.key, value)


@dataclass(frozen=True, slots=True)
class Variant:
    """One run before it is one."""

    label: str
    values: Mapping[str, Any]
    config: Config
    plan: Plan
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Sweep:
    """What would be made. `seconds` one after the other, by past runs; None where none tells."""

    config: str
    variants: tuple[Variant, ...]
    seconds: float | None = None

    @property
    def total_steps(self) -> int:
        """Of all runs together."""
        return sum(variant.plan.total_steps for variant in self.variants)

    def lines(self) -> list[str]:
        """The plan in words."""
        time = f", about {human_seconds(self.seconds)} one after the other" if self.seconds else ""
        kept = [variant.plan.disk_bytes for variant in self.variants]
        from core.text import human_bytes

        disk = f", {human_bytes(sum(size or 0 for size in kept))}" if all(size is not None for size in kept) else ""
        return [f"{count_of(len(self.variants), 'run')} of {self.config}: {self.total_steps:,} steps{time}{disk}"]


def axis(config: Config, word: str) -> Axis:
    """`KEY=V1,V2` (or `dataset:KEY=…`, `network_args.NAME=…`), each value in the kind that the trainer wants.

    Raises UserError.
    """
    from core.config.schema import parse_value

    name, equals, text = word.partition("=")
    words = tuple(dict.fromkeys(part.strip() for part in _COMMA.split(text) if part.strip()))
    if not equals or not name.strip() or not words:
        raise UserError(f"{word!r} is not KEY=VALUE,VALUE", "For example: learning_rate=1e-4,5e-5")
    place, colon, key = name.strip().rpartition(":")
    if colon and place not in ("train", "dataset"):
        raise UserError(f"{place}: is no file of a config", "Write KEY=… or dataset:KEY=…")
    key, dot, entry = key.partition(".") if key.startswith(_PAIRS) else (key, "", "")
    file: FileName = config.home(key) if not colon else "dataset" if place == "dataset" else "train"
    fact = config.field(file, key)
    if fact is None:
        raise UserError(f"sd-scripts knows no option {key}", "List them: kohya-tui config options")
    if dot and entry.strip():
        return Axis(file, key, words, words, entry.strip())
    if fact.type in ("list", "dict"):
        hint = f"Sweep one of its entries: {key}.NAME=V1,V2" if key in _PAIRS else "Sweep another key."
        raise UserError(f"{key} is a list itself: it cannot be swept", hint)
    return Axis(file, key, words, tuple(parse_value(file, key, word) for word in words))


def plan(workspace: Workspace, name: str, axes: Sequence[Axis], settings: Settings, *, zipped: bool = False) -> Sweep:
    """Every combination (or with `zipped` first with first, second with second …), checked and counted.

    Raises UserError when lists do not fit, a key comes twice, or there are too many.
    """
    from core.config.plan import plan as count
    from core.config.preflight import check
    from core.runs.estimate import estimate

    keys = [each.name for each in axes]
    if not axes or len(set(keys)) < len(keys):
        raise UserError("A sweep needs keys with values, each once", "For example: learning_rate=1e-4,5e-5")
    if zipped and len({len(each.values) for each in axes}) > 1:
        raise UserError("With --zip all lists are of one length", "Write as many values for each key.")
    places = [range(len(each.values)) for each in axes]
    chosen = list(zip(*places, strict=True) if zipped else itertools.product(*places))
    if len(chosen) > MOST:
        raise UserError(f"That would be {len(chosen)} runs", f"At most {MOST} in one sweep: leave some values out.")
    base, found = open_config(workspace, name), []
    for indices in chosen:
        texts: dict[FileName, str] = {file: base.text(file) for file in ("train", "dataset", "prompts")}
        config = Config(base.folder, texts)
        for each, index in zip(axes, indices, strict=True):
            each.set_in(config, index)
        values = {each.name: each.values[index] for each, index in zip(axes, indices, strict=True)}
        label = "-".join(_short(each, index) for each, index in zip(axes, indices, strict=True))
        planned = count(config, workspace)
        problems = tuple(check(config, workspace, settings, planned=planned))
        found.append(Variant(label, values, config, planned, problems))
    times = [estimate(variant.config, workspace, settings, variant.plan).seconds for variant in found]
    known = [seconds for seconds in times if seconds is not None]
    return Sweep(name, tuple(found), sum(known) if len(known) == len(times) else None)


def _short(each: Axis, index: int) -> str:
    """`lr1e-4`, `dim16`, `AdamW8bit`: of letters, digits and `._-`, so that it is part of a file name."""
    name = each.entry or _SHORT.get(each.key, each.key)
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{name}{each.words[index]}").strip("-.")


def start(
    workspace: Workspace, sweep: Sweep, settings: Settings, reading: GpuReading, wish: Wish
) -> tuple[str, list[Run]]:
    """Make and queue all runs (with the launcher slurm as one array); returns the sweep's id. All of them or none.

    Raises UserError.
    """
    sweep_id = store.new_id(workspace.runs, f"{sweep.config}-sweep")
    cluster = settings.launcher == "slurm"
    if cluster and wish != queue.Wish():
        raise UserError("Slurm has a queue of its own", "Leave out --gpu, --at, --after, --hold and --share.")
    made: list[Run] = []
    try:
        for variant in sweep.variants:
            spec, files = specs.train_spec(
                workspace, sweep.config, settings, files=_files(workspace, variant.config), label=variant.label
            )
            group = {"id": sweep_id, "label": variant.label, "values": dict(variant.values)}
            spec = replace(spec, group=group)
            if cluster:
                made.append(store.create(workspace.runs, spec, files))
            else:
                made.append(queue.add(workspace.runs, spec, files, wish, reading))
        if cluster:
            from core.runs import slurm

            slurm.submit(made)
    except UserError:
        for run in made:
            with contextlib.suppress(UserError):
                launch.stop(run)
        raise
    return sweep_id, [store.observe(run.dir) for run in made]


def _files(workspace: Workspace, config: Config) -> dict[str, bytes]:
    """What is frozen: the texts of the variant, and what train.toml names where the folder has no file of its own."""
    files = {"train.toml": config.text("train").encode()}
    for file, name, key in (
        ("dataset", "dataset.toml", "dataset_config"),
        ("prompts", "prompts.txt", "sample_prompts"),
    ):
        text = config.text(file)  # type: ignore[arg-type]
        found = (
            text.encode()
            if text.strip()
            else inputs.own_or_named(workspace, config.folder / name, config.get("train", key))
        )
        if found is not None:
            files[name] = found
    return files


# Afterwards


@dataclass(frozen=True, slots=True)
class Row:
    """One run of a sweep, as far as it came. Losses are None before the first step, and where they are no numbers."""

    run: Run
    label: str
    values: Mapping[str, Any]
    step: int | None = None
    total_steps: int | None = None
    final: float | None = None
    """The trainer's average loss at the last step."""
    lowest: float | None = None
    """The lowest average of an epoch, else of any step."""
    average: float | None = None
    """Of every step's loss."""
    validation: float | None = None
    seconds: float | None = None
    curve: Sequence[tuple[int, float]] = ()
    """(step, loss) of every step, or its average where the trainer writes no events."""

    def as_json(self) -> dict[str, Any]:
        """The document of `sweep show`."""
        return {
            "run": self.run.id,
            "label": self.label,
            "values": dict(self.values),
            "state": str(self.run.state),
            "step": self.step,
            "total_steps": self.total_steps,
            "final_loss": self.final,
            "lowest_loss": self.lowest,
            "average_loss": self.average,
            "validation_loss": self.validation,
            "seconds": self.seconds,
            "reason": self.run.status.reason,
        }


def sweeps(workspace: Workspace) -> dict[str, list[Run]]:
    """Sweep id → its runs in the order in which they were made; the newest sweep first."""
    found: dict[str, list[Run]] = {}
    for run in store.list_runs(workspace):
        if run.spec.group is not None:
            found.setdefault(str(run.spec.group.get("id")), []).insert(0, run)
    return dict(sorted(found.items(), reverse=True))


def find(workspace: Workspace, text: str = "last") -> tuple[str, list[Run]]:
    """The sweep of this id, its beginning, its config's name, or the newest. Raises UserError with those there are."""
    found = sweeps(workspace)
    if not found:
        raise UserError("There is no sweep here", "Make one: kohya-tui sweep NAME learning_rate=1e-4,5e-5")
    if text in ("last", ""):
        return next(iter(found.items()))
    named = [each for each in found.items() if each[0].startswith(text)]
    named = named or [each for each in found.items() if each[1][0].spec.config == text][:1]
    if len(named) != 1:
        problem = f"{text!r} fits several sweeps" if named else f"There is no sweep {text!r}"
        raise UserError(problem, f"Name one of them, or `last`: {', '.join(list(found)[:5])}")
    return named[0]


def compare(runs: Sequence[Run]) -> list[Row]:
    """A row for each variant; of one that was resumed, the newest run. Reads the events of all: up to some seconds."""
    newest: dict[str, Run] = {}
    for run in runs:
        label = str((run.spec.group or {}).get("label"))
        if label not in newest or run.spec.created >= newest[label].spec.created:
            newest[label] = run
    return [_row(run, label) for label, run in newest.items()]


def _row(run: Run, label: str) -> Row:
    from core.runs.watch import whole

    values = (run.spec.group or {}).get("values") or {}
    if run.state in (RunState.QUEUED, RunState.PREPARED):
        return Row(run, label, values)
    seen = whole(run)
    status, series = run.status, seen.series
    current, average = series.get("loss/current"), series.get("loss/average")
    per_epoch = series.get("loss/epoch_average")
    validation = series.get("loss/validation/epoch_average") or series.get("loss/validation/step_average")
    lowest = [value for value in (per_epoch or average or current or _NONE).values if math.isfinite(value)]
    points = [value for value in (current or average or _NONE).values if math.isfinite(value)]
    seconds = None
    if status.started is not None:
        end = status.ended if status.ended is not None else status.heartbeat
        seconds = None if end is None else max(0.0, end - status.started)
    return Row(
        run=run,
        label=label,
        values=values,
        step=seen.step,
        total_steps=seen.total_steps,
        final=_number((average or current or _NONE).last),
        lowest=min(lowest, default=None),
        average=statistics.fmean(points) if points else None,
        validation=_number((validation or _NONE).last),
        seconds=seconds,
        curve=list(current or average or ()),
    )


class _Nothing:
    """A series without a point."""

    values: tuple[float, ...] = ()
    last: float | None = None


_NONE = _Nothing()


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def best(rows: Sequence[Row]) -> Row | None:
    """The one with the lowest validation loss where all have one, else none: a training loss does not tell."""
    measured = [row for row in rows if row.validation is not None]
    return (
        min(measured, key=lambda row: row.validation or math.inf) if measured and len(measured) == len(rows) else None
    )
