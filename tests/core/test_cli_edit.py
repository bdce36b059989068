"""`kohya-tui edit` and `review`."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.workspace import Workspace
from tests.core.cli_kit import Cli

CAPTIONS = {"a": "1girl, smile", "b": "1girl, solo", "c": "A girl who stands in the rain, and waits. Nobody comes."}


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    from PIL import Image

    path = workspace.train_data / "rinni" / "10_rinni"
    path.mkdir(parents=True)
    for name, caption in CAPTIONS.items():
        Image.new("RGB", (8, 8)).save(path / f"{name}.png")
        (path / f"{name}.txt").write_text(caption, "utf-8")
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> Cli:
    return Cli(capsys, workspace.root)


def test_edit_changes_the_matches_and_undo_takes_it_back(cli: Cli, folder: Path) -> None:
    """One command, one undo; --where limits it."""
    answer = cli("edit", "rinni", "add", "rinni", "--front", "--where", "tag:smile")
    assert "1 caption of 1 changed" in answer.out
    assert (folder / "a.txt").read_text() == "rinni, 1girl, smile"
    assert (folder / "b.txt").read_text() == "1girl, solo"
    cli("undo")
    assert {path.stem: path.read_text() for path in folder.glob("*.txt")} == CAPTIONS


def test_a_dry_run_shows_the_change_and_does_nothing(cli: Cli, folder: Path) -> None:
    """Old and new in one line; prose is left alone and counted."""
    answer = cli("edit", "rinni", "rename", "1girl", "1woman", "--dry-run")
    assert "2 captions of 3 would change" in answer.out
    assert "1 caption in prose" in answer.out
    assert "[-1girl-]{+1woman+}, smile" in answer.out
    assert (folder / "a.txt").read_text() == CAPTIONS["a"]


def test_edit_tells_scripts_what_it_did(cli: Cli, folder: Path) -> None:
    """The keys that scripts rely on."""
    document = cli("edit", "rinni", "replace", "(smi)le", r"\1", "--regex", "--json").json
    assert document["changed"] == 1
    assert document["files"] == ["train_data/rinni/10_rinni/a.txt"]
    assert (folder / "a.txt").read_text() == "1girl, smi"


@pytest.mark.parametrize(
    "words",
    [
        ("foo",),
        ("add",),
        ("rename", "a"),
        ("sort", "colour"),
        ("move", "a", "zero"),
        ("replace", "", "x"),
        ("dedupe", "x"),
    ],
)
def test_words_that_make_no_operation_are_wrong_usage(cli: Cli, folder: Path, words: tuple[str, ...]) -> None:
    """Exit status 2 and what would be right."""
    assert cli("edit", "rinni", *words, code=2).err


def test_review_marks_and_lists(cli: Cli, folder: Path) -> None:
    """Marks of the command are those of the app, and undoable."""
    assert cli("review", "rinni", "--mark", "--where", "tag:1girl", "--json").json["changed"] == 2
    answer = cli("review", "rinni")
    assert "2 of 3 images reviewed" in answer.out
    assert "c.png" in answer.out
    assert cli("review", "rinni", "--unmark", "--json").json["changed"] == 2
    cli("undo")
    assert cli("review", "rinni", "--json").json["reviewed"] == 2
