"""The datasets and subsets of a config as a tree: what each one sets, what it inherits and from where, and its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import blocks, places
from core.config.resolved import given_by_train
from core.config.schema import dataset_fields, dataset_names
from core.problems import UserError

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.survey import Survey
    from core.dataset.model import Subset
    from core.workspace import Workspace

KINDS = {
    "images": "pictures with captions",
    "regularisation": "regularisation pictures: they count as many as the others need",
    "masks": "pictures with masks or conditioning images",
    "fine-tuning": "captions from a metadata file",
}
_ONLY: Mapping[str, frozenset[str]] = {
    "fine-tuning": frozenset({"metadata_file"}),
    "masks": frozenset({"conditioning_data_dir"}),
}


@dataclass(frozen=True, slots=True)
class Inherited:
    """A value as the trainer takes it; `source` is "" (its own), "dataset", "general", "train.toml" or "default"."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Node:
    """One table of dataset.toml. `place` is its name for `config set`: general, datasets[0], datasets[0].subsets[1]."""

    place: str
    level: str
    own: Mapping[str, Any]
    dataset: int = 0
    subset: int | None = None

    @property
    def kind(self) -> str:
        """One of KINDS; what the trainer makes of a subset (config_util.py, validate_flex_dataset)."""
        if "metadata_file" in self.own:
            return "fine-tuning"
        if "conditioning_data_dir" in self.own:
            return "masks"
        return "regularisation" if self.own.get("is_reg") is True else "images"

    @property
    def folder(self) -> str:
        """The path as it is written; empty when there is none."""
        value = self.own.get("image_dir") or self.own.get("metadata_file")
        return value if isinstance(value, str) else ""


def tree(config: Config) -> list[Node]:
    """[general], then every dataset with its subsets behind it; what is no table is left out."""
    data = config.plain("dataset")
    general = data.get("general")
    found = [Node("general", "general", general if isinstance(general, dict) else {})]
    datasets = data.get("datasets")
    for index, dataset in enumerate(datasets if isinstance(datasets, list) else []):
        if not isinstance(dataset, dict):
            continue
        own = {key: value for key, value in dataset.items() if key != "subsets"}
        found.append(Node(f"datasets[{index}]", "datasets", own, index))
        rows = dataset.get("subsets")
        for number, row in enumerate(rows if isinstance(rows, list) else []):
            if isinstance(row, dict):
                found.append(Node(f"datasets[{index}].subsets[{number}]", "subsets", row, index, number))
    return found


def keys_of(node: Node) -> list[str]:
    """What may be set in this table, in the order of the form, and what is set in it though it may not be."""
    names = [key for key in dataset_fields(node.level) if key != "subsets"]
    if node.level == "datasets":  # what only a dataset has comes first
        names.sort(key=lambda key: key in dataset_fields("subsets"))
    if node.level == "subsets":
        extra = _ONLY.get(node.kind, frozenset())
        names += [key for key in ("conditioning_data_dir", "metadata_file") if key in extra and key not in names]
        names = [key for key in names if key not in {"metadata_file", "conditioning_data_dir"} or key in extra]
    return [*names, *(key for key in node.own if key not in names)]


def inherited(config: Config, node: Node, key: str) -> Inherited:
    """What the trainer takes for `key` in this table (config_util.py, BlueprintGenerator: subset, dataset, general,
    train.toml, default)."""
    if node.own.get(key) is not None:
        return Inherited(node.own[key], "")
    data = config.plain("dataset")
    chain = {"subsets": ("datasets", "general"), "datasets": ("general",), "general": ()}[node.level]
    for level in chain:
        table = places.Place(level, key, node.dataset).table(data)
        if table is not None and table.get(key) is not None and key in dataset_names(level):
            return Inherited(table[key], "dataset" if level == "datasets" else level)
    train = given_by_train(config.effective())
    if train.get(key) is not None:
        return Inherited(train[key], "train.toml")
    field = dataset_fields(node.level).get(key) or dataset_fields("subsets").get(key)
    return Inherited(None if field is None else field.default, "default")


def counts_of(config: Config, root: Path, survey: Survey) -> dict[str, int | None]:
    """Place of each subset → pictures in its folder, None when there is no such folder. On a thread."""
    found: dict[str, int | None] = {}
    for node in tree(config):
        if node.level == "subsets" and isinstance(node.own.get("image_dir"), str):
            facts = survey.folder(root / Path(str(node.own["image_dir"])).expanduser())
            found[node.place] = None if facts is None else len(facts.images)
    return found


def folders_to_add(config: Config, workspace: Workspace) -> list[Subset]:
    """The folders of train_data/ that hold pictures and are in no subset yet."""
    from core.dataset.scan import dataset_dir, subsets

    taken = {_resolved(node.folder, workspace) for node in tree(config) if node.level == "subsets" and node.folder}
    found = [part for name in workspace.dataset_names() for part in subsets(dataset_dir(workspace, name))]
    return [part for part in found if part.path.resolve() not in taken]


def add_folders(config: Config, workspace: Workspace, folders: Sequence[Path], dataset: int | None = None) -> None:
    """A subset for each folder, with the repeats of its name, in `dataset` (the last one; made when there is none)."""
    from core.dataset.model import parse_folder_name

    text = config.text("dataset")
    count = sum(node.level == "datasets" for node in tree(config))
    if not count:
        text = blocks.add_dataset(text, {"resolution": 1024 if "sdxl" in config.script else 512, "batch_size": 1})
        count = 1
    at = count - 1 if dataset is None else dataset
    for folder in folders:
        parsed = parse_folder_name(folder.name)
        repeats = parsed[0] if parsed is not None and parsed[0] > 0 else 1
        text = blocks.add_subset(text, at, {"image_dir": workspace.key_of(folder), "num_repeats": repeats})
    config.set_text("dataset", text)


def is_inline(config: Config) -> bool:
    """Whether dataset.toml has `datasets = [{...}]` or `subsets = [{...}]`, of which no part can be moved as it is."""
    return blocks.is_inline(config.text("dataset"))


def write_as_blocks(config: Config) -> None:
    """Each dataset and subset under a header of its own, the same for the trainer. UserError where that fails."""
    config.set_text("dataset", blocks.as_blocks(config.text("dataset")))


def add_dataset(config: Config, like: Node | None = None) -> str:
    """A new `[[datasets]]` behind all others, with the size and batch of `like`; returns its place."""
    own = dict(like.own) if like is not None and like.level == "datasets" else {"resolution": 512, "batch_size": 1}
    own.pop("subsets", None)
    count = sum(node.level == "datasets" for node in tree(config))
    config.set_text("dataset", blocks.add_dataset(config.text("dataset"), own))
    return f"datasets[{count}]"


def remove(config: Config, node: Node) -> None:
    """Take a dataset or subset out of the file. UserError for [general], which holds values only."""
    _refuse_general(node)
    config.set_text("dataset", blocks.remove(config.text("dataset"), node.dataset, node.subset))


def duplicate(config: Config, node: Node) -> str:
    """The same once more behind it; returns the place of the copy."""
    _refuse_general(node)
    config.set_text("dataset", blocks.duplicate(config.text("dataset"), node.dataset, node.subset))
    if node.subset is None:
        return f"datasets[{node.dataset + 1}]"
    return f"datasets[{node.dataset}].subsets[{node.subset + 1}]"


def move(config: Config, node: Node, by: int) -> str:
    """One place up (-1) or down; a subset at the edge of its dataset goes into the next one. Returns its place."""
    _refuse_general(node)
    nodes = tree(config)
    count = sum(each.level == "datasets" for each in nodes)
    sizes = [sum(each.level == "subsets" and each.dataset == at for each in nodes) for at in range(count)]
    to: tuple[int, int | None]
    if node.subset is None:
        to = (node.dataset + by, None)
        is_inside = 0 <= to[0] < count
    elif 0 <= node.subset + by < sizes[node.dataset]:
        to, is_inside = (node.dataset, node.subset + by), True
    else:
        other = node.dataset + by
        is_inside = 0 <= other < count
        to = (other, 0 if by > 0 else sizes[other]) if is_inside else (node.dataset, node.subset)
    if not is_inside:
        return node.place
    config.set_text("dataset", blocks.move(config.text("dataset"), node.dataset, node.subset, to))
    return f"datasets[{to[0]}]" if to[1] is None else f"datasets[{to[0]}].subsets[{to[1]}]"


def mixture(nodes: Sequence[Node], dataset: int, *, masked_loss: bool) -> str | None:
    """Why the trainer refuses the kinds of subsets that stand together in a dataset; None when it takes them."""
    kinds = [node.kind for node in nodes if node.level == "subsets" and node.dataset == dataset]
    if "fine-tuning" in kinds and set(kinds) != {"fine-tuning"}:
        return "folders with captions and metadata files cannot stand in one dataset"
    if "masks" in kinds and not masked_loss:
        return "conditioning_data_dir needs masked_loss = true in train.toml"
    return "masks for some folders only: the trainer refuses the others" if set(kinds) > {"masks"} else None


def _refuse_general(node: Node) -> None:
    if node.level == "general":
        raise UserError("[general] holds what all datasets share", "Choose a dataset or a folder below it.")


def _resolved(text: str, workspace: Workspace) -> Path:
    return (workspace.root / Path(text).expanduser()).resolve()
