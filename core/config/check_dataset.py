"""Checks of dataset.toml: its schema, and what its values mean for buckets and captions. No folder is looked into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from core.config.check_numbers import check_dataset_numbers
from core.config.check_options import DATASET, error, info, mixed_lists, warning
from core.config.plan import DIVISORS, LARGEST_REPEATS, LARGEST_SIDE, beyond_reason
from core.config.resolved import ResolvedDataset, dataset_values, resolve
from core.config.schema import LEVELS, dataset_field, dataset_names, suggest
from core.config.values import complaint, shown
from core.dataset.buckets import BucketError, BucketSettings, bucket_list, check_step
from core.problems import Problem

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace


def check_dataset_file(config: Config, workspace: Workspace, script: str) -> Iterator[Problem]:
    """The schema, which the trainer takes strictly, and what its values mean for buckets and captions."""
    data = dataset_values(config, workspace)
    if not data:
        if "dataset" not in config.broken and not config.get("train", "train_data_dir"):
            hint = "Make it: config new NAME --dataset NAME, or write [[datasets]] with a subset."
            yield error("KT207", DATASET, "names no pictures: there is nothing to train on", hint)
            return
    else:
        yield from _schema(data)
    train = config.effective()
    datasets = resolve(config, workspace)
    for dataset in datasets:
        yield from _dataset(dataset, train, script)
        yield from check_dataset_numbers(dataset)
        yield from _twice(dataset, workspace)
    yield from _said_twice(train, data)


def _schema(data: Mapping[str, Any]) -> Iterator[Problem]:
    yield from mixed_lists(data, DATASET)
    for key in data:
        if key not in {"general", "datasets"}:
            hint = "Options of the training belong into train.toml; here only [general] and [[datasets]] may stand."
            yield error("KT208", f"{DATASET}: {key}", "the trainer refuses this at the top level", hint)
    yield from _level(data.get("general", {}), "general", "general")
    datasets = data.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        hint = "Add [[datasets]] with resolution, and [[datasets.subsets]] with image_dir."
        yield error("KT207", f"{DATASET}: datasets", "there is no [[datasets]]", hint)
        return
    for index, dataset in enumerate(datasets):
        place = f"datasets[{index}]"
        yield from _level(dataset, "datasets", place)
        subsets = dataset.get("subsets", []) if isinstance(dataset, dict) else []
        if not isinstance(subsets, list):
            hint = "Write [[datasets.subsets]] with two brackets."
            yield error("KT208", f"{DATASET}: {place}.subsets", "must be a list of tables", hint)
            continue
        if not subsets:
            yield error("KT207", f"{DATASET}: {place}", "has no [[datasets.subsets]]", 'Add one with image_dir = "…".')
        for number, subset in enumerate(subsets):
            spot = f"{place}.subsets[{number}]"
            yield from _level(subset, "subsets", spot)
            if isinstance(subset, dict) and "image_dir" not in subset and "metadata_file" not in subset:
                yield error("KT208", f"{DATASET}: {spot}", "has no image_dir", "Name the folder with the pictures.")


def _level(values: Any, level: str, place: str) -> Iterator[Problem]:
    if not isinstance(values, dict):
        yield error("KT208", f"{DATASET}: {place}", "must be a table", f"Write it as [{place}].")
        return
    allowed = dataset_names(level)
    for key, value in values.items():
        where = f"{DATASET}: {place}.{key}"
        if key not in allowed and key != "subsets":
            near = suggest(key, allowed)
            elsewhere = next((name for name in LEVELS if key in dataset_names(name)), None)
            hint = (
                f"Did you mean {near}?"
                if near
                else f"It may stand in {elsewhere}."
                if elsewhere
                else "Move it to train.toml, or remove it."
            )
            yield error("KT208", where, "the trainer refuses this key here", hint)
            continue
        field = dataset_field(key)
        wrong = complaint(value, field, strict=True) if field is not None else None
        if field is not None and wrong is not None:
            yield error("KT209", where, wrong, field.help or None)
        elif field is not None and field.choices and value not in field.choices:
            choices = ", ".join(str(item) for item in field.choices)
            yield error("KT209", where, f"must be one of {choices}, not {shown(value)}", field.help or None)


def _dataset(dataset: ResolvedDataset, train: Mapping[str, Any], script: str) -> Iterator[Problem]:
    values, where = dataset.values, f"{DATASET}: {dataset.where}"
    resolution = dataset.resolution
    if any(side < 1 for side in resolution or ()):
        yield error("KT209", where, "a resolution of nothing cannot be trained", "Write 768 (SD1.5) or 1024 (SDXL).")
        return
    if beyond_reason(dataset):
        message = f"a side above {LARGEST_SIDE:,} pixels or more than {LARGEST_REPEATS:,} repeats cannot be meant"
        yield error("KT209", where, message, "Look for a digit too many.")
        return
    if resolution is None:
        if values.get("resolution") is None:
            yield error("KT210", where, "has no resolution", "Add resolution = 768 (SD1.5) or 1024 (SDXL).")
        return
    numbers = [values.get(key) for key in ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps")]
    if values.get("enable_bucket") is True and all(isinstance(number, int) for number in numbers):
        low, high, step = (int(number) for number in numbers if number is not None)
        settings = BucketSettings(resolution, True, low, high, step, bool(values.get("bucket_no_upscale")))
        try:
            bucket_list(settings)
            check_step(settings, DIVISORS.get(script, 32))
        except BucketError as wrong:
            code = "KT212" if "reso_steps" in wrong.message else "KT211"
            yield error(code, where, _ours(wrong.message), wrong.hint, fixable=True)
        if values.get("bucket_no_upscale") and values["max_bucket_reso"] != 1024:
            yield info("KT304", where, "min_bucket_reso and max_bucket_reso are ignored with bucket_no_upscale")
    cached = train.get("cache_latents") or train.get("cache_latents_to_disk")
    for subset in dataset.subsets:
        spot = f"{DATASET}: {subset.where}"
        moving = [key for key in ("color_aug", "random_crop") if subset.values.get(key)]
        if cached and moving:
            hint = f"Remove {moving[0]}, or cache_latents in train.toml."
            yield error("KT218", spot, f"{' and '.join(moving)} cannot go with cached latents", hint)
        changing = [key for key in _no_text_cache(script) if subset.values.get(key)]
        if changing and (train.get("cache_text_encoder_outputs") or train.get("cache_text_encoder_outputs_to_disk")):
            hint = f"Remove {changing[0]}, or cache_text_encoder_outputs in train.toml."
            yield error("KT219", spot, f"{', '.join(changing)} cannot go with cached text encoder outputs", hint)
        yield from _caption_options(spot, subset.values)
        if subset.values.get("conditioning_data_dir") and not train.get("masked_loss"):
            # train_network.py: ConfigSanitizer(…, support_controlnet=args.masked_loss)
            message = "is refused without masked_loss, whose masks lie there"
            hint = "Set masked_loss = true in train.toml, or remove it."
            yield error("KT208", f"{spot}.conditioning_data_dir", message, hint)


def _no_text_cache(script: str) -> tuple[str, ...]:
    """What a script refuses beside cached text encoder outputs (`assert_extra_args` of each)."""
    if script in {"train_network.py", "lumina_train_network.py"}:
        return ()
    without_dropout = ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step")
    return without_dropout if script == "anima_train_network.py" else ("caption_dropout_rate", *without_dropout)


def _caption_options(where: str, values: Mapping[str, Any]) -> Iterator[Problem]:
    moving = any(values.get(key) for key in ("shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step"))
    if values.get("keep_tokens_separator") and not moving:
        hint = "Set shuffle_caption = true, or remove the separator from captions and config."
        yield warning("KT306", where, "keep_tokens_separator stays in the text unless tags are shuffled", hint)
    separator = values.get("caption_separator")
    if isinstance(separator, str) and separator.strip() != ",":
        hint = "Keep the comma, or leave shuffle_caption and dropout off."
        yield warning("KT314", f"{where}.caption_separator", "tags are joined with a comma again when shuffled", hint)
    prefix = values.get("caption_prefix")
    if isinstance(prefix, str) and prefix and not prefix.rstrip().endswith(","):
        message = f"{shown(prefix)} is joined with a blank: it becomes one tag with the first"
        yield warning("KT310", f"{where}.caption_prefix", message, f'Write "{prefix.strip()}," with a comma.')
    suffix = values.get("caption_suffix")
    if isinstance(suffix, str) and suffix and not suffix.lstrip().startswith(","):
        message = f"{shown(suffix)} is joined with a blank: it becomes one tag with the last"
        yield warning("KT310", f"{where}.caption_suffix", message, f'Write ", {suffix.strip()}" with a comma.')


def _twice(dataset: ResolvedDataset, workspace: Workspace) -> Iterator[Problem]:
    folders = Counter(subset.folder for subset in dataset.subsets if subset.folder is not None)
    for folder, count in folders.items():
        if count > 1:
            hint = "Raise num_repeats of the first instead."
            message = f"{workspace.key_of(folder)} is named {count} times; only the first counts"
            yield warning("KT129", f"{DATASET}: {dataset.where}", message, hint)


def _said_twice(train: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    datasets = data.get("datasets")
    tables = [data.get("general"), *(datasets if isinstance(datasets, list) else [])]
    rows = [table for table in tables if isinstance(table, dict)]
    inner = [table["subsets"] for table in rows if isinstance(table.get("subsets"), list)]
    rows += [row for subsets in inner for row in subsets if isinstance(row, dict)]
    for key, value in train.items():
        name = {"train_batch_size": "batch_size"}.get(key, key)
        said = next((row[name] for row in rows if name in row), None)
        if said is not None and str(said) != str(value):
            message = f"{shown(value)} loses against {shown(said)} of {DATASET}"
            yield info("KT303", f"train.toml: {key}", message, "Keep it in dataset.toml only.", fixable=True)


def _ours(message: str) -> str:
    return message.replace(". it must be", ", it must be").rstrip(".")
