"""What a tag run would change, told from the scores that an earlier run of the same models left: nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.captions import tag_key
from core.tagging.options import TagRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.tagging.descriptors import TaggerModel
    from core.tagging.rethreshold import Rethreshold
    from core.workspace import Workspace

LIMIT = 100_000
"""More images than this are not previewed: each takes about 5 kB of memory for as long as the preview is kept."""


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
class ImageChange:
    """The tags that one caption would gain and lose, as they are spelled."""

    image: Path
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
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
    is_covered: bool
    """Whether every threshold lies above the scores that were kept; if not, a run asks the model again and may find
    more.
    """
    _paths: Sequence[Path]
    _spelled: Sequence[str]
    _gained: NDArray[np.int64]
    _lost: NDArray[np.int64]
    _now: NDArray[np.int64]
    _then: NDArray[np.int64]

    def tags(self) -> tuple[TagChange, ...]:
        """Every tag that a caption has or would have: `changes`, then those whose count stays, the most frequent
        first.
        """
        import numpy as np

        same = np.flatnonzero((self._now == self._then) & (self._now > 0))
        order = same[np.argsort(-self._now[same], kind="stable")]
        counts = zip(order.tolist(), self._now[order].tolist(), strict=True)
        return (*self.changes, *(TagChange(self._spelled[at], count, count) for at, count in counts))

    def of(self, image: Path) -> ImageChange:
        """What changes in one image's caption."""
        try:
            return self._at(self._paths.index(image))
        except ValueError:
            return ImageChange(image, (), ())

    def _at(self, at: int) -> ImageChange:
        import numpy as np

        width = max(1, len(self._spelled))

        def mine(codes: NDArray[np.int64]) -> tuple[str, ...]:
            start, end = np.searchsorted(codes, (at * width, (at + 1) * width))
            return tuple(self._spelled[code] for code in (codes[start:end] % width).tolist())

        return ImageChange(self._paths[at], mine(self._gained), mine(self._lost))

    def images_with(self, tag: str) -> tuple[ImageChange, ...]:
        """The images whose caption would gain or lose `tag`, in the dataset's order, each with all that changes."""
        key = tag_key(tag)
        wanted = [number for number, spelled in enumerate(self._spelled) if tag_key(spelled) == key]
        return tuple(self._at(at) for at in self._touched(wanted))

    def changed_images(self) -> tuple[Path, ...]:
        """The images whose caption would get other tags, in the dataset's order."""
        return tuple(self._paths[at] for at in self._touched(None))

    def image_changes(self) -> tuple[ImageChange, ...]:
        """`of` each of the `changed_images`."""
        return tuple(self._at(at) for at in self._touched(None))

    def _touched(self, tags: Sequence[int] | None) -> list[int]:
        import numpy as np

        width = max(1, len(self._spelled))
        codes = np.concatenate([self._gained, self._lost])
        if tags is not None:
            codes = codes[np.isin(codes % width, tags)]
        return sorted(set((codes // width).tolist()))


def open_preview(
    workspace: Workspace | None,
    request: TagRequest,
    models: Sequence[TaggerModel],
    stop: Callable[[], bool] = lambda: False,
) -> Rethreshold | None:
    """The scores and captions of what `request` names, read once (0.1 ms an image): keep it while thresholds move.

    `models` are those of the request, the first one first. None when one of them never ran on these images or is not on
    disk, when there are more than `LIMIT`, or when `stop` said so. Raises UserError when the target is no dataset.
    """
    from core.tagging.rethreshold import Rethreshold

    return Rethreshold.open(workspace, request, models, stop)


def preview(
    workspace: Workspace | None,
    request: TagRequest,
    model: TaggerModel | Sequence[TaggerModel],
    stop: Callable[[], bool] = lambda: False,
) -> Preview | None:
    """The captions as they are against those that `request` would write: `open_preview` for one question.

    Raises UserError when the target is no dataset, and for options that cannot be (`cleaning.check_options`).
    """
    models = list(model) if isinstance(model, Sequence) else [model]
    kept = open_preview(workspace, request, models, stop)
    return None if kept is None or stop() else kept.preview(request)
