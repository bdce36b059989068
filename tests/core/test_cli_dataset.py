"""demo, init, import, trigger, undo, redo, history and check as commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from core.workspace import Workspace
from tests.core.cli_kit import Cli, captions


def pictures(folder: Path, *names: str) -> Path:
    """A folder with small pictures, each with a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (64, 96), (number * 20, 80, 120)).save(folder / name)
        (folder / name).with_suffix(".txt").write_text("1girl, solo\n", encoding="utf-8")
    return folder


def test_the_demo_is_made_once_and_opened_again(bare: Cli, tmp_path: Path) -> None:
    """A second call finds the demo that is there; a folder with other things in it is refused."""
    answer = bare("demo", "there", "--no-app", "--json")
    folder = Path(answer.json["workspace"])
    assert folder == (tmp_path / "empty" / "there")
    caption = next(folder.glob("train_data/rinni/*/*.txt"))
    caption.write_text("mine", encoding="utf-8")
    assert "there" in bare("demo", "there", "--no-app").out
    assert caption.read_text("utf-8") == "mine"
    other = pictures(tmp_path / "other", "a.png")
    assert f"{other} is not empty" in bare("demo", other, "--no-app", code=1).err
    assert list(folder.glob("runs/*")) == []


def test_init_makes_a_workspace_and_keeps_what_is_there(bare: Cli, tmp_path: Path) -> None:
    """A kohya_ss folder becomes a workspace; its datasets are named, its files untouched."""
    pictures(tmp_path / "old" / "train_data" / "mai" / "10_mai", "1.png")
    answer = bare("init", tmp_path / "old", "--json").json
    assert answer == {"workspace": str(tmp_path / "old"), "datasets": ["mai"]}
    settings = tmp_path / "old" / "kohya-tui.toml"
    settings.write_text(settings.read_text() + 'tagger = "demo"\n')
    assert "Datasets found: mai" in bare("init", tmp_path / "old").out
    assert 'tagger = "demo"' in settings.read_text()
    assert "kohya-tui import NAME" in bare("init").out


def test_import_lists_its_plan_and_then_does_it(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """A dry run writes nothing; the import brings pictures and captions in; undo takes them out again."""
    source = pictures(tmp_path / "new", "b10.png", "b2.png")
    plan = cli("import", "nia", source, "--dry-run", "--repeats", 3)
    assert plan.err.startswith("copy: 2 images and 2 captions (")
    assert f"{source}/b2.png → train_data/nia/3_nia/b2.png" in plan.lines
    assert not (demo.train_data / "nia").exists()

    answer = cli("import", "nia", source, "--repeats", 3, "--json").json
    assert answer["imported"] == [f"train_data/nia/3_nia/{name}" for name in ("b2.png", "b2.txt", "b10.png", "b10.txt")]
    assert answer["skipped"] == [] and answer["dry_run"] is False
    assert (source / "b2.png").exists()

    again = cli("import", "nia", source, "--repeats", 3)
    assert (again.out, again.err) == ("2 images are there already\n", "")
    assert len(cli("import", "nia", source, "--json").json["skipped"]) == 4
    pictures(source, "c.png")
    detour = source / ".." / source.name
    some = cli("import", "nia", detour, "--dry-run").lines
    assert some == [
        f"{source}/c.png → train_data/nia/3_nia/c.png",
        f"{source}/c.txt → train_data/nia/3_nia/c.txt",
        "2 images are there already",
    ]
    assert "undone" in cli("undo").out
    assert not list(demo.train_data.glob("nia/*/*"))


def test_import_can_link_and_move(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """A hard link is the same file; a move leaves nothing behind, until it is undone."""
    source = pictures(tmp_path / "new", "a.png")
    cli("import", "one", source, "--link")
    assert (source / "a.png").samefile(demo.train_data / "one" / "10_one" / "a.png")
    cli("import", "two", source, "--move")
    assert list(source.iterdir()) == []
    cli("undo")
    assert sorted(path.name for path in source.iterdir()) == ["a.png", "a.txt"]


def test_import_says_what_it_leaves_out_and_why(cli: Cli, tmp_path: Path) -> None:
    """A text file named .png stays outside; the rest comes in; the exit status tells."""
    source = pictures(tmp_path / "new", "a.png")
    (source / "fake.png").write_text("hello")
    answer = cli("import", "nia", source, "--json", code=1).json
    (skip,) = answer["skipped"]
    assert skip["path"] == str(source / "fake.png") and "image" in skip["reason"]
    assert "train_data/nia/10_nia/a.png" in answer["imported"]
    nowhere = cli("import", "nia", tmp_path / "nowhere", code=1)
    assert str(tmp_path / "nowhere") in nowhere.err


def test_the_trigger_comes_first_once(cli: Cli, demo: Workspace) -> None:
    """`rinni` is not the prefix of `rinnifer`; a second time changes nothing; it can be undone."""
    subset = demo.train_data / "rinni" / "10_rinni"
    first, second = sorted(subset.glob("*.txt"))[:2]
    first.write_text("rinnifer, 1girl\n", encoding="utf-8")
    second.write_text("1girl, Rinni, solo\nA second line.\n", encoding="utf-8")
    before = captions(demo, "rinni")
    answer = cli("trigger", "rinni", "rinni", "--json").json
    assert (answer["changed"], answer["unchanged"]) == (2, len(before) - 2)
    assert first.read_text() == "rinni, rinnifer, 1girl\n"
    assert second.read_text() == "rinni, 1girl, solo\nA second line.\n"
    assert cli("trigger", "rinni", "rinni").out == f"0 captions changed, {len(before)} already right\n"
    cli("undo")
    assert captions(demo, "rinni") == before
    assert "mika" in cli("trigger", "nobody", "x", code=1).err


def test_a_caption_that_is_not_utf_8_is_named_and_left_alone(cli: Cli, demo: Workspace) -> None:
    """The others are changed; the exit status is 1."""
    broken = sorted((demo.train_data / "rinni" / "10_rinni").glob("*.txt"))[0]
    broken.write_bytes("少女".encode("shift-jis"))
    answer = cli("trigger", "rinni", "nia", "--json", code=1).json
    assert answer["changed"] == 23
    (problem,) = answer["problems"]
    assert broken.name in problem["where"] and "UTF-8" in problem["message"] and problem["hint"]
    assert (
        problem["message"].startswith("is left as it is: the caption is not") and broken.name not in problem["message"]
    )
    assert broken.read_bytes() == "少女".encode("shift-jis")


def test_an_empty_caption_gets_the_trigger(cli: Cli, demo: Workspace) -> None:
    """A caption of 0 bytes is a caption without tags."""
    empty = sorted((demo.train_data / "rinni" / "10_rinni").glob("*.txt"))[0]
    empty.write_bytes(b"")
    cli("trigger", "rinni", "rinni")
    assert empty.read_text().strip() == "rinni"


def test_history_undo_and_redo(cli: Cli, demo: Workspace) -> None:
    """The newest change first; undone ones say so; a file that somebody changed meanwhile is left as it is."""
    assert cli("history").out == "Nothing was changed here yet.\n"
    assert "Nothing to undo" in cli("undo", code=1).err
    cli("trigger", "rinni", "one")
    cli("trigger", "rinni", "two")
    groups = cli("history", "--json").json["groups"]
    assert [group["files"] for group in groups] == [24, 24]
    assert set(groups[0]) >= {"id", "label", "time", "files", "state", "kind"}
    changed = captions(demo, "rinni")
    undone = cli("undo", "--json").json
    assert undone["groups"][0]["id"] == groups[0]["id"] and len(undone["changed"]) == 24 and undone["conflicts"] == []
    assert "undone" in cli("history", "-n", 1).out
    theirs = sorted((demo.train_data / "rinni" / "10_rinni").glob("*.txt"))[0]
    theirs.write_text("theirs", encoding="utf-8")
    conflict = cli("redo", code=1)
    assert f"! {demo.key_of(theirs)}: left as it is" in conflict.out
    assert captions(demo, "rinni") == changed | {theirs.name: "theirs"}
    assert "nonsense" in cli("undo", "nonsense", code=1).err


def test_check_finds_what_a_training_would_trip_over(cli: Cli, demo: Workspace) -> None:
    """Everything, or one dataset, or one config; exit status 1 when there are errors."""
    assert "config rinni: nothing to complain about" in cli("check").lines
    answer = cli("check", "--config", "rinni", "--json").json
    assert answer == {"problems": []}
    (demo.models / "demo-base.safetensors").unlink()
    answer = cli("check", "--config", "rinni", "--json", code=1).json
    (problem,) = [problem for problem in answer["problems"] if problem["severity"] == "error"]
    assert set(problem) == {"severity", "code", "where", "message", "hint", "fixable"}
    assert "demo-base.safetensors" in problem["message"]
    assert "✗" in cli("check", code=1).out
    assert "rinni" in cli("check", "nobody", code=1).err
    assert "rinni" in cli("check", "--config", "nobody", code=1).err


def test_check_names_bad_pictures_and_captions(cli: Cli, demo: Workspace) -> None:
    """A text file named .png, a caption that is not UTF-8 and an empty one: each with its file."""
    subset = demo.train_data / "rinni" / "10_rinni"
    first, second = sorted(subset.glob("*.txt"))[:2]
    first.write_bytes(b"\xff\xfe\xfa")
    second.write_bytes(b"")
    (subset / "fake.png").write_text("hello")
    text = cli("check", "rinni", code=1).out
    for name in (first.name, second.name, "fake.png"):
        assert name in text


def test_check_tells_what_stands_against_each_config(
    cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What two configs have in common is told of both, with the config's folder; the trainer is looked at as well."""
    cli("config", "new", "mika", "--preset", "demo")
    for name in ("rinni", "mika"):
        cli("config", "set", name, "pretrained_model_name_or_path=models/none.safetensors")
    answer = cli("check", code=1)
    for name in ("rinni", "mika"):
        assert f"  ✗ KT206 configs/{name}/train.toml: pretrained_model_name_or_path: there is no" in answer.out
    problems = cli("check", "--json", code=1).json["problems"]
    assert [problem["code"] for problem in problems].count("KT206") == 2
    monkeypatch.setenv("KOHYA_TUI_TRAINER", "sd-scripts")
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(tmp_path / "nowhere"))
    checked = cli("check", "--config", "rinni", code=1).out
    assert "KT501" in checked and str(tmp_path / "nowhere") in checked
    whole = cli("check", code=1).out
    assert whole.count("KT501") == 2 and whole.count("fetch it: kohya-tui") == 1


def test_an_import_that_is_interrupted_says_what_came_in(
    cli: Cli, demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the third image: two are there, one undo takes them out."""
    from core.dataset import importer

    real, calls = importer._check_pixels, []

    def checked(source: Path) -> None:
        calls.append(source)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(source)

    monkeypatch.setattr(importer, "_check_pixels", checked)
    answer = cli("import", "new", demo.train_data / "mika" / "10_mika", code=130)
    assert "2 images came in" in answer.err
    cli("undo")
    assert not (demo.train_data / "new").exists()
