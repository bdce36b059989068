"""Bringing images into a dataset."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from core.dataset import changes, importer
from core.dataset.edits import Journal
from core.dataset.importer import ImportProgress, plan_import, run_import
from core.problems import UserError
from core.workspace import Workspace


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (20, 30), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour if mode == "RGB" else None).save(path)
    os.utime(path, ns=(10**18, 10**18))
    return path


def bring(
    workspace: Workspace, sources: Sequence[Path | str], mode: str = "copy", repeats: int | None = None
) -> ImportProgress:
    last = None
    for last in run_import(workspace, plan_import(workspace, "rinni", sources, repeats, mode)):
        assert last.done <= last.total
    assert last is not None
    return last


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_folder_of_images_and_captions_comes_in(workspace: Workspace, source: Path) -> None:
    """Every format that kohya reads, captions beside them, change times kept; one undo takes all of it out again."""
    for name in ("a.png", "b.jpg", "c.webp", "d.bmp", "E.PNG", "f.Jpg"):
        picture(source / name)
    (source / "a.txt").write_bytes(b"caf\xe9")
    (source / "b.caption").write_bytes(b"smile")
    (source / "notes.md").write_text("not for training")
    plan = plan_import(workspace, "rinni", [source])
    assert plan.target == workspace.train_data / "rinni" / "10_rinni"
    assert not plan.target.exists()
    assert (plan.images, len(plan.steps), plan.skipped) == (6, 8, ())
    last = bring(workspace, [source])
    assert names(plan.target) == ["E.PNG", "a.png", "a.txt", "b.jpg", "b.txt", "c.webp", "d.bmp", "f.jpg"]
    assert (last.imported, last.bytes_done, last.skipped) == (6, plan.bytes, ())
    assert (plan.target / "a.png").stat().st_mtime_ns == 10**18
    assert (plan.target / "a.txt").read_bytes() == b"caf\xe9"
    assert last.group is not None
    assert (last.group.files, last.group.kind) == (8, "import")
    Journal(workspace).undo()
    assert not (workspace.train_data / "rinni").exists()
    assert len(names(source)) == 9
    assert len(names(workspace.own / "trash")) == 8
    Journal(workspace).redo()
    assert len(names(plan.target)) == 8


def test_a_second_import_brings_only_what_is_new(workspace: Workspace, source: Path) -> None:
    """Nothing is overwritten: the same file is skipped quietly, another one of that name with the remedy."""
    picture(source / "a.png")
    picture(source / "b.png")
    (source / "a.txt").write_text("one")
    bring(workspace, [source])
    picture(source / "b.png", "blue")
    picture(source / "c.png")
    (source / "a.txt").write_text("two")
    last = bring(workspace, [source])
    assert last.imported == 1
    reasons = {skipped.path.name: skipped.reason for skipped in last.skipped}
    assert reasons["a.png"] == "is there already, with the same content"
    assert "another image of that name" in reasons["b.png"]
    assert "another caption of that name" in reasons["a.txt"]
    target = workspace.train_data / "rinni" / "10_rinni"
    assert (target / "a.txt").read_text() == "one"
    nothing = bring(workspace, [source])
    assert nothing.group is None
    assert len(Journal(workspace).history()) == 2


def test_what_is_no_good_image_stays_out_with_the_reason(workspace: Workspace, source: Path) -> None:
    """Text named .png, 0 bytes, half a file, a web page: each is told, the good one comes in."""
    picture(source / "good.png")
    (source / "text.png").write_text("1girl, smile")
    (source / "empty.jpg").touch()
    (source / "page.webp").write_text("<!DOCTYPE html><html>404</html>")
    whole = picture(source / "half.jpg", size=(400, 400)).read_bytes()
    (source / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "half.txt").write_text("smile")
    (source / "photo.heic").write_bytes(b"heic")
    (source / "lonely.txt").write_text("no image")
    last = bring(workspace, [source])
    assert names(workspace.train_data) == ["good.png"]
    reasons = {skipped.path.name: skipped.reason for skipped in last.skipped}
    assert "text file" in reasons["text.png"]
    assert "0 bytes" in reasons["empty.jpg"]
    assert "web page" in reasons["page.webp"]
    assert "damaged" in reasons["half.jpg"]
    assert reasons["half.txt"] == "its image was left out"
    assert "PNG" in reasons["photo.heic"]
    assert "no image of that name" in reasons["lonely.txt"]
    assert all(str(source) not in reason for reason in reasons.values())


def test_other_formats_are_converted_and_the_originals_stay(workspace: Workspace, source: Path) -> None:
    """GIF, TIFF and TGA become PNG, a JPEG named .jfif keeps its bytes; also with --move the GIF stays."""
    picture(source / "a.gif", mode="P")
    picture(source / "b.tif", mode="CMYK")
    picture(source / "c.tga")
    Image.new("RGB", (5, 5)).save(source / "d.jfif", "JPEG")
    plan = plan_import(workspace, "rinni", [source], mode="move")
    assert any("converted to PNG" in note for note in plan.notes)
    bring(workspace, [source], "move")
    target = workspace.train_data / "rinni" / "10_rinni"
    assert names(target) == ["a.png", "b.png", "c.png", "d.jpg"]
    assert names(source) == ["a.gif", "b.tif", "c.tga"]
    for name in ("a.png", "b.png", "c.png"):
        with Image.open(target / name) as image:
            assert (image.format, image.size) == ("PNG", (20, 30))
    Journal(workspace).undo()
    assert names(source) == ["a.gif", "b.tif", "c.tga", "d.jfif"]


def test_two_images_that_would_share_a_caption_are_told(workspace: Workspace, source: Path) -> None:
    """a.png and a.jpg, or two files of one name from two folders: the first comes in, the other is named."""
    picture(source / "a.png")
    picture(source / "a.jpg", "blue")
    picture(source / "more" / "b.png")
    picture(source / "again" / "b.png", "green")
    picture(source / "same" / "b.png")
    last = bring(workspace, [source, source / "more", source / "again", source / "same"])
    assert last.imported == 2
    reasons = [skipped.reason for skipped in last.skipped]
    assert any("share the caption a.txt" in reason for reason in reasons)
    assert any("rename one of them" in reason and "more/b.png" in reason for reason in reasons)
    assert any(reason.startswith("is the same as") for reason in reasons)


def test_hard_links_share_the_bytes(workspace: Workspace, source: Path) -> None:
    """--link costs no space; editing the caption later does not touch the source."""
    picture(source / "a.png")
    (source / "a.txt").write_text("smile")
    bring(workspace, [source], "link")
    target = workspace.train_data / "rinni" / "10_rinni"
    assert (target / "a.png").samefile(source / "a.png")
    with Journal(workspace).begin("edit") as group:
        group.write(target / "a.txt", "rinni, smile")
    assert (source / "a.txt").read_text() == "smile"
    Journal(workspace).undo()
    result = Journal(workspace).undo()
    assert result.conflicts == ()
    assert names(source) == ["a.png", "a.txt"]
    assert not target.exists()


def test_links_fall_back_to_copies_and_say_so(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another disk a hard link is not possible: the file is copied, and the import says it."""
    image = picture(source / "a.png")
    real = os.link

    def link(start: Path, end: Path) -> None:
        if Path(start) == image:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(start, end)

    monkeypatch.setattr(os, "link", link)
    last = bring(workspace, [source], "link")
    assert last.imported == 1
    assert any("copied" in note for note in last.notes)
    assert not (workspace.train_data / "rinni" / "10_rinni" / "a.png").samefile(image)


def test_moved_images_go_back_on_undo(workspace: Workspace, source: Path) -> None:
    """--move empties the source, undo fills it again."""
    picture(source / "a.png")
    (source / "a.caption").write_text("smile")
    bring(workspace, [source], "move")
    assert names(source) == []
    assert names(workspace.train_data) == ["a.png", "a.txt"]
    Journal(workspace).undo()
    assert names(source) == ["a.caption", "a.png"]
    assert names(workspace.train_data) == []


def test_a_move_across_file_systems_copies_first(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is removed only when the copy is whole."""
    picture(source / "a.png")
    real = os.rename

    def rename(start: Path, end: Path) -> None:
        if Path(start).parent != Path(end).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(start, end)

    monkeypatch.setattr(os, "rename", rename)
    bring(workspace, [source], "move")
    assert (names(source), names(workspace.train_data)) == ([], ["a.png"])
    Journal(workspace).undo()
    assert (names(source), names(workspace.train_data)) == (["a.png"], [])


def test_a_link_is_copied_where_others_are_moved(workspace: Workspace, source: Path) -> None:
    """`--move` of a relative link brings the picture in and leaves the link."""
    picture(source.parent / "store" / "a.png")
    (source / "a.png").symlink_to("../store/a.png")
    done = bring(workspace, [source], "move")
    assert done.imported == 1
    with Image.open(workspace.train_data / "rinni" / "10_rinni" / "a.png") as image:
        assert image.size == (20, 30)
    assert (source / "a.png").is_symlink()


def test_a_move_from_a_read_only_place_moves_nothing(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stick that cannot be written: the copy is taken back, and the sentence says why."""
    picture(source / "a.png")

    def elsewhere(*_: object) -> None:
        raise OSError(errno.EXDEV, "elsewhere")

    def read_only(path: Path) -> None:
        raise UserError(f"Cannot write {path}: Read-only file system")

    monkeypatch.setattr(os, "rename", elsewhere)
    monkeypatch.setattr(changes, "_unlink", read_only)
    with pytest.raises(UserError, match="Read-only"):
        bring(workspace, [source], "move")
    assert (source / "a.png").exists()
    assert not (workspace.train_data / "rinni" / "10_rinni" / "a.png").exists()


def test_sources_are_files_folders_and_patterns(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quoted pattern works; folders below are named unless asked for; what does not exist is an error."""
    picture(source / "deep" / "a.png")
    picture(source / "deep" / "b.jpg")
    (source / "deep" / "a.txt").write_text("smile")
    monkeypatch.chdir(source)
    assert [step.source.name for step in plan_import(workspace, "rinni", ["deep/*"]).steps] == [
        "a.png",
        "a.txt",
        "b.jpg",
    ]
    shallow = plan_import(workspace, "rinni", ["."])
    assert shallow.steps == ()
    assert "only folders" in shallow.skipped[0].reason
    assert plan_import(workspace, "rinni", ["."], recursive=True).images == 2
    assert plan_import(workspace, "rinni", ["deep/a.png"]).images == 1
    for wrong in ("nowhere", "no*thing"):
        with pytest.raises(UserError):
            plan_import(workspace, "rinni", [wrong])


def test_repeats_and_names(workspace: Workspace, source: Path) -> None:
    """--repeats names the folder; without it the subset that is there is filled."""
    picture(source / "a.png")
    assert bring(workspace, [source], repeats=15).imported == 1
    assert plan_import(workspace, "rinni", [source]).target.name == "15_rinni"
    assert plan_import(workspace, "rinni", [source], 3).target.name == "3_rinni"
    inside = plan_import(workspace, "rinni", [workspace.train_data / "rinni" / "15_rinni"])
    assert [skipped.reason for skipped in inside.skipped] == ["lies in the dataset already"]
    for wrong in ("", "a/b", "..", ".x", "a\nb", " a", "x" * 300):
        with pytest.raises(UserError, match="cannot be the name"):
            plan_import(workspace, wrong, [source])
    with pytest.raises(UserError, match="repeats"):
        plan_import(workspace, "rinni", [source], 0)
    with pytest.raises(UserError, match="way to import"):
        plan_import(workspace, "rinni", [source], mode="steal")


def test_a_full_disk_stops_the_import_and_what_came_in_is_undoable(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at the third image: two are there, no half file, and undo takes them out."""
    for number in range(4):
        picture(source / f"{number}.png")
    real = shutil.copyfile
    count = 0

    def copyfile(start: Path, end: Path) -> object:
        nonlocal count
        count += 1
        if count == 3:
            Path(end).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(start, end)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(UserError, match="No space left") as caught:
        bring(workspace, [source])
    assert "2 images came in before" in (caught.value.hint or "")
    target = workspace.train_data / "rinni" / "10_rinni"
    assert sorted(path.name for path in target.iterdir()) == ["0.png", "1.png"]
    Journal(workspace).undo()
    assert not target.exists()


def test_an_import_that_cannot_fit_is_refused_at_once(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun when the disk is too small; a move on the same disk needs no room."""
    picture(source / "a.png")
    usage = shutil.disk_usage(source)._replace(free=10)
    monkeypatch.setattr(importer.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="are free on the disk"):
        bring(workspace, [source])
    assert Journal(workspace).history() == []
    assert bring(workspace, [source], "move").imported == 1


def test_an_import_stopped_half_way_is_one_undoable_action(workspace: Workspace, source: Path) -> None:
    """Esc during an import keeps what came in; u takes it out."""
    for number in range(3):
        picture(source / f"{number}.png")
    steps = run_import(workspace, plan_import(workspace, "rinni", [source]))
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert names(workspace.train_data) == ["0.png"]
    assert [group.state for group in Journal(workspace).history()] == ["done"]
    Journal(workspace).undo()
    assert names(workspace.train_data) == []


def test_a_damaged_avif_and_odd_exif_stay_out_without_a_word(workspace: Workspace, source: Path) -> None:
    """AVIF fails in its own way, and a cut-off TIFF warns on stderr, which would tear a full screen."""
    pytest.importorskip("PIL.AvifImagePlugin")
    for name in ("a.avif", "b.tif"):
        try:
            picture(source / name)
        except (KeyError, OSError):
            pytest.skip("this Pillow writes no AVIF")
    whole = (source / "a.avif").read_bytes()
    (source / "a.avif").write_bytes(whole.replace(b"pitm", b"pitX"))
    (source / "b.tif").write_bytes((source / "b.tif").read_bytes()[:-20])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        done = bring(workspace, [source])
    assert sorted(skip.path.name for skip in done.skipped)[0] == "a.avif"
    assert heard == []


def test_a_bomb_stays_out_without_a_word_on_stderr(
    workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that claims far too many pixels is skipped, and Pillow does not write over the screen."""
    picture(source / "large.png", size=(120, 100))
    picture(source / "huge.png", size=(300, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with warnings.catch_warnings(record=True) as seen:
        last = bring(workspace, [source])
    assert seen == []
    assert last.imported == 1
    assert "megapixels" in last.skipped[0].reason
