"""What a tag run would touch, told before it starts: how many images, and whose captions it replaces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.tagging.claim import check_free
from core.tagging.listing import caption_path, find_images, wanted
from core.tagging.options import TagRequest
from core.text import count_of

if TYPE_CHECKING:
    from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TagPlan:
    """Counts of images. `captions` have a caption that the run writes anew or adds to, `reviewed` are those among
    them that somebody marked as reviewed.
    """

    images: int
    skipped: int
    captions: int
    reviewed: int
    policy: str

    @property
    def warning(self) -> str | None:
        """What a person should read before the start; None when no reviewed caption is replaced."""
        if not self.reviewed or self.policy != "overwrite":
            return None
        what = count_of(self.reviewed, "reviewed caption")
        return f"{what} {'is' if self.reviewed == 1 else 'are'} overwritten"


def plan_tagging(workspace: Workspace | None, request: TagRequest) -> TagPlan:
    """Look at the folders and captions that `request` names, about 0.02 ms an image.

    Raises UserError when the target is no dataset, and when another tag run works on it just now.
    """
    from core.dataset.marks import read_reviewed

    spec = request.run_spec(workspace)
    folders = [Path(folder) for folder in spec["folders"]]
    check_free(folders)
    images = [
        image
        for folder in folders
        for image in find_images(folder, recursive=request.recursive, sd_compat=request.caption.sd_compat)
    ]
    if request.output_path:  # no caption is touched, whatever the policy
        return TagPlan(len(images), 0, 0, 0, request.policy)
    chosen = wanted(images, request.policy, request.caption_extension, spec["trigger_words"])
    if request.dry_run:
        return TagPlan(len(chosen), len(images) - len(chosen), 0, 0, request.policy)
    there = [image for image in chosen if _is_there(caption_path(image, request.caption_extension))]
    marks = read_reviewed(workspace) if workspace is not None else set()
    reviewed = sum(workspace.key_of(image) in marks for image in there) if workspace is not None and marks else 0
    return TagPlan(len(chosen), len(images) - len(chosen), len(there), reviewed, request.policy)


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
