"""From scores to captions as readers of the help expect them (the goldens cover --sd-compat)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.problems import UserError
from core.tagging.captioning import Captioner, merge_existing
from core.tagging.cleaning import SETS, check_options, find_sets, implied_by, overlapped
from core.tagging.descriptors import TaggerModel
from core.tagging.labels import Category, LabelSet
from core.tagging.merging import PassCaptioner
from core.tagging.options import CaptionOptions
from core.tagging.thresholds import author_thresholds, mcut

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


def given(scores: dict[str, float], **options: Any) -> str:
    """The caption of an image with these scores, all others being 0."""
    row = np.array([scores.get(name, 0) for name in NAMES], np.float32)
    return Captioner(LABELS, CaptionOptions(**options)).caption(row)


def test_mcut_cuts_at_the_largest_gap_of_the_image() -> None:
    """0.9 and 0.8 against 0.3: the threshold lies between, whatever `thresh` says; each image has its own."""
    scores = {"1girl": 0.9, "long_hair": 0.8, "a_b": 0.3, "saber_(fate)": 0.4}
    assert given(scores) == "1girl, long_hair, saber_(fate)"
    assert given(scores, general_mcut=True) == "1girl, long_hair, saber_(fate)"
    assert given({"1girl": 0.3, "long_hair": 0.2}, general_mcut=True) == "1girl, long_hair"
    assert given({"1girl": 0.3, "long_hair": 0.1}, general_mcut=True) == "1girl"
    assert given(scores, general_mcut=True, general_threshold=1.1) == "saber_(fate)", "off stays off"


def test_mcut_for_characters_never_goes_below_its_own_floor() -> None:
    """An image without a known character gets none of 0.14."""
    assert given({"saber_(fate)": 0.14}, character_mcut=True) == ""
    assert given({"saber_(fate)": 0.31, "rin_(bow)_(fate)": 0.05}, character_mcut=True) == "saber_(fate)"


def test_mcut_is_the_published_rule() -> None:
    """Against the rule as Largeron and others, and imgutils, have it, over whole rows."""
    rng = np.random.default_rng(3)
    for size in (2, 5, 40):
        rows = (rng.random((20, size)).astype(np.float32) * 0.9 + 0.05) ** 2 + 0.02
        owners = np.repeat(np.arange(20), size)
        for row, threshold in zip(rows, mcut(rows.ravel(), owners, 20, size), strict=True):
            ranked = np.sort(row.astype(np.float64))[::-1]
            at = (ranked[:-1] - ranked[1:]).argmax()
            assert threshold == (ranked[at] + ranked[at + 1]) / 2
    assert mcut(np.array([0.5], np.float32), np.zeros(1, np.intp), 2, 1).tolist() == [np.inf, np.inf]


def test_single_tags_have_their_own_thresholds() -> None:
    """Before that of their category and before MCut, in any spelling; above 1 a tag is never written."""
    scores = {"1girl": 0.5, "long_hair": 0.5, "a_b": 0.2, "saber_(fate)": 0.5}
    assert given(scores, tag_thresholds="long hair=0.6;A_B=0.2") == "1girl, a_b, saber_(fate)"
    assert given(scores, tag_thresholds="1girl=1.5;saber_(fate)=0.51") == "long_hair"
    assert given(scores, general_mcut=True, tag_thresholds="a b=0.2") == "1girl, long_hair, a_b, saber_(fate)"
    assert given(scores, character_threshold=1.1, tag_thresholds="saber_(fate)=0.4") == "1girl, long_hair, saber_(fate)"
    assert given({"explicit": 0.9}, tag_thresholds="explicit=0.1") == "", "a rating is placed, not chosen"
    assert Captioner(LABELS, CaptionOptions(tag_thresholds="1girl=0.5;no such=0.5")).unknown == ("no such",)


def test_the_authors_thresholds_hold_where_no_own_is_given() -> None:
    """Those of single tags, then of categories, then the one for all, then `thresh`."""
    labels = LabelSet(
        ("a", "b", "c", "m"), (*[Category.GENERAL] * 2, Category.CHARACTER, Category.META), (0.7, None) * 2
    )
    row = np.array([0.6, 0.6, 0.6, 0.6], np.float32)
    model = TaggerModel("x", threshold=0.65, thresholds={"general": 0.5})

    def caption_of(**options: Any) -> str:
        found = Captioner(labels, CaptionOptions(**options), thresholds=author_thresholds(model))
        return found.caption(row)

    assert caption_of() == "a, b, c, m"
    assert caption_of(author_thresholds=True) == "b"
    assert caption_of(author_thresholds=True, general_threshold=0.6) == "a, b"
    assert caption_of(author_thresholds=True, meta_threshold=0.1) == "b, m"


def test_blacklists_leave_tags_out() -> None:
    """A set of ours in any spelling, two of them, and one of the user's settings file."""
    from core.settings import user_file

    names = ("virtual_youtuber", "simple_background", "pink_background", "signature", "long_hair", "solo")
    labels = LabelSet(names, (Category.GENERAL,) * len(names))
    row = np.full(len(names), 0.9, np.float32)

    def left(blacklist: str, **options: Any) -> str:
        return Captioner(labels, CaptionOptions(blacklist=blacklist, **options)).caption(row)

    assert left("colab") == "simple_background, pink_background, signature, long_hair, solo"
    assert left("background, text", remove_underscore=True) == "virtual youtuber, long hair, solo"
    assert left("traits", sd_compat=True) == "simple_background, pink_background, signature, solo"
    assert left("colab", tag_replacement="solo,virtual youtuber") == left("colab").removesuffix(", solo")
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text('[blacklists]\nmine = ["Solo", "long hair"]\n', "utf-8")
    assert left("mine,text") == "virtual_youtuber, simple_background, pink_background"


def test_sets_of_tags_are_the_users_own(tmp_path: Path) -> None:
    """A workspace that somebody shared cannot bring sets along, and a malformed table is named, not used."""
    from core.settings import load, user_file

    (tmp_path / "kohya-tui.toml").write_text('[blacklists]\ntheirs = ["solo"]\n', "utf-8")
    found = load(tmp_path)
    assert not found.blacklists and "blacklists is ignored here" in found.problems[0].message
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text('[blacklists]\nmine = "solo"\n', "utf-8")
    assert not load().blacklists and "table of name = [tags]" in load().problems[0].message


def test_traits_are_what_a_character_always_looks_like() -> None:
    """The examples of dghs-imgutils, and its exceptions: the rule that prunes the traits of a trigger word."""
    (traits,) = find_sets("traits")
    for tag in (
        "red hair",
        "red_hair",
        "cat ears",
        "cat ear",
        "twin drills",
        "hair over one eye",
        "Blue Eyes",
        "horns",
    ):
        assert traits.holds(tag), tag
    for tag in ("chair", "hear", "dress", "drill", "closed_eyes", "pubic hair", "pear"):
        assert not traits.holds(tag), tag
    assert all(each.note and (each.tags or each.rule) for each in SETS.values())


@pytest.mark.parametrize(
    ("tags", "left"),
    [
        (("long_hair", "very_long_hair"), ("very_long_hair",)),
        (("hair", "long hair", "absurdly long hair"), ("absurdly long hair",)),
        (("holding", "holding sword", "katana"), ("holding sword", "katana")),
        (("animal_ears", "cat_ears", "cat"), ("cat_ears", "cat")),
        (
            ("skirt", "black miniskirt", "grass", "ass", "bowtie", "red bow"),
            ("black miniskirt", "grass", "ass", "bowtie", "red bow"),
        ),
        (("shirt", "no shirt", "dress", "dress shirt"), ("no shirt", "dress", "dress shirt")),
        (("bow", "bow_(weapon)", "smile", ":d"), ("bow", "bow_(weapon)", ":d")),
        (("multiple_girls", "2girls", "1boy"), ("2girls", "1boy")),
        (("hat", "hat", "top hat"), ("top hat",)),
    ],
)
def test_overlapping_tags_leave_the_longer_one(tags: tuple[str, ...], left: tuple[str, ...]) -> None:
    """What another tag of the image says already is dropped; half words and `cat` beside `cat ears` are not."""
    dropped = overlapped(tags)
    assert tuple(tag for tag in tags if tag not in dropped) == left
    assert "hair" in implied_by("Very_Long_Hair")


def test_overlaps_are_dropped_among_general_tags_only() -> None:
    """A character named like a piece of another tag stays, in the order and with the rating of the caption."""
    names = ("hair", "long_hair", "very_long_hair", "hair_(series)", "general")
    labels = LabelSet(names, (*[Category.GENERAL] * 3, Category.CHARACTER, Category.RATING))
    captioner = Captioner(labels, CaptionOptions(drop_overlap=True, use_rating_tags=True, remove_underscore=True))
    found = captioner.tags(np.full(5, 0.9, np.float32))
    assert found.tags == ("general", "very long hair", "hair (series)")
    assert found.counted == ("very long hair", "hair (series)", "general")


def test_tags_are_ordered_as_asked() -> None:
    """By score, by name, or as the model has them; the rating keeps its place."""
    scores = {"long_hair": 0.9, "1girl": 0.5, "a_b": 0.7, "explicit": 0.6}
    assert given(scores, tag_order="score", use_rating_tags=True) == "explicit, long_hair, a_b, 1girl"
    assert given(scores, tag_order="name") == "1girl, a_b, long_hair"
    row = np.array([scores.get(name, 0) for name in NAMES], np.float32)
    by_model = Captioner(LABELS, CaptionOptions(tag_order="model"), by_probability=True)
    assert by_model.caption(row) == "1girl, long_hair, a_b"


@pytest.mark.parametrize(
    ("merge", "options", "expected"),
    [
        ("union", {}, ("safe", "1girl", "long_hair", "saber", "very long hair", "rin")),
        ("intersection", {}, ("safe", "long_hair", "saber")),
        ("subtract", {}, ("safe", "1girl")),
        ("union", {"character_tags_first": True}, ("safe", "saber", "rin", "1girl", "long_hair", "very long hair")),
        ("union", {"tag_order": "score"}, ("safe", "saber", "very long hair", "1girl", "long_hair", "rin")),
        ("union", {"drop_overlap": True}, ("safe", "1girl", "saber", "very long hair", "rin")),
        ("union", {"always_first_tags": "rin"}, ("rin", "safe", "1girl", "long_hair", "saber", "very long hair")),
    ],
)
def test_several_models_make_one_caption(merge: str, options: dict[str, Any], expected: tuple[str, ...]) -> None:
    """Two models that spell a tag in their own way: one tag; the rating is the first model's."""
    general, character, rating = Category.GENERAL, Category.CHARACTER, Category.RATING
    first = LabelSet(("safe", "1girl", "long_hair", "saber"), (rating, general, general, character))
    second = LabelSet(
        ("explicit", "saber", "Long Hair", "very long hair", "rin"), (rating, character, general, general, character)
    )
    asked = CaptionOptions(use_rating_tags=True, **options)
    passed = PassCaptioner([Captioner(first, asked), Captioner(second, asked)], merge)
    rows = [np.array([0.9, 0.7, 0.6, 0.5], np.float32), np.array([0.9, 0.95, 0.4, 0.8, 0.5], np.float32)]
    assert passed.tags(rows).tags == expected


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"blacklist": "text,bakground"}, "no set of tags named 'bakground'", "Did you mean background"),
        ({"tag_thresholds": "blush"}, "'blush' is not of the form", "blush=0.6;smile=0.5"),
        ({"tag_thresholds": "blush=high"}, "'blush=high' is not", "blush=0.6"),
        ({"tag_thresholds": "=0.5"}, "'=0.5' is not", "blush=0.6"),
        ({"tag_thresholds": "blush=nan"}, "'blush=nan' is not", "blush=0.6"),
        ({"tag_replacement": "a,b,c"}, "'a,b,c' is not", "source1,target1"),
        ({"merge": "xor"}, "no 'xor'", "union, intersection, subtract"),
        ({"tag_order": "random"}, "no 'random'", "auto, model, score, name"),
        ({"thresh": float("nan")}, "nan is no threshold", "above 1 is off"),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, Any], message: str, hint: str) -> None:
    """One sentence with the entry at fault, and what to write."""
    with pytest.raises(UserError, match=message) as caught:
        check_options(CaptionOptions(**options))
    assert hint in (caught.value.hint or "")


def test_emoticons_can_have_thresholds_too() -> None:
    """`=_=` has the sign in it, `;)` the separator."""
    check_options(CaptionOptions(tag_thresholds=r"=_==0.9; \;)=0.5 ;"))
    labels = LabelSet(("=_=", ";)"), (Category.GENERAL,) * 2)
    row = np.full(2, 0.6, np.float32)
    assert Captioner(labels, CaptionOptions(tag_thresholds=r"=_==0.9;\;)=0.5")).caption(row) == ";)"
