"""What an import says of each key that does not stand where it stood."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing that stands elsewhere, or otherwise, than in the source; `to` is empty for what was left out."""

    key: str
    from_: str
    to: str
    why: str

    def as_json(self) -> dict[str, str]:
        return {"key": self.key, "from": self.from_, "to": self.to, "why": self.why}
