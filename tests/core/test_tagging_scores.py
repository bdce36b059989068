"""Score files that are not whole."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from core.tagging.labels import Category, LabelSet
from core.tagging.scores import ScoreStore, folder_of, read_many, read_scores, tag_categories
from core.workspace import Workspace

LABELS = LabelSet(("smile", "blush"), (Category.GENERAL, Category.GENERAL))


@pytest.mark.parametrize("tables", [(), ("scores",), ("model",)], ids=["none", "scores", "model"])
def test_a_file_without_its_tables_is_as_good_as_absent(workspace: Workspace, tables: tuple[str, ...]) -> None:
    """A full disk left it so: nothing is read from it, and the next tag run makes it whole."""
    folder_of(workspace).mkdir(parents=True)
    with sqlite3.connect(folder_of(workspace) / "key.sqlite") as database:
        if "scores" in tables:
            database.execute("CREATE TABLE scores(key TEXT PRIMARY KEY, stamp TEXT, data BLOB)")
        if "model" in tables:
            database.execute("CREATE TABLE model(key TEXT PRIMARY KEY, value TEXT)")
    database.close()
    assert read_scores(workspace, "a.png", "1-1") == []
    assert read_many(workspace, "key", []) is None
    assert tag_categories(workspace) == {}
    store = ScoreStore(workspace, "key", "a model", LABELS)
    store.add("a.png", "1-1", np.array([0.9, 0.2], np.float32))
    store.close()
    assert store.failure is None
    assert [(tag, round(score, 2)) for tag, _, score in read_scores(workspace, "a.png", "1-1")] == [
        ("smile", 0.9),
        ("blush", 0.2),
    ]
