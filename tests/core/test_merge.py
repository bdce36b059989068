"""A change of tags on a caption that somebody else changed."""

from __future__ import annotations

import pytest

from core.dataset.captions import join, split
from core.dataset.merge import apply_again


@pytest.mark.parametrize(
    ("old", "new", "theirs", "wanted"),
    [
        ("a, b, c", "a, c", "a, b, c, d", "a, c, d"),
        ("a, b, c", "a, c", "a, d", "a, d"),
        ("a, b", "a, b, c", "a, b, d", "a, b, d, c"),
        ("a, b", "a, b, c", "c, a", "c, a"),
        ("a, b, c", "a, x, c", "b, d", "x, d"),
        ("a, b, c", "a, x, y, c", "d, B, a", "d, x, y, a"),
        ("a, b, c", "a, x, c", "x, b", "x"),
        ("a, b, c", "a, x, c", "d", "d, x"),
        ("a, b, c", "c, a, b", "d, a, b, c", "c, d, a, b"),
        ("a, b, c", "b, a, c", "d, a, b, c", "b, d, a, c"),
        ("a, b, c", "c, a, b", "a, b", "a, b"),
        ("a, b", "x, a, b", "d", "x, d"),
    ],
)
def test_a_change_is_done_on_theirs(old: str, new: str, theirs: str, wanted: str) -> None:
    """Removed, added, renamed, moved: what they changed beside it stays."""
    assert join(apply_again(split(old), split(new), split(theirs))) == wanted
