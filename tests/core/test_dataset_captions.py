"""The tag grammar, the trigger word and caption files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset.captions import (
    CaptionError,
    clean_tag,
    first_line,
    join,
    read,
    same_tag,
    split,
    tag_key,
    text_with_tags,
    with_trigger,
)
from core.dataset.edits import Journal
from core.dataset.scan import open_dataset
from core.dataset.stats import summary, tag_counts
from core.dataset.trigger import set_trigger
from core.problems import Severity, UserError
from core.tagging.options import TagRequest
from core.workspace import Workspace

TEXTS = st.text(alphabet=st.sampled_from("aB_ ,\n\r\té1ユ(:\\") | st.characters(codec="utf-8"), max_size=60)
VISIBLE = TEXTS.map(lambda text: "".join(char for char in text if unicodedata.category(char) != "Cc" or char.isspace()))
TAGS = st.lists(VISIBLE.map(lambda text: clean_tag(text.replace(",", " "))).filter(bool), max_size=8)
WORDS = st.sampled_from(["rinni", "Rinni Blade", "rinni, 1girl", "b_a"])


@settings(deadline=None)
@given(TAGS)
def test_joined_tags_split_into_the_same_tags(tags: list[str]) -> None:
    """What is written is what is read."""
    assert split(join(tags)) == tags


@settings(deadline=None)
@given(TEXTS)
def test_text_that_was_not_edited_is_not_rewritten(text: str) -> None:
    """Saving the same tags leaves spacing, further lines and line ends alone."""
    if all(clean_tag(tag) == tag for tag in split(text)):
        assert text_with_tags(text, split(text)) == text
    assert text.startswith(first_line(text))
    assert not set(first_line(text)) & {"\n", "\r"}


@settings(deadline=None)
@given(TEXTS, TAGS)
def test_new_tags_replace_the_first_line_only(text: str, tags: list[str]) -> None:
    """The other lines of a caption survive an edit of its tags."""
    edited = text_with_tags(text, tags)
    assert split(edited) == tags
    assert edited[len(first_line(edited)) :] == text[len(first_line(text)) :]


@settings(deadline=None)
@given(TEXTS, WORDS)
def test_the_trigger_is_first_once_and_the_rest_is_kept(text: str, word: str) -> None:
    """The trigger stands first, exactly once, every other tag keeps its place, and a second time changes nothing."""
    edited = with_trigger(text, word)
    wanted = split(word)
    keys = set(map(tag_key, wanted))
    assert split(edited)[: len(wanted)] == wanted
    assert split(edited)[len(wanted) :] == [tag for tag in split(text) if tag_key(tag) not in keys]
    assert edited[len(first_line(edited)) :] == text[len(first_line(text)) :]
    assert with_trigger(edited, word) == edited


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "rinni"),
        ("rinnifer, smile", "rinni, rinnifer, smile"),
        ("rinni, smile", "rinni, smile"),
        ("rinni,smile", "rinni,smile"),
        ("Rinni, smile", "rinni, smile"),
        ("smile, RINNI, 1girl, rinni", "rinni, smile, 1girl"),
        ("smile,1girl", "rinni, smile,1girl"),
        ("smile\r\na second line, rinni", "rinni, smile\r\na second line, rinni"),
        ("\nbelow", "rinni\nbelow"),
        ("A girl, who smiles.  Twice.", "rinni, A girl, who smiles.  Twice."),
        (", smile,, ", "rinni, smile"),
    ],
)
def test_trigger_examples(text: str, expected: str) -> None:
    """Compared as a tag and not as a prefix."""
    assert with_trigger(text, "rinni") == expected


def test_a_trigger_of_several_tags() -> None:
    """Character and class word go together to the front."""
    assert with_trigger("1girl, solo, rinni_blade", "rinni blade, 1girl") == "rinni blade, 1girl, solo"
    for word in ("", "  ", ",", "a\nb"):
        with pytest.raises(UserError):
            with_trigger("x", word)


def test_what_is_the_same_tag() -> None:
    """Case and underscores do not make another tag, a longer word does."""
    assert same_tag("Long_Hair", " long hair")
    assert not same_tag("rinni", "rinnifer")
    assert not same_tag("^_^", ">_<")


def test_caption_files_of_every_kind_are_read(tmp_path: Path) -> None:
    """BOM, CRLF, no bytes and no file are read; what is not UTF-8 is named with its remedy."""
    path = tmp_path / "a.txt"
    assert read(path) == ""
    path.write_bytes(b"")
    assert read(path) == ""
    path.write_bytes(b"\xef\xbb\xbfa, b\r\nc")
    assert read(path) == "a, b\r\nc"
    assert split(read(path)) == ["a", "b"]
    path.write_bytes("日本".encode("cp932"))
    with pytest.raises(CaptionError, match=r"a\.txt is not UTF-8") as caught:
        read(path)
    assert "iconv" in (caught.value.hint or "")
    path.write_bytes("tag".encode("utf-16"))
    with pytest.raises(CaptionError, match="UTF-16"):
        read(path)
    with pytest.raises(CaptionError, match="Is a directory"):
        read(tmp_path)


def fill(workspace: Workspace, captions: dict[str, bytes | None]) -> Path:
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for stem, data in captions.items():
        (folder / f"{stem}.png").write_bytes(b"image")
        if data is not None:
            (folder / f"{stem}.txt").write_bytes(data)
    return folder


def test_control_characters_are_refused(workspace: Workspace) -> None:
    """Esc in a trigger word or a new tag: a sentence that names it; what stands in a caption already may stay."""
    for word in ("rin\x1b[31mni", "a, b\x08", "\x9bm"):
        with pytest.raises(UserError, match=r"has a control character in it \(U\+00"):
            with_trigger("1girl", word)
        with pytest.raises(UserError, match="control character"):
            text_with_tags("1girl", ["1girl", word])
        with pytest.raises(UserError, match="control character"):
            TagRequest("rinni", trigger=word).run_spec(workspace)
    assert text_with_tags("a\x1bb, 1girl", ["1girl", "a\x1bb"]) == "1girl, a\x1bb"


def test_the_trigger_word_of_a_whole_dataset(workspace: Workspace) -> None:
    """Every caption gets the word once; what cannot be read is told and left; one undo takes it all back."""
    captions = {
        "crlf": b"1girl, Rinni\r\nprose stays\r\n",
        "empty": b"",
        "bom": b"\xef\xbb\xbfrinni, smile",
        "right": b"rinni,smile",
        "latin": b"caf\xe9, smile",
        "none": None,
    }
    folder = fill(workspace, captions)
    (folder / "right.jpg").write_bytes(b"shares the caption")
    result = set_trigger(workspace, "rinni", "rinni")
    assert (result.changed, result.unchanged) == (3, 1)
    assert (folder / "crlf.txt").read_bytes() == b"rinni, 1girl\r\nprose stays\r\n"
    assert (folder / "empty.txt").read_bytes() == b"rinni"
    assert (folder / "bom.txt").read_bytes() == b"rinni, smile"
    assert (folder / "latin.txt").read_bytes() == captions["latin"]
    assert not (folder / "none.txt").exists()
    assert sorted((problem.severity, problem.code) for problem in result.problems) == [
        (Severity.ERROR, "KT120"),
        (Severity.WARNING, "KT121"),
    ]
    assert result.group is not None
    assert result.group.kind == "trigger"
    again = set_trigger(workspace, open_dataset(workspace, "rinni"), "rinni")
    assert (again.changed, again.unchanged, again.group) == (0, 4, None)
    Journal(workspace).undo()
    for stem, data in captions.items():
        if data is not None:
            assert (folder / f"{stem}.txt").read_bytes() == data


def test_numbers_about_captions() -> None:
    """A tag counts once a caption, under the spelling that is used most."""
    captions = ["Long_Hair, smile", "long hair, long hair", "long hair", "", "smile\nsmile, other"]
    assert tag_counts(captions) == {"long hair": 3, "smile": 2}
    facts = summary(captions)
    assert (facts.captions, facts.empty, facts.tags, facts.distinct, facts.fewest, facts.most) == (5, 1, 6, 2, 1, 2)
    assert facts.mean == 1.5
    assert summary([]).mean == 0
