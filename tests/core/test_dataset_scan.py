"""What is found in a dataset's folders."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from PIL import Image

from core.dataset.index import read_index
from core.dataset.model import parse_folder_name
from core.dataset.reading_process import is_large
from core.dataset.scan import image_size, open_dataset, resolve_dir, scan
from core.problems import Severity, UserError
from core.workspace import Workspace


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_images_come_in_natural_order_with_their_captions(workspace: Workspace) -> None:
    """img2 stands before img10, subset 2_ before 10_; each image knows whether a caption is there."""
    root = workspace.train_data / "rinni"
    for name in ("10_rinni/img10.png", "10_rinni/img2.PNG", "2_close/ü [red].webp", "2_close/two.dots.jpg"):
        touch(root / name)
    touch(root / "10_rinni" / "img2.txt")
    touch(root / "2_close" / "two.dots.txt")
    data = open_dataset(workspace, "rinni")
    assert [(item.subset, item.name, item.has_caption) for item in data.items] == [
        ("2_close", "two.dots.jpg", True),
        ("2_close", "ü [red].webp", False),
        ("10_rinni", "img2.PNG", True),
        ("10_rinni", "img10.png", False),
    ]
    assert [(subset.name, subset.repeats, subset.class_name) for subset in data.subsets] == [
        ("2_close", 2, "close"),
        ("10_rinni", 10, "rinni"),
    ]
    first = data.items[0]
    assert first.caption_path == root / "2_close" / "two.dots.txt"
    assert first.key(workspace) == "train_data/rinni/2_close/two.dots.jpg"
    assert (first.bytes, first.mtime_ns) == (1, first.path.stat().st_mtime_ns)
    assert data.uncaptioned == 2
    assert data.problems == ()


def test_an_import_is_promised_only_where_it_helps(workspace: Workspace) -> None:
    """Formats that sd-scripts ignores are one line, those that Pillow reads and those that it does not."""
    for name in ("a.png", "b.gif", "c.heic", "d.Png"):
        touch(workspace.train_data / "rinni" / "10_rinni" / name)
    problems = {problem.code: problem for problem in open_dataset(workspace, "rinni").problems}
    assert "2 images in a format that sd-scripts ignores: b.gif, c.heic" in problems["KT108"].message
    assert "says which it cannot read" in (problems["KT108"].hint or "")
    assert "d.Png" in problems["KT107"].message


def test_a_link_in_a_circle_does_not_close_the_dataset(workspace: Workspace) -> None:
    """`ln -s x x` beside the subsets and inside one: everything else is found."""
    root = workspace.train_data / "rinni"
    touch(root / "10_rinni" / "a.png")
    for folder in (root, root / "10_rinni"):
        (folder / "circle").symlink_to("circle")
    assert [item.name for item in open_dataset(workspace, "rinni").items] == ["a.png"]


def test_folders_that_hold_no_training_images_are_known_for_what_they_are(workspace: Workspace) -> None:
    """Backups, NAS thumbnails and samples are named and left out; a folder without repeats is kept and flagged."""
    root = workspace.train_data / "rinni"
    touch(root / "10_rinni" / "a.png")
    for aside in ("10_rinni/backup_captions/a.png", "@eaDir/a.png", "sample/a.png", ".hidden/a.png", "empty/a.txt"):
        touch(root / aside)
    touch(root / "10_rinni" / "inner" / "b.png")
    touch(root / "closeups" / "c.png")
    touch(root / "0_off" / "d.png")
    data = open_dataset(workspace, "rinni")
    assert [item.path.relative_to(root).as_posix() for item in data.items] == [
        "0_off/d.png",
        "10_rinni/a.png",
        "10_rinni/inner/b.png",
        "closeups/c.png",
    ]
    told = {(problem.code, Path(problem.where).name, problem.severity) for problem in data.problems}
    assert told == {
        ("KT102", "0_off", Severity.WARNING),
        ("KT103", "closeups", Severity.WARNING),
        ("KT104", "backup_captions", Severity.INFO),
        ("KT104", "@eaDir", Severity.INFO),
        ("KT104", "sample", Severity.INFO),
        ("KT110", "inner", Severity.WARNING),
    }


def test_folders_at_any_depth_are_subsets_of_their_own(workspace: Workspace) -> None:
    """`10_rinni/poses/2_sitting`: browsed as others are, with the repeats of what holds them, and told what sd-scripts
    does; a group of subsets, names in any script, numbers as a person counts.
    """
    root = workspace.train_data / "rinni"
    for place in (
        "10_rinni/a.png",
        "10_rinni/poses/b.png",
        "10_rinni/poses/2_sitting/c.png",
        "10_rinni/empty/notes.txt",
        "10_rinni/bild 10/d.png",
        "10_rinni/bild 9/e.png",
        "10_rinni/画像 ✱/f.png",
        "outfits/5_summer/g.png",
        "outfits/.hidden/x.png",
        "outfits/backup/x.png",
    ):
        touch(root / place)
    wanted = [
        ("10_rinni", 10, "rinni"),
        ("10_rinni/bild 9", 10, "rinni"),
        ("10_rinni/bild 10", 10, "rinni"),
        ("10_rinni/poses", 10, "rinni"),
        ("10_rinni/poses/2_sitting", 2, "sitting"),
        ("10_rinni/画像 ✱", 10, "rinni"),
        ("outfits/5_summer", 5, "summer"),
    ]
    data = open_dataset(workspace, "rinni")
    assert [(subset.name, subset.repeats, subset.class_name) for subset in data.subsets] == wanted
    assert [item.name for item in data.items] == [f"{letter}.png" for letter in "aedbcfg"]
    index = read_index(workspace, "rinni")
    assert index.subsets == data.subsets
    assert [index.path(number) for number in range(len(index))] == [item.path for item in data.items]
    assert index.id_of(root / "10_rinni" / "poses" / "2_sitting" / "c.txt") == 4
    deep = [problem for problem in data.problems if problem.code == "KT110"]
    assert len(deep) == 6 and "sd-scripts does not look into" in deep[0].message
    assert sorted(problem.code for problem in index.problems) == sorted(problem.code for problem in data.problems)
    assert [path.name for path in resolve_dir(workspace, "rinni")].count("2_sitting") == 1


def test_links_to_folders_are_followed_once(workspace: Workspace, tmp_path: Path) -> None:
    """A linked folder is a subset; one that leads back up, to a neighbour, or in a circle adds nothing."""
    root, elsewhere = workspace.train_data / "rinni", tmp_path / "elsewhere"
    touch(root / "10_rinni" / "a.png")
    touch(root / "5_more" / "b.png")
    touch(elsewhere / "deep" / "c.png")
    (root / "10_rinni" / "linked").symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(elsewhere)
    (elsewhere / "deep" / "up").symlink_to(root)
    (root / "10_rinni" / "neighbour").symlink_to(root / "5_more")
    (root / "10_rinni" / "self").symlink_to("self")
    wanted = ["5_more", "10_rinni", "10_rinni/linked/deep"]
    assert [subset.name for subset in open_dataset(workspace, "rinni").subsets] == wanted
    assert [subset.name for subset in read_index(workspace, "rinni").subsets] == wanted
    assert is_large(root) is False


def test_images_beside_the_subsets_are_shown_and_flagged(workspace: Workspace) -> None:
    """Images dropped into the dataset's own folder are not lost from sight."""
    touch(workspace.train_data / "rinni" / "a.png")
    data = open_dataset(workspace, "rinni")
    assert [(item.subset, item.name) for item in data.items] == [(".", "a.png")]
    assert [problem.code for problem in data.problems] == ["KT101"]
    touch(workspace.train_data / "8_kohya" / "a.png")
    flat = open_dataset(workspace, "8_kohya")
    assert [(subset.name, subset.repeats) for subset in flat.subsets] == [("8_kohya", 8)]
    assert flat.problems == ()


def test_what_sd_scripts_would_ignore_is_told_once_a_kind(workspace: Workspace) -> None:
    """Mixed-case extensions, GIFs, shared and stale captions: one line each, however many there are."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    for name in ("a.Jpg", "b.gif", "c.png", "c.jpg", "dead.txt", "d\n.png", ".kt-temp.png", "notes.md"):
        touch(folder / name)
    (folder / "folder.png").mkdir()
    (folder / "lost.png").symlink_to(folder / "nowhere")
    (folder / "linked.png").symlink_to(folder / "c.png")
    data = open_dataset(workspace, "rinni")
    assert [item.name for item in data.items] == [
        "c.jpg",
        "c.png",
        "d\n.png",
        "linked.png",
    ]
    by_code = {problem.code: problem for problem in data.problems}
    assert set(by_code) == {"KT105", "KT106", "KT107", "KT108", "KT109"}
    assert "c.jpg and c.png" in by_code["KT106"].message
    assert "dead.txt" in by_code["KT109"].message
    assert all("\n" not in problem.message for problem in data.problems)


def test_a_large_dataset_comes_in_batches(workspace: Workspace) -> None:
    """The first rows are there before the rest is read."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for number in range(1201):
        (folder / f"{number}.png").touch()
    batches = list(scan(workspace, "rinni"))
    assert sum(len(batch.items) for batch in batches) == 1201
    assert max(len(batch.items) for batch in batches) <= 500
    names = [item.name for batch in batches for item in batch.items]
    assert names == [f"{number}.png" for number in range(1201)]


def test_an_unknown_dataset_is_answered_with_the_known_ones(workspace: Workspace) -> None:
    """A typo shows what there is."""
    touch(workspace.train_data / "rinni" / "1_rinni" / "a.png")
    for wrong in ("rini", "", "..", "rinni/1_rinni"):
        with pytest.raises(UserError) as caught:
            scan(workspace, wrong)
        assert "There are: rinni." in (caught.value.hint or "")


def test_a_folder_that_disappears_while_it_is_scanned_is_told(workspace: Workspace) -> None:
    """The rest is still listed."""
    root = workspace.train_data / "rinni"
    touch(root / "1_a" / "a.png")
    touch(root / "2_b" / "b.png")
    batches = scan(workspace, "rinni")
    assert [item.name for item in next(batches).items] == ["a.png"]
    (root / "2_b" / "b.png").unlink()
    (root / "2_b").rmdir()
    assert [problem.code for batch in batches for problem in batch.problems] == ["KT105"]


def test_a_place_is_a_dataset_a_subset_or_a_folder(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tag` takes all three."""
    touch(workspace.train_data / "rinni" / "10_rinni" / "a.png")
    touch(workspace.train_data / "rinni" / "2_close" / "a.png")
    elsewhere = touch(tmp_path / "pictures" / "a.png").parent
    monkeypatch.chdir(tmp_path)
    root = workspace.train_data / "rinni"
    assert resolve_dir(workspace, "rinni") == [root / "2_close", root / "10_rinni"]
    assert resolve_dir(workspace, "rinni/2_close") == [root / "2_close"]
    assert resolve_dir(workspace, "pictures") == [elsewhere]
    assert resolve_dir(None, str(elsewhere)) == [elsewhere]
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="no images"):
        resolve_dir(None, "bare")
    with pytest.raises(UserError, match="neither a dataset nor a folder") as caught:
        resolve_dir(workspace, "rini")
    assert "rinni" in (caught.value.hint or "")


def test_folder_names_in_kohyas_form() -> None:
    """Repeats are the number before the first underscore."""
    assert parse_folder_name("10_rinni_v2") == (10, "rinni_v2")
    assert parse_folder_name("rinni") is None
    assert parse_folder_name("_rinni") is None
    assert parse_folder_name("²_x") is None


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp", "gif", "tif"])
def test_sizes_come_from_headers(tmp_path: Path, extension: str) -> None:
    """Width and height of every format, without reading the picture."""
    path = tmp_path / f"a.{extension}"
    Image.new("RGB", (37, 91)).save(path)
    assert image_size(path) == (37, 91)


def test_sizes_of_webp_variants_and_progressive_jpeg(tmp_path: Path) -> None:
    """Lossless, lossy and extended WebP; a JPEG whose header lies behind a large comment."""
    picture = Image.new("RGBA", (50, 21), (1, 2, 3, 40))
    picture.save(tmp_path / "lossless.webp", lossless=True)
    picture.save(tmp_path / "alpha.webp")
    picture.convert("RGB").save(tmp_path / "meta.webp", exif=b"Exif\0\0" + bytes(20))
    picture.convert("RGB").save(tmp_path / "late.jpg", progressive=True, comment=b"x" * 60_000)
    for path in tmp_path.iterdir():
        assert image_size(path) == (50, 21), path.name


def test_a_size_that_cannot_be_told_is_none(tmp_path: Path) -> None:
    """Nothing, text, half a header; a huge header is believed but never decoded."""
    assert image_size(tmp_path / "missing.png") is None
    for number, data in enumerate(
        (b"", b"1girl, smile" * 9, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", os.urandom(64))
    ):
        assert image_size(touch(tmp_path / f"{number}.png", data)) is None
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0) + bytes(4)
    assert image_size(touch(tmp_path / "huge.png", header)) == (50_000, 50_000)


def test_an_empty_caption_counts_as_none(workspace: Workspace) -> None:
    """No file, nothing in it, blanks and commas: uncaptioned. One that is not UTF-8 is a problem, not a missing one."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    for number, data in enumerate([None, b"", b" ,\n", b"\xef\xbb\xbf", "猫".encode("cp932"), b"rinni"]):
        touch(folder / f"{number}.png")
        if data is not None:
            touch(folder / f"{number}.txt", data)
    assert open_dataset(workspace, "rinni").uncaptioned == 4
