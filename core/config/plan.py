"""What a training will do, counted as the trainer counts it: steps, epochs, checkpoints and disk."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.check_options import check_files, first_names, named
from core.config.resolved import ResolvedDataset, model_of, resolve, script_of
from core.config.survey import FolderFacts, Survey
from core.dataset.buckets import BucketError, BucketSettings, Size
from core.dataset.steps import DatasetSizes, Schedule, StepPlan, SubsetSizes, count_steps
from core.problems import Problem, Severity
from core.text import count_of, human_bytes

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

# Sum of inputs and outputs of the layers that networks.lora trains: U-Net, text encoders. Times dim = parameters.
# SD1.5: 16 transformers of 32c+1536 (c = 320, 640, 1280), CLIP-L 12 layers of 13,824. SDXL: 4c + depth*(28c+4096), and
# CLIP-bigG 32 layers of 23,040.
_WIDTHS: Mapping[str, tuple[int, int]] = {
    "SD1.5": (423_936, 165_888),
    "SDXL": (2_659_840, 165_888 + 737_280),
}
_LAYERS: Mapping[str, tuple[int, int]] = {"SD1.5": (192, 72), "SDXL": (722, 264)}
_HEADER_PER_LAYER = 390  # bytes of JSON for the three tensors of a layer, seen in recorded files
_METADATA = 6_000
DIVISORS: Mapping[str, int] = {
    "train_network.py": 64,
    "lumina_train_network.py": 16,
    "anima_train_network.py": 16,
}
"""What bucket_reso_steps must be divisible by (`assert_extra_args` of each script); 32 for the others."""


LARGEST_SIDE = 16_384
LARGEST_REPEATS = 100_000
_MOST_FILES = 10_000
_FEW_UNREAD = 5


@dataclass(frozen=True, slots=True)
class PlannedCheckpoint:
    """A file that the run will write; one that is not `kept` is deleted again by save_last_n_epochs or …_steps."""

    name: str
    epoch: int | None
    step: int
    kept: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a run. They are 0 when `problems` holds an error that stops the trainer before."""

    images: int
    """Picture files, regularisation images included."""
    repeats: int
    """Pictures that an epoch shows: images times repeats, without validation and regularisation."""
    buckets: Mapping[Size, int]
    """(width, height) → pictures with repeats, over all datasets."""
    batches_per_epoch: int
    steps_per_epoch: int
    epochs: int
    total_steps: int
    warmup_steps: int
    checkpoints: tuple[PlannedCheckpoint, ...]
    checkpoint_bytes: int | None
    """Of one file; None for an architecture whose layers are not known here."""
    disk_bytes: int | None
    """Of the checkpoints and states that are there at the end."""
    disk_free: int
    samples: int
    is_exact: bool
    problems: tuple[Problem, ...] = ()
    bucket_files: Mapping[Size, int] = field(default_factory=dict)
    """(width, height) → picture files."""
    more: tuple[str, ...] = ()
    """What else is known of it, in words: time and memory (core.runs.estimate)."""

    @property
    def is_unread(self) -> bool:
        """Whether a file of the config is missing or broken: nothing was counted."""
        return any(problem.code == "KT201" for problem in self.problems)

    @property
    def kept(self) -> tuple[PlannedCheckpoint, ...]:
        """The checkpoints that are there at the end."""
        return tuple(item for item in self.checkpoints if item.kept)

    def lines(self) -> list[str]:
        """The plan in words, for the command and for the panel beside the form; none when a file cannot be read."""
        if self.is_unread:
            return []
        if not self.total_steps:
            return ["nothing would be trained"]
        size = "" if self.checkpoint_bytes is None else f" of {human_bytes(self.checkpoint_bytes)}"
        disk = "" if self.disk_bytes is None else f" · {human_bytes(self.disk_bytes)}"
        buckets = count_of(len(self.buckets), "bucket")
        deleted = len(self.checkpoints) - len(self.kept)
        lines = [
            f"{count_of(self.images, 'image')}, {self.repeats:,} with repeats, in {buckets}",
            f"{count_of(self.steps_per_epoch, 'step')} an epoch, {count_of(self.epochs, 'epoch')}",
            f"{count_of(self.total_steps, 'step')} in all" + ("" if self.is_exact else " (about: set validation_seed)"),
            f"{count_of(len(self.kept), 'checkpoint')}{size}{disk} (disk {human_bytes(self.disk_free)} free)",
        ]
        if deleted:
            lines.append(f"{count_of(deleted, 'checkpoint')} will be deleted on the way")
        if self.warmup_steps:
            lines.append(f"{count_of(self.warmup_steps, 'step')} of warm-up")
        if self.samples:
            lines.append(f"{count_of(self.samples, 'sample picture')}")
        return [*lines, *self.more]

    def as_json(self) -> dict[str, Any]:
        """The keys that `--json` promises; null where a file of the config cannot be read."""
        document = self._document()
        unread = {key: None for key in document if key != "problems"} if self.is_unread else {}
        return document | unread

    def _document(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "repeats": self.repeats,
            "buckets": [
                {"width": size[0], "height": size[1], "images": self.bucket_files.get(size, 0), "repeats": count}
                for size, count in self.buckets.items()
            ],
            "batches_per_epoch": self.batches_per_epoch,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "checkpoints": [
                {"name": item.name, "epoch": item.epoch, "step": item.step, "kept": item.kept}
                for item in self.checkpoints
            ],
            "checkpoint_bytes": self.checkpoint_bytes,
            "disk_bytes": self.disk_bytes,
            "disk_free": self.disk_free,
            "samples": self.samples,
            "exact": self.is_exact,
            "problems": [problem.as_json() for problem in self.problems],
        }


def plan(config: Config, workspace: Workspace, processes: int = 1, survey: Survey | None = None) -> Plan:
    """The plan of a config on `processes` GPUs; reads the header of every image that changed. Never raises.

    Equal to what sd-scripts prints before it trains, for everything but disk, which is an estimate.
    """
    unread = [named(problem, config, workspace) for problem in check_files(config) if problem.code == "KT201"]
    train = config.effective()
    problems: list[Problem] = []
    free = free_bytes(workspace.root / str(train.get("output_dir") or "output"))
    if unread:
        return Plan(0, 0, {}, 0, 0, 0, 0, 0, (), None, None, free, 0, True, tuple(unread))
    script = script_of(config, workspace)
    survey = survey or Survey()
    found = [_sizes(dataset, train, workspace, problems, survey) for dataset in resolve(config, workspace)]
    datasets = [dataset for dataset in found if dataset is not None]
    images = sum(len(subset.sizes) for dataset in datasets for subset in dataset.subsets)
    steps = _count(datasets, train, script, processes, problems) if len(datasets) == len(found) else None
    found_problems = tuple(named(problem, config, workspace) for problem in problems)
    if steps is None:
        return Plan(images, 0, {}, 0, 0, 0, 0, 0, (), None, None, free, 0, True, found_problems)
    buckets: Counter[Size] = Counter()
    files: Counter[Size] = Counter()
    for each in steps.datasets:
        buckets.update(each.buckets)
        for row in each.images:
            one_of = {id(placed): placed for placed in row if placed is not None}
            for number, count in Counter(map(id, row)).items():
                if number in one_of:
                    files[one_of[number].choice.bucket] += count
    checkpoints = _checkpoints(config, train, steps)
    model = model_of(config, workspace)
    architecture = model.architecture if model is not None else None
    if architecture is None:
        architecture = {"sdxl_train_network.py": "SDXL", "train_network.py": "SD1.5"}.get(script)
    one = lora_bytes(train, architecture)
    return Plan(
        images=images,
        repeats=steps.num_train_images,
        buckets=dict(sorted(buckets.items())),
        batches_per_epoch=steps.batches_per_epoch,
        steps_per_epoch=steps.steps_per_epoch,
        epochs=steps.epochs,
        total_steps=steps.total_steps,
        warmup_steps=_warmup(train, steps.total_steps),
        checkpoints=checkpoints,
        checkpoint_bytes=one,
        disk_bytes=None if one is None else _disk(train, one, checkpoints),
        disk_free=free,
        samples=_samples(config, train, steps),
        is_exact=steps.is_exact,
        problems=found_problems,
        bucket_files=dict(files),
    )


def lora_bytes(train: Mapping[str, Any], architecture: str | None) -> int | None:
    """The size of one LoRA file of networks.lora at this dim and precision; None where the layers are not known.

    SD1.5 at dim 128 in fp16: 151 MB. Layers that `conv_dim` adds are not counted.
    """
    if (
        architecture is None
        or architecture not in _WIDTHS
        or str(train.get("network_module", "networks.lora")) != "networks.lora"
    ):
        return None
    dim = train.get("network_dim")
    dim = dim if isinstance(dim, int) and dim > 0 else 4  # networks/lora.py, create_network
    unet, encoder = _WIDTHS[architecture]
    layers, more = _LAYERS[architecture]
    if train.get("network_train_unet_only") or train.get("cache_text_encoder_outputs"):
        encoder = more = 0
    elif train.get("network_train_text_encoder_only"):
        unet = layers = 0
    size = 2 if train.get("save_precision") in ("fp16", "bf16") else 4
    numbers = (unet + encoder) * dim + layers + more
    return numbers * size + (layers + more) * _HEADER_PER_LAYER + _METADATA


def beyond_reason(dataset: ResolvedDataset) -> bool:
    """Whether a number is so large or so small that counting would take forever: no trainer would get through it."""
    sides = [*(dataset.resolution or ()), *(dataset.values.get(key) for key in ("min_bucket_reso", "max_bucket_reso"))]
    repeats = [subset.repeats for subset in dataset.subsets]
    return (
        any(isinstance(side, int) and abs(side) > LARGEST_SIDE for side in sides)
        or any(side < 1 for side in dataset.resolution or ())
        or any(number > LARGEST_REPEATS for number in repeats)
    )


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or would be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _count(
    datasets: list[DatasetSizes], train: Mapping[str, Any], script: str, processes: int, problems: list[Problem]
) -> StepPlan | None:
    schedule = Schedule(
        _whole(train.get("max_train_epochs")),
        _whole(train.get("max_train_steps")),
        _whole(train.get("gradient_accumulation_steps")) or 1,
        max(processes, 1),
        _whole(train.get("seed")),
        DIVISORS.get(script, 32),
    )
    try:
        return count_steps(datasets, schedule)
    except BucketError as error:
        code = {"no_data": "KT207", "ValueError": "KT233"}.get(error.kind, "KT211")
        empty = "validation_split meets a folder without pictures: the trainer stops"
        message = empty if code == "KT233" else error.message
        problems.append(Problem(Severity.ERROR, code, "dataset.toml", message, error.hint))
        return None


def bucket_settings(dataset: ResolvedDataset, resolution: Size) -> BucketSettings:
    """The bucket options of one `[[datasets]]`."""
    values = dataset.values
    return BucketSettings(
        resolution,
        bool(values["enable_bucket"]),
        _whole(values["min_bucket_reso"]) or 0,
        _whole(values["max_bucket_reso"]) or 0,
        _whole(values["bucket_reso_steps"]) or 0,
        bool(values["bucket_no_upscale"]),
    )


def _sizes(
    dataset: ResolvedDataset, train: Mapping[str, Any], workspace: Workspace, problems: list[Problem], survey: Survey
) -> DatasetSizes | None:
    values = dataset.values
    resolution = dataset.resolution
    if beyond_reason(dataset):
        return None  # said by the schema's check
    if resolution is None:
        hint = "Add resolution = 768 (SD1.5) or 1024 (SDXL) below [[datasets]]."
        problems.append(Problem(Severity.ERROR, "KT210", f"dataset.toml: {dataset.where}", "has no resolution", hint))
        return None
    settings = bucket_settings(dataset, resolution)
    # train_util.py, __getitem__: without buckets and without cached latents a picture is only cropped, never scaled
    uncropped = not settings.enable and not train.get("cache_latents") and not train.get("cache_latents_to_disk")
    subsets: list[SubsetSizes] = []
    seen: set[Path] = set()
    for subset in dataset.subsets:
        if subset.folder is None or subset.folder in seen:
            continue  # sd-scripts drops a folder that comes twice
        facts = survey.folder(subset.folder)
        sizes = facts.sizes() if facts is not None else []
        if sizes and subset.repeats >= 1:  # one that was left out is not remembered (DreamBoothDataset.__init__)
            seen.add(subset.folder)
        if facts is not None:
            problems.extend(unread(facts, workspace))
        large = _first_larger(facts, resolution) if facts is not None and uncropped else None
        if large is not None and not (subset.values.get("random_crop") or subset.values.get("face_crop_aug_range")):
            message = f"is larger than {resolution[0]}×{resolution[1]}: the trainer stops at it"
            hint = "Set enable_bucket = true in dataset.toml, or cache_latents = true in train.toml."
            problems.append(Problem(Severity.ERROR, "KT236", workspace.key_of(large), message, hint, True))
        subsets.append(SubsetSizes(tuple(sizes), subset.repeats, bool(subset.values.get("is_reg"))))
    split = values.get("validation_split")
    return DatasetSizes(
        settings,
        tuple(subsets),
        max(_whole(values["batch_size"]) or 1, 1),
        float(split) if isinstance(split, int | float) and abs(split) <= 1e6 else 0.0,
        _whole(values.get("validation_seed")),
    )


def unread(facts: FolderFacts, workspace: Workspace) -> Iterator[Problem]:
    """What is no picture, one by one; many of them in one line."""
    names = facts.unread()
    hint = "Remove it or save it again; the trainer stops at such a file."
    if len(names) <= _FEW_UNREAD:
        for name in names:
            where = workspace.key_of(facts.path / name)
            yield Problem(Severity.ERROR, "KT133", where, "is not an image that can be read", hint)
        return
    message = f"{count_of(len(names), 'file')} that are no image that can be read: {first_names(names)}"
    hint = "Remove them or save them again; the trainer stops at such a file."
    yield Problem(Severity.ERROR, "KT133", workspace.key_of(facts.path), message, hint)


def _first_larger(facts: FolderFacts, resolution: Size) -> Path | None:
    width, height = resolution
    sizes = zip(facts.images, facts.widths, facts.heights, strict=True)
    name = next((name for name, wide, high in sizes if wide > width or high > height), None)
    return facts.path / name if name is not None else None


def _checkpoints(config: Config, train: Mapping[str, Any], steps: StepPlan) -> tuple[PlannedCheckpoint, ...]:
    """The files in the order in which they are written (train_util.py, get_epoch_ckpt_name, get_remove_epoch_no …)."""
    name = str(train.get("output_name") or config.name)
    suffix = str(train.get("save_model_as") or "safetensors")
    found: dict[str, PlannedCheckpoint] = {}
    events: list[tuple[int, int, str, int | None]] = []
    every_steps = _whole(train.get("save_every_n_steps"))
    if every_steps and every_steps > 0:
        for step in range(every_steps, min(steps.total_steps, every_steps * _MOST_FILES) + 1, every_steps):
            events.append((step, 0, f"{name}-step{step:08d}.{suffix}", None))
    every = _whole(train.get("save_every_n_epochs"))
    ratio = _whole(train.get("save_n_epoch_ratio"))
    if ratio and ratio > 0:
        every = steps.epochs // ratio or 1
    if every and every > 0:
        for epoch in range(every, min(steps.epochs, every * _MOST_FILES), every):
            events.append((epoch * steps.steps_per_epoch, 1, f"{name}-{epoch:06d}.{suffix}", epoch))
    last_epochs, last_steps = _whole(train.get("save_last_n_epochs")), _whole(train.get("save_last_n_steps"))
    for step, _, file, at in sorted(events, key=lambda event: event[:2]):
        found[file] = PlannedCheckpoint(file, at, step, True)
        gone: str | None = None
        if at is not None and every and last_epochs is not None and at - every * last_epochs >= 0:
            gone = f"{name}-{at - every * last_epochs:06d}.{suffix}"
        elif at is None and every_steps and last_steps is not None and step - last_steps - 1 >= 0:
            oldest = (step - last_steps - 1) // every_steps * every_steps
            gone = f"{name}-step{oldest:08d}.{suffix}"
        if gone in found:
            old = found[gone]
            found[gone] = PlannedCheckpoint(old.name, old.epoch, old.step, False)
    last = f"{name}.{suffix}"
    found[last] = PlannedCheckpoint(last, steps.epochs, steps.total_steps, True)
    return tuple(found.values())


def _disk(train: Mapping[str, Any], one: int, checkpoints: tuple[PlannedCheckpoint, ...]) -> int:
    kept = sum(item.kept for item in checkpoints)
    halved = train.get("save_precision") in ("fp16", "bf16")
    numbers = one / (2 if halved else 4)
    # a state holds the weights in fp32 and two moments of the optimizer, in 8 bits with …8bit
    moments = 2 if str(train.get("optimizer_type", "")).lower().endswith("8bit") else 8
    states = kept if train.get("save_state") else 1 if train.get("save_state_on_train_end") else 0
    return int(one * kept + states * numbers * (4 + moments))


def _samples(config: Config, train: Mapping[str, Any], steps: StepPlan) -> int:
    prompts = sum(1 for line in config.prompts.splitlines() if line.strip() and not line.startswith("#"))
    by_epoch, by_step = _whole(train.get("sample_every_n_epochs")), _whole(train.get("sample_every_n_steps"))
    times = 0
    if by_epoch and by_epoch > 0:
        times = steps.epochs // by_epoch
    elif by_step and by_step > 0:
        times = steps.total_steps // by_step
    if train.get("sample_at_first"):
        times += 1
    return prompts * times if train.get("sample_prompts") else 0


def _warmup(train: Mapping[str, Any], total: int) -> int:
    value = train.get("lr_warmup_steps", 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if isinstance(value, int):
        return value
    return int(value * total) if 0 <= value < 1e9 else 0


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
