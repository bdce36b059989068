"""Answers for the preview: scores and captions stay in memory, thresholds move over them. Knows no widget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tui.screens.tag_values import folded

if TYPE_CHECKING:
    from pathlib import Path

    from core.tagging.descriptors import TaggerModel
    from core.tagging.options import TagRequest
    from core.tagging.preview import ImageChange, Preview, TagChange
    from core.tagging.rethreshold import Rethreshold
    from core.workspace import Workspace


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a run of `request` would change, and every tag with its counts, changed ones first."""

    request: TagRequest
    preview: Preview
    tags: tuple[TagChange, ...]
    own: dict[str, float]
    """The tags that have a threshold of their own; they are among `tags` also when no caption has them."""

    @property
    def total(self) -> int:
        """Tags in all captions after the run."""
        return sum(each.then for each in self.tags)


class Previewer:
    """`answer`, `images` and `threshold` are for threads, one at a time (a lock sees to it)."""

    def __init__(self) -> None:
        self._kept: Rethreshold | None = None
        self._lock = threading.Lock()
        self._spelled: dict[str, str] = {}
        """How a tag with its own threshold is spelled in captions, by what its spellings have in common."""
        self._are_captions_old = self._are_scores_old = False

    def captions_changed(self) -> None:
        """Read the captions again before the next answer."""
        self._are_captions_old = True

    def scores_changed(self) -> None:
        """Read everything again before the next answer."""
        self._are_scores_old = True

    def answer(
        self,
        workspace: Workspace | None,
        request: TagRequest,
        models: Sequence[TaggerModel],
        stop: Callable[[], bool],
    ) -> Answer | None:
        """None when there are no scores, or when `stop` said so. Raises UserError when the target is no dataset."""
        from core.tagging.cleaning import parse_tag_thresholds
        from core.tagging.preview import TagChange, open_preview

        with self._lock:
            kept = self._kept
            if kept is None or self._are_scores_old or not kept.is_for(request, models):
                self._are_scores_old = self._are_captions_old = False
                kept = self._kept = open_preview(workspace, request, models, stop)
            elif self._are_captions_old:
                self._are_captions_old = False
                if not kept.read_captions(stop):
                    self._are_captions_old = True
                    return None
            if kept is None or stop():
                return None
            asked = replace(request, dry_run=False)
            preview = kept.preview(asked)
            tags = preview.tags()
            own = parse_tag_thresholds(request.caption.tag_thresholds)
            if own:
                self._spelled |= {key: each.tag for each in tags if (key := folded(each.tag)) in own}
            mine = {self._spelled.get(key, key): value for key, value in own.items()}
            seen = {each.tag for each in tags} if mine else set()
            unseen = tuple(TagChange(tag, 0, 0) for tag in mine if tag not in seen)
            return Answer(request, preview, (*tags, *unseen), mine)

    def images(self, answer: Answer, tag: str | None) -> tuple[ImageChange, ...]:
        """The images whose captions change in this tag (None: in any)."""
        with self._lock:
            return answer.preview.image_changes() if tag is None else answer.preview.images_with(tag)

    def caption(self, request: TagRequest, image: Path) -> str | None:
        """The text that a run would write for an image."""
        with self._lock:
            return None if self._kept is None else self._kept.caption(request, image)

    def threshold(self, request: TagRequest, tag: str) -> tuple[str, float] | None:
        """The model's name of a tag of a caption, and the threshold in force for it."""
        with self._lock:
            found = None if self._kept is None else self._kept.threshold(request, tag)
            if found is not None:
                self._spelled[folded(found[0])] = tag
            return found
