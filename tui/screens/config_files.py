"""A config's documents as the screen changes them: undo in memory, drafts on disk, files that others changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.config.documents import FILES, Config, FileName
from core.config.drafts import keep
from core.problems import UserError

if TYPE_CHECKING:
    from core.dataset.edits import Journal
    from core.workspace import Workspace

LIMIT = 200
"""Steps that undo remembers."""


@dataclass(slots=True)
class Edits:
    """One open config. Undo here is of unsaved changes; what is saved is the journal's."""

    config: Config
    raw: dict[FileName, str] = field(default_factory=dict)
    """What stands in the raw editor and is not TOML."""
    past: list[tuple[dict[FileName, str], str | None]] = field(default_factory=list)
    future: list[tuple[dict[FileName, str], str | None]] = field(default_factory=list)
    has_draft: bool = False

    def texts(self) -> dict[FileName, str]:
        """The three files as they stand."""
        return {file: self.config.text(file) for file in FILES}

    def change(self, step: Callable[[Config], None], key: str | None) -> None:
        """Do `step`; what it changed can be taken back, and the cursor goes to `key` then. Raises its UserError."""
        before = self.texts()
        step(self.config)
        self.note(before, key)

    def note(self, before: dict[FileName, str], key: str | None) -> None:
        """Remember the texts from before a change, if there was one."""
        if before != self.texts():
            self.past = [*self.past[1 - LIMIT :], (before, key)]
            self.future.clear()

    def step(self, *, back: bool) -> tuple[bool, str | None]:
        """Undo or redo one unsaved change: (whether there was one, the key it was about)."""
        source, target = (self.past, self.future) if back else (self.future, self.past)
        if not source:
            return False, None
        texts, key = source.pop()
        target.append((self.texts(), key))
        self.put(texts)
        return True, key

    def put(self, texts: Mapping[FileName, str]) -> None:
        """Take these texts; one that is not TOML waits in `raw`."""
        for file, text in texts.items():
            if text != self.config.text(file) or file in self.config.broken:
                try:
                    self.config.set_text(file, text)
                    self.raw.pop(file, None)
                except UserError:
                    self.raw[file] = text

    def forget(self) -> None:
        """After a save or a reload there is nothing to undo here."""
        self.past.clear()
        self.future.clear()
        self.raw.clear()

    @property
    def unsaved(self) -> dict[FileName, str]:
        """The texts that are nowhere else."""
        return {file: self.config.text(file) for file in self.config.changed} | self.raw

    def write_draft(self, workspace: Workspace) -> None:
        """Keep what is unsaved, or remove the draft when nothing is; runs in the writer."""
        unsaved = self.unsaved
        if unsaved or self.has_draft:
            keep(workspace, self.config, unsaved)
            self.has_draft = bool(unsaved)


def keep_mine(config: Config, mine: Mapping[FileName, str], journal: Journal) -> None:
    """Write these texts over what another program wrote, as one group: undo brings the other's back."""
    from core.dataset.edits import Edit

    edits = []
    for file, text in mine.items():
        path = config.path(file)
        edits.append(Edit(path, path.read_bytes() if path.exists() else None, text.encode("utf-8")))
    journal.apply(f"Change config {config.name}", edits, kind="config")


def take_theirs(config: Config, mine: Mapping[FileName, str], journal: Journal) -> None:
    """Leave what another program wrote in place, and put ours where redo finds it."""
    keep_mine(config, mine, journal)
    journal.undo()
