"""One list of what is there and what is missing, each with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.problems import Severity, UserError
from core.settings import Settings, user_file
from core.text import human_bytes, human_gib
from core.workspace import Workspace

LITTLE_DISK = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the list. `ok` is None for what is neither good nor bad on this machine."""

    name: str
    ok: bool | None
    message: str
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The keys that `doctor --json` promises."""
        return asdict(self)


def checks(workspace: Workspace | None, settings: Settings) -> Iterator[Check]:
    """Every check in turn; the slow ones (the provider opens a real session) come last."""
    yield _python()
    yield from _terminal(os.environ)
    yield _workspace(workspace)
    yield from _settings(settings)
    yield from _gpu()
    yield _disk(workspace)
    yield _survival()
    yield from _trainer(settings)
    yield _onnxruntime()
    yield _tagger(workspace, settings)


def _python() -> Check:
    version = platform.python_version()
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Check(
        "Python", ok, f"{version} ({sys.executable})", None if ok else "kohya-tui supports Python 3.11 to 3.13."
    )


def _terminal(environment: Mapping[str, str]) -> Iterator[Check]:
    colours = environment.get("COLORTERM") in {"truecolor", "24bit"}
    yield Check(
        "terminal",
        colours or None,
        f"TERM={environment.get('TERM', 'unset')}, {'true colour' if colours else '256 colours (no COLORTERM)'}",
        None if colours else "If your terminal has true colour: export COLORTERM=truecolor (ssh does not forward it).",
    )
    if "TMUX" not in environment:
        return
    options = {name: _tmux(name) for name in ("allow-passthrough", "set-clipboard", "focus-events", "escape-time")}
    passthrough = options["allow-passthrough"] in {"on", "all"}
    yield Check(
        "tmux pictures",
        passthrough or None,
        f"allow-passthrough is {options['allow-passthrough'] or 'unknown'}: "
        + ("kitty pictures can pass" if passthrough else "pictures are drawn with half blocks"),
        None if passthrough else "For kitty or ghostty: tmux set -g allow-passthrough on",
    )
    clipboard = options["set-clipboard"] == "on"
    yield Check(
        "tmux clipboard",
        clipboard or None,
        f"set-clipboard is {options['set-clipboard'] or 'unknown'}",
        None if clipboard else "So that y copies to your own clipboard: tmux set -s set-clipboard on",
    )


def _tmux(option: str) -> str:
    try:
        found = subprocess.run(["tmux", "show", "-gv", option], capture_output=True, text=True, timeout=1, check=False)
        if found.returncode != 0 or not found.stdout.strip():
            found = subprocess.run(
                ["tmux", "show", "-sv", option], capture_output=True, text=True, timeout=1, check=False
            )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _workspace(workspace: Workspace | None) -> Check:
    if workspace is None:
        return Check("workspace", None, "none here", "Make one with kohya-tui init, or try kohya-tui demo.")
    datasets, configs = len(workspace.dataset_names()), len(workspace.config_names())
    return Check("workspace", True, f"{workspace.root}: datasets {datasets}, configs {configs}")


def _settings(settings: Settings) -> Iterator[Check]:
    """The user's own file, then each fault with the file or the variable in which it is."""
    own = str(user_file())
    faults = [problem for problem in settings.problems if problem.where == own]
    if not faults:
        yield Check("settings", True, own + ("" if user_file().exists() else " (not there yet)"))
    for problem in [*faults, *(each for each in settings.problems if each not in faults)]:
        hint = problem.hint or "Correct it, or remove it."
        yield Check("settings", False, f"{problem.where}: {problem.message}", hint)


def _gpu() -> Iterator[Check]:
    from core.hardware import read_gpus

    reading = read_gpus()
    if not reading.gpus:
        yield Check(
            "GPU", None, reading.message or "no NVIDIA GPU", "Tagging works on the CPU; training wants an NVIDIA GPU."
        )
        return
    for gpu in reading.gpus:
        memory = ""
        if gpu.memory_used is not None and gpu.memory_total is not None:
            memory = f", {human_gib(gpu.memory_used)}/{human_gib(gpu.memory_total)} GiB"
        yield Check(
            f"GPU {gpu.index}",
            True,
            f"{gpu.name or 'unreadable'}{memory}, driver {reading.driver}, CUDA {reading.cuda}",
        )


def _disk(workspace: Workspace | None) -> Check:
    folder = workspace.root if workspace else Path.cwd()
    free = shutil.disk_usage(folder).free
    ok = free > LITTLE_DISK
    return Check(
        "disk", ok, f"{human_bytes(free)} free at {folder}", None if ok else "Checkpoints and samples need room."
    )


def _survival() -> Check:
    """Whether a detached run outlives the login session (logind's KillUserProcesses)."""
    if shutil.which("loginctl") is None:
        return Check("detached runs", True, "no logind here: runs survive the end of the session")
    try:
        found = subprocess.run(
            ["loginctl", "show-user", str(os.getuid()), "-p", "Linger", "--value"],
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
        kill = (
            Path("/etc/systemd/logind.conf").read_text("utf-8", "replace")
            if Path("/etc/systemd/logind.conf").exists()
            else ""
        )
    except (OSError, subprocess.TimeoutExpired):
        return Check("detached runs", None, "logind does not answer")
    kills = any(line.strip().lower() == "killuserprocesses=yes" for line in kill.splitlines())
    if kills and found.stdout.strip() != "yes":
        return Check("detached runs", False, "logind ends them with your session", "Run once: loginctl enable-linger")
    return Check("detached runs", True, "they survive the end of the session")


def _trainer(settings: Settings) -> Iterator[Check]:
    from core.runs.launch import check_trainer

    problems = check_trainer(settings)
    if not problems:
        where = "the demo trainer" if settings.trainer == "demo" else f"{settings.sd_scripts}"
        yield Check("trainer", True, where)
    for problem in problems:
        yield Check(
            "trainer",
            False if problem.severity is Severity.ERROR else None,
            f"{problem.where}: {problem.message}" if problem.where else problem.message,
            problem.hint or "Run: kohya-tui setup",
        )


def _onnxruntime() -> Check:
    from core.tagging.providers import (
        CPU,
        PROVIDERS,
        available_runtime,
        install_command,
        installed_wheels,
        repair_command,
    )

    have = installed_wheels()
    if len(have) > 1:
        names = " and ".join(have)
        return Check("onnxruntime", False, f"{names} are installed: one hides the other", repair_command())
    if not have:
        return Check(
            "onnxruntime",
            False,
            "not installed: tagging is not possible, everything else is",
            install_command(),
        )
    from core.tagging.models import find_model
    from core.tagging.session import open_session

    try:
        session = open_session(find_model("demo", None, Settings()), provider="auto")
    except UserError as error:
        return Check("onnxruntime", False, error.message, error.hint)
    ((name, version),) = have.items()
    there = available_runtime().get_available_providers()
    others = [
        f"{each.label}{'' if each.is_tested else ' (untested)'}"
        for each in PROVIDERS.values()
        if each.engine in there and each.word not in (CPU, session.provider)
    ]
    also = f"; --provider can also ask for {', '.join(others)}" if others else ""
    message = f"{name} {version} runs on {session.device_name}{also}"
    return Check("onnxruntime", session.fallback is None, message, session.fallback)


def _tagger(workspace: Workspace | None, settings: Settings) -> Check:
    from core.tagging.models import find_model

    try:
        model = find_model(settings.tagger, workspace, settings)
    except UserError as error:
        return Check("tagger", None, error.message, error.hint)
    if model.onnx is None:
        return Check(
            "tagger", None, f"{settings.tagger} is not on disk yet", f"kohya-tui models download {settings.tagger}"
        )
    return Check("tagger", True, f"{settings.tagger} in {model.folder}")
