"""Which bucket an image goes to under the config that trains on its dataset, for the filter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from core.config.bucket_view import configs_of
from core.config.documents import Config
from core.config.plan import bucket_settings
from core.config.resolved import ResolvedDataset, resolve
from core.dataset.buckets import BucketError, BucketSettings, Size, assign
from core.problems import UserError
from core.workspace import Workspace


def bucket_of(workspace: Workspace, dataset: str, config: str | None) -> Callable[[Size], Size | None] | None:
    """The bucket of an image by its size, after the first `[[datasets]]` of `config` (None: the one that trains on the
    dataset) that has it; None when there is no such config.
    """
    folder = workspace.train_data / dataset
    try:
        names = [config] if config else configs_of(workspace, folder)
        found = [each for name in names[:1] for each in resolve(Config.load(workspace.configs / name), workspace)]
    except UserError:
        return None
    real = folder.resolve()

    def is_in(each: ResolvedDataset) -> bool:
        return any(part.folder is not None and part.folder.resolve().is_relative_to(real) for part in each.subsets)

    known = [each for each in [*filter(is_in, found), *found] if each.resolution is not None]
    if not known or known[0].resolution is None:
        return None
    return partial(_bucket, bucket_settings(known[0], known[0].resolution))


def _bucket(settings: BucketSettings, size: Size) -> Size | None:
    try:
        return assign(size, settings).bucket
    except BucketError:
        return None
