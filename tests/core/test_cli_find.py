"""`kohya-tui find`: paths that match, what is wrong with a filter, and the saved ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.workspace import Workspace, create
from tests.core.cli_kit import Cli
from tests.core.index_kit import draw


@pytest.fixture
def here(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The commands in a workspace with one dataset."""
    monkeypatch.chdir(tmp_path)
    workspace: Workspace = create(tmp_path / "work")
    folder = workspace.train_data / "rinni" / "10_rinni"
    draw(folder / "a_2.png", "rinni, solo, blue eyes", (512, 768))
    draw(folder / "a_10.png", "rinni, smile")
    draw(folder / "b\n\x1b[31m.png", None)
    return Cli(capsys, workspace.root)


def test_paths_that_match(here: Cli) -> None:
    """One a line in list order, relative to the workspace; with --json as they are, on a terminal made safe."""
    assert here("find", "rinni", "tag:rinni").lines == [
        "train_data/rinni/10_rinni/a_2.png",
        "train_data/rinni/10_rinni/a_10.png",
    ]
    assert here("find", "rinni", "is:untagged", "--json").json == {
        "matches": ["train_data/rinni/10_rinni/b\n\x1b[31m.png"],
        "images": 3,
    }
    assert "\x1b" not in here("find", "rinni", "is:untagged").out
    assert here("find", "rinni", "w:<768 ratio:<1", "--count").lines == ["1 image"]
    assert here("find", "rinni", "nothing").out == ""


def test_what_is_wrong_is_pointed_at(here: Cli) -> None:
    """Wrong usage (2) for what cannot be read, with a mark below the column; 1 for what cannot be answered."""
    answer = here("find", "rinni", "solo captoin:x", code=2)
    assert "captoin: is not known (column 6)" in answer.err and "Did you mean caption:?" in answer.err
    lines = answer.err.splitlines()
    assert lines[2].index("^") - lines[1].index("solo") == 5
    assert "There is no dataset" in here("find", "nobody", "x", code=1).err
    assert "is:marked is not known here" in here("find", "rinni", "is:marked", code=1).err
    assert "no stored scores" in here("find", "rinni", "score(smile):>0.5", code=1).err
    here("find", "rinni", code=2)


def test_marks_changes_and_duplicates(here: Cli) -> None:
    """What the workspace knows: review marks, the journal, the same picture twice."""
    from core.dataset.marks import mark_reviewed

    workspace = Workspace(here.folder or Path())
    mark_reviewed(workspace, ["train_data/rinni/10_rinni/a_2.png"])
    assert here("find", "rinni", "is:reviewed").lines == ["train_data/rinni/10_rinni/a_2.png"]
    assert here("find", "rinni", "is:changed").lines == []
    here("trigger", "rinni", "rinni2", code=1)
    assert len(here("find", "rinni", "is:changed").lines) == 2
    here("undo")
    assert here("find", "rinni", "is:changed").lines == []


def test_filters_are_kept_under_names(here: Cli) -> None:
    """--save keeps one, saved: uses it, --saved lists them, --forget takes one out."""
    here("find", "rinni", "is:untagged OR smile", "--save", "to do")
    assert here("find", "rinni", "--saved", "--json").json == {"filters": {"to do": "is:untagged OR smile"}}
    assert here("find", "rinni", 'saved:"to do" tag:rinni').lines == ["train_data/rinni/10_rinni/a_10.png"]
    assert here("find", "rinni", "--forget", "to do").lines == ["There is no saved filter yet."]
    assert "no saved filter" in here("find", "rinni", "saved:x", code=1).err


def test_scores_ratings_and_buckets_of_the_demo(cli: Cli) -> None:
    """What taggers and configs know is asked for in the same line."""
    cli("tag", "rinni", "--model", "demo")
    whole = cli("find", "rinni", "", "--json").json["matches"]
    high = cli("find", "rinni", "score(1girl):>=0.5", "--json").json["matches"]
    low = cli("find", "rinni", "score(1girl):<0.5", "--json").json["matches"]
    assert whole and sorted([*high, *low]) == sorted(whole)
    assert "no stored scores know the tag" in cli("find", "rinni", "score(nobody at all):>0", code=1).err
    sizes = cli("find", "rinni", "bucket:1x1", "--json").json["matches"]
    assert sizes == []
