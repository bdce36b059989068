"""A composed preset as the three files of a config: every value with its reason as a comment beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from core.config.documents import FileName
from core.config.schema import DEFAULT_SCRIPT, GROUPS, dataset_names, fields
from core.config.values import float_text

if TYPE_CHECKING:
    from core.config.compose import Composed

_COLUMN = 40
"""Comments of a section stand below each other up to here."""
_WIDTH = 118
"""A line that would be longer has its comment above it."""


def texts_of(composed: Composed, name: str, preset: str, words: Mapping[str, str], subsets: str) -> dict[FileName, str]:
    """train.toml, dataset.toml and prompts.txt of the config `name`, made from the preset called `preset`.

    `words` has `trigger`, `model` and the paths of the model's other files by option; `subsets` is the text of the
    `[[datasets.subsets]]` blocks.
    """
    return {
        "train": _train(composed, name, preset, words),
        "dataset": _dataset(composed, name) + subsets,
        "prompts": composed.prompts.replace("{{trigger}}", words["trigger"]),
    }


def toml_text(value: Any) -> str:
    """A value as TOML that toml 0.10.2 reads as well: `1e-4`, `["k=v", "k=v"]`, `'C:\\x'`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_text(key)} = {toml_text(item)}" for key, item in value.items()) + " }"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """As a TOML string, literal where that spares escapes."""
    if "\\" in text and "'" not in text and "\n" not in text:
        return f"'{text}'"
    plain = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return '"' + "".join(char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}" for char in plain) + '"'


def _train(composed: Composed, name: str, preset: str, words: Mapping[str, str]) -> str:
    folder = f"configs/{name}"
    known = fields(composed.script)
    sections: dict[str, list[tuple[str, Any, str]]] = {group.lower(): [] for group in GROUPS}
    sections["model"].append(("pretrained_model_name_or_path", words["model"], ""))
    sections["model"] += [(key, words[key], "") for key in composed.files]
    for key, value in composed.train.items():
        group = known[key].group if key in known else "Advanced"
        sections[group.lower()].append((key, value.value, value.why))
    sampling = [row for row in sections["sampling"] if row[0] != "sample_prompts"]
    sections["sampling"] = [("sample_prompts", f"{folder}/prompts.txt", "a file, never the prompt itself"), *sampling]
    files = [
        ("dataset_config", f"{folder}/dataset.toml", ""),
        ("output_name", name, ""),
        ("logging_dir", f"output/{name}/logs", "without it there is no loss curve; runs get their own"),
    ]
    lines = [
        f"# {name}: {composed.title}.",
        f"# Made by kohya-tui from the preset {preset}.",
        # of train_network.py nothing is said: the base model tells, should it be another than expected
        *([f"# script: {composed.script}"] if composed.script != DEFAULT_SCRIPT else []),
        "# Section names are only for you: sd-scripts takes every key as an option of the script.",
        "# Pictures, repeats and resolution stand in dataset.toml, the prompts of the sample pictures in prompts.txt.",
        "# Paths are relative to the workspace.",
    ]
    if composed.sources:
        lines.append(f"# Reasons: {', '.join(composed.sources)}.")
    lines += [f"# {note}" for note in composed.notes]
    blocks = [("model", sections.pop("model")), ("files", files), *sections.items()]
    for title, rows in blocks:
        if rows:
            lines += ["", f"[{title}]", *_rows(rows)]
        if title == "files":
            lines.insert(
                -1, f"# output_dir is left out: every run then gets output/{name}/<run>, and none overwrites another"
            )
    return "\n".join(lines) + "\n"


def _dataset(composed: Composed, name: str) -> str:
    general = dataset_names("general") - {"resolution", "batch_size"}
    rows = [(key, value.value, value.why) for key, value in composed.dataset.items()]
    lines = [
        f"# The dataset of {name}: only these sections and keys may stand here, sd-scripts refuses any other.",
        "",
        "[general]",
        *_rows(row for row in rows if row[0] in general),
        "",
        "[[datasets]]",
        *_rows(row for row in rows if row[0] not in general),
    ]
    return "\n".join(lines) + "\n"


def _rows(rows: Iterable[tuple[str, Any, str]]) -> list[str]:
    pairs = [(f"{key} = {toml_text(value)}", why) for key, value, why in rows]
    column = max((len(text) for text, why in pairs if why and len(text) <= _COLUMN), default=0) + 2
    lines: list[str] = []
    for text, why in pairs:
        line = f"{text:<{column}}# {why}" if len(text) < column else f"{text}  # {why}"
        if not why:
            lines.append(text)
        elif len(line) > _WIDTH:
            lines += [f"# {why}", text]
        else:
            lines.append(line)
    return lines
