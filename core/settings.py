"""Settings: where things live and what the user chose.

Four layers, each over the one before: user file < workspace file < environment (`KOHYA_TUI_*`) < flags. The workspace
file never names a program to run: a folder that somebody shared must not start theirs (`trainer = "demo"` is a word).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from core.problems import Problem, Severity, UserError

WORKSPACE_FILE = "kohya-tui.toml"
FORMAT = 1
USER_ONLY = frozenset({"sd_scripts", "sd_python", "notify", "slurm", "accelerate"})
"""Settings that name programs: taken from the user's file, the environment and flags only."""
NOTIFY_EVENTS = ("finished", "failed", "nan", "stalled", "disk")
CHOICES: dict[str, tuple[str, ...]] = {
    "trainer": ("sd-scripts", "demo"),
    "launcher": ("local", "accelerate", "slurm"),
    "theme": ("night", "day", "ansi-dark", "ansi-light"),
    "images": ("auto", "kitty", "sixel", "blocks", "off"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force. Paths are absolute or start with `~` in the files; here they are expanded."""

    sd_scripts: Path | None = None
    """Checkout of sd-scripts (the folder with train_network.py)."""
    sd_python: Path | None = None
    """The Python that has torch; None = look for venv/bin/python in and above the checkout."""
    trainer: str = "sd-scripts"
    launcher: str = "local"
    tagger: str = "SmilingWolf/wd-v1-4-convnext-tagger-v2"
    """Repository id or local folder of the tagger model used when none is named."""
    trigger: str | None = None
    theme: str = "night"
    images: str = "auto"
    hide_pictures: bool = False
    quick_tags: tuple[str, ...] = ("smile", "open mouth", "closed eyes", "blush", "looking at viewer")
    blacklists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sets of tags by name, for `kohya-tui tag --blacklist`; taken from the user's file only."""
    tag_csv: Path | None = None
    """A list of tags with counts and aliases (danbooru.csv) for the completion."""
    notify: Mapping[str, Any] = field(default_factory=dict)
    """How and of what the user is told (core.runs.notify)."""
    accelerate: Mapping[str, Any] = field(default_factory=dict)
    """Options of `accelerate launch` (core.runs.accelerate)."""
    slurm: Mapping[str, Any] = field(default_factory=dict)
    """What a job asks the cluster for (core.runs.slurm)."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Binding id → key(s), for Textual's keymap."""
    problems: tuple[Problem, ...] = ()
    """What could not be used of the files; shown by `doctor` and by the app."""


_OTHER_VARIABLES = frozenset(
    {
        *("run", "sd_model", "stop_grace", "leave_grace", "gone_grace", "complete"),
        *("ntfy_token", "webhook", "event", "title", "text", "run_id", "matrix_repeats"),
    }
)
"""What else is read from the environment as KOHYA_TUI_…, here and in the tests; KOHYA_TUI_DEMO_… as well."""
_NAMES = {item.name for item in fields(Settings)} - {"problems"}
_TABLES: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "notify": {
        "on": list,
        "command": (str, list),
        "ntfy": str,
        "bell": bool,
        "desktop": bool,
        "stall_minutes": (int, float),
        "disk_gb": (int, float),
    },
    "accelerate": {
        "num_processes": int,
        "multi_gpu": bool,
        "mixed_precision": str,
        "num_machines": int,
        "machine_rank": int,
        "main_process_ip": str,
        "main_process_port": int,
        "dynamo_backend": str,
        "num_cpu_threads_per_process": int,
        "gpu_ids": str,
        "extra": list,
    },
    "slurm": {
        "partition": str,
        "gpus": (int, str),
        "time": str,
        "cpus": int,
        "memory": str,
        "account": str,
        "requeue": bool,
        "extra": list,
        "setup": list,
    },
}
"""Tables of the settings file: key → what it must be."""


def config_dir() -> Path:
    """The user's configuration folder (XDG)."""
    import platformdirs

    return Path(platformdirs.user_config_dir("kohya-tui", appauthor=False))


def cache_dir() -> Path:
    """The user's cache folder: everything in it may be deleted."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("kohya-tui", appauthor=False))


def state_dir() -> Path:
    """The user's state folder: log, recent workspaces, GPU locks."""
    import platformdirs

    return Path(platformdirs.user_state_dir("kohya-tui", appauthor=False))


def user_file() -> Path:
    """`settings.toml` in the user's configuration folder."""
    return config_dir() / "settings.toml"


def load(
    workspace: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force for `workspace` (its root folder).

    What cannot be read or has the wrong kind is left out and reported in `Settings.problems`, never raised.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    _merge_file(user_file(), values, problems, allow_programs=True)
    if workspace is not None:
        _merge_file(workspace / WORKSPACE_FILE, values, problems, allow_programs=False)
    for name, text in (os.environ if environment is None else environment).items():
        key = name.removeprefix("KOHYA_TUI_").lower()
        if not name.startswith("KOHYA_TUI_") or not text:
            continue
        if key in _NAMES:
            _merge(key, _from_text(key, text), f"${name}", values, problems)
        elif key not in _OTHER_VARIABLES and not key.startswith("demo_") and (near := _meant(key)) is not None:
            message, hint = "means nothing here", f"Did you mean KOHYA_TUI_{near.upper()}?"
            problems.append(Problem(Severity.WARNING, "KT004", f"${name}", message, hint))
    for key, value in (flags or {}).items():
        if value is not None:
            _merge(key, value, f"--{key.replace('_', '-')}", values, problems)
    return replace(Settings(**values), problems=tuple(problems))


def save_user(key: str, value: str | bool | None) -> None:
    """Write one setting to the user's file; comments and the other keys stay. None removes it. Raises UserError."""

    def change(document: Any) -> None:
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value

    _change_user_file(change)


def save_user_table(table: str, key: str, value: Any | None) -> None:
    """Write one key of a table (`notify`, `accelerate`, `slurm`) to the user's file; None removes it.

    Raises UserError when the table does not know the key or the value has the wrong kind.
    """
    if value is not None or key not in _TABLES[table]:
        try:
            _checked_table(table, {key: value})
        except ValueError as error:
            raise UserError(f"[{table}] {error}", "kohya-tui help settings lists what there is.") from error

    def change(document: Any) -> None:
        import tomlkit

        found = document.get(table)
        if not isinstance(found, dict):
            found = document[table] = tomlkit.table()
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value

    _change_user_file(change)


def _change_user_file(change: Callable[[Any], None]) -> None:
    import tomlkit

    from core.files import write_atomic, write_error

    path = user_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    except (ValueError, OSError) as error:
        raise UserError(
            f"Cannot change {path}: {error}", "Correct that file, or move it away, then try again."
        ) from error
    change(document)
    write_atomic(path, tomlkit.dumps(document))


def _merge_file(path: Path, values: dict[str, Any], problems: list[Problem], *, allow_programs: bool) -> None:
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        problems.append(
            Problem(
                Severity.WARNING,
                "KT001",
                str(path),
                f"is not used: {error}",
                "Correct the file; until then the defaults hold.",
            )
        )
        return
    version = data.pop("version", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        problems.append(
            Problem(Severity.WARNING, "KT002", str(path), f"was written by a newer kohya-tui (format {version})")
        )
    for key, value in data.items():
        if key in USER_ONLY | {"blacklists"} and not allow_programs:
            why = "a workspace may not name a program" if key in USER_ONLY else "sets of tags are the user's own"
            message = f"{key} is ignored here: {why}"
            problems.append(Problem(Severity.WARNING, "KT003", str(path), message, f"Put it into {user_file()}."))
            continue
        _merge(key, value, str(path), values, problems)


def _meant(key: str) -> str | None:
    """The setting that a name that is none was probably meant to be."""
    import difflib

    close = difflib.get_close_matches(key, sorted(_NAMES), 1, 0.8)
    return close[0] if close else None


def _merge(key: str, value: Any, where: str, values: dict[str, Any], problems: list[Problem]) -> None:
    if key not in _NAMES:
        near = _meant(key)
        hint = f"Did you mean {near}?" if near else "Remove it; kohya-tui help settings lists them."
        problems.append(Problem(Severity.WARNING, "KT004", where, f"unknown setting {key!r}", hint))
        return
    try:
        values[key] = _checked(key, value)
    except ValueError as error:
        problems.append(Problem(Severity.WARNING, "KT005", where, f"{key} is not used: {error}"))


def _from_text(key: str, text: str) -> Any:
    if key == "hide_pictures":
        return text.lower() in {"1", "true", "yes", "on"}
    if key == "quick_tags":
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _checked_table(key: str, value: Any) -> dict[str, Any]:
    known = _TABLES[key]
    if not isinstance(value, Mapping):
        raise ValueError("it must be a table")
    for name, item in value.items():
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}")
        kind = known[name]
        if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
            raise ValueError(f"{name} has the wrong kind of value: {item!r}")
        if isinstance(item, list) and not all(isinstance(part, str) for part in item):
            raise ValueError(f"{name} must be a list of texts")
    if key == "notify" and (strange := set(value.get("on", ())) - set(NOTIFY_EVENTS)):
        raise ValueError(f"{', '.join(sorted(strange))}: there are {', '.join(NOTIFY_EVENTS)}")
    return dict(value)


def _checked(key: str, value: Any) -> Any:
    if key in {"sd_scripts", "sd_python", "tag_csv"}:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError("it must be a path")
        return Path(value).expanduser().absolute()
    if key == "hide_pictures":
        if not isinstance(value, bool):
            raise ValueError("it must be true or false")
        return value
    if key == "quick_tags":
        if not isinstance(value, list | tuple) or not all(isinstance(tag, str) for tag in value):
            raise ValueError("it must be a list of tags")
        return tuple(value)[:9]
    if key == "blacklists":
        if not isinstance(value, Mapping) or not all(isinstance(tags, list | tuple) for tags in value.values()):
            raise ValueError("it must be a table of name = [tags]")
        return {str(name): tuple(str(tag) for tag in tags) for name, tags in value.items()}
    if key in _TABLES:
        return _checked_table(key, value)
    if key == "keys":
        if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
            raise ValueError("it must be a table of binding = key")
        return dict(value)
    if not isinstance(value, str):
        raise ValueError("it must be text")
    if key in CHOICES and value not in CHOICES[key]:
        raise ValueError(f"{value!r} is not one of {', '.join(CHOICES[key])}")
    return value
