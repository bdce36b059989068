"""The buckets of a dataset under a config."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.plan import beyond_reason, bucket_settings
from core.config.resolved import ResolvedDataset, images_in, resolve
from core.dataset.bucket_report import BucketReport, report
from core.dataset.buckets import BucketSettings, Size
from core.dataset.scan import subsets
from core.dataset.sizes import image_size
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class DatasetBuckets:
    """The buckets of one `[[datasets]]`; `unread` are images whose size cannot be told."""

    where: str
    settings: BucketSettings
    report: BucketReport
    unread: tuple[Path, ...]


SizeOf = Callable[[Path], Size | None]
"""The size of an image, None when it cannot be told."""


def config_buckets(
    config: Config, workspace: Workspace, folder: Path, size_of: SizeOf = image_size
) -> list[DatasetBuckets]:
    """The buckets of every `[[datasets]]` that has a subset in `folder`, with all of its subsets: they share batches.

    Raises UserError when there is none, BucketError where the trainer would stop. Reads the header of every image,
    unless `size_of` knows better.
    """
    found = [dataset for dataset in resolve(config, workspace) if _is_in(dataset, folder)]
    if not found:
        raise UserError(
            f"The config {printable(config.name)} does not train on {printable(workspace.key_of(folder))}",
            "Name another one with --config, or a resolution with --resolution.",
        )
    return [_buckets(dataset, size_of) for dataset in found]


def configs_of(workspace: Workspace, folder: Path) -> list[str]:
    """The configs that train on images in `folder`; that of the same name first."""
    from core.config.documents import Config

    names = [
        name
        for name in workspace.config_names()
        if any(_is_in(dataset, folder) for dataset in resolve(Config.load(workspace.configs / name), workspace))
    ]
    return sorted(names, key=lambda name: name != folder.name)


def _is_in(dataset: ResolvedDataset, folder: Path) -> bool:
    real = folder.resolve()
    return any(each.folder is not None and each.folder.resolve().is_relative_to(real) for each in dataset.subsets)


def _buckets(dataset: ResolvedDataset, size_of: SizeOf) -> DatasetBuckets:
    resolution = dataset.resolution
    if resolution is None or beyond_reason(dataset):
        raise UserError(
            f"{dataset.where} has no resolution to sort by", "Set resolution below [[datasets]]: 768, or 1024 for SDXL."
        )
    folders: dict[Path, int] = {}
    for subset in dataset.subsets:
        if subset.folder is not None:  # sd-scripts drops a folder that comes twice
            folders.setdefault(subset.folder, subset.repeats)
    unread: list[Path] = []
    images = _sized(folders.items(), size_of, unread)
    settings = bucket_settings(dataset, resolution)
    batch = dataset.values["batch_size"]
    placed = report(images, settings, batch if isinstance(batch, int) and batch > 0 else 1)
    return DatasetBuckets(dataset.where, settings, placed, tuple(unread))


def resolution_buckets(folder: Path, resolution: Size, size_of: SizeOf = image_size) -> DatasetBuckets:
    """The buckets of the dataset in `folder` without a config, as the usual one has it: sides from 256 to 2048."""
    settings = BucketSettings(resolution, enable=True, min_reso=min(256, *resolution), max_reso=max(2048, *resolution))
    unread: list[Path] = []
    placed = report(_sized(((each.path, each.repeats) for each in subsets(folder)), size_of, unread), settings)
    return DatasetBuckets("", settings, placed, tuple(unread))


def _sized(
    folders: Iterable[tuple[Path, int]], size_of: SizeOf, unread: list[Path]
) -> Iterator[tuple[Path, Size, int]]:
    """(path, size, repeats) of the images in `folders` (path, repeats); those whose size cannot be told to `unread`."""
    for folder, repeats in folders:
        for name in images_in(folder) or []:
            path = folder / name
            size = size_of(path)
            if size is None:
                unread.append(path)
            else:
                yield path, size, repeats
