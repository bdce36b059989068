"""A config as a form: which options are shown, in which words, and what a typed value does to the documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from core.config.documents import Config, FileName, place_of
from core.config.resolved import network_scale
from core.config.schema import (
    GROUPS,
    LEVELS,
    dataset_field,
    dataset_fields,
    dataset_names,
    fields,
    optimizers,
    parse_value,
    schedulers,
)
from core.config.schema import Field as Option
from core.config.values import float_text
from core.problems import Problem, Severity
from core.text import printable
from tui.theme import Cells
from tui.widgets.form import Field, Kind, choice_step

OPEN_CHOICES = {"optimizer_type": optimizers, "lr_scheduler": schedulers}
"""Options with usual values that take any other too."""
PICKED = ("pretrained_model_name_or_path", "image_dir")
"""Options whose values are files of the workspace: chosen from a list, or typed."""
PROMPTS = "prompts"
MARKS = {Severity.ERROR: ("✗", "bad"), Severity.WARNING: ("!", "caution"), Severity.INFO: ("·", "muted")}


def options(config: Config) -> Mapping[str, Option]:
    """Every option that `config` can hold, of the training script and of the dataset file."""
    found: dict[str, Option] = {}
    for level in reversed(LEVELS):
        found |= dataset_fields(level)
    return {**found, **fields(config.script)}


def shown(config: Config, extra: frozenset[str], problems: Mapping[str, Problem]) -> list[Field]:
    """The lines of the form: in each group the usual options, those that are set, and those asked for in `extra`.

    `problems` has the worst finding about a key; it stands beside its field.
    """
    train = config.effective("train")
    known = options(config)
    names: dict[str, list[str]] = {group: [] for group in GROUPS}
    values: dict[str, Any] = {}
    for name, option in known.items():
        value = config.get("dataset", name) if name in _of_dataset() else None
        in_dataset = value is not None or (name not in train and name in _of_dataset())
        values[name] = value = value if in_dataset else train.get(name)
        usual = dataset_field(name) if in_dataset else option
        if value is not None or name in extra or (usual is not None and usual.essential):
            names["Dataset" if in_dataset else option.group].append(name)
    strangers = [name for name in train if name not in known]
    wrong = {key: (*MARKS[problem.severity], printable(problem.message)) for key, problem in problems.items()}
    lines: list[Field] = []
    for group in GROUPS:
        inside = names[group]
        if not inside:
            continue
        if lines:
            lines.append(Field("", "", [], "blank"))
        lines.append(Field(f"#{group}", group, [], "head"))
        lines += [line(config, known[name], values[name], wrong.get(name)) for name in inside]
        if group == "Sampling":
            count = sum(1 for text in config.prompts.splitlines() if text.strip() and not text.startswith("#"))
            said = f"{count} in prompts.txt" if count else "none yet: ⏎ writes them"
            lines.append(Field(PROMPTS, PROMPTS, [(said, "text")], "choice", problem=wrong.get(PROMPTS)))
    if strangers:
        lines += [Field("", "", [], "blank"), Field("#Unknown", "Unknown to the trainer", [], "head")]
        lines += [
            Field(name, printable(name), [(value := display(train[name]), "text")], raw=value, problem=wrong.get(name))
            for name in strangers
        ]
    return lines


@cache
def _of_dataset() -> frozenset[str]:
    """Every key that dataset.toml may hold."""
    return frozenset().union(*(dataset_names(level) for level in LEVELS))


def line(config: Config, option: Option, value: Any, problem: tuple[str, str, str] | None) -> Field:
    """One option as a line: its value, or the trainer's default in muted."""
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
    return Field(
        name,
        name,
        cells,
        _kind(option),
        raw="" if value is None else display(value),
        note=note(config, name, value),
        suggestions=tuple(OPEN_CHOICES[name]()) if name in OPEN_CHOICES else (),
        problem=problem,
    )


def _kind(option: Option) -> Kind:
    if option.type == "bool":
        return "flag"
    if option.choices or option.name in PICKED:
        return "choice"
    return "path" if option.type == "path" else "text"


def note(config: Config, name: str, value: Any) -> str:
    """What a value means together with others."""
    if name in {"learning_rate", "unet_lr", "text_encoder_lr"} and isinstance(value, int | float):
        scale = network_scale(config.effective())
        return f"effective {float_text(float(f'{value * scale:.3g}'))}" if scale not in (None, 1) else ""
    if name in {"image_dir", "num_repeats"}:
        count = sum(len(table.get("subsets", ())) for table in tables(config))
        return f"first of {count} folders; ^t shows all" if count > 1 else ""
    if name == "network_alpha":
        scale = network_scale(config.effective())
        return f"scale {scale:.3g}" if scale is not None else ""
    return ""


def tables(config: Config) -> list[Any]:
    """The `[[datasets]]` of dataset.toml."""
    found = config.plain("dataset").get("datasets")
    return [table for table in found if isinstance(table, dict)] if isinstance(found, list) else []


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
        option = options(config).get(name)
        config.set(file, name, not (option is not None and option.default is True))
    else:
        config.set(file, name, not value)


def stepped(config: Config, name: str, by: int) -> str | None:
    """The choice `by` places after the one in force, as text; None for an option without choices."""
    option = options(config).get(name)
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
        key = key_of(config, problem)
        if key is not None and (key not in found or ORDER.index(problem.severity) < ORDER.index(found[key].severity)):
            found[key] = problem
    return found


def neighbour(fields: Iterable[Field], problems: Mapping[str, Problem], here: str | None, by: int) -> str | None:
    """The next field (or the one before: -1) that a problem is about, round the end; None when there is none.

    Those that are not in the form come behind the others.
    """
    order = [field.key for field in fields if field.editable]
    named = [key for key in order if key in problems] + [key for key in problems if key not in order]
    if not named:
        return None
    at = named.index(here) if here in named else None
    if at is None and here in order:
        before = [index for index, key in enumerate(named) if key in order and order.index(key) < order.index(here)]
        at = (before[-1] if before else -1) if by > 0 else (before[-1] + 1 if before else 0)
    return named[((at or 0) + by) % len(named)]


ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO)
