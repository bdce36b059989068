"""Configs full of nonsense: the checks say something, and never fall over."""

from __future__ import annotations

import json
import random
import re

import pytest

from core.config.documents import Config
from core.config.fixes import fix
from core.config.guide import convert, read_guide
from core.config.plan import plan
from core.config.preflight import check
from core.config.presets import draft, list_presets
from core.config.schema import dataset_fields, fields
from core.problems import UserError
from core.settings import Settings
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint, picture

VALUES = [
    *("0", "1", "-1", "1.5", "-0.0", "inf", "nan", "true", "false", '"x"', '""', '"a=b"', "[]", "[1]", '["a"]'),
    *('["a=1"]', '[[1],["x"]]', "{a=1}", "{}", "1979-05-27", '"../.."', '"/"', "99999999999999999999", "[{a=1}]"),
    *("768", "0.5", '"models/sdxl.safetensors"'),
]
LINES = (
    "[general]",
    "[[datasets]]",
    "[datasets]",
    "[[datasets.subsets]]",
    "[general.x]",
    "datasets = 3",
    "general = 2",
    "subsets = [1,{a=1}]",
    "[network_args]",
)
DATASET_KEYS = [*dataset_fields("subsets"), *dataset_fields("datasets")]


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    for number in range(3):
        picture(workspace.train_data / "r" / "10_r" / f"{number}.png", 600, 700 + number)
    checkpoint(workspace.models / "sd15.safetensors", SHAPES["SD1.5"])
    checkpoint(workspace.models / "sdxl.safetensors", SHAPES["SDXL"])
    return workspace


def spoiled(text: str, keys: list[str], dice: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(lines))
        match = re.match(r"(\s*)(\w+) = ", lines[at])
        if match and dice.random() < 0.6:
            lines[at] = f"{match[1]}{match[2]} = {dice.choice(VALUES)}"
        elif dice.random() < 0.8:
            lines.insert(at, f"{dice.choice(keys)} = {dice.choice(VALUES)}")
        else:
            lines.insert(at, dice.choice(LINES))
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(5))
def test_no_config_breaks_the_checks(seed: int, ready: Workspace) -> None:
    """Values of any kind under any key, in any place: problems, a plan and fixes, or a sentence; nothing else."""
    dice = random.Random(seed)
    for _ in range(40):
        config: Config = draft(ready, "x", dice.choice([preset.name for preset in list_presets()]), "r")
        for file, keys in (("train", [*fields(), *DATASET_KEYS]), ("dataset", [*DATASET_KEYS, "seed", "subsets"])):
            try:
                config.set_text(file, spoiled(config.text(file), keys, dice))  # type: ignore[arg-type]
            except UserError as error:
                assert error.message.startswith(f"{file}.toml, line ")
        problems = check(config, ready, Settings())
        json.dumps([problem.as_json() for problem in problems])
        json.dumps(plan(config, ready).as_json())
        for problem in problems:
            try:
                fix(config, ready, problem)
            except UserError as error:
                assert error.message
        for key in dice.sample(DATASET_KEYS, 5):
            try:
                config.set("dataset", key, 1)
            except UserError as error:
                assert error.message


def test_numbers_beyond_reason_are_named_at_once(ready: Workspace) -> None:
    """A digit too many must not keep the program busy for ever."""
    for key, value in (("max_bucket_reso", 10**18), ("resolution", 10**9), ("num_repeats", 10**12)):
        config = draft(ready, "x", "sd15-character", "r", {key: value})
        assert "KT209" in {problem.code for problem in check(config, ready, Settings())}
        assert plan(config, ready).total_steps == 0
    config = draft(ready, "x", "sd15-character", "r", {"max_train_epochs": 10**15})
    assert plan(config, ready).total_steps == 30 * 10**15


@pytest.mark.parametrize("seed", range(3))
def test_no_guide_breaks_the_import(seed: int, ready: Workspace) -> None:
    """The same nonsense in a guide: three texts with problems, or a sentence."""
    dice = random.Random(seed)
    source = draft(ready, "x", "sd15-character", "r")
    for _ in range(40):
        one_file = source.text("train") + source.text("dataset")
        text = spoiled(one_file, [*fields(), *DATASET_KEYS], dice)
        words = " ".join(
            f"--{dice.choice(list(fields()))} {dice.choice(['', 'x', '1', '-1', 'a b'])}" for _ in range(3)
        )
        try:
            guide = read_guide(f"```toml\n{text}\n```\n```bash\npython train_network.py {words}\n```\n")
            result = convert(guide, {}, "x", ready)
        except UserError as error:
            assert error.message
            continue
        Config(ready.configs / "x", {"train": result.train, "dataset": result.dataset, "prompts": result.prompts})
