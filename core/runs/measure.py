"""Three steps of a training on its largest bucket, in a folder that is thrown away: what a step takes and needs.

The trainer runs as it would for long, with the config's own options, but on one picture as often as a batch wants, with
nothing saved to the config's output, no samples and no trackers. It is a child of the caller and ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.resolved import resolve, script_of
from core.config.schema import fields
from core.config.survey import Survey
from core.config.writing import dataset_text, train_text
from core.dataset.buckets import BucketError, assign
from core.files import content_hash, read_json, write_json
from core.hardware import GpuReading, read_gpus
from core.problems import UserError
from core.runs import order, proc, slots
from core.runs.events import EventFile
from core.runs.progress import ProgressReader
from core.runs.spawn import SURROUNDINGS
from core.runs.trainer import trainer_command
from core.settings import Settings, cache_dir
from core.text import human_bytes, printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

STEPS = 3
SECONDS = 1200.0
"""Loading a model from a slow disk takes minutes."""
_POLL = 0.2
_LEFT_OUT = frozenset(
    {"max_train_epochs", "max_train_steps", "resume", "initial_epoch", "initial_step", "skip_until_initial_step"}
    | {"output_dir", "output_name", "logging_dir", "log_with", "log_config", "wandb_api_key", "wandb_run_name"}
    | {"log_tracker_name", "log_tracker_config", "save_state", "save_state_on_train_end", "save_state_to_huggingface"}
    | {"huggingface_repo_id", "huggingface_token", "sample_prompts", "sample_at_first", "dataset_config"}
    | {"train_data_dir", "reg_data_dir", "in_json", "persistent_data_loader_workers", "max_data_loader_n_workers"}
    | {"train_batch_size", "resolution", "lr_warmup_steps", "lr_decay_steps", "validation_split", "console_log_file"}
)
_EVERY = ("save_every_", "save_last_", "save_n_epoch", "sample_every_", "validate_every_", "huggingface_")
_BUCKETS = ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen. Memory in bytes; None on a machine without a GPU."""

    seconds_per_step: float
    vram_bytes: int | None
    vram_total: int | None
    gpu: str | None
    bucket: tuple[int, int]
    batch: int
    when: float

    def line(self) -> str:
        """In words: time of a step, what it was measured on, and the memory where there is a GPU."""
        memory = (
            "no GPU memory to measure" if self.vram_bytes is None else f"{human_bytes(self.vram_bytes)} of GPU memory"
        )
        width, height = self.bucket
        return f"measured: {self.seconds_per_step:.2g} s a step, {width}×{height}, batch {self.batch}, {memory}"

    def as_json(self) -> dict[str, Any]:
        return {
            "seconds_per_step": round(self.seconds_per_step, 4),
            "vram_bytes": self.vram_bytes,
            "vram_total": self.vram_total,
            "gpu": self.gpu,
            "bucket": list(self.bucket),
            "batch": self.batch,
            "when": self.when,
        }


@dataclass(frozen=True, slots=True)
class MeasureProgress:
    """How far it is; the last one has the `result`."""

    phase: str
    step: int
    seconds: float
    vram_bytes: int | None = None
    result: Measured | None = None


def measured(config: Config, workspace: Workspace, settings: Settings) -> Measured | None:
    """What was measured before of this config, as it is now; None when it never was, or has changed."""
    data = read_json(_file(config, workspace, settings)) or {}
    try:
        if data.get("v") != _FORMAT:
            return None
        return Measured(
            float(data["seconds_per_step"]),
            data["vram_bytes"],
            data["vram_total"],
            data["gpu"],
            (int(data["bucket"][0]), int(data["bucket"][1])),
            int(data["batch"]),
            float(data["when"]),
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def measure(
    config: Config, workspace: Workspace, settings: Settings, gpu: str | None = None, *, timeout: float = SECONDS
) -> Generator[MeasureProgress]:
    """Train three steps and throw them away; the caller may stop between two values, which ends the trainer.

    The GPU is held meanwhile: what waits in the queue does not start beside it. Raises UserError when a file of the
    config is not TOML, when it has nothing to train on, when the trainer is not there, when a run has the GPU, or with
    the trainer's last words when it fails.
    """
    for broken in config.broken.values():
        raise broken
    picture, bucket, batch, values = _largest(config, workspace)
    script = script_of(config, workspace)
    command, environment = trainer_command(settings, script=script, launcher="local")
    folder = Path(tempfile.mkdtemp(prefix="kohya-tui-measure-"))
    with contextlib.ExitStack() as ended:
        ended.callback(shutil.rmtree, folder, ignore_errors=True)
        gpu = _hold(gpu, folder, ended)
        _write(folder, config, picture, batch, values, script)
        argv = [*command, "--config_file", str(folder / "train.toml"), "--dataset_config", str(folder / "dataset.toml")]
        surroundings = {**os.environ, **SURROUNDINGS, **environment}
        if gpu is not None:
            surroundings |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu}
        watched = _watch(argv, workspace.root, surroundings, folder, bucket, batch, timeout)
        for progress in ended.enter_context(contextlib.closing(watched)):
            if progress.result is not None:
                _keep(config, workspace, settings, progress.result)
            yield progress


def _hold(gpu: str | None, folder: Path, ended: contextlib.ExitStack) -> str | None:
    """Hold the GPUs that `gpu` names, else the first that no run has; returns their names.

    Beside a run either would be slowed, or killed for want of memory: UserError when one has them.
    """
    reading = read_gpus()
    gpus, place = slots.visible(reading), slots.folder()
    if gpu is None and len(gpus) > 1:
        with contextlib.suppress(OSError):
            gpu = str(next((each for each in gpus if order.is_free(place, slots.name_of(each))), gpus[0]).index)
    for slot in slots.of_start(gpu, reading):
        try:
            lock = order.take(place, slot, str(folder))
        except OSError:  # the user's folder is full or read-only: no reason not to measure
            continue
        if lock is None:
            run = next((printable(path.name) for path in slots.holders([slot])), "Another measurement")
            where = "the CPU" if slot == order.CPU else "that GPU"
            message = f"{run} is under way on {where}: three steps beside it would measure neither"
            raise UserError(message, "Measure when it has ended.")
        ended.callback(os.close, lock)
    return gpu


def _largest(config: Config, workspace: Workspace) -> tuple[Path, tuple[int, int], int, Mapping[str, Any]]:
    """A picture of the largest bucket, that bucket, the batch size, and the options of its dataset."""
    from core.config.plan import beyond_reason, bucket_settings

    survey = Survey()
    best: tuple[Path, tuple[int, int], int, Mapping[str, Any]] | None = None
    for dataset in resolve(config, workspace):
        if dataset.resolution is None or beyond_reason(dataset):
            continue
        settings = bucket_settings(dataset, dataset.resolution)
        batch = dataset.values.get("batch_size")
        batch = batch if isinstance(batch, int) and batch > 0 else 1
        for subset in dataset.subsets:
            facts = survey.folder(subset.folder) if subset.folder is not None else None
            if facts is None or subset.repeats < 1:
                continue
            seen: set[tuple[int, int]] = set()
            for at, name in enumerate(facts.images):
                size = facts.size(at)
                if size is None or size in seen:
                    continue
                seen.add(size)
                try:
                    bucket = assign(size, settings).bucket
                except BucketError as error:
                    raise UserError(error.message, error.hint) from error
                area = bucket[0] * bucket[1] * batch
                if best is None or area > best[1][0] * best[1][1] * best[2]:
                    best = facts.path / name, bucket, batch, {**dataset.values, **subset.values}
    if best is None:
        raise UserError(
            f"There is no picture that {config.name} could train on", f"See: kohya-tui check --config {config.name}"
        )
    return best


def _write(folder: Path, config: Config, picture: Path, batch: int, values: Mapping[str, Any], script: str) -> None:
    """The files that the trainer reads: the config's options, and one picture as often as three batches want."""
    images = folder / "images"
    images.mkdir()
    train = config.effective()
    accumulation = train.get("gradient_accumulation_steps")
    count = batch * (accumulation if isinstance(accumulation, int) and accumulation > 0 else 1)
    for number in range(batch):
        (images / f"measure_{number:03d}{picture.suffix}").symlink_to(picture.resolve())
        (images / f"measure_{number:03d}.txt").write_text("measure, 1girl, solo\n", "utf-8")
    kept = {key: value for key, value in _kept(train).items() if value != {}}
    kept |= {
        "max_train_steps": STEPS,
        "output_dir": str(folder / "out"),
        "output_name": "measure",
        "logging_dir": str(folder / "logs"),
        "max_data_loader_n_workers": 0,
    }
    known = fields(script)
    (folder / "train.toml").write_text(train_text("measure", script, kept, known, {}, "a measurement"), "utf-8")
    names = (
        "resolution",
        "enable_bucket",
        "min_bucket_reso",
        "max_bucket_reso",
        "bucket_reso_steps",
        "bucket_no_upscale",
    )
    own = {name: values[name] for name in names if values.get(name) is not None}
    flags = ("flip_aug", "shuffle_caption", "random_crop", "color_aug", "alpha_mask", "keep_tokens")
    subset = {name: values[name] for name in flags if values.get(name)}
    subset |= {"image_dir": str(images), "num_repeats": count // batch * (STEPS + 1), "caption_extension": ".txt"}
    dataset = {**own, "batch_size": batch, "subsets": [subset]}
    (folder / "dataset.toml").write_text(dataset_text("measure", {}, [dataset], {}), "utf-8")


def _kept(train: Mapping[str, Any]) -> dict[str, Any]:
    """The options that count for one step."""
    return {key: value for key, value in train.items() if key not in _LEFT_OUT and not key.startswith(_EVERY)}


def _watch(
    argv: list[str],
    cwd: Path,
    environment: Mapping[str, str],
    folder: Path,
    bucket: tuple[int, int],
    batch: int,
    timeout: float,
) -> Generator[MeasureProgress]:
    """Run it and look at its log and at the GPUs until it ends."""
    before = read_gpus()
    log = folder / "output.log"
    reader = ProgressReader()
    begun = time.monotonic()
    moments: dict[int, float] = {}
    peak: int | None = None
    total: int | None = None
    name: str | None = None
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with log.open("rb") as stream:
            while True:
                code = process.poll()
                state = reader.feed(stream.read())
                now = time.monotonic()
                if state.step and state.step not in moments:
                    moments[state.step] = now
                used = _used(read_gpus(), before, process.pid)
                if used is not None and (peak is None or used[0] > peak):
                    peak, total, name = used
                if code is not None:
                    break
                if now - begun > timeout:
                    raise UserError(
                        f"The trainer did not take {STEPS} steps within {timeout:.0f} s", "Is its disk slow?"
                    )
                yield MeasureProgress(str(state.phase), state.step or 0, now - begun, peak)
                time.sleep(_POLL)
            reader.feed(stream.read())
    finally:
        _end(process)
    exact = _moments(folder)
    moments = exact if len(exact) > 1 else moments
    if code != 0 or not moments:
        raise UserError(f"The trainer failed before it took a step: {_last_words(log, folder)}", _hint(log))
    seconds = _per_step(moments, begun)
    result = Measured(seconds, peak, total, name, bucket, batch, time.time())
    yield MeasureProgress("done", STEPS, time.monotonic() - begun, peak, result)


def _moments(folder: Path) -> dict[int, float]:
    """When each step ended, by the events that the trainer wrote."""
    files = sorted((folder / "logs").glob("**/events.out.tfevents.*"))
    scalars = EventFile(files[0]).read() if files else []
    return {scalar.step: scalar.wall_time for scalar in scalars if scalar.tag == "loss/current"}


def _per_step(moments: Mapping[int, float], begun: float) -> float:
    """From the second step on: the first one warms everything up."""
    steps = sorted(moments)
    if len(steps) < 2:
        return moments[steps[0]] - begun
    return (moments[steps[-1]] - moments[steps[0]]) / (steps[-1] - steps[0])


def _used(now: GpuReading, before: GpuReading, group: int) -> tuple[int, int | None, str | None] | None:
    """(bytes, total, name) of the GPU that the trainer uses; where pids are hidden (containers), what came since."""
    ours = set(proc.members(group))
    for gpu in now.gpus:
        own = [process.memory for process in gpu.processes if process.pid in ours and process.memory is not None]
        if own:
            return sum(own), gpu.memory_total, gpu.name
    then = {gpu.index: gpu.memory_used or 0 for gpu in before.gpus}
    more = [
        ((gpu.memory_used or 0) - then.get(gpu.index, 0), gpu.memory_total, gpu.name)
        for gpu in now.gpus
        if gpu.memory_used is not None
    ]
    most = max(more, default=None, key=lambda each: each[0])
    return most if most is not None and most[0] > 0 else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of its group is left."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        left = proc.members(process.pid)
        if process.poll() is not None and not left:
            return
        proc.send(left or [process.pid], number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (process.poll() is None or proc.members(process.pid)):
            time.sleep(0.05)


def _last_words(log: Path, folder: Path) -> str:
    """The last error that it printed, without the names of the folder."""
    lines = log.read_text("utf-8", "replace").replace("\r", "\n").splitlines()
    told = [line.strip() for line in lines if "Error" in line or line.startswith("ERROR")]
    words = (told or [line.strip() for line in lines if line.strip()] or ["it said nothing"])[-1]
    return words.replace(str(folder), "…")[:300]


def _hint(log: Path) -> str:
    text = log.read_text("utf-8", "replace")
    if "OutOfMemoryError" in text or "out of memory" in text:
        return "It does not fit: a smaller batch or resolution, gradient_checkpointing, cached latents, fp8."
    return "See what stands against it: kohya-tui check"


# What is kept


def _file(config: Config, workspace: Workspace, settings: Settings) -> Path:
    """By what the trainer would read: another config, or a changed one, is measured anew."""
    parts = [
        str(workspace.root),
        settings.trainer,
        script_of(config, workspace),
        _kept(config.effective()),
        [[each.resolution, each.values.get("batch_size")] for each in resolve(config, workspace)],
    ]
    key = content_hash(json.dumps(parts, sort_keys=True, default=str).encode())
    return cache_dir() / "measured" / f"{key}.json"


def _keep(config: Config, workspace: Workspace, settings: Settings, result: Measured) -> None:
    path = _file(config, workspace, settings)
    with contextlib.suppress(OSError, UserError):  # a cache that cannot be written: the answer is there all the same
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"v": _FORMAT, **result.as_json()}, fsync=False)
