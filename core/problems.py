"""The one vocabulary of every check: what was found, where, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How much a finding weighs: an error refuses the start of a run, a warning only stands beside it."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of a check. `code` is stable (`KT…`), `where` names the file and the key or line."""

    severity: Severity
    code: str
    where: str
    message: str
    hint: str | None = None
    fixable: bool = False

    def as_json(self) -> dict[str, Any]:
        """The keys that `--json` promises."""
        return asdict(self) | {"severity": self.severity.value}


class UserError(Exception):
    """A failure that the user can act on: `message` says what and where, `hint` what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"

    @property
    def line(self) -> str:
        """The sentence and its remedy behind each other, as a log shows them."""
        return self.message if self.hint is None else f"{self.message}. {self.hint}"
