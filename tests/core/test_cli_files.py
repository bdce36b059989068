"""move, trash, repeats, resize, duplicates and buckets as commands."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from core.cli import files
from core.config.documents import Config
from core.workspace import Workspace
from tests.core.cli_kit import Cli


def subset(demo: Workspace) -> Path:
    return demo.train_data / "rinni" / "10_rinni"


def tree(demo: Workspace) -> dict[str, bytes]:
    """Every file of the datasets and configs."""
    return {
        str(path.relative_to(demo.root)): path.read_bytes()
        for top in (demo.train_data, demo.configs)
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def test_move_and_undo(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """Named by the shell's path or as `find` prints it; captions go along; a dry run lists all files."""
    before = tree(demo)
    key = "train_data/rinni/10_rinni/rinni_02.png"
    shown = cli("move", key, subset(demo) / "rinni_03.png", "--to", "rinni/3_alt", "--dry-run")
    assert shown.lines[0] == "2 images would be moved to train_data/rinni/3_alt"
    assert "train_data/rinni/10_rinni/rinni_02.txt" in shown.lines and tree(demo) == before
    answer = cli("move", key, "demo/train_data/rinni/10_rinni/rinni_03.png", "--to", "rinni/3_alt", "--json").json
    assert answer["changed"] == 2 and answer["files"] == 4 and answer["skipped"] == []
    assert answer["images"][0] == {"path": key, "to": "train_data/rinni/3_alt/rinni_02.png"}
    assert (demo.train_data / "rinni" / "3_alt" / "rinni_03.txt").is_file()
    cli("undo")
    assert tree(demo) == before


def test_copy_keeps_the_originals(cli: Cli, demo: Workspace) -> None:
    """A second time everything is there already or in the way: nothing is overwritten, the exit status tells."""
    before = tree(demo)
    out = cli("move", "rinni", "--to", "alt", "--copy").out
    assert out == "24 images copied to train_data/alt/10_alt\n"
    assert before.items() <= tree(demo).items() and (demo.train_data / "alt" / "10_alt").is_dir()
    again = cli("move", "rinni", "--to", "alt", "--copy", code=1)
    assert again.lines[0].startswith("0 images copied") and "is in alt/10_alt already" in again.out
    cli("undo")
    assert tree(demo) == before


def test_trash_reads_names_from_stdin(cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kohya-tui find … | kohya-tui trash -`; a caption or a file elsewhere is refused before anything is done."""
    before = tree(demo)
    keys = [demo.key_of(path) for path in sorted(subset(demo).glob("*.png"))[:3]]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(keys) + "\n\n"))
    answer = cli("trash", "-")
    assert answer.out == "3 images moved to the trash\n" and "undo brings them back" in answer.err
    assert not any(key in tree(demo) for key in keys)
    cli("undo")
    assert tree(demo) == before
    caption = subset(demo) / "rinni_02.txt"
    assert "is not an image" in cli("trash", keys[0], caption, code=1).err
    outside = shutil.copyfile(subset(demo) / "rinni_02.png", demo.root.parent / "x.png")
    assert "lies in no dataset" in cli("trash", outside, code=1).err
    assert "neither a dataset nor a folder" in cli("trash", "nobody", code=1).err
    assert "There is no image gone.png" in cli("trash", "gone.png", code=1).err
    assert tree(demo) == before


def test_images_that_a_run_reads_stay(cli: Cli, demo: Workspace) -> None:
    """While it trains; --force does it all the same; with --dry-run nobody is asked."""
    from core.runs import launch

    run = cli("train", "rinni", "--json").json["run"]
    try:
        refused = cli("trash", "rinni/10_rinni", code=1).err
        assert f"The run {run} is using rinni" in refused and "--force" in refused
        assert "is using rinni" in cli("repeats", "rinni", 5, code=1).err
        cli("trash", "rinni", "--dry-run")
        cli("trash", demo.train_data / "mika" / "10_mika" / "mika_02.png")
    finally:
        from core.runs.store import list_runs

        for live in list_runs(demo):
            launch.stop(live, "stop-now")


def test_repeats_rename_and_fix_the_config(cli: Cli, demo: Workspace) -> None:
    """image_dir and num_repeats follow; comments and the rest of the file stay; one undo takes all of it back."""
    before = tree(demo)
    path = demo.configs / "rinni" / "dataset.toml"
    assert "10_rinni" in path.read_text("utf-8") and "#" in path.read_text("utf-8")
    shown = cli("repeats", "rinni", 4, "--dry-run", "--json").json
    assert shown["configs"] == ["rinni"] and tree(demo) == before
    out = cli("repeats", "rinni", 4).lines
    assert out == ["train_data/rinni/10_rinni → train_data/rinni/4_rinni", "configs/rinni follows"]
    text = path.read_text("utf-8")
    old = before["configs/rinni/dataset.toml"].decode()
    assert text == old.replace("10_rinni", "4_rinni").replace("num_repeats = 10", "num_repeats = 4")
    assert Config.load(demo.configs / "rinni").get("dataset", "datasets[0].subsets[0].num_repeats") == 4
    cli("undo")
    assert tree(demo) == before
    path.write_text(old.replace("num_repeats = 10", "num_repeats = 3"), "utf-8")
    answer = cli("repeats", "rinni", 10, "--json").json
    assert answer["changed"] == 1 and path.read_text("utf-8") == old


def test_a_config_that_is_broken_is_told(cli: Cli, demo: Workspace) -> None:
    """The folder is renamed, the config is named, the exit status is 1."""
    path = demo.configs / "rinni" / "dataset.toml"
    path.write_text(path.read_text("utf-8") + "\n= broken", "utf-8")
    answer = cli("repeats", "rinni", 4, code=1)
    assert "names 10_rinni: change it by hand" in answer.out
    assert (demo.train_data / "rinni" / "4_rinni").is_dir()


def test_config_paths_keep_their_spelling(cli: Cli, demo: Workspace) -> None:
    """Absolute, with a slash at the end, with `./`; a folder of a similar name is left alone."""
    path = demo.configs / "rinni" / "dataset.toml"
    rows = [f"{subset(demo)}/", "./train_data/rinni/10_rinni", "train_data/rinni/10_rinni_b"]
    body = "".join(f'\n  [[datasets.subsets]]\n  image_dir = "{row}"\n  num_repeats = 4\n' for row in rows)
    path.write_text(f"[[datasets]]\nresolution = 512\n{body}", "utf-8")
    cli("repeats", "rinni", 4)
    found = [row["image_dir"] for row in Config.load(demo.configs / "rinni").plain("dataset")["datasets"][0]["subsets"]]
    assert found == [f"{subset(demo).with_name('4_rinni')}/", "./train_data/rinni/4_rinni", rows[2]]


def test_resize_scales_down_and_drops_latents(cli: Cli, demo: Workspace) -> None:
    """Only larger ones, proportions kept, never enlarged; formats stay; undo restores bytes and caches."""
    folder = demo.train_data / "big" / "1_big"
    folder.mkdir(parents=True)
    Image.new("RGB", (800, 400), "red").save(folder / "a.png")
    Image.new("RGB", (400, 900), "red").save(folder / "b.jpg", exif=Image.Exif())
    Image.new("P", (900, 900)).save(folder / "c.webp")
    Image.new("RGB", (100, 50)).save(folder / "d.png")
    Image.new("RGB", (900, 10)).save(folder / "e.bmp")
    Image.new("RGBA", (1000, 10), (1, 2, 3, 0)).save(folder / "f.png")
    (folder / "a_0800x0400_sd.npz").write_bytes(b"latents")
    (folder / "a_te_outputs.npz").write_bytes(b"text")
    (folder / "a.txt").write_text("red")
    before = tree(demo)
    shown = cli("resize", "big", "--max-side", 400, "--dry-run", code=1)
    assert shown.lines[0] == "4 of 6 images are larger than 400 pixels"
    assert "train_data/big/1_big/a.png  800×400 → 400×200" in shown.lines and "e.bmp: BMP files" in shown.out
    assert tree(demo) == before
    answer = cli("resize", "big", "--max-side", 400, "--json", code=1).json
    assert answer["changed"] == 4
    sizes = {path.name: Image.open(path).size for path in folder.iterdir() if path.suffix not in {".npz", ".txt"}}
    assert sizes == {
        "a.png": (400, 200),
        "b.jpg": (178, 400),
        "c.webp": (400, 400),
        "d.png": (100, 50),
        "e.bmp": (900, 10),
        "f.png": (400, 4),
    }
    assert Image.open(folder / "f.png").mode == "RGBA"
    assert not (folder / "a_0800x0400_sd.npz").exists() and (folder / "a_te_outputs.npz").exists()
    assert cli("resize", folder / "a.png", "--max-side", 400).lines == ["0 of 1 image are larger than 400 pixels"]
    cli("undo")
    assert tree(demo) == before


def test_duplicates_and_their_trash(cli: Cli, demo: Workspace) -> None:
    """The largest first; only with --trash anything is moved, and undo brings it back."""
    folder = demo.train_data / "dup" / "1_dup"
    folder.mkdir(parents=True)
    image = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(image).ellipse((40, 90, 200, 280), fill="navy")
    image.resize((150, 150)).save(folder / "small.png")
    image.save(folder / "large.png")
    shutil.copyfile(folder / "large.png", folder / "twin.png")
    (folder / "small.txt").write_text("1girl")
    before = tree(demo)
    answer = cli("duplicates", "dup", "--json").json
    assert answer["groups"] == [[f"train_data/dup/1_dup/{name}.png" for name in ("large", "twin", "small")]]
    assert answer["details"][0][1]["same"] is True and answer["changed"] == 0
    assert cli("duplicates", "dup", "--exact", "--json").json["groups"][0][1:] == ["train_data/dup/1_dup/twin.png"]
    assert "1 group, 2 images beside the ones to keep" in cli("duplicates", "dup").out
    assert tree(demo) == before
    assert "2 images moved to the trash" in cli("duplicates", "dup", "--trash").out
    assert {path.name for path in folder.iterdir()} == {"large.png"}
    cli("undo")
    assert tree(demo) == before
    (folder / "bad.png").write_bytes(b"no")
    assert "bad.png" in cli("duplicates", "dup", code=1).out
    assert "0 groups" in cli("duplicates", "mika").out


def test_buckets_under_a_config(cli: Cli, demo: Workspace) -> None:
    """That of the dataset's name is taken; the numbers are those of `plan`; small buckets are flagged."""
    answer = cli("buckets", "rinni", "--json").json
    plan = cli("plan", "rinni", "--json").json
    assert answer["config"] == "rinni"
    assert sum(row["repeats"] for row in answer["buckets"]) == plan["repeats"]
    assert len(answer["images"]) == plan["images"]
    assert set(answer["images"][0]) == {"path", "bucket", "scale", "cropped"}
    config = Config.load(demo.configs / "rinni")
    config.set("dataset", "datasets[0].batch_size", 1000)
    config.save()
    assert "fewer than a batch of 1000" in cli("buckets", "rinni").out
    assert "No config trains on mika" in cli("buckets", "mika", code=1).err
    assert "does not train on train_data/mika" in cli("buckets", "mika", "--config", "rinni", code=1).err
    assert "no dataset 'nobody'" in cli("buckets", "nobody", code=1).err


def test_buckets_without_a_config(cli: Cli, demo: Workspace) -> None:
    """A resolution is enough; images that cannot be read are told."""
    folder = demo.train_data / "odd" / "3_odd"
    folder.mkdir(parents=True)
    Image.new("RGB", (512, 512)).save(folder / "a.png")
    Image.new("RGB", (3000, 400)).save(folder / "b.png")
    answer = cli("buckets", "odd", "--resolution", "512", "--json").json
    assert answer["images"][0] == {
        "path": "train_data/odd/3_odd/a.png",
        "bucket": [512, 512],
        "scale": 1.0,
        "cropped": 0.0,
    }
    assert answer["images"][1]["cropped"] > 0
    assert {"width": 512, "height": 512, "images": 1, "repeats": 3, "small": False, "dataset": ""} in answer["buckets"]
    assert "train_data/odd/3_odd/b.png" in cli("buckets", "odd", "--resolution", "768x512", "--images").out
    cli("buckets", "odd", "--resolution", "huge", code=2)
    (folder / "c.png").write_bytes(b"no image")
    assert "c.png: its size cannot be read" in cli("buckets", "odd", "--resolution", "512", code=1).out


def test_no_image_is_wrong_usage(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty pipe moves nothing."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "No image is named" in cli("trash", "-", code=2).err
    assert files.PANEL == "Dataset"
