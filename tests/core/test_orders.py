"""The orders of a list of images, and that of the least sure tag above all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from core.cli.filter_sources import sources_of
from core.dataset.index import read_index
from core.dataset.orders import ORDERS, in_order
from core.problems import UserError
from core.tagging.labels import Category, LabelSet
from core.tagging.score_store import ScoreStore
from core.tagging.scores import content_of, scores_folder, stamp_of
from core.workspace import Workspace
from tests.core.cli_kit import Cli
from tests.core.index_kit import draw

LABELS = LabelSet(("smile", "blue_eyes", "blush", "general"), (*[Category.GENERAL] * 3, Category.RATING))
IMAGES: dict[str, tuple[str | None, list[float] | None]] = {
    "a": ("rinni, smile, blue eyes", [0.9, 0.5, 0.2, 0.9]),
    "b": ("rinni, Smile", [0.3, 0.9, 0.2, 0.9]),
    "c": ("rinni, smile", None),  # never tagged
    "d": ("rinni", [0.1, 0.1, 0.1, 0.9]),  # no tag that the tagger knows
    "e": ("rinni, blush, blue eyes", [0.9, 0.9, 0.001, 0.9]),  # under the floor of the store
    "f": (None, [0.9, 0.9, 0.9, 0.9]),
    "g": ("blue eyes", [0.1, 0.95, 0.1, 0.9]),
}


@pytest.fixture
def tagged(workspace: Workspace) -> Workspace:
    """Images of which a tagger left its scores."""
    folder = workspace.train_data / "rinni" / "10_rinni"
    store = ScoreStore(scores_folder(workspace), "key", "a model", LABELS)
    for at, (name, (caption, row)) in enumerate(IMAGES.items()):
        image = folder / f"{name}.png"
        draw(image, caption, (64 + 8 * at, 64))
        if row is not None:
            content = content_of([image.read_bytes()])
            store.add(content, np.array(row, np.float32))
            store.place(image, stamp_of(image), content)
    store.close()
    return workspace


def names(workspace: Workspace, order: str) -> str:
    index = read_index(workspace, "rinni")
    numbers = in_order(index, np.arange(len(index), dtype=np.uint32), order, sources_of(index))
    return "".join(index.names[number][0] for number in numbers)


def test_by_the_tag_of_which_the_tagger_was_least_sure(tagged: Workspace) -> None:
    """First what it did not even keep, then the lowest; images without scores or without a tag it knows come last."""
    assert names(tagged, "confidence") == "ebagcdf"


def test_a_caption_that_changed_meanwhile_counts_as_it_is_now(tagged: Workspace) -> None:
    """What was added in the app since the reading is asked about, and what was removed is not."""
    index = read_index(tagged, "rinni")
    index.put(0, "rinni, blush", (64, 64))
    index.put(4, "rinni, blue eyes", (96, 64))
    numbers = in_order(index, np.arange(len(index), dtype=np.uint32), "confidence", sources_of(index))
    assert "".join(index.names[number][0] for number in numbers) == "abegcdf"


def test_the_other_orders(tagged: Workspace) -> None:
    """Fewest tags, fewest pixels, newest; what is alike stays in the order of the names."""
    folder = tagged.train_data / "rinni" / "10_rinni"
    assert set(ORDERS) == {"name", "tags", "confidence", "size", "bytes", "changed"}
    assert names(tagged, "tags") == "fdgbcae"
    assert names(tagged, "size") == "abcdefg"
    for at, name in enumerate("gfedcba"):
        for path in (folder / f"{name}.png", folder / f"{name}.txt"):
            if path.exists():
                os.utime(path, (1000 + at, 1000 + at))
    assert names(tagged, "changed") == "abcdefg"


def test_without_scores_it_is_said(workspace: Workspace) -> None:
    """Nothing was tagged here: told, with what to do."""
    draw(workspace.train_data / "rinni" / "10_rinni" / "a.png", "rinni")
    with pytest.raises(UserError, match="no stored scores"):
        names(workspace, "confidence")


def test_find_prints_them_in_the_order(
    tagged: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`find --sort confidence`, and an order that there is not."""
    monkeypatch.chdir(tagged.root)
    cli = Cli(capsys, tagged.root)
    found = cli("find", "rinni", "tag:rinni", "--sort", "confidence").lines
    assert [Path(line).stem for line in found] == list("ebacd")
    assert "no order best" in cli("find", "rinni", "tag:rinni", "--sort", "best", code=2).err
