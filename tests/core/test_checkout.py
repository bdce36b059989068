"""The options of the user's own sd-scripts: read from its source, kept, and used instead of what is shipped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import schema
from core.config.check_options import check_options
from core.config.checkout import read_checkout
from core.config.checkout_options import Sources, script_options
from core.config.documents import Config
from core.config.refresh import begin, is_stale, kept, refresh
from core.config.schema import dataset_fields, fields, network_args, optimizers, parse_value, suggest
from core.problems import UserError
from tests.conftest import REAL_TRAINER

DATA = Path(__file__).parents[1] / "data" / "checkout"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small sd-scripts of one's own, named by the environment."""
    shutil.copytree(DATA, tmp_path / "scripts")
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(tmp_path / "scripts"))
    schema.forget()
    yield tmp_path / "scripts"
    schema.forget()


def _by_name(checkout: Path, script: str) -> dict[str, object]:
    return {option.dest: option for option in script_options(Sources(checkout), script)}


def test_calls_are_followed_through_the_modules(checkout: Path) -> None:
    """Options come from the script, from the functions it calls elsewhere, and from the script it builds on."""
    names = list(_by_name(checkout, "sdxl_train_network.py"))
    assert names[:3] == ["console_log_level", "shuffle_caption", "caption_extension"]
    assert names[-1] == "cache_text_encoder_outputs"
    assert {"deepspeed", "dataset_config", "lr_warmup_steps", "wave_shape"} <= set(names)


def test_flags_of_a_call_decide_what_is_added(checkout: Path) -> None:
    """Whether by position, by name, by default, or negated."""
    lora, whole = _by_name(checkout, "train_network.py"), _by_name(checkout, "train_db.py")
    assert "reg_data_dir" in lora
    assert "in_json" not in lora
    assert "only_without" not in lora
    assert {"in_json", "only_without"} <= whole.keys()


def test_the_facts_of_an_option_are_read(checkout: Path) -> None:
    """Kind, default, choices, and the authors' words; also through constants of other modules."""
    rows = read_checkout(checkout)["options"]
    assert rows["options"]["shuffle_caption"] == ["bool", False]
    assert rows["options"]["learning_rate"] == ["float", 2e-06]
    assert rows["options"]["lr_warmup_steps"] == ["number", 0]
    assert rows["options"]["network_args"] == ["list", None, "str"]
    assert rows["options"]["text_encoder_lr"] == ["list", None, "float"]
    assert rows["options"]["dataset_config"] == ["path", None]
    assert rows["options"]["wave_file"] == ["path", None]
    assert rows["options"]["wave_shape"] == ["choice", "flat", ["flat", "steep"]]
    assert rows["options"]["zero_stage"] == ["choice", 2, [0, 1, 2, 3]]
    assert rows["scripts"]["train_db.py"]["max_train_steps"] == ["int", 800]
    assert "network_dim" in rows["without"]["train_db.py"]


def test_nothing_of_the_checkout_is_run(checkout: Path) -> None:
    """Its train_network.py would leave a file; its library imports what is not installed."""
    refresh(checkout)
    assert not (checkout / "it_was_run").exists()


def test_options_of_the_users_version_count_everywhere(checkout: Path) -> None:
    """Kinds, choices, help, did-you-mean, `config set` and the check take what this sd-scripts takes."""
    assert "wave_shape" not in fields()
    refresh(checkout)
    schema.forget()
    known = fields()
    assert known["wave_shape"].choices == ("flat", "steep")
    assert known["wave_file"].upstream == "one of 19 waves"
    assert known["network_module"].upstream == "module to train"  # its Japanese half is left out
    assert known["network_dim"].help.startswith("Rank")  # our own words stay first
    assert suggest("wave_shap") == "wave_shape"
    assert parse_value("train", "wave_shape", "steep") == "steep"
    assert dataset_fields("subsets")["ripple"].default == 0.5
    assert optimizers() == ("AdamW", "Zephyr")
    assert network_args("networks.lora") == {"block_lr_zero_threshold": "float", "conv_dim": "int", "gentle": "bool"}
    config = Config(
        checkout / "x", {"train": 'network_module = "networks.lora"\nwave_shape = "round"\nclip_skip = 2\n'}
    )
    found = {(problem.code, problem.where) for problem in check_options(config, "train_network.py")}
    assert ("KT203", "train.toml: wave_shape") in found
    assert ("KT202", "train.toml: clip_skip") in found  # this version has no such option


def test_a_script_that_the_checkout_lacks_is_known_as_shipped(checkout: Path) -> None:
    """An older sd-scripts has no Anima; its options are not train_network.py's."""
    refresh(checkout)
    schema.forget()
    assert "qwen3" in fields("anima_train_network.py")
    assert not schema.is_in_checkout("anima_train_network.py")
    assert schema.is_in_checkout("train_db.py")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("library/train_util.py", "def f(:\n", "train_util.py, line 1 is not Python"),
        ("train_network.py", "x = 1\n", "has no setup_parser()"),
        ("library/config_util.py", "x = 1\n", "has no schema of the dataset file"),
        ("networks/lora.py", None, "has no lora.py"),
        ("train_network.py", None, "Cannot read"),
    ],
)
def test_a_checkout_that_cannot_be_read_leaves_what_is_shipped(
    checkout: Path, file: str, text: str | None, said: str
) -> None:
    """One sentence that names the file; the options are those that are shipped; it is not tried again each time."""
    (checkout / file).unlink() if text is None else (checkout / file).write_text(text)
    result = refresh(checkout)
    assert result.facts is None
    assert said in str(result.problem)
    schema.forget()
    assert len(fields()) == 193
    assert "shipped" in schema.source()
    assert not is_stale(checkout)


def test_it_is_read_again_when_it_changed(checkout: Path) -> None:
    """Another file, another commit; not when nothing changed."""
    assert is_stale(checkout)
    refresh(checkout)
    assert not is_stale(checkout)
    (checkout / ".git").mkdir()
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (checkout / ".git" / "packed-refs").write_text("# pack-refs\n" + "a" * 40 + " refs/heads/main\n")
    assert is_stale(checkout)
    assert refresh(checkout).commit == "a" * 40
    (checkout / "library" / "utils.py").write_text("x = 1\n")
    assert is_stale(checkout)


def test_a_damaged_cache_is_nothing(checkout: Path, own_home: Path) -> None:
    """Half a file, another version, or something else altogether: as if it had not been read."""
    refresh(checkout)
    file = next((own_home / "cache").rglob("catalogue/*.json"))
    for text in (
        "{",
        "[]",
        json.dumps({"v": 1}),
        json.dumps({"v": schema.VERSION, "stamp": "x", "facts": {"options": {}}}),
    ):
        file.write_text(text)
        schema.forget()
        assert kept(checkout) is None
        assert len(fields()) == 193


def test_the_app_reads_it_in_a_child_process(checkout: Path) -> None:
    """The screen does not stand still meanwhile."""
    assert begin(checkout).wait(60) == 0
    known = kept(checkout)
    assert known is not None
    assert known.facts is not None


def test_a_file_that_is_no_script_is_refused(checkout: Path) -> None:
    """A parser that names no option is no parser of ours."""
    (checkout / "train_db.py").write_text("def setup_parser():\n    return None\n")
    with pytest.raises(UserError, match="names no option"):
        script_options(Sources(checkout), "train_db.py")


@pytest.mark.skipif(REAL_TRAINER["KOHYA_TUI_SD_SCRIPTS"] is None, reason="KOHYA_TUI_SD_SCRIPTS names no checkout")
def test_what_is_shipped_is_what_the_real_checkout_says() -> None:
    """Options, dataset keys, network arguments and optimizers of sd-scripts at the commit that the catalogue names."""
    folder = Path(schema.__file__).with_name("catalogue")
    found = read_checkout(Path(str(REAL_TRAINER["KOHYA_TUI_SD_SCRIPTS"])), schema.known_paths())
    for name in ("options", "dataset", "network_args"):
        shipped = json.loads((folder / f"{name}.json").read_text("utf-8"))
        assert found[name] == {key: shipped[key] for key in found[name]}
    assert found["optimizers"] == json.loads((folder / "optimizers.json").read_text("utf-8"))["optimizers"]
