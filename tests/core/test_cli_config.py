"""config, plan as commands: new, presets, import, show, set, unset, diff."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from core.config import schema
from core.workspace import Workspace, create
from tests.core.cli_kit import Cli, program

GUIDE = Path(__file__).parents[1] / "data" / "guide" / "kohya-character-lora-guide.md"


@pytest.fixture
def bare_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The commands in a workspace with nothing in it."""
    return Cli(capsys, create(tmp_path / "new").root)


def read(demo: Workspace, name: str, file: str = "train") -> dict[str, Any]:
    return tomllib.loads((demo.configs / name / f"{file}.toml").read_text("utf-8"))


def flat(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for section in document.values() for key, value in section.items()}


def test_presets_are_listed(cli: Cli) -> None:
    """Name, title and what it is for."""
    presets = cli("config", "presets", "--json").json["presets"]
    assert {"sd15-character", "demo"} <= {preset["name"] for preset in presets}
    assert all({"name", "title", "description", "script", "yours"} <= preset.keys() for preset in presets)
    assert "sd15-character" in cli("config", "presets").out


def test_a_new_config_fits_the_dataset_of_its_name(cli: Cli, demo: Workspace) -> None:
    """Three files; its dataset stands in it; what is missing yet is told; a second one of that name is refused."""
    answer = cli("config", "new", "mika", "--json").json
    assert answer["files"] == [f"configs/mika/{file}" for file in ("train.toml", "dataset.toml", "prompts.txt")]
    assert set(answer) == {"files", "moved", "problems"}
    assert any(problem["code"] == "KT206" for problem in answer["problems"])  # the base checkpoint is not there yet
    assert read(demo, "mika", "dataset")["datasets"][0]["subsets"][0]["image_dir"] == "train_data/mika/10_mika"
    before = (demo.configs / "mika" / "train.toml").read_bytes()
    assert "There is a config 'mika' already" in cli("config", "new", "mika", code=1).err
    assert (demo.configs / "mika" / "train.toml").read_bytes() == before
    assert cli("undo").lines[0].startswith("undone: Make config mika (")
    assert demo.config_names() == ["rinni"]


def test_a_new_config_takes_preset_dataset_and_base(cli: Cli, demo: Workspace) -> None:
    """What is named on the command line stands in the files; an unknown preset is told with the known ones."""
    base = "models/demo-base.safetensors"
    cli("config", "new", "both", "--preset", "demo", "--dataset", "mika", "--base", base)
    assert flat(read(demo, "both"))["pretrained_model_name_or_path"] == base
    assert "sd15-character" in cli("config", "new", "third", "--preset", "nonsense", code=1).err


def test_the_guide_is_split_into_the_files_that_sd_scripts_reads(cli: Cli, demo: Workspace) -> None:
    """Placeholders are given or asked for; every move says why; a plan can be made at once."""
    missing = program("config", "import", GUIDE, cwd=demo.root, code=1)
    assert "'character_name' needs a value" in missing.err and "--set 'character_name=VALUE'" in missing.err
    assert demo.config_names() == ["rinni"]
    answer = program(
        "config", "import", GUIDE, "--set", "character_name=rinni", "--name", "guide", "--json", cwd=demo.root
    ).json
    assert all(set(move) == {"key", "from", "to", "why"} for move in answer["moved"])
    moved = {move["key"]: move["to"] for move in answer["moved"]}
    assert moved["sample_prompts"] == "prompts.txt" and moved["min_bucket_reso"] == "dataset.toml"
    assert flat(read(demo, "guide"))["network_dim"] == 128
    assert read(demo, "guide", "dataset")["datasets"][0]["resolution"] == 768
    assert (demo.configs / "guide" / "prompts.txt").read_text().count("rinni") >= 1
    plan = cli("plan", "guide", "--json").json
    assert (plan["total_steps"], plan["steps_per_epoch"], plan["epochs"]) == (2400, 240, 10)


def test_a_guide_may_come_through_a_pipe(demo: Workspace) -> None:
    """`-` reads standard input; what is no guide is refused with a sentence."""
    assert "-: there is nothing in it" in program("config", "import", "-", cwd=demo.root, code=1).err
    nothing = demo.root / "notes.md"
    nothing.write_text("# Notes\nno settings here\n")
    answer = program("config", "import", nothing, "--name", "x", cwd=demo.root, code=1)
    assert answer.err.startswith(f"kohya-tui: {nothing}: ")
    assert demo.config_names() == ["rinni"]
    assert str(demo.root / "none.md") in program("config", "import", demo.root / "none.md", cwd=demo.root, code=1).err


def test_an_import_onto_a_name_that_is_taken_offers_another(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """Nothing is written; the words to type stand in the message."""
    script = tmp_path / "train.sh"
    script.write_text("python train_network.py --output_name rinni --network_dim 8")
    refused = cli("config", "import", script, "--name", "rinni", code=1)
    assert "There is a config 'rinni' already" in refused.err and "--name rinni-2" in refused.err
    assert demo.config_names() == ["rinni"]
    cli("config", "import", script, "--name", "rinni-2")
    assert demo.config_names() == ["rinni", "rinni-2"]


def test_the_shell_goes_by_the_users_own_sd_scripts(
    cli: Cli, demo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout is read where a command goes by its options, once; one that is broken keeps nobody from anything."""
    checkout = tmp_path / "scripts"
    shutil.copytree(Path(__file__).parents[1] / "data" / "checkout", checkout)
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(checkout))
    answer = cli("config", "set", "rinni", "wave_file=x.toml", "--json")
    assert "read the options of" in answer.err
    assert not any("wave_file" in each["where"] and each["code"] == "KT202" for each in answer.json["problems"])
    assert "read the options of" not in cli("plan", "rinni").err
    (checkout / "train_network.py").write_text("def setup_parser(:\n")
    assert "The options that are shipped stay in use: " in cli("plan", "rinni").err
    assert cli("plan", "rinni").err == ""
    schema.forget()


def test_show_prints_files_or_one_value(cli: Cli, demo: Workspace) -> None:
    """Texts as they stand, one value alone; a key that is not set is told with the way to set it."""
    text = cli("config", "show", "rinni").out
    assert (demo.configs / "rinni" / "train.toml").read_text() in text.replace("\n\n── ", "\n── ", 1)
    assert cli("config", "show", "rinni", "lr_scheduler").out == "cosine\n"
    assert cli("config", "show", "rinni", "cache_latents").out == "true\n"
    assert cli("config", "show", "rinni", "dataset:enable_bucket", "--json").json == {
        "key": "enable_bucket",
        "value": True,
    }
    document = cli("config", "show", "rinni", "--json").json
    assert set(document) == {"train", "dataset", "prompts"}
    set_it = f"kohya-tui -C {demo.root} config set rinni network_weights=VALUE"  # as the user named the place
    assert set_it in cli("config", "show", "rinni", "network_weights", code=1).err
    assert "rinni" in cli("config", "show", "nobody", code=1).err


def test_set_and_unset_keep_comments_and_can_be_undone(cli: Cli, demo: Workspace) -> None:
    """Types are those of the option; only the changed file is named."""
    path = demo.configs / "rinni" / "train.toml"
    before = path.read_text()
    answer = cli("config", "set", "rinni", "max_train_epochs=3", "learning_rate=2e-4", "--json").json
    assert answer["files"] == ["configs/rinni/train.toml"]
    values = flat(read(demo, "rinni"))
    assert (values["max_train_epochs"], values["learning_rate"]) == (3, 2e-4)
    assert before.splitlines()[0] in path.read_text()
    assert cli("config", "set", "rinni", "dataset:num_repeats=2").lines[0] == "configs/rinni/dataset.toml"
    assert read(demo, "rinni", "dataset")["datasets"][0]["subsets"][0]["num_repeats"] == 2
    assert cli("config", "set", "rinni", "max_train_epochs=3").lines[0] == "nothing changed"
    cli("config", "unset", "rinni", "seed")
    assert "seed" not in flat(read(demo, "rinni"))
    for _ in range(3):
        assert "Change config rinni" in cli("undo").out
    assert path.read_text() == before


def test_a_wrong_value_is_refused_and_an_unknown_key_is_told(cli: Cli, demo: Workspace) -> None:
    """Nothing is written for a wrong type; a misspelt key is kept, with the one that was meant."""
    before = (demo.configs / "rinni" / "train.toml").read_bytes()
    answer = cli("config", "set", "rinni", "seed=1", "network_dim=abc", code=1)
    assert "network_dim must be a whole number" in answer.err
    assert (demo.configs / "rinni" / "train.toml").read_bytes() == before
    assert "Did you mean max_train_epochs?" in cli("config", "set", "rinni", "max_train_epoch=4").out


def test_diff_shows_what_would_be_different(cli: Cli) -> None:
    """Option by option; two equal ones have no difference."""
    cli("config", "new", "mika", "--preset", "demo", "--base", "models/demo-base.safetensors")
    cli("config", "set", "mika", "network_dim=8")
    changed = cli("config", "diff", "rinni", "mika", "--json").json["changed"]
    assert changed["network_dim"][1] == 8
    assert any(line.startswith("network_dim") for line in cli("config", "diff", "rinni", "mika").lines)
    assert cli("config", "diff", "rinni", "rinni").out == "no difference\n"


def test_config_alone_lists_the_configs(cli: Cli, bare_workspace: Cli) -> None:
    """Name, dataset, images and steps; a broken one is marked and does not hide the others."""
    cli("config", "new", "mika", "--preset", "demo")
    (config, _) = reversed(cli("config", "--json").json["configs"])
    assert (config["name"], config["datasets"], config["images"]) == ("rinni", ["rinni"], 24)
    assert config["total_steps"] == cli("plan", "rinni", "--json").json["total_steps"]
    cli("config", "set", "mika", "dataset:resolution=64")
    assert cli("config").lines[0].split() == ["config", "dataset", "images", "steps", "epochs"]
    assert [line.split()[0] for line in cli("config").lines[1:]] == ["mika", "rinni"]
    assert "Make one: kohya-tui -C" in bare_workspace("config").out


def test_paths_are_those_of_the_current_folder(
    cli: Cli, demo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -C a path may lie beside the workspace, or inside it, as seen from here; one from the workspace stays."""

    def base(name: str = "rinni") -> str:
        return str(flat(read(demo, name))["pretrained_model_name_or_path"])

    (tmp_path / "mine.safetensors").write_bytes(b"")
    cli("config", "new", "mika", "--preset", "demo", "--base", "mine.safetensors")
    assert base("mika") == str(tmp_path / "mine.safetensors")
    cli("config", "set", "rinni", f"pretrained_model_name_or_path={demo.root.name}/models/demo-base.safetensors")
    assert base() == "models/demo-base.safetensors"
    monkeypatch.chdir(demo.configs)
    cli("config", "set", "rinni", "pretrained_model_name_or_path=../models/demo-base.safetensors")
    assert base() == "models/demo-base.safetensors"
    for as_written in ("models/demo-base.safetensors", "models/none.safetensors", "stabilityai/sdxl-turbo"):
        cli("config", "set", "rinni", f"pretrained_model_name_or_path={as_written}")
        assert base() == as_written
    cli("config", "set", "rinni", "dataset:image_dir=../train_data/mika/10_mika")
    assert read(demo, "rinni", "dataset")["datasets"][0]["subsets"][0]["image_dir"] == "train_data/mika/10_mika"


def test_tokens_are_hidden_and_told(cli: Cli, demo: Workspace) -> None:
    """In the files, as a value, in --json and in a diff; also when the file is broken. A warning names the variable."""
    cli("config", "new", "mika", "--preset", "demo")
    answer = cli("config", "set", "rinni", "huggingface_token=hf_verysecret", "wandb_api_key=0123456789")
    assert "KT245 configs/rinni/train.toml: huggingface_token" in answer.out
    assert "HF_TOKEN" in answer.out and "WANDB_API_KEY" in answer.out
    shown = [
        cli("config", "show", "rinni").out,
        cli("config", "show", "rinni", "huggingface_token").out,
        cli("config", "show", "rinni", "huggingface_token", "--json").out,
        cli("config", "show", "rinni", "--json").out,
        cli("config", "diff", "rinni", "mika").out,
        cli("config", "diff", "mika", "rinni", "--json").out,
    ]
    path = demo.configs / "rinni" / "train.toml"
    path.write_text(path.read_text() + "[broken\n")
    shown.append(cli("config", "show", "rinni").out)
    assert all("verysecret" not in text and "0123456789" not in text for text in shown)
    assert all("(hidden)" in text for text in shown)
    assert "hf_verysecret" in path.read_text()


def test_an_import_tells_what_check_would(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """The written files are looked at: the base model that is missing is told at once, nothing twice."""
    words = ["config", "import", GUIDE, "--set", "character_name=rinni", "--set", f"/path/to/kohya_ss={demo.root}"]
    problems = cli(*words, "--name", "guide", "--json").json["problems"]
    told = [(problem["code"], problem["where"].rpartition("/")[2]) for problem in problems]
    assert len(set(told)) == len(told)
    checked = {
        (problem["code"], problem["where"])
        for problem in cli("check", "--config", "guide", "--json", code=1).json["problems"]
    }
    assert checked <= {(problem["code"], problem["where"]) for problem in problems}
    (missing,) = [problem for problem in problems if problem["code"] == "KT206"]
    assert "config set guide pretrained_model_name_or_path=models/" in missing["hint"]


def test_a_guides_model_is_found_where_it_lies(cli: Cli, demo: Workspace, tmp_path: Path) -> None:
    """The guide says models/checkpoints/; the file lies in models/: the config names that, and the move is told."""
    demo_base = demo.models / "demo-base.safetensors"
    guide = tmp_path / "guide.toml"
    guide.write_text(
        'pretrained_model_name_or_path = "./models/checkpoints/demo-base.safetensors"\n'
        'network_module = "networks.lora"\n'
        'train_data_dir = "train_data/rinni"\n'
    )
    assert demo_base.exists()
    answer = cli("config", "import", guide, "--name", "guide")
    assert flat(read(demo, "guide"))["pretrained_model_name_or_path"] == "models/demo-base.safetensors"
    assert "is here at models/demo-base.safetensors" in answer.out and "KT206" not in answer.out


def test_plan_counts_as_the_trainer_will(cli: Cli, demo: Workspace) -> None:
    """Images, steps, checkpoints; a dataset without images is an error."""
    plan = cli("plan", "rinni", "--json").json
    assert plan["images"] == 24
    assert plan["total_steps"] == plan["steps_per_epoch"] * plan["epochs"]
    assert sum(bucket["images"] for bucket in plan["buckets"]) == 24
    assert sum(bucket["repeats"] for bucket in plan["buckets"]) == plan["repeats"] > 24
    assert "24 images" in cli("plan", "rinni").out
    cli("config", "set", "rinni", "dataset:image_dir=train_data/nobody/10_nobody")
    assert "✗" in cli("plan", "rinni", code=1).out


def test_a_broken_config_names_its_line(cli: Cli, demo: Workspace) -> None:
    """Every command that reads it says file and line, exit status 1, and leaves it as it is."""
    path = demo.configs / "rinni" / "train.toml"
    broken = path.read_text().replace("[network]", "[network", 1)
    path.write_text(broken)
    for words in (["check", "--config", "rinni"], ["train", "rinni"], ["config", "set", "rinni", "seed=1"]):
        answer = cli(*words, code=1)
        assert "train.toml" in answer.out + answer.err and "line" in answer.out + answer.err, words
    assert path.read_text() == broken
    assert not list(demo.runs.iterdir())


def test_a_plan_of_a_broken_config_has_no_numbers(cli: Cli, demo: Workspace) -> None:
    """The line that cannot be read, exit status 1; with --json null where a number would stand. The same for none."""
    path = demo.configs / "rinni" / "train.toml"
    whole = path.read_text()
    for text in (whole.replace("[network]", "[network", 1), ""):
        path.write_text(text)
        (line, _hint) = cli("plan", "rinni", code=1).lines
        assert line.startswith("✗ KT201 configs/rinni/train.toml: ") and str(demo.root) not in line
        plan = cli("plan", "rinni", "--json", code=1).json
        assert [problem["code"] for problem in plan["problems"]] == ["KT201"]
        assert {value for key, value in plan.items() if key != "problems"} == {None}


def test_diff_takes_a_preset_a_run_and_what_is_unsaved(cli: Cli, demo: Workspace) -> None:
    """Each in the same table and the same keys; two at once is wrong usage."""
    from core.config.documents import open_config
    from core.config.drafts import keep

    assert cli("config", "diff", "rinni", "--preset", "demo").lines == ["no difference"]
    cli("config", "set", "rinni", "network_dim=8", "dataset:resolution=256")
    changed = cli("config", "diff", "rinni", "--preset", "demo", "--json").json["changed"]
    assert changed["network_dim"] == [8, 32] and changed["dataset:datasets[0].resolution"] == [256, 512]
    config = open_config(demo, "rinni")
    keep(demo, config, {"train": config.text("train").replace("network_dim = 8", "network_dim = 4")})
    assert cli("config", "diff", "rinni", "--saved", "--json").json["changed"] == {"network_dim": [4, 8]}
    cli("config", "diff", "rinni", "--saved", "--preset", "demo", code=2)
    cli("config", "diff", "rinni", "--run", "nothing", code=1)


def test_prompts_are_listed_and_changed(cli: Cli, demo: Workspace) -> None:
    """--add fills in size and a free seed, --set changes one option, and undo brings the file back."""
    path = demo.configs / "rinni" / "prompts.txt"
    before = path.read_bytes()
    found = cli("config", "prompts", "rinni", "--json").json["prompts"]
    assert found[0]["read"]["seed"] == 42 and found[0]["drawn"]["width"] == 512
    cli("config", "prompts", "rinni", "--add", "rinni, running", "--set", "1.seed=7", "--remove", "2")
    lines = path.read_text("utf-8").splitlines()
    assert "--d 7" in lines[1] and lines[2] == "rinni, running --w 512 --h 512 --d 42 --s 20 --l 7.5"
    assert "seed must be a whole number" in cli("config", "prompts", "rinni", "--set", "1.seed=x", code=1).err
    cli("config", "prompts", "rinni", "--set", "seed=3", code=2)
    cli("undo")
    assert path.read_bytes() == before


def test_folders_are_listed_added_and_removed(cli: Cli, demo: Workspace) -> None:
    """Every folder of the workspace in one step; each with what it inherits and from where."""
    cli("config", "folders", "rinni", "--all")
    found = cli("config", "folders", "rinni", "--json").json["folders"]
    assert [each["place"] for each in found][-1] == "datasets[0].subsets[1]"
    assert found[-1]["inherited"]["keep_tokens"] == {"value": 1, "from": "general"}
    cli("config", "folders", "rinni", "--remove", "datasets[0].subsets[1]")
    assert len(cli("config", "folders", "rinni", "--json").json["folders"]) == len(found) - 1
    cli("config", "folders", "rinni", "--add", "train_data/nowhere", code=1)
    path = demo.configs / "rinni" / "dataset.toml"
    path.write_text('datasets = [{subsets = [{image_dir = "train_data/rinni/10_rinni"}]}]\n')
    assert "--blocks" in cli("config", "folders", "rinni", "--all", code=1).err
    cli("config", "folders", "rinni", "--blocks", "--all")
    assert path.read_text().count("[[datasets.subsets]]") == 2


def test_fix_does_what_the_hints_say_as_one_undoable_step(cli: Cli, demo: Workspace) -> None:
    """Only what is safe, only the codes that are named; a dry run shows the lines; one undo brings all back."""
    cli("config", "set", "rinni", "optimizer_type=AdamW9", "network_alpha=64")
    broken = (demo.configs / "rinni" / "train.toml").read_bytes()
    assert "2 problems can be fixed safely: kohya-tui" in cli("check", "--config", "rinni", code=1).out
    shown = cli("fix", "--dry-run").out
    assert "-network_alpha = 64" in shown and "+network_alpha = 32" in shown and "2 problems would be fixed" in shown
    assert (demo.configs / "rinni" / "train.toml").read_bytes() == broken
    answer = cli("fix", "kt251", "--json").json
    assert answer["changed"] == ["configs/rinni/train.toml"]
    assert [problem["code"] for problem in answer["fixed"]] == ["KT251"]
    train = read(demo, "rinni")
    assert (train["optimizer"]["optimizer_type"], train["network"]["network_alpha"]) == ("AdamW", 64)
    cli("undo")
    assert "2 problems fixed" in cli("fix", "--config", "rinni").out
    assert "Nothing that can be fixed safely." in cli("fix").out
    cli("undo")
    assert (demo.configs / "rinni" / "train.toml").read_bytes() == broken
