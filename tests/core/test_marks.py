"""Reviewed marks between sessions."""

from __future__ import annotations

import pytest

from core.dataset.edits import Journal
from core.dataset.marks import mark_reviewed, marks_file, marks_folder, read_reviewed
from core.problems import UserError
from core.workspace import Workspace


def test_marks_stay_and_come_off(workspace: Workspace) -> None:
    """What was marked is there at the next start, also with a line break or a byte that is no text in the name."""
    assert read_reviewed(workspace) == set()
    mark_reviewed(workspace, ["train_data/a/1.png", "train_data/a/odd\nname.png", "train_data/a/\udce9.png"])
    mark_reviewed(workspace, ["train_data/a/1.png"], False)
    assert read_reviewed(workspace) == {"train_data/a/odd\nname.png", "train_data/a/\udce9.png"}


def test_a_mark_is_undone_like_any_change(workspace: Workspace) -> None:
    """One mark is one action of the journal, named after its image; what was marked before stays."""
    mark_reviewed(workspace, ["train_data/a/1.png"])
    group = mark_reviewed(workspace, ["train_data/a/2.png"])
    assert (group.label, group.kind) == ("review 2.png", "mark")
    journal = Journal(workspace)
    assert journal.undo().group.id == group.id
    assert read_reviewed(workspace) == {"train_data/a/1.png"}
    journal.redo()
    assert read_reviewed(workspace) == {"train_data/a/1.png", "train_data/a/2.png"}
    assert mark_reviewed(workspace, ["train_data/a/2.png"]).id == ""


def test_one_mark_among_many_is_small(workspace: Workspace) -> None:
    """The journal does not repeat the marks of 20,000 images for one more."""
    mark_reviewed(workspace, [f"train_data/rinni/10_rinni/rinni_{number:05}.png" for number in range(20_000)])
    group = mark_reviewed(workspace, ["train_data/rinni/10_rinni/one_more.png"])
    assert (workspace.own / "journal" / f"{group.id}.jsonl").stat().st_size < 20_000
    assert len(read_reviewed(workspace)) == 20_001


def test_a_broken_file_is_no_mark(workspace: Workspace) -> None:
    """Half a file counts as none, and marking writes a whole one."""
    marks_folder(workspace).mkdir(parents=True)
    marks_file(workspace, "a").write_text('{"v": 1, "revi')
    assert read_reviewed(workspace) == set()
    mark_reviewed(workspace, ["a"])
    assert read_reviewed(workspace) == {"a"}


def test_a_newer_format_is_not_written(workspace: Workspace) -> None:
    """It is read as far as it can be, and refused for writing."""
    marks_folder(workspace).mkdir(parents=True)
    marks_file(workspace, "b").write_text('{"v": 2, "reviewed": ["a"]}')
    assert read_reviewed(workspace) == {"a"}
    with pytest.raises(UserError, match="newer"):
        mark_reviewed(workspace, ["b"])
