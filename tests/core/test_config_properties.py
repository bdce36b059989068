"""Whatever a config file looks like: opening and saving changes no byte, and a change changes what it is about."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.documents import Config
from core.config.reading import LARGEST, flatten, mixed_arrays
from core.problems import UserError

PIECES = [
    "# a comment",
    "",
    "network_dim = 32  # how much",
    "  network_alpha = 16",
    "learning_rate   =   1e-4",
    'output_name = "a # b"',
    "netwrok_dim = 4",
    "\"odd \u001b key\" = 'x'".replace("\u001b", "\\u001b"),
    '"ключ" = "значение"',
    'network_args = ["conv_dim=4", # one\n  "conv_alpha=1",\n]',
    'metadata_title = """\nmany\n[lines]\n# no comment\n"""',
    "seed = 0x2A",
    "caption_dropout_rate = 1_0.0",
    "clip_skip.x = 3",
    "betas = [0.9, 0.99]",
    "path = 'C:\\models\\x'",
    "day = 1979-05-27",
]
ENDS = st.sampled_from(["\n", "\r\n"])


@st.composite
def files(draw: st.DrawFn) -> str:
    """A train.toml of pieces in any order, under any sections, with one kind of line end or both."""
    rows = draw(st.lists(st.sampled_from(PIECES), unique=True, max_size=10))
    sections = draw(st.lists(st.sampled_from(["[model]", "[a.b]", '["x y"]', "[network]"]), unique=True, max_size=3))
    for section in sections:
        rows.insert(draw(st.integers(0, len(rows))), section)
    text = "".join(row.replace("\n", (end := draw(ENDS))) + end for row in rows)
    return text if draw(st.booleans()) else text.rstrip("\r\n")


CHANGES = st.sampled_from(
    [
        ("network_dim", 8),
        ("network_alpha", 4.5),
        ("learning_rate", 2e-5),
        ("max_train_epochs", 3),
        ("flip_aug", True),
        ("output_name", "C:\\new\\'name'"),
        ("network_args", ["a=1", 'b="x"']),
        ("text_encoder_lr", [1e-5, 1]),
        ("metadata_title", "two\nlines ✓"),
        ("sample_prompts", "configs/ü/prompts.txt"),
        ("min_snr_gamma", 5),
    ]
)


@settings(max_examples=150, deadline=None)
@given(files())
def test_opening_and_saving_changes_no_byte(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """The file is not even written."""
    path = tmp_path_factory.mktemp("c") / "train.toml"
    path.write_bytes(text.encode())
    config = Config.load(path.parent)
    before = path.stat().st_mtime_ns
    assert config.save() is None and not config.changed
    assert path.read_bytes() == text.encode() and path.stat().st_mtime_ns == before


@settings(max_examples=150, deadline=None)
@given(files(), CHANGES)
def test_a_change_touches_its_own_line_only(text: str, change: tuple[str, object]) -> None:
    """Every other line is there as it was, in its order; the trainer reads the value; taking it out brings it back."""
    try:
        config = Config(Path("x"), {"train": text})
    except UserError:
        return  # a section twice
    key, value = change
    before = config.effective()
    config.set("train", key, value)
    after = flatten(tomllib.loads(config.text("train")))
    wanted = config.get("train", key)
    assert after[key] == wanted and {**before, key: wanted} == after
    assert not list(mixed_arrays({key: after[key]}))
    if key not in before:
        *whole, last = text.split("\n")
        lines = iter(config.text("train").split("\n"))
        assert all(any(line == there for there in lines) for line in whole if line.strip())
        assert any(last == there.rstrip("\r") for there in lines) or not last
        config.unset("train", key)
        assert config.effective() == before


BAD = {
    "deep": "a = " + "[" * 900 + "]" * 900,
    "too deep for us": "a = " + "[" * 60 + "]" * 60,
    "a number of 5000 digits": "seed = " + "9" * 5000,
    "a number of 400 digits": "seed = " + "9" * 400,
    "json": '{\n "LoRA_type": "Standard"\n}',
    "yaml": "model:\n  name: x\n",
    "not closed": 'a = [1,\nb = "x"\n',
    "twice": "a = 1\na = 2\n",
    "a lone carriage return": "a = 1\rb = 2\r",
    "a control character": 'a = "\x07"',
    "no end": 'a = """\nx\n',
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_toml_is_told_and_left_alone(tmp_path: Path, name: str) -> None:
    """One sentence with the file and, where there is one, the line; the form's changes are refused, no byte moves."""
    path = tmp_path / "train.toml"
    path.write_bytes(BAD[name].encode())
    config = Config.load(tmp_path)
    error = config.broken["train"]
    assert "train.toml" in error.message and error.hint and len(error.message) < 300
    with pytest.raises(UserError):
        config.set("train", "network_dim", 8)
    config.save()
    assert path.read_bytes() == BAD[name].encode()
    hints = {"json": "config import", "yaml": "YAML"}
    assert hints.get(name, "") in error.hint


def test_a_file_of_five_megabytes_is_not_opened(tmp_path: Path) -> None:
    """It is told by its size at once, is not put into the editor, and cannot be overwritten from here."""
    path = tmp_path / "train.toml"
    data = b'a = "' + b"x" * 5 * LARGEST + b'"\n'
    path.write_bytes(data)
    config = Config.load(tmp_path)
    assert "5.0 MB" in config.broken["train"].message and config.text("train") == ""
    with pytest.raises(UserError, match=r"5\.0 MB"):
        config.set_text("train", "a = 1\n")
    config.save()
    assert path.read_bytes() == data


def test_windows_text_of_another_kind_is_named(tmp_path: Path) -> None:
    """What Notepad calls Unicode."""
    (tmp_path / "train.toml").write_bytes("a = 1\n".encode("utf-16"))
    assert "UTF-16" in Config.load(tmp_path).broken["train"].message
