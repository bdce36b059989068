"""One open config: documents, undo of what is not saved, the draft, what was found out about it. Knows no widget."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.config.documents import FILES, Config, FileName
from core.config.drafts import keep, read
from core.problems import Problem, UserError
from tui.screens.config_form import worst

if TYPE_CHECKING:
    from core.config.plan import Plan
    from core.dataset.edits import Journal
    from core.settings import Settings
    from core.workspace import Workspace

Texts = dict[FileName, str]
"""File → what it says."""
LIMIT = 200
"""Steps that undo remembers."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check said."""

    plan: Plan | None
    problems: tuple[Problem, ...]
    script: str
    counts: Mapping[str, int | None] = field(default_factory=dict)
    """Place of a subset → pictures in its folder."""


@dataclass(slots=True)
class OpenConfig:
    """Undo here is of unsaved changes; what is saved is the journal's."""

    config: Config
    raw: Texts = field(default_factory=dict)
    """What stands in the raw editor and is not TOML."""
    wrong: UserError | None = None
    """Why not, of the file that was edited last."""
    past: list[tuple[Texts, str | None]] = field(default_factory=list)
    future: list[tuple[Texts, str | None]] = field(default_factory=list)
    has_draft: bool = False
    is_restored: bool = False
    """The unsaved changes are from last time, and none came since."""
    disputed: Texts = field(default_factory=dict)
    """A draft whose files another program changed meanwhile: the user is to choose."""
    findings: Findings | None = None
    """None until the first check; those of an older text until the next one."""
    worst: dict[str, Problem] = field(default_factory=dict)
    """The gravest finding about each field."""
    in_raw: FileName | None = None
    """The file in the raw editor."""
    _before_raw: Texts | None = None
    _saved: tuple[dict[FileName, bytes | None], Config] | None = None
    _draft_waits: bool = False

    @classmethod
    def load(cls, workspace: Workspace, name: str) -> OpenConfig:
        """From disk, with the draft that was kept. Raises UserError when the files must not be read."""
        opened = cls(Config.load(workspace.configs / name))
        draft = read(workspace, opened.config)
        if draft is not None:
            opened.has_draft = True
            opened.put(draft.texts)
            opened.is_restored = draft.is_current
            opened.disputed = {} if draft.is_current else dict(draft.texts)
        return opened

    # What it holds

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the last check found."""
        return self.findings.problems if self.findings is not None else ()

    @property
    def plan(self) -> Plan | None:
        """What the last check said that a training would do."""
        return self.findings.plan if self.findings is not None else None

    @property
    def saved(self) -> Config | None:
        """The files as they are on disk, where they differ from what stands here."""
        if not self.config.changed:
            return None
        texts = {file: self.config.loaded(file) for file in FILES}
        if self._saved is None or self._saved[0] != texts:
            found = Config(self.config.folder)
            with contextlib.suppress(UserError):
                for file, data in texts.items():
                    found.set_text(file, (data or b"").decode("utf-8", "replace"))
            self._saved = (texts, found)
        return self._saved[1]

    @property
    def unsaved(self) -> Texts:
        """The texts that are nowhere else."""
        return {file: self.config.text(file) for file in self.config.changed} | self.raw

    def texts(self) -> Texts:
        """The three files as they stand."""
        return texts_of(self.config)

    def copy(self) -> Config:
        """The documents as they stand, for another thread."""
        config = self.config
        copied = Config(config.folder, {file: text for file, text in self.texts().items() if file not in config.broken})
        copied.broken.update(config.broken)
        copied.likely_script = config.likely_script
        return copied

    def take_findings(self, findings: Findings) -> None:
        """These are the newest."""
        self.findings = findings
        self.config.likely_script = findings.script
        self.worst = worst(self.config, findings.problems)

    # Changes

    def change(self, step: Callable[[Config], None], key: str | None) -> None:
        """Do `step`; what it changed can be taken back, and the cursor goes to `key` then. Raises its UserError."""
        before = self.texts()
        step(self.config)
        self.note(before, key)
        self.is_restored = False

    def note(self, before: Texts, key: str | None) -> None:
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
                except UserError as error:
                    self.raw[file], self.wrong = text, error

    # The raw editor

    def begin_raw(self, file: FileName) -> str:
        """The text to edit; what is typed until `end_raw` will be one step of undo."""
        self.in_raw, self._before_raw = file, self.texts()
        if file in self.config.broken:
            self.wrong = self.config.broken[file]
        return self.raw.get(file, self.config.text(file))

    def end_raw(self, *, counts: bool) -> None:
        """The editor is left; `counts`: what was typed is a change."""
        if self._before_raw is not None and counts:
            self.note(self._before_raw, None)
        self.in_raw = self._before_raw = None

    def is_shut(self, file: FileName) -> bool:
        """Whether its text was not taken up: it is too large to be a config, and stays as it is."""
        return file in self.config.broken and not self.config.text(file) and bool(self.config.loaded(file))

    def type_raw(self, file: FileName, text: str) -> bool:
        """The editor says this now; True when anything is different.

        Raises UserError with the line when it is not TOML; the text is kept in `raw`.
        """
        if text == self.config.text(file):
            self.wrong = self.config.broken.get(file)
            was_other = self.raw.pop(file, None) is not None
            if self.wrong is not None:  # as it is on disk: nothing that would have to be kept
                raise self.wrong
            return was_other
        try:
            self.config.set_text(file, text)
        except UserError as error:
            self.wrong = error
            self.raw[file] = text
            raise
        self.wrong = None
        self.raw.pop(file, None)
        return True

    def edit(self, file: FileName, text: str) -> None:
        """Another editor wrote this; one step of undo, and what stood in ours is gone."""
        before = self.texts()
        self.put({file: text})
        self.note(before, None)

    # On disk; those with a journal or workspace are jobs for the writer

    def take_disk(self, mine: Mapping[FileName, str]) -> None:
        """Read the files anew, and go on with `mine` as unsaved changes; there is nothing to undo then."""
        self.config.reload()
        self.forget()
        self.put(mine)

    def forget(self) -> None:
        """After a save or a reload there is nothing to undo here."""
        self.past.clear()
        self.future.clear()
        self.raw.clear()
        self.wrong = None

    def draft_job(self, workspace: Workspace) -> Callable[[], None] | None:
        """What keeps the newest state as a draft when it is run, or removes the draft; None when one waits already."""
        if self._draft_waits or not (self.has_draft or self.unsaved):
            return None
        self._draft_waits = True

        def write() -> None:
            self._draft_waits = False
            unsaved = self.unsaved
            if unsaved or self.has_draft:
                keep(workspace, self.config, unsaved)
                self.has_draft = bool(unsaved)

        return write

    def keep_mine(self, mine: Mapping[FileName, str], journal: Journal) -> None:
        """Write these texts over what another program wrote, as one group: undo brings the other's back."""
        from core.dataset.edits import Edit

        edits = []
        for file, text in mine.items():
            path = self.config.path(file)
            edits.append(Edit(path, path.read_bytes() if path.exists() else None, text.encode("utf-8")))
        journal.apply(f"Change config {self.config.name}", edits, kind="config")

    def take_theirs(self, mine: Mapping[FileName, str], journal: Journal) -> None:
        """Leave what another program wrote in place, and put ours where redo finds it."""
        self.keep_mine(mine, journal)
        journal.undo()


def texts_of(config: Config) -> Texts:
    """The three files as they stand."""
    return {file: config.text(file) for file in FILES}


def check(config: Config, workspace: Workspace, settings: Settings) -> Findings:
    """Plan and problems of a copy; takes a while: on a thread."""
    from core.config import preflight
    from core.config.check_machine import modules_of
    from core.config.plan import plan
    from core.config.resolved import script_of
    from core.config.subsets import counts_of
    from core.config.survey import Survey
    from core.runs import probe
    from core.runs.estimate import with_estimate

    survey = Survey()
    planned = plan(config, workspace, survey=survey) if not config.broken else None
    if planned is not None:
        planned = with_estimate(planned, config, workspace, settings)
    modules = modules_of(config.effective())
    environment = probe.remembered(settings, modules)
    if environment is None:  # the next check will know
        probe.begin(settings, modules)
    problems = tuple(
        preflight.check(config, workspace, settings, planned=planned, survey=survey, environment=environment)
    )
    counts = counts_of(config, workspace.root, survey)
    return Findings(planned, problems, script_of(config, workspace), counts)


def mend(config: Config, workspace: Workspace, problem: Problem) -> tuple[Texts, Texts] | None:
    """(texts before, texts after) of a copy that is mended; None where there is no safe way to. On a thread."""
    from core.config.fixes import fix

    before = texts_of(config)
    return (before, texts_of(config)) if fix(config, workspace, problem) else None
