"""The tags of an open dataset, counted from its columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset import kept_tags
from core.dataset.completion import Entry, Source
from core.dataset.edits import Journal
from core.dataset.index import read_index
from core.dataset.tag_columns import IndexedTags
from core.dataset.tag_table import TagTable
from core.dataset.tokens import count_tokens, tag_ends
from core.workspace import Workspace

CAPTIONS = ["rinni, 1girl, Blue_Eyes", "rinni, blue eyes, blue_eyes, ,", None, "", "rinni, 1girl\nmore", "1girl,1girl"]


def _folder(workspace: Workspace, captions: Sequence[str | None]) -> Path:
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for number, caption in enumerate(captions):
        (folder / f"{number}.png").write_bytes(b"")
        if caption is not None:
            (folder / f"{number}.txt").write_text(caption, "utf-8")
    return folder


def test_the_columns_count_as_the_captions_do(workspace: Workspace) -> None:
    """Also after some of them changed: each tag once an image, spellings of one tag together."""
    _folder(workspace, CAPTIONS)
    index = read_index(workspace, "rinni")
    captions = list(CAPTIONS)
    for change in (None, (0, "1girl, new tag, new tag"), (3, "blue eyes"), (1, None)):
        if change is not None:
            captions[change[0]] = change[1]
            index.put(change[0], change[1], None)
        columns, texts = IndexedTags(index), TagTable(captions)
        assert columns.captions == texts.captions
        assert [(row.tag.casefold().replace("_", " "), row.count, row.share) for row in columns.rows()] == [
            (row.tag.casefold().replace("_", " "), row.count, row.share) for row in texts.rows()
        ]
        together = columns.together(["blue eyes"])
        assert together == texts.together(["blue eyes"])
        assert columns.images_of(["Blue Eyes", "none"]) == [
            at for at, text in enumerate(captions) if text and "blue" in text.lower()
        ]


def test_a_dataset_without_captions_has_no_tags(workspace: Workspace) -> None:
    """And nothing stands together in it."""
    _folder(workspace, [None, None])
    tags = IndexedTags(read_index(workspace, "rinni"))
    assert (tags.captions, tags.rows(), tags.together(["a"]), tags.images_of(["a"])) == (0, [], (0, []), [])


def test_kept_tags_are_undone_like_any_change(workspace: Workspace) -> None:
    """They are kept for a trigger word of a dataset, however it is spelled; undo and a second one take them back."""
    kept_tags.keep(workspace, "rinni", "Rinni", "blue_eyes")
    kept_tags.keep(workspace, "rinni", "rinni", "fang")
    assert kept_tags.load(workspace, "rinni", "rinni") == {"blue eyes", "fang"}
    assert not kept_tags.load(workspace, "mika", "rinni") and not kept_tags.load(workspace, "rinni", "mika")
    Journal(workspace).undo()
    assert kept_tags.load(workspace, "rinni", "rinni") == {"blue eyes"}
    kept_tags.keep(workspace, "rinni", "rinni", "Blue eyes", kept=False)
    assert not kept_tags.load(workspace, "rinni", "rinni")
    kept_tags.kept_file(workspace).write_text("broken")
    assert not kept_tags.load(workspace, "rinni", "rinni")


def test_a_list_of_tags_tells_categories() -> None:
    """Of those that are asked for."""
    source = Source([Entry("blue_eyes", 9, "general"), Entry("rinni", 1, "character"), Entry("odd")])
    assert source.categories({"blue eyes", "odd", "other"}) == {"blue eyes": "general"}
    assert Source(()).categories({"a"}) == {}


@settings(max_examples=60, deadline=None)
@given(st.text("ab ,'!ü猫-(", max_size=60))
def test_tokens_up_to_each_tag(line: str) -> None:
    """They grow with every tag, and come to those of the whole line."""
    ends = tag_ends(line)
    tags = [part for part in line.split(",") if part.strip()]
    assert len(ends) == len(tags) and ends == sorted(ends)
    if tags:
        assert ends[-1] == count_tokens(line.rstrip(", "))


def test_counting_ends_behind_the_largest_limit() -> None:
    """A caption of 200 kB is counted as far as it can be trained on."""
    assert len(tag_ends("cat dog, " * 20_000)) == 76
