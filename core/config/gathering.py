"""What a guide sets, by the trainer's own rules: the TOML first, then the script's options, which win.

What stands elsewhere or otherwise than in the guide is noted with its reason as it is taken up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.config.documents import FILES
from core.config.guide import Guide, answered
from core.config.moves import Moved
from core.config.reading import read_toml
from core.config.schema import DEFAULT_SCRIPT, GROUPS, Field, dataset_fields, fields, only_dataset, suggest
from core.config.values import coerce, from_text, shown
from core.config.writing import comments_in
from core.problems import Problem, Severity, UserError

if TYPE_CHECKING:
    from core.workspace import Workspace

_DICT_LISTS = ("network_args", "optimizer_args", "lr_scheduler_args")


@dataclass(slots=True)
class Gathered:
    """Options of the training in `train`, of the dataset in `general` and `datasets`; all three change in place."""

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
        """Take up the TOML blocks, without their sections. Raises UserError when one is not TOML."""
        self.script = self.guide.script or DEFAULT_SCRIPT
        for block in self.guide.toml:
            text = answered(block.text, self.answers)
            data = read_toml(text, block.name or "the TOML block")
            self.comments.update(comments_in(text))
            if block.is_dataset:
                self._dataset_file(block.name, data)
                continue
            for name, value in data.items():
                if name == "general" and isinstance(value, dict):
                    self._dataset_section(name, value)
                elif name == "datasets" and isinstance(value, list):
                    self.datasets.extend(item for item in value if isinstance(item, dict))
                    why = (
                        "sd-scripts reads datasets from the dataset file only; in the training config they are ignored"
                    )
                    self.move("[[datasets]]", "TOML [[datasets]]", FILES["dataset"], why)
                elif isinstance(value, dict):
                    self._section(name, value)
                else:
                    self.take(name, value, "TOML")

    def _dataset_file(self, name: str, data: dict[str, Any]) -> None:
        """A dataset file as sd-scripts reads it: it may hold nothing but [general] and [[datasets]]."""
        for key, value in data.items():
            if key == "general" and isinstance(value, dict):
                self.general.update(value)
            elif key == "datasets" and isinstance(value, list):
                self.datasets.extend(item for item in value if isinstance(item, dict))
            else:
                message = "may not stand in a dataset file, and the trainer refuses it: it is left out"
                self.problems.append(Problem(Severity.WARNING, "KT208", f"{name}: {key}", message, None))
        self.move("dataset_config", name, FILES["dataset"], f"copied from {name}")

    def read_foreign(self) -> None:
        """Take up the settings of another program, which were put into sd-scripts' words before."""
        given = self.guide.given
        if given is None:
            return
        self.script = given.script
        for key, value in given.train.items():
            self.train[key] = answered(value, self.answers) if isinstance(value, str) else value
            self.origin[key] = given.origin[key]
        self.general.update(given.general)
        if given.subsets:
            rows = [
                {k: answered(v, self.answers) if isinstance(v, str) else v for k, v in row.items()}
                for row in given.subsets
            ]
            self.datasets.append({"subsets": rows})
        self.moved.extend(given.moved)
        self.problems.extend(given.problems)

    def read_launcher(self) -> None:
        """What accelerate was given: it is no option of the trainer."""
        given = self.guide.given
        pairs = dict(given.launcher) if given is not None else {}
        name = ""
        for word in self.guide.launcher:
            if word.startswith("-"):
                name, equals, value = word.lstrip("-").replace("-", "_").partition("=")
                pairs[name] = value
                if equals:
                    name = ""
            elif re.match(r"[A-Z_]+=", word):
                key, _, value = word.partition("=")
                pairs[key] = value
            elif name:
                pairs[name] = f"{pairs[name]} {word}".strip()
        for key, value in pairs.items():
            self.move(f"{key} {value}".strip(), "accelerate", "", _launcher_word(key, value))

    def read_options(self) -> None:
        """Take up the script's options, shortened ones too, as argparse does; they win over the TOML."""
        known = fields(self.script)
        for name, values in self.guide.options:
            texts = [answered(value, self.answers) for value in values]
            full = name if name in known else _abbreviated(name, known)
            if full in {"config_file", "output_config"}:
                text = " ".join(texts)
                if self.guide.kind == "script" and text not in self.guide.files and full == "config_file":
                    hint = "Put that file beside the script, and import it again."
                    message = f"the script takes more options from {text}, which is not there"
                    self.problems.append(Problem(Severity.ERROR, "KT206", "script --config_file", message, hint))
                why = "names the one file of the guide; here it is configs/<name>/train.toml"
                self.move(f"--{full}", "script", "", why)
                continue
            if full is not None and full in known and known[full].type == "bool" and texts:
                message = f"the script gives this switch a value, {' '.join(texts)!r}: the trainer stops at it"
                hint = "It is taken as on; remove the key to switch it off."
                self.problems.append(Problem(Severity.WARNING, "KT203", f"script --{full}", message, hint))
            if full is None:
                several = [key for key in known if key.startswith(name)]
                if several:
                    message = f"may be {', '.join(several[:3])}: the trainer stops at such a short name"
                    self.problems.append(Problem(Severity.ERROR, "KT202", f"script --{name}", message, "Write it out."))
                self.train[name] = from_text(" ".join(texts), None) if texts else True
                self.origin[name] = f"script --{name}"
                continue
            option = known[full]
            if option.type == "bool":
                value: Any = True
            else:
                try:
                    as_texts = option.type == "list" and option.item != "float"
                    value = texts if as_texts else from_text(" ".join(texts), option)
                except UserError as error:
                    where = f"script --{full}"
                    self.problems.append(
                        Problem(Severity.ERROR, "KT203", where, f"{error.message}: left out", error.hint)
                    )
                    continue
            if value is None or value == []:
                message = "the script gives this option without a value: it is left out"
                self.problems.append(Problem(Severity.WARNING, "KT203", f"script --{full}", message, option.help))
                continue
            before = self.train.get(full)
            if before is not None and before != value:
                why = f"the script's {shown(value)} wins over {shown(before)} of the TOML"
                self.move(full, f"script --{full}", FILES["train"], why)
            self.train[full], self.origin[full] = value, f"script --{full}"

    def _section(self, section: str, values: dict[str, Any]) -> None:
        known = fields(self.script)
        pairs = {key: value for key, value in values.items() if key not in known and not isinstance(value, dict | list)}
        if section in _DICT_LISTS and pairs:
            items = [f"{key}={value}" for key, value in pairs.items()]
            self.train.setdefault(section, []).extend(items)
            self.origin[section] = f"TOML [{section}]"
            why = 'a table is not read there; sd-scripts wants a list of "key=value"'
            self.move(", ".join(pairs), f"TOML [{section}]", f"{FILES['train']}: {section}", why)
            values = {key: value for key, value in values.items() if key not in pairs}
        for key, value in values.items():
            self.take(key, value, f"TOML [{section}]")
        taken = [key for key in values if key in known]
        if taken and section not in {group.lower() for group in GROUPS}:
            why = f"section names mean nothing to sd-scripts: sorted into the usual groups ({', '.join(taken)})"
            self.move(f"[{section}]", f"TOML [{section}]", FILES["train"], why)

    def _dataset_section(self, section: str, values: dict[str, Any]) -> None:
        known = dataset_fields("general")
        right = {key: value for key, value in values.items() if key in known}
        self.general.update(right)
        if right:
            why = f"sd-scripts reads [general] from the dataset file only ({', '.join(right)})"
            self.move("[general]", "TOML [general]", FILES["dataset"], why)
        for key, value in values.items():
            if key not in known:
                self.take(key, value, "TOML [general]")

    def take(self, key: str, value: Any, origin: str) -> None:
        """An option of the training; the last of equal ones wins."""
        if key in _DICT_LISTS and isinstance(value, dict):
            value = [f"{name}={item}" for name, item in value.items()]
            self.move(key, origin, FILES["train"], 'a table is not read there; now a list of "key=value"')
        if key in self.train and self.train[key] != value:
            why = f"stands twice; the last one, {shown(value)}, wins over {shown(self.train[key])}"
            self.move(key, origin, FILES["train"], why)
        self.train[key], self.origin[key] = value, origin

    def correct_kinds(self, known: Mapping[str, Field]) -> None:
        """The options of the training in the kinds that the trainer wants; strangers and wrong ones become problems."""
        for key, value in list(self.train.items()):
            option = known.get(key)
            if option is None:
                if key not in only_dataset():
                    self._unknown(f"{FILES['train']}: {key}", "sd-scripts does not know this key", suggest(key))
                continue
            if option.type == "list" and isinstance(value, str):
                self.train[key] = from_text(value, option)
                self.move(key, self.origin[key], FILES["train"], "must be a list")
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
                self.move(key, self.origin[key], "", "empty: left out, so that the default holds")
                continue
            if type(right) is not type(value):
                why = f"{shown(value)} is now {shown(right)}, as the trainer's own parser would make it"
                self.move(key, self.origin[key], FILES["train"], why)
            self.train[key] = right

    def holders(self) -> Iterator[dict[str, Any]]:
        """Everything in the dataset part that holds options: general, each dataset, each subset."""
        yield self.general
        yield from self.datasets
        yield from self.subsets()

    def subsets(self) -> Iterator[dict[str, Any]]:
        """The subsets of all datasets."""
        for dataset in self.datasets:
            found = dataset.get("subsets")
            yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()

    def move(self, key: str, from_: str, to: str, why: str) -> None:
        """Note that `key` stands elsewhere now, or otherwise."""
        self.moved.append(Moved(key, from_, to, why))

    def _unknown(self, where: str, message: str, near: str | None) -> None:
        hint = f"Did you mean {near}?" if near else "Remove it, or look for its name in your version of sd-scripts."
        self.problems.append(Problem(Severity.WARNING, "KT202", where, message, hint))


def _launcher_word(key: str, value: str) -> str:
    """Why an option of accelerate is left out, and what does the same here."""
    if key in {"gpu_ids", "CUDA_VISIBLE_DEVICES"}:
        return f"chooses the GPU: kohya-tui train NAME --gpu {value}"
    if (key in {"num_processes", "multi_gpu", "num_machines"} and value not in {"", "1"}) or key == "multi_gpu":
        return "several GPUs: kohya-tui train NAME --launcher accelerate, after accelerate config"
    if key == "mixed_precision":
        return "belongs to accelerate; the trainer goes by its own mixed_precision"
    return "belongs to accelerate: kohya-tui train NAME --launcher accelerate uses it, one GPU does not need it"


def _abbreviated(name: str, known: Mapping[str, Field]) -> str | None:
    found = [key for key in known if key.startswith(name)]
    return found[0] if len(found) == 1 else None
