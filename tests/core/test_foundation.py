"""Files, text, settings and the workspace folder."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from core import files, settings, text, workspace
from core.problems import UserError


@pytest.mark.parametrize("count", [0, 1, 8192, 8193, 50_000])
def test_many_names_are_sorted_in_turns_as_at_once(count: int) -> None:
    """In whatever order they came, and each as often as it was there."""
    names = [f"{number * 7919 % 10_007}.png" for number in range(count)]
    assert files.sorted_in_turns(names) == sorted(names)


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    """`ulimit -f` stands for the full disk: the caption stays whole and the sentence names the file."""
    target = tmp_path / "a.txt"
    target.write_text("1girl, solo")
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom core.files import write_atomic\n"
        "from core.problems import UserError\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_atomic(Path(sys.argv[1]), b'x' * 5000)\nexcept UserError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True)
    assert str(target) in out.stdout
    assert target.read_text() == "1girl, solo"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_write_keeps_permissions_and_follows_a_link(tmp_path: Path) -> None:
    """A caption that is a symbolic link stays one; its target changes and keeps its mode."""
    real = tmp_path / "real.txt"
    real.write_text("old")
    real.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    files.write_atomic(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_names_sort_as_people_count() -> None:
    """img2 before img10, without regard to case."""
    assert sorted(["img10.png", "Img2.png", "img1.png"], key=files.natural_key) == ["img1.png", "Img2.png", "img10.png"]


def test_a_tail_starts_again_when_the_file_shrank(tmp_path: Path) -> None:
    """A log that was replaced is shown from its beginning."""
    log = tmp_path / "log"
    assert files.read_from(log, 0) == (b"", 0)
    log.write_bytes(b"one\ntwo\n")
    data, offset = files.read_from(log, 4)
    assert (data, offset) == (b"two\n", 8)
    log.write_bytes(b"new\n")
    assert files.read_from(log, offset) == (b"new\n", 4)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x07b", "a�b"),
        ("two\nlines", "two⏎lines"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("a\u200bb\u200e\u2060.png", "a�b��.png"),
        ("a\u061cb\U000e0041c", "a�b�c"),
        ("[b]not markup[/b]", "[b]not markup[/b]"),
        ("日本語 ✓", "日本語 ✓"),
    ],
)
def test_text_from_outside_is_made_safe(raw: str, shown: str) -> None:
    """No caption, file name or log line can move the cursor or change the terminal."""
    assert text.printable(raw) == shown


def test_numbers_read_as_people_write_them() -> None:
    """Sizes, times and ages."""
    assert [text.human_bytes(n) for n in (0, 999, 218_000_000, 2_400_000_000)] == ["0 B", "999 B", "218 MB", "2.4 GB"]
    assert [text.human_seconds(n) for n in (42, 200, 720, 4320, 180_000)] == ["42s", "3m 20s", "12m", "1h 12m", "2d 2h"]
    assert text.count_of(1, "image") == "1 image"
    assert text.count_of(1204, "image") == "1,204 images"


def test_each_layer_of_settings_lies_over_the_one_before(tmp_path: Path) -> None:
    """user file < workspace file < environment < flags."""
    user = settings.user_file()
    user.parent.mkdir(parents=True)
    user.write_text('theme = "day"\nimages = "kitty"\nlauncher = "accelerate"\nsd_scripts = "~/sd"\n')
    (tmp_path / "kohya-tui.toml").write_text('images = "blocks"\nlauncher = "local"\ntagger = "a/b"\n')
    found = settings.load(
        tmp_path, {"KOHYA_TUI_TAGGER": "c/d", "KOHYA_TUI_LAUNCHER": "accelerate"}, {"launcher": "local"}
    )
    assert (found.theme, found.images, found.tagger, found.launcher) == ("day", "blocks", "c/d", "local")
    assert found.sd_scripts == Path.home() / "sd"
    assert not found.problems


def test_a_workspace_may_not_name_a_program(tmp_path: Path) -> None:
    """A folder that somebody shared must not start theirs; a broken or unknown value is told and left out."""
    (tmp_path / "kohya-tui.toml").write_text('sd_python = "/tmp/evil"\ntheme = "pink"\nthem = "x"\ntrainer = "demo"\n')
    found = settings.load(tmp_path, {})
    assert found.sd_python is None
    assert (found.theme, found.trainer) == ("night", "demo")
    assert [problem.code for problem in found.problems] == ["KT003", "KT005", "KT004"]


def test_a_broken_settings_file_is_told_and_the_defaults_hold(tmp_path: Path) -> None:
    """The program starts all the same."""
    (tmp_path / "kohya-tui.toml").write_text("theme = \n")
    found = settings.load(tmp_path, {})
    assert found.theme == "night"
    assert "kohya-tui.toml" in found.problems[0].where


def test_saving_a_setting_keeps_the_users_comments() -> None:
    """Only the one key changes."""
    user = settings.user_file()
    user.parent.mkdir(parents=True)
    user.write_text('# mine\ntheme = "day" # bright room\n')
    settings.save_user("images", "blocks")
    settings.save_user("theme", "night")
    assert user.read_text() == '# mine\ntheme = "night" # bright room\nimages = "blocks"\n'
    settings.save_user("images", None)
    assert "images" not in user.read_text()


def test_a_workspace_is_made_around_what_is_there(tmp_path: Path) -> None:
    """An existing kohya_ss folder is adopted: nothing of it changes, also not the second time."""
    (tmp_path / "train_data" / "rinni" / "10_rinni").mkdir(parents=True)
    (tmp_path / "kohya-tui.toml").write_text("# mine\n")
    made = workspace.create(tmp_path)
    assert made == workspace.create(tmp_path)
    assert (tmp_path / "kohya-tui.toml").read_text() == "# mine\n"
    assert made.dataset_names() == ["rinni"]
    assert all((tmp_path / name).is_dir() for name in workspace.FOLDERS)


def test_the_workspace_is_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git does it; outside, the sentence says how to make one."""
    made = workspace.create(tmp_path / "w")
    deep = made.train_data / "rinni"
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert workspace.open_workspace() == made
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not a workspace"):
        workspace.open_workspace()
    with pytest.raises(UserError, match="no folder"):
        workspace.open_workspace(tmp_path / "nowhere")


def test_a_kohya_folder_without_our_file_counts_as_a_workspace(tmp_path: Path) -> None:
    """`-C ~/kohya_ss` works at once."""
    (tmp_path / "train_data").mkdir()
    assert workspace.open_workspace(tmp_path).root == tmp_path.resolve()
