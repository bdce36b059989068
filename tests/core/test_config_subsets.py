"""Datasets and subsets: added, copied, moved and removed in the file's own text, and what they inherit."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import blocks, subsets
from core.config.documents import Config
from core.problems import UserError
from core.workspace import Workspace
from tests.core.config_kit import picture

TEXT = '''# a dataset of two sizes
[general]
caption_extension = ".txt"  # not .caption
keep_tokens = 1

# the large one
[[datasets]]
resolution = 1024
keep_tokens = 2

  # the main folder
  [[datasets.subsets]]
  image_dir = "train_data/rinni/10_rinni"   # ten times
  num_repeats = 10
  class_tokens = """
[[datasets]]
"""
    [datasets.subsets.custom_attributes]
    note = "[[datasets.subsets]]"

  [[datasets.subsets]]
  image_dir = 'train_data\\reg'
  is_reg = true

# the small one
[[datasets]]
resolution = [
  512,
  # [[datasets]]
  768,
]
[[ "datasets" . 'subsets' ]]
image_dir = "train_data/mika/5_mika"
metadata_file = "meta.json"
'''


def config_of(text: str, workspace: Workspace, train: str = "") -> Config:
    return Config(workspace.configs / "rinni", {"train": train, "dataset": text})


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            """datasets = [ # two sizes
  {resolution = 512, subsets = [{image_dir = 'a # b]', custom_attributes = {x = [1]}}, {image_dir = "c"}]}, # small
  {resolution = [768, 1024], subsets = []}
]
# more
[general]
keep_tokens = 1 # a
""",
            ("# two sizes", "# small", "# more\n[general]\nkeep_tokens = 1 # a\n"),
        ),
        (
            """# all
[[datasets]]
resolution = 512
subsets = [{image_dir = "a"}, # first
  {image_dir = "b"}]
batch_size = 2

[[datasets]]
resolution = 768
  [[datasets.subsets]]
  image_dir = "z" # z
""",
            ("# all\n[[datasets]]\nresolution = 512\nbatch_size = 2\n", "# first", '\n  image_dir = "z" # z\n'),
        ),
    ],
)
def test_lists_become_blocks_that_say_the_same(text: str, kept: tuple[str, ...], end: str) -> None:
    """Values and comments stay; then they can be copied and moved like any other."""
    text = text.replace("\n", end)
    assert blocks.is_inline(text)
    made = blocks.as_blocks(text)
    before, after = tomllib.loads(text), tomllib.loads(made)
    before["datasets"] = [{key: value for key, value in row.items() if value != []} for row in before["datasets"]]
    assert after == before
    assert not blocks.is_inline(made) and blocks.as_blocks(made) == made
    assert all(part.replace("\n", end) in made for part in kept)
    assert (made.count("\r\n") == made.count("\n")) == (end == "\r\n")
    assert blocks.remove(blocks.duplicate(made, 0, 0), 0, 1) == made


def test_a_file_without_lists_is_left_as_it_is() -> None:
    """A list is not what looks like one inside a text or elsewhere."""
    assert not blocks.is_inline(TEXT) and blocks.as_blocks(TEXT) == TEXT
    assert not blocks.is_inline('[general]\ndatasets = [{}]\nnote = """\n[[datasets]]\nsubsets = [{}]\n"""\n')


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_copy_takes_its_comments_along_and_removing_it_leaves_nothing(end: str) -> None:
    """Copy, then remove the copy: the file is byte for byte what it was."""
    text = TEXT.replace("\n", end)
    for dataset, subset in ((0, None), (0, 0), (0, 1), (1, None), (1, 0)):
        copied = blocks.duplicate(text, dataset, subset)
        assert copied != text
        back = blocks.remove(copied, dataset + 1 if subset is None else dataset, None if subset is None else subset + 1)
        assert back == text
    twice = blocks.duplicate(text, 0, 0)
    assert twice.count("# the main folder") == 2 and twice.count("# ten times") == 2
    assert twice.count("\r") in {0, twice.count("\n")}


def test_a_subset_moves_within_and_across_datasets(workspace: Workspace) -> None:
    """Down from the last place goes into the next dataset, up from there back again."""
    config = config_of(TEXT, workspace)
    place = "datasets[0].subsets[0]"
    for by, wanted in ((1, "datasets[0].subsets[1]"), (1, "datasets[1].subsets[0]"), (-1, "datasets[0].subsets[1]")):
        node = next(node for node in subsets.tree(config) if node.place == place)
        place = subsets.move(config, node, by)
        assert place == wanted
        assert "custom_attributes" in next(node.own for node in subsets.tree(config) if node.place == place)
    assert all(comment in config.text("dataset") for comment in ("# the main folder", "# the large one", "# ten times"))


def test_folders_of_the_workspace_become_subsets_in_one_step(workspace: Workspace) -> None:
    """Those that are in no subset yet, with the repeats of their names."""
    for folder in ("rinni/10_rinni", "rinni/2_dress", "mika/5_mika"):
        picture(workspace.train_data / folder / "1.png", 64, 64)
    row = '  [[datasets.subsets]]\n  image_dir = "train_data/mika/5_mika"\n'
    config = config_of(f"[[datasets]]\nresolution = 512\n{row}", workspace)
    parts = subsets.folders_to_add(config, workspace)
    assert [part.path.name for part in parts] == ["2_dress", "10_rinni"]
    subsets.add_folders(config, workspace, [part.path for part in parts])
    rows = config.plain("dataset")["datasets"][0]["subsets"]
    assert rows[1:] == [
        {"image_dir": "train_data/rinni/2_dress", "num_repeats": 2},
        {"image_dir": "train_data/rinni/10_rinni", "num_repeats": 10},
    ]
    empty = config_of("", workspace)
    subsets.add_folders(empty, workspace, [parts[0].path])
    assert empty.plain("dataset")["datasets"][0]["subsets"][0]["num_repeats"] == 2


def test_what_is_inherited_says_from_where(workspace: Workspace) -> None:
    """Subset, dataset, [general], train.toml, default: the first one that has the key."""
    config = config_of(TEXT, workspace, "flip_aug = true\ntrain_batch_size = 3\n")
    nodes = {node.place: node for node in subsets.tree(config)}
    first, other = nodes["datasets[0].subsets[0]"], nodes["datasets[1].subsets[0]"]
    assert subsets.inherited(config, first, "num_repeats") == subsets.Inherited(10, "")
    assert subsets.inherited(config, first, "keep_tokens") == subsets.Inherited(2, "dataset")
    assert subsets.inherited(config, other, "keep_tokens") == subsets.Inherited(1, "general")
    assert subsets.inherited(config, other, "flip_aug") == subsets.Inherited(True, "train.toml")
    assert subsets.inherited(config, nodes["datasets[0]"], "batch_size") == subsets.Inherited(3, "train.toml")
    assert subsets.inherited(config, first, "color_aug") == subsets.Inherited(False, "default")


def test_kinds_of_subsets_are_told(workspace: Workspace) -> None:
    """Regularisation, masks and metadata files; what may not stand together is said."""
    nodes = subsets.tree(config_of(TEXT, workspace))
    assert [node.kind for node in nodes if node.level == "subsets"] == ["images", "regularisation", "fine-tuning"]
    assert subsets.mixture(nodes, 0, masked_loss=False) is None
    masks = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\nconditioning_data_dir = "b"\n'
    nodes = subsets.tree(config_of(masks, workspace))
    assert nodes[-1].kind == "masks" and "conditioning_data_dir" in subsets.keys_of(nodes[-1])
    assert "masked_loss" in (subsets.mixture(nodes, 0, masked_loss=False) or "")


def test_a_file_that_is_written_otherwise_is_left_alone() -> None:
    """Inline tables are no blocks: the way out is named, and nothing is changed."""
    with pytest.raises(UserError) as caught:
        blocks.duplicate('datasets = [{resolution = 512, subsets = [{image_dir = "a"}]}]\n', 0, 0)
    assert "--blocks" in (caught.value.hint or "")


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "copy", "remove", "move"]), st.integers(0, 3), st.integers(0, 3)), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_steps_give_what_lists_would_give(steps: list[tuple[str, int, int]]) -> None:
    """Each step changes the values as the same step on plain lists does, and no comment outside is lost."""
    text = TEXT
    for step, dataset, subset in steps:
        rows = tomllib.loads(text)["datasets"]
        if dataset >= len(rows) or (step != "add" and subset >= len(rows[dataset].get("subsets", []))):
            continue
        if step == "add":
            text = blocks.add_subset(text, dataset, {"image_dir": "train_data/new", "num_repeats": 1}, None)
        elif step == "copy":
            text = blocks.duplicate(text, dataset, subset)
        elif step == "remove":
            text = blocks.remove(text, dataset, subset)
        else:
            text = blocks.move(text, dataset, subset, (len(rows) - 1, 0))
        assert "# a dataset of two sizes" in text and "# not .caption" in text
        assert "\n\n\n" not in text
