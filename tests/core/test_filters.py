"""The filter line: what it lets pass, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from core.dataset.captions import split, tag_key
from core.dataset.filters import FilterError, parse


@dataclass(frozen=True)
class Picture:
    """An image as the filter sees it."""

    name: str
    caption: str | None
    states: tuple[str, ...] = ()

    @property
    def tag_keys(self) -> frozenset[str]:
        return frozenset(map(tag_key, split(self.caption or "")))


A = Picture("rinni_001.png", "rinni, 1girl, blue eyes, smile", ("reviewed",))
B = Picture("rinni_002.png", "rinni, 1girl, light_smile, :d, solo", ("marked",))
C = Picture("night_003.jpg", None, ("untagged",))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "ABC"),
        ("   ", "ABC"),
        ("rinni", "AB"),
        ("NIGHT", "C"),
        ("smile", "AB"),
        ('smile "OR"', ""),
        ('rinni ")"', ""),
        ('"(" OR night', "C"),
        ("tag:smile", "A"),
        ('tag:"blue eyes"', "A"),
        ("tag:blue_eyes", "A"),
        ('"blue eyes"', "A"),
        ("tag:*smile", "AB"),
        ("rinni solo", "B"),
        ("rinni AND NOT solo", "A"),
        ("rinni -solo", "A"),
        ("-tag:rinni", "C"),
        ("missing:rinni", "C"),
        ("solo OR night", "BC"),
        ("(solo OR night) rinni", "B"),
        ("NOT (solo OR night)", "A"),
        ("name:*_00?.png", "AB"),
        ("caption:girl", "AB"),
        ("tags:4", "A"),
        ("tags:>=4", "AB"),
        ("tags:0", "C"),
        ("is:untagged", "C"),
        ("is:reviewed OR is:marked", "AB"),
        ("tag::d", "B"),
        (":d", "B"),
        ('"NOT"', ""),
    ],
)
def test_what_passes(query: str, found: str) -> None:
    """Each query finds these images of the three."""
    test = parse(query)
    assert "".join(name for name, picture in (("A", A), ("B", B), ("C", C)) if test(picture)) == found


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("rinni nope:x", 7),
        ("is:nothing", 1),
        ('tag:"blue', 1),
        ("(solo", 1),
        ("solo )", 6),
        ("solo OR", 8),
        ("NOT", 4),
        ("AND solo", 1),
        ("tags:many", 6),
        ("tag:", 1),
    ],
)
def test_errors_point_at_the_column(query: str, column: int) -> None:
    """The sentence says where."""
    with pytest.raises(FilterError) as caught:
        parse(query)
    assert caught.value.column == column and f"column {column}" in str(caught.value)
