"""doctor, gpu and help as commands, and what they say where something is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from core.workspace import Workspace
from tests.core.cli_kit import Cli, program
from tests.fake_nvml.machine import Machine

pytest_plugins = ("tests.fake_nvml.fixtures",)


def test_help_prints_topics(bare: Cli) -> None:
    """Without a topic the list, with one its text; an unknown one is told with the known ones."""
    topics = [line.split()[0] for line in bare("help").lines[2:]]
    assert {"start", "training", "trouble"} <= set(topics)
    for topic in topics:
        assert bare("help", topic).out.startswith("# ")
    assert "start" in bare("help", "nonsense", code=1).err


def test_gpu_without_a_driver(cli: Cli) -> None:
    """It says so, and shows the host."""
    document = cli("gpu", "--json").json
    assert document["gpus"] == [] or document["gpus"][0]["name"]
    assert document["host"]["memory_total"] > 0
    assert cli("gpu").lines[-1].startswith("host  CPU ")


def test_gpu_with_one(cli: Cli, fake_gpus: Machine) -> None:
    """One row a GPU, with the keys that scripts rely on."""
    fake_gpus.gpu(0, util=97)
    gpu = cli("gpu", "--json").json["gpus"][0]
    promised = ("index", "name", "memory_used", "memory_total", "utilization", "temperature", "power", "processes")
    assert set(promised) <= set(gpu)
    assert gpu["utilization"] == 97
    head, row, *_ = cli("gpu").lines
    assert head.split()[:2] == ["GPU", "name"] and "97 %" in row


def test_doctor_is_one_list_with_remedies(cli: Cli) -> None:
    """In the demo everything that counts is there; each line has name, verdict and message."""
    checks = cli("doctor", "--json").json["checks"]
    assert all(set(check) == {"name", "ok", "message", "hint"} for check in checks)
    names = {check["name"] for check in checks}
    assert {"Python", "terminal", "workspace", "GPU", "disk", "trainer", "onnxruntime", "tagger"} <= names
    assert all(check["hint"] for check in checks if check["ok"] is False)
    assert any(line.startswith("✓ Python") for line in cli("doctor").lines)


def test_doctor_tells_a_wrong_trainer(bare: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is no sd-scripts, then a Python without torch: named, with the remedy, exit status 1."""
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(tmp_path / "nowhere"))
    answer = bare("doctor", "--json", code=1)
    faults = [check for check in answer.json["checks"] if check["ok"] is False]
    assert any(str(tmp_path / "nowhere") in check["message"] and check["hint"] for check in faults)
    checkout = tmp_path / "sd-scripts"
    checkout.mkdir()
    (checkout / "train_network.py").touch()
    monkeypatch.setenv("KOHYA_TUI_SD_SCRIPTS", str(checkout))
    monkeypatch.setenv("KOHYA_TUI_SD_PYTHON", sys.executable)
    text = bare("doctor", code=1).out
    assert "torch" in text and "kohya-tui setup" in text


def test_broken_settings_are_told_and_the_defaults_hold(cli: Cli, demo: Workspace) -> None:
    """doctor names the file; the other commands work with the defaults."""
    (demo.root / "kohya-tui.toml").write_text("trainer = \n")
    checks = cli("doctor", "--json", code=1).json["checks"]
    mine, workspace = (check for check in checks if check["name"] == "settings")
    assert mine["ok"] is True and "settings.toml" in mine["message"]  # the user's own file is not to blame
    assert workspace["ok"] is False and str(demo.root / "kohya-tui.toml") in workspace["message"] and workspace["hint"]
    assert f"✗ settings        {demo.root}/kohya-tui.toml: is not used" in cli("doctor", code=1).out
    cli("runs")
    cli("config", "show", "rinni")


def test_a_variable_that_is_nearly_a_setting_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the pen is named with what was meant; the demo's own variables and strangers are let be."""
    for name in ("KOHYA_TUI_TRAINR", "KOHYA_TUI_DEMO_STEP_SECONDS", "KOHYA_TUI_SD_MODEL", "KOHYA_TUI_COLOUR_OF_CAT"):
        monkeypatch.setenv(name, "0.1")
    lines = [line for line in cli("models").err.splitlines() if "KOHYA_TUI" in line]
    assert lines == [
        "! KT004 $KOHYA_TUI_TRAINR: means nothing here",
        "    Did you mean KOHYA_TUI_TRAINER?",
    ]
    monkeypatch.setenv("KOHYA_TUI_THEME", "pink")
    (fault,) = [check for check in cli("doctor", "--json", code=1).json["checks"] if "THEME" in check["message"]]
    assert fault["ok"] is False and "'pink' is not one of" in fault["message"]


def test_setup_shows_its_commands_and_runs_nothing_unasked(demo: Workspace) -> None:
    """Without a terminal to ask on, the exact commands are printed and that is all."""
    answer = program("setup", "--dir", demo.root / "sd", "--index-url", "http://mirror/simple", "--json", cwd=demo.root)
    steps = answer.json["steps"]
    assert all(set(step) == {"label", "command", "done"} for step in steps)
    assert "git clone" in steps[0]["command"] and str(demo.root / "sd") in steps[0]["command"]
    assert any("http://mirror/simple" in step["command"] for step in steps)
    assert "git clone" in program("setup", "--dir", demo.root / "sd", cwd=demo.root).out
    assert not (demo.root / "sd").exists()


def test_setup_adopts_a_checkout(bare: Cli, tmp_path: Path) -> None:
    """A kohya_ss folder is looked into; its Python is found; what is no checkout is refused."""
    checkout = tmp_path / "kohya_ss" / "sd-scripts"
    python = tmp_path / "kohya_ss" / "venv" / "bin" / "python"
    for path in (checkout, python.parent):
        path.mkdir(parents=True)
    (checkout / "train_network.py").touch()
    python.symlink_to(sys.executable)
    answer = bare("setup", "--adopt", tmp_path / "kohya_ss", "--json").json
    assert answer == {"steps": [], "sd_scripts": str(checkout), "sd_python": str(python)}
    checks = bare("doctor", "--json", code=1).json["checks"]
    assert any(str(tmp_path / "kohya_ss") in check["message"] for check in checks)
    assert "train_network.py" in bare("setup", "--adopt", tmp_path, code=1).err


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every child process lives as in a base install: a sitecustomize hides onnxruntime."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKED)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("without_onnxruntime")
def test_a_base_install_says_what_is_missing(demo: Workspace) -> None:
    """Without onnxruntime everything but tagging works; doctor and tag name the extra to install."""
    doctor = program("doctor", "--json", cwd=demo.root, code=1).json["checks"]
    (check,) = [check for check in doctor if check["name"] == "onnxruntime"]
    assert check["ok"] is False and "pip install" in check["hint"] and "'kohya-tui[" in check["hint"]
    tag = program("tag", "mika", cwd=demo.root, code=1)
    assert "onnxruntime is not installed" in tag.err and check["hint"] in tag.err
    json_tag = program("tag", "mika", "--json", cwd=demo.root, code=1)
    assert json.loads(json_tag.out)["tagged"] == 0
    for words in (["plan", "rinni"], ["check"], ["trigger", "rinni", "rinni"], ["runs"], ["models"]):
        program(*words, cwd=demo.root)
