"""Asking the trainer's Python what can be imported in it: a child process with a time limit, its answer kept.

The answer holds as long as the environment does: the interpreter and the list of what is installed. A probe imports
torch and what a config needs beside it: some seconds, so never on a screen's thread. No GPU is touched, so that no
training loses memory to it, unless a package cannot be imported without one.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.config.environment import Environment, Package
from core.files import content_hash, read_json, write_json
from core.problems import Problem, Severity, UserError
from core.runs.trainer import trainer_python
from core.settings import Settings, cache_dir

FORMAT = 1
SECONDS = 90.0
"""torch from a slow disk takes a minute the first time."""
_CODE = """
import importlib, importlib.metadata, importlib.util, json, os, sys
here = os.getcwd()
sys.path[:] = [path for path in sys.path if path not in ("", here)]
if sys.argv[1]:
    sys.path.insert(0, sys.argv[1])
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def say(**values):
    out.write(json.dumps(values) + "\\n"); out.flush()
for name in sys.argv[2:]:
    try:
        there = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        there = False
    if not there:
        say(module=name)
        continue
    say(module=name, begun=True)
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        text = str(error).strip().splitlines() or [""]
        say(module=name, error=f"{type(error).__name__}: {text[-1]}"[:300])
        continue
    version = getattr(module, "__version__", None)
    if version is None:
        try:
            version = importlib.metadata.version(name.replace("_", "-"))
        except Exception:  # metadata of any age and damage; what counts is that it could be imported
            version = "?"
    say(module=name, version=str(version))
    if name == "torch":
        try:
            flags = module._C._cuda_getArchFlags() if module.version.cuda else ""
        except Exception:  # a function of torch's own, which may be gone or need a driver
            flags = ""
        say(torch_cuda=module.version.cuda, architectures=(flags or "").split())
"""
"""Each module is announced before it is imported: one that kills the process is known by that."""
_guard = threading.Lock()
_asking: set[str] = set()


def remembered(settings: Settings, modules: Iterable[str] = ()) -> Environment | None:
    """The answer from before, when the environment is still the same and every module was asked for; else None."""
    try:
        kept = _kept(trainer_python(settings), settings)
    except UserError:
        return None
    return kept if kept is not None and {*modules} <= kept.packages.keys() else None


def probe(settings: Settings, modules: Iterable[str] = (), *, timeout: float = SECONDS) -> Environment:
    """What the trainer's Python can import of torch and `modules`. Never raises.

    Takes some seconds, at most `timeout` for each of two starts; nothing when it was asked before and the environment
    is the same.
    """
    try:
        python = trainer_python(settings)
    except UserError as error:
        return Environment("", problem=error.message)
    kept = _kept(python, settings) or Environment(str(python))
    wanted = [name for name in ("torch", *sorted({*modules} - {"torch"})) if name not in kept.packages]
    if not wanted:
        return kept
    found = _ask(python, settings, wanted, timeout)
    failed = [name for name, package in found.packages.items() if package.error is not None]
    if failed and found.problem is None:
        found = _joined(found, _ask(python, settings, failed, timeout, hides_gpus=False))
    found = _joined(kept, found)
    if found.problem is None:
        _keep(python, settings, found)
    return found


def _joined(first: Environment, second: Environment) -> Environment:
    """What both say; the second wins."""
    torch = second if second.torch is not None else first
    packages = {**first.packages, **second.packages}
    return Environment(
        first.python, packages, torch.torch, torch.torch_cuda, torch.architectures, second.problem or first.problem
    )


def begin(settings: Settings, modules: Iterable[str] = ()) -> None:
    """Have it asked on a thread, for the next check; nothing when that is under way."""
    if settings.trainer == "demo":
        return
    wanted = tuple(modules)
    key = f"{settings.sd_python}\0{settings.sd_scripts}\0{wanted}"
    with _guard:
        if key in _asking:
            return
        _asking.add(key)
    threading.Thread(target=probe, args=(settings, wanted), name="probe", daemon=True).start()


def problems_of(found: Environment) -> Iterator[Problem]:
    """Why it did not answer."""
    if found.problem is not None and found.python:
        hint = "Is its disk asleep, or does a package hang while it is imported? kohya-tui doctor asks it again."
        yield Problem(Severity.WARNING, "KT502", found.python, found.problem, hint)


def _ask(
    python: Path, settings: Settings, wanted: list[str], timeout: float, *, hides_gpus: bool = True
) -> Environment:
    checkout = str(settings.sd_scripts or "")
    # Not -I: what the user's own site adds counts in a training too. PYTHONPATH may name the workspace: it does not.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONSAFEPATH"}}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    if hides_gpus:
        environment |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    command = [str(python), "-c", _CODE, checkout, *wanted]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=environment,
        )
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        name = _begun(late.stdout or b"")
        while_what = f" while it imported {name}" if name else ""
        return Environment(str(python), problem=f"did not answer within {timeout:.0f} s{while_what}")
    except OSError as error:
        return Environment(str(python), problem=f"cannot be started: {error.strerror}")
    found = _answer(str(python), output)
    name = _begun(output)
    if name and code != 0:  # killed by what it imported
        why = f"its import ends the program (exit status {code})"
        rest = [each for each in wanted if each not in found.packages and each != name]
        found = _joined(found, Environment(str(python), {name: Package(error=why)}))
        return _joined(found, _ask(python, settings, rest, timeout, hides_gpus=hides_gpus)) if rest else found
    if code != 0:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        return Environment(str(python), problem=f"does not work: {last}")
    return found


def _rows(output: bytes) -> list[dict[str, Any]]:
    rows = []
    for line in output.decode("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _begun(output: bytes) -> str | None:
    """The module whose import did not come to an end."""
    rows = [row for row in _rows(output) if "module" in row]
    return str(rows[-1]["module"]) if rows and rows[-1].get("begun") else None


def _answer(python: str, output: bytes) -> Environment:
    packages: dict[str, Package] = {}
    cuda: str | None = None
    architectures: tuple[str, ...] = ()
    for row in _rows(output):
        if "module" in row and not row.get("begun"):
            packages[str(row["module"])] = Package(row.get("version"), row.get("error"))
        elif "torch_cuda" in row:
            cuda, architectures = row["torch_cuda"], tuple(str(name) for name in row.get("architectures") or ())
    torch = packages.get("torch", Package()).version
    return Environment(python, packages, torch, cuda, architectures)


# What is kept


def identity(python: Path) -> str:
    """The interpreter and the names of what is installed for it: another when a package came, went or was replaced."""
    parts: list[object] = [str(python)]
    try:
        parts.append(python.stat().st_mtime_ns)
        for folder in sorted(python.parent.parent.glob("lib/python3*/site-packages")):
            names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith((".dist-info", ".pth")))
            parts += [str(folder), folder.stat().st_mtime_ns, *names]
    except OSError:
        pass
    return content_hash(json.dumps(parts).encode())


def _file(python: Path) -> Path:
    return cache_dir() / "environments" / f"{content_hash(os.fsencode(python))}.json"


def _kept(python: Path, settings: Settings) -> Environment | None:
    data = read_json(_file(python)) or {}
    packages = data.get("packages")
    if data.get("v") != FORMAT or data.get("identity") != identity(python) or not isinstance(packages, dict):
        return None
    if data.get("checkout") != str(settings.sd_scripts or ""):
        return None
    rows: Mapping[str, Any] = packages
    try:
        found = {name: Package(row.get("version"), row.get("error")) for name, row in rows.items()}
        architectures = tuple(str(name) for name in data.get("architectures") or ())
    except (AttributeError, TypeError):
        return None
    return Environment(str(python), found, data.get("torch"), data.get("torch_cuda"), architectures)


def _keep(python: Path, settings: Settings, found: Environment) -> None:
    path = _file(python)
    packages = {name: {"version": each.version, "error": each.error} for name, each in found.packages.items()}
    document = {
        "v": FORMAT,
        "identity": identity(python),
        "checkout": str(settings.sd_scripts or ""),
        "packages": packages,
        "torch": found.torch,
        "torch_cuda": found.torch_cuda,
        "architectures": list(found.architectures),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document, fsync=False)
    except (OSError, UserError):
        return
