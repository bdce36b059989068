"""The user's own presets: values of a config without its paths, names and tokens, kept in the user's config folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.base_models import SCRIPTS
from core.config.compose import Composed
from core.config.pieces import Value, families
from core.config.preset_text import quoted, toml_text
from core.config.reading import read_toml
from core.config.schema import dataset_names, fields
from core.config.secrets import INSTEAD
from core.files import natural_key, write_atomic
from core.problems import UserError
from core.settings import config_dir

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.workspace import Workspace

VERSION = 1
_NAMES = frozenset(
    {*INSTEAD, "output_name", "sample_prompts", "training_comment", "wandb_run_name", "log_prefix", "log_tracker_name"}
    | {"huggingface_repo_id", "huggingface_path_in_repo", "base_weights", "base_weights_multiplier", "initial_epoch"}
    | {"initial_step", "skip_until_initial_step", "config_file", "output_config"}
)
"""Options that name this training and no other, beside paths and metadata."""
_OF_ONE_DATASET = frozenset({"image_dir", "num_repeats", "class_tokens", "is_reg", "caption_prefix", "caption_suffix"})


def folder() -> Path:
    """Where they lie, one TOML file each."""
    return config_dir() / "presets"


def own_names() -> list[str]:
    """Their names, in natural order."""
    try:
        found = [path.stem for path in folder().glob("*.toml") if path.is_file()]
    except OSError:
        return []
    return sorted(found, key=natural_key)


def save_preset(
    config: Config, name: str, workspace: Workspace | None = None, *, trigger: str | None = None, force: bool = False
) -> Path:
    """Keep the values of `config` as the preset `name`, with the comments beside them; returns its file.

    In the prompts `trigger` becomes a placeholder. UserError for a name that is taken, unless `force` is set, and for
    a config with a broken file.
    """
    from core.config.presets import check_name, is_shipped
    from core.config.resolved import model_of, script_of

    check_name(name)
    if is_shipped(name):
        raise UserError(f"{name} is the name of a preset of kohya-tui", "Choose another name.")
    path = folder() / f"{name}.toml"
    if path.exists() and not force:
        raise UserError(f"There is a preset {name!r} already ({path})", "Choose another name, or replace it: --force")
    for error in config.broken.values():
        raise error
    script = script_of(config, workspace) if workspace is not None else config.script
    model = model_of(config, workspace) if workspace is not None else None
    architecture = model.architecture if model is not None else None
    if architecture is None or architecture not in SCRIPTS:
        architecture = next((name for name, each in SCRIPTS.items() if each == script), "SD1.5")
    lines = [
        f"# A preset of kohya-tui, saved from the config {config.name}. Paths, names and tokens are left out.",
        f"version = {VERSION}",
        f"title = {quoted(f'as {config.name}')}",
        f"script = {quoted(script)}",
        f"architecture = {quoted(architecture)}",
    ]
    if config.get("train", "v_parameterization") is True:
        lines.append('prediction = "v"')
    for file in ("train", "dataset"):
        lines += ["", f"[{file}]"]
        for key, value, why in _kept(config, file, script):
            lines.append(f"{key} = {toml_text(value)}" + (f"  # {why}" if why else ""))
    prompts = config.prompts
    if trigger:
        prompts = re.sub(rf"(?<!\w){re.escape(trigger)}(?!\w)", "{{trigger}}", prompts)
    if prompts.strip():
        lines += ["", "[prompts]", f"text = {quoted(prompts)}"]
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {folder()}: {error.strerror}", "Check its owner and permissions.") from error
    write_atomic(path, "\n".join(lines) + "\n")
    return path


def load_preset(name: str) -> Composed:
    """A preset of the user. Raises UserError with file and line when it is not there or not one."""
    path = folder() / f"{name}.toml"
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"Cannot read {path}: {why}", "See: kohya-tui config presets") from error
    data = read_toml(text, str(path))
    train, dataset, prompts = (data.get(part, {}) for part in ("train", "dataset", "prompts"))
    script = data.get("script")
    if not isinstance(train, dict) or not isinstance(dataset, dict) or not isinstance(script, str):
        raise UserError(f"{path} is no preset", 'It needs script = "…" and the sections [train] and [dataset].')
    if isinstance(data.get("version"), int) and data["version"] > VERSION:
        raise UserError(f"{path} was written by a newer kohya-tui", "Bring this one up to date.")
    comments = _comments(text)
    architecture, prediction = str(data.get("architecture", "")), data.get("prediction")
    family = next((each for each in families().values() if each.architecture == architecture), None)
    said = prompts.get("text") if isinstance(prompts, dict) else None
    return Composed(
        f"a LoRA {data.get('title', '')}".rstrip(),
        None,
        script,
        architecture,
        prediction if isinstance(prediction, str) else (family.prediction if family is not None else None),
        family.model if family is not None else "models/base.safetensors",
        {key: Value(value, comments.get(key, "")) for key, value in train.items()},
        {key: Value(value, comments.get(key, "")) for key, value in dataset.items()},
        family.files if family is not None and family.script == script else {},
        (),
        (),
        said if isinstance(said, str) else "",
    )


def _kept(config: Config, file: FileName, script: str) -> Iterator[tuple[str, Any, str]]:
    """The values of a file that are worth keeping, with the comment beside each."""
    comments = _comments(config.text(file))
    if file == "train":
        known = fields(script)
        for key, value in config.effective("train").items():
            field = known.get(key)
            is_local = key in _NAMES or key.startswith("metadata_") or (field is not None and field.type == "path")
            if field is not None and not is_local and not _is_table(value):
                yield key, value, comments.get(key, "")
        return
    seen: set[str] = set()
    for key, value in _dataset_values(config.plain("dataset")):
        if key not in seen and not _is_table(value) and key in dataset_names("datasets"):
            seen.add(key)
            yield key, value, comments.get(key, "")


def _dataset_values(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of the first subset, its dataset and general, the nearest first; none of what belongs to one folder."""
    datasets = data.get("datasets")
    first = datasets[0] if isinstance(datasets, list) and datasets and isinstance(datasets[0], dict) else {}
    subsets = first.get("subsets")
    subset = subsets[0] if isinstance(subsets, list) and subsets and isinstance(subsets[0], dict) else {}
    general = data.get("general")
    for values in (subset, first, general if isinstance(general, dict) else {}):
        yield from ((key, value) for key, value in values.items() if key not in _OF_ONE_DATASET and key != "subsets")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


_LINE = re.compile(r"""^\s*["']?(\w+)["']?\s*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|\[.*\]|[^#"'\[]*?)\s*#\s*(.+?)\s*$""")


def _comments(text: str) -> dict[str, str]:
    """Key → the comment behind its value, in the same line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is not None:
            found.setdefault(match[1], match[2])
    return found
