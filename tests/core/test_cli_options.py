"""`config options` and `config refresh`: what the trainer takes, without reading its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import schema
from tests.core.cli_kit import Cli
from tests.fake_nvml.machine import Machine

pytest_plugins = ("tests.fake_nvml.fixtures",)

CHECKOUT = Path(__file__).parents[1] / "data" / "checkout"


@pytest.fixture(autouse=True)
def shipped() -> Iterator[None]:
    """Nothing of another test's checkout is remembered, before or after."""
    schema.forget()
    yield
    schema.forget()


def test_options_are_found_by_a_word(bare: Cli) -> None:
    """Name, kind, default and what it does; scripts may be named in short."""
    answer = bare("config", "options", "flux", "--search", "swap")
    assert answer.lines[0].startswith("flux_train_network.py · 2 options · shipped with kohya-tui")
    assert "  blocks_to_swap  int" in answer.lines


def test_every_option_has_its_facts_as_json(bare: Cli) -> None:
    """What a script needs to write a config: of both files, with the names that may stand in them."""
    document = bare("config", "options", "sdxl_train_network.py", "--json").json
    known = {option["name"]: option for option in document["options"]}
    assert known["mixed_precision"]["choices"] == ["no", "fp16", "bf16"]
    assert known["network_alpha"]["default"] == 1
    assert known["num_repeats"]["file"] == "dataset.toml"
    assert known["network_dim"]["from"] == "shipped"
    assert "lycoris.kohya" in document["network_modules"]
    assert "Prodigy" in document["optimizers"]
    assert "sdxl_train.py" in document["scripts"]


def test_a_strange_script_is_refused(bare: Cli) -> None:
    """With the name that was probably meant."""
    assert "Did you mean sdxl_train.py?" in bare("config", "options", "sdxl_trian.py", code=2).err


def test_refresh_reads_the_users_own_checkout(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options and its authors' words are there from then on."""
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(CHECKOUT))
    schema.forget()
    assert bare("config", "refresh", "--json").json["scripts"]["train_db.py"] == 10
    answer = bare("config", "options", "--search", "wave")
    assert "  wave_file  path" in answer.lines
    assert "      one of 19 waves" in answer.lines


def test_refresh_without_a_checkout_says_what_to_do(bare: Cli) -> None:
    """One sentence, and the setting."""
    assert "sd_scripts" in bare("config", "refresh", code=1).err


def test_a_checkout_that_cannot_be_read_is_said(bare: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shipped stays in use."""
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(tmp_path))
    schema.forget()
    assert "The shipped options stay in use: Cannot read" in bare("config", "refresh", code=1).err
    assert "shipped" in bare("config", "options").lines[0]


def test_a_new_config_fits_the_gpu_of_the_machine(cli: Cli, fake_gpus: Machine) -> None:
    """24 GB are seen: six pictures a step for SDXL, and it is said; --vram says otherwise."""
    answer = cli("config", "new", "here", "--preset", "sdxl-character")
    assert "--vram 24" in answer.err
    assert cli("config", "show", "here", "dataset:batch_size", "--json").json["value"] == 6
    cli("config", "new", "there", "--preset", "sdxl-character", "--vram", 12)
    assert cli("config", "show", "there", "dataset:batch_size", "--json").json["value"] == 2
