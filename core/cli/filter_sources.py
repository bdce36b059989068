"""What a filter may ask of the whole house: marks, journal, scores, buckets, duplicates and saved filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from core.dataset.filter_match import GivenUp, Sources, Stop
from core.dataset.saved_filters import load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.dataset.index import Index
    from core.tagging.score_columns import ScoreColumns


def sources_of(index: Index, config: str | None = None) -> Sources:
    """For one dataset; nothing is read before a filter asks for it. `config` None: the one that trains on it.

    `marked` is the app's own.
    """
    workspace = index.workspace

    def columns() -> ScoreColumns:
        from core.tagging.score_columns import ScoreColumns
        from core.tagging.scores import scores_folder

        files = sorted(scores_folder(workspace).glob("*.sqlite"))
        stamps = [(path.name, path.stat().st_mtime_ns) for path in files]
        key = f"scores {stamps} {index.read}"
        if key not in index.memo:
            for old in [name for name in index.memo if name.startswith("scores ")]:
                del index.memo[old]
            index.memo[key] = ScoreColumns(workspace, [index.path(number) for number in range(index.read)])
        found: ScoreColumns = index.memo[key]
        return found

    def score(tag: str, stop: Stop) -> NDArray[np.float32] | None:
        found = columns().score(tag, stop)
        if stop():
            raise GivenUp
        return found

    def ratings(stop: Stop) -> NDArray[np.int8] | None:
        found = columns().ratings(stop)
        if stop():
            raise GivenUp
        return found

    def confidence(stop: Stop) -> NDArray[np.float32] | None:
        from core.dataset.arrays import entries_of

        ids, owners = entries_of(index)
        return columns().lowest(list(index.words), ids, owners, stop)

    def changed() -> Iterable[int]:
        from core.dataset.changed import changed_files

        return index.ids_of(changed_files(workspace))

    def reviewed() -> Iterable[int]:
        from core.dataset.marks import read_reviewed

        return index.ids_of(workspace.root / key for key in read_reviewed(workspace))

    def duplicates(stop: Stop) -> Iterable[int]:
        from core.dataset.duplicates import DISTANCE
        from core.dataset.duplicates_process import following

        if "duplicates" not in index.memo:
            for progress in following(map(index.path, range(index.read)), DISTANCE):
                if stop():
                    raise GivenUp
                if progress.groups is not None:
                    paths = [each.path for group in progress.groups for each in group.images]
                    index.memo["duplicates"] = index.ids_of(paths)
        found: list[int] = index.memo.get("duplicates", [])
        return found

    def bucket() -> Callable[[tuple[int, int]], tuple[int, int] | None] | None:
        from core.config.filter_buckets import bucket_of

        return bucket_of(workspace, index.name, config)

    return Sources(
        reviewed=reviewed,
        changed=changed,
        score=score,
        ratings=ratings,
        confidence=confidence,
        bucket=bucket,
        duplicates=duplicates,
        saved=load(workspace),
    )
