"""Setting up sd-scripts: the exact commands that fetch it, make its environment and install torch for this driver.

Nothing here runs by itself: `steps` gives the commands to show, `run` executes one of them after the user said yes.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.problems import UserError

REPOSITORY = "https://github.com/kohya-ss/sd-scripts"
TORCH = (
    ((12, 8), "2.8.0", "0.23.0"),
    ((12, 6), "2.7.1", "0.22.1"),
    ((0, 0), "2.6.0", "0.21.0"),
)
"""Newest CUDA that a torch wheel of the Python index needs → torch, torchvision. sd-scripts wants torch >= 2.6; the
2.6.0 wheel is built for CUDA 12.4 and runs on every CUDA 12 driver; cards of 2025 (sm_120) need 12.8."""
PYTHONS = ("python3.11", "python3.10", "python3.12", "python3")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the setup. `argv` runs in `cwd`; `done` says that its result is there already."""

    label: str
    argv: tuple[str, ...]
    cwd: Path
    done: bool = False

    @property
    def shown(self) -> str:
        """The command as it could be typed."""
        return f"cd {shlex.quote(str(self.cwd))} && {shlex.join(self.argv)}"


def torch_for(cuda: str | None) -> tuple[str, str]:
    """The torch and torchvision versions for a driver that reports CUDA `cuda` ("12.8"); the oldest if unknown."""
    have = tuple(int(part) for part in cuda.split(".")[:2]) if cuda else (0, 0)
    for need, torch, vision in TORCH:
        if have >= need:
            return torch, vision
    return TORCH[-1][1:]


def python_for() -> str:
    """A Python that sd-scripts supports (3.10 to 3.12), by name, else the one that runs us."""
    for name in PYTHONS:
        found = shutil.which(name)
        if found and _version(found) in {(3, 10), (3, 11), (3, 12)}:
            return found
    return sys.executable


def _version(python: str) -> tuple[int, int] | None:
    found = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    parts = found.stdout.split()
    return (int(parts[0]), int(parts[1])) if found.returncode == 0 and len(parts) == 2 else None


def steps(
    folder: Path,
    *,
    cuda: str | None,
    repository: str = REPOSITORY,
    index_url: str | None = None,
    python: str | None = None,
) -> list[Step]:
    """The commands that bring sd-scripts into `folder`, in order; those whose result exists are marked done.

    `index_url` is handed to pip (a mirror). Raises UserError when `folder` holds something else.
    """
    if shutil.which("git") is None and not (folder / "train_network.py").exists():
        raise UserError("git is not installed", "Install it with your system's package manager, then run setup again.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "train_network.py").exists():
        raise UserError(f"{folder} is not empty and not sd-scripts", "Name another folder: kohya-tui setup --dir DIR")
    torch, vision = torch_for(cuda)
    pip = folder / "venv" / "bin" / "python"
    index = ["--index-url", index_url] if index_url else []
    have_torch = pip.exists() and any((folder / "venv").glob("lib/python*/site-packages/torch/__init__.py"))
    have_rest = pip.exists() and any((folder / "venv").glob("lib/python*/site-packages/diffusers/__init__.py"))
    install = (str(pip), "-m", "pip", "install", *index)
    return [
        Step(
            "fetch sd-scripts",
            ("git", "clone", repository, str(folder)),
            folder.parent,
            (folder / "train_network.py").exists(),
        ),
        Step("make its environment", (python or python_for(), "-m", "venv", "venv"), folder, pip.exists()),
        Step("install torch", (*install, f"torch=={torch}", f"torchvision=={vision}"), folder, have_torch),
        Step("install its requirements", (*install, "-r", "requirements.txt"), folder, have_rest),
    ]


def run(step: Step) -> Iterator[str]:
    """Run `step` and yield its output line by line; UserError with the last line when it fails.

    A caller that stops early (a signal, a closed terminal) ends the command too.
    """
    try:
        step.cwd.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            step.argv,
            cwd=step.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise UserError(f"Cannot run {step.argv[0]}: {error.strerror}", f"The command was: {step.shown}") from error
    assert process.stdout is not None
    last: list[str] = []
    try:
        for line in process.stdout:
            last = [*last[-4:], line.rstrip()]
            yield line.rstrip()
    except BaseException:
        process.terminate()
        raise
    finally:
        process.stdout.close()
        code = process.wait()
    if code != 0:
        raise UserError(
            f"“{step.label}” failed (exit {code}): {last[-1] if last else 'no output'}",
            f"Mend what it says, then run setup again: what is done is kept. The command was: {step.shown}",
        )


def adopt(folder: Path, python: Path | None = None) -> tuple[Path, Path | None]:
    """Remember an existing checkout (and its Python) in the user's settings; returns what was stored."""
    from core.runs.trainer import python_of
    from core.settings import save_user

    folder = folder.expanduser().absolute()
    if not (folder / "train_network.py").is_file():
        nested = folder / "sd-scripts"
        if not (nested / "train_network.py").is_file():
            raise UserError(
                f"There is no train_network.py in {folder}", "Name the folder of the sd-scripts checkout itself."
            )
        folder = nested
    if python is None:
        python = python_of(folder)
    save_user("sd_scripts", str(folder))
    if python is not None:
        save_user("sd_python", str(python.expanduser().absolute()))
    return folder, python
