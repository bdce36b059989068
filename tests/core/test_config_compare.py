"""Two configs beside each other: by value, by line, against a preset and a run, without their tokens."""

from __future__ import annotations

import pytest

from core.config import compare, effects, exclusions
from core.config.documents import Config
from core.config.plan import plan
from core.config.presets import draft, write_new
from core.config.schema import fields
from core.problems import UserError
from core.workspace import Workspace
from tests.core.config_kit import picture


@pytest.fixture
def config(workspace: Workspace) -> Config:
    for number in range(4):
        picture(workspace.train_data / "rinni" / "10_rinni" / f"{number}.png", 512, 512)
    return write_new(draft(workspace, "rinni", "sd15-character", "rinni"))


def test_what_differs_is_named_by_its_place(config: Config, workspace: Workspace) -> None:
    """Options, places of the dataset file and prompts; a saved file differs in nothing."""
    assert compare.differences(config, compare.saved(config)) == []
    config.set("train", "network_dim", 8)
    config.set("dataset", "datasets[0].subsets[0].num_repeats", 3)
    config.prompts += "one more --w 64\n"
    config.set("train", "huggingface_token", "hf_secret")
    found = {each.name: (each.ours, each.theirs) for each in compare.differences(config, compare.saved(config))}
    assert found["network_dim"] == (8, 128) and found["dataset:datasets[0].subsets[0].num_repeats"] == (3, 10)
    assert "hf_secret" not in str(found) and any(name.startswith("prompt ") for name in found)


def test_lines_are_laid_beside_each_other(config: Config) -> None:
    """A changed line stands beside the old one, a new one beside nothing; a token is hidden."""
    config.set("train", "network_dim", 8)
    config.set("train", "wandb_api_key", "secret!")
    pairs = compare.line_pairs(config, compare.saved(config), "train")
    changed = [pair for pair in pairs if pair.kind == "changed"]
    assert any("network_dim = 8" in (pair.ours or "") and "128" in (pair.theirs or "") for pair in changed)
    assert all("secret!" not in (pair.ours or "") for pair in pairs)
    theirs = [pair.theirs for pair in pairs if pair.theirs is not None]
    assert theirs == compare.saved(config).text("train").splitlines()


def test_a_preset_is_filled_in_for_the_same_dataset(config: Config, workspace: Workspace) -> None:
    """The config that was made from a preset differs from it in nothing; from another one in what it is about."""
    assert compare.differences(config, compare.from_preset(config, workspace, "sd15-character")) == []
    names = {each.key for each in compare.differences(config, compare.from_preset(config, workspace, "sdxl-character"))}
    assert "network_dim" in names and "datasets[0].resolution" in names
    assert not any("image_dir" in name for name in names)


def test_a_run_that_is_not_there_is_named(workspace: Workspace) -> None:
    """No folder of runs is left to guess."""
    with pytest.raises(UserError, match="no training"):
        compare.frozen(workspace, "../configs/rinni")


def test_an_effect_stands_beside_its_value(config: Config, workspace: Workspace) -> None:
    """Scale, effective rate, steps of the plan, pictures a step, warm-up in steps."""
    config.set("train", "gradient_accumulation_steps", 2)
    config.set("train", "lr_warmup_steps", 0.1)
    train, planned = config.effective(), plan(config, workspace)
    seen = effects.Seen(train, {"batch_size": 2}, planned, config.script)

    def said(key: str) -> str:
        return effects.effect(key, train.get(key, seen.dataset.get(key)), seen)

    assert said("network_alpha") == "scale 0.5" and said("learning_rate").startswith("effective ")
    assert said("batch_size") == "2 × 2 = 4 pictures a step"
    assert f"{planned.total_steps:,} steps" in said("max_train_epochs")
    assert said("lr_warmup_steps").startswith(f"{planned.warmup_steps} step")
    assert effects.effect("min_snr_gamma", 5, seen) == "loss × min(SNR, 5) / SNR"
    assert effects.effect("network_dim", 128, seen).endswith("a file")
    odd = effects.Seen({"network_dim": "x", "network_alpha": [], "optimizer_type": 3}, {"batch_size": "?"}, None, "")
    for key in effects._EFFECTS:
        for value in ("x", [], {}, True, None, -1, 0, float("nan"), 10**400):
            assert isinstance(effects.effect(key, value, odd), str)


def test_every_rule_is_about_options_that_exist() -> None:
    """No rule names an option that no script and no dataset file has."""
    from core.config.schema import dataset_names, scripts

    known = {name for script in scripts() for name in fields(script)}
    known |= {name for level in ("general", "datasets", "subsets") for name in dataset_names(level)}
    named = {name for rule in exclusions.EXCLUSIONS for name in (rule.one, *rule.others)}
    named |= exclusions.NEEDS.keys() | {name for name, _ in exclusions.NEEDS.values()}
    assert named <= known


def test_what_excludes_an_option_is_said_from_both_sides() -> None:
    """Cached text against shuffled captions, from each of the two, and only with scripts that refuse it."""
    sdxl = "sdxl_train_network.py"
    values = {"cache_text_encoder_outputs": True, "shuffle_caption": True, "color_aug": False, "cache_latents": True}
    assert [name for name, _ in exclusions.in_force("shuffle_caption", values, sdxl)] == ["cache_text_encoder_outputs"]
    assert [name for name, _ in exclusions.in_force("cache_text_encoder_outputs", values, sdxl)] == ["shuffle_caption"]
    assert not exclusions.in_force("shuffle_caption", values, "train_network.py")
    assert not exclusions.in_force("cache_latents", values, sdxl)
    assert exclusions.missing("full_fp16", {"mixed_precision": "bf16"}) == "needs mixed_precision fp16"
    assert exclusions.missing("masked_loss", {"alpha_mask": True}) is None
