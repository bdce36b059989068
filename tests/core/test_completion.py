"""Completion of tags: what comes first, where it comes from, and lists in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dataset.captions import tag_key
from core.dataset.completion import Completer, Entry, Source, of_counts, read_tags, spaced
from core.problems import UserError
from core.settings import Settings
from core.tagging.vocabulary import read_sources
from core.workspace import Workspace


def tags(completer: Completer, text: str, limit: int = 20) -> list[str]:
    """The answers' tags."""
    return [each.tag for each in completer.complete(text, limit)]


def test_prefix_then_inside_then_alias_and_the_dataset_first() -> None:
    """Within a kind of match the dataset's tags come before the tagger's, the most used first."""
    own = of_counts({"blue hair ribbon": 3, "long_hair": 40, "rinni": 50})
    model = Source(
        [
            Entry("hair ribbon", 900, "general"),
            Entry("hairband", 5000, "general"),
            Entry("long hair", 9999, "general"),
            Entry("bald", 10, "general", ("hairless", "no hair")),
        ]
    )
    completer = Completer([own, model])
    found = completer.complete("HAIR")
    assert [(each.tag, each.source, each.alias) for each in found] == [
        ("hairband", 1, None),
        ("hair ribbon", 1, None),
        ("long_hair", 0, None),
        ("blue hair ribbon", 0, None),
        ("bald", 1, "hairless"),
    ]
    assert (found[2].count, found[0].category) == (40, "general")
    assert tags(completer, "long_h") == tags(completer, "long h") == ["long_hair"]
    assert tags(completer, "no hair") == ["bald"]
    assert tags(completer, "hair", 2) == ["hairband", "hair ribbon"]
    assert tags(completer, "  ") == tags(completer, "zebra") == []
    assert [each.tag for each in completer.complete("hair", without=["Hairband", "long hair"])] == [
        "hair ribbon",
        "blue hair ribbon",
        "bald",
    ]


def test_an_exact_alias_comes_before_what_only_has_it_inside() -> None:
    """`sole_female` means `1girl`."""
    source = Source([Entry("the sole female lead", 9), Entry("1girl", 5, "general", ("sole_female",))])
    assert tags(Completer([source]), "sole female") == ["1girl", "the sole female lead"]


def test_the_dataset_may_be_replaced() -> None:
    """After an edit its new tags are offered, and its old ones are gone."""
    completer = Completer([of_counts({"smile": 1}), Source([])])
    completer.replace(0, of_counts({"smirk": 1}))
    assert tags(completer, "sm") == ["smirk"]


TAGS = st.text(st.sampled_from("abAB_ \n,é('"), min_size=1, max_size=5)


@given(st.lists(st.tuples(TAGS, st.integers(0, 5), st.lists(TAGS, max_size=2)), max_size=8), TAGS)
def test_what_is_found_is_what_a_plain_loop_finds(raw: list[tuple[str, int, list[str]]], query: str) -> None:
    """For any tags and aliases: nothing is missed, nothing is invented, prefixes come first."""
    entries = [Entry(tag, count, None, tuple(aliases)) for tag, count, aliases in raw]
    key = tag_key(query)
    found = Completer([Source(entries)]).complete(query, 100)
    first: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda each: -each.count):
        if tag_key(entry.tag):
            first.setdefault(tag_key(entry.tag), entry)
    wanted = {name for name, entry in first.items() if key and any(key in tag_key(t) for t in (name, *entry.aliases))}
    assert {tag_key(each.tag) for each in found} == wanted and len(found) == len(wanted)
    kinds = [0 if tag_key(each.tag).startswith(key) or tag_key(each.alias or "") == key else 1 for each in found]
    assert kinds == sorted(kinds)


def test_lists_in_files(tmp_path: Path) -> None:
    """danbooru.csv has no head line, selected_tags.csv has one; emoticons keep their underscores."""
    danbooru = tmp_path / "danbooru.csv"
    danbooru.write_text(
        '1girl,0,6008644,"1girls,sole_female"\nlong_hair,0,4350743,/lh\n^_^,0,9,\n"a,b",0,1,\n\n', "utf-8"
    )
    completer = Completer([read_tags(danbooru)])
    assert tags(completer, "long") == ["long hair"] and tags(completer, "/lh") == ["long hair"]
    assert tags(completer, "^") == ["^_^"] and tags(completer, "a,b") == []
    assert completer.complete("sole_female")[0].count == 6008644
    assert tags(Completer([read_tags(danbooru, underscores=True)]), "long") == ["long_hair"]
    selected = tmp_path / "selected_tags.csv"
    selected.write_text("\ufefftag_id,name,category,count\n1,hatsune_miku,4,77\n2,o_o,0,5\n", encoding="utf-8")
    (found,) = Completer([read_tags(selected)]).complete("hatsu")
    assert (found.tag, found.category, found.count) == ("hatsune miku", "character", 77)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text."""
    for name, data in (("gone.csv", None), ("bytes.csv", b"\xff\xfe\x00")):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(UserError, match=name):
            read_tags(path)
    with pytest.raises(UserError):
        read_tags(tmp_path)


def test_taggers_on_disk_and_the_own_list_are_sources(tmp_path: Path, workspace: Workspace) -> None:
    """The demo's tagger is always there; a list that cannot be read is told, and the rest is offered."""
    listed = tmp_path / "mine.csv"
    listed.write_text("my_own_tag,0,7,mine\n", "utf-8")
    sources, problems = read_sources(workspace, Settings(tag_csv=listed))
    assert problems == [] and len(sources) == 2 and len(sources[0]) > 10
    assert tags(Completer([of_counts({}), *sources]), "mine") == ["my own tag"]
    sources, problems = read_sources(workspace, Settings(tag_csv=tmp_path / "gone.csv"))
    assert len(sources) == 1 and "gone.csv" in problems[0].message


def test_emoticons_are_told_from_words() -> None:
    """Two letters side by side make a word."""
    assert [spaced(tag) for tag in ("long_hair", "o_o", "(o)_(o)", "||_||", ">_<", "1girl")] == [
        "long hair",
        "o_o",
        "(o)_(o)",
        "||_||",
        ">_<",
        "1girl",
    ]
