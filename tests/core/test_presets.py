"""Presets: every combination is one that the trainer takes, and says why it is as it is."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from core.config import schema
from core.config.base_models import SCRIPTS, inspect
from core.config.check_numbers import check_numbers
from core.config.check_options import check_options
from core.config.check_training import check_training
from core.config.compose import Choice, choose, compose, differences
from core.config.documents import Config
from core.config.pieces import TIERS, families, family_named, family_of, optimizers, purposes, tier_of, tier_of_gpus
from core.config.preset_text import texts_of
from core.config.presets import draft, list_presets, write_new
from core.config.reading import mixed_arrays
from core.config.schema import dataset_fields, fields
from core.config.values import complaint
from core.hardware import GpuReading, GpuSnapshot
from core.problems import Severity, UserError
from core.workspace import Workspace
from tests.core.config_kit import SHAPES, checkpoint, picture

SPEAK_FOR_THEMSELVES = frozenset(
    {
        "pretrained_model_name_or_path",
        "clip_l",
        "clip_g",
        "t5xxl",
        "ae",
        "gemma2",
        "qwen3",
        "vae",
        "text_encoder",
        "byt5",
    }
    | {"dataset_config", "output_name", "network_module", "learning_rate", "sample_every_n_epochs", "max_bucket_reso"}
    | {"resolution", "min_bucket_reso"}
)


@pytest.fixture(autouse=True)
def shipped() -> Iterator[None]:
    """The facts are the shipped ones, whatever another test read."""
    schema.forget()
    yield
    schema.forget()


def every() -> Iterator[Choice]:
    """Families × purposes × optimizers × memory."""
    for parts in itertools.product(families(), purposes(), optimizers(), TIERS):
        yield choose(*parts)


@cache
def _made(choice: tuple[str, ...]) -> Config:
    return config_of(choose(choice[0], choice[1], choice[2], int(choice[3])), Path())


def made(choice: Choice) -> Config:
    """The files of a choice, in memory, made once; not to be changed."""
    return _made((choice.family.name, choice.purpose.name, choice.optimizer.name, str(choice.vram)))


def config_of(choice: Choice, folder: Path) -> Config:
    """The files of a choice, in memory."""
    composed = compose(choice)
    words = {key: patterns[0] for key, patterns in composed.files.items()}
    texts = texts_of(composed, "rinni", choice.name, words | {"model": composed.model, "trigger": "rinni"}, "")
    return Config(folder / "rinni", texts)


def test_the_families_and_optimizers_that_people_train_are_there() -> None:
    """Nine kinds of base models and Chroma, for characters and styles, eight optimizers, six sizes of memory."""
    assert {
        "sd15",
        "sdxl",
        "pony",
        "noobai-vpred",
        "flux",
        "sd35",
        "lumina2",
        "anima",
        "hunyuan21",
    } <= families().keys()
    assert {"AdamW8bit", "AdamW", "Adafactor", "Prodigy", "Lion", "CAME", "DAdaptation"} <= optimizers().keys()
    assert sum(1 for _ in every()) == 960


def test_every_combination_is_known_to_its_script() -> None:
    """Each key is an option of the script or a key of the dataset file, of the right kind, one of its choices."""
    wrong = []
    for choice in every():
        config = made(choice)
        known = fields(config.script)
        assert config.script == choice.family.script
        for key, value in config.effective("train").items():
            said = complaint(value, known[key]) if key in known else "unknown"
            wrong += [(choice, key, said)] if said else []
        data = config.plain("dataset")
        for level, rows in (("general", data["general"]), ("datasets", data["datasets"][0])):
            for key, value in rows.items():
                field = dataset_fields(level).get(key)
                said = complaint(value, field, strict=True) if field is not None else "unknown"
                wrong += [(choice, key, said)] if said else []
    assert wrong == []


def test_every_combination_passes_the_checks_of_options() -> None:
    """No error, and no warning either: a preset has nothing to mend."""
    found = set()
    for choice in every():
        config = made(choice)
        train = config.effective("train")
        problems = [*check_options(config, config.script), *check_numbers(train)]
        problems += check_training(train, config.script, is_sure=True)
        found |= {
            (problem.code, problem.where, problem.message)
            for problem in problems
            if problem.severity is not Severity.INFO
        }
    assert found == set()


def test_what_is_written_is_read_by_old_toml_too() -> None:
    """toml 0.10.2 refuses lists of several kinds and reads no byte order mark; lines stay readable."""
    for choice in every():
        config = made(choice)
        for file in ("train", "dataset"):
            text = config.text(file)
            assert not list(mixed_arrays(tomllib.loads(text)))
            assert text.isprintable() or set(text) - {"\n"}
            assert "{{" not in text
            assert max(map(len, text.splitlines())) <= 160


def test_every_value_that_is_not_the_default_says_why() -> None:
    """A reason stands beside it, or above where it is long; paths and names speak for themselves."""
    missing = set()
    for choice in every():
        config = made(choice)
        defaults = {key: field.default for key, field in fields(config.script).items()}
        for key, value in config.effective("train").items():
            if value == defaults.get(key) or key in SPEAK_FOR_THEMSELVES:
                continue
            found = re.search(
                rf"(?:^# (?P<above>.+)\n)?^{key} = [^\n]*?(?:  *# (?P<beside>.+))?$", config.text("train"), re.M
            )
            if found is None or not (found["beside"] or found["above"]):
                missing.add((choice.family.name, key))
        for _, key, value in differences(compose(choice)):
            if not value.why and key not in SPEAK_FOR_THEMSELVES:
                missing.add((choice.family.name, key))
    assert missing == set()


def test_captions_that_are_encoded_once_are_never_shuffled() -> None:
    """sd-scripts refuses to keep text encoder outputs of captions that change."""
    for choice in every():
        config = made(choice)
        if config.get("train", "cache_text_encoder_outputs"):
            assert not {"shuffle_caption", "caption_dropout_rate"} & config.plain("dataset")["general"].keys()
            assert config.get("train", "network_train_unet_only") is True
        else:
            assert config.get("dataset", "keep_tokens") == 1


def test_prompts_have_size_seed_steps_and_guidance() -> None:
    """Two with the trigger word and one without; the same picture every epoch."""
    for choice in every():
        lines = [line for line in made(choice).prompts.splitlines() if not line.startswith("#")]
        assert [re.findall(r" --d (\d+)", line) for line in lines] == [["42"], ["43"], ["44"]]
        assert ["rinni" in line for line in lines] == [True, True, False]
        for line in lines:
            assert all(re.search(rf" --{option} [\d.]+", line) for option in "whsl")


def test_a_v_prediction_model_gets_all_three_flags(tmp_path: Path) -> None:
    """And no noise offset; an eps model gets none of them."""
    trio = ("v_parameterization", "zero_terminal_snr", "scale_v_pred_loss_like_noise_pred")
    v, eps = (config_of(choose(name), tmp_path) for name in ("noobai-vpred", "sdxl"))
    assert all(v.get("train", key) is True for key in trio)
    assert not any(eps.is_set(key) for key in trio)
    assert not v.is_set("noise_offset")


def test_the_documents_numbers_for_memory_are_used(tmp_path: Path) -> None:
    """FLUX.1 on 8 and 12 GB, HunyuanImage on 8, 12 and 24 GB, SDXL on 8 GB (sd-scripts, docs)."""

    def value(family: str, vram: int, key: str) -> object:
        return config_of(choose(family, vram=vram), tmp_path).get("train", key)

    assert [value("flux", vram, "blocks_to_swap") for vram in (8, 12, 24)] == [28, 16, None]
    assert "fp8" in str(value("flux", 8, "t5xxl"))
    assert [value("hunyuan21", vram, "blocks_to_swap") for vram in (8, 12, 24, 48)] == [37, 32, 9, None]
    assert value("sdxl", 8, "network_dim") == 8
    assert value("anima", 8, "fp8_base") is None


def test_optimizers_that_find_the_rate_get_one_rate_and_full_strength(tmp_path: Path) -> None:
    """Prodigy and D-Adaptation: 1.0 for all, alpha as dim; Lion a third of AdamW's rate."""
    for name in ("prodigy", "DAdaptation"):
        config = config_of(choose("sdxl", optimizer=name), tmp_path)
        assert config.get("train", "learning_rate") == 1.0
        assert config.get("train", "text_encoder_lr") is None
        assert config.get("train", "network_alpha") == config.get("train", "network_dim")
    lion = config_of(choose("sdxl", optimizer="lion"), tmp_path)
    assert lion.get("train", "learning_rate") == pytest.approx(3e-5)
    assert lion.get("train", "text_encoder_lr") == [1.5e-5]


def test_a_card_that_is_too_small_is_refused() -> None:
    """With one sentence; a card between two sizes takes the smaller, and what it reports may be a little less."""
    with pytest.raises(UserError, match="6 GB of GPU memory are too few"):
        choose("flux", vram=6)
    assert [tier_of(size) for size in (8, 11, 12, 15.7, 23.6, 40, 79.3, 141)] == [8, 8, 12, 16, 24, 24, 80, 80]
    reading = GpuReading((GpuSnapshot(0, memory_total=12 * 2**30), GpuSnapshot(1, memory_total=24 * 2**30 - 2**28)))
    assert tier_of_gpus(reading) == 24
    assert tier_of_gpus(GpuReading()) is None


@pytest.mark.parametrize(
    ("name", "means"),
    [("illustrious", "sdxl"), ("Pony", "pony"), ("v_pred", None), ("vpred", "noobai-vpred"), ("flux1", "flux")],
)
def test_families_have_the_names_that_people_use(name: str, means: str | None) -> None:
    """A name that is none gets the list."""
    if means is None:
        with pytest.raises(UserError, match="There is no model family"):
            family_named(name)
    else:
        assert family_named(name).name == means


def test_the_family_is_told_by_the_base_model(tmp_path: Path) -> None:
    """By its header; what headers do not tell (Pony) by its name; a LoRA has none."""

    def family(name: str, architecture: str, **metadata: str) -> str | None:
        found = family_of(inspect(checkpoint(tmp_path / f"{name}.safetensors", SHAPES[architecture], **metadata)))
        return found.name if found is not None else None

    assert family("a", "SD1.5") == "sd15"
    assert family("b", "SDXL") == "sdxl"
    assert family("ponyDiffusionV6XL", "SDXL") == "pony"
    assert family("c", "SDXL", **{"modelspec.prediction_type": "v"}) == "noobai-vpred"
    assert family("d", "FLUX.1") == "flux"
    assert family("e", "Chroma") == "chroma"
    assert family("f", "Lumina 2") == "lumina2"
    assert family("g", "LoRA") is None


def test_a_new_config_takes_the_family_of_its_base_model(workspace: Workspace) -> None:
    """Named, or the only one there is; its other files are found by their names."""
    checkpoint(workspace.models / "my-flux.safetensors", SHAPES["FLUX.1"])
    (workspace.models / "text").mkdir()
    (workspace.models / "text" / "t5xxl_fp16.safetensors").write_bytes(b"x")
    config = draft(workspace, "rinni", None)
    assert config.script == "flux_train_network.py"
    assert config.get("train", "pretrained_model_name_or_path") == "models/my-flux.safetensors"
    assert config.get("train", "t5xxl") == "models/text/t5xxl_fp16.safetensors"
    assert config.get("train", "clip_l") == "models/clip_l.safetensors"
    checkpoint(workspace.models / "xl.safetensors", SHAPES["SDXL"])
    named = draft(workspace, "mika", "style", overrides={"pretrained_model_name_or_path": "models/xl.safetensors"})
    assert named.script == "sdxl_train_network.py"
    assert named.get("train", "network_train_unet_only") is True


def test_each_listed_preset_can_be_made(workspace: Workspace) -> None:
    """The names of before among them; its script is the one that trains its architecture."""
    listed = {preset.name: preset for preset in list_presets()}
    assert {"sd15-character", "sdxl-character", "demo"} <= listed.keys()
    for name, preset in listed.items():
        assert SCRIPTS[preset.architecture] == preset.script
        write_new(draft(workspace, f"my-{name}", name))
        assert Config.load(workspace.configs / f"my-{name}").broken == {}


HEADERS = {
    **SHAPES,
    "Anima": {"net.llm_adapter.out_proj.weight": [4, 4], "net.blocks.0.self_attn.q_proj.weight": [4, 4]},
    "HunyuanImage 2.1": {"double_blocks.0.img_attn.qkv.weight": [4, 4], "byt5_in.fc1.weight": [4, 4]},
}


@pytest.mark.parametrize("name", [f"{family}-{purpose}" for family in families() for purpose in purposes()])
def test_the_whole_preflight_has_nothing_against_a_preset(workspace: Workspace, name: str) -> None:
    """On a dataset as it should be, with every file in its place: no error, no warning."""
    from core.config.preflight import check
    from core.settings import Settings

    folder = workspace.train_data / "rinni" / "10_rinni"
    for number in range(40):
        picture(folder / f"{number}.png", 1024, 1024)
        (folder / f"{number}.txt").write_text(f"rinni, 1girl, solo, tag {number}", "utf-8")
    composed = compose(choose(name.rpartition("-")[0], name.rpartition("-")[2]))
    v_pred = {"modelspec.prediction_type": "v"} if composed.prediction == "v" else {}
    checkpoint(workspace.root / composed.model, HEADERS[composed.architecture], **v_pred)
    for patterns in composed.files.values():
        checkpoint(workspace.root / patterns[0], {"text_model.weight": [4]})
    config = write_new(draft(workspace, "rinni", name, "rinni"))
    found = check(config, workspace, Settings())
    mine = [problem for problem in found if not problem.code.startswith("KT4")]  # KT4xx: this machine
    assert [problem for problem in mine if problem.severity is not Severity.INFO] == []


def test_a_model_of_the_family_goes_before_others_of_its_architecture(workspace: Workspace) -> None:
    """Pony and Illustrious look alike in their headers."""
    for name in ("a-illustrious", "pony-v6"):
        checkpoint(workspace.models / f"{name}.safetensors", SHAPES["SDXL"])
    path = "pretrained_model_name_or_path"
    assert draft(workspace, "x", "pony-style").get("train", path) == "models/pony-v6.safetensors"
    assert draft(workspace, "x", "sdxl-style").get("train", path) == "models/a-illustrious.safetensors"


def test_an_older_version_gets_what_it_takes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that the user's own sd-scripts lacks are left out and named; one rate where it takes no list."""
    known = dict(fields("sdxl_train_network.py"))
    del known["save_last_n_epochs_state"]
    known["text_encoder_lr"] = replace(known["text_encoder_lr"], type="float")
    monkeypatch.setattr("core.config.compose.fields", lambda script: known)
    config = draft(workspace, "rinni", "sdxl-character")
    assert config.get("train", "text_encoder_lr") == 5e-5
    assert not config.is_set("save_last_n_epochs_state")
    assert "does not take save_last_n_epochs_state: left out" in config.text("train")
