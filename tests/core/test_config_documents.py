"""Config files: what stays, what is written, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from core.config.documents import Config, open_config, place_of
from core.dataset.edits import Journal
from core.problems import UserError
from core.workspace import Workspace

TRAIN = """\
# mine
pretrained_model_name_or_path = "models/a.safetensors"   # the base

[network_args]  # a name without meaning
network_dim = 128   # big
network_alpha = 64

[optimizer]
learning_rate = 1e-4


[own]
odd_key = 3  # kept
"""
DATASET = """\
[general]
caption_extension = ".txt"

[[datasets]]
resolution = 768

  [[datasets.subsets]]
  image_dir = "train_data/a/10_a"
  num_repeats = 10

  [[datasets.subsets]]
  image_dir = "train_data/a/2_b"
  num_repeats = 2
"""


@pytest.fixture
def config(workspace: Workspace) -> Config:
    folder = workspace.configs / "a"
    folder.mkdir()
    (folder / "train.toml").write_text(TRAIN)
    (folder / "dataset.toml").write_text(DATASET)
    (folder / "prompts.txt").write_text("a, 1girl\n")
    return Config.load(folder)


def test_values_are_read_as_the_trainer_reads_them(config: Config) -> None:
    """Sections dissolve; dataset values fall back from the subset to its dataset to [general]."""
    assert config.effective()["network_dim"] == 128
    assert config.get("train", "odd_key") == 3
    assert config.get("dataset", "num_repeats") == 10
    assert config.get("dataset", "datasets[0].subsets[1].num_repeats") == 2
    assert config.get("dataset", "resolution") == 768
    assert config.get("dataset", "caption_extension") == ".txt"
    assert config.get("dataset", "keep_tokens") is None


def test_saving_without_a_change_touches_nothing(config: Config) -> None:
    """Not one byte and not the time of the file changes."""
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in config.folder.iterdir()}
    assert config.changed == frozenset()
    assert config.save() is None
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in config.folder.iterdir()} == before


def test_a_change_keeps_comments_order_and_unknown_keys(config: Config) -> None:
    """Only the value on that line is another one."""
    config.set("train", "network_dim", 32)
    config.set("dataset", "datasets[0].subsets[1].num_repeats", 5)
    assert config.text("train") == TRAIN.replace("network_dim = 128 ", "network_dim = 32 ")
    assert config.text("dataset") == DATASET.replace("num_repeats = 2", "num_repeats = 5")
    assert config.changed == {"train", "dataset"}


def test_a_new_key_lands_beside_its_neighbours(config: Config) -> None:
    """unet_lr goes below learning_rate, network_args below network_alpha, in the sections where those stand."""
    config.set("train", "unet_lr", 1e-4)
    config.set("train", "network_args", ["conv_dim=4"])
    config.set("train", "max_train_epochs", 10)
    text = config.text("train")
    assert "learning_rate = 1e-4\nunet_lr = 1e-4\n" in text
    assert 'network_alpha = 64\nnetwork_args = ["conv_dim=4"]\n' in text
    assert config.effective()["max_train_epochs"] == 10
    assert "odd_key = 3  # kept" in text


def test_dataset_keys_go_to_their_level(config: Config) -> None:
    """Repeats to the subset, resolution to the dataset, caption options to [general]; a missing level is made."""
    config.set("dataset", "keep_tokens", 1)
    config.set("dataset", "batch_size", 2)
    config.set("dataset", "flip_aug", True)
    data = tomllib.loads(config.text("dataset"))
    assert data["general"]["keep_tokens"] == 1
    assert data["datasets"][0]["batch_size"] == 2
    empty = Config(config.folder.parent / "b")
    empty.set("dataset", "image_dir", "train_data/b/1_b")
    empty.set("dataset", "resolution", 512)
    empty.set("dataset", "keep_tokens", 1)
    data = tomllib.loads(empty.text("dataset"))
    assert data["general"] == {"keep_tokens": 1}
    assert data["datasets"][0]["subsets"] == [{"image_dir": "train_data/b/1_b"}]
    assert data["datasets"][0]["resolution"] == 512


def test_values_are_written_in_the_kind_that_the_trainer_wants(config: Config) -> None:
    """Floats with a point, whole steps without, homogeneous lists, Windows paths that can be read."""
    config.set("train", "prior_loss_weight", 1)
    config.set("train", "lr_warmup_steps", 100.0)
    config.set("train", "text_encoder_lr", [1, 5e-5])
    config.set("train", "vae", "C:\\models\\vae.pt")
    text = config.text("train")
    assert "prior_loss_weight = 1.0" in text
    assert "lr_warmup_steps = 100\n" in text
    assert "text_encoder_lr = [1.0, 5e-5]" in text
    assert "vae = 'C:\\models\\vae.pt'" in text
    assert tomllib.loads(text)
    with pytest.raises(UserError, match="network_dim must be a whole number"):
        config.set("train", "network_dim", "many")


def test_unset_removes_the_key_everywhere(config: Config) -> None:
    """Also when it stands in two sections."""
    config.set_text("train", "[a]\nseed = 1\n[b]\nseed = 2\nx = 3\n")
    assert config.get("train", "seed") == 2
    config.unset("train", "seed")
    assert config.get("train", "seed") is None
    assert config.get("train", "x") == 3


def test_raw_text_with_an_error_is_refused_with_its_place(config: Config) -> None:
    """File, line, column and what usually helps; the text from before stays."""
    with pytest.raises(UserError, match=r"train\.toml, line 2, column 12") as caught:
        config.set_text("train", 'seed = 42\nvae = "C:\\models\\x"\n')
    assert "single quotes" in (caught.value.hint or "")
    assert config.text("train") == TRAIN
    with pytest.raises(UserError, match=r"line 2.*overwrite"):
        config.set_text("train", "seed = 1\nseed = 2\n")
    with pytest.raises(UserError, match=r"line 1"):
        config.set_text("train", "sdpa = True\n")


def test_a_broken_file_can_be_opened_and_mended(config: Config) -> None:
    """It is shown as it is, the form refuses to change it, and nothing is lost by saving the other file."""
    config.path("train").write_text("seed = \n# my notes\n")
    broken = Config.load(config.folder)
    assert "train" in broken.broken
    assert broken.effective() == {}
    with pytest.raises(UserError, match=r"train\.toml, line 1"):
        broken.set("train", "seed", 1)
    broken.set("dataset", "keep_tokens", 1)
    broken.save()
    assert config.path("train").read_text() == "seed = \n# my notes\n"
    broken.set_text("train", "seed = 1\n# my notes\n")
    broken.save()
    assert Config.load(config.folder).get("train", "seed") == 1


def test_a_file_that_is_not_utf8_is_named(config: Config) -> None:
    """With the line; saving leaves it alone."""
    config.path("train").write_bytes(b"seed = 1\n# caf\xe9\n")
    loaded = Config.load(config.folder)
    assert "line 2" in loaded.broken["train"].message
    assert loaded.changed == frozenset()


def test_windows_files_keep_their_line_ends_and_lose_the_mark(config: Config) -> None:
    """A byte order mark, which the trainer cannot read, goes with the first change; CRLF stays."""
    config.path("train").write_bytes(b'\xef\xbb\xbf[a]\r\nseed = 1 # x\r\nvae = "v"\r\n')
    loaded = Config.load(config.folder)
    assert loaded.has_bom("train")
    assert loaded.changed == frozenset()
    loaded.set("train", "seed", 2)
    loaded.set("train", "max_train_epochs", 3)
    loaded.save()
    raw = config.path("train").read_bytes()
    assert raw.startswith(b"[a]\r\nseed = 2 # x\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n")


def test_a_save_can_be_undone(config: Config, workspace: Workspace) -> None:
    """Both files go back with one undo."""
    journal = Journal(workspace)
    config.set("train", "network_dim", 8)
    config.prompts = "b\n"
    group = config.save(journal)
    assert group is not None and group.files == 2
    assert "network_dim = 8 " in config.path("train").read_text()
    journal.undo()
    assert config.path("train").read_text() == TRAIN
    assert config.path("prompts").read_text() == "a, 1girl\n"


def test_somebody_elses_change_is_not_overwritten(config: Config) -> None:
    """Saving is refused until it is reloaded, or forced."""
    config.path("train").write_text(TRAIN + "seed = 9\n")
    config.set("train", "network_dim", 8)
    assert config.changed_on_disk() == {"train"}
    with pytest.raises(UserError, match="changed by another program"):
        config.save()
    assert config.path("train").read_text() == TRAIN + "seed = 9\n"
    config.reload()
    assert config.get("train", "seed") == 9
    config.set("train", "network_dim", 8)
    config.save()
    assert "seed = 9" in config.path("train").read_text()


def test_a_missing_config_lists_those_there_are(config: Config, workspace: Workspace) -> None:
    """The message says what there is."""
    with pytest.raises(UserError) as caught:
        open_config(workspace, "b")
    assert "There are: a" in (caught.value.hint or "")
    assert open_config(workspace, "a").name == "a"


def test_the_home_of_a_key_is_told(config: Config) -> None:
    """`config set NAME KEY=VALUE` need not be told the file."""
    assert config.home("network_dim") == "train"
    assert config.home("keep_tokens") == "dataset"
    assert config.home("resolution") == "dataset"
    assert config.home("datasets[0].batch_size") == "dataset"
    assert config.home("nonsense") == "train"


def test_reading_a_config_needs_no_tomlkit(config: Config) -> None:
    """Opening is cheap: the writer's library is loaded with the first change only."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from core.config.documents import Config\n"
        f"c = Config.load(Path({str(config.folder)!r})); c.effective(); c.get('dataset', 'resolution'); c.changed\n"
        "sys.exit('tomlkit' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_section_named_like_an_option_is_not_taken_for_it(config: Config) -> None:
    """The guides' [network_args] is only a heading: setting or unsetting the option network_args leaves it whole."""
    config.unset("train", "network_args")
    assert config.text("train") == TRAIN
    config.set_text("train", "[network_args]\nodd = 1\n")
    config.set("train", "network_args", ["conv_dim=4"])
    assert config.effective() == {"odd": 1, "network_args": ["conv_dim=4"]}


def test_a_problem_names_the_config_and_its_field_is_found(workspace: Workspace) -> None:
    """`configs/rinni/train.toml: network_dim` is the field of train.toml; a caption's path is no field."""
    assert place_of("configs/rinni/train.toml: network_dim") == ("train", "network_dim")
    assert place_of("configs/a: b/dataset.toml: datasets[0].subsets[1]") == ("dataset", "datasets[0].subsets[1]")
    assert place_of("configs/rinni/prompts.txt") == ("prompts", "")
    assert place_of("train_data/rinni/10_rinni/1.txt") == (None, "")
