"""The floors of the house hold (core/help/inside.md, rule 1)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS = {"dataset": 1, "tagging": 2, "config": 2, "runs": 3, "demo": 4, "cli": 5}


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "core").rglob("*.py")
        if path.name != "__main__.py"
    )


def test_core_never_loads_the_screen_libraries() -> None:
    """Every module of core can be imported on a machine without a terminal library."""
    code = f"import importlib, sys\nfor name in {modules()!r}: importlib.import_module(name)\n"
    code += "print(sorted({'textual', 'rich', 'textual_image', 'tui'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    # typer brings rich for its help page; nothing else may
    assert found.stdout.strip() in ("[]", "['rich']")


def test_no_room_reaches_up() -> None:
    """dataset knows neither tagging, config nor runs; tagging and config do not know each other."""
    wrong = []
    for path in (ROOT / "core").rglob("*.py"):
        room = path.relative_to(ROOT / "core").parts[0]
        if room not in FLOORS:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] != "core" or len(parts) < 2 or parts[1] == room:
                    continue
                if FLOORS.get(parts[1], 0) >= FLOORS[room]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_the_first_steps_of_core_import_nothing_heavy() -> None:
    """Settings and workspaces are read before the first frame: nothing that costs start-up time is loaded for them."""
    code = "import sys, core.settings, core.workspace, core.files\n"
    code += "print(sorted({'numpy', 'PIL', 'tomlkit', 'typer', 'psutil', 'pynvml', 'onnxruntime'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
