"""From scores to captions as readers of the help expect them (the goldens cover --sd-compat)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.tagging.captioning import Captioner, merge_existing
from core.tagging.labels import Category, LabelSet
from core.tagging.options import CaptionOptions

NAMES: dict[str, Category] = {
    "general": Category.RATING,
    "explicit": Category.RATING,
    "1girl": Category.GENERAL,
    "long_hair": Category.GENERAL,
    "||_||": Category.GENERAL,
    "a_b": Category.GENERAL,
    "fate": Category.GENERAL,
    "saber_(fate)": Category.CHARACTER,
    "artoria_pendragon_(fate)": Category.CHARACTER,
    "rin_(bow)_(fate)": Category.CHARACTER,
    "(bracketed)": Category.CHARACTER,
    "trailing)": Category.CHARACTER,
    "nier_(series)": Category.COPYRIGHT,
}
LABELS = LabelSet(tuple(NAMES), tuple(NAMES.values()))


def caption(*tags: str, by_probability: bool = False, **options: Any) -> str:
    """The caption of an image whose model is sure of these tags and of no other."""
    scores = np.array([0.9 - 0.01 * tags.index(name) if name in tags else 0.01 for name in NAMES], np.float32)
    return Captioner(LABELS, CaptionOptions(**options), by_probability=by_probability).caption(scores)


def test_tags_come_in_the_models_order_and_ratings_only_when_asked() -> None:
    """Default options: general tags, then characters, as they are spelled; no rating."""
    assert caption("saber_(fate)", "explicit", "long_hair", "1girl") == "1girl, long_hair, saber_(fate)"


def test_ratings_come_first_or_last() -> None:
    """The most likely rating, at the end where it was asked for."""
    assert caption("explicit", "1girl", use_rating_tags=True) == "explicit, 1girl"
    assert caption("explicit", "1girl", use_rating_tags_as_last_tag=True) == "1girl, explicit"
    assert caption("explicit", "1girl", use_rating_tags=True, undesired_tags="explicit") == "1girl"


def test_undesired_tags_match_with_underscores_or_blanks() -> None:
    """The guide's `simple_background` is really removed together with --remove_underscore."""
    for spelled in ("long_hair", "long hair", " long_hair ,x"):
        assert caption("1girl", "long_hair", remove_underscore=True, undesired_tags=spelled) == "1girl"
        assert caption("1girl", "long_hair", undesired_tags=spelled) == "1girl"


def test_emoticons_keep_their_underscore() -> None:
    """`||_||` stays, `a_b` becomes `a b`."""
    assert caption("||_||", "a_b", "long_hair", remove_underscore=True) == "long hair, ||_||, a b"


def test_characters_first_keep_their_order() -> None:
    """Several characters stand in the model's order, not reversed."""
    tags = ("1girl", "saber_(fate)", "artoria_pendragon_(fate)")
    assert caption(*tags, character_tags_first=True) == "saber_(fate), artoria_pendragon_(fate), 1girl"


def test_expanded_characters_name_their_series_once() -> None:
    """Two characters of one series, or a series that is a tag already: no tag twice; no empty part of odd names."""
    tags = ("saber_(fate)", "artoria_pendragon_(fate)", "rin_(bow)_(fate)", "(bracketed)", "trailing)")
    expected = "saber, fate, artoria pendragon, rin (bow), (bracketed), trailing)"
    assert caption(*tags, character_tag_expand=True, remove_underscore=True) == expected
    assert caption("saber_(fate)", character_tag_expand=True, undesired_tags="fate") == "saber"
    assert caption("saber_(fate)", character_tag_expand=True, undesired_tags="saber (fate)") == ""


def test_always_first_tags_stand_in_the_listed_order() -> None:
    """`long_hair, 1girl` really puts long_hair first, blank or not, before the rating, and adds nothing."""
    first = "long_hair, 1girl, 2girls"
    assert caption("1girl", "long_hair", "a_b", always_first_tags=first) == "long_hair, 1girl, a_b"
    with_rating = caption("1girl", "long_hair", always_first_tags=first, use_rating_tags=True, remove_underscore=True)
    assert with_rating == "long hair, 1girl, general"


def test_tags_are_replaced() -> None:
    """The replacement stands where the tag stood, whichever way the source is spelled; two that become one are one."""
    assert caption("1girl", "long_hair", tag_replacement="1girl,one girl;long hair,LONG") == "one girl, LONG"
    assert caption("1girl", "long_hair", tag_replacement="1girl,x;long_hair,x") == "x"
    assert caption("saber_(fate)", character_tag_expand=True, tag_replacement="fate,type-moon") == "saber, type-moon"


def test_any_separator_works() -> None:
    """A blank as separator, or a semicolon that then also separates the lists."""
    assert caption("1girl", "long_hair", caption_separator=" ") == "1girl long_hair"
    assert caption("1girl", "a_b", caption_separator="; ", undesired_tags="a_b; x") == "1girl"


def test_categories_have_their_own_thresholds() -> None:
    """Above 1 a category is off; without an own threshold the general one holds."""
    tags = ("1girl", "saber_(fate)", "nier_(series)")
    assert caption(*tags, character_threshold=1.1) == "1girl, nier_(series)"
    assert caption(*tags, copyright_threshold=0.89) == "1girl, saber_(fate)"
    assert caption(*tags, thresh=0.895) == "1girl"


def test_models_with_categories_order_by_probability() -> None:
    """cl_tagger's format: the surest tag first, characters apart when asked."""
    tags = ("nier_(series)", "saber_(fate)", "1girl")
    assert caption(*tags, by_probability=True) == "nier_(series), saber_(fate), 1girl"
    assert caption(*tags, by_probability=True, character_tags_first=True) == "saber_(fate), nier_(series), 1girl"


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ("my_trigger, 1girl", ["my_trigger", "1girl", "long_hair"]),
        ("one,  two ,,\nsecond line, 1girl\r\n", ["one", "two", "second line", "1girl", "long_hair"]),
        ("long hair", ["long hair", "1girl"]),
        ("", ["1girl", "long_hair"]),
    ],
)
def test_appending_keeps_what_was_there(old: str, expected: list[str]) -> None:
    """Old tags first, every line of them, and no tag twice."""
    assert merge_existing(old, ["1girl", "long_hair"], CaptionOptions()) == expected
