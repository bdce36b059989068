"""Images that viewers turn are saved so, with real pictures, and come back byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from core.dataset.edits import Journal
from core.dataset.upright import plan_upright, run_upright, summary
from core.workspace import Workspace
from tests.core.cli_kit import Cli

GOOD = Path(__file__).parent.parent / "data" / "goldens" / "images" / "good"
TURNED = ("exif_orient3.jpg", "exif_orient5.jpg", "exif_orient6.jpg", "exif_orient6.png", "exif_orient8.jpg")


@pytest.fixture
def subset(workspace: Workspace) -> Path:
    """Five pictures that viewers turn, and three that they do not."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for name in (*TURNED, "rgb_square.jpg", "all_black.png", "anim.webp"):
        shutil.copyfile(GOOD / name, folder / name)
    return folder


def orientation(path: Path) -> int:
    with Image.open(path) as image:
        return int(image.getexif().get(0x0112, 1))


def seen(path: Path) -> Image.Image:
    """The picture as a viewer shows it."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def distance(a: Image.Image, b: Image.Image) -> float:
    """The mean difference of two pictures of one size, of 255."""
    import numpy as np

    assert a.size == b.size
    return float(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean())


def turn(workspace: Workspace, target: str = "rinni") -> tuple[int, tuple[tuple[Path, str], ...]]:
    *_, last = run_upright(workspace, plan_upright(workspace, target))
    return last.turned, last.skipped


def test_pictures_look_the_same_and_need_no_turning(workspace: Workspace, subset: Path) -> None:
    """Each looks as before in a viewer, and now also to the trainer; the other pictures keep every byte."""
    before = {path.name: path.read_bytes() for path in subset.iterdir()}
    shown = {name: seen(subset / name) for name in TURNED}
    plan = plan_upright(workspace, "rinni")
    assert [item.path.name for item in plan.images] == list(TURNED)
    assert summary(plan).startswith("5 of 8 images are turned by viewers")
    assert turn(workspace) == (5, ())
    for name in TURNED:
        with Image.open(subset / name) as image:
            assert orientation(subset / name) == 1
            assert image.convert("RGB").size == shown[name].size
            assert distance(image.convert("RGB"), shown[name]) <= (0 if name.endswith(".png") else 2.0)
    untouched = set(before) - set(TURNED)
    assert all((subset / name).read_bytes() == before[name] for name in untouched)
    assert sorted(path.name for path in subset.iterdir()) == sorted(before)
    assert plan_upright(workspace, "rinni").images == ()


def test_undo_brings_the_old_files_back_and_redo_the_new_ones(workspace: Workspace, subset: Path) -> None:
    """One group for all of them; every byte as before, as often as one likes."""
    before = {path.name: path.read_bytes() for path in subset.iterdir()}
    turn(workspace)
    after = {path.name: path.read_bytes() for path in subset.iterdir()}
    journal = Journal(workspace)
    (group,) = journal.history()
    assert (group.files, group.kind) == (5, "upright")
    for _ in range(2):
        undone = journal.undo()
        assert not undone.conflicts and undone.group.files == 5
        assert sorted(path.name for path in undone.changed) == sorted(TURNED)
        assert {path.name: path.read_bytes() for path in subset.iterdir()} == before
        assert not journal.redo().conflicts
        assert {path.name: path.read_bytes() for path in subset.iterdir()} == after


def test_a_stale_latents_cache_goes_with_the_old_picture(workspace: Workspace, subset: Path) -> None:
    """The trainer would read the picture on its side from it; an undo brings it back."""
    stale = subset / "exif_orient6_0512x0768_sdxl.npz"
    others = [subset / "exif_orient6_te_outputs.npz", subset / "exif_orient66_0512x0512_sdxl.npz"]
    for path in (stale, *others):
        path.write_bytes(b"cache")
    turn(workspace)
    assert not stale.exists() and all(path.exists() for path in others)
    Journal(workspace).undo()
    assert stale.read_bytes() == b"cache"


def test_colour_profile_quality_and_texts_stay(workspace: Workspace, subset: Path) -> None:
    """The ICC profile, the subsampling and the finer tables of a JPEG, the prompt in a PNG, the mode of each."""
    from PIL.JpegImagePlugin import get_sampling

    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera"
    with Image.open(GOOD / "icc_srgb.jpg") as image:
        profile = image.info["icc_profile"]
        image.save(subset / "fine.jpg", quality=99, subsampling=0, icc_profile=profile, exif=exif)
        image.save(subset / "coarse.jpg", quality=60, exif=exif)
        image.convert("CMYK").save(subset / "print.jpg", exif=exif)
        texts = PngInfo()
        texts.add_text("parameters", "1girl, solo")
        image.convert("P").save(subset / "palette.png", exif=exif, pnginfo=texts)
        image.save(subset / "exact.webp", lossless=True, exif=exif)
    Image.new("I;16", (30, 20), 40_000).save(subset / "deep.png", exif=exif)
    shown = {name: seen(subset / name) for name in ("palette.png", "exact.webp", "fine.jpg", "print.jpg")}
    assert turn(workspace)[1] == ()
    assert all(distance(seen(subset / name), shown[name]) == 0 for name in ("palette.png", "exact.webp"))
    assert all(distance(seen(subset / name), shown[name]) < 1.5 for name in ("fine.jpg", "print.jpg"))
    with Image.open(subset / "fine.jpg") as image:
        assert image.info["icc_profile"] == profile and get_sampling(image) == 0
        assert max(image.quantization[0]) <= 3 and image.getexif()[0x010F] == "Camera"
    with Image.open(subset / "coarse.jpg") as image:
        assert sum(image.quantization[0]) == 369
    with Image.open(subset / "print.jpg") as image:
        assert image.mode == "CMYK"
    with Image.open(subset / "palette.png") as image:
        assert image.mode == "P" and image.text["parameters"] == "1girl, solo"
    with Image.open(subset / "deep.png") as image:
        assert image.mode == "I;16" and image.size == (20, 30) and image.getpixel((0, 0)) == 40_000


def test_what_would_lose_something_is_named_and_left(workspace: Workspace, subset: Path) -> None:
    """An animation and a picture of 16 bits a colour stay as they are, with the reason."""
    exif = Image.Exif()
    exif[0x0112] = 3
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(subset / "moving.webp", save_all=True, append_images=frames[1:], exif=exif)
    deep = bytearray((GOOD / "rgb48.png").read_bytes())
    at = deep.index(b"IDAT") - 4
    (subset / "deep.png").write_bytes(deep[:at] + _chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + deep[at:])
    plan = plan_upright(workspace, "rinni")
    reasons = {path.name: reason for path, reason in plan.skipped}
    assert "animation" in reasons["moving.webp"] and "16 bits" in reasons["deep.png"]
    assert len(plan.images) == 5


def _chunk(kind: bytes, data: bytes) -> bytes:
    import struct
    import zlib

    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_damaged_picture_is_named_and_the_others_are_turned(workspace: Workspace, subset: Path) -> None:
    """Its header is fine and its end is missing: it stays, and no temporary file is left."""
    path = subset / "exif_orient8.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    turned, skipped = turn(workspace)
    assert turned == 4 and [path.name for path, _ in skipped] == ["exif_orient8.jpg"]
    assert path.read_bytes() == whole[: len(whole) // 2]
    assert not [path for path in subset.iterdir() if path.name.startswith(".")]


def test_a_full_disk_leaves_the_old_pictures(workspace: Workspace, subset: Path) -> None:
    """No picture is lost or cut off when there is no room; the command says why for each."""
    import resource

    for name in TURNED:
        with Image.open(subset / name) as image:
            image.effect_spread(40).save(subset / name, exif=image.getexif())  # nothing that packs well

    before = {path.name: path.read_bytes() for path in subset.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        turned, skipped = turn(workspace)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert turned == 0 and len(skipped) == 5 and "Cannot write" in skipped[0][1]
    assert {path.name: path.read_bytes() for path in subset.iterdir()} == before
    assert Journal(workspace).history() == []


def test_a_kill_in_the_middle_loses_no_picture(workspace: Workspace, subset: Path) -> None:
    """At any moment each name leads to a whole picture; what was turned is one undoable group at the next start."""
    before = {path.name: path.read_bytes() for path in subset.iterdir()}
    program = """
import os, sys
from pathlib import Path
from core.dataset.upright import plan_upright, run_upright
from core.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
real, calls = Path.replace, []
def replace(path, target):
    calls.append(path)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
    return real(path, target)
Path.replace = replace
for _ in run_upright(workspace, plan_upright(workspace, "rinni")):
    pass
"""
    done = subprocess.run([sys.executable, "-P", "-c", program, str(workspace.root)], check=False, timeout=60)
    assert done.returncode == -9
    names = {path.name for path in subset.iterdir() if not path.name.startswith(".")}
    assert names == set(before)
    assert sum(orientation(subset / name) > 1 for name in TURNED) == 3
    journal = Journal(workspace)
    journal.undo()
    assert {name: (subset / name).read_bytes() for name in names} == before


def test_a_link_is_replaced_and_its_picture_elsewhere_is_not(
    workspace: Workspace, subset: Path, tmp_path: Path
) -> None:
    """The picture that a link leads to may belong to another dataset: it is never written."""
    outside = tmp_path / "photo.jpg"
    shutil.copyfile(GOOD / "exif_orient6.jpg", outside)
    whole = outside.read_bytes()
    link = subset / "link.jpg"
    link.symlink_to(os.path.relpath(outside, subset))
    turn(workspace)
    assert outside.read_bytes() == whole and not link.is_symlink() and orientation(link) == 1
    Journal(workspace).undo()
    assert link.is_symlink() and link.read_bytes() == whole


def test_the_command(cli: Cli, demo: Workspace) -> None:
    """--dry-run lists and changes nothing; then one command turns them, and undo takes it back."""
    folder = demo.train_data / "mika" / "10_mika"
    shutil.copyfile(GOOD / "exif_orient6.jpg", folder / "photo.jpg")
    whole = (folder / "photo.jpg").read_bytes()
    listed = cli("upright", "mika", "--dry-run")
    assert "train_data/mika/10_mika/photo.jpg (on its side)" in listed.out
    assert (folder / "photo.jpg").read_bytes() == whole
    answer = cli("upright", "mika", "--json").json
    assert answer["turned"] == 1 and answer["skipped"] == []
    assert answer["images"] == [{"path": "train_data/mika/10_mika/photo.jpg", "orientation": 6}]
    assert orientation(folder / "photo.jpg") == 1
    assert "0 of 13 images are turned" in cli("upright", "mika").out
    cli("undo")
    assert (folder / "photo.jpg").read_bytes() == whole
