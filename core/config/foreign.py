"""Settings of another program, as they are translated into sd-scripts' words; every key is answered for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.config.moves import Moved
from core.problems import Problem, Severity

TRAIN = "train.toml"
DATASET = "dataset.toml"
TRUE_TEXTS = {"true": True, "false": False}


@dataclass(slots=True)
class Foreign:
    """What a file of `program` says. `train` has option → value and `origin` where each stood.

    `rest` are keys that have not been answered for yet: `take` and `drop` do, and what is left at the end is unknown.
    """

    program: str
    script: str
    rest: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    general: dict[str, Any] = field(default_factory=dict)
    subsets: list[dict[str, Any]] = field(default_factory=list)
    prompts: str = ""
    launcher: dict[str, str] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _dropped: dict[str, list[str]] = field(default_factory=dict)

    def put(self, key: str, value: Any, origin: str) -> None:
        """An option of the training."""
        self.train[key] = value
        self.origin[key] = origin

    def rename(self, old: str, new: str, value: Any, why: str) -> None:
        """An option that has another name, or another value, with sd-scripts."""
        self.rest.pop(old, None)
        self.put(new, value, f"{self.program} {old}")
        self.moved.append(Moved(old, self.program, f"{TRAIN}: {new}", why))

    def drop(self, key: str, why: str) -> None:
        """Leave a key out; those with one reason are named together."""
        self.rest.pop(key, None)
        names = self._dropped.setdefault(why, [])
        if key not in names:
            names.append(key)

    def warn(self, code: str, where: str, message: str, hint: str) -> None:
        """Something to look at after the import."""
        self.problems.append(Problem(Severity.WARNING, code, where, message, hint))

    def finish(self) -> Foreign:
        """Say what was left out, and take over what nobody answered for: it is flagged as unknown."""
        for why, names in self._dropped.items():
            self.moved.append(Moved(", ".join(names), self.program, "", why))
        self._dropped.clear()
        for key, value in self.rest.items():
            self.put(key, value, f"{self.program} {key}")
        self.rest = {}
        return self


def is_nothing(value: Any) -> bool:
    """Whether a form leaves this in a field that was not filled in: "", 0, false, null, an empty list."""
    return value is None or value is False or value in ("", "0", "0.0") or value == [] or value == {} or _is_zero(value)


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def number(value: Any) -> float:
    """A number of a form, which may be text; 0 for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def key_values(values: Mapping[str, Any]) -> list[str]:
    """A table as the list of "key=value" that sd-scripts reads; a list is joined with commas."""
    found = []
    for key, value in values.items():
        if isinstance(value, list):
            value = ",".join(str(item) for item in value)
        elif isinstance(value, str) and value in TRUE_TEXTS:
            value = value.capitalize()  # Python reads it
        found.append(f"{key}={value}")
    return found
