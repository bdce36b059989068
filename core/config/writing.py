"""The text of a train.toml and a dataset.toml from plain values: in the groups of the form, comments behind values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.config.schema import DEFAULT_SCRIPT, GROUPS, Field
from core.config.values import toml_item


def train_text(
    name: str,
    script: str,
    values: Mapping[str, Any],
    known: Mapping[str, Field],
    comments: Mapping[str, str],
    source: str = "a guide",
) -> str:
    """The options in sections of the form's groups; a key that is not in `known` is marked as unknown to sd-scripts."""
    lines = [
        f"# {name}: made by kohya-tui from {source}. sd-scripts takes every key below as an option of its script.",
        *([f"# script: {script}"] if script != DEFAULT_SCRIPT else []),
        "# Pictures, repeats and resolution stand in dataset.toml. Paths are relative to the workspace.",
    ]
    rank = {key: index for index, key in enumerate(known)}
    for group in GROUPS:
        keys = [key for key in values if (known[key].group if key in known else "Advanced") == group]
        if keys:
            lines += ["", f"[{group.lower()}]"]
        for key in sorted(keys, key=lambda key: rank.get(key, len(rank))):
            note = comments.get(key, "") if key in known else "# unknown to sd-scripts"
            lines.append(_line(key, values[key], note))
    return "\n".join(lines) + "\n"


def dataset_text(
    name: str, general: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]], comments: Mapping[str, str]
) -> str:
    """`[general]`, `[[datasets]]` and their subsets; empty when there is nothing to say."""
    if not datasets and not general:
        return ""
    lines = [f"# The dataset of {name}: only these sections and keys may stand here, sd-scripts refuses any other."]
    if general:
        lines += _table("[general]", general, comments, "")
    for data in datasets:
        own = {key: value for key, value in data.items() if key != "subsets"}
        lines += _table("[[datasets]]", own, comments, "")
        for subset in data.get("subsets", []):
            lines += _table("[[datasets.subsets]]", subset, comments, "  ")
    return "\n".join(lines) + "\n"


def comments_in(text: str) -> dict[str, str]:
    """The comments behind values, by key; of a key that stands several times the first."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        match = re.match(r"""\s*([\w-]+)\s*=\s*(?:'[^']*'|"[^"]*"|[^#'"\[{]*?)\s*(\#.*)$""", line)
        if match is not None:
            found.setdefault(match[1], match[2].rstrip())
    return found


def _table(head: str, values: Mapping[str, Any], comments: Mapping[str, str], indent: str) -> list[str]:
    rows = [indent + _line(key, value, comments.get(key, "")) for key, value in values.items()]
    return ["", indent + head, *rows]


def _line(key: str, value: Any, comment: str) -> str:
    name = key if re.fullmatch(r"[\w-]+", key, re.ASCII) else toml_item(key).as_string()
    text = f"{name} = {toml_item(value).as_string()}"
    return f"{text}  {comment}" if comment else text
