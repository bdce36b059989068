"""Full disks, broken settings and other misfortunes under the commands: a sentence, exit status 1, nothing lost."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from core.runs import store
from core.workspace import Workspace
from tests.core.cli_kit import COMMAND, Answer, Cli, captions, until
from tests.core.cli_kit import program as run_program


def full_disk(*words: object, cwd: Path, limit: int) -> Answer:
    """The command where no file may grow beyond `limit` bytes, for itself and its children: as on a full disk."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # Python would leave cut-off bytecode for the next test
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_while_the_trigger_is_set(demo: Workspace) -> None:
    """The journal cannot be written, so no caption is touched."""
    before = captions(demo, "rinni")
    answer = full_disk("trigger", "rinni", "new_word", cwd=demo.root, limit=100)
    assert answer.code == 1 and answer.out == ""
    assert answer.err.startswith("kohya-tui: ") and str(demo.root) in answer.err
    assert captions(demo, "rinni") == before
    run_program("trigger", "rinni", "new_word", cwd=demo.root)
    assert captions(demo, "rinni") != before


def test_a_full_disk_while_importing(demo: Workspace, tmp_path: Path) -> None:
    """The picture that does not fit is named, no half file stays, the source is whole; what fitted can be undone."""
    source = tmp_path / "source"
    source.mkdir()
    Image.new("RGB", (32, 32)).save(source / "a.png")
    Image.effect_noise((400, 400), 90).save(source / "b.png")
    before = files_of(source)
    answer = full_disk("import", "nia", source, cwd=demo.root, limit=20_000)
    assert answer.code == 1 and "b.png" in answer.out + answer.err
    assert (source / "b.png").read_bytes() == before["b.png"]
    assert not (demo.train_data / "nia" / "10_nia" / "b.png").exists()
    left = [path.name for path in (demo.train_data / "nia").rglob("*") if path.is_file()]
    assert left in ([], ["a.png"])
    assert files_of(source) == before
    if left:
        run_program("undo", cwd=demo.root)
        assert not list((demo.train_data / "nia").rglob("*.png"))


def test_a_full_disk_while_a_config_is_written(demo: Workspace) -> None:
    """The config keeps its text."""
    path = demo.configs / "rinni" / "train.toml"
    before = path.read_bytes()
    answer = full_disk("config", "set", "rinni", "seed=7", cwd=demo.root, limit=200)
    assert answer.code == 1 and str(demo.root) in answer.err
    assert path.read_bytes() == before


def test_a_full_disk_while_a_run_is_made(demo: Workspace) -> None:
    """No half run stays behind; the sentence names the folder."""
    answer = full_disk("train", "rinni", cwd=demo.root, limit=300)
    assert answer.code == 1 and str(demo.runs) in answer.err
    assert "something went wrong inside" not in answer.err
    assert store.list_runs(demo) == []


def test_a_full_disk_while_tagging(demo: Workspace) -> None:
    """The run ends, the command says why, the captions are whole or as before."""
    subset = demo.train_data / "mika" / "10_mika"
    (subset / "mika_01.txt").write_text("mine\n", encoding="utf-8")
    answer = full_disk("tag", "mika", cwd=demo.root, limit=2_000)
    assert answer.code == 1 and answer.err
    assert "something went wrong inside" not in answer.err
    for path in subset.glob("*.txt"):
        text = path.read_text("utf-8")
        assert text == "mine\n" or (text.endswith("\n") and ", " in text)
    assert not list(subset.glob(".*"))
    until(lambda: not any(run.live for run in store.list_runs(demo)))


def test_broken_settings_are_told_where_they_count(cli: Cli, demo: Workspace) -> None:
    """A command that acts on settings names the broken file first; others stay silent."""
    (demo.root / "kohya-tui.toml").write_text("trainer = \n")
    answer = cli("train", "rinni", code=1)
    assert "kohya-tui.toml" in answer.err.splitlines()[0]
    assert cli("config", "show", "rinni").err == ""
    (demo.root / "kohya-tui.toml").write_text('trainer = "demo"\ntagger = "demo"\nsd_scripts = "/x"\n')
    for words in (["train", "rinni"], ["check"], ["config", "set", "rinni", "seed=5"], ["tag", "mika"], ["models"]):
        assert cli(*words).err.count("KT003") == 1, words


def test_two_commands_at_once_do_not_spoil_the_journal(demo: Workspace) -> None:
    """Two shells set a trigger at the same time: both end, every caption is one of the two, the journal is whole."""
    children = [
        subprocess.Popen(
            [*COMMAND, "trigger", "rinni", word], cwd=demo.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for word in ("one", "two")
    ]
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode in {0, 1}
    assert {text.split(", ")[0] for text in captions(demo, "rinni").values()} <= {"one", "two"}
    groups = run_program("history", "--json", cwd=demo.root).json["groups"]
    assert {group["state"] for group in groups} == {"done"}


def test_a_bug_is_logged_and_told_in_one_line(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is our fault names the log with the traceback; the exit status is 1."""
    from core.cli.main import main
    from core.settings import state_dir

    def broken(*_: object) -> None:
        raise RuntimeError("the sky fell")

    with monkeypatch.context() as patched:
        patched.setattr("core.runs.store.list_runs", broken)
        assert main(["-C", str(demo.root), "runs"]) == 1
    assert "the sky fell" in (state_dir() / "kohya-tui.log").read_text()
