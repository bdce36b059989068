"""In which order the images of a dataset are listed: by name, or by what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.problems import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.dataset.filter_match import Sources
    from core.dataset.index import Index

ORDERS = {
    "name": "by folder and name",
    "tags": "fewest tags first",
    "confidence": "least sure tag first",
    "size": "fewest pixels first",
    "bytes": "smallest file first",
    "changed": "newest first",
}


def in_order(index: Index, numbers: NDArray[np.uint32], order: str, sources: Sources) -> NDArray[np.uint32]:
    """`numbers` (images in list order) in another order; those that are alike stay as they stood.

    `confidence`: by the stored score of that tag in the caption of which the tagger is least sure; images without
    scores, and those without a tag that the tagger knows, come last. Raises UserError where no tagger left scores.
    """
    import numpy as np

    from core.dataset.arrays import arrays_of

    arrays = arrays_of(index)
    values: NDArray[Any]
    match order:
        case "tags":
            values = arrays.counts.astype(np.int64)
            for number, ids in list(index.over.items()):
                if number < arrays.n:
                    values[number] = len(ids)
        case "size":
            values = arrays.sizes[:, 0].astype(np.int64) * arrays.sizes[:, 1]
        case "bytes":
            values = arrays.stamps[:, 1]
        case "changed":
            values = -np.maximum(arrays.stamps[:, 0], arrays.stamps[:, 2])
        case "confidence":
            values = _confidence(sources)
        case _:
            return numbers
    found: NDArray[np.uint32] = numbers[np.argsort(values[numbers], kind="stable")]  # NaN comes last
    return found


def _confidence(sources: Sources) -> NDArray[np.float32]:
    from core.dataset.filter_match import GivenUp

    found = sources.confidence(sources.stop) if sources.confidence is not None else None
    if found is None:
        if sources.stop():
            raise GivenUp
        raise UserError(
            "There are no stored scores to sort by", "Tag the dataset with kohya-tui first: the scores are stored."
        )
    return found
