"""What the trainer keeps of each image: the bucket under the config that is chosen, and the crop that follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError

if TYPE_CHECKING:
    from core.dataset.buckets import BucketChoice, BucketSettings, Size
    from core.workspace import Workspace
    from tui.pictures import Box
    from tui.screens.base import ModeScreen
    from tui.screens.dataset_side import ImageSide


def read_crops(node: ModeScreen | ImageSide, took: Callable[[Crops], None]) -> None:
    """Read those of the dataset and the config that are chosen now, on a thread; then `took` in the app's own."""
    app = node.app
    workspace, dataset, config = app.workspace, app.active_dataset, app.active_config
    if workspace is None or dataset is None:
        return

    def read() -> None:
        app.call_from_thread(took, Crops.read(workspace, dataset, config))

    node.run_worker(read, thread=True, exclusive=True, group="crops", exit_on_error=False)


class Crops:
    """The bucket options of every folder that a config trains on. Made on a thread with `read`."""

    def __init__(self, config: str = "", folders: dict[Path, BucketSettings] | None = None) -> None:
        self.config = config
        """Its name; "" when there is none that trains on these images."""
        self._folders = folders or {}

    @classmethod
    def read(cls, workspace: Workspace, dataset: str, config: str | None) -> Crops:
        """After `config`, or (None) after the one that trains on the dataset. Its faults are told elsewhere."""
        from core.config.bucket_view import configs_of
        from core.config.documents import Config
        from core.config.plan import beyond_reason, bucket_settings
        from core.config.resolved import resolve

        try:
            name = config or next(iter(configs_of(workspace, workspace.train_data / dataset)), "")
            found = resolve(Config.load(workspace.configs / name), workspace) if name else []
        except (UserError, OSError):
            return cls()
        folders: dict[Path, BucketSettings] = {}
        for each in found:
            if each.resolution is None or beyond_reason(each):
                continue
            settings = bucket_settings(each, each.resolution)
            for subset in each.subsets:
                if subset.folder is not None:
                    folders.setdefault(subset.folder.resolve(), settings)
        return cls(name, folders)

    def choice(self, path: Path, size: Size | None) -> BucketChoice | None:
        """The bucket of an image; None when the config does not train on it, or would stop at it."""
        from core.dataset.buckets import BucketError, assign

        if size is None or not size[0] or not size[1] or not self._folders:
            return None
        settings = self._folders.get(path.parent) or self._folders.get(path.parent.resolve())
        try:
            return assign(size, settings) if settings is not None else None
        except BucketError:
            return None

    def kept(self, path: Path, size: Size | None) -> Box | None:
        """What is left of an image as shares of it; None when nothing is known, or nothing is cut."""
        from core.dataset.bucket_report import crop_box

        choice = self.choice(path, size)
        if choice is None or size is None or choice.cropped == 0:
            return None
        left, top, right, bottom = crop_box(size, choice)
        return left / size[0], top / size[1], right / size[0], bottom / size[1]
