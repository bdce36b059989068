"""A guide's settings split into the three files that sd-scripts reads, every move with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from core.config.documents import FILES
from core.config.guide import Guide, answered, open_placeholders
from core.config.presets import check_name
from core.config.reading import read_toml
from core.config.schema import DEFAULT_SCRIPT, GROUPS, Field, dataset_fields, fields, only_dataset, renamed, suggest
from core.config.values import coerce, from_text, shown
from core.config.writing import comments_in, dataset_text, train_text
from core.problems import Problem, Severity, UserError

if TYPE_CHECKING:
    from core.workspace import Workspace

_DICT_LISTS = ("network_args", "optimizer_args", "lr_scheduler_args")
_PATH_KEYS = frozenset({"vae", "network_weights", "resume", "reg_data_dir", "train_data_dir", "logging_dir"})
_PROMPT_SUFFIX = (".txt", ".toml", ".json")


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing that stands elsewhere, or otherwise, than in the guide; `to` is empty for what was left out."""

    key: str
    from_: str
    to: str
    why: str

    def as_json(self) -> dict[str, str]:
        return {"key": self.key, "from": self.from_, "to": self.to, "why": self.why}


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
    work = _Split(guide, answers, workspace)
    work.read_toml()
    work.read_options()
    chosen = name or answers.get("character_name") or work.train.get("output_name") or "imported"
    chosen = re.sub(r'[/\\"\s]+', "_", str(chosen)).strip("._ ") or "imported"
    check_name(chosen)
    return work.finish(chosen)


@dataclass(slots=True)
class _Split:
    guide: Guide
    answers: Mapping[str, str]
    workspace: Workspace | None
    script: str = DEFAULT_SCRIPT
    train: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    general: dict[str, Any] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read_toml(self) -> None:
        self.script = self.guide.script or DEFAULT_SCRIPT
        for block in self.guide.toml:
            text = answered(block.text, self.answers)
            data = read_toml(text, "the TOML block")
            self.comments.update(comments_in(text))
            for name, value in data.items():
                if name == "general" and isinstance(value, dict):
                    self._dataset_section(name, value)
                elif name == "datasets" and isinstance(value, list):
                    self.datasets.extend(item for item in value if isinstance(item, dict))
                    why = (
                        "sd-scripts reads datasets from the dataset file only; in the training config they are ignored"
                    )
                    self._move("[[datasets]]", "TOML [[datasets]]", FILES["dataset"], why)
                elif isinstance(value, dict):
                    self._section(name, value)
                else:
                    self._take(name, value, "TOML")

    def read_options(self) -> None:
        known = fields(self.script)
        for name, values in self.guide.options:
            texts = [answered(value, self.answers) for value in values]
            full = name if name in known else _abbreviated(name, known)
            if full in {"config_file", "output_config"}:
                why = "names the one file of the guide; here it is configs/<name>/train.toml"
                self._move(f"--{full}", "script", "", why)
                continue
            if full is None:
                near = suggest(name, script=self.script)
                self._problem("KT202", f"--{name}", "sd-scripts does not know this option", near)
                continue
            option = known[full]
            if option.type == "bool":
                value: Any = True
            elif option.type == "list":
                value = from_text(" ".join(texts), option) if option.item == "float" else texts
            else:
                value = from_text(" ".join(texts), option)
            if value is None or value == []:
                message = "the script gives this option without a value: it is left out"
                self.problems.append(Problem(Severity.WARNING, "KT203", f"script --{full}", message, option.help))
                continue
            before = self.train.get(full)
            if before is not None and before != value:
                why = f"the script's {shown(value)} wins over {shown(before)} of the TOML"
                self._move(full, f"script --{full}", FILES["train"], why)
            self.train[full], self.origin[full] = value, f"script --{full}"

    def finish(self, name: str) -> GuideResult:
        known = fields(self.script)
        base = f"configs/{name}"
        self._kinds(known)
        self._to_dataset(known)
        prompts = self._prompts(base)
        self._paths()
        if "dataset_config" in self.train:
            self._move("dataset_config", self.origin["dataset_config"], FILES["train"], f"now {base}/dataset.toml")
        if self.datasets:
            self.train["dataset_config"] = f"{base}/dataset.toml"
        if self.train.get("xformers") is True:
            self.problems.append(
                Problem(
                    Severity.WARNING,
                    "KT403",
                    f"{FILES['train']}: xformers",
                    "needs the xformers package in the trainer's Python, else the run stops at its start",
                    "sdpa = true does the same with what PyTorch brings: set it and remove xformers.",
                )
            )
        train = train_text(name, self.script, self.train, known, self.comments)
        dataset = dataset_text(name, self.general, self.datasets, self.comments)
        for placeholder in open_placeholders(_values_only(train) + _values_only(dataset) + _values_only(prompts)):
            self.problems.append(
                Problem(
                    Severity.ERROR,
                    "KT240",
                    placeholder,
                    "this placeholder of the guide has no answer yet",
                    "Say what it stands for, or put the value into the file.",
                )
            )
        return GuideResult(name, train, dataset, prompts, tuple(self.moved), tuple(self.problems))

    def _move(self, key: str, from_: str, to: str, why: str) -> None:
        self.moved.append(Moved(key, from_, to, why))

    def _problem(self, code: str, where: str, message: str, near: str | None) -> None:
        hint = f"Did you mean {near}?" if near else "Remove it, or look for its name in your version of sd-scripts."
        self.problems.append(Problem(Severity.WARNING, code, where, message, hint))

    def _section(self, section: str, values: dict[str, Any]) -> None:
        known = fields(self.script)
        pairs = {key: value for key, value in values.items() if key not in known and not isinstance(value, dict | list)}
        if section in _DICT_LISTS and pairs:
            items = [f"{key}={_plain(value)}" for key, value in pairs.items()]
            self.train.setdefault(section, []).extend(items)
            self.origin[section] = f"TOML [{section}]"
            why = 'a table is not read there; sd-scripts wants a list of "key=value"'
            self._move(", ".join(pairs), f"TOML [{section}]", f"{FILES['train']}: {section}", why)
            values = {key: value for key, value in values.items() if key not in pairs}
        for key, value in values.items():
            self._take(key, value, f"TOML [{section}]")
        taken = [key for key in values if key in known]
        if taken and section not in {group.lower() for group in GROUPS}:
            why = f"section names mean nothing to sd-scripts: sorted into the usual groups ({', '.join(taken)})"
            self._move(f"[{section}]", f"TOML [{section}]", FILES["train"], why)

    def _dataset_section(self, section: str, values: dict[str, Any]) -> None:
        known = dataset_fields("general")
        right = {key: value for key, value in values.items() if key in known}
        self.general.update(right)
        if right:
            why = f"sd-scripts reads [general] from the dataset file only ({', '.join(right)})"
            self._move("[general]", "TOML [general]", FILES["dataset"], why)
        for key, value in values.items():
            if key not in known:
                self._take(key, value, "TOML [general]")

    def _take(self, key: str, value: Any, origin: str) -> None:
        if key in _DICT_LISTS and isinstance(value, dict):
            value = [f"{name}={_plain(item)}" for name, item in value.items()]
            self._move(key, origin, FILES["train"], 'a table is not read there; now a list of "key=value"')
        if key in self.train and self.train[key] != value:
            why = f"stands twice; the last one, {shown(value)}, wins over {shown(self.train[key])}"
            self._move(key, origin, FILES["train"], why)
        self.train[key], self.origin[key] = value, origin

    def _kinds(self, known: Mapping[str, Field]) -> None:
        for key, value in list(self.train.items()):
            option = known.get(key)
            if option is None:
                if key not in only_dataset():
                    self._problem(
                        "KT202", f"{FILES['train']}: {key}", "sd-scripts does not know this key", suggest(key)
                    )
                continue
            if option.type == "list" and isinstance(value, str):
                self.train[key] = from_text(value, option)
                self._move(key, self.origin[key], FILES["train"], "must be a list")
                continue
            if key == "resolution" and not isinstance(value, str):
                continue  # goes to the dataset file, where it is a number
            try:
                right = from_text(value, option) if isinstance(value, str) else coerce(value, option)
            except UserError as error:
                where = f"{FILES['train']}: {key}"
                self.problems.append(Problem(Severity.ERROR, "KT203", where, error.message, error.hint))
                continue
            if right is None:
                del self.train[key]
                self._move(key, self.origin[key], "", "empty: left out, so that the default holds")
                continue
            if type(right) is not type(value):
                why = f"{shown(value)} is now {shown(right)}, as the trainer's own parser would make it"
                self._move(key, self.origin[key], FILES["train"], why)
            self.train[key] = right

    def _to_dataset(self, known: Mapping[str, Field]) -> None:
        """Options of the training config that describe the dataset go where the dataset is described."""
        rename = {"train_batch_size": "batch_size", **renamed()}
        if not self.datasets and not self._subsets_from_folders():
            for key, value in self.general.items():
                self._take(key, f"{value}" if key == "resolution" else value, "TOML [general]")
            self.general = {}
            if "train_data_dir" not in self.train:
                hint = "Make the dataset file: config new NAME --dataset NAME, and take over what you need."
                self.problems.append(Problem(Severity.ERROR, "KT207", "guide", "names no folder with pictures", hint))
            return
        for key, value in list(self.train.items()):
            name = rename.get(key, key)
            option = next(
                (found for level in ("general", "datasets") if (found := dataset_fields(level).get(name))), None
            )
            if option is None or (key in known and known[key].group != "Dataset"):
                continue
            del self.train[key]
            origin = self.origin.get(key, "TOML")
            if name == "resolution" and isinstance(value, str):
                value = from_text(value, option)
            holders = [
                self.general,
                *self.datasets,
                *(sub for data in self.datasets for sub in data.get("subsets", [])),
            ]
            said = [holder[name] for holder in holders if name in holder]
            if said:
                same = "the same as" if said[0] == value else f"{shown(value)} would lose against"
                why = f"stands in the dataset part too: {same} {shown(said[0])} there, which is what the trainer takes"
                self._move(name, origin, FILES["dataset"], why)
                continue
            place = (
                self.datasets[0] if name in {"resolution", "batch_size"} and len(self.datasets) == 1 else self.general
            )
            place[name] = coerce(value, option)
            self._move(name, origin, FILES["dataset"], "describes the dataset, so it stands with it")
        for holder in [
            self.general,
            *self.datasets,
            *(sub for data in self.datasets for sub in data.get("subsets", [])),
        ]:
            for key, value in list(holder.items()):
                option = dataset_fields("subsets").get(key) or dataset_fields("datasets").get(key)
                if option is not None and option.type in {"int", "float"} and isinstance(value, int | float):
                    right = coerce(value, option)
                    if type(right) is not type(value):
                        holder[key] = right
                        why = f"{shown(value)} is now {shown(right)}: the dataset file is strict about this"
                        self._move(key, "TOML", FILES["dataset"], why)

    def _subsets_from_folders(self) -> bool:
        """`train_data_dir` and `reg_data_dir` as subsets, when the folders are there to look into."""
        from core.dataset.scan import subsets

        if self.workspace is None or not isinstance(self.train.get("train_data_dir"), str):
            return False
        found: list[dict[str, Any]] = []
        for key in ("train_data_dir", "reg_data_dir"):
            value = self.train.get(key)
            folder = self.workspace.root / self._relative(str(value)) if value else None
            if folder is None or not folder.is_dir():
                continue
            for part in subsets(folder):
                row: dict[str, Any] = {"image_dir": self.workspace.key_of(part.path), "num_repeats": part.repeats}
                if part.class_name:
                    row["class_tokens"] = part.class_name
                found.append(row | ({"is_reg": True} if key == "reg_data_dir" else {}))
        if not found:
            return False
        for key in ("train_data_dir", "reg_data_dir"):
            if self.train.pop(key, None) is not None:
                why = "its folders stand in the dataset file, one subset each, with the repeats of their names"
                self._move(key, self.origin[key], FILES["dataset"], why)
        self.datasets.append({"subsets": found})
        return True

    def _prompts(self, base: str) -> str:
        value = self.train.get("sample_prompts")
        if not isinstance(value, str) or not value.strip():
            return ""
        origin = self.origin.get("sample_prompts", "TOML")
        path = f"{base}/{FILES['prompts']}"
        if value.endswith(_PROMPT_SUFFIX) and ", " not in value:
            source = (self.workspace.root if self.workspace else Path()) / self._relative(value)
            if not value.endswith(".txt") or not source.is_file():
                return ""
            self.train["sample_prompts"] = path
            self._move("sample_prompts", origin, FILES["prompts"], f"copied from {value}")
            return source.read_text("utf-8-sig", "replace")
        self.train["sample_prompts"] = path
        seed = self.train.get("seed", 42)
        size = self._resolution()
        options = "" if " --" in value else f" --w {size[0]} --h {size[1]} --d {seed}"
        why = (
            "it is the name of a file, not a prompt: the text would only make an error at each sampling, and no picture"
        )
        if options:
            why += ". Size and a fixed seed were added, so that epochs can be compared"
        self._move("sample_prompts", origin, FILES["prompts"], why)
        return (
            f"# One prompt a line: --n negative, --w --h size, --d seed, --s steps, --l guidance.\n{value}{options}\n"
        )

    def _resolution(self) -> tuple[int, int]:
        value = next((data["resolution"] for data in [*self.datasets, self.general] if "resolution" in data), 512)
        if isinstance(value, list) and len(value) == 2:
            return int(value[0]), int(value[1])
        return (value, value) if isinstance(value, int) else (512, 512)

    def _paths(self) -> None:
        for data in self.datasets:
            for subset in data.get("subsets", []):
                for key in ("image_dir", "metadata_file", "conditioning_data_dir"):
                    value = subset.get(key)
                    if isinstance(value, str) and (short := self._relative(value)) != value:
                        subset[key] = short
                        why = f"{value} → {short}: relative to the workspace, where the trainer runs"
                        self._move(key, "TOML [[datasets.subsets]]", FILES["dataset"], why)
        model = self.train.get("pretrained_model_name_or_path")
        if isinstance(model, str):
            self._model(model)
        for key in _PATH_KEYS & self.train.keys():
            if isinstance(self.train[key], str):
                self.train[key] = self._relative(self.train[key])
        output = self.train.get("output_dir")
        if isinstance(output, str) and PurePosixPath(self._relative(output)).as_posix() in {"output", "outputs", "."}:
            del self.train["output_dir"]
            why = "left out: every run gets output/<config>/<run>, so that no run overwrites another"
            self._move("output_dir", self.origin["output_dir"], "", why)

    def _model(self, model: str) -> None:
        key = "pretrained_model_name_or_path"
        short = self._relative(model)
        self.train[key] = short
        if self.workspace is None or not model.endswith((".safetensors", ".ckpt")):
            self.train[key] = short if model.endswith((".safetensors", ".ckpt")) else model
            return
        if not (self.workspace.root / short).exists():
            from core.config.base_models import list_models

            name = PurePosixPath(short).name
            there = next((item.path for item in list_models(self.workspace) if item.path.name == name), None)
            if there is not None:
                self.train[key] = self.workspace.key_of(there)
                self._move(key, self.origin[key], FILES["train"], f"{model} is here at {self.train[key]}")

    def _relative(self, text: str) -> str:
        """`text` relative to the workspace when it lies below it or below the folder that the guide works in."""
        roots = [self.workspace.root.as_posix()] if self.workspace else []
        folder = answered(self.guide.folder or "", self.answers)
        roots += [root for root in (folder, *(a for p, a in self.answers.items() if p.startswith("/path/to/"))) if root]
        roots += [p for p in self.guide.placeholders if p.startswith("/path/to/") and not self.answers.get(p)]
        for root in roots:
            inside = text.removeprefix(root.rstrip("/") + "/")
            elsewhere = self.workspace is not None and Path(root).is_dir() and Path(root) != self.workspace.root
            if inside != text and not elsewhere:
                return inside
        return text.removeprefix("./") or "."


def _values_only(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def _plain(value: Any) -> str:
    return str(value)


def _abbreviated(name: str, known: Mapping[str, Field]) -> str | None:
    found = [key for key in known if key.startswith(name)]
    return found[0] if len(found) == 1 else None
