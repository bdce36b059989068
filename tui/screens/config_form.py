"""A config as a form: which options are shown, in which words, and what a typed value does to the documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from core.config.documents import Config, FileName, place_of
from core.config.effects import Seen, effect
from core.config.exclusions import in_force, is_on, missing, without_effect
from core.config.prompts import prompt_lines
from core.config.schema import (
    GROUPS,
    LEVELS,
    dataset_field,
    dataset_fields,
    dataset_names,
    fields,
    network_modules,
    optimizers,
    parse_value,
    schedulers,
    suggest,
)
from core.config.schema import Field as Option
from core.config.subsets import inherited, tree
from core.config.values import float_text
from core.problems import Problem, Severity
from core.text import count_of, printable
from tui.theme import Cells
from tui.widgets.form import Field, Kind, choice_step

if TYPE_CHECKING:
    from core.config.plan import Plan

Extent = Literal["usual", "set", "all"]
EXTENTS: tuple[Extent, ...] = ("usual", "set", "all")
OPEN_CHOICES = {"optimizer_type": optimizers, "lr_scheduler": schedulers, "network_module": network_modules}
"""Options with usual values that take any other too."""
PAIRS = ("network_args", "optimizer_args", "lr_scheduler_args")
"""Lists of "key=value", entered as rows."""
PICKED = ("pretrained_model_name_or_path", "image_dir")
"""Options whose values are files of the workspace: chosen from a list, or typed."""
PROMPTS = "prompts"
FOLDERS = "folders"
_TITLES = {"Optimizer": "Optimizer and schedule", "Memory": "Precision and memory"}
MARKS = {Severity.ERROR: ("✗", "bad"), Severity.WARNING: ("!", "caution"), Severity.INFO: ("·", "muted")}


def options(config: Config) -> Mapping[str, Option]:
    """Every option that `config` can hold, of the training script and of the dataset file."""
    own = fields(config.script)
    source, found = _OPTIONS.get(config.script, (None, {}))
    if source is not own:  # the first time, or the user's checkout was read meanwhile
        for level in reversed(LEVELS):
            found = {**found, **dataset_fields(level)}
        found = {**found, **own}
        _OPTIONS[config.script] = (own, found)
    return found


_OPTIONS: dict[str, tuple[Mapping[str, Option] | None, Mapping[str, Option]]] = {}
"""Script → its fields, and these together with the dataset file's."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the form shows beside the values: problems, the plan, and which options are in sight."""

    problems: Mapping[str, Problem]
    """The worst finding about each key."""
    plan: Plan | None = None
    extra: frozenset[str] = frozenset()
    """Options that are shown though they are neither usual nor set."""
    extent: Extent = "usual"
    saved: Config | None = None
    """The config as it is on disk: what differs from it is marked."""


def shown(config: Config, look: Look) -> list[Field]:
    """The lines of the form: in each group the usual options and those that are set; only these, or all there are."""
    train = config.effective("train")
    known = options(config)
    of_dataset = _of_dataset()
    names: dict[str, list[str]] = {group: [] for group in GROUPS}
    values: dict[str, Any] = {}
    idle = without_effect(config.script)
    for name, option in known.items():
        value = config.get("dataset", name) if name in of_dataset else None
        in_dataset = value is not None or (name not in train and name in of_dataset)
        value = value if in_dataset else train.get(name)
        if value is not None:
            values[name] = value
        usual = dataset_field(name) if in_dataset else option
        is_usual = usual is not None and usual.essential and name not in idle
        wanted = {"usual": is_usual, "set": False, "all": name not in idle}[look.extent]
        if value is not None or name in look.extra or wanted:
            names["Dataset" if in_dataset else option.group].append(name)
    strangers = [name for name in train if name not in known]
    wrong = marks_of(look.problems)
    seen = Seen(train, {name: values[name] for name in values if name in of_dataset}, look.plan, config.script)
    before = _saved_values(look.saved)
    lines: list[Field] = []
    for group in GROUPS:
        inside = names[group]
        if not inside and group != "Sampling":
            continue
        if lines:
            lines.append(Field("", "", [], "blank"))
        lines.append(Field(f"#{group}", _TITLES.get(group, group), [], "head"))
        if group == "Dataset":
            lines.append(_folders(config, wrong.get(FOLDERS)))
        for name in inside:
            mark = _mark(name, values.get(name), known[name], before)
            lines.append(line(config, known[name], values.get(name), wrong.get(name), seen, values, mark))
        if group == "Sampling":
            count = len(prompt_lines(config.prompts))
            said = f"{count} in prompts.txt" if count else "none yet: ⏎ writes them"
            lines.append(Field(PROMPTS, PROMPTS, [(said, "text")], "choice", problem=wrong.get(PROMPTS)))
    if strangers:
        lines += [Field("", "", [], "blank"), Field("#Unknown", "Unknown to the trainer", [], "head")]
        lines += [_stranger(config, name, train[name], wrong.get(name)) for name in strangers]
    return lines


def marks_of(problems: Mapping[str, Problem]) -> dict[str, tuple[str, str, str]]:
    """Glyph, role and sentence of each, as a form shows it."""
    return {key: (*MARKS[problem.severity], printable(problem.message)) for key, problem in problems.items()}


def _stranger(config: Config, name: str, value: Any, problem: tuple[str, str, str] | None) -> Field:
    near = suggest(name, script=config.script)
    note = f"did you mean {near}?" if near and problem is None else ""
    return Field(name, printable(name), [(text := display(value), "text")], raw=text, note=note, problem=problem)


def _folders(config: Config, problem: tuple[str, str, str] | None) -> Field:
    """The line that leads to datasets and folders."""
    nodes = tree(config)
    folders, datasets = (sum(node.level == level for node in nodes) for level in ("subsets", "datasets"))
    said = f"{count_of(folders, 'folder')} in {count_of(datasets, 'dataset')}" if datasets else "none yet: ⏎ adds one"
    return Field(FOLDERS, FOLDERS, [(said, "text")], "choice", problem=problem)


def _saved_values(saved: Config | None) -> Mapping[str, Any] | None:
    if saved is None or saved.broken:
        return None
    return {"train": saved.effective(), "dataset": saved, "names": _of_dataset()}


def _mark(name: str, value: Any, option: Option, before: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """`~` for what is not saved, `•` for what is set and is not the trainer's default."""
    if before is not None:
        old = before["train"].get(name)
        if old is None and name in before["names"]:
            old = before["dataset"].get("dataset", name)
        if old != value:
            return "~", "caution"
    if value is None or (value == option.default and type(value) is type(option.default)):
        return None
    return "•", "accent"


def _of_dataset() -> frozenset[str]:
    """Every key that dataset.toml may hold."""
    return _union(*(dataset_names(level) for level in LEVELS))


@cache
def _union(*names: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*names)


def line(
    config: Config,
    option: Option,
    value: Any,
    problem: tuple[str, str, str] | None,
    seen: Seen,
    values: Mapping[str, Any],
    mark: tuple[str, str] | None = None,
) -> Field:
    """One option as a line: its value, or the trainer's default in muted; what it does, or what excludes it."""
    name = option.name
    cells: Cells
    if value is not None:
        cells = [(display(value), "text")]
    elif option.type == "bool":
        cells = [("yes" if option.default else "no", "muted")]
    elif option.default in (None, ""):
        cells = [("–", "muted")]
    else:
        cells = [(display(option.default), "muted")]
    said = note(config, name, value, seen)
    if problem is None and is_on(value):
        against = in_force(name, values, config.script)
        lacks = missing(name, values)
        if against or lacks:
            cells.append((f"   {f'not with {against[0][0]}' if against else lacks}", "caution"))
            said = ""
    return Field(
        name,
        name,
        cells,
        kind_of(option),
        raw="" if value is None else display(value),
        note=said,
        suggestions=tuple(OPEN_CHOICES[name]()) if name in OPEN_CHOICES else (),
        problem=problem,
        mark=mark,
    )


def kind_of(option: Option) -> Kind:
    """How the value is entered."""
    if option.type == "bool":
        return "flag"
    if option.choices or option.name in PICKED or option.name in OPEN_CHOICES or option.name in PAIRS:
        return "choice"
    return "path" if option.type == "path" else "text"


def note(config: Config, name: str, value: Any, seen: Seen) -> str:
    """What a value does, beside it."""
    if value is None and name not in {"network_alpha", "network_dim"}:
        return ""
    if name in {"image_dir", "num_repeats"}:
        count = sum(node.level == "subsets" for node in tree(config))
        if count > 1:
            return f"first of {count}: w"
    return effect(name, value, seen)


def display(value: Any) -> str:
    """A value as it is typed: numbers short, lists with commas, flags as words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list):
        return ", ".join(display(item) for item in value)
    return printable(str(value))


def put(config: Config, name: str, text: str) -> None:
    """Set `name` from typed text; nothing typed means unset. Raises UserError for the wrong kind."""
    file: FileName = config.home(name)
    config.set(file, name, parse_value(file, name, text.strip(), config.script))


def toggle(config: Config, name: str) -> None:
    """A flag the other way: one that is set to true is removed when false is the trainer's default."""
    file: FileName = config.home(name)
    value = config.get(file, name)
    if value is None:
        option = options(config).get(bare(name))
        value = option is not None and option.default is True
        if name != bare(name):
            node = next((node for node in tree(config) if name == f"{node.place}.{bare(name)}"), None)
            value = inherited(config, node, bare(name)).value is True if node is not None else value
    config.set(file, name, not value)


def bare(name: str) -> str:
    """The option's own name: datasets[0].subsets[1].flip_aug is flip_aug."""
    return name.rpartition(".")[2] if name.startswith(("datasets[", "general.")) else name


def stepped(config: Config, name: str, by: int) -> str | None:
    """The choice `by` places after the one in force, as text; None for an option without choices."""
    option = options(config).get(bare(name))
    if option is None or not option.choices:
        return None
    now = config.get(config.home(name), name)
    return choice_step([str(value) for value in option.choices], str(option.default if now is None else now), by)


def search(config: Config) -> list[tuple[str, str, bool]]:
    """(name, help, whether it is set in a file) of every option, for the finder."""
    return [
        (name, option.help or option.upstream or option.group, config.is_set(name))
        for name, option in sorted(options(config).items())
    ]


def ranked(entries: Iterable[tuple[str, str, bool]], typed: str) -> list[tuple[str, str, bool]]:
    """The options that have every word of `typed`: the one of that name, then those that are set, names before help."""
    words = typed.lower().replace("-", "_").split()
    first, whole = words[0] if words else "", "_".join(words)

    def rank(entry: tuple[str, str, bool]) -> tuple[bool, bool, bool, bool]:
        name, _, is_set = entry
        return name != whole, not is_set, not name.startswith(first), first not in name

    found = [entry for entry in entries if all(word in f"{entry[0]} {entry[1]}".lower() for word in words)]
    return sorted(found, key=rank)


def key_of(config: Config, problem: Problem) -> str | None:
    """The field that a finding is about; None when it is about something else (a caption, the machine)."""
    file, place = place_of(problem.where)
    if file == "prompts":
        return PROMPTS
    if not place:
        return "image_dir" if problem.where.startswith("train_data/") and config.home("image_dir") else None
    known = options(config)
    for part in (place.rsplit(".", 1)[-1], place.split(".", 1)[0], place.split(" ", 1)[0]):
        if part in known or part in config.effective():
            return part
    return None


def worst(config: Config, problems: Iterable[Problem]) -> dict[str, Problem]:
    """The gravest finding about each field."""
    found: dict[str, Problem] = {}
    for problem in problems:
        file, place = place_of(problem.where)
        for key in {key_of(config, problem), place if file == "dataset" and "[" in place else None} - {None}:
            assert key is not None
            if key not in found or ORDER.index(problem.severity) < ORDER.index(found[key].severity):
                found[key] = problem
    return found


def neighbour(fields: Iterable[Field], problems: Mapping[str, Problem], here: str | None, by: int) -> str | None:
    """The next field (or the one before: -1) that a problem is about, round the end; None when there is none.

    Those that are not in the form come behind the others.
    """
    order = [field.key for field in fields if field.editable]
    problems = {key: problem for key, problem in problems.items() if "[" not in key}
    named = [key for key in order if key in problems] + [key for key in problems if key not in order]
    if not named:
        return None
    at = named.index(here) if here in named else None
    if at is None and here in order:
        before = [index for index, key in enumerate(named) if key in order and order.index(key) < order.index(here)]
        at = (before[-1] if before else -1) if by > 0 else (before[-1] + 1 if before else 0)
    return named[((at or 0) + by) % len(named)]


ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)
