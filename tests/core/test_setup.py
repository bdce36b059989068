"""`kohya-tui setup`: the commands that fetch sd-scripts, against a local repository and a local package index."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from core import settings
from core.cli.main import main
from core.problems import UserError
from core.setup import Step, adopt, run, steps, torch_for
from core.workspace import Workspace

PINNED = {"torch": "2.6.0", "torchvision": "0.21.0", "diffusers": "0.32.1"}


def wheel(folder: Path, name: str, version: str) -> None:
    """A package of one empty module, as an index serves it."""
    info = f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", f'__version__ = "{version}"\n')
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{name}-{version}-py3-none-any.whl">{name}</a>')


@pytest.fixture
def index(tmp_path: Path) -> str:
    """A package index in a folder."""
    for name, version in PINNED.items():
        wheel(tmp_path / "simple" / name, name, version)
    return (tmp_path / "simple").as_uri()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with the two files that setup looks at."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    (folder / "train_network.py").write_text("print('trainer')\n")
    (folder / "requirements.txt").write_text("diffusers==0.32.1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    return folder


def test_the_commands_are_shown_and_nothing_runs_without_a_yes(
    tmp_path: Path, repository: Path, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` lists the exact commands; the folder stays away."""
    target = tmp_path / "sd"
    code = main(["setup", "--dir", str(target), "--repository", str(repository), "--index-url", index, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [step["label"] for step in document["steps"]] == [
        "fetch sd-scripts",
        "make its environment",
        "install torch",
        "install its requirements",
    ]
    assert f"git clone {repository} {target}" in document["steps"][0]["command"]
    assert "torch==2." in document["steps"][2]["command"]
    assert index in document["steps"][2]["command"]
    assert not target.exists()


def test_after_a_yes_the_checkout_its_environment_and_the_settings_are_there(
    tmp_path: Path, repository: Path, index: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way against a local repository and index; a second time finds everything done."""
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    target = tmp_path / "sd"
    arguments = ["setup", "--dir", str(target), "--repository", str(repository), "--index-url", index]
    assert main([*arguments, "--python", sys.executable, "--yes"]) == 0, capsys.readouterr().err
    python = target / "venv" / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import torch, diffusers; print(torch.__version__)"], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "2.6.0"
    stored = settings.load(None, {})
    assert (stored.sd_scripts, stored.sd_python) == (target, python)
    assert all(step.done for step in steps(target, cuda=None))


def test_a_step_that_fails_says_which_and_keeps_the_rest(
    tmp_path: Path, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repository that is not there: exit status 1, the command and the remedy."""
    missing = tmp_path / "nowhere"
    code = main(["setup", "--dir", str(tmp_path / "sd"), "--repository", str(missing), "--index-url", index, "--yes"])
    said = capsys.readouterr().err
    assert code == 1
    assert "“fetch sd-scripts” failed" in said
    assert "run setup again" in said


def test_a_checkout_that_is_there_is_not_used_without_a_yes(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shared workspace may bring a whole sd-scripts along: setup has nothing to run, and still asks."""
    checkout = workspace.root / "sd-scripts"
    for name in ("train_network.py", "venv/bin/python"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    for package in ("torch", "diffusers"):
        folder = checkout / "venv" / "lib" / "python3.11" / "site-packages" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    assert main(["-C", str(workspace.root), "setup"]) == 0
    assert "Nothing was run" in capsys.readouterr().err
    assert settings.load(None, {}).sd_scripts is None
    assert main(["-C", str(workspace.root), "setup", "--yes"]) == 0
    assert settings.load(None, {}).sd_scripts == checkout


def test_a_step_that_is_left_early_ends_its_command(tmp_path: Path) -> None:
    """SIGTERM while pip talks: neither waits for the other."""
    step = Step("talk", (sys.executable, "-c", "while True: print('x' * 1000)"), tmp_path)
    lines = run(step)
    assert next(lines).startswith("xxx")
    lines.close()  # type: ignore[attr-defined]


def test_an_existing_checkout_is_adopted_with_its_own_python(tmp_path: Path) -> None:
    """Also when the kohya_ss folder around it is named, whose venv is used then."""
    checkout = tmp_path / "kohya_ss" / "sd-scripts"
    checkout.mkdir(parents=True)
    (checkout / "train_network.py").touch()
    python = tmp_path / "kohya_ss" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    assert adopt(tmp_path / "kohya_ss") == (checkout, python)
    assert settings.load(None, {}).sd_python == python
    with pytest.raises(UserError, match=r"no train_network\.py"):
        adopt(tmp_path)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """Setup never writes into a folder that is not sd-scripts."""
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="not sd-scripts"):
        steps(tmp_path, cuda=None)


@pytest.mark.parametrize(("cuda", "torch"), [(None, "2.6.0"), ("12.2", "2.6.0"), ("12.6", "2.7.1"), ("13.0", "2.8.0")])
def test_torch_fits_the_driver(cuda: str | None, torch: str) -> None:
    """The newest torch whose wheel this driver can run."""
    assert torch_for(cuda)[0] == torch
