"""A guide's settings split into the three files that sd-scripts reads, every move with its reason."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from core.config.documents import FILES
from core.config.gathering import Gathered
from core.config.guide import Guide, answered, open_placeholders
from core.config.moves import Moved
from core.config.presets import check_name
from core.config.schema import Field, dataset_fields, fields, renamed
from core.config.values import coerce, from_text, shown
from core.config.writing import dataset_text, train_text
from core.problems import Problem, Severity
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.workspace import Workspace

_MODEL_SUFFIX = (".safetensors", ".ckpt", ".pt", ".sft")
_PATH_KEYS = frozenset(
    {
        "pretrained_model_name_or_path",
        "vae",
        "network_weights",
        "resume",
        "reg_data_dir",
        "train_data_dir",
        "logging_dir",
    }
)
_PROMPT_SUFFIX = (".txt", ".toml", ".json")


@dataclass(frozen=True, slots=True)
class GuideResult:
    """The three files as text (see `presets.write_config`), what moved, and what is left to look at."""

    name: str
    train: str
    dataset: str
    prompts: str
    moved: tuple[Moved, ...]
    problems: tuple[Problem, ...]


def split(guide: Guide, answers: Mapping[str, str], name: str | None, workspace: Workspace | None) -> GuideResult:
    """See `core.config.guide.convert`."""
    parts = Gathered(guide, answers, workspace)
    parts.read_toml()
    parts.read_foreign()
    parts.read_options()
    parts.read_launcher()
    _notes(parts)
    chosen = name or answers.get("character_name") or parts.train.get("output_name") or "imported"
    chosen = re.sub(r'[/\\"\s]+', "_", str(chosen)).strip("._ ") or "imported"
    check_name(chosen)
    return _finish(parts, chosen)


_SOURCES = {
    "guide": "a guide",
    "script": "a script",
    "kohya_ss": "settings of kohya_ss",
    "easy": "settings of LoRA Easy Training Scripts",
}


def _notes(parts: Gathered) -> None:
    """What a script says that cannot be followed without running it."""
    guide = parts.guide
    if guide.undecided:
        few = "; ".join(printable(text) for text in guide.undecided[:3])
        hint = "Look whether the options behind them are meant."
        message = f"{count_of(len(guide.undecided), 'condition')} taken as true: {few}"
        parts.problems.append(Problem(Severity.INFO, "KT260", "script", message, hint))
    if guide.kind == "script" and guide.calls > 1:
        message = f"trains {guide.calls} times; only the first is imported"
        hint = "Paste the others one by one to import them."
        parts.problems.append(Problem(Severity.WARNING, "KT260", "script", message, hint))


def _finish(parts: Gathered, name: str) -> GuideResult:
    known = fields(parts.script)
    base = f"configs/{name}"
    parts.correct_kinds(known)
    _to_dataset(parts, known)
    prompts = _prompts(parts, base)
    _paths(parts)
    if parts.datasets:
        if "dataset_config" in parts.train:
            parts.move("dataset_config", parts.origin["dataset_config"], FILES["train"], f"now {base}/dataset.toml")
        parts.train["dataset_config"] = f"{base}/dataset.toml"
    if parts.train.get("xformers") is True:
        parts.problems.append(
            Problem(
                Severity.WARNING,
                "KT403",
                f"{FILES['train']}: xformers",
                "needs the xformers package in the trainer's Python, else the run stops at its start",
                "sdpa = true does the same with what PyTorch brings: set it and remove xformers.",
            )
        )
    source = _SOURCES[parts.guide.kind]
    train = train_text(name, parts.script, parts.train, known, parts.comments, source)
    dataset = dataset_text(name, parts.general, parts.datasets, parts.comments)
    for placeholder in open_placeholders(_values_only(train) + _values_only(dataset) + _values_only(prompts)):
        parts.problems.append(
            Problem(
                Severity.ERROR,
                "KT240",
                placeholder,
                "this placeholder of the guide has no answer yet",
                "Say what it stands for, or put the value into the file.",
            )
        )
    return GuideResult(name, train, dataset, prompts, tuple(parts.moved), tuple(parts.problems))


def _to_dataset(parts: Gathered, known: Mapping[str, Field]) -> None:
    """Options of the training config that describe the dataset go where the dataset is described."""
    rename = {"train_batch_size": "batch_size", **renamed()}
    if not parts.datasets and not _subsets_from_folders(parts):
        for key, value in parts.general.items():
            parts.take(key, f"{value}" if key == "resolution" else value, "TOML [general]")
        parts.general = {}
        named = parts.train.get("dataset_config")
        if named and not _is_file(parts, str(named)):
            hint = "Put that file beside the one that you import, and import it again."
            message = f"names its pictures in {named}, which is not there"
            parts.problems.append(Problem(Severity.ERROR, "KT207", _SOURCES[parts.guide.kind], message, hint))
        elif "train_data_dir" not in parts.train and not named:
            hint = "Make the dataset file: config new NAME --dataset NAME, and take over what you need."
            where = _SOURCES[parts.guide.kind]
            parts.problems.append(Problem(Severity.ERROR, "KT207", where, "names no folder with pictures", hint))
        return
    for key, value in list(parts.train.items()):
        name = rename.get(key, key)
        option = next((found for level in ("general", "datasets") if (found := dataset_fields(level).get(name))), None)
        if option is None or (key in known and known[key].group != "Dataset"):
            continue
        del parts.train[key]
        origin = parts.origin.get(key, "TOML")
        if name == "resolution" and isinstance(value, str):
            value = from_text(value, option)
        said = [holder[name] for holder in parts.holders() if name in holder]
        if said:
            same = "the same as" if said[0] == value else f"{shown(value)} would lose against"
            why = f"stands in the dataset part too: {same} {shown(said[0])} there, which is what the trainer takes"
            parts.move(name, origin, FILES["dataset"], why)
            continue
        place = (
            parts.datasets[0] if name in {"resolution", "batch_size"} and len(parts.datasets) == 1 else parts.general
        )
        place[name] = coerce(value, option)
        parts.move(name, origin, FILES["dataset"], "describes the dataset, so it stands with it")
    for holder in parts.holders():
        for key, value in list(holder.items()):
            option = dataset_fields("subsets").get(key) or dataset_fields("datasets").get(key)
            if option is not None and option.type in {"int", "float"} and isinstance(value, int | float):
                right = coerce(value, option)
                if type(right) is not type(value):
                    holder[key] = right
                    why = f"{shown(value)} is now {shown(right)}: the dataset file is strict about this"
                    parts.move(key, "TOML", FILES["dataset"], why)


def _subsets_from_folders(parts: Gathered) -> bool:
    """`train_data_dir` and `reg_data_dir` as subsets, when the folders are there to look into."""
    from core.dataset.scan import subsets

    if parts.workspace is None or not isinstance(parts.train.get("train_data_dir"), str):
        return False
    found: list[dict[str, Any]] = []
    for key in ("train_data_dir", "reg_data_dir"):
        value = parts.train.get(key)
        folder = parts.workspace.root / _relative(parts, str(value)) if value else None
        if folder is None or not folder.is_dir():
            continue
        for part in subsets(folder):
            row: dict[str, Any] = {"image_dir": parts.workspace.key_of(part.path), "num_repeats": part.repeats}
            if part.class_name:
                row["class_tokens"] = part.class_name
            found.append(row | ({"is_reg": True} if key == "reg_data_dir" else {}))
    if not found:
        return False
    for key in ("train_data_dir", "reg_data_dir"):
        if parts.train.pop(key, None) is not None:
            why = "its folders stand in the dataset file, one subset each, with the repeats of their names"
            parts.move(key, parts.origin[key], FILES["dataset"], why)
    parts.datasets.append({"subsets": found})
    return True


def _prompts(parts: Gathered, base: str) -> str:
    value = parts.train.get("sample_prompts")
    path = f"{base}/{FILES['prompts']}"
    if parts.guide.given is not None and parts.guide.given.prompts and "sample_prompts" not in parts.train:
        parts.train["sample_prompts"] = path
        return parts.guide.given.prompts.rstrip("\n") + "\n"
    if not isinstance(value, str) or not value.strip():
        return ""
    origin = parts.origin.get("sample_prompts", "TOML")
    if value in parts.guide.files and value.endswith(".txt"):
        parts.train["sample_prompts"] = path
        parts.move("sample_prompts", origin, FILES["prompts"], f"copied from {value}")
        return parts.guide.files[value]
    if value.endswith(_PROMPT_SUFFIX) and ", " not in value:
        source = (parts.workspace.root if parts.workspace else Path()) / _relative(parts, value)
        if not value.endswith(".txt") or not source.is_file():
            return ""
        parts.train["sample_prompts"] = path
        parts.move("sample_prompts", origin, FILES["prompts"], f"copied from {value}")
        return source.read_text("utf-8-sig", "replace")
    parts.train["sample_prompts"] = path
    seed = parts.train.get("seed", 42)
    size = _resolution(parts)
    options = "" if " --" in value else f" --w {size[0]} --h {size[1]} --d {seed}"
    why = "it is the name of a file, not a prompt: the text would only make an error at each sampling, and no picture"
    if options:
        why += ". Size and a fixed seed were added, so that epochs can be compared"
    parts.move("sample_prompts", origin, FILES["prompts"], why)
    return f"# One prompt a line: --n negative, --w --h size, --d seed, --s steps, --l guidance.\n{value}{options}\n"


def _resolution(parts: Gathered) -> tuple[int, int]:
    value = next((data["resolution"] for data in [*parts.datasets, parts.general] if "resolution" in data), 512)
    if isinstance(value, list) and len(value) == 2:
        return int(value[0]), int(value[1])
    return (value, value) if isinstance(value, int) else (512, 512)


def _paths(parts: Gathered) -> None:
    for subset in parts.subsets():
        for key in ("image_dir", "metadata_file", "conditioning_data_dir"):
            value = subset.get(key)
            if not isinstance(value, str):
                continue
            short = _relative(parts, value)
            if short != value:
                subset[key] = short
                why = f"{value} → {short}: relative to the workspace, where the trainer runs"
                parts.move(key, "TOML [[datasets.subsets]]", FILES["dataset"], why)
            there = _same_folder(parts, short) if key == "image_dir" else None
            if there is not None:
                subset[key] = there
                why = f"there is no {short}; a folder of that name is here at {there}"
                parts.move(key, "[[datasets.subsets]]", FILES["dataset"], why)
    known = fields(parts.script)
    for key, value in list(parts.train.items()):
        if isinstance(value, str) and key in known and (known[key].type == "path" or key in _PATH_KEYS):
            if value.endswith(_MODEL_SUFFIX):
                _model(parts, key, value)
            elif key in _PATH_KEYS:
                parts.train[key] = _relative(parts, value)
    if parts.guide.kind != "guide" and parts.train.pop("logging_dir", None) is not None:
        why = "left out: every run keeps its logs in its own folder"
        parts.move("logging_dir", parts.origin["logging_dir"], "", why)
    output = parts.train.get("output_dir")
    usual = {"output", "outputs", "."}
    if isinstance(output, str) and (
        PurePosixPath(_relative(parts, output)).as_posix() in usual
        or (parts.guide.kind != "guide" and not _is_here(parts, output))
    ):
        del parts.train["output_dir"]
        why = "left out: every run gets output/<config>/<run>, so that no run overwrites another"
        parts.move("output_dir", parts.origin["output_dir"], "", why)


def _is_here(parts: Gathered, text: str) -> bool:
    root = parts.workspace.root if parts.workspace is not None else Path()
    return (root / _relative(parts, text)).expanduser().is_dir()


def _same_folder(parts: Gathered, text: str) -> str | None:
    """The folder of images in the workspace that has the name of one that is not there; None for several."""
    if parts.workspace is None or _is_here(parts, text):
        return None
    name = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
    places = [parts.workspace.train_data / name, *parts.workspace.train_data.glob(f"*/{glob.escape(name)}")]
    found = [place for place in places if name and place.is_dir()]
    return parts.workspace.key_of(found[0]) if len(found) == 1 else None


def _is_file(parts: Gathered, text: str) -> bool:
    root = parts.workspace.root if parts.workspace is not None else Path()
    return (root / _relative(parts, text)).expanduser().is_file()


def _model(parts: Gathered, key: str, value: str) -> None:
    """A model file: relative to the workspace, or where a file of that name lies in models/."""
    short = _relative(parts, value)
    parts.train[key] = short
    if parts.workspace is None or (parts.workspace.root / short).exists():
        return
    from core.config.base_models import list_models

    name = PureWindowsPath(short).name if "\\" in short else PurePosixPath(short).name
    there = next((item.path for item in list_models(parts.workspace) if item.path.name == name), None)
    if there is not None:
        parts.train[key] = parts.workspace.key_of(there)
        parts.move(key, parts.origin[key], FILES["train"], f"{value} is here at {parts.train[key]}")


def _relative(parts: Gathered, text: str) -> str:
    """`text` relative to the workspace when it lies below it or below the folder that the guide works in."""
    if "\\" in text and parts.guide.kind != "guide" and not PureWindowsPath(text).drive:
        text = text.replace("\\", "/")
    roots = [parts.workspace.root.as_posix()] if parts.workspace else []
    folder = answered(parts.guide.folder or "", parts.answers)
    roots += [root for root in (folder, *(a for p, a in parts.answers.items() if p.startswith("/path/to/"))) if root]
    roots += [p for p in parts.guide.placeholders if p.startswith("/path/to/") and not parts.answers.get(p)]
    for root in roots:
        inside = text.removeprefix(root.rstrip("/") + "/")
        elsewhere = parts.workspace is not None and Path(root).is_dir() and Path(root) != parts.workspace.root
        if inside != text and not elsewhere:
            return inside
    return text.removeprefix("./") or "."


def _values_only(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
