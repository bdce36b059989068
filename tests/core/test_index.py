"""A dataset in columns: read, kept, changed, and read again only where it changed."""

from __future__ import annotations

import os
import random
import shutil
import string
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset import captions, index_cache, reading_process
from core.dataset.chunks import Chunk, Names, Words
from core.dataset.filters import select
from core.dataset.index import Index, read_index
from core.dataset.reading import read
from core.dataset.scan import open_dataset
from core.workspace import Workspace
from tests.core.index_kit import draw

MANY = 2300


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def many(workspace: Workspace, count: int = MANY) -> Path:
    """A dataset that is large enough to be read by a process of its own and to be kept."""
    folder = workspace.train_data / "big" / "10_big"
    chance = random.Random(1)
    for number in range(count):
        tags = ["rinni", *("".join(chance.choices(string.ascii_lowercase, k=2)) for _ in range(5))]
        draw(folder / f"img{number}.png", None if number % 100 == 7 else ", ".join(tags))
    return folder


def same(index: Index, other: Index) -> bool:
    return (
        index.names == other.names
        and index.texts == other.texts
        and [index.tags(number) for number in range(len(index))] == [other.tags(number) for number in range(len(other))]
        and index.tag_counts() == other.tag_counts()
        and index.sizes == other.sizes
        and index.flags == other.flags
    )


def test_what_is_read_is_what_the_files_say(workspace: Workspace) -> None:
    """Order, links, odd names, encodings, broken images: as a scan and the caption reader have them."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    draw(folder / "img10.png", "rinni, solo\n", (512, 768))
    draw(folder / "img2.png", b"\xef\xbb\xbfrinni,smile")
    draw(folder / "new\nline [red]\x1b[31m.png", "a\x00b, c")
    draw(folder / "画像.png", "A girl, in the rain.\nAnd a line below")
    draw(folder / "cp932.png", "猫".encode("cp932"))
    draw(folder / "none.png")
    draw(folder / "empty.png", " , \n")
    draw(folder / "huge.png", "tag, " * 40_000, (50_000, 50_000))
    (folder / "broken.png").write_text("no picture")
    (folder / "zero.png").touch()
    (folder / "link.png").symlink_to(folder / "img2.png")
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "none2.txt")
    (workspace.train_data / "rinni" / "2_close").mkdir()
    index = read_index(workspace, "rinni")
    items = open_dataset(workspace, "rinni").items
    assert index.names == [item.name for item in items]
    for number, item in enumerate(items):
        assert index.item(number) == item
        assert index.id_of(item.path) == number == index.id_of(item.caption_path)
        if item.name == "cp932.png":
            assert index.caption(number) is None and "not UTF-8" in str(index.error(number))
        else:
            assert (index.caption(number) or "") == captions.read(item.caption_path)
            assert index.tags(number) == captions.split(captions.read(item.caption_path))
    sizes = {name: index.size(number) for number, name in enumerate(index.names)}
    assert sizes["img10.png"] == (512, 768) and sizes["broken.png"] is None and sizes["zero.png"] is None
    assert {index.names[number] for number in index.suspects} == {"cp932.png", "broken.png", "zero.png", "huge.png"}
    assert any("lost.png" in problem.where for problem in index.problems)
    assert index.untagged == sum(map(index.is_untagged, range(len(index)))) == 5


def test_a_process_of_its_own_reads_the_same(workspace: Workspace) -> None:
    """Large or small, first or second start, here or by pipe: one and the same dataset."""
    folder = many(workspace)
    assert reading_process.is_large(folder.parent)
    here = Index(workspace, "big")
    for piece in read(workspace, "big", cached=False):
        here.add(piece)
    first, again = read_index(workspace, "big"), read_index(workspace, "big")
    assert len(here) == here.read == MANY
    assert same(here, first) and same(here, again)


def test_only_what_changed_is_read_again(workspace: Workspace) -> None:
    """Edits, new, renamed and deleted files: the second start says what the files say now."""
    folder = many(workspace)
    first = read_index(workspace, "big")
    untouched = (folder / "img700.txt").stat()
    (folder / "img700.txt").write_text("x" * untouched.st_size)  # same size; the time gives it away
    (folder / "img5.txt").unlink()
    draw(folder / "img3b.png", "something new, rinni")
    (folder / "img900.png").unlink()
    (folder / "img901.png").rename(folder / "zzz.png")
    again = read_index(workspace, "big")
    place = {name: number for number, name in enumerate(again.names)}
    assert len(again) == len(first)
    assert again.tags(place["img700.png"]) == ["x" * untouched.st_size]
    assert again.caption(place["img5.png"]) is None and again.is_untagged(place["img5.png"])
    assert again.tags(place["img3b.png"]) == ["something new", "rinni"]
    assert "img900.png" not in place and "img901.png" not in place and again.caption(place["zzz.png"]) is None
    assert select(again, 'tag:"something new"') == [place["img3b.png"]]
    for number in range(0, len(again), 97):
        path = again.caption_path(number)
        assert (again.caption(number) or "") == captions.read(path)
    assert same(again, read_index(workspace, "big"))


@pytest.mark.parametrize("harm", ["cut", "flip", "text", "gone"])
def test_a_damaged_cache_is_no_cache(workspace: Workspace, harm: str) -> None:
    """Cut off, a bit flipped, something else, deleted: read anew, and the same."""
    folder = many(workspace, 1200)
    first = read_index(workspace, "big")
    cache = index_cache.cache_file(workspace, folder.parent)
    data = cache.read_bytes()
    if harm == "gone":
        shutil.rmtree(cache.parent)
    elif harm == "flip":
        at = data.index(b"img600.png")
        at = data.index(b"rinni", at + 5000)
        cache.write_bytes(data[:at] + b"RINNI" + data[at + 5 :])
    else:
        cache.write_bytes(data[: len(data) // 2] if harm == "cut" else b"no database")
    assert same(first, read_index(workspace, "big"))


def test_a_small_dataset_is_not_kept(workspace: Workspace) -> None:
    """Nothing is written for what is read in a moment."""
    folder = many(workspace, 20)
    read_index(workspace, "big")
    assert not index_cache.cache_file(workspace, folder.parent).exists()


def test_a_reader_that_is_ended_is_told(workspace: Workspace) -> None:
    """What came until then stays; a problem says that it is not all."""
    many(workspace, 6000)
    index = Index(workspace, "big")
    is_killed = False
    for piece in reading_process.following(workspace, "big"):
        index.add(piece)
        if index.read and not is_killed:
            is_killed = True
            for child in readers():
                child.kill()
    assert 0 < index.read < len(index) == 6000
    assert index.problems[-1].code == "KT111" and "was not read to its end" in index.problems[-1].message


def test_a_caller_that_stops_ends_the_reader(workspace: Workspace) -> None:
    """Another dataset is opened, the app is left: no process stays behind."""
    many(workspace)
    for _ in reading_process.following(workspace, "big"):
        assert readers()
        break
    for _ in reading_process.following(workspace, "big", lambda: False):
        pytest.fail("nothing was wanted")
    assert not readers()


def readers() -> list[psutil.Process]:
    """Processes that read a dataset for this one."""
    return [each for each in psutil.Process().children() if "core.dataset.reading_process" in each.cmdline()]


def test_a_change_is_followed_by_every_answer(workspace: Workspace) -> None:
    """Tags, texts, counts and numbers of images whose caption was written."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    for number in range(4):
        draw(folder / f"{number}.png", "rinni, solo")
    index = read_index(workspace, "rinni")
    assert select(index, "tag:solo") == [0, 1, 2, 3] and index.tag_counts()["solo"] == 4
    index.put(1, "rinni, Blue Eyes, standing", (64, 64))
    index.put(2, None, (64, 64))
    index.put(3, None, None, "The caption cannot be read")
    assert select(index, "tag:solo") == [0] and select(index, "tag:blue_eyes") == [1]
    assert select(index, "stand") == [1] and select(index, "tags:3") == [1] and select(index, "pos(standing):3") == [1]
    assert select(index, "is:untagged") == [2] and select(index, "is:broken") == [3] and index.untagged == 1
    assert select(index, "tokens:>5") == [1]
    assert index.tag_counts() == {"rinni": 2, "solo": 1, "Blue Eyes": 1, "standing": 1}
    assert index.error(3) == "The caption cannot be read" and index.suspects == {3}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
tags = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), min_size=1, max_size=20)


@given(st.lists(tags), st.lists(st.tuples(texts, st.integers(0, 1 << 30), st.integers(0, 63)), min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_pieces_survive_the_pipe(words: list[str], rows: list[tuple[str, int, int]]) -> None:
    """Any names and captions come out as they went in."""
    from array import array

    names = tuple(f"{number}\n\udcff.png" for number in range(len(rows)))
    assert Words.unpacked(Words(tuple(words)).packed()) == Words(tuple(words))
    listed = Names(3, names, bytes(number % 2 for number in range(len(rows))))
    assert Names.unpacked(listed.packed()) == listed
    counts = array("I", (number % 3 for number in range(len(rows))))
    chunk = Chunk(
        2,
        names,
        array("q", (value for _, size, _ in rows for value in (size << 20, size, -1, 0))),
        array("i", (value for _, size, _ in rows for value in (size, size // 2))),
        bytearray(flag for *_, flag in rows),
        [text for text, *_ in rows],
        counts,
        array("I", range(sum(counts))),
    )
    back = Chunk.unpacked(chunk.packed())
    for field in ("subset", "names", "stamps", "sizes", "flags", "texts", "counts", "tags"):
        assert getattr(back, field) == getattr(chunk, field)
    assert Chunk.head_unpacked(chunk.head_packed()) == (names, chunk.stamps)
