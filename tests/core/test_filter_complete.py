"""What the word under the cursor of the filter line may become."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset.filter_complete import complete
from core.dataset.filter_tree import OfTag, Tag
from core.dataset.filters import parse

TAGS = {"blue eyes": 40, "blush": 30, "rinni (vtuber)": 9, "^_^": 3, 'odd "one"': 1, "\\o/": 1}


def tags(typed: str, limit: int) -> Iterable[tuple[str, int]]:
    key = typed.replace("_", " ")
    return [(tag, count) for tag, count in TAGS.items() if tag.startswith(key)][:limit]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("ca", "caption:"),
        ("smile -ta", "smile -tag:"),
        ("(sco", "(score("),
        ("tag:blue", "tag:blue_eyes"),
        ("TAG:blue", "TAG:blue_eyes"),
        ('tag:"blue e', 'tag:"blue eyes"'),
        ("missing:rin", "missing:rinni_(vtuber)"),
        ("solo OR -tag:blu", "solo OR -tag:blue_eyes"),
        ("tag:odd", 'tag:"odd \\"one\\""'),
        ("tag:\\", 'tag:"\\\\o/"'),
        ("score(blue", "score(blue_eyes):"),
        ("pos(rinni_(v", "pos(rinni_(vtuber)):"),
        ("blush", "tag:blush"),
        ("is:re", "is:reviewed"),
        ("rating:q", "rating:questionable"),
        ("saved:to", 'saved:"to_do"'),
        ("bucket:5", "bucket:512x768"),
    ],
)
def test_the_first_offer(typed: str, first: str) -> None:
    """Prefixes, tags, states, saved filters and buckets, written so that they can be read."""
    offers = complete(typed, tags, saved=["to_do"], buckets=["512x768"])
    if typed.startswith("saved"):
        assert offers[0].query in (first, "saved:to_do")
    else:
        assert offers[0].query == first and offers[0].cursor == len(first)


def test_the_rest_of_the_line_stays() -> None:
    """A word in the middle is completed where it stands."""
    (offer,) = complete("tag:blus smile", tags, cursor=8)
    assert offer.query == "tag:blush smile" and offer.cursor == 9 and offer.note == "30"


@pytest.mark.parametrize("typed", ["", "smile ", "tags:>", '"blue ', "w:", "tag:nobody"])
def test_nothing_is_offered_where_nothing_fits(typed: str) -> None:
    """No list that covers the line for no reason."""
    assert complete(typed, tags) == []


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text.strip() == text != "")
)
@settings(max_examples=200, deadline=None)
def test_every_tag_that_is_offered_is_meant_by_the_line(tag: str) -> None:
    """Whatever a tag is made of: taken from the list, the filter asks for this tag."""
    from core.dataset.captions import tag_key

    def one(typed: str, limit: int) -> list[tuple[str, int]]:
        return [(tag, 1)]

    for typed in ("tag:x", 'tag:"x', "missing:x"):
        node = parse(complete(typed, one)[0].query)
        assert isinstance(node, Tag) and node.pattern.is_plain and tag_key(node.pattern.literal) == tag_key(tag)
    node = parse(complete("score(x", one)[0].query + ">0")
    assert isinstance(node, OfTag) and tag_key(node.pattern.literal) == tag_key(tag)
