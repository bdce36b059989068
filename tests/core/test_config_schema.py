"""The facts of every option, and values from what people type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.config.check_options import check_options
from core.config.documents import Config
from core.config.schema import GROUPS, LEVELS, dataset_fields, fields, network_args, parse_value, scripts, suggest
from core.config.values import complaint, float_text
from core.problems import UserError


def test_every_option_of_every_script_has_a_line_of_help() -> None:
    """The form never shows a key without saying what it does."""
    for script in scripts():
        assert [field.name for field in fields(script).values() if not field.help] == []
    for level in LEVELS:
        assert [field.name for field in dataset_fields(level).values() if not field.help] == []


def test_at_least_120_options_have_our_own_words() -> None:
    """One line each, which ends as a sentence and is short enough for a terminal."""
    known: dict[str, str] = {}
    for script in scripts():
        known |= {field.name: field.help for field in fields(script).values()}
    assert len(known) == 280
    assert len(set(known.values())) >= 250
    too_long = [name for name, text in known.items() if len(text) > 128 or "\n" in text or text[-1] not in ".…"]
    assert too_long == []


def test_the_facts_are_those_of_the_parsers() -> None:
    """Defaults, kinds and choices that sd-scripts has at the commit that the catalogue names."""
    known = fields()
    assert len(known) == 193
    assert known["learning_rate"].default == 2e-06
    assert known["caption_extension"].default == ".caption"
    assert known["mixed_precision"].choices == ("no", "fp16", "bf16")
    assert known["max_token_length"].choices == (150, 225)
    assert known["network_args"].type == "list"
    assert known["pretrained_model_name_or_path"].type == "path"
    assert "cache_text_encoder_outputs" in fields("sdxl_train_network.py")
    assert "cache_text_encoder_outputs" not in known


def test_the_form_begins_with_what_people_set() -> None:
    """About forty essential fields, in groups of a known order."""
    essential = [field for field in fields().values() if field.essential]
    assert 25 <= len(essential) <= 45
    order = [GROUPS.index(field.group) for field in fields().values()]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("netwrok_dim", "network_dim"),
        ("lr", "learning_rate"),
        ("max_train_epoch", "max_train_epochs"),
        ("network-dim", "network_dim"),
        ("zzz", None),
        ("network_dim", None),
    ],
)
def test_a_slip_gets_the_name_that_was_meant(typed: str, meant: str | None) -> None:
    """Did you mean …?"""
    assert suggest(typed) == meant


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("network_dim", "32", 32),
        ("learning_rate", "1e-4", 1e-4),
        ("learning_rate", "1", 1.0),
        ("lr_warmup_steps", "100", 100),
        ("lr_warmup_steps", "5%", 0.05),
        ("lr_warmup_steps", "0.1", 0.1),
        ("sdpa", "yes", True),
        ("sdpa", "false", False),
        ("mixed_precision", "bf16", "bf16"),
        ("max_token_length", "225", 225),
        ("network_args", '["conv_dim=4", "conv_alpha=1"]', ["conv_dim=4", "conv_alpha=1"]),
        ("optimizer_args", "weight_decay=0.1 betas=(0.9, 0.99)", ["weight_decay=0.1", "betas=(0.9, 0.99)"]),
        ("text_encoder_lr", "5e-5", [5e-5]),
        ("output_name", "rinni v1", "rinni v1"),
        ("output_name", "", None),
        ("unknown_key", "3", 3),
        ("unknown_key", "some text", "some text"),
    ],
)
def test_typed_text_becomes_the_right_kind(key: str, text: str, value: Any) -> None:
    """`config set` writes what the trainer wants, whatever way it was typed."""
    found = parse_value("train", key, text)
    assert found == value
    assert type(found) is type(value)


def test_a_resolution_may_be_one_number_or_two() -> None:
    """768, 768,512 and 768x512 are understood for the dataset file."""
    assert parse_value("dataset", "resolution", "768") == 768
    assert parse_value("dataset", "datasets[0].resolution", "768, 512") == [768, 512]
    assert parse_value("dataset", "resolution", "768x512") == [768, 512]


@pytest.mark.parametrize(
    ("key", "text"), [("network_dim", "many"), ("network_dim", "4.5"), ("mixed_precision", "fp32"), ("sdpa", "maybe")]
)
def test_a_wrong_kind_is_refused_with_what_is_wanted(key: str, text: str) -> None:
    """The message names the key, what it takes, and what was given."""
    with pytest.raises(UserError, match=f"{key} must be .*{text}"):
        parse_value("train", key, text)


def test_the_dataset_file_is_strict_about_numbers() -> None:
    """1 for a float and 2.0 for an int are refused by the trainer there, but not in train.toml."""
    split, repeats = dataset_fields("datasets")["validation_split"], dataset_fields("subsets")["num_repeats"]
    assert complaint(0, split, strict=True) is not None
    assert complaint(0.0, split, strict=True) is None
    assert complaint(2.0, repeats, strict=True) is not None
    assert complaint(1, fields()["prior_loss_weight"]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (5e-5, "5e-5"), (0.05, "0.05"), (1.0, "1.0"), (0.0001234, "1.234e-4"), (0.0, "0.0")],
)
def test_floats_are_written_as_people_write_them(value: float, text: str) -> None:
    """No 0.0001 where the guide said 1e-4, and the same number when it is read again."""
    assert float_text(value) == text
    assert float(text) == value


def test_what_trains_a_whole_model_is_known_too(tmp_path: Path) -> None:
    """Its own options are no strangers, and it needs no network; one of a LoRA is a stranger there."""
    text = '# script: sdxl_train.py\nlearning_rate_te1 = 1e-6\nblock_lr = "1e-4,1e-4"\nlearning_rate = 1e-6\n'
    config = Config(tmp_path / "x", {"train": f"{text}max_train_epochs = 3\n"})
    assert [problem.code for problem in check_options(config, config.script)] == []
    config = Config(tmp_path / "x", {"train": f"{text}max_train_epochs = 3\nnetwork_dim = 4\n"})
    assert [problem.code for problem in check_options(config, config.script)] == ["KT202"]


def test_arguments_of_lycoris_are_known_from_its_documentation() -> None:
    """A slip gets the name that was meant; what only LyCORIS knows is no mistake."""
    assert {"algo", "factor", "preset"} <= (network_args("lycoris.kohya") or {}).keys()
    train = {
        "train": 'network_module = "lycoris.kohya"\nnetwork_args = ["factr=8", "brand_new=1"]\nlearning_rate = 1e-4\n'
    }
    found = check_options(Config(Path("x"), train), "train_network.py")
    assert [(problem.code, problem.hint) for problem in found if problem.code == "KT305"] == [
        ("KT305", "Did you mean factor?")
    ]
