"""The tag table, the traits of a trigger word, and `kohya-tui tags`."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dataset.captions import split, tag_key
from core.dataset.tag_table import TagTable, tag_table
from core.dataset.traits import is_trait, traits
from core.problems import UserError
from core.workspace import Workspace
from tests.core.cli_kit import Cli

WORDS = st.sampled_from(["1girl", "Long_Hair", "long hair", "smile", " blush ", "", "blue  eyes", "青い目", "a:b"])
CAPTIONS = st.lists(st.lists(WORDS, max_size=6).map(",".join) | st.none(), max_size=12)


def test_spellings_of_one_tag_are_counted_together() -> None:
    """`Long_Hair` and `long hair` are one tag under its usual name; a missing caption counts for nothing."""
    rows = tag_table(["long hair, 1girl", "Long_Hair, long hair", "long hair\nmore, words", None], {"1girl": "general"})
    assert [(row.tag, row.count, round(row.share, 2)) for row in rows] == [("long hair", 3, 1.0), ("1girl", 1, 0.33)]
    assert rows[0].spellings == ("long hair", "Long_Hair") and rows[1].spellings == ()
    assert (rows[0].category, rows[1].category) == (None, "general")


@given(CAPTIONS)
def test_the_table_counts_what_a_plain_loop_counts(captions: list[str | None]) -> None:
    """For any captions, and for the tags beside any tag."""
    sets = [{tag_key(tag) for tag in split(text)} for text in captions if text is not None]
    plain = Counter(key for keys in sets for key in keys)
    table = TagTable(captions)
    assert {tag_key(row.tag): row.count for row in table.rows()} == plain
    assert len(table) == len(plain) and table.captions == len(sets)
    for wanted in plain:
        having = [keys for keys in sets if wanted in keys]
        beside = Counter(key for keys in having for key in keys if key != wanted)
        images, rows = table.together([wanted])
        assert images == len(having) and {tag_key(row.tag): row.count for row in rows} == beside


def test_tags_beside_one_that_is_not_there() -> None:
    """Nothing, and no error."""
    assert TagTable(["a, b"]).together(["c"]) == (0, [])
    assert TagTable().together(["c"]) == (0, [])
    assert TagTable().rows() == []


@pytest.mark.parametrize("tag", ["blue eyes", "hair over one eye", "fox_tail", "Cat Ears", "mole under eye", "halo"])
def test_looks_are_traits(tag: str) -> None:
    """Those of people, and those of VTubers."""
    assert is_trait(tag)


@pytest.mark.parametrize("tag", ["closed eyes", "smile", "white background", "haircut scene", "1girl", "wet hair"])
def test_moods_and_pictures_are_none(tag: str) -> None:
    """A mood ends like a trait and is none."""
    assert not is_trait(tag)


def fifty() -> list[str]:
    """48 of 50 with blue eyes, 35 with a ponytail, 20 with a ribbon in the hair; the trigger in all of them."""
    found = []
    for at in range(50):
        tags = ["rinni", "1girl", "white background"]
        tags += ["blue eyes"] * (at < 48) + ["ponytail"] * (at < 35) + ["hair ribbon"] * (at < 20) + ["hat"] * (at < 9)
        found.append(", ".join(tags))
    return found


def test_traits_are_judged_by_their_share() -> None:
    """85, 60 and 35 per cent; the sentence says how many and what leaving it means."""
    report = traits(TagTable(fifty()), "rinni")
    assert [(each.tag, each.suggestion) for each in report.traits] == [
        ("1girl", "keep"),
        ("white background", "keep"),
        ("blue eyes", "absorb"),
        ("ponytail", "consider"),
        ("hair ribbon", "keep"),
    ]
    eyes = report.traits[2]
    assert eyes.sentence.startswith("in 48 of 50 captions: after removal rinni carries it")
    assert "add pictures without it" in report.traits[1].sentence
    assert [each.tag for each in report.open] == ["blue eyes"] and not report.passes
    assert traits(TagTable(fifty()), "rinni", keep=["Blue_Eyes"]).passes


def test_a_trigger_that_is_missing_or_misspelled_stops_the_gate() -> None:
    """`rini` is a rare tag that no tagger knows; `rinnifer` is another word; a tagger's own tag is never suspected."""
    captions = ["rinni, solo"] * 20 + ["rini, solo"] + ["rinnifer, rinnie, solo, rinni"]
    report = traits(TagTable(captions, {"rinnie": "character"}), "rinni")
    assert (report.images, report.missing) == (21, 1)
    assert [row.tag for row in report.near_misses] == ["rini"]
    assert not report.passes


def test_few_captions_are_not_judged() -> None:
    """Four of four is no evidence."""
    report = traits(TagTable(["rinni, blue eyes"] * 4), "rinni")
    assert report.traits == () and report.passes
    assert not traits(TagTable(["rinni, blue eyes"] * 4), "mai").passes
    with pytest.raises(UserError, match="empty"):
        traits(TagTable(), " , ")


def write(demo: Workspace, captions: list[str]) -> None:
    """These captions in the demo's rinni, whose 24 images have one each."""
    paths = sorted((demo.train_data / "rinni" / "10_rinni").glob("*.txt"))
    for path, text in zip(paths, captions, strict=False):
        path.write_text(text, encoding="utf-8")


def test_tags_lists_counts(cli: Cli, demo: Workspace) -> None:
    """Most frequent first; `-n` shortens; the document has the promised keys."""
    write(demo, ["1girl, smile"] * 20 + ["1girl, Smile, \x1b[31mred"] * 4)
    answer = cli("tags", "rinni", "--json").json
    assert answer["captions"] == 24
    assert set(answer["tags"][0]) >= {"tag", "count", "share", "category", "suggestion"}
    assert [(row["tag"], row["count"]) for row in answer["tags"][:2]] == [("1girl", 24), ("smile", 24)]
    text = cli("tags", "rinni")
    assert "\x1b" not in text.out and "100 %" in text.out
    assert cli("tags", "rinni", "-n", 1).lines[-1] == "… and 2 more"
    beside = cli("tags", "rinni", "--with", "smile", "--json").json
    assert [row["tag"] for row in beside["tags"]] == ["1girl", "\x1b[31mred"]
    assert cli("tags", "rinni", "--with", "hat").out == "hat is in 0 captions, together with:\n"
    assert "nobody is neither a dataset nor a folder" in cli("tags", "nobody", code=1).err


def test_tags_with_a_trigger_is_a_gate(cli: Cli, demo: Workspace) -> None:
    """Exit status 1 while a trait is to be decided, 0 when it is kept or gone."""
    write(demo, ["rinni, 1girl, blue eyes"] * 24)
    answer = cli("tags", "rinni", "--trigger", "rinni", code=1)
    assert "in 24 of 24 captions: after removal rinni carries it" in answer.out
    assert "To decide: blue eyes" in answer.out
    cli("tags", "rinni", "--trigger", "rinni", "--keep", "blue_eyes")
    document = cli("tags", "rinni", "--trigger", "rinni", "--json", code=1).json
    assert document["passes"] is False
    assert [(row["tag"], row["suggestion"]) for row in document["tags"]] == [("1girl", "keep"), ("blue eyes", "absorb")]
    write(demo, ["rinni, 1girl, smile"] * 12 + ["rinni, 1girl"] * 12)
    assert cli("tags", "rinni", "--trigger", "rinni", "--json").json["passes"] is True
    write(demo, ["1girl"])
    assert "1 caption without it" in cli("tags", "rinni", "--trigger", "rinni", code=1).out


def test_a_caption_that_is_no_text_is_told(cli: Cli, demo: Workspace) -> None:
    """The others are counted; the exit status is 1."""
    broken = sorted((demo.train_data / "rinni" / "10_rinni").glob("*.txt"))[0]
    broken.write_bytes("少女".encode("shift-jis"))
    answer = cli("tags", "rinni", "--json", code=1)
    assert answer.json["captions"] == 23 and answer.json["unread"] == [demo.key_of(broken)]
    assert broken.name in answer.err
