"""Two configs beside each other: by value, as the trainer takes them, and by line; tokens are hidden."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.config.documents import FILES, Config, FileName, open_config
from core.config.secrets import hidden, hidden_text
from core.problems import UserError

if TYPE_CHECKING:
    from core.workspace import Workspace

Side = Literal["same", "changed", "ours", "theirs"]
LONGEST = 4_000
"""Lines of a file that are laid beside each other; difflib's time grows with their square."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs; None where it is not set. Of dataset.toml it names its place: `datasets[0].resolution`."""

    file: FileName
    key: str
    ours: Any
    theirs: Any

    @property
    def name(self) -> str:
        """As `config set` takes it: `dataset:datasets[0].resolution`."""
        return f"dataset:{self.key}" if self.file == "dataset" else self.key


@dataclass(frozen=True, slots=True)
class LinePair:
    """A line of each text; None where the other one has one more."""

    kind: Side
    ours: str | None
    theirs: str | None


def differences(ours: Config, theirs: Config) -> list[Difference]:
    """Every option and prompt that the trainer would take differently, in the order of our files."""
    found: list[Difference] = []
    train = (ours.effective(), theirs.effective())
    for key in _keys(*train):
        a, b = train[0].get(key), train[1].get(key)
        if a != b or type(a) is not type(b):
            found.append(Difference("train", key, hidden(key, a), hidden(key, b)))
    dataset = tuple(dict(_flat(config.plain("dataset"))) for config in (ours, theirs))
    for key in _keys(*dataset):
        if dataset[0].get(key) != dataset[1].get(key):
            found.append(Difference("dataset", key, dataset[0].get(key), dataset[1].get(key)))
    prompts = [_prompts(config) for config in (ours, theirs)]
    for number in range(max(map(len, prompts))):
        a, b = (rows[number] if number < len(rows) else None for rows in prompts)
        if a != b:
            found.append(Difference("prompts", f"prompt {number + 1}", a, b))
    return found


def line_pairs(ours: Config, theirs: Config, file: FileName) -> list[LinePair]:
    """The lines of one file of both, aligned; the values of tokens are hidden."""
    a, b = (hidden_text(config, file).splitlines()[:LONGEST] for config in (ours, theirs))
    found: list[LinePair] = []
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    for tag, i, i_end, j, j_end in matcher.get_opcodes():
        if tag == "equal":
            found += [LinePair("same", one, other) for one, other in zip(a[i:i_end], b[j:j_end], strict=True)]
            continue
        for number in range(max(i_end - i, j_end - j)):
            one = a[i + number] if i + number < i_end else None
            other = b[j + number] if j + number < j_end else None
            found.append(
                LinePair("changed" if None not in (one, other) else "theirs" if one is None else "ours", one, other)
            )
    return found


def saved(config: Config) -> Config:
    """The config as it is on disk."""
    return Config.load(config.folder)


def frozen(workspace: Workspace, run: str) -> Config:
    """The files that a run was started with. UserError when there is no such run, or it trained nothing."""
    folder = workspace.runs / run
    if "/" in run or not (folder / FILES["train"]).is_file():
        raise UserError(f"There is no training {run!r} in {workspace.runs}", "List them: kohya-tui runs")
    return Config.load(folder)


def from_preset(config: Config, workspace: Workspace, preset: str) -> Config:
    """The preset filled in for the same dataset and base model, so that only what was chosen differs."""
    from core.config.presets import draft

    base = config.get("train", "pretrained_model_name_or_path")
    overrides = {"pretrained_model_name_or_path": base} if isinstance(base, str) and base else {}
    return draft(workspace, config.name, preset, dataset_of(config, workspace), overrides)


def other(workspace: Workspace, name: str) -> Config:
    """Another config of the workspace."""
    return open_config(workspace, name)


def dataset_of(config: Config, workspace: Workspace) -> str | None:
    """The dataset of the workspace that the config's first folder lies in; None when it is none."""
    from core.config.subsets import tree

    for folder in (node.own.get("image_dir") for node in tree(config) if node.level == "subsets"):
        if isinstance(folder, str) and (workspace.root / folder).is_relative_to(workspace.train_data):
            parts = Path(workspace.root / folder).relative_to(workspace.train_data).parts
            if parts and parts[0] in workspace.dataset_names():
                return parts[0]
    return None


def as_json(found: list[Difference]) -> dict[str, list[Any]]:
    """`{key: [ours, theirs]}` with the names that `config set` takes."""
    return {each.name: [each.ours, each.theirs] for each in found}


def _keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [*ours, *(key for key in theirs if key not in ours)]


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested tables with their places; a list of plain values is a leaf."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{where}[{index}]")
    else:
        yield where, value


def _prompts(config: Config) -> list[str]:
    from core.config.prompts import is_prompt, lines_of

    return [line.strip() for line in lines_of(config.prompts) if is_prompt(line)]
