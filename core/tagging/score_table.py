"""Stored scores of many images in four arrays, as thresholds are applied to them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from core.tagging.labels import Category, LabelSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The stored scores of many images: those of `images[i]` are `offsets[i]` to `offsets[i + 1]` of `indices` (labels,
    ascending) and `values` (float32).
    """

    labels: LabelSet
    images: tuple[Path, ...]
    missing: tuple[Path, ...]
    """Images that were asked for and have none: new, changed, or never tagged by this model."""
    offsets: NDArray[np.intp]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    floor: float
    """Lower scores were not kept, but for ratings and qualities."""
    memo: dict[Category, NDArray[np.float64]] = field(default_factory=dict)
    """Adaptive thresholds of the images by category: they depend on nothing else (core.tagging.thresholds)."""

    @cached_property
    def owners(self) -> NDArray[np.int32]:
        """The image of every score, by its number in `images`."""
        import numpy as np

        return np.repeat(np.arange(len(self.images), dtype=np.int32), np.diff(self.offsets))

    def row(self, at: int) -> NDArray[np.float32]:
        """float32 [labels]: the scores of `images[at]`, 0 where they lie under the floor."""
        import numpy as np

        row = np.zeros(len(self.labels), np.float32)
        mine = slice(self.offsets[at], self.offsets[at + 1])
        row[self.indices[mine]] = self.values[mine]
        return row

    def dense(self, columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """float32 [images, columns]: the scores of some labels, 0 where they lie under the floor."""
        import numpy as np

        place = np.full(len(self.labels), -1, np.intp)
        place[columns] = np.arange(len(columns))
        at = place[self.indices]
        found = np.zeros((len(self.images), len(columns)), np.float32)
        found[self.owners[at >= 0], at[at >= 0]] = self.values[at >= 0]
        return found

    def covers(self, lowest: float) -> bool:
        """Whether a threshold (`Captioner.lowest`) can be answered from here, or needs the model again."""
        import numpy as np

        return bool(np.float32(lowest) >= np.float32(self.floor))

    def of(self, images: Sequence[Path]) -> ScoreTable:
        """The same table with these images only, which all must be in it, in this order."""
        import numpy as np

        at = {image: number for number, image in enumerate(self.images)}
        rows = np.array([at[image] for image in images], np.intp)
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.intp), np.cumsum(lengths)])
        taken = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return ScoreTable(
            self.labels, tuple(images), self.missing, offsets, self.indices[taken], self.values[taken], self.floor
        )


def shared(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """The tables of several models with those images only that all of them have."""
    first, *others = tables
    if not others:
        return [first]
    common = set(first.images).intersection(*(table.images for table in others))
    here = [image for image in first.images if image in common]
    return [table.of(here) for table in tables]
