"""Which program trains: the Python and the script of the configured sd-scripts, or the demo trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from core.problems import Problem, Severity, UserError
from core.runs.accelerate import ENTRY, Accelerate
from core.settings import Settings

SCRIPT = "train_network.py"
_NEEDED = ("torch", "torchvision", "accelerate", "diffusers", "transformers", "safetensors", "toml")
_VENVS = ("venv/bin/python", ".venv/bin/python")


def trainer_command(
    settings: Settings, *, script: str = SCRIPT, launcher: str | None = None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The beginning of the trainer's command line and what it needs in its environment.

    Inside a cluster's job, too, several processes are started by accelerate. Raises UserError when sd-scripts or its
    Python cannot be found, or the launcher's options contradict each other.
    """
    if settings.trainer == "demo":
        return (sys.executable, "-P", "-m", "core.demo.trainer"), {}
    checkout = _checkout(settings)
    target = checkout / script
    if not target.is_file():
        raise UserError(
            f"{checkout} has no {script}", "Update that checkout, or point the setting sd_scripts at a complete one."
        )
    python = trainer_python(settings)
    # With PYTHONSAFEPATH in the user's environment the scripts would not find their own `library`.
    environment = {"PYTHONSAFEPATH": ""}
    launcher = launcher or settings.launcher
    options = Accelerate.from_table(settings.accelerate)
    if launcher == "accelerate" or (launcher == "slurm" and options.processes > 1):
        return (str(python), "-c", ENTRY, *options.arguments(), str(target)), environment
    return (str(python), str(target)), environment


def trainer_python(settings: Settings) -> Path:
    """The Python that has torch: the setting, else a venv in or above the checkout. Not resolved: a venv is its link.

    Raises UserError when there is none.
    """
    if settings.sd_python is not None:
        if not os.access(settings.sd_python, os.X_OK) or settings.sd_python.is_dir():
            raise UserError(
                f"The trainer's Python {settings.sd_python} is not a program",
                "Correct sd_python: it is the bin/python of the environment that has torch.",
            )
        return settings.sd_python
    checkout = _checkout(settings)
    if (found := python_of(checkout)) is not None:
        return found
    raise UserError(
        f"No Python environment was found in or above {checkout}",
        "Set sd_python to the bin/python that has torch, or make one: kohya-tui setup sd-scripts",
    )


def python_of(checkout: Path) -> Path | None:
    """The Python of a venv in the checkout or in one of the two folders above it (kohya_ss)."""
    places = (folder / name for folder in (checkout, *list(checkout.parents)[:2]) for name in _VENVS)
    return next((path for path in places if os.access(path, os.X_OK)), None)


def _checkout(settings: Settings) -> Path:
    if settings.sd_scripts is None:
        raise UserError(
            "It is not known where sd-scripts is",
            'Set sd_scripts = "/path/to/sd-scripts" in your settings, or fetch it: kohya-tui setup sd-scripts. '
            'To try everything without it: trainer = "demo".',
        )
    if not settings.sd_scripts.is_dir():
        raise UserError(
            f"There is no sd-scripts folder {settings.sd_scripts}",
            "Correct the setting sd_scripts, or fetch it: kohya-tui setup sd-scripts",
        )
    return settings.sd_scripts


def check_trainer(settings: Settings, *, timeout: float = 20.0) -> list[Problem]:
    """What keeps the configured trainer from starting; empty when it can. Starts its Python once (0.1 s, no torch)."""
    try:
        argv, _ = trainer_command(settings)
    except UserError as error:
        return [Problem(Severity.ERROR, "KT501", "sd-scripts", error.message, error.hint)]
    if settings.trainer == "demo":
        return []
    python = argv[0]
    code = f"import importlib.util as u; print(*(m for m in {_NEEDED!r} if u.find_spec(m) is None))"
    try:
        # -I: neither the current folder nor PYTHONPATH may stand in for what is not installed.
        done = subprocess.run(
            [python, "-I", "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return [
            Problem(
                Severity.WARNING,
                "KT502",
                python,
                f"did not answer within {timeout:.0f} s",
                "Is its disk asleep or slow?",
            )
        ]
    except OSError as error:
        return [Problem(Severity.ERROR, "KT502", python, f"cannot be started: {error.strerror}", "Correct sd_python.")]
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [Problem(Severity.ERROR, "KT502", python, f"does not work: {last}", "Make that environment anew.")]
    missing = done.stdout.split()
    if "torch" in missing:
        return [
            Problem(
                Severity.ERROR,
                "KT503",
                python,
                "has no torch",
                "Set sd_python to the environment of sd-scripts, or install torch there: kohya-tui setup sd-scripts",
            )
        ]
    if missing:
        names = ", ".join(missing)
        remedy = f"Install them there: {python} -m pip install -r requirements.txt (in the sd-scripts folder)"
        if "torchvision" in missing:  # no line of requirements.txt: it comes with torch, and must fit it
            remedy = f"{remedy}; torchvision of the same release as torch: kohya-tui setup sd-scripts shows the command"
        return [Problem(Severity.ERROR, "KT503", python, f"has no {names}", remedy)]
    return []
