"""Reviewed marks between sessions."""

from __future__ import annotations

import pytest

from core.dataset.marks import mark_reviewed, read_reviewed, reviewed_file
from core.problems import UserError
from core.workspace import Workspace


def test_marks_stay_and_come_off(workspace: Workspace) -> None:
    """What was marked is there at the next start, also with a line break in the name."""
    assert read_reviewed(workspace) == set()
    mark_reviewed(workspace, ["train_data/a/1.png", "train_data/a/odd\nname.png"])
    assert mark_reviewed(workspace, ["train_data/a/1.png"], False) == {"train_data/a/odd\nname.png"}
    assert read_reviewed(workspace) == {"train_data/a/odd\nname.png"}


def test_a_broken_file_is_no_mark(workspace: Workspace) -> None:
    """Half a file counts as none, and marking writes a whole one."""
    workspace.own.mkdir(exist_ok=True)
    reviewed_file(workspace).write_text('{"v": 1, "revi')
    assert read_reviewed(workspace) == set()
    assert mark_reviewed(workspace, ["a"]) == {"a"}


def test_a_newer_format_is_not_written(workspace: Workspace) -> None:
    """It is read as far as it can be, and refused for writing."""
    reviewed_file(workspace).write_text('{"v": 2, "reviewed": ["a"]}')
    assert read_reviewed(workspace) == {"a"}
    with pytest.raises(UserError, match="newer"):
        mark_reviewed(workspace, ["b"])
