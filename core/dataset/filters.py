r"""The filter line: which images of a dataset are meant.

Words side by side must all match. A word is looked for in the file name and the caption; `name:` `path:` `caption:`
look in one of them, `tag:` compares whole tags, `missing:` wants a tag to be absent, `tags:>20` and its like compare
numbers, `is:` asks for a state. `NOT word` or `-word`, `AND`, `OR` and parentheses combine; quotes keep blanks, `*` and
`?` stand for any letters. All of it: `kohya-tui help filter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.dataset.filter_parse import parse
from core.dataset.filter_tree import FIELDS, RATINGS, STATES, FilterError, Node, write

if TYPE_CHECKING:
    from core.dataset.filter_match import Sources
    from core.dataset.index import Index

__all__ = ["FIELDS", "RATINGS", "STATES", "FilterError", "Node", "parse", "select", "write"]


def select(index: Index, query: str | Node, sources: Sources | None = None) -> list[int]:
    """The numbers of the images that pass, in list order; only of those that were read.

    Raises FilterError when the query cannot be read or answered, GivenUp when `sources.stop` said so.
    """
    import numpy as np

    from core.dataset.filter_match import Sources, match

    node = parse(query) if isinstance(query, str) else query
    found: list[int] = np.flatnonzero(match(index, node, sources or Sources())).tolist()
    return found
