"""What a check remembers of the dataset's folders: files that did not change are not opened again."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from core.config import heads, survey, survey_store
from core.config.preflight import check_dataset
from core.config.survey import Survey
from core.workspace import Workspace
from tests.core.config_kit import picture


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """Three pictures with captions."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    for name in ("a", "b", "c"):
        picture(folder / f"{name}.png", 64, 96)
        (folder / f"{name}.txt").write_text("rinni, 1girl")
    return folder


def lines(folder: Path) -> dict[str, str]:
    found = Survey()
    facts = found.folder(folder)
    assert facts is not None
    return dict(zip(facts.images, found.captions(facts, ".txt").lines, strict=True))


def test_a_second_check_opens_no_file(folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and times are looked at; pictures and captions are read when they are new."""
    before = check_dataset(workspace, "rinni")

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"read again: {arguments}")

    monkeypatch.setattr(heads, "look", refuse)
    monkeypatch.setattr(survey, "_read", refuse)
    assert check_dataset(workspace, "rinni") == before


def test_changes_are_seen_wherever_they_come_from(folder: Path) -> None:
    """A caption written in place, a picture replaced, renamed, added and removed."""
    assert lines(folder) == {"a.png": "rinni, 1girl", "b.png": "rinni, 1girl", "c.png": "rinni, 1girl"}
    with (folder / "b.txt").open("r+") as stream:
        stream.write("other")
    os.utime(folder / "b.txt", ns=(1, 1))
    (folder / "c.txt").unlink()
    picture(folder / "aa.png", 10, 20)
    (folder / "a.png").rename(folder / "z.png")
    picture(folder / "b.png", 300, 200)
    os.utime(folder / "b.png", ns=(5, 5))
    assert lines(folder) == {"aa.png": "", "b.png": "other, 1girl", "c.png": "", "z.png": ""}
    facts = Survey().folder(folder)
    assert facts is not None
    assert [facts.size(at) for at in range(4)] == [(10, 20), (300, 200), (64, 96), (64, 96)]


def test_each_kind_of_bad_caption_is_told(folder: Path) -> None:
    """Nothing in it, not UTF-8, a mark, a blank first line, several lines, no file."""
    for name, data in {
        "a": b"",
        "b": b"caf\xe9",
        "c": b"\xef\xbb\xbf\n second",
        "d": b"one\r\ntwo",
    }.items():
        picture(folder / f"{name}.png", 8, 8)
        (folder / f"{name}.txt").write_bytes(data)
    picture(folder / "e.png", 8, 8)
    found = Survey()
    facts = found.folder(folder)
    assert facts is not None
    known = found.captions(facts, ".txt")
    wanted = [survey.EMPTY, survey.FOREIGN, survey.MARK | survey.BLANK, survey.SEVERAL, survey.MISSING]
    assert list(known.faults) == wanted


def test_large_folders_are_kept_for_the_next_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    """A new program reads what was kept; a damaged file, or one of another folder, is as good as none."""
    monkeypatch.setattr(survey_store, "LEAST", 1)
    first = Survey()
    facts = first.folder(folder)
    assert facts is not None
    first.captions(facts, ".txt")
    first.keep()
    (kept,) = (own_home / "cache" / "kohya-tui" / "checks").iterdir()
    again = survey_store.read(folder)
    assert again.images == ["a.png", "b.png", "c.png"] and again.known[".txt"].lines == ["rinni, 1girl"] * 3
    again.refresh()
    assert again.size(0) == (64, 96)
    kept.write_bytes(kept.read_bytes()[:-5] + b"xxxxx")
    assert survey_store.read(folder).images == []
    kept.write_bytes(b"not this")
    assert survey_store.read(folder).images == []


def turned(image: Image.Image, kind: str) -> bytes:
    """A picture with EXIF orientation 6, saved as `kind`."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_turned_pictures_of_each_kind(kind: str, tmp_path: Path) -> None:
    """EXIF stands elsewhere in each: behind the start, before the pixels, at the end."""
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(turned(Image.new("RGB", (40, 30), "red"), kind))
    assert heads.look_at(path) == (40, 30, 6)
    Image.new("RGB", (40, 30)).save(path, kind)
    assert heads.look_at(path) == (40, 30, 1)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"quality": 80})])
def test_alpha_channels(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    """What is transparent is told, in both kinds of WebP."""
    path = tmp_path / f"a.{kind.lower()}"
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((1, 1), (1, 2, 3, 255))
    image.save(path, kind, **options)
    assert heads.look_at(path) == (8, 8, 1 | heads.ALPHA)


def test_what_is_no_picture(tmp_path: Path) -> None:
    """An empty file, a folder, a pipe, and one that is not there have no size; nothing waits for the pipe."""
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("empty.png", "folder.png", "pipe.png", "none.png"):
        assert heads.look_at(tmp_path / name)[0] == 0
