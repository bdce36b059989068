"""What a tag run would change, told from the scores that an earlier run of the same model left: nothing is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.captions import decode, read_bytes, split, tag_key
from core.problems import UserError
from core.tagging.listing import caption_path, find_images, last_of_each
from core.tagging.options import TagRequest

if TYPE_CHECKING:
    from core.tagging.models import TaggerModel
    from core.workspace import Workspace

LIMIT = 5_000
"""More images than this are not previewed: every caption is read, at about 0.15 ms an image."""


@dataclass(frozen=True, slots=True)
class TagChange:
    """How many captions hold a tag now, and would hold it after the run."""

    tag: str
    now: int
    then: int

    @property
    def change(self) -> int:
        return self.then - self.now


@dataclass(frozen=True, slots=True)
class Preview:
    """The difference that a run would make. `changes` has the largest first; equal counts are left out."""

    images: int
    """Images that have stored scores and would be tagged."""
    unscored: int
    """Images that would be tagged and have none."""
    changes: tuple[TagChange, ...]
    added: int
    removed: int
    captions: int
    """Captions that would get other tags (their order and spelling aside)."""


class _Recorder:
    """Takes what a run would write."""

    def __init__(self) -> None:
        self.texts: dict[Path, str] = {}

    def write(self, path: Path, data: bytes | str) -> None:
        self.texts[path] = data if isinstance(data, str) else data.decode("utf-8")


def preview(
    workspace: Workspace, request: TagRequest, model: TaggerModel, stop: Callable[[], bool] = lambda: False
) -> Preview | None:
    """The captions as they are against those that `request` would write, by the very code of the run.

    None when this model never ran on these images, when they are too many, or when `stop` said so. Raises UserError
    when the target is no dataset.
    """
    from core.tagging.scores import model_key, read_table, scores_folder

    if model.onnx is None:
        return None
    spec = request.run_spec(workspace)
    images = [
        image
        for folder in spec["folders"]
        for image in find_images(Path(folder), recursive=request.recursive, sd_compat=request.caption.sd_compat)
    ]
    if len(images) > LIMIT:
        return None
    if request.policy == "skip":
        images = [image for image in images if not _text(caption_path(image, request.caption_extension)).strip()]
    table = read_table(scores_folder(workspace), model_key(model), images, stop)
    if table is None or not table.images:
        return None

    from core.tagging.captioning import Captioner
    from core.tagging.writing import CaptionFiles

    captioner = Captioner(table.labels, request.caption, by_probability=model.format.by_probability)
    recorder = _Recorder()
    writers = last_of_each(images, request.caption_extension)
    files = CaptionFiles(recorder, request.caption, writers, request.caption_extension, request.policy, request.trigger)
    now: Counter[str] = Counter()
    then: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    added = removed = captions = 0
    for image, tags in zip(table.images, captioner.each(table), strict=True):
        if stop():
            return None
        path = caption_path(image, request.caption_extension)
        try:
            files.write(image, tags.tags, None)
        except UserError:
            continue  # a caption that is not UTF-8: the run names it and leaves it as it is
        old, new = _text(path), recorder.texts.pop(path, None)
        before = {tag_key(tag): tag for tag in split(old)}
        after = before if new is None else {tag_key(tag): tag for tag in split(new)}
        spelled |= before | after
        now.update(before.keys())
        then.update(after.keys())
        added += len(after.keys() - before.keys())
        removed += len(before.keys() - after.keys())
        captions += before.keys() != after.keys()
    changes = [TagChange(spelled[key], now[key], then[key]) for key in spelled if now[key] != then[key]]
    changes.sort(key=lambda each: (-abs(each.change), each.tag))
    return Preview(len(table.images), len(table.missing), tuple(changes), added, removed, captions)


def _text(path: Path) -> str:
    try:
        return decode(read_bytes(path) or b"", path)
    except UserError:
        return ""
